"""Small RED problems whose fixed point is known: for the solver, and as dense float64 matrices.

∇g(x) = Aᵀ(A x − y) and D a 3×3 average, so G(x) = AᵀA x − Aᵀy + τR x = 0 is a linear system. For checks of the theorems
in Sun, Liu, Sun, Wohlberg, Kamilov, Async-RED, ICLR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import nn

from .blocks import BlockGrid, FloatArray, halo_crop
from .denoiser import BlockDenoiser, DenoiserSettings
from .operators.dense import DenseOperator

Float64Array = NDArray[np.float64]

# Beyond the image's border a crop is mirrored, which counts the pixels beside the border twice: without this factor
# the average would have norm 1.023 at 12×12. With it, 0.9998.
SHRINK = 0.977
# The largest squared singular value of A but one: far below the first, so that a block's L_i is far below L, and a step
# that one update at a time bears is too long for many at once.
SECOND = 0.3


class Average(nn.Module):
    """R(x) = x − D(x), D the 3×3 binomial average times `shrink`; the crop brings the mirrored border."""

    receptive_radius = 1

    def __init__(self, shrink: float = SHRINK) -> None:
        super().__init__()
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", shrink * torch.outer(line, line)[None, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        kernel = self.get_buffer("kernel")
        return image - nn.functional.conv2d(image, kernel, padding=1)


def dense_residual(network: nn.Module, image_shape: tuple[int, int]) -> Float64Array:
    """R as a matrix (pixels, pixels), column by column through the solver's own `BlockDenoiser` on the whole image."""
    crop = halo_crop(BlockGrid(image_shape, image_shape), 0, halo=1)
    denoiser = BlockDenoiser(network, DenoiserSettings(halo=1, precision="float32", intensity_scale=1.0))
    units = np.eye(image_shape[0] * image_shape[1], dtype=np.float32).reshape(-1, *image_shape)
    columns = [denoiser.residual(crop.of(unit), np.empty(image_shape, np.float32)) for unit in units]
    return np.stack([column.ravel() for column in columns], axis=1).astype(np.float64)


@dataclass(frozen=True)
class KnownFixedPoint:
    """The problem for the solver (operator, network, tau, start) and in float64 (the rest).

    Args:
        residual: (pixels, pixels) R as a matrix.
        start: (rows, cols) float32, x₀.
    """

    operator: DenseOperator
    network: Average
    tau: float
    residual: Float64Array
    start: FloatArray

    @cached_property
    def matrix(self) -> Float64Array:
        """A, the solver's float32 values."""
        return self.operator.matrix.astype(np.float64)

    @cached_property
    def measured(self) -> Float64Array:
        """y, the solver's float32 values."""
        return self.operator.measured.astype(np.float64)

    @cached_property
    def slope(self) -> Float64Array:
        """AᵀA + τR: G(x) = slope · x − Aᵀy."""
        return self.matrix.T @ self.matrix + self.tau * self.residual

    @cached_property
    def solution(self) -> Float64Array:
        """(pixels,) x*, G(x*) = 0."""
        return np.asarray(np.linalg.solve(self.slope, self.matrix.T @ self.measured), np.float64)

    @property
    def lipschitz(self) -> float:
        """L = ‖A‖²."""
        return self.operator.lipschitz

    @property
    def blocks(self) -> int:
        return len(self.operator.grid)

    @property
    def distance_squared(self) -> float:
        """R₀² = ‖x₀ − x*‖²."""
        return float(np.sum((self.start.ravel() - self.solution) ** 2))

    def started_off(self, error: Float64Array) -> KnownFixedPoint:
        """The same problem with x₀ = x* + error."""
        start = (self.solution + error).reshape(self.start.shape).astype(np.float32)
        return replace(self, start=start)

    def unscaled(self) -> KnownFixedPoint:
        """The same problem with the mistake of the paper's demo: minibatches that aren't scaled by (all / count)."""
        old = self.operator
        return replace(self, operator=DenseOperator(old.matrix, old.measured, old.grid, scaled=False))

    def gradients_squared(self, states: Float64Array) -> Float64Array:
        """‖G(x)‖² of every row of `states` (states, pixels)."""
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges
            found: Float64Array = np.sum((states @ self.slope.T - self.matrix.T @ self.measured) ** 2, axis=1)
        return found

    def largest_variance(self, states: Float64Array) -> float:
        """ν²: the largest variance that the gradient of one random measurement has at any of these states.

        Of m drawn uniformly, all · a_m (a_mᵀx − y_m) has mean ∇g(x) and second moment all · Σ_m ‖a_m‖² (a_mᵀx − y_m)².
        """
        residuals = states @ self.matrix.T - self.measured
        second = self.operator.measurements * residuals**2 @ np.sum(self.matrix**2, axis=1)
        return float(np.max(second - np.sum((residuals @ self.matrix) ** 2, axis=1)))

    def unscaled_limit(self, count: int) -> Float64Array:
        """Where SG ends if a minibatch of `count` isn't scaled by (all / count): the data term weighs count/all."""
        share = count / self.operator.measurements
        normal = share * self.matrix.T @ self.matrix + self.tau * self.residual
        return np.asarray(np.linalg.solve(normal, share * self.matrix.T @ self.measured), np.float64)


