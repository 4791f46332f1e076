"""What a run will take, before it is begun: memory from shapes, time from the stages of one block, timed here and now.

Times are of this machine at this moment, two cores sharing nothing: expect a third more or less.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .memory import available_memory
from .memory_estimate import MemoryEstimate, estimate_memory
from .runtime.cpu import available_cores
from .solver import GpuAsyncRED
from .stage_times import stage_seconds

# Times that a stage is repeated; the fastest counts.
REPETITIONS = 3
# Of a core, an update: scheduler and messages (docs/results/cpu.md).
OVERHEAD = 0.9e-3
# Projections of the whole image and as many back before a run: FBP, ‖A‖², the blocks' constants, the start's fit. Timed
# on a Xeon 24, 17 and 15 at 1024², 2048² and 4096² (docs/results/growth.md).
SETUP_PAIRS, SETUP_SECONDS = 16, 0.5
# Until workers are there, most of it the import of torch.
START_SECONDS = 1.5


@dataclass(frozen=True)
class Plan:
    """Seconds, and bytes at the peak.

    setup: before the workers. sweep: of one, its data updates included. memory: None on a GPU. free: None if unknown.
    """

    setup: float
    sweep: float
    memory: MemoryEstimate | None
    free: int | None

    def total(self, sweeps: float) -> float:
        """Of a run of so many sweeps."""
        return self.setup + START_SECONDS + sweeps * self.sweep

    @property
    def fits(self) -> bool:
        """Whether the memory is there."""
        return self.memory is None or self.free is None or self.memory.total <= self.free


def make_plan(solver: GpuAsyncRED) -> Plan:
    """Of a run of this solver; its operator's constants aren't computed if it isn't normalized."""
    threads = torch.get_num_threads()
    try:
        stages = stage_seconds(solver, REPETITIONS)
    finally:
        torch.set_num_threads(threads)
    blocks, workers = len(solver.operator.grid), solver.parallelism.workers
    denoising = stages["denoiser"]
    rest = sum(stages.values()) - denoising + OVERHEAD
    sweep = blocks * (denoising + (1 + solver.method.data_updates) * rest) / workers
    pair = blocks * (stages["projection"] + stages["back projection"]) / len(available_cores())
    memory = estimate_memory(solver) if solver.devices == ("cpu",) else None
    return Plan(SETUP_SECONDS + SETUP_PAIRS * pair, sweep, memory, available_memory())
