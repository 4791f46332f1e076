"""The loop of a run: scheduler, double buffer and runtime, coupled. The one place that issues, grants and commits.

    issue (lease the front slots) → launch → Read (lease ends) → [Computed → grant] → Published → commit (flip)

Nothing here knows what runs the workers: processes, streams or a simulation (runtime/base.py).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .blocks import FloatArray, IndexArray
from .buffer import DoubleBuffer, Slots
from .launches import LOOK_SECONDS, Launches
from .monitor import MOST_SHRINKS, Monitor, StepGuard
from .red import Moved, Step
from .result import Progress, Status
from .runtime.base import Computed, Event, Lost, Published, Read, Runtime, Started, WorkerError
from .scheduler import Scheduler, Ticket
from .task import Task

log = logging.getLogger(__name__)

# This many workers lost within one sweep end the run.
MOST_REPLACEMENTS = 3

# Of blocks that go along with their centers: what data updates leave undone may grow from sweep to sweep.
TOO_SMALL_TAU = " A tau that is too small for the data updates may do that: pass a larger tau, or more data_updates."

# ‖G‖² that ends so many times above its least, and above this share of its start, is no swing.
ENDED_ABOVE, ENDED_AT_LEAST = 4.0, 1e-2

Plan = Callable[[Ticket], tuple[Step, int]]
Subset = Callable[[int], IndexArray | None]


@dataclass
class Limits:
    """When a run stops by itself; None for no limit."""

    time_limit: float | None
    tol: float | None
    finished: Status


@dataclass(frozen=True)
class Pauses:
    """Where a run stops for a moment, with nothing under way, so that its state can be kept.

    Args:
        after: the first commit at which to pause, later than this one.
        keep: keeps the state, told the seconds of the run.
        at_end: also where the run ends by itself or is stopped, once what is under way is committed. Not where the
            order is part of what is promised: an undisturbed run has no pause there.
    """

    after: Callable[[int], int]
    keep: Callable[[float], None]
    at_end: bool


@dataclass
class Commit:
    """One committed update, as the schedule keeps it."""

    block: int
    read: int
    step: Step
    draw: int


@dataclass
class _Update:
    """An update under way; owned by the engine."""

    ticket: Ticket
    slots: Slots
    step: Step
    draw: int
    moved: Moved | None = None
    worker: int = -1
    launched: float = 0.0
    published: float = 0.0


class Engine:
    """One run. `plan` gives an update's step and minibatch draw, `subset` the minibatch of a draw."""

    def __init__(
        self,
        scheduler: Scheduler,
        buffer: DoubleBuffer,
        runtime: Runtime,
        monitor: Monitor,
        guard: StepGuard | None,
        plan: Plan,
        subset: Subset,
        limits: Limits,
        blocks: int,
        per_launch: int = 1,
        callbacks: Sequence[Callable[[Progress], None]] = (),
    ) -> None:
        self._scheduler = scheduler
        self._buffer = buffer
        self._runtime = runtime
        self._monitor = monitor
        self._guard = guard
        self._plan = plan
        self._subset = subset
        self._limits = limits
        self._blocks = blocks
        self._per_launch = per_launch
        self._callbacks = callbacks
        self.pauses: Pauses | None = None  # set before `run`
        self.join: Callable[[Sequence[FloatArray]], FloatArray] | None = None  # of blocks, for callbacks
        self._before = 0.0  # seconds of the run that this one goes on from
        self._ending: Status | None = None  # once what is under way is committed
        self._interrupted = False
        self._updates: dict[int, _Update] = {}
        self._queue: deque[int] = deque()
        self._launches = Launches(runtime.workers)
        self._lost_at: list[int] = []
        self._status: Status | None = None
        self.commits: list[Commit] = []
        self.timeline: list[tuple[int, float, float, float, int, int]] = []  # columns: TIMELINE of result.py
        self.notes: list[str] = []

    def run(self) -> Status:
        """Run until a limit is met; the front slots then hold the last committed image."""
        self._started = time.perf_counter()
        if self.pauses is not None:
            self._scheduler.go_on(self.pauses.after(self._scheduler.version))
        self._issue()
        self._end_if_exhausted()
        while self._status is None:
            self._launch()
            for event in self._runtime.wait(self._patience()):
                self._handle(event)
            self._commit_finished()
            self._pause()
            self._check_clock()
        self._keep_the_end()
        return self._status

    @property
    def seconds(self) -> float:
        """Since the run began, those of the run it goes on from included."""
        return self._before + time.perf_counter() - self._started

    def interrupt(self) -> None:
        """Let the run end where it is; may be called from a signal's handler."""
        self._interrupted = True

    def go_on(self, seconds: float, commits: Sequence[Commit], notes: Sequence[str]) -> None:
        """Before `run`: what was done before counts as this run's, too."""
        self._before, self.commits, self.notes = seconds, list(commits), list(notes)
        self._scheduler.restore(len(commits))

    # --- pauses ----------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        """Keep the state where nothing is under way, and go on, or end if that is what was waited for."""
        if self._ending is not None:
            if self._status is None and self._scheduler.paused:
                self._status = self._ending
        elif self.pauses is not None and self._status is None and self._scheduler.paused:
            self.pauses.keep(self.seconds)
            self._scheduler.go_on(self.pauses.after(self._scheduler.version))
            self._issue()

    def _keep_the_end(self) -> None:
        if self.pauses is None or self._status is Status.DIVERGED or self._scheduler.under_way:
            return
        if self.pauses.at_end or self._scheduler.paused:
            self.pauses.keep(self.seconds)

    def _end(self, status: Status) -> None:
        """End the run: at once, or, where its last state is to be kept, when what is under way is committed."""
        if self.pauses is None or not self.pauses.at_end:
            self._status = status
        elif self._ending is None:
            self._ending = status
            self._scheduler.stop()
            self._pause()

    # --- issue and launch ------------------------------------------------------------------------------------------

    def _issue(self) -> None:
        """Issue what the scheduler lets: at once if it is eager, else only what an idle worker takes now."""
        while self._scheduler.eager or len(self._queue) < self._per_launch * len(self._launches.idle()):
            ticket = self._scheduler.issue()
            if ticket is None:
                return
            step, draw = self._plan(ticket)
            slots = self._buffer.lease(ticket.number)
            self._updates[ticket.number] = _Update(ticket, slots, step, draw)
            self._queue.append(ticket.number)

    def _launch(self) -> None:
        for worker in self._launches.idle():
            if not self._queue:
                return
            numbers = [self._queue.popleft() for _ in range(min(self._per_launch, len(self._queue)))]
            now = self.seconds
            for number in numbers:
                self._updates[number].worker, self._updates[number].launched = worker, now
            asks = not all(self._updates[number].step.keeps for number in numbers)
            self._launches.begin(worker, numbers, asks=asks)
            self._runtime.launch(worker, [self._task(number) for number in numbers])

    def _task(self, number: int) -> Task:
        update = self._updates[number]
        block = update.ticket.block
        return Task(number, block, update.slots, update.step, self._subset(update.draw), self._buffer.writable(block))

    # --- events ----------------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event:
            case Read(_, number):
                if not self._scheduler.keeps_reads:
                    self._buffer.release(number)
                self._grant_waiting()
            case Computed(worker, number):
                self._launches.wait(worker, number)
                self._grant_waiting()
            case Published(worker, number, moved):
                self._published(worker, number, moved)
            case Started(worker):
                self._launches.end(worker)
            case Lost(worker, reason):
                self._lost(worker, reason)

    def _grant_waiting(self) -> None:
        if not self._launches.anyone_waits:
            return
        for worker, number in self._launches.waiting():
            if self._buffer.writable(self._updates[number].ticket.block):
                self._launches.go_on(worker, number)
                self._runtime.grant(worker, number)

    def _published(self, worker: int, number: int, moved: Moved) -> None:
        self._launches.finish(worker, number)
        update = self._updates[number]
        update.moved, update.published = moved, self.seconds
        self._scheduler.finish(update.ticket)

    def _lost(self, worker: int, reason: str) -> None:
        """Give the lost worker's updates to a fresh one, or end with an error that names it."""
        version = self._scheduler.version
        self._lost_at = [lost for lost in self._lost_at if lost > version - self._blocks] + [version]
        if len(self._lost_at) > MOST_REPLACEMENTS:
            raise WorkerError(
                f"worker {worker} {reason}; {MOST_REPLACEMENTS} workers were replaced before, within one sweep. If "
                "they are killed, look for a lack of memory (dmesg) and use fewer workers; if they give no result, "
                "for other programs on the same cores."
            )
        self.note(f"After commit {self._scheduler.version}, worker {worker} {reason}; it was replaced.")
        self._runtime.replace(worker)  # first of all: a worker that only hung must not touch a slot again
        undone = self._launches.end(worker)
        self._launches.begin(worker, ())
        for number in reversed(undone):
            self._repeat(worker, number)
        self._grant_waiting()

    def _repeat(self, worker: int, number: int) -> None:
        """See to it that a lost update is done again: from the same read if that is still there, or as a new one."""
        if self._scheduler.forgets:
            update = self._updates.pop(number)
            self._scheduler.abandon(update.ticket)
            self._buffer.release(number)
            if self._guard is not None and not update.step.keeps:
                self._guard.was_lost(update.ticket.block)
        elif self._buffer.holds(number):
            # In the order of issue: a later update may wait for this one's lease in the same launch.
            self._queue = deque(sorted([*self._queue, number]))
        else:
            raise WorkerError(
                f"worker {worker} was lost with update {number}, whose read is gone: the replay can't go on. "
                "Run it again."
            )

    # --- commits ---------------------------------------------------------------------------------------------------

    def _commit_finished(self) -> None:
        """Commit what may; issue after each, since an ordered update reads the version right after a commit."""
        while self._status is None and (ticket := self._scheduler.next_commit()) is not None:
            self._commit(ticket)
            self._issue()
        self._issue()
        self._end_if_exhausted()

    def _end_if_exhausted(self) -> None:
        if self._status is None and self._scheduler.exhausted:
            self._status = self._limits.finished

    def _commit(self, ticket: Ticket) -> None:
        update = self._updates.pop(ticket.number)
        moved = update.moved
        assert moved is not None
        if not moved.finite:  # never flipped: the front slots keep the last finite image
            self._status = Status.DIVERGED
            self.note(
                f"After commit {self._scheduler.version}, the update of block {ticket.block} was infinite or NaN: the "
                "step is far too long, or the denoiser returned such values."
            )
            return
        number = self._scheduler.commit(ticket)
        self._buffer.release(ticket.number)
        self._buffer.flip(ticket.block)
        self._grant_waiting()
        self.commits.append(Commit(ticket.block, ticket.read_version, update.step, update.draw))
        kind = int(not update.step.keeps)
        self.timeline.append((update.worker, update.launched, update.published, self.seconds, ticket.block, kind))
        pixels = partial(self._runtime.pixels, ticket.block, 1 - int(update.slots[ticket.block]))
        staleness, strength = number - ticket.read_version, update.step.strength
        progress = self._monitor.record(number, ticket.block, staleness, moved, pixels, self.seconds, strength)
        self._judge(progress, update.step)
        if self._callbacks:
            told = progress._replace(image=self.image)
            for callback in self._callbacks:
                callback(told)

    def note(self, note: str) -> None:
        """Say it in the result, and in the log at once."""
        self.notes.append(note)
        log.warning(note)

    def _judge(self, progress: Progress, step: Step) -> None:
        guard = self._guard if self._monitor.complete else None
        if guard is not None and guard.judge(progress.residual):
            self.note(
                f"After commit {progress.update}, ‖G‖² had grown to {progress.residual:.3g} of its start: every step "
                f"was halved, to {guard.factor:.4g} of the policy's, and the momentum dropped."
                + (TOO_SMALL_TAU if step.centered else "")
            )
            if guard.shrinks > MOST_SHRINKS:
                self._status = Status.DIVERGED
        tol = self._limits.tol
        if tol is not None and self._monitor.settled and progress.residual <= tol:
            self._status = Status.CONVERGED

    def image(self) -> FloatArray:
        """(rows, cols) after the last commit, a copy."""
        assert self.join is not None
        return self.join([self._runtime.pixels(block, int(slot)) for block, slot in enumerate(self._buffer.front())])

    # --- time ------------------------------------------------------------------------------------------------------

    def _patience(self) -> float:
        """Seconds to wait for an event before looking at the clock again."""
        limit = self._limits.time_limit
        if limit is None or self._ending is not None:
            return LOOK_SECONDS
        return max(0.0, min(LOOK_SECONDS, limit - self._own_seconds))

    @property
    def _own_seconds(self) -> float:
        return time.perf_counter() - self._started

    def _check_clock(self) -> None:
        limit = self._limits.time_limit
        if self._status is None and self._interrupted:
            self._end(Status.INTERRUPTED)
        if self._status is None and limit is not None and self._own_seconds >= limit:
            self._end(Status.TIME_LIMIT)
        for worker, most in self._launches.look():
            if self._status is None:
                self._lost(worker, f"gave no result for {most:.0f} s")


