"""Block compressed sensing: images measured block by block, and what comes before a run, on the GPU and on the CPU.

Measured as in Sun et al., Async-RED, ICLR 2021, section 5.1: 9 blocks, 0.7 measurements a pixel, 30 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..blocks import BlockGrid, FloatArray
from ..experiments import retina_image
from ..operators.gaussian import gaussian_matrices, measure_blocks
from ..operators.matrix import BlockCS
from ..solver import intensity_scale_of
from .cases import Case, Cases
from .correctness import relative
from .machine import Machine
from .sections import Findings

BLOCKS_A_SIDE = 3
MEASUREMENTS_A_PIXEL = 0.7
NOISE_DB = 30.0
# ‖A_i‖² is 4.8 here, not 1, and what A_i doesn't see moves by the residual alone: with CT's τ for thousands of sweeps.
TAU = 1.0
# A minibatch holds one row of so many.
EVERY = 4

# Relative. Lanczos and conjugate gradients end within 1e-3 of their answers, maybe an iteration sooner or later.
TOLERANCES = {"Lipschitz constants": 2e-3, "of a minibatch": 2e-3, "adjoint": 1e-5, "least-squares": 1e-2}
# A wrong version has this share of the rows.
WRONG_ROWS = 0.95


@dataclass(frozen=True)
class Form:
    """How a gradient is computed: BlockCS's form and storage, and one row in how many that it takes."""

    form: str
    storage: str = "float32"
    every: int = 1

    def __str__(self) -> str:
        storage = "" if self.storage == "float32" else f" in {self.storage}"
        return f"{self.form}{storage}" + (f", 1/{self.every} of them" if self.every > 1 else "")

    def minibatch(self, measurements: int) -> int | None:
        return None if self.every == 1 else measurements // self.every


# What a user gets who says nothing: the rows on a CPU, the normal equations on a GPU.
AUTO = Form("auto")
FORMS = (Form("rows"), Form("rows", "float16"), Form("normal"), Form("rows", every=EVERY))


@dataclass(frozen=True)
class Sensed:
    """An image measured block by block.

    Args:
        truth: (rows, cols) the image.
        measured: (blocks, m) float32.
        matrices: (blocks, m, n) float32, on the device that is tested; its operators share them.
        tau: the residual's weight.
    """

    name: str
    network: nn.Module
    truth: FloatArray
    measured: FloatArray
    matrices: Tensor
    tau: float = TAU

    @property
    def side(self) -> int:
        """Of a block, in pixels."""
        return int(self.truth.shape[0]) // BLOCKS_A_SIDE

    @cached_property
    def start(self) -> FloatArray:
        return self.operator().start("least-squares")

    def operator(self, form: Form = AUTO, matrices: Any = None, measured: Any = None) -> BlockCS:
        """A fresh one, which has computed nothing yet; of other arrays, if they are given."""
        matrices = self.matrices if matrices is None else matrices
        measured = self.measured if measured is None else measured
        rows, cols = self.truth.shape
        return BlockCS(measured, matrices, (rows, cols), form=form.form, storage=form.storage)

    def case(self, form: Form, operator: BlockCS | None = None) -> Case:
        """The problem for the solver, with an operator that goes with it, and its tables."""
        chosen, scale = operator or self.operator(form), intensity_scale_of(self.start)
        return Case(f"{self.name}, {form}", chosen, self.network, self.start, self.truth, scale, self.tau)


def make_sensed(name: str, size: int, network: nn.Module, device: torch.device) -> Sensed:
    """The retina, size × size, measured with noise of `NOISE_DB`."""
    image, side = retina_image(size), size // BLOCKS_A_SIDE
    grid = BlockGrid(image.shape, (side, side))
    matrices = gaussian_matrices(len(grid), round(MEASUREMENTS_A_PIXEL * side * side), side * side)
    measured = measure_blocks(image, matrices, grid.block_shape, NOISE_DB)
    return Sensed(name, network, image, measured, torch.from_numpy(matrices).to(device))


class SensedProblems:
    """Both problems, each made when it is first asked for."""

    def __init__(self, machine: Machine, cases: Cases) -> None:
        self._machine = machine
        self._cases = cases

    @cached_property
    def small(self) -> Sensed:
        """96², blocks of 32²."""
        return make_sensed("CS, 96²", 96, self._cases.network, self._machine.device.torch)

    @cached_property
    def large(self) -> Sensed:
        """The paper's: 240², blocks of 80², matrices of 4480 × 6400, 1.0 GB."""
        return make_sensed("CS, 240²", 240, self._cases.network, self._machine.device.torch)

    def prepare(self, findings: Findings) -> None:
        """The section: make both, and compare what comes before a run."""
        check_before(findings, self._machine, self.small)
        begun = findings.clock()
        large = self.large
        findings.data["making"] = {"matrices": list(large.matrices.shape), "seconds": findings.clock() - begun}
        check_before(findings, self._machine, large, starts=("adjoint",))


def check_before(
    findings: Findings, machine: Machine, sensed: Sensed, starts: tuple[str, ...] = ("adjoint", "least-squares")
) -> None:
    """Lipschitz constants and start images of the device against the CPU's, and of fewer rows, which must differ."""
    rows = round(WRONG_ROWS * sensed.matrices.shape[1])
    host = sensed.matrices.cpu()
    operators = {
        "CUDA": sensed.operator(matrices=host),
        "fewer rows": sensed.operator(matrices=sensed.matrices[:, :rows], measured=sensed.measured[:, :rows]),
        "CPU": sensed.operator(matrices=host),
    }
    found, seconds = {}, {}
    for name, operator in operators.items():
        begun = findings.clock()
        if name != "CPU":
            operator.prepare_on(machine.device.torch, machine.device.kernels)
        found[name] = before_a_run(operator, starts)
        seconds[name] = findings.clock() - begun
    findings.data[sensed.name] = seconds
    title = f"Before a run, {sensed.name}: {seconds['CUDA']:.2f} s on the GPU, {seconds['CPU']:.2f} s on the CPU"
    table = findings.table(title, ["", "apart from the CPU's", f"with {WRONG_ROWS:.0%} of the rows"])
    for name, expected in found["CPU"].items():
        apart, control = (relative(found[which][name], expected) for which in ("CUDA", "fewer rows"))
        table.append([name, apart, control])
        judge_apart(findings, f"{sensed.name}, {name}", apart, control, TOLERANCES[name])


def before_a_run(operator: BlockCS, starts: tuple[str, ...]) -> dict[str, FloatArray]:
    """What the solver asks of an operator before its first update."""
    each = [operator.block_lipschitz(index) for index in range(len(operator.grid))]
    minibatch = [operator.minibatch_factor(operator.measurements // EVERY)]
    found = {"Lipschitz constants": np.array(each), "of a minibatch": np.array(minibatch)}
    return found | {kind: operator.start(kind) for kind in starts}


def judge_apart(findings: Findings, what: str, apart: float, control: float, tolerance: float) -> None:
    """The verdict on a relative difference, and on that of a wrong version."""
    findings.check(apart <= tolerance, f"{what}: {apart:.1e} apart, more than {tolerance:.0e}")
    findings.check(control > tolerance, f"{what}: a wrong version is {control:.1e} apart: this check shows nothing")
