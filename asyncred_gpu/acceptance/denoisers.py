"""The denoiser alone: every way to run it, first its values, then its time against the roofline.

Values are held against float32 by torch's operations, after freed memory was filled with NaN, which nothing may read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..denoiser import DenoiserSettings, DeviceDenoiser
from .floors import fraction, network_operations
from .machine import Machine
from .measured import Measured
from .roofline import CROP_SIDE, CROPS
from .sections import Findings
from .timing import operation

REDUCED = ("float16", "bfloat16")
# ‖R − R_float32‖ / ‖R_float32‖ of the shipped network on noise: 7e-4 in float16, 5.5e-3 in bfloat16 (on a CPU).
TOLERANCES = {"float32": 1e-4, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 1.5e-2}
# Where all variants are compared; the first of them is measured elsewhere too.
COMPARED = (1, 4)
# What the widest features take a pixel, in float32; and what the allocator keeps apart from larger memory.
FEATURE_BYTES = 4 * 64
SMALL_BYTES = 2**19
POISON_PIECES = 8


@dataclass(frozen=True)
class Variant:
    """One way to run the layers; see DeviceDenoiser."""

    name: str
    own: bool = False
    fused: bool = False
    pad_last: bool = False


OWN, PLAIN = Variant("own kernels", own=True), Variant("torch's operations")
# As the solver runs it, first.
VARIANTS = (OWN, PLAIN, Variant("fused by cuDNN", fused=True), Variant("own kernels, last padded", True, pad_last=True))


@dataclass(frozen=True)
class NetworkPoint:
    """What is timed at once."""

    precision: str
    variant: Variant
    crops: int

    @property
    def row(self) -> str:
        return f"{self.precision}, {self.variant.name}"

    def __str__(self) -> str:
        return f"{self.row}, {self.crops} crops"


def network_points(precisions: Sequence[str], crops: Sequence[int] = CROPS) -> list[NetworkPoint]:
    """All points, the most informative first: every new one costs cuDNN seven searches."""
    compared = [count for count in COMPARED if count in crops]
    others = [count for count in crops if count not in compared]
    reduced = [name for name in precisions if name in REDUCED]
    full = [name for name in precisions if name not in REDUCED]
    groups = [
        (reduced[:1], VARIANTS, compared),
        (reduced[:1], [OWN], others),
        (reduced[1:], VARIANTS, compared),
        (full, [PLAIN], compared),
        (reduced[1:], [OWN], others),
        (full, [PLAIN], others),
    ]
    return [
        NetworkPoint(precision, variant, count)
        for names, variants, counts in groups
        for precision in names
        for variant in variants
        for count in counts
    ]


def denoiser_rates(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    network: nn.Module,
    halo: int,
    side: int = CROP_SIDE,
    crops: Sequence[int] = CROPS,
) -> None:
    """The section: one whose values are wrong is a failure and isn't timed."""
    points = network_points(machine.precisions, crops)
    title = f"Denoiser alone on {side}², share of the roofline by crops at once; as the solver runs it: {OWN.name}"
    table = findings.table(title, ["", *map(str, crops), "largest error"])
    rows: dict[str, list[Any]] = {point.row: [point.row, *(None for _ in crops), None] for point in points}
    table.extend(rows.values())
    for point in findings.in_time(points):
        row = rows[point.row]
        with findings.attempt(str(point)):
            settings = DenoiserSettings(halo, point.precision, 1.0)
            denoiser = make_denoiser(machine, network, settings, point.variant)
            images = some_crops(machine, point.crops, side)
            error = value_error(denoiser, exact_residual(machine, network, halo, images), images)
            row[-1] = error if row[-1] is None else float(np.maximum(row[-1], error))  # nan stays nan
            tolerance = TOLERANCES[point.precision]
            right = error <= tolerance
            findings.data[str(point)] = {"error": error}
            findings.check(right, f"{point}: wrong by {error:.1e}, more than {tolerance:.1e}, so it wasn't timed")
            if right:
                seconds = denoiser_seconds(machine, denoiser, images)
                floor = measured.ceilings().arithmetic(
                    network_operations(network, side, side) * point.crops, point.precision
                )
                row[1 + crops.index(point.crops)] = fraction(floor, seconds)
                findings.data[str(point)] |= {"seconds": seconds, "floor": floor}


def make_denoiser(machine: Machine, network: nn.Module, settings: DenoiserSettings, variant: Variant) -> DeviceDenoiser:
    device = machine.device
    kernels = device.kernels if variant.own else None
    options = {"fused": variant.fused, "pad_last": variant.pad_last}
    return DeviceDenoiser(network, settings, device.torch, deterministic=False, kernels=kernels, **options)


def some_crops(machine: Machine, count: int, side: int) -> Tensor:
    """The same noise every time, (count, 1, side, side)."""
    noise = torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))
    return noise.to(machine.device.torch)


def exact_residual(machine: Machine, network: nn.Module, halo: int, images: Tensor) -> Tensor:
    """In float32, by torch's operations."""
    settings = DenoiserSettings(halo, "float32", 1.0)
    return DeviceDenoiser(network, settings, machine.device.torch, deterministic=True).residual(images)


def value_error(
    denoiser: DeviceDenoiser, exact: Tensor, images: Tensor, poison: Callable[[torch.device, int], None] | None = None
) -> float:
    """‖R − exact‖ / ‖exact‖; nan if R holds one, as from memory that nobody wrote."""
    denoiser.residual(images)  # cuDNN's search, after which torch gives back what is free: the poison would go, too
    (poison or poison_freed)(images.device, images.numel() * FEATURE_BYTES)
    found = denoiser.residual(images).double()
    return float(torch.linalg.vector_norm(found - exact)) / float(torch.linalg.vector_norm(exact.double()))


def poison_freed(device: torch.device, nbytes: int) -> None:
    """Fill memory with NaN and free it: what is allocated next, of at most `nbytes` each, gets that.

    All bits set are a NaN in every format.
    """
    sizes = [nbytes, SMALL_BYTES] * POISON_PIECES
    filled = [torch.full((size,), 255, dtype=torch.uint8, device=device) for size in sizes]
    del filled


def denoiser_seconds(machine: Machine, denoiser: DeviceDenoiser, images: Tensor) -> float:
    """Of one call, into memory that is there already, as a worker has it."""
    out = denoiser.residual(images)
    work = operation("network", partial(denoiser.residual_into, images, out))
    return machine.timer.operations([work])
