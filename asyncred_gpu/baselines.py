"""GM-RED: the full-gradient method, serial and in float32; what the asynchronous one is compared with.

x ← y − γ·G(y), γ = 1/(L+2τ), with Nesterov's extrapolation and restart (Romano, Elad, Milanfar 2017; O'Donoghue and
Candès 2015). Its fixed points are those of Async-RED: G(x) = ∇g(x) + τ(x − D(x)) = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from .blocks import BlockGrid, FloatArray, halo_crop
from .denoiser import BlockDenoiser, DenoiserSettings, resolve_halo
from .operators.radon import RadonCT


@dataclass(frozen=True)
class BaselineResult:
    """The image, ‖G‖²/‖G₀‖² at its last iterate, and the number of gradients computed."""

    image: FloatArray
    residual: float
    iterations: int


class FullGradient:
    """G(x) of the whole image, mirrored beyond its border as every block's halo is."""

    def __init__(self, operator: RadonCT, network: nn.Module, tau: float, intensity_scale: float) -> None:
        halo = resolve_halo("exact", network)
        self._operator = operator
        self._tau = np.float32(tau)
        self._crop = halo_crop(BlockGrid(operator.image_shape, operator.image_shape), 0, halo)
        self._denoiser = BlockDenoiser(network, DenoiserSettings(halo, "float32", intensity_scale))

    def __call__(self, image: FloatArray) -> FloatArray:
        crop = np.empty(self._crop.shape, np.float32)
        self._crop.mirror(image, crop)
        residual = self._denoiser.residual(crop, np.empty_like(image))
        return self._operator.gradient(image) + self._tau * residual


def gm_red(
    operator: RadonCT,
    network: nn.Module,
    tau: float,
    intensity_scale: float,
    x0: FloatArray,
    tol: float = 1e-8,
    max_iterations: int = 2000,
    accelerate: bool = True,
    report: Callable[[int, float], None] | None = None,
) -> BaselineResult:
    """Minimise by full gradients until ‖G‖²/‖G₀‖² ≤ tol.

    Args:
        x0: (rows, cols) float32, the start.
        accelerate: Nesterov's extrapolation, restarted where it points uphill.
        report: told the iteration and ‖G‖²/‖G₀‖² after each.
    """
    gradient = FullGradient(operator, network, tau, intensity_scale)
    step = np.float32(1 / (operator.lipschitz + 2 * tau))
    image, ahead, weight, first, residual = x0, x0, 1.0, 0.0, math.inf
    for iteration in range(1, max_iterations + 1):
        slope = gradient(ahead)
        squared = float(np.sum(np.square(slope, dtype=np.float64)))
        first = first or squared
        residual = squared / first if first else 0.0
        if report is not None:
            report(iteration, residual)
        if residual <= tol:
            break
        image, previous = ahead - step * slope, image
        moved = image - previous
        uphill = float(np.vdot(slope, moved)) > 0
        next_weight = 1.0 if uphill or not accelerate else (1 + math.sqrt(1 + 4 * weight**2)) / 2
        ahead = image + np.float32((weight - 1) / next_weight if not uphill and accelerate else 0.0) * moved
        weight = next_weight
    return BaselineResult(ahead, residual, iteration)
