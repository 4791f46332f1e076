"""What all of the paper's compressed sensing experiments share: images, network, problems and how they are solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from ..blocks import FloatArray
from ..method import BLOCK_METHOD
from ..metrics import snr
from ..result import Result
from ..solver import GpuAsyncRED
from ..warm_starts import warm_start
from .numbers import SIDE
from .problems import Measurer, Problem, TestImage
from .section import Section

MOMENTUM = 0.8
FIGURE_DPI = 90


@dataclass
class Study:
    """Settings of a whole report, and what its experiments have in common.

    Args:
        images: the paper's, in [0, 1].
        network: returns the residual; its intensities are the images' (intensity_scale=1).
        sweeps: of a run, after the warm start.
        workers, device: as of `GpuAsyncRED`.
        say: told what is going on.
        folder: where the images are.
        stem: of the report's and the figures' names.
    """

    images: list[TestImage]
    network: nn.Module
    sweeps: int
    workers: int | None
    device: str
    say: Callable[[str], None]
    folder: Path
    stem: Path
    _measurers: dict[int, Measurer] = field(default_factory=dict)
    _starts: dict[tuple[int, str], FloatArray] = field(default_factory=dict)

    def measurer(self, side: int) -> Measurer:
        """The matrices for blocks of side × side pixels; only the last few gigabytes are kept."""
        if side not in self._measurers:
            self.say(f"  matrices of blocks of {side} × {side} pixels, and their Lipschitz constants")
            kept = {SIDE: self._measurers[SIDE]} if SIDE in self._measurers else {}
            self._measurers = kept  # frees the others first
            self._measurers[side] = Measurer(side)
        return self._measurers[side]

    def options(self, **changes: Any) -> dict[str, Any]:
        """Arguments of `GpuAsyncRED` that all runs share."""
        usual = {"num_workers": self.workers, "device": self.device, "momentum": MOMENTUM, "intensity_scale": 1.0}
        return {**BLOCK_METHOD, **usual, **changes}

    def start(self, problem: Problem, side: int) -> FloatArray:
        """Least squares, then a warm start; the same for all runs of a problem."""
        key = (side, problem.test.name)
        if key not in self._starts:
            self._starts[key] = self.warm(problem)
        return self._starts[key]

    def warm(self, problem: Problem) -> FloatArray:
        """A warm start of this very problem."""
        found: FloatArray = warm_start(
            *(problem.operator, self.network, problem.test.tau), x0="least-squares", **self.options()
        )
        return found

    def run(
        self,
        problem: Problem,
        start: Any,
        sweeps: float | None = None,
        time_limit: float | None = None,
        **changes: Any,
    ) -> Result:
        """Reconstruct; `changes` replace arguments of the solver, `tau` among them."""
        options = self.options(**{"tau": problem.test.tau} | changes)
        solver = GpuAsyncRED(problem.operator, self.network, **options)
        most = self.sweeps if sweeps is None else sweeps
        return solver.run(most, time_limit=time_limit, x0=start, reference=problem.test.image)

    def draw(self, section: Section, name: str, figure: Figure, title: str) -> None:
        """Write a figure beside the report."""
        path = self.stem.with_name(f"{self.stem.name}_{name}")
        figure.savefig(path, dpi=FIGURE_DPI)
        section.figures[title] = path.name

    def for_all(self, what: str, solve: Callable[[TestImage], float]) -> dict[str, float]:
        """Its SNR in dB for every image."""
        found = {}
        for test in self.images:
            found[test.name] = solve(test)
            self.say(f"  {what}, {test.name}: {found[test.name]:.2f} dB")
        return found


def average(levels: dict[str, float]) -> float:
    """Mean SNR of the images, dB."""
    return float(np.mean(list(levels.values())))


def final_snr(result: Result, problem: Problem) -> float:
    """Of the last image."""
    return snr(result.image, problem.test.image)


def random_snr(study: Study, problem: Problem, start: FloatArray, rows: int, tau: float, sweeps: int = 5) -> float:
    """The level at which random gradients of so many rows keep the image: mean SNR of the last sweeps."""
    history = study.run(problem, start, tau=tau, minibatch=rows, momentum=0.0).history
    return float(np.mean(history["snr"][history["sweep"] > history["sweep"][-1] - sweeps]))
