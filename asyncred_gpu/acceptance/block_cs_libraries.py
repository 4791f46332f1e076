"""A gradient of block compressed sensing as one writes it in torch or CuPy: in float64 the exact one, or to be timed.

Both libraries call cuBLAS for a matrix times a vector.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..blocks import FloatArray
from ..operators.matrix import BlockCS
from ..solver import draw_minibatch
from .block_cs import Form, Sensed
from .cases import Case
from .machine import Machine
from .sections import Findings
from .timing import REPEATS, WARM_UPS, operation


@dataclass(frozen=True)
class Inputs:
    """What the gradient of one block is made of, in torch's or CuPy's arrays.

    Args:
        matrix: (m, n) A, or (n, n) N. vector: (m,) y, or (n,) c. pixels: (n,) x. All in the matrix's precision.
        rows: (w,) the minibatch, None for all.
    """

    matrix: Any
    vector: Any
    pixels: Any
    rows: Any
    normal: bool

    def moved(self, move: Callable[[Any], Any]) -> Inputs:
        """The same in another library's arrays."""
        rows = None if self.rows is None else move(self.rows)
        return Inputs(move(self.matrix), move(self.vector), move(self.pixels), rows, self.normal)

    def gradient(self) -> Any:
        """Aᵀ(A x − y), or N x − c, as one writes it: cuBLAS's matrix-vector products."""
        if self.normal:
            return self.matrix @ self.pixels - self.vector
        chosen = slice(None) if self.rows is None else self.rows
        matrix, vector = self.matrix[chosen], self.vector[chosen]
        return matrix.T @ (matrix @ self.pixels - vector)


def inputs_of(case: Case, form: Form) -> list[Inputs]:
    """Of every block, in torch's tensors on the device; matrices aren't copied."""
    operator = case.operator
    assert isinstance(operator, BlockCS)
    tables = operator._rows.matrices, operator._rows.measurements
    if form.form == "normal":
        tables = operator._normal_form().normal_matrices, operator._normal_form().constant
    count, place, dtype = operator.measurements, tables[0].device, tables[0].dtype
    found = []
    for block, pixels in enumerate(operator.grid.split(case.start)):
        drawn = draw_minibatch(0, block, count, form.minibatch(count))
        rows = None if drawn is None else torch.from_numpy(drawn.astype(np.int64)).to(place)
        vector, x = tables[1][block].to(dtype), torch.from_numpy(pixels.ravel()).to(place, dtype)
        found.append(Inputs(tables[0][block], vector, x, rows, form.form == "normal"))
    return found


def exact_gradients(sensed: Sensed, image: FloatArray, inputs: Sequence[Inputs]) -> Tensor:
    """(blocks, n) in float64 by the rows, of the matrices as they are stored."""
    place, blocks = sensed.matrices.device, sensed.operator().grid.split(image)
    found = []
    for matrix, measured, pixels, one in zip(sensed.matrices, sensed.measured, blocks, inputs, strict=True):
        y, x = (torch.from_numpy(vector.ravel()).to(place).double() for vector in (measured, pixels))
        stored = matrix.to(one.matrix.dtype).double()
        found.append(Inputs(stored, y, x, one.rows, normal=False).gradient())
    return torch.stack(found)


def torch_seconds(machine: Machine, inputs: Sequence[Inputs]) -> float:
    """Of one block, captured as ours are."""
    works = [operation("torch", one.gradient) for one in inputs]
    return machine.timer.operations(works) / len(works)


def cupy_if_there(findings: Findings, machine: Machine) -> Any | None:
    try:
        return machine.cupy()
    except RuntimeError as error:
        findings.leave_out(f"CuPy: {error}")
        return None


def cupy_seconds(machine: Machine, inputs: Sequence[Inputs], cupy: Any) -> float:
    """Of one block, launched from the host one by one."""
    from cupyx.profiler import benchmark

    machine.device.synchronize()
    theirs = [one.moved(cupy.from_dlpack) for one in inputs]

    def turn() -> None:
        for one in theirs:
            one.gradient()

    seconds: list[float] = benchmark(turn, n_repeat=REPEATS, n_warmup=WARM_UPS).gpu_times.ravel().tolist()
    return statistics.median(seconds) / len(theirs)
