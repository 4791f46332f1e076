"""How rays pass an image: parallel beams, whose direction, spacing and shift may change from angle to angle, and fans.

ASTRA's coordinates: unit pixels, the image centred on the rotation axis, x along columns, y up (rows count down). Rays
are lines; where along them source and detector lie doesn't matter otherwise. ASTRA's `parallel_vec` is a parallel beam
here, `fanflat` and `fanflat_vec` are a fan. Source: van Aarle et al., Optics Express 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..blocks import IndexArray, Window

Float64Array = npt.NDArray[np.float64]

# Views closer than this, in radians, are of one direction.
SAME_DIRECTION = 1e-6


class Geometry(Protocol):
    """A scan of one slice, angle by angle."""

    @property
    def image_shape(self) -> tuple[int, int]:
        """(rows, cols) of unit pixels."""
        ...

    @property
    def angles(self) -> Float64Array:
        """(angles,) radians: at θ rays run along (sin θ, −cos θ), and a fan's source lies there from the axis."""
        ...

    @property
    def detectors(self) -> int: ...

    def coordinates(self, x: float, y: float) -> Float64Array:
        """(angles,): the detector coordinate that the point falls on, in detectors."""
        ...

    def offsets(self) -> Float64Array:
        """(angles, detectors): how far every ray passes the axis, in pixels, to either side."""
        ...

    def seen_from(self, x: float, y: float) -> ParallelGeometry:
        """The parallel beam that rays near this point look like, about the image's middle."""
        ...

    def of_angles(self, indices: IndexArray) -> Geometry:
        """The scan of some of its angles alone."""
        ...

    def arrays(self) -> tuple[Float64Array, ...]:
        """All that defines the rays, for a checksum."""
        ...


@dataclass(frozen=True)
class ParallelGeometry:
    """A parallel-beam scan: the point (x, y) falls on (x·cos θ + y·sin θ)/spacing + center.

    A detector tilted in the slice's plane is one of smaller spacing, a shifted one has another center, and one that
    counts the other way a negative spacing.

    Args:
        image_shape: (rows, cols) of unit pixels.
        angles: (angles,) radians.
        detectors: detectors in a row.
        spacing: distance of two detectors across the beam, in pixels: one number, or (angles,).
        center: detector coordinate of the rotation axis, in detectors: one number, or (angles,).
    """

    image_shape: tuple[int, int]
    angles: Float64Array
    detectors: int
    spacing: float | Float64Array
    center: float | Float64Array

    def coordinates(self, x: float, y: float) -> Float64Array:
        across = x * np.cos(self.angles) + y * np.sin(self.angles)
        return np.asarray(across / self.spacing + self.center)

    def offsets(self) -> Float64Array:
        center, spacing = np.reshape(self.center, (-1, 1)), np.reshape(self.spacing, (-1, 1))
        return np.broadcast_to((np.arange(self.detectors) - center) * spacing, (len(self.angles), self.detectors))

    def seen_from(self, x: float, y: float) -> ParallelGeometry:
        return self

    def of_angles(self, indices: IndexArray) -> ParallelGeometry:
        spacing, center = (value if np.ndim(value) == 0 else np.asarray(value)[indices] for value in self._shape())
        return ParallelGeometry(self.image_shape, self.angles[indices], self.detectors, spacing, center)

    def _shape(self) -> tuple[float | Float64Array, float | Float64Array]:
        return self.spacing, self.center

    def arrays(self) -> tuple[Float64Array, ...]:
        return self.angles, *(np.atleast_1d(np.asarray(value, np.float64)) for value in self._shape())


@dataclass(frozen=True)
class FanGeometry:
    """A fan-beam scan with a flat detector: all rays of an angle pass its source.

    Args:
        image_shape: (rows, cols) of unit pixels.
        source: (angles, 2) x and y of the source.
        first: (angles, 2) of detector 0's middle.
        step: (angles, 2) from one detector to the next.
        detectors: detectors in a row.
    """

    image_shape: tuple[int, int]
    source: Float64Array
    first: Float64Array
    step: Float64Array
    detectors: int

    @property
    def angles(self) -> Float64Array:
        return np.arctan2(self.source[:, 0], -self.source[:, 1])

    def rays(self) -> Float64Array:
        """(angles, detectors, 2): from the source to every detector."""
        count = np.arange(self.detectors)[None, :, None]
        return (self.first - self.source)[:, None] + count * self.step[:, None]

    def directions(self) -> Float64Array:
        """(angles, detectors): θ of every ray, which runs along ±(sin θ, −cos θ)."""
        rays = self.rays()
        return np.arctan2(-rays[..., 0], rays[..., 1])

    def offsets(self) -> Float64Array:
        theta = self.directions()
        return self.source[:, :1] * np.cos(theta) + self.source[:, 1:] * np.sin(theta)

    def coordinates(self, x: float, y: float) -> Float64Array:
        ray = np.array([x, y]) - self.source
        return -cross(self.first - self.source, ray) / cross(self.step, ray)

    def depth(self, x: float, y: float) -> Float64Array:
        """(angles,): the point's distance from the source across the detector's direction; 1 at the detector."""
        return cross(self.step, np.array([x, y]) - self.source) / cross(self.step, self.first - self.source)

    def seen_from(self, x: float, y: float) -> ParallelGeometry:
        ray = np.array([x, y]) - self.source
        angles = np.arctan2(-ray[:, 0], ray[:, 1])
        across = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        to_first, on_step = cross(self.first - self.source, ray), cross(self.step, ray)
        # d/dt of the coordinate at (x, y) + t·across.
        change = (to_first * cross(self.step, across) - cross(self.first - self.source, across) * on_step) / on_step**2
        return ParallelGeometry(self.image_shape, angles, self.detectors, 1 / change, self.coordinates(x, y))

    def of_angles(self, indices: IndexArray) -> FanGeometry:
        chosen = (self.source[indices], self.first[indices], self.step[indices])
        return FanGeometry(self.image_shape, *chosen, self.detectors)

    def arrays(self) -> tuple[Float64Array, ...]:
        return self.source, self.first, self.step


def gaps(angles: Float64Array, circle: float = 2 * np.pi) -> Float64Array:
    """Between neighbouring views on a circle of so many radians; one view alone has all of it."""
    turned = np.sort(np.mod(angles, circle))
    found = np.diff(np.append(turned, turned[0] + circle))
    return np.asarray(found[found > SAME_DIRECTION])


def missing_angle(angles: Float64Array) -> float:
    """Directions in a row that no view has, in radians, besides the usual step between neighbours: 0 of even angles.

    A view and the one from behind are of the same directions; what a fan's rays add to its middle one isn't counted.
    """
    apart = gaps(angles, np.pi)
    return float(apart.max() - np.median(apart)) if len(apart) > 1 else float(np.pi)


def cross(a: Float64Array, b: Float64Array) -> Float64Array:
    """A × b of vectors in the plane, (…, 2)."""
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def centre_of(image_shape: tuple[int, int], window: Window) -> tuple[float, float]:
    """X and y of a window's centre."""
    rows, cols = image_shape
    return (window.left + window.right - cols) / 2, (rows - window.top - window.bottom) / 2
