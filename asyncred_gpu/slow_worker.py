"""One of several workers is slow: what that costs a sweep, asynchronous or with a barrier, simulated or in processes.

With P workers, one f times slower, and no bound in the way, a sweep takes P/(P − 1 + 1/f) times as long; with a barrier
after every round, f times. In between lies λ: while the slow one makes an update, at most λ others may commit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .blocks import FloatArray
from .method import BLOCK_METHOD
from .operators.base import BlockOperator
from .result import Float64Array, Result
from .runtime.base import WorkerSetup
from .runtime.simulated import SimulatedRuntime
from .runtime.simulated_clock import Delay, TimedWorkers
from .solver import GpuAsyncRED

WORKERS = 4
SLOWDOWN = 4.0


@dataclass(frozen=True)
class Method:
    """How the workers take turns.

    Args:
        name: for tables.
        order: the solver's.
        max_staleness: λ; None: the solver's default, max(4·workers, blocks).
    """

    name: str
    order: str
    max_staleness: int | None


ASYNC = Method("Async-RED, default λ", "free", None)
TIGHT = Method(f"Async-RED, λ = {WORKERS - 1}", "free", WORKERS - 1)
SYNC = Method("Sync-RED", "sync", None)
METHODS = (ASYNC, TIGHT, SYNC)


@dataclass(frozen=True)
class Timed:
    """A run and when its commits were.

    Args:
        blocks: commits that make a sweep.
        times: (updates,) of the commits: in updates of a usual worker if simulated, in seconds if not.
    """

    blocks: int
    times: Float64Array
    result: Result

    @property
    def sweep_time(self) -> float:
        """Time of a sweep: the slope of a line through the commits but those of the first and the last sweep.

        At the end the others have nothing left to do and the slow one isn't done yet.
        """
        commits = np.arange(self.blocks, len(self.times) - self.blocks)
        return self.blocks * float(np.polyfit(commits, self.times[commits], 1)[0])

    @property
    def largest_staleness(self) -> int:
        """Of all commits."""
        return int(self.result.history["staleness"].max())


def even(workers: int = WORKERS) -> tuple[float, ...]:
    """Durations of an update where all workers are alike."""
    return (1.0,) * workers


def one_slow(slowdown: float = SLOWDOWN, workers: int = WORKERS, place: int = 0) -> tuple[float, ...]:
    """Durations of an update where worker `place` is slow.

    The first is the worst: of the updates that idle workers begin together it gets the one that was issued first, whose
    read is the oldest.
    """
    return tuple(slowdown if worker == place else 1.0 for worker in range(workers))


def ideal_ratio(slowdown: float = SLOWDOWN, workers: int = WORKERS) -> float:
    """By how much a sweep takes longer if nobody ever waits."""
    return workers / (workers - 1 + 1 / slowdown)


def make_solver(
    operator: BlockOperator, network: nn.Module, method: Method, workers: int = WORKERS, momentum: float = 0.0
) -> GpuAsyncRED:
    """A solver on the CPU in float32, on the operator's own blocks."""
    return GpuAsyncRED(
        operator,
        network,
        block_shape=operator.grid.block_shape,
        num_workers=workers,
        max_staleness=method.max_staleness,
        order=method.order,
        momentum=momentum,
        **BLOCK_METHOD,
        precision="float32",
        device="cpu",
    )


def simulate(
    solver: GpuAsyncRED,
    durations: Sequence[float],
    sweeps: int,
    jitter: Delay | float = 0.0,
    seed: int = 0,
    reference: FloatArray | None = None,
) -> Timed:
    """A run in simulated time.

    Args:
        durations: (workers,) of an update.
        jitter: of the durations, relative; or what draws their factors.
        seed: of the jitter.
        reference: the true image, for the SNR.
    """
    clock = TimedWorkers(durations, jitter, seed)
    times: list[float] = []

    def make_runtime(setup: WorkerSetup, workers: int, image: FloatArray) -> SimulatedRuntime:
        return SimulatedRuntime(setup, workers, image, clock, clock.on_read)

    result = solver._run(
        make_runtime, sweeps, None, None, None, "auto", reference, (lambda progress: times.append(clock.now),), None
    )
    return Timed(len(solver.operator.grid), np.array(times), result)


class Sleeping(nn.Module):
    """A denoiser that takes a set time, whatever the processor does: for schedulers' tests on few cores.

    Args:
        inner: the denoiser; quick.
        seconds: slept at every call.
        slow: the same in worker `place`.
        folder: an empty folder in which the workers find out who they are; None: no worker is slow.
        place: of the slow worker.
    """

    def __init__(
        self,
        inner: nn.Module,
        receptive_radius: int,
        seconds: float,
        slow: float = 0.0,
        folder: Path | None = None,
        place: int = 0,
    ) -> None:
        super().__init__()
        self.inner = inner
        self.receptive_radius = receptive_radius
        self._seconds = seconds
        self._slow = slow
        self._folder = folder
        self._place = place
        self._mine: float | None = None  # this process's, known after its first call

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a worker: sign the list. All workers have done so before the first of them is given an update."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if self._folder is not None:
            (self._folder / str(os.getpid())).touch()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self._mine is None:
            self._mine = self._slow if self._folder is not None and rank(self._folder) == self._place else self._seconds
        time.sleep(self._mine)
        residual: torch.Tensor = self.inner(image)
        return residual


def rank(folder: Path) -> int:
    """Which of the processes that signed the list this is: they are started one after the other, and so numbered."""
    return sorted(int(name) for name in os.listdir(folder)).index(os.getpid())


def run_processes(solver: GpuAsyncRED, sweeps: int) -> Timed:
    """A run in real processes and real seconds."""
    result = solver.run(max_sweeps=sweeps)
    return Timed(len(solver.operator.grid), np.asarray(result.history["seconds"], np.float64), result)
