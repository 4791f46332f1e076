"""The least an update can take: the network's operations at the conv rate, its bytes at the bandwidth, both measured.

Pure arithmetic. Operations are floating point ones, two a multiply-add; bytes are moved once in and once out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from ..blocks import BlockGrid
from ..operators.radon import RadonCT

FLOAT_BYTES = 4


def conv_operations(batch: int, inputs: int, outputs: int, kernel: tuple[int, int], rows: int, cols: int) -> int:
    """Of one convolution whose output is (batch, outputs, rows, cols)."""
    return 2 * batch * inputs * outputs * kernel[0] * kernel[1] * rows * cols


def network_operations(network: nn.Module, rows: int, cols: int) -> int:
    """Of the residual of a crop (rows, cols), halo included: every layer without padding, so smaller than the last."""
    total = 0
    for weight in (parameter for parameter in network.parameters() if parameter.ndim == 4):
        outputs, inputs, *kernel = weight.shape
        rows, cols = rows - (kernel[0] - 1), cols - (kernel[1] - 1)
        if min(rows, cols) < 1:
            raise ValueError("The crop is smaller than the network's receptive field. Pass a larger one.")
        total += conv_operations(1, inputs, outputs, (kernel[0], kernel[1]), rows, cols)
    return total


def sweep_operations(network: nn.Module, grid: BlockGrid, halo: int) -> int:
    """Of one update of every block."""
    shapes = [grid.window(index).shape for index in range(len(grid))]
    return sum(network_operations(network, rows + 2 * halo, cols + 2 * halo) for rows, cols in shapes)


def update_bytes(operator: RadonCT, index: int, halo: int) -> int:
    """What an update of a block must move besides the network's features: each input read, each output written, once.

    Crop; the shares that reach its footprint, the measured sinogram there; the residual out and in again; the
    gradient, the network's output, x and m in and out; its new share.
    """
    rows, cols = operator.grid.window(index).shape
    crop = (rows + 2 * halo) * (cols + 2 * halo)
    here = operator.footprint(index)
    gathered = sum(
        int(
            np.clip(
                np.minimum(here.start + here.width, there.start + there.width) - np.maximum(here.start, there.start),
                0,
                None,
            ).sum()
        )
        for there in (operator.footprint(other) for other in range(len(operator.grid)))
    )
    share = len(here.start) * here.width
    floats = 2 * crop + gathered + share + 2 * share + 6 * rows * cols + share
    return FLOAT_BYTES * floats


def rows_gradient_bytes(rows: int, pixels: int, itemsize: int) -> int:
    """What Aᵀ(A x − y) of a dense matrix must move: x and y, the matrix twice, since Aᵀ begins when A x is complete."""
    return 2 * rows * pixels * itemsize + FLOAT_BYTES * (2 * pixels + rows)


def normal_gradient_bytes(pixels: int) -> int:
    """What N x − c must move."""
    return FLOAT_BYTES * (pixels**2 + 3 * pixels)


def fraction(floor_seconds: float, seconds: float) -> float:
    """How near a time is to its floor: 1 is at it."""
    return floor_seconds / seconds if seconds > 0 else math.nan


@dataclass(frozen=True)
class Ceilings:
    """What the device can do, measured: bytes a second of a copy, and operations a second by precision."""

    bandwidth: float
    rates: dict[str, float]

    def arithmetic(self, operations: float, precision: str) -> float:
        """Seconds, nan if that rate wasn't measured."""
        rate = self.rates.get(precision, math.nan)
        return operations / rate

    def memory(self, nbytes: float) -> float:
        """Seconds."""
        return nbytes / self.bandwidth
