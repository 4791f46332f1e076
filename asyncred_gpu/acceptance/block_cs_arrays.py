"""Matrices that lie on the GPU already, torch's and CuPy's: none is copied, and the image comes back as their kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..arrays import as_numpy
from ..blocks import FloatArray
from ..operators.matrix import BlockCS
from .block_cs import FORMS, Sensed
from .machine import Machine, make_solver, run
from .sections import Findings

SWEEPS = 2
WRONG_MEASUREMENTS = np.float32(1.01)


@dataclass(frozen=True)
class Kind:
    """Arrays of one library.

    Args:
        make: such an array on the device, from numpy's.
        address: where its first element lies.
    """

    name: str
    make: Callable[[Any], Any]
    address: Callable[[Any], int]


def torchs_arrays(machine: Machine) -> Kind:
    place = machine.device.torch
    return Kind("torch", lambda array: torch.from_numpy(array).to(place), lambda array: int(array.data_ptr()))


def cupys_arrays(machine: Machine) -> Kind:
    """Raises RuntimeError: CuPy has no GPU here."""
    return Kind("CuPy", machine.cupy().asarray, lambda array: int(array.data.ptr))


def check_arrays(findings: Findings, machine: Machine, sensed: Sensed) -> None:
    """The section: runs from either kind, against one from numpy's."""
    title = f"Arrays on the GPU, {sensed.name}"
    rows = findings.table(title, ["", "copied", "copied from float64", "image's type", "the bits of numpy's run"])
    matrices = sensed.matrices.cpu().numpy()
    expected, _ = run_of(machine, sensed, matrices, sensed.measured)
    wrong, _ = run_of(machine, sensed, matrices, WRONG_MEASUREMENTS * sensed.measured)
    findings.check(not np.array_equal(wrong, expected), "other measurements give the same bits")
    for make_kind in (torchs_arrays, cupys_arrays):
        try:
            kind = make_kind(machine)
        except RuntimeError as error:
            findings.leave_out(f"CuPy's arrays: {error}")
            continue
        with findings.attempt(kind.name):
            rows.append([kind.name, *check_kind(findings, machine, sensed, kind, expected)])


def check_kind(
    findings: Findings, machine: Machine, sensed: Sensed, kind: Kind, expected: FloatArray
) -> tuple[str, str, str, str]:
    """A row of the table, and the verdict on it."""
    matrices = sensed.matrices.cpu().numpy()
    given, wide, measured = (kind.make(array) for array in (matrices, matrices.astype(np.float64), sensed.measured))
    image, kept = run_of(machine, sensed, given, measured)
    copied = address_of(kept) != kind.address(given)
    control = address_of(sensed.operator(FORMS[0], wide, measured)) != kind.address(wide)
    named = f"{type(image).__module__}.{type(image).__name__}"
    back = type(image) is type(measured) and image.device == measured.device
    same = np.array_equal(as_numpy(image, "image", 2), expected)
    findings.check(not copied, f"{kind.name}: matrices of the right precision were copied")
    findings.check(control, f"{kind.name}: matrices in float64 weren't copied: this check shows nothing")
    findings.check(back, f"{kind.name}: the image came back as {named}, on {image.device}")
    findings.check(same, f"{kind.name}: the image has other bits than numpy's")
    yes_no = ["yes" if found else "no" for found in (copied, control, same)]
    return yes_no[0], yes_no[1], named, yes_no[2]


def run_of(machine: Machine, sensed: Sensed, matrices: Any, measured: Any) -> tuple[Any, BlockCS]:
    """The image of an ordered run with these arrays, and its operator as the run left it."""
    operator = sensed.operator(FORMS[0], matrices, measured)
    settings = {"block_shape": (sensed.side, sensed.side), "num_workers": 2, "order": "ordered"}
    solver = make_solver(machine.solver_device, sensed.case(FORMS[0], operator), **settings)
    return run(machine.factory(solver), solver, SWEEPS, sensed.start).image, operator


def address_of(operator: BlockCS) -> int:
    """Where its matrices lie."""
    return operator._rows.matrices.data_ptr()
