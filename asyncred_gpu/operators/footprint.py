"""Where blocks of the image fall on the detector: their footprints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..blocks import BlockGrid, IndexArray, Window
from .geometry import Geometry, ParallelGeometry, centre_of

# Linear interpolation between pixel centres reaches one pixel beyond the last centre: half a pixel beyond its edge.
REACH = 0.5


@dataclass(frozen=True)
class Footprint:
    """Detectors start[θ] … start[θ] + width - 1, at each angle θ: all that the window can reach.

    It always lies on the detector, so a share never holds a ray that wasn't measured.
    """

    start: IndexArray
    width: int


def block_footprint(geometry: Geometry, window: Window) -> Footprint:
    """The footprint of a window of the image, as narrow as all its angles allow."""
    first, last = _ends(geometry, window)
    return _footprint(first, int((last - first).max()) + 1, geometry.detectors)


def block_footprints(geometry: Geometry, grid: BlockGrid) -> list[Footprint]:
    """Of all blocks. A fan's are equally wide, though blocks near the source throw wider shadows.

    So starts run one way along a row of blocks, at the detector's ends too, as the gather of a residual expects.
    """
    ends = [_ends(geometry, grid.window(index)) for index in range(len(grid))]
    widths = [int((last - first).max()) + 1 for first, last in ends]
    if not isinstance(geometry, ParallelGeometry):
        widths = [max(widths)] * len(widths)
    pairs = zip(ends, widths, strict=True)
    return [_footprint(first, width, geometry.detectors) for (first, _), width in pairs]


def whole_window(geometry: Geometry) -> tuple[Window, Footprint]:
    """The image as one window, and the detector as its footprint."""
    rows, cols = geometry.image_shape
    return Window(0, rows, 0, cols), Footprint(np.zeros(len(geometry.angles), np.intp), geometry.detectors)


def _ends(geometry: Geometry, window: Window) -> tuple[IndexArray, IndexArray]:
    """(angles,) twice: the first and the last detector that the window can reach: its corners' coordinates."""
    x, y = centre_of(geometry.image_shape, window)
    rows, cols = (side / 2 + REACH for side in window.shape)
    corners = [geometry.coordinates(x + right * cols, y + up * rows) for right in (-1, 1) for up in (-1, 1)]
    first, last = np.floor(np.min(corners, axis=0)), np.ceil(np.max(corners, axis=0))
    return first.astype(np.intp), last.astype(np.intp)


def _footprint(first: IndexArray, width: int, detectors: int) -> Footprint:
    count = min(width, detectors)
    return Footprint(np.clip(first, 0, detectors - count), count)
