"""A clock for simulated workers: each has its own speed, and the simulated time of every commit is known exactly.

A discrete-event model: an update's whole time lies between its read and its result; its other stages take none, nor do
the engine's decisions. A worker that is given an update at time T reads at T and is done at T + its duration; one that
waits for its back slot goes on at the time it is granted. One update a launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..worker import BlockUpdate

# The factor by which an update's duration differs from its worker's usual one: drawn anew for every update.
Delay = Callable[[np.random.Generator], float]


def uniform_delay(jitter: float) -> Delay:
    """Something uniform in [1 − jitter, 1 + jitter]."""
    return lambda random: 1.0 + jitter * float(random.uniform(-1.0, 1.0))


class TimedWorkers:
    """The policy that lets the earliest worker go on, and the hook that tells it when a worker begins to compute.

    Both belong to one run: `SimulatedRuntime(setup, workers, image, clock, clock.on_read)`.

    Args:
        durations: (workers,) of an update on each worker, in any unit of time.
        delay: an update takes its worker's duration times what this draws, > 0; or a number, the jitter of
            `uniform_delay`.
        seed: of the delays.
    Attributes:
        now: the simulated present, the time of the last stage that ran; in a callback, the time of the commit.
    """

    def __init__(self, durations: Sequence[float], delay: Delay | float = 0.0, seed: int = 0) -> None:
        self.now = 0.0
        self._durations = tuple(durations)
        self._delay = delay if callable(delay) else uniform_delay(delay)
        self._random = np.random.default_rng(seed)
        # When the worker's present computation ends. Not later than `now`: the worker goes on at once.
        self._due = [0.0] * len(self._durations)
        self._chosen = 0

    def choose(self, runnable: Sequence[int]) -> int:
        """The worker that is due first; of those due at once, the one that has been due the longest."""
        self._chosen = min(runnable, key=lambda worker: (max(self.now, self._due[worker]), self._due[worker], worker))
        self.now = max(self.now, self._due[self._chosen])
        return self._chosen

    def on_read(self, update: BlockUpdate) -> None:
        """The worker chosen last has read, at the present: from now on it computes."""
        self._due[self._chosen] = self.now + self._delay(self._random) * self._durations[self._chosen]
