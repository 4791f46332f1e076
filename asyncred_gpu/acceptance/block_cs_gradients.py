"""A gradient of block compressed sensing alone: its values, then its time against its floor, torch's and CuPy's.

Nothing is aimed at. A turn takes the gradients of all blocks, so that a GPU's cache holds another block's matrix when
one begins. The floor reads the rows twice from memory; where the second time finds them in the cache, less is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..runtime.device import Operation
from .block_cs import FORMS, Form, Sensed, judge_apart
from .block_cs_libraries import cupy_if_there, cupy_seconds, exact_gradients, inputs_of, torch_seconds
from .cases import Case
from .floors import fraction, normal_gradient_bytes, rows_gradient_bytes
from .machine import Machine
from .measured import Measured
from .sections import Findings
from .stages import Bench, make_bench

SIZES = (1, 3, 9)
# ‖found − exact‖ / ‖exact‖ of sums of 6400 products in float32.
TOLERANCE = 1e-5


def gradient_times(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    sensed: Sensed,
    forms: Sequence[Form] = FORMS,
    sizes: Sequence[int] = SIZES,
) -> None:
    """The section: one whose values are wrong is a failure and isn't timed."""
    _, rows, pixels = sensed.matrices.shape
    columns = ["", "blocks a launch", "µs a block", "floor, µs", "share of the floor", "torch, µs", "CuPy, µs", "error"]
    title = f"Gradient of {sensed.name}, {rows} × {pixels}; torch, CuPy: products by cuBLAS, in the matrix's precision"
    table = findings.table(title, columns)
    cupy = cupy_if_there(findings, machine)
    for form in findings.in_time(forms):
        with findings.attempt(str(form)):
            times = time_form(findings, machine, sensed, form, sizes, cupy)
            floor = measured.ceilings().memory(floor_bytes(form, rows, pixels))
            for size, (seconds, error) in times.ours.items():
                shown = [microseconds(part) for part in (seconds, floor, *times.others.values())]
                share = None if seconds is None else fraction(floor, seconds)
                table.append([str(form), size, *shown[:2], share, *shown[2:], error])
                raw = {"seconds": seconds, "floor": floor, "error": error, **times.others}
                findings.data[f"{form}, {size} a launch"] = raw


@dataclass(frozen=True)
class Times:
    """Seconds a block: of others by name, and of ours, with the error of its values, by blocks a launch."""

    others: dict[str, float | None]
    ours: dict[int, tuple[float | None, float]]


def time_form(
    findings: Findings, machine: Machine, sensed: Sensed, form: Form, sizes: Sequence[int], cupy: Any | None
) -> Times:
    noise = np.random.default_rng(0).standard_normal(sensed.truth.shape).astype(np.float32)
    case = replace(sensed.case(form), start=noise)
    inputs = inputs_of(case, form)
    exact = exact_gradients(sensed, noise, inputs)
    ours: dict[int, tuple[float | None, float]] = {}
    for size in sizes:
        benches = make_benches(machine, case, sensed.side, form, size)
        error = value_error(findings, machine, benches, exact, f"{form}, {size} a launch")
        works = [gradient_stage(bench) for bench in benches]
        right = error <= TOLERANCE
        ours[size] = (machine.timer.operations(works) / len(inputs) if right else None), error
    others: dict[str, float | None] = {"torch": None, "CuPy": None}
    with findings.attempt(f"{form}, torch"):
        others["torch"] = torch_seconds(machine, inputs)
    with findings.attempt(f"{form}, CuPy"):
        others["CuPy"] = None if cupy is None else cupy_seconds(machine, inputs, cupy)
    return Times(others, ours)


def microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e6 * seconds


def floor_bytes(form: Form, rows: int, pixels: int) -> int:
    if form.form == "normal":
        return normal_gradient_bytes(pixels)
    itemsize = 2 if form.storage == "float16" else 4
    return rows_gradient_bytes(form.minibatch(rows) or rows, pixels, itemsize)


# --- ours ------------------------------------------------------------------------------------------------------------


def make_benches(machine: Machine, case: Case, side: int, form: Form, size: int) -> list[Bench]:
    """Workers of `size` blocks each, which together hold them all."""
    blocks, minibatch = len(case.operator.grid), form.minibatch(case.operator.measurements)
    return [make_bench(machine, case, side, "float32", size, first, minibatch) for first in range(0, blocks, size)]


def gradient_stage(bench: Bench) -> Operation:
    return next(stage for stage in bench.stages if stage.name == "gradient")


def value_error(findings: Findings, machine: Machine, benches: Sequence[Bench], exact: Tensor, what: str) -> float:
    """How far their gradients are from the exact ones; and a verdict, beside another block's."""
    for bench in benches:
        gradient_stage(bench).run()
    machine.device.synchronize()
    found = torch.cat([bench.gradient for bench in benches]).flatten(1).double()
    error, control = (apart(found, values) for values in (exact, exact.roll(1, dims=0)))
    judge_apart(findings, what, error, control, TOLERANCE)
    return error


def apart(found: Tensor, exact: Tensor) -> float:
    return float(torch.linalg.vector_norm(found - exact) / torch.linalg.vector_norm(exact))
