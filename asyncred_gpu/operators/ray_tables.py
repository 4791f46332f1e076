"""The kernels' tables of rays: where those of a footprint cross the rows or columns of a window. kernels/rays.h.

A parallel beam's ray at t crosses row r, y_r = (rows − 1)/2 − r, at x = (t − y_r·sin θ)/cos θ, and column c,
x_c = c − (cols − 1)/2, at y = (t − x_c·cos θ)/sin θ; a ray from the source s along g, at x = s_x + (y_r − s_y)·g_x/g_y
and y = s_y + (x_c − s_x)·g_y/g_x. All from the window's centre, in pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..blocks import FloatArray, Window
from .footprint import Footprint
from .geometry import FanGeometry, Float64Array, Geometry, ParallelGeometry, centre_of

# struct ParallelRays of kernels/rays.h
PARALLEL_RAYS = np.dtype(
    [
        *((name, "f4") for name in ("first", "first_rest", "per_ray", "per_ray_rest")),
        *((name, "f4") for name in ("per_line", "rays_a_pixel", "reach", "length")),
        *((name, "i4") for name in ("rays_near", "along_rows")),
        ("unused", "i4", (2,)),
    ]
)
# struct FanRays
FAN_RAYS = np.dtype(
    [
        *((name, "f4") for name in ("middle", "first", "per_ray", "per_line", "per_line_ray", "bend")),
        *((name, "f4") for name in ("spread", "spread_line", "rounding")),
        *((name, "i4") for name in ("from", "to", "along_rows")),
    ]
)
# A kernel's search for the rays near a pixel begins early by this much of the largest number in it: its six roundings,
# and the two of a position, are half of that.
SEARCH_ROUNDING = 2.0**-20


def ray_table(geometry: Geometry, window: Window, footprint: Footprint) -> npt.NDArray[np.void]:
    """(angles, 1) of PARALLEL_RAYS, or (angles, 2) of FAN_RAYS: the footprint's rays through the window."""
    if isinstance(geometry, ParallelGeometry):
        return parallel_rays(geometry, window, footprint)[:, None]
    if isinstance(geometry, FanGeometry):
        return fan_rays(geometry, window, footprint)
    raise TypeError(f"{type(geometry).__name__} has no kernels.")


def kernel_ending(geometry: Geometry) -> str:
    """How the names of the kernels for its rays end."""
    return "" if isinstance(geometry, ParallelGeometry) else "_fan"


def bytes_an_angle(geometry: Geometry) -> int:
    """What a block's table takes for one angle."""
    return PARALLEL_RAYS.itemsize if isinstance(geometry, ParallelGeometry) else 2 * FAN_RAYS.itemsize


def parallel_rays(geometry: ParallelGeometry, window: Window, footprint: Footprint) -> npt.NDArray[np.void]:
    """(angles,) of PARALLEL_RAYS."""
    rows, cols = window.shape
    cos, sin = np.cos(geometry.angles), np.sin(geometry.angles)
    x, y = centre_of(geometry.image_shape, window)
    t = (footprint.start - geometry.center) * geometry.spacing - (x * cos + y * sin)
    along_rows = np.abs(cos) > np.abs(sin)
    with np.errstate(divide="ignore", invalid="ignore"):  # the branch not taken may divide by zero
        across_rows = (t - (rows - 1) / 2 * sin) / cos + (cols - 1) / 2
        across_cols = (rows - 1) / 2 - (t + (cols - 1) / 2 * cos) / sin
        first = np.where(along_rows, across_rows, across_cols)
        per_ray = np.where(along_rows, geometry.spacing / cos, -geometry.spacing / sin)
        per_line = np.where(along_rows, sin / cos, cos / sin)
    rays = np.zeros(len(t), PARALLEL_RAYS)
    rays["first"], rays["first_rest"] = _two_floats(first)
    rays["per_ray"], rays["per_ray_rest"] = _two_floats(per_ray)
    rays["per_line"], rays["rays_a_pixel"] = per_line, 1 / per_ray
    rays["length"] = 1 / np.maximum(np.abs(cos), np.abs(sin))
    reach = 1 / np.abs(per_ray) + SEARCH_ROUNDING * ((np.abs(first) + rows + cols) / np.abs(per_ray) + 1)
    rays["reach"], rays["rays_near"] = reach, (2 * reach).astype(np.int32) + 1
    rays["along_rows"] = along_rows
    return rays


