"""Where things lie: jittered grids, discs packed without overlap, and the cells about points. Lengths are pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from .shapes import Float, coordinates, coverage

Double = NDArray[np.float64]

TRIALS = 24


def jittered_grid(random: Generator, size: int, spacing: float, jitter: float, stretch: float = 1.0) -> Double:
    """Points (count, 2) of a hexagonal grid that covers the image and a margin, turned and shaken.

    Args:
        jitter: deviation of each point from the grid, in spacings; 0.5 leaves little order.
        stretch: how much further apart the points are in one direction, drawn at random.
    """
    count = math.ceil(0.75 * size / spacing) + 2
    index = np.arange(-count, count + 1)
    rows, cols = np.meshgrid(index * math.sqrt(0.75), index.astype(np.float64), indexing="ij")
    cols = cols + 0.5 * (index[:, None] % 2)
    points = np.stack([rows.ravel() * stretch, cols.ravel()], axis=1)
    points = (points + jitter * random.standard_normal(points.shape)) * spacing
    angle = random.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = points @ turn
    inside = np.abs(points).max(axis=1) < size / 2 + 2 * stretch * spacing
    return np.asarray(points[inside])


def packed_discs(random: Generator, radius: float, radii: Double, wall: float) -> tuple[Double, Double]:
    """Discs that don't overlap, in a disc of `radius` about the origin: centres (count, 2) and radii (count,).

    Each of the wanted radii, the largest first, goes to a random place where it fits, shrunk to fit where it doesn't;
    below half its radius it is dropped.

    Args:
        radii: wanted radii (at most count).
        wall: least distance between two edges.
    """
    centres, kept = np.zeros((len(radii), 2)), np.zeros(len(radii))
    count = 0
    for wanted in np.sort(radii)[::-1]:
        reach = (radius - wall - wanted / 2) * np.sqrt(random.random(TRIALS))
        angle = random.uniform(0, 2 * math.pi, TRIALS)
        trials = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
        free = radius - wall - reach
        if count:
            rows = trials[:, :1] - centres[None, :count, 0]
            cols = trials[:, 1:] - centres[None, :count, 1]
            free = np.minimum(free, (np.sqrt(rows**2 + cols**2) - kept[:count]).min(axis=1) - wall)
        fitting = np.flatnonzero(free >= wanted)
        best = int(fitting[0]) if len(fitting) else int(free.argmax())
        if free[best] >= wanted / 2:
            centres[count], kept[count] = trials[best], min(wanted, free[best])
            count += 1
    return centres[:count], kept[:count]


@dataclass(frozen=True)
class Cells:
    """The Voronoi cells of points, pixel by pixel; (size, size) each but `points`."""

    points: Double  # (count, 2)
    nearest: NDArray[np.intp]  # index of the pixel's cell
    second: NDArray[np.intp]  # index of the cell beyond the nearest border
    border: Float  # pixels to that border

    def shaded(self, values: Float) -> Float:
        """An image of one value a cell, (count,) in all, edges antialiased."""
        here, there = values[self.nearest], values[self.second]
        return np.asarray(here + coverage(self.border) * (there - here), np.float32)

    def rounded(self, blur: float) -> Float:
        """Distance from the border with corners rounded by about `blur` pixels; below 0 within the corners."""
        if blur == 0:
            return self.border
        # Blurring lifts a straight border from 0 to 0.8 blurs, and a corner by less.
        return np.asarray(ndimage.gaussian_filter(self.border, blur) - math.sqrt(2 / math.pi) * blur, np.float32)


def voronoi(points: Double, size: int, bend: tuple[Float, Float] | None = None) -> Cells:
    """The cells about points (count, 2).

    Args:
        bend: rows and columns (size, size) added to the pixels' positions, so that borders curve.
    """
    rows, cols = (np.broadcast_to(line, (size, size)) for line in coordinates(size))
    if bend is not None:
        rows, cols = rows + bend[0], cols + bend[1]
    pixels = np.stack([rows.ravel(), cols.ravel()], axis=1)
    distances, found = cKDTree(points).query(pixels, k=2)
    between = points[found[:, 1]] - points[found[:, 0]]
    apart = np.hypot(between[:, 0], between[:, 1])
    border = (distances[:, 1] ** 2 - distances[:, 0] ** 2) / (2 * np.maximum(apart, 1e-6))
    nearest, second = found.T.reshape(2, size, size)
    return Cells(points, nearest, second, border.reshape(size, size).astype(np.float32))
