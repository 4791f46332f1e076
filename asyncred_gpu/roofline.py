"""What a sweep takes at least here: the denoiser's operations at the best measured rate, bytes over bandwidth.

Rates are the best of a few repetitions, on as many threads as are asked for. Source: Williams, Waterman, Patterson,
"Roofline", Communications of the ACM 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from .blocks import BlockGrid
from .models import DnCNN
from .operators.radon import RadonCT

DTYPES = (torch.float32, torch.bfloat16)
COPIED_BYTES = 2**28  # larger than any cache
LONGEST_PRODUCT = 3.0  # seconds


@dataclass(frozen=True)
class Floor:
    """A sweep's least work.

    Args:
        halo_operations: of the denoiser, if every pixel of a crop went through every layer; what a padded network does.
        operations: the least: each layer without padding, on what the next one needs of it.
        projection_bytes: read and written by the gathers and projections.
    """

    halo_operations: int
    operations: int
    projection_bytes: int

    def seconds(self, rate: float, bandwidth: float) -> tuple[float, float]:
        """(of the operations with halo, of the bytes), at operations and bytes a second."""
        return self.halo_operations / rate, self.projection_bytes / bandwidth


def sweep_floor(operator: RadonCT, network: DnCNN, halo: int) -> Floor:
    """Of one update of every block."""
    return Floor(
        sum(rows * cols for rows, cols in crops(operator.grid, halo)) * network.operations_per_pixel(),
        sum(valid_operations(network, *shape) for shape in crops(operator.grid, halo)),
        projection_bytes(operator),
    )


def crops(grid: BlockGrid, halo: int) -> list[tuple[int, int]]:
    """(rows, cols) of what the denoiser is given of every block."""
    shapes = (grid.window(index).shape for index in range(len(grid)))
    return [(rows + 2 * halo, cols + 2 * halo) for rows, cols in shapes]


def valid_operations(network: DnCNN, rows: int, cols: int) -> int:
    """Multiplications and additions of all layers on a crop, each two pixels smaller than the one before."""
    weights = [parameter for name, parameter in network.named_parameters() if name.endswith("weight")]
    return sum(
        2 * weight.numel() * (rows - 2 * depth) * (cols - 2 * depth) for depth, weight in enumerate(weights, start=1)
    )


def projection_bytes(operator: RadonCT) -> int:
    """Of a sweep, float32: per block the gather of all shares on its footprint, back projection, and projection."""
    total = 0
    for index in range(len(operator.grid)):
        pixels = int(np.prod(operator.grid.window(index).shape))
        share = int(np.prod(operator.share_shape(index)))
        here = operator.footprint(index)
        overlaps = sum(
            int(np.clip(np.minimum(here.start + here.width, there.start + there.width)
                        - np.maximum(here.start, there.start), 0, None).sum())
            for there in map(operator.footprint, range(len(operator.grid)))
        )  # fmt: skip
        gather = overlaps + share + share  # the shares and the measurements are read, the residual is written
        total += gather + (share + pixels) + (pixels + share)
    return 4 * total


def product_rate(dtype: torch.dtype, threads: int, size: int = 4096) -> float:
    """Operations a second of a size × size matrix product; of a quarter of the size where that would take seconds."""
    torch.set_num_threads(threads)
    rate = _product_rate(dtype, size // 4)
    return rate if 2 * size**3 / rate > LONGEST_PRODUCT else _product_rate(dtype, size)


def _product_rate(dtype: torch.dtype, size: int) -> float:
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / best_of(5, lambda: left @ right)


def convolution_rate(dtype: torch.dtype, threads: int, side: int = 214, channels: int = 64) -> float:
    """Operations a second of the denoiser's inner layer: 3×3, channels_last, no padding."""
    torch.set_num_threads(threads)
    image = torch.randn(1, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        seconds = best_of(10, lambda: F.conv2d(image, weight))
    return 2 * 9 * channels**2 * (side - 2) ** 2 / seconds


def copy_bandwidth(nbytes: int = COPIED_BYTES) -> float:
    """Bytes a second, read and written, of a copy by one core."""
    source = np.ones(nbytes // 8)
    target = np.empty_like(source)
    return 2 * source.nbytes / best_of(5, lambda: np.copyto(target, source))


def best_of(count: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of `count` calls, after one that warms up."""
    work()
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
