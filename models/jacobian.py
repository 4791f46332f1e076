"""The norm of a function's Jacobian J at an image: how far a small change of the image can be stretched there.

By Lanczos' method on JᵀJ: power iteration that keeps its iterates and takes their best combination (Golub, Van Loan,
Matrix Computations, 4th ed., 10.1). Every step gives a *lower* bound, which rises to the norm. Power iteration alone
rises too slowly for a denoiser, whose largest singular values lie close together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]

PATIENCE = 5  # steps the value must hardly grow in: it can rest at the second largest for one or two


@dataclass(frozen=True)
class JacobianNorm:
    """What the iteration reached.

    Args:
        value: largest singular value, from below.
        iterations: products with JᵀJ.
        change: how much the value grew over the last PATIENCE steps, relative to itself; inf after fewer steps.
        converged: the change is within the tolerance, or no direction was left to try.
    """

    value: float
    iterations: int
    change: float
    converged: bool


def jacobian_norm(
    function: Map, image: Tensor, *, tolerance: float = 1e-4, most: int = 200, seed: int = 0
) -> JacobianNorm:
    """Largest singular value of the Jacobian of `function` at `image`, from below; deterministic.

    Args:
        function: of an image, to an image or any other tensor; what torch can differentiate forward and backward.
        image: (rows, cols) float32 or float64, which is the precision computed in.
        tolerance: relative growth over PATIENCE steps at which to stop.
        most: iterations at most; each costs about five evaluations and keeps one image.
        seed: of the random direction begun with.
    Raises:
        ValueError: an image of another type, or settings that can't be.
        FloatingPointError: the Jacobian holds NaN or infinity.
    """
    if image.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"The image is {image.dtype}, derivatives need float32 or float64. Pass image.float().")

    def forward(direction: Tensor) -> Tensor:
        pushed: Tensor = torch.func.jvp(function, (image,), (direction,))[1]
        return pushed

    start = random_direction(image, seed)
    return operator_norm(forward, _transposed_jacobian(function, image), start, tolerance=tolerance, most=most)


def linear_norm(linear: Map, like: Tensor, *, tolerance: float = 1e-4, most: int = 200, seed: int = 0) -> JacobianNorm:
    """Largest singular value of a linear function of tensors shaped `like` one; otherwise as `jacobian_norm`.

    It saves evaluating the derivative: a linear function is its own.
    """
    start = random_direction(like, seed)
    return operator_norm(linear, _transposed_jacobian(linear, like), start, tolerance=tolerance, most=most)


def _transposed_jacobian(function: Map, image: Tensor) -> Map:
    pull_back = torch.func.vjp(function, image)[1]

    def adjoint(direction: Tensor) -> Tensor:
        pulled: Tensor = pull_back(direction)[0]
        return pulled

    return adjoint


def random_direction(image: Tensor, seed: int) -> Tensor:
    """A direction of the image's shape and type, Gaussian: it has a part along every other direction."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(image.shape, generator=random, dtype=torch.float64).to(image)


def operator_norm(forward: Map, adjoint: Map, start: Tensor, *, tolerance: float, most: int) -> JacobianNorm:
    """Largest singular value of the linear map `forward`, whose transpose is `adjoint`, from below.

    Args:
        start: direction begun with; what its images under JᵀJ never touch isn't seen, so take a random one.
    """
    if not tolerance > 0 or most < 1:
        raise ValueError(f"tolerance={tolerance} and most={most} must be above 0. Pass 1e-4 and 200, the defaults.")
    basis = (start / start.norm()).flatten()[None]
    diagonal: list[float] = []
    beside: list[float] = []
    values: list[float] = []
    while True:
        product = adjoint(forward(basis[-1].reshape(start.shape))).flatten()
        diagonal.append(float(product @ basis[-1]))
        if not math.isfinite(diagonal[-1]):
            raise FloatingPointError(
                f"JᵀJ of a direction is {diagonal[-1]} after {len(diagonal)} steps: the function's derivative isn't "
                "finite there. Look for NaN or infinity in the image and in the function's parameters."
            )
        values.append(_largest_root(diagonal, beside))
        rest = _orthogonal_to(basis, product)
        beside.append(float(rest.norm()))
        # Nothing but rounding is left: the directions tried hold everything that the first one leads to.
        exhausted = beside[-1] <= 100 * torch.finfo(start.dtype).eps * values[-1] ** 2
        change = 0.0 if exhausted else _growth(values)
        if change <= tolerance or len(values) == most:
            return JacobianNorm(values[-1], len(values), change, change <= tolerance)
        basis = torch.cat((basis, (rest / beside[-1])[None]))


def _largest_root(diagonal: Sequence[float], beside: Sequence[float]) -> float:
    """Root of the largest eigenvalue of the tridiagonal matrix, JᵀJ on the directions tried."""
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    return math.sqrt(max(float(np.linalg.eigvalsh(matrix)[-1]), 0.0))


def _orthogonal_to(basis: Tensor, vector: Tensor) -> Tensor:
    """The vector without its parts along the rows of `basis`; twice, since the first time leaves rounding."""
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _growth(values: Sequence[float]) -> float:
    if len(values) <= PATIENCE:
        return math.inf
    return values[-1] / values[-1 - PATIENCE] - 1
