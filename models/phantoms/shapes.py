"""Shapes with sharp edges, drawn as a scanner's pixels see them: a pixel an edge crosses holds a share of both sides.

Lengths are pixels and the origin is the image's middle, rows down and columns to the right. Images are square
(size, size) float32. The share of a pixel is that of a straight edge at the shape's signed distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float: TypeAlias = NDArray[np.float32]
Point: TypeAlias = tuple[float, float]

# Corners of an outline: enough that the chord between two is short against a pixel, at 512 pixels too.
OUTLINE = 512


def coverage(distance: Float) -> Float:
    """Share of each pixel that lies inside, from the signed distance in pixels (negative inside)."""
    return np.asarray(np.clip(0.5 - distance, 0, 1), np.float32)


def coordinates(size: int) -> tuple[Float, Float]:
    """Rows (size, 1) and columns (1, size) of the pixels' middles."""
    line = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    return line[:, None], line[None, :]


@dataclass(frozen=True)
class Shape:
    """A region: `distance(rows, cols)` from its edge, and a circle about `centre` that holds all of it."""

    centre: Point
    reach: float
    distance: Callable[[Float, Float], Float]  # of positions relative to the centre; negative inside

    def shrunk(self, by: float) -> Shape:
        """The region at least `by` pixels inside the edge: what a wall of that thickness holds."""
        return replace(self, distance=lambda rows, cols: self.distance(rows, cols) + np.float32(by))

    def coverage(self, size: int) -> Float:
        return self.cover(np.zeros((size, size), np.float32))

    def cover(self, mask: Float) -> Float:
        """Join the shape to `mask`, which is overwritten and returned."""
        rows, cols = self._box(len(mask))
        if rows.stop > rows.start and cols.stop > cols.start:
            mask[rows, cols] = np.maximum(mask[rows, cols], self._share(len(mask), rows, cols))
        return mask

    def paint(self, image: Float, value: float | Float) -> None:
        """Replace what `image` holds inside the shape by `value`, a number or an image of the same shape."""
        rows, cols = self._box(len(image))
        if rows.stop > rows.start and cols.stop > cols.start:
            inside = value if isinstance(value, (float, int)) else value[rows, cols]
            image[rows, cols] += self._share(len(image), rows, cols) * (inside - image[rows, cols])

    def _box(self, size: int) -> tuple[slice, slice]:
        middle, reach = (size - 1) / 2, self.reach + 1
        spans = [(math.floor(at + middle - reach), math.ceil(at + middle + reach) + 1) for at in self.centre]
        first, second = (slice(max(0, low), min(size, max(0, high))) for low, high in spans)
        return first, second

    def _share(self, size: int, rows: slice, cols: slice) -> Float:
        down, right = coordinates(size)
        return coverage(self.distance(down[rows] - self.centre[0], right[:, cols] - self.centre[1]))


def ellipse(centre: Point, axes: Point, angle: float = 0.0) -> Shape:
    """An ellipse with half-axes `axes`, the first turned by `angle` radians from the rows' direction."""
    cos, sin = math.cos(angle), math.sin(angle)

    def distance(rows: Float, cols: Float) -> Float:
        u, v = (cos * rows + sin * cols) / axes[0], (cos * cols - sin * rows) / axes[1]
        level = np.hypot(u, v)
        slope = np.hypot(u / axes[0], v / axes[1])
        # To first order at the edge; the small numbers are for the centre, where both level and slope are 0.
        return np.asarray((level - 1) * (level + 1e-6 * min(axes)) / (slope + 1e-6), np.float32)

    return Shape(centre, max(axes), distance)


def disc(centre: Point, radius: float) -> Shape:
    return Shape(centre, radius, lambda rows, cols: np.hypot(rows, cols) - np.float32(radius))


def polygon(centre: Point, corners: Sequence[Point]) -> Shape:
    """A convex polygon; corners relative to the centre, in the order of rising atan2(col, row)."""
    edges = []
    for (row, col), (next_row, next_col) in zip(corners, [*corners[1:], corners[0]], strict=True):
        along = (next_row - row, next_col - col)
        length = math.hypot(*along) or 1.0
        normal = (along[1] / length, -along[0] / length)
        edges.append((normal, normal[0] * row + normal[1] * col))

    def distance(rows: Float, cols: Float) -> Float:
        sides = [normal[0] * rows + normal[1] * cols - offset for normal, offset in edges]
        return np.asarray(np.maximum.reduce(sides), np.float32)

    return Shape(centre, max(math.hypot(*corner) for corner in corners), distance)


def rectangle(centre: Point, half_sides: Point, angle: float = 0.0) -> Shape:
    cos, sin, (a, b) = math.cos(angle), math.sin(angle), half_sides
    corners = [(a, -b), (a, b), (-a, b), (-a, -b)]
    return polygon(centre, [(cos * u - sin * v, sin * u + cos * v) for u, v in corners])


def outline(centre: Point, radii: Float) -> Shape:
    """A star-shaped region: its radius in pixels at equally spaced angles atan2(col, row), from -π."""
    steps = np.linspace(-np.pi, np.pi, len(radii) + 1, dtype=np.float32)
    radii = np.append(radii, radii[0]).astype(np.float32)
    tilt = np.gradient(radii, steps) / np.maximum(radii, 1e-3)
    shorten = 1 / np.sqrt(1 + tilt**2)  # distances across a tilted edge are shorter than along the radius

    def distance(rows: Float, cols: Float) -> Float:
        at = np.arctan2(cols, rows)
        beyond = np.hypot(rows, cols) - np.interp(at, steps, radii)
        return np.asarray(beyond * np.interp(at, steps, shorten), np.float32)

    return Shape(centre, float(radii.max()), distance)


def segment(start: Point, end: Point, first_radius: float, last_radius: float) -> Shape:
    """A piece of a vessel: round at both ends, its radius changing evenly between them."""
    centre = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    half = ((end[0] - start[0]) / 2, (end[1] - start[1]) / 2)
    squared = max(half[0] ** 2 + half[1] ** 2, 1e-6)

    def distance(rows: Float, cols: Float) -> Float:
        share = np.clip((rows * half[0] + cols * half[1]) / squared, -1, 1)
        radius = (first_radius * (1 - share) + last_radius * (1 + share)) / 2
        return np.asarray(np.hypot(rows - share * half[0], cols - share * half[1]) - radius, np.float32)

    return Shape(centre, math.sqrt(squared) + max(first_radius, last_radius), distance)


def joined(shapes: Sequence[Shape], size: int) -> Float:
    """Coverage (size, size) of all the shapes together."""
    mask = np.zeros((size, size), np.float32)
    for shape in shapes:
        shape.cover(mask)
    return mask


def blend(image: Float, mask: Float, value: float | Float) -> None:
    """Replace what the image holds under the mask by `value`, in place."""
    image += mask * (value - image)
