"""Seconds of a sweep against the number of workers, asynchronous and with a barrier: a few sweeps for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..blocks import FloatArray
from ..runtime.spares import SpareWorkers
from ..solver import GpuAsyncRED
from .machine import Machine
from .modes import Plan, one_line
from .numbers import sweep_seconds

ORDERS = {"Async-RED": "free", "Sync-RED": "sync"}
GPU_WORKERS = (1, 2, 4, 8)


@dataclass
class Ladder:
    """One method's solvers, by workers, and what they took.

    Args:
        name: as of the mode.
        cores: that the workers share; None on a GPU.
    Attributes:
        seconds: of a sweep, by workers. failures: messages, by workers.
    """

    name: str
    cores: int | None
    solvers: dict[int, GpuAsyncRED]
    seconds: dict[int, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def speedups(self) -> dict[int, float]:
        """Sweeps a second over those of one worker."""
        one = self.seconds.get(1)
        return {} if one is None else {workers: one / seconds for workers, seconds in self.seconds.items()}

    def climb(self, start: FloatArray, sweeps: int, spares: SpareWorkers, say: Callable[[str], None]) -> None:
        """Time every number of workers, one after the other; their processes come from the spares."""
        for workers, solver in self.solvers.items():
            solver.keep_workers(spares)
            try:
                self.seconds[workers] = sweep_seconds(solver.run(max_sweeps=sweeps, x0=start).history)
            except Exception as error:  # as in modes.attempt
                self.failures[workers] = one_line(error)
            found = self.failures.get(workers) or f"{self.seconds[workers]:.3g} s a sweep"
            say(f"  {self.name}, {workers} worker{'' if workers == 1 else 's'}: {found}")


def rungs(cores: int) -> list[int]:
    """1, 2, 4 … and the cores."""
    return sorted({*(2**power for power in range(cores.bit_length())), cores})


def make_ladders(plan: Plan, machine: Machine, wanted: Sequence[int] | None, blocks: int) -> list[Ladder]:
    """The ladders of all orders on all devices; one worker is always among them.

    Args:
        wanted: workers on the CPU; None: up to the cores, as far as there are blocks.
    Raises:
        ValueError: more workers than blocks.
    """
    usual = [workers for workers in rungs(machine.cores) if workers <= blocks]
    on_cpu = usual if wanted is None else sorted({1, *wanted})
    places = {"cpu": on_cpu}
    if machine.gpus:
        places = {"gpu": [workers for workers in GPU_WORKERS if workers <= blocks], **places}
    # The time of a sweep doesn't depend on the momentum, and with most blocks in flight there can be none.
    return [
        Ladder(
            f"{name}, {place.upper()}",
            machine.cores if place == "cpu" else None,
            {count: plan.solver(place, count, order=order, momentum=0.0) for count in workers},
        )
        for place, workers in places.items()
        for name, order in ORDERS.items()
    ]
