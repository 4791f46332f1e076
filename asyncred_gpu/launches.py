"""What every worker is at, and which of them is hung. Owned by the engine; seconds of a monotonic clock.

A worker is hung if its updates take more than max(10 s, 20 × the median) each; the median is of those that ask the
denoiser. Waiting for a back slot does not count, nor does time in which this process itself did not look: a slow
callback, Ctrl-Z.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

HUNG_SECONDS = 10.0
HUNG_FACTOR = 20.0
# Before the first update of a run has finished, nobody knows what is long; likewise for a worker that starts.
FIRST_SECONDS = 120.0
# The longest time between two looks at the clock.
LOOK_SECONDS = 1.0


@dataclass
class _Launch:
    """Updates of one launch that aren't published yet; none, if a replacement is starting up."""

    numbers: set[int]
    count: int
    since: float
    asks: bool
    waiting: set[int] = field(default_factory=set)  # updates that wait for their back slots
    waits_since: float = 0.0  # the first of them


class Launches:
    """The launches under way, one a busy worker."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._busy: dict[int, _Launch] = {}
        self._durations: deque[float] = deque(maxlen=101)
        self._looked = time.perf_counter()

    def idle(self) -> list[int]:
        """Workers that could take a launch."""
        return [worker for worker in range(self._workers) if worker not in self._busy]

    def begin(self, worker: int, numbers: Sequence[int], *, asks: bool = True) -> None:
        """The worker has got these updates; none: it is starting up.

        Args:
            asks: one of them asks the denoiser, so that it says how long an update may take.
        """
        self._busy[worker] = _Launch(set(numbers), len(numbers), time.perf_counter(), asks)

    def finish(self, worker: int, number: int) -> None:
        """The update is published; after its last one the worker is idle."""
        launch = self._busy[worker]
        launch.numbers.remove(number)
        if not launch.numbers:
            if launch.asks:
                self._durations.append((time.perf_counter() - launch.since) / launch.count)
            del self._busy[worker]

    def end(self, worker: int) -> list[int]:
        """The worker is lost, or ready after its start: forget its launch; returns the updates it leaves undone."""
        launch = self._busy.pop(worker, None)
        return sorted(launch.numbers) if launch else []

    def wait(self, worker: int, number: int) -> None:
        """The update waits for its back slot."""
        launch = self._busy[worker]
        if not launch.waiting:
            launch.waits_since = time.perf_counter()
        launch.waiting.add(number)

    @property
    def anyone_waits(self) -> bool:
        """Whether an update waits for its back slot."""
        return any(launch.waiting for launch in self._busy.values())

    def waiting(self) -> list[tuple[int, int]]:
        """(worker, update) of all that wait for their back slots."""
        return [(worker, number) for worker, launch in self._busy.items() for number in launch.waiting]

    def go_on(self, worker: int, number: int) -> None:
        """The update waits no longer; after the launch's last one its time runs on."""
        launch = self._busy[worker]
        launch.waiting.remove(number)
        if not launch.waiting:
            launch.since += time.perf_counter() - launch.waits_since

    def look(self) -> list[tuple[int, float]]:
        """(worker, its limit in seconds) of all that are hung; to be called at least every LOOK_SECONDS."""
        now = time.perf_counter()
        self._forgive(now - self._looked - LOOK_SECONDS)
        self._looked = now
        update = max(HUNG_SECONDS, HUNG_FACTOR * statistics.median(self._durations)) if self._durations else None
        limits = {
            # Without updates of its own it is starting up.
            worker: FIRST_SECONDS if update is None or not launch.count else launch.count * update
            for worker, launch in self._busy.items()
            if not launch.waiting
        }
        return [(worker, most) for worker, most in limits.items() if now - self._busy[worker].since > most]

    def _forgive(self, pause: float) -> None:
        if pause > 0:
            for launch in self._busy.values():
                launch.since += pause
