"""How nonexpansive D = I − R is where it is used: norms of both Jacobians at images, gathered for the model card.

D is nonexpansive if ‖J_D‖ ≤ 1 at *every* image; norms at some images can refute that, never prove it. Measured is what
the solver applies: the network without padding, on the image mirrored beyond its border (numpy's "reflect").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dncnn import DnCNN
from .jacobian import JacobianNorm, Map, linear_norm

ROUNDING = 1e-5  # a norm of exactly 1 may come out this much higher in float32


@dataclass(frozen=True)
class NormsAt:
    """The norms of the Jacobians of D and R at one image."""

    denoiser: JacobianNorm
    residual: JacobianNorm


def norms_at(network: DnCNN, image: Tensor, tolerance: float = 1e-4, most: int = 200, seed: int = 0) -> NormsAt:
    """Norms of J_D and J_R at an image (rows, cols) in the network's intensities, [0, 1].

    The other arguments and the errors are those of `jacobian_norm`, which gives the same in twice the time.
    """
    residual = frozen_residual(network, image)
    settings: dict[str, Any] = {"tolerance": tolerance, "most": most, "seed": seed}
    return NormsAt(
        linear_norm(lambda change: change - residual(change), image, **settings),
        linear_norm(residual, image, **settings),
    )


def mirrored_residual(network: DnCNN, image: Tensor) -> Tensor:
    """R of an image (rows, cols), mirrored beyond its border, in its shape."""
    return network.interior(_mirrored(image, network.receptive_radius))[0, 0]


def frozen_residual(network: DnCNN, image: Tensor) -> Map:
    """The Jacobian of `mirrored_residual` at an image as a linear map: each ReLU stays open or shut as it is there."""
    layers = cast("list[nn.Conv2d]", list(network.layers))
    *hidden, last = [layer.weight.detach().contiguous(memory_format=torch.channels_last) for layer in layers]
    radius = network.receptive_radius
    features = _mirrored(image, radius)
    gates = []
    with torch.no_grad():
        for weight, layer in zip(hidden, layers[:-1], strict=True):
            features = F.conv2d(features, weight, layer.bias)
            gates.append((features > 0).to(features.dtype))
            features = features.relu_()

    def residual(change: Tensor) -> Tensor:
        changes = _mirrored(change, radius)
        for weight, gate in zip(hidden, gates, strict=True):
            changes = F.conv2d(changes, weight) * gate
        return F.conv2d(changes, last)[0, 0]

    return residual


def _mirrored(image: Tensor, radius: int) -> Tensor:
    """(1, 1, rows + 2·radius, cols + 2·radius), as the solver's blocks see the image."""
    if image.ndim != 2 or min(image.shape) <= radius:
        raise ValueError(
            f"An image of shape {tuple(image.shape)} can't be mirrored by the network's radius {radius}. "
            f"Pass one of (rows, cols), at least {radius + 1} pixels a side."
        )
    return F.pad(image[None, None], (radius,) * 4, mode="reflect")


def summary(norms: Sequence[NormsAt], images: Sequence[Tensor]) -> dict[str, Any]:
    """The norms as they go into the facts beside the weights."""
    denoiser = [norm.denoiser.value for norm in norms]
    return {
        "count": len(norms),
        "sizes": sorted({f"{rows}×{cols}" for rows, cols in (image.shape for image in images)}),
        "D": _statistics(denoiser),
        "R": _statistics([norm.residual.value for norm in norms]),
        "share_of_D_above_1": sum(value > 1 + ROUNDING for value in denoiser) / len(norms),
        "not_converged": sum(not (norm.denoiser.converged and norm.residual.converged) for norm in norms),
    }


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": round(fmean(values), 5),
        "max": round(max(values), 5),
        "each": [round(value, 5) for value in values],
    }


def middle(image: Tensor, side: int) -> Tensor:
    """The middle of an image (rows, cols), at most side×side pixels."""
    rows, cols = (min(side, length) for length in image.shape)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - cols) // 2
    return image[top : top + rows, left : left + cols].contiguous()
