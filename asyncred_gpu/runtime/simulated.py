"""Block workers without processes or a clock: any order of their stages that a policy chooses, the same worker code.

For proofs: an adversarial policy finds what a lucky run hides. Also for more workers than there are cores, with random
durations. One stage of one worker runs at a time; a stage is the smallest step another worker can come between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from ..blocks import FloatArray
from ..slots import Slot, slot_layout
from ..task import Task
from ..worker import BlockUpdate, BlockWorker, Stage
from .base import Computed, Event, Lost, Published, Read, Started, WorkerSetup


class Policy(Protocol):
    """Which of the workers that could go on does so next."""

    def choose(self, runnable: Sequence[int]) -> int: ...


class RandomOrder:
    """Any order, all alike."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def choose(self, runnable: Sequence[int]) -> int:
        return runnable[int(self._random.integers(len(runnable)))]


class Starving:
    """The worst for staleness: `victims` go on only when nobody else can; the rest take turns at random."""

    def __init__(self, victims: set[int], seed: int) -> None:
        self._victims = victims
        self._random = RandomOrder(seed)

    def choose(self, runnable: Sequence[int]) -> int:
        others = [worker for worker in runnable if worker not in self._victims]
        return self._random.choose(others or runnable)


class RandomDurations:
    """Every stage takes an exponentially distributed time; the worker that is least far in time goes on."""

    def __init__(self, workers: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._clock = np.zeros(workers)

    def choose(self, runnable: Sequence[int]) -> int:
        worker = min(runnable, key=lambda candidate: float(self._clock[candidate]))
        now = self._clock[worker]
        self._clock[worker] += self._random.exponential()
        waiting = [other for other in range(len(self._clock)) if other not in runnable]
        self._clock[waiting] = np.maximum(self._clock[waiting], now)  # time passes for the idle, too
        return worker


class SimulatedRuntime:
    """The protocol of runtime/base.py in one thread. `on_read` is told of every finished read; for tests."""

    def __init__(
        self,
        setup: WorkerSetup,
        workers: int,
        image: FloatArray,
        policy: Policy,
        on_read: Callable[[BlockUpdate], None] | None = None,
    ) -> None:
        self._policy = policy
        self._on_read = on_read
        layout = slot_layout(setup.operator)
        self.slots: Sequence[tuple[Slot, Slot]] = layout.views(bytearray(layout.nbytes))
        for block, pixels in enumerate(setup.operator.grid.split(image)):
            np.copyto(self.slots[block][0].pixels, pixels)
        self._worker: BlockWorker = setup.make_worker(self.slots)
        self._running: list[Iterator[tuple[BlockUpdate, Stage]] | None] = [None] * workers
        self._waiting: dict[int, int] = {}
        self._pending: list[Event] = []

    notes: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        return len(self._running)

    def prime(self) -> None:
        for block in range(len(self.slots)):
            self._worker.prime(block)

    def pixels(self, block: int, slot: int) -> FloatArray:
        return self.slots[block][slot].pixels

    def slot(self, block: int, slot: int) -> Slot:
        return self.slots[block][slot]

    def restore(self, slots: Sequence[Slot]) -> None:
        for (target, _), slot in zip(self.slots, slots, strict=True):
            target.fill(slot)

    def launch(self, worker: int, tasks: Sequence[Task]) -> None:
        self._running[worker] = self._worker.run([BlockUpdate(task) for task in tasks])

    def grant(self, worker: int, number: int) -> None:
        if self._waiting.pop(worker) != number:
            raise AssertionError(f"worker {worker} doesn't wait for update {number}")

    def wait(self, timeout: float | None) -> list[Event]:
        if self._pending:
            return [self._pending.pop(0)]
        while True:
            runnable = [w for w, run in enumerate(self._running) if run is not None and w not in self._waiting]
            if not runnable:
                if self._waiting:
                    raise AssertionError(f"deadlock: all of {sorted(self._waiting)} wait for their back slots")
                return []
            event = self._advance(self._policy.choose(runnable))
            if event is not None:
                return [event]

    def _advance(self, worker: int) -> Event | None:
        run = self._running[worker]
        assert run is not None
        step = next(run, None)
        if step is None:
            self._running[worker] = None
            return None
        update, stage = step
        number = update.task.number
        match stage:
            case Stage.READ:
                if self._on_read is not None:
                    self._on_read(update)
                return Read(worker, number)
            case Stage.COMPUTED:
                self._waiting[worker] = number
                return Computed(worker, number)
            case Stage.PUBLISHED:
                assert update.moved is not None
                return Published(worker, number, update.moved)
        return None

    def lose(self, worker: int) -> None:
        """Let the worker die where it is."""
        self._running[worker] = None
        self._waiting.pop(worker, None)
        self._pending.append(Lost(worker, "was ended by the simulation"))

    def replace(self, worker: int) -> None:
        self._running[worker] = None
        self._waiting.pop(worker, None)
        self._pending.append(Started(worker))

    def close(self) -> None:
        self._running = [None] * self.workers
