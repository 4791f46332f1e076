"""Phantoms of simple shapes, nested and overlapping, in a container: after Shepp and Logan, IEEE TNS 1974.

Mostly piecewise constant, some with smooth trends. Air is 0, the container about 1; (size, size) float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .choices import chance, log_uniform, pick, place_within
from .fields import ramp
from .growth import blob
from .shapes import Float, Point, Shape, disc, ellipse, polygon, rectangle


def any_shape(random: Generator, centre: Point, radius: float) -> Shape:
    """An ellipse most often; else a disc, a rectangle, a convex polygon or a blob, about `radius` wide."""
    axes, angle = (radius, radius * random.uniform(0.3, 1)), random.uniform(0, math.pi)
    kind = random.random()
    if kind < 0.55:
        return ellipse(centre, axes, angle)
    if kind < 0.65:
        return disc(centre, radius)
    if kind < 0.75:
        return rectangle(centre, (0.8 * axes[0], 0.8 * axes[1]), angle)
    if kind < 0.85:
        count = int(random.integers(3, 8))
        turns = (np.arange(count) + random.uniform(-0.3, 0.3, count)) * (2 * math.pi / count) + angle
        return polygon(centre, [(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns])
    return blob(random, centre, axes, angle, 0.3)


def container(random: Generator, size: int) -> Shape:
    """What holds the sample: a disc or an ellipse in the middle mostly; one in eight fills the whole view."""
    radius = size / 2 * (random.uniform(0.65, 0.97) if chance(random, 0.82) else 1.5)
    axes, angle = (radius, radius * random.uniform(0.65, 1)), random.uniform(0, math.pi)
    kind = random.random()
    if kind < 0.3:
        return disc((0.0, 0.0), radius)
    if kind < 0.6:
        return ellipse((0.0, 0.0), axes, angle)
    if kind < 0.8:
        return blob(random, (0.0, 0.0), (0.9 * axes[0], 0.9 * axes[1]), angle, 0.15)
    return any_shape(random, (0.0, 0.0), radius)


def collection(random: Generator, size: int) -> Float:
    """Nested and overlapping shapes in a container, the larger first."""
    holder = container(random, size)
    radius = min(holder.reach, size / 2)
    contrast = log_uniform(random, 0.02, 0.6)
    largest = radius * random.uniform(0.15, 0.5)
    trend = 1 + random.uniform(-0.3, 0.3) * ramp(random, size)
    trendy = pick(random, (0.0, 0.0, 0.0, 0.3, 1.0))
    image = np.ones((size, size), np.float32)
    for _ in range(int(random.integers(0, 3))):  # layers of the container
        holder.shrunk(random.uniform(0.02, 0.3) * radius).paint(image, 1 + contrast * random.normal())
    radii = [log_uniform(random, 1.5, largest) for _ in range(int(log_uniform(random, 8, 150)))]
    for inner in sorted(radii, reverse=True):
        centre = place_within(random, (radius, radius))
        value = 1 + contrast * random.normal()
        if chance(random, 0.1):  # a hole, or a dense insert
            value = pick(random, (0.0, random.uniform(1.3, 2.2)))
        shape = any_shape(random, centre, inner)
        shape.paint(image, value * trend if chance(random, trendy) else value)
        if chance(random, 0.25):
            shape.shrunk(inner * random.uniform(0.1, 0.4)).paint(image, 1 + contrast * random.normal())
    if chance(random, trendy):
        image *= 1 + random.uniform(-0.2, 0.2) * ramp(random, size)
    return np.maximum(image, 0) * holder.coverage(size)
