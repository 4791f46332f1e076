"""Where a block of the image falls on the detector of a parallel beam: its footprint.

ASTRA's geometry `parallel`: unit pixels, the image centred on the origin, columns along x, rows down (−y). At
angle θ the point (x, y) falls on t = x·cos θ + y·sin θ, that is on the detector coordinate
k = t/spacing + center, in detectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..blocks import IndexArray, Window

Float64Array = npt.NDArray[np.float64]

# Linear interpolation between pixel centres reaches one pixel beyond the last centre: half a pixel beyond its edge.
REACH = 0.5


@dataclass(frozen=True)
class ParallelGeometry:
    """A parallel-beam scan of an image centred on the origin.

    Args:
        image_shape: (rows, cols) of unit pixels.
        angles: (angles,) radians.
        detectors: detectors in a row.
        spacing: distance of two detectors, in pixels.
        center: detector coordinate of the rotation axis, in detectors.
    """

    image_shape: tuple[int, int]
    angles: Float64Array
    detectors: int
    spacing: float
    center: float

    def axis_shift(self, window: Window) -> Float64Array:
        """(angles,) t of the window's centre, in pixels."""
        rows, cols = self.image_shape
        x = (window.left + window.right - cols) / 2
        y = (rows - window.top - window.bottom) / 2
        return x * np.cos(self.angles) + y * np.sin(self.angles)


@dataclass(frozen=True)
class Footprint:
    """Detectors start[θ] … start[θ] + width - 1, at each angle θ: all that the window can reach.

    It always lies on the detector, so a share never holds a ray that wasn't measured.
    """

    start: IndexArray
    width: int


def block_footprint(geometry: ParallelGeometry, window: Window) -> Footprint:
    """The footprint of a window of the image."""
    height, width = window.shape
    sin, cos = np.abs(np.sin(geometry.angles)), np.abs(np.cos(geometry.angles))
    half = (height / 2 + REACH) * sin + (width / 2 + REACH) * cos
    middle = geometry.axis_shift(window) / geometry.spacing + geometry.center
    first = np.floor(middle - half / geometry.spacing).astype(np.intp)
    last = np.ceil(middle + half / geometry.spacing).astype(np.intp)
    count = min(int((last - first).max()) + 1, geometry.detectors)
    return Footprint(np.clip(first, 0, geometry.detectors - count), count)


def ray_vectors(geometry: ParallelGeometry, window: Window, footprint: Footprint) -> Float64Array:
    """ASTRA's `parallel_vec` rows (angles, 6): ray, detector centre, detector step, with the window at the origin."""
    sin, cos = np.sin(geometry.angles), np.cos(geometry.angles)
    middle = footprint.start + (footprint.width - 1) / 2
    t = (middle - geometry.center) * geometry.spacing - geometry.axis_shift(window)
    return np.stack([sin, -cos, t * cos, t * sin, geometry.spacing * cos, geometry.spacing * sin], axis=1)