def _two_floats(values: Float64Array) -> tuple[FloatArray, FloatArray]:
    """float32 arrays whose sum is `values` to 48 bits."""
    nearest = values.astype(np.float32)
    return nearest, (values - nearest).astype(np.float32)


def fan_rays(geometry: FanGeometry, window: Window, footprint: Footprint) -> npt.NDArray[np.void]:
    """(angles, 2) of FAN_RAYS: those that cross the same lines as the footprint's first ray, and the others."""
    to_first = geometry.first - geometry.source + footprint.start[:, None] * geometry.step
    along = to_first[:, None] + np.arange(footprint.width)[None, :, None] * geometry.step[:, None]
    crosses_rows = np.abs(along[..., 0]) < np.abs(along[..., 1])
    # Directions turn one way along the detector, and by less than a quarter turn: they change sides once at most.
    turn = (crosses_rows == crosses_rows[:, :1]).sum(axis=1)
    ends = np.stack([0 * turn, turn, np.full_like(turn, footprint.width)], axis=1)
    segments = [
        _fan_segment(geometry, window, to_first, ends[:, part : part + 2], crosses_rows[:, 0] ^ bool(part))
        for part in range(2)
    ]
    return np.stack(segments, axis=1)


def _fan_segment(
    geometry: FanGeometry,
    window: Window,
    to_first: Float64Array,
    ends: npt.NDArray[np.intp],
    along_rows: npt.NDArray[np.bool_],
) -> npt.NDArray[np.void]:
    """(angles,) of FAN_RAYS: rays ends[0] … ends[1] − 1, which cross rows where `along_rows` says so.

    With the source on line b and place a, both in pixels, and a ray's components g_n along the lines' order and g_p
    along the places', ray k = middle + k', g = G + k'·u, crosses line n at

        a + (b − n)·g_p/g_n = [(a + b·G_p/G_n) + k'·(a·u_n + b·u_p)/G_n − n·(G_p + k'·u_p)/G_n] / (1 + k'·u_n/G_n).
    """
    rows, cols = window.shape
    x, y = centre_of(geometry.image_shape, window)
    source_col, source_row = geometry.source[:, 0] - x + (cols - 1) / 2, (rows - 1) / 2 - (geometry.source[:, 1] - y)
    middle = ends.sum(axis=1) / 2 - 0.5
    empty = ends[:, 0] == ends[:, 1]
    ray, step = to_first + middle[:, None] * geometry.step, geometry.step
    a, b = np.where(along_rows, [source_col, source_row], [source_row, source_col])
    ahead, aside = np.where(along_rows, ray.T[::-1], ray.T)
    step_ahead, step_aside = np.where(along_rows, step.T[::-1], step.T)
    ahead = np.where(empty, 1.0, ahead)
    rays = np.zeros(len(ray), FAN_RAYS)
    rays["middle"], rays["from"], rays["to"], rays["along_rows"] = middle, *ends.T, along_rows
    first, per_ray = a + b * aside / ahead, (a * step_ahead + b * step_aside) / ahead
    per_line, per_line_ray, bend = -aside / ahead, -step_aside / ahead, step_ahead / ahead
    rays["first"], rays["per_ray"] = first, per_ray
    rays["per_line"], rays["per_line_ray"], rays["bend"] = per_line, per_line_ray, bend
    # From one place to the next k' changes by d(n)/(c·(c ± bend)), d(n) = per_ray − first·bend + n·(…), c as in rays.h.
    lines, places = np.where(along_rows, rows, cols), np.where(along_rows, cols, rows)
    c = np.stack([per_ray + n * per_line_ray - p * bend for n in (0, lines - 1) for p in (-1, places)])
    nearest = np.abs(c).min(axis=0)
    most = (1 + np.abs(bend) / nearest) * (1 + SEARCH_ROUNDING)
    rays["spread"], rays["spread_line"] = most * (per_ray - first * bend), most * (per_line_ray - per_line * bend)
    count = ends[:, 1] - ends[:, 0]
    rays["rounding"] = SEARCH_ROUNDING * ((np.abs(first) + rows + cols) / nearest + 2 * count + 1)
    rays[empty] = np.zeros((), FAN_RAYS)
    rays["from"], rays["to"] = ends.T
    return rays
