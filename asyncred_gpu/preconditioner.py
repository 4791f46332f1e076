"""A step that knows the curvature: d = P G, P = U F⁻¹ 1/(s·ĥ + τ) F Uᵀ, with ĥ the symbol of U_iᵀ∇²g U_i.

Uᵀ puts a block into zeros twice its size, U cuts it out again. A P that is symmetric and positive leaves the solutions
of G(x) = 0 as they are; this one shortens the way, by Newton's method for the data term and τ for the denoiser's part
(2τ bounds its Jacobian where D is nonexpansive; 1.2τ was the most measured of ours). s ≥ 1 allows for blocks that move
at the same time: their moves add up where blocks share measurements, where ĥ is large. Outside the theorems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .blocks import FloatArray

# s = max(6, 8·Pω/b) for P of b blocks in flight, ω = L/L_i. On the retina (800², 180 angles, τ = 0.0025) and the camera
# man (400², 90 angles, 0.00125): with 4.5 and 6 the first sweep is a little faster, but blocks share what the data say
# less evenly, which only τ mends; with 10 and 15 it is slower. Half of the blocks in flight and 3·Pω/b: divergence.
LEAST_SHARING, SHARING = 6.0, 8.0
# Of the largest; below that a small τ would be trusted to stand for all that the symbol left out.
LEAST_CURVATURE = np.float32(1e-3)
# The norm is to say whether a step of 1 is too long: two digits do.
NORM_ITERATIONS, NORM_TOL = 30, 0.01


def sharing(in_flight: int, omega: float, blocks: int) -> float:
    """The s for P of b blocks in flight; ω = L/L_i."""
    return max(LEAST_SHARING, SHARING * in_flight * omega / blocks)


class Filter(NamedTuple):
    """P of every block of one grid, as a worker is told.

    Args:
        inverse: (padded rows, padded cols // 2 + 1) float32, 1/(s·ĥ + τ).
        shape: (padded rows, padded cols).
    """

    inverse: FloatArray
    shape: tuple[int, int]

    @classmethod
    def of(cls, symbol: FloatArray, tau: float, shape: tuple[int, int], shared: float = 1.0) -> Filter:
        """From the symbol of the data term as the operator scales it.

        Args:
            shared: s.
        Raises:
            ValueError: no curvature at all.
        """
        curvature = np.float32(shared) * symbol + np.float32(tau)
        if not curvature.max() > 0:
            raise ValueError("No ray meets the image and tau=0, so no step is defined. Pass step='block'.")
        # Where the symbol is next to nothing it is no measure of what is there.
        curvature = np.maximum(curvature, LEAST_CURVATURE * curvature.max())
        return cls(np.asarray(1 / curvature, np.float32), shape)

    @property
    def least(self) -> float:
        """The smallest factor: what a pixel that is held at zero is stepped with."""
        return float(self.inverse.min())


@dataclass(frozen=True)
class Preconditioning:
    """P of an operator's blocks.

    Args:
        norm: of block i, μ_i: the largest eigenvalue of P_i(U_iᵀ∇²g U_i + τ), near 1 where the symbol says all.
    """

    filter: Filter
    norm: Callable[[int], float]


def preconditioned_norm(
    normal: Callable[[FloatArray], FloatArray], filter_: Filter, tau: float, shape: tuple[int, int]
) -> float:
    """μ: the largest eigenvalue of P M, M = `normal` + τ, by power iteration in the inner product of M.

    Args:
        normal: x ↦ U_iᵀ∇²g U_i x, (rows, cols).
        shape: (rows, cols) of the block.
    """
    precondition = HostPreconditioner(filter_)
    vector = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    value = 0.0
    for _ in range(NORM_ITERATIONS):
        image = normal(vector) + np.float32(tau) * vector
        moved = precondition(image)
        previous, value = value, float(np.vdot(image, moved) / np.vdot(image, vector))
        if abs(value - previous) <= NORM_TOL * value:
            break
        vector = moved / np.float32(np.linalg.norm(moved))
    return value


class HostPreconditioner:
    """P of one block at a time, of numpy arrays: the `Precondition` of red.py."""

    def __init__(self, filter_: Filter) -> None:
        self.least = filter_.least
        self._apply = BlockPreconditioner(filter_, torch.device("cpu"))

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """P G, (rows, cols); a buffer, valid until the next call."""
        found: FloatArray = self._apply(torch.from_numpy(gradient)[None])[0].numpy()
        return found


class BlockPreconditioner:
    """P on one device, for blocks of at most half the padded shape; one caller at a time, since its buffers are reused.

    shape: (padded rows, padded cols). filtered: (batch, *shape), what the last call left: blocks in its top left parts.
    """

    def __init__(self, filter_: Filter, device: torch.device, batch: int = 1) -> None:
        self.shape = filter_.shape
        self._inverse = torch.from_numpy(filter_.inverse).to(device)
        self._spectrum = torch.empty((batch, *filter_.inverse.shape), dtype=torch.complex64, device=device)
        self.filtered = torch.empty((batch, *filter_.shape), dtype=torch.float32, device=device)

    def __call__(self, gradients: Tensor) -> Tensor:
        """P of (batch, rows, cols) float32; a view of a buffer, valid until the next call."""
        rows, cols = gradients.shape[-2:]
        torch.fft.rfft2(gradients, self.shape, out=self._spectrum)
        self._spectrum.mul_(self._inverse)
        torch.fft.irfft2(self._spectrum, self.shape, out=self.filtered)
        return self.filtered[:, :rows, :cols]
