"""The benchmark's denoiser in torch alone: R_c(x) = c·R(x/c) of a whole image or a crop, for whoever has torch.

R is a chain of 3×3 convolutions without padding, each but the last with a ReLU, as asyncred_gpu's `layers.py` runs it:
channels_last, the first layer in float32 whatever the others are in. A whole image is cut into tiles, as
asyncred_gpu's `WholeResidual` does: the features of a tile stay in the caches.
"""

from __future__ import annotations

import time
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .problem import Image

# A tile's side, about.
TILE = 200
# How many times faster bfloat16 must be: that of asyncred_gpu's precision.py.
WORTH = 1.2


class TorchDnCNN:
    """The residual x − D(x).

    Args:
        weights: w0, b0, w1, …
        scale: c.
        precision: of the layers but the first: "float32", or "auto": bfloat16 where it is faster.
    """

    def __init__(self, weights: dict[str, Image], scale: float, precision: str = "auto") -> None:
        self.radius = len(weights) // 2
        self.precision = native_precision() if precision == "auto" else precision
        self._scale = scale
        self._layers = []
        for index in range(self.radius):
            dtype = torch.float32 if index == 0 else getattr(torch, self.precision)
            kernel = torch.from_numpy(weights[f"w{index}"]).to(dtype).contiguous(memory_format=torch.channels_last)
            self._layers.append((kernel, torch.from_numpy(weights[f"b{index}"]).to(dtype)))

    def residual(self, image: Tensor) -> Tensor:
        """Of (n, 1, rows, cols), mirrored beyond the border, tile by tile."""
        padded = F.pad(image, 4 * (self.radius,), mode="reflect")
        found = torch.empty_like(image)
        for rows, cols in product(*map(tiles, image.shape[-2:])):
            crop = padded[..., rows.start : rows.stop + 2 * self.radius, cols.start : cols.stop + 2 * self.radius]
            found[..., rows, cols] = self.interior(crop)
        return found

    def interior(self, crop: Tensor) -> Tensor:
        """Of (n, 1, rows + 2·radius, cols + 2·radius): (n, 1, rows, cols) float32."""
        with torch.no_grad():
            features = (crop / self._scale).contiguous(memory_format=torch.channels_last)
            for kernel, bias in self._layers[:-1]:
                features = F.conv2d(features.to(kernel.dtype), kernel, bias).relu_()
            kernel, bias = self._layers[-1]
            return F.conv2d(features.to(kernel.dtype), kernel, bias).float() * self._scale

    def of_array(self, image: Image) -> Image:
        """`residual` of (rows, cols)."""
        return np.asarray(self.residual(torch.from_numpy(image)[None, None])[0, 0].numpy(), np.float32)


def tiles(side: int) -> list[slice]:
    """Equal parts of about TILE pixels, to a pixel."""
    count = max(round(side / TILE), 1)
    edges = [round(side * tile / count) for tile in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


@cache
def native_precision() -> str:
    """bfloat16 where this processor has it and convolves faster in it, else float32: as asyncred_gpu chooses."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "float32"
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    faster = native and convolution_seconds(torch.float32) > WORTH * convolution_seconds(torch.bfloat16)
    return "bfloat16" if faster else "float32"


def convolution_seconds(dtype: torch.dtype) -> float:
    """Of the network's inner layer, the best of a few."""
    image = torch.ones(1, 64, 96, 96, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    seconds = []
    with torch.no_grad():
        for _ in range(6):
            begun = time.perf_counter()
            F.conv2d(image, weight)
            seconds.append(time.perf_counter() - begun)
    return min(seconds[1:])