def slow_problem(seed: int = 0, side: int = 12) -> KnownFixedPoint:
    """For Theorem 1: 36 blocks of 2×2 pixels, eigenvalues of AᵀA + τR from 1 to 3·10⁻⁴, the start wrong in all of them.

    In the direction with eigenvalue h the error is about h^(−½), so that ‖G‖² = Σ h²·h⁻¹·exp(−2hγk/b) ∼ 1/k, as in the
    theorem: a well-conditioned problem would hide that behind a geometric rate. Along the steepest direction the error
    is 50, so that ‖G(x₀)‖² isn't far below the (L+2τ)²R₀² that the bound starts from.
    """
    random = np.random.default_rng(seed)
    problem = make_problem(random, side, decades=4.0, tau=0.01, noise=0.1)
    values, vectors = np.linalg.eigh((problem.slope + problem.slope.T) / 2)
    return problem.started_off(vectors @ (random.standard_normal(len(values)) / np.sqrt(values)) + 50 * vectors[:, -1])


def noisy_problem(seed: int = 0, side: int = 12) -> KnownFixedPoint:
    """For Theorem 2: well conditioned, so that the floor is soon reached, and a noise in y that makes one."""
    problem = make_problem(np.random.default_rng(seed), side, decades=1.0, tau=0.1, noise=0.3)
    vectors = np.linalg.eigh((problem.slope + problem.slope.T) / 2)[1]
    return problem.started_off(3 * vectors[:, -1])


def make_problem(random: np.random.Generator, side: int, decades: float, tau: float, noise: float) -> KnownFixedPoint:
    """Blocks of 2×2 pixels, twice as many measurements as pixels, L = 1; the start is zero.

    Args:
        side: pixels a side of the image.
        decades: over which the squared singular values of A spread, besides the largest.
        noise: standard deviation of the noise in y.

    A's right singular vectors are cosines, the finest the strongest, so that the slow directions of AᵀA are those of R.
    """
    pixels = side * side
    cosines = fft.dct(np.eye(side), norm="ortho", axis=0).T
    order = np.argsort(-np.add.outer(np.arange(side) ** 2, np.arange(side) ** 2).ravel(), kind="stable")
    right = np.kron(cosines, cosines)[:, order]
    left = np.linalg.qr(random.standard_normal((2 * pixels, pixels)))[0]
    squared = np.append(1.0, SECOND * np.logspace(0, -decades, pixels)[1:])
    matrix = ((left * np.sqrt(squared)) @ right.T).astype(np.float32)
    measured = matrix @ random.standard_normal(pixels) + noise * random.standard_normal(2 * pixels)
    operator = DenseOperator(matrix, measured.astype(np.float32), BlockGrid((side, side), (2, 2)))
    network = Average()
    return KnownFixedPoint(
        operator, network, tau, dense_residual(network, (side, side)), np.zeros((side, side), np.float32)
    )
