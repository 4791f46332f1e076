"""The benchmark's denoiser in JAX: R_c(x) = c·R(x/c) of a whole image, in float32.

A chain of 3×3 convolutions without padding on the mirrored image, each but the last with a ReLU; rows, columns,
channels in this order, the one that XLA's CPU convolutions are fastest in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .problem import Image

LAYOUT = ("NHWC", "HWIO", "NHWC")


def jax_residual(weights: dict[str, Image], scale: float) -> Callable[[Any], Any]:
    """(rows, cols) → (rows, cols), the residual x − D_c(x); compiled at its first call."""
    radius = len(weights) // 2
    layers = [
        (jnp.asarray(weights[f"w{index}"].transpose(2, 3, 1, 0)), jnp.asarray(weights[f"b{index}"]))
        for index in range(radius)
    ]

    def residual(image: Any) -> Any:
        features = jnp.pad(image / scale, radius, mode="reflect")[None, :, :, None]
        for index, (kernel, bias) in enumerate(layers):
            features = lax.conv_general_dilated(features, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT) + bias
            features = jnp.maximum(features, 0) if index < radius - 1 else features
        return scale * features[0, :, :, 0]

    compiled: Callable[[Any], Any] = jax.jit(residual)
    return compiled
