"""One size of image, measured in a process of its own: the time of a sweep, its stages, the setup, and the peak memory.

The retina at any size, seconds and bytes; a fresh process each, so that no run's memory or caches are another's.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from .denoiser import load_denoiser
from .empty_worker import Interpreter, empty_worker
from .experiments import retina_problem
from .memory_estimate import MemoryEstimate, estimate_memory
from .memory_watch import MemoryWatch, Sample
from .operators.radon import RadonCT
from .solver import GpuAsyncRED
from .stage_times import stage_seconds

ANGLES_A_PIXEL = 0.225  # 180 angles for 800 pixels, as in the paper
FIXED_ANGLES = 180
# What the runs are made with; the rest is the solver's default.
SETTINGS: Mapping[str, Any] = {"precision": "float32", "device": "cpu"}
# A sweep's seconds are the median of those after them: no warming up.
FIRST_SWEEPS = 2


@dataclass(frozen=True)
class Case:
    """A run.

    Args:
        size: pixels a side.
        sweeps: at least 3, since the first two don't count.
    """

    size: int
    angles: int
    workers: int
    sweeps: int

    @classmethod
    def in_proportion(cls, size: int, workers: int, sweeps: int) -> Self:
        """With as many angles a pixel as in the paper."""
        return cls(size, round(ANGLES_A_PIXEL * size), workers, sweeps)

    @property
    def detectors(self) -> int:
        """The image's diagonal."""
        return round(math.sqrt(2) * self.size)

    def solver(self, sinogram: np.ndarray | None = None) -> GpuAsyncRED:
        """On that sinogram; None: on zeros, for estimates."""
        theta = np.arange(self.angles) * np.pi / self.angles
        measured = np.zeros((self.angles, self.detectors), np.float32) if sinogram is None else sinogram
        scan = RadonCT(measured, theta, (self.size, self.size))
        return GpuAsyncRED(scan, load_denoiser("dncnn", sigma=5), num_workers=self.workers, **SETTINGS)


@dataclass(frozen=True)
class Measured:
    """What came of it.

    Args:
        block: (rows, cols) of a block. blocks: how many.
        sweep: seconds, the median after the first two.
        data_updates: of a block in each of those sweeps.
        stages: seconds of each stage of a block's update, alone on one core.
        setup: seconds before the workers are started: start image, Lipschitz constants. start: until they are ready.
        memory: bytes at the peak; `own` of all processes, `shared`, `files`.
        setup_memory: bytes at the peak before the workers.
        estimate: bytes, by MemoryEstimate's names.
    """

    case: Case
    block: tuple[int, int]
    blocks: int
    sweep: float
    data_updates: int
    stages: Mapping[str, float]
    setup: float
    start: float
    memory: Sample
    setup_memory: int
    estimate: MemoryEstimate
    interpreter: Interpreter

    @property
    def update(self) -> float:
        """Seconds of an update that asks the denoiser, on one core: its stages."""
        return sum(self.stages.values())

    @property
    def data_update(self) -> float:
        """Seconds of one that doesn't: the same stages without the denoiser."""
        return self.update - self.stages["denoiser"]

    @property
    def block_sweep(self) -> float:
        """Seconds a block takes of a sweep, on one core."""
        return self.update + self.data_updates * self.data_update

    @property
    def pixels(self) -> int:
        return self.case.size**2

    @property
    def off(self) -> float:
        """By how much the estimate is above the measured peak, relative."""
        return self.estimate.total / self.memory.total - 1

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"interpreter": list(self.interpreter), "estimated_total": self.estimate.total}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        parts = {name: value for name, value in found.items() if name != "estimated_total"}
        return cls(
            **parts
            | {
                "case": Case(**found["case"]),
                "block": tuple(found["block"]),
                "memory": Sample(**found["memory"]),
                "estimate": MemoryEstimate(**found["estimate"]),
                "interpreter": Interpreter(*found["interpreter"]),
            }
        )


def measure(case: Case, interpreter: Interpreter) -> Measured:
    """Run it here."""
    problem = retina_problem(case.size, case.angles, case.detectors)
    solver = case.solver(problem.measured.sinogram)
    del problem
    estimate = estimate_memory(solver, interpreter)
    blocks = len(solver.operator.grid)
    with MemoryWatch() as watch:
        result = solver.run(max_sweeps=case.sweeps)
    ends = result.sweep_seconds
    timings, grid = result.timings, solver.operator.grid
    del result
    return Measured(
        case,
        grid.block_shape,
        blocks,
        float(np.median(np.diff(ends)[FIRST_SWEEPS - 1 :])),
        solver.method.data_updates,
        stage_seconds(solver),
        timings["setup"],
        timings["start"],
        watch.peak,
        watch.alone.total,
        estimate,
        interpreter,
    )


def in_fresh_process(case: Case) -> Measured:
    """The same in a process that has done nothing else.

    Raises:
        subprocess.CalledProcessError: it failed; its own words are on the standard error.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "measured.json"
        told = json.dumps({"case": asdict(case), "interpreter": empty_worker()})
        command = [sys.executable, "-P", "-m", "asyncred_gpu.growth_run", told, str(path)]
        subprocess.run(command, check=True)
        return Measured.from_json(json.loads(path.read_text()))


def main() -> None:
    """Measure the case of the first argument, into the file of the second."""
    told, path = json.loads(sys.argv[1]), Path(sys.argv[2])
    found = measure(Case(**told["case"]), Interpreter(*told["interpreter"]))
    path.write_text(json.dumps(found.as_json()))


if __name__ == "__main__":
    main()
