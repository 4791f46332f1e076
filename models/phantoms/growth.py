"""Shapes as nature makes them: blobs with wavy outlines, vessels and cracks that wander and fork. Lengths in pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .choices import chance, log_uniform, place_within
from .shapes import OUTLINE, Float, Point, Shape, joined, outline, segment


def blob(random: Generator, centre: Point, axes: Point, angle: float = 0.0, wobble: float = 0.15) -> Shape:
    """An ellipse with a wavy outline, as organs and grains have."""
    at = np.linspace(-np.pi, np.pi, OUTLINE, endpoint=False, dtype=np.float32)
    turned = at - angle
    radii = axes[0] * axes[1] / np.hypot(axes[1] * np.cos(turned), axes[0] * np.sin(turned))
    for order in range(2, 8):
        height = wobble * random.uniform(0, 1) * (2 / order) ** 1.2
        radii = radii * (1 + height * np.cos(order * at + random.uniform(0, 2 * math.pi)))
    return outline(centre, np.asarray(radii, np.float32))


def branches(random: Generator, start: Point, heading: float, radius: float, length: float) -> list[Shape]:
    """A vessel or a crack that wanders, thins and forks: its pieces. It ends where its radius is 0.35 pixels.

    Args:
        heading: direction in radians from the rows' direction.
        length: of the longest way through it; a piece is about 3 radii, 3 pixels at least.
    """
    pieces: list[Shape] = []
    ends = [(start, heading, radius, length)]
    while ends and len(pieces) < 150:
        point, heading, radius, left = ends.pop(0)
        step = max(3.0, 3 * radius)
        if left <= 0 or radius < 0.35:
            continue
        heading += random.normal(0, 0.3)
        following = (point[0] + step * math.cos(heading), point[1] + step * math.sin(heading))
        thinner = radius * 0.96
        pieces.append(segment(point, following, radius, thinner))
        ends.append((following, heading, thinner, left - step))
        if chance(random, 0.15):
            fork = heading + random.choice([-1, 1]) * random.uniform(0.4, 1.1)
            ends.append((following, fork, thinner * random.uniform(0.5, 0.8), 0.7 * (left - step)))
    return pieces


def cracks(random: Generator, size: int, count: int) -> Float:
    """Coverage (size, size) of cracks that start anywhere and wander, forking, across up to the whole image."""
    pieces = []
    for _ in range(count):
        start = place_within(random, (size / 2, size / 2))
        width, length = log_uniform(random, 0.5, 1.5), random.uniform(0.2, 1) * size
        heading = random.uniform(0, 2 * math.pi)
        for way in (heading, heading + math.pi):
            pieces += branches(random, start, way, width, length / 2)
    return joined(pieces, size)