def guarded(step: Step, guard: StepGuard | None, block: int) -> Step:
    """The step as the guard lets it be."""
    if guard is None:
        return step
    if step.centered:
        step = step._replace(momentum=step.momentum * guard.momentum)
    if not guard.shrinks:
        return step
    momentum = 0.0 if not step.keeps and guard.drops_momentum(block) else step.momentum
    return step._replace(length=step.length * guard.factor, momentum=momentum)


def growth_note(history: Mapping[str, Any], blocks: int, centered: bool) -> str | None:
    """What to say of a run whose ‖G‖² ended far above its least.

    Args:
        history: its residual, block and sweep, an entry a commit. Those before every block had one don't count: a sum
            over some of the blocks is no ‖G‖².
        blocks: how many there are. centered: whether there were data updates.
    """
    seen, first = np.unique(history["block"], return_index=True)
    if len(seen) < blocks:
        return None
    residual, sweep = (history[name][first.max() :] for name in ("residual", "sweep"))
    least = int(residual.argmin())
    if not residual[-1] > max(ENDED_AT_LEAST, ENDED_ABOVE * residual[least]):
        return None
    return (
        f"‖G‖² ended at {residual[-1]:.2g} of its start, far above its least, {residual[least]:.2g} after "
        f"{sweep[least]:.3g} sweeps: the run moves away from the solution."
        + (TOO_SMALL_TAU if centered else " Pass step='theory', or less momentum.")
    )
