"""A fan beam's sinogram as a parallel beam's, by interpolation: for the start image of a fan.

A ray from the source s along g is the parallel beam's ray at θ, g ∥ (sin θ, −cos θ), and t = s_x·cos θ + s_y·sin θ.
Each detector's values are interpolated in θ first, then each angle's in t; a line seen from both ends is averaged.
Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, section 3.4.3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..blocks import FloatArray
from .geometry import FanGeometry, Float64Array, ParallelGeometry, gaps

TURN = 2 * np.pi
# Between views further apart than this many times the usual nothing is interpolated.
LARGEST_GAP = 3.0


class BothSides(NamedTuple):
    """Lines over a half turn, seen from either end.

    values: (2, angles, places), NaN where no ray was. angles: (angles,). spacing: of the places, the middle one at 0.
    """

    values: Float64Array
    angles: Float64Array
    spacing: float


def rebinned(sinogram: FloatArray, geometry: FanGeometry) -> tuple[FloatArray, ParallelGeometry]:
    """(angles, detectors) of a parallel beam over a half turn with about the fan's rays, 0 where none was measured."""
    both = from_both_sides(sinogram, geometry)
    seen = np.isfinite(both.values).sum(axis=0)
    parallel = np.nansum(both.values, axis=0) / np.maximum(seen, 1)
    kept = seen.any(axis=1)
    detectors = parallel.shape[1]
    found = ParallelGeometry(geometry.image_shape, both.angles[kept], detectors, both.spacing, (detectors - 1) / 2)
    return np.asarray(parallel[kept], np.float32), found


def from_both_sides(sinogram: FloatArray, geometry: FanGeometry) -> BothSides:
    """The fan's values at evenly spaced angles and places."""
    theta, t = np.mod(geometry.directions(), TURN), geometry.offsets()
    spacing = float(np.median(np.abs(np.asarray(geometry.seen_from(0.0, 0.0).spacing))))
    half = int(np.ceil(np.abs(t).max() / spacing))
    places = np.asarray(spacing * np.arange(-half, half + 1), np.float64)
    usual = float(np.median(gaps(geometry.angles)))
    half_turn = max(1, round(np.pi / usual))
    targets = np.asarray(np.arange(2 * half_turn) * (np.pi / half_turn), np.float64)
    turned, moved = (np.empty((len(targets), geometry.detectors)) for _ in range(2))
    for k in range(geometry.detectors):
        turned[:, k], moved[:, k] = _at_angles(targets, theta[:, k], sinogram[:, k], t[:, k], LARGEST_GAP * usual)
    full = np.stack([_at_places(places, row, where) for row, where in zip(turned, moved, strict=True)])
    front, back = np.split(full, 2)
    return BothSides(np.stack([front, back[:, ::-1]]), targets[:half_turn], spacing)


def _at_angles(
    targets: Float64Array, theta: Float64Array, values: FloatArray, t: Float64Array, largest_gap: float
) -> tuple[Float64Array, Float64Array]:
    """Of one detector: its values and its rays' t at the target angles, NaN in a gap of the scan."""
    order = np.argsort(theta, kind="stable")
    known = np.concatenate([[theta[order[-1]] - TURN], theta[order], [theta[order[0]] + TURN]])
    around = np.concatenate([order[-1:], order, order[:1]])
    after = np.clip(np.searchsorted(known, targets), 1, len(known) - 1)
    gap = known[after] - known[after - 1]
    found = np.where(gap <= largest_gap, np.interp(targets, known, values[around]), np.nan)
    return found, np.interp(targets, known, t[around])


def _at_places(places: Float64Array, values: Float64Array, t: Float64Array) -> Float64Array:
    """One angle's values at evenly spaced t, NaN where no ray was."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(places), np.nan)
    order = np.argsort(t[known])
    return np.interp(places, t[known][order], values[known][order], left=np.nan, right=np.nan)
