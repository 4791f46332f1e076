"""G(x) = ∇g(x) + τ(x − D(x)) of the whole image, whose zeros are the fixed points of all RED methods here.

Sun, Liu, Sun, Wohlberg, Kamilov, ICLR 2021, eq. 3. On the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from ..blocks import BlockGrid, FloatArray, choose_block_shape, halo_crop
from ..denoiser import BlockDenoiser, DenoiserSettings, LocalNetwork, resolve_halo
from ..operators.base import BlockOperator


class WholeResidual:
    """R_c(x) of the whole image, mirrored beyond its border as every block's halo is.

    Tile by tile if the network looks no further than the halo: the same numbers, with the memory of one tile.
    """

    def __init__(self, network: nn.Module, settings: DenoiserSettings, image_shape: tuple[int, int]) -> None:
        local = isinstance(network, LocalNetwork) and network.receptive_radius <= settings.halo
        tiles = BlockGrid(image_shape, choose_block_shape(image_shape) if local else image_shape)
        self._tiles = [(halo_crop(tiles, i, settings.halo), tiles.window(i).slices) for i in range(len(tiles))]
        self._denoiser = BlockDenoiser(network, settings)

    def __call__(self, image: FloatArray) -> FloatArray:
        """(rows, cols) → (rows, cols) float32, x − D(x)."""
        residual = np.empty_like(image)
        for crop, here in self._tiles:
            self._denoiser.residual(crop.of(image), residual[here])
        return residual


class FullGradient:
    """G of the whole image.

    Args:
        operator, network, tau, pad: as of `GpuAsyncRED`.
        intensity_scale: c in R_c(x) = c·R(x/c), a number.
        precision: the network's, "float32" or "bfloat16".
    """

    def __init__(
        self,
        operator: BlockOperator,
        network: nn.Module,
        tau: float,
        intensity_scale: float,
        precision: str = "float32",
        pad: Any = "exact",
    ) -> None:
        settings = DenoiserSettings(resolve_halo(pad, network), precision, intensity_scale)
        self.residual = WholeResidual(network, settings, operator.image_shape)
        self.data = operator.gradient
        self._tau = np.float32(tau)

    def __call__(self, image: FloatArray) -> FloatArray:
        return self.data(image) + self._tau * self.residual(image)
