"""What AᵀA of a parallel beam does to a block of the image, seen as a convolution: its point spread, and its symbol.

Joseph's ray at angle θ takes a pixel at distance t with the weight φ(t) = Λ(t/m)/m, m = max(|cos θ|, |sin θ|), Λ the
triangle of half width 1. Averaged over where the rays lie between the pixels, two pixels apart by (x, y) share

    h(x, y) = Σ_θ w_θ (φ * φ)(x·cos θ + y·sin θ) / spacing,    φ * φ = B₃(t/m)/m,  B₃ the cubic B-spline.

Inside a block AᵀA differs from h's convolution only by that average (Joseph, IEEE TMI 1982, eq. 4). Of a plane wave
that is cut to a block of R rows and C columns, the curvature a pixel is

    ‖A_i e_ω‖²/(RC) = Σ_d h(d) Λ(d_y/R) Λ(d_x/C) exp(−iω·d) = ĥ(ω),

which spreads each angle's spoke in ω as far as the block's border does. Without Λ there would be next to no curvature
between the spokes of few angles, and steps there far too long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft

from ..blocks import FloatArray
from .geometry import Float64Array, ParallelGeometry

# B₃ reaches 2m from a ray through the origin, which is 2 pixels along the row or column that it crosses; and rounding.
REACH = 3


def cubic_spline(t: Float64Array) -> Float64Array:
    """B₃(t), the triangle's convolution with itself; its integral is 1."""
    distance = np.abs(t)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def padded_shape(block_shape: tuple[int, int]) -> tuple[int, int]:
    """At least twice the block, so that its convolution doesn't wrap around; a size that FFTs like."""
    rows, cols = (scipy.fft.next_fast_len(2 * side, real=True) for side in block_shape)
    return int(rows), int(cols)


def point_spread(geometry: ParallelGeometry, weights: Float64Array, shape: tuple[int, int]) -> Float64Array:
    """The point spread h on a grid of `shape`, with the origin at [0, 0] and negative offsets wrapped around.

    Args:
        weights: (angles,) w_θ, the mean of the rays' statistical weights; 1 without any.
    """
    rows, cols = shape
    y, x = (np.fft.fftfreq(side, 1 / side) for side in shape)
    found = np.zeros(shape)
    spacings = np.broadcast_to(np.abs(geometry.spacing), geometry.angles.shape)
    for angle, weight, spacing in zip(geometry.angles, weights, spacings, strict=True):
        cos, sin = np.cos(angle), np.sin(angle)
        widest = max(abs(cos), abs(sin))
        value = weight / (widest * spacing)
        along_rows = abs(cos) > abs(sin)
        # On each line of offsets, the few around where x·cos θ − y·sin θ = 0 (rows count down, y up).
        lines, ratio = (y, sin / cos) if along_rows else (x, cos / sin)
        middle = np.round(lines * ratio)
        for step in range(-REACH, REACH + 1):
            places = middle + step
            distance = places * cos - lines * sin if along_rows else lines * cos - places * sin
            inside = np.abs(places) < (cols if along_rows else rows) / 2
            here = np.flatnonzero(inside)
            there = places[here].astype(np.intp)
            target = (here, there) if along_rows else (there, here)
            found[target] += value * cubic_spline(distance[here] / widest)
    return found


def symbol(beams: Sequence[ParallelGeometry], weights: Float64Array, block_shape: tuple[int, int]) -> FloatArray:
    """ĥ ≥ 0, the real half spectrum of h·Λ on the padded grid: (padded rows, padded cols // 2 + 1).

    Args:
        beams: what the scan looks like from several places of the image; the most of any counts.
    """
    shape = padded_shape(block_shape)
    rows, cols = (
        np.maximum(1 - np.abs(np.fft.fftfreq(padded, 1 / padded)) / side, 0)
        for padded, side in zip(shape, block_shape, strict=True)
    )
    window = np.outer(rows, cols)
    spectrum = np.zeros((shape[0], shape[1] // 2 + 1))
    for beam in beams:
        spectrum = np.maximum(spectrum, scipy.fft.rfft2(point_spread(beam, weights, shape) * window).real)
    return np.asarray(spectrum, np.float32)
