"""Phantoms of foam, after Pelt's (J. Synchrotron Rad. 25, 2018): round voids of many radii that don't overlap.

Also their opposite, beads in a tube. Air is 0, the solid about 1; (size, size) float32.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .choices import chance, log_uniform, pick
from .fields import ramp, random_field
from .growth import blob
from .packing import Double, packed_discs
from .shapes import Float, blend, disc, ellipse


def foam(random: Generator, size: int) -> Float:
    """A disc of solid with voids, or a tube of beads."""
    return pick(random, (voids, voids, beads))(random, size)


def _wanted_radii(random: Generator, size: int, radius: float) -> Double:
    """Radii by a power law, so that small ones are the most; as many as would fill the disc about once."""
    largest = log_uniform(random, 5, 0.4 * radius)
    smallest = min(random.uniform(1, 4), largest / 2)
    if chance(random, 0.25):
        smallest = 0.6 * largest  # nearly all alike
    slope = random.uniform(0.5, 2.5)  # count above a radius falls as radius ** -slope
    share = random.uniform(0, 1, 3 * size)
    radii = (largest**-slope + share * (smallest**-slope - largest**-slope)) ** (-1 / slope)
    filled = np.cumsum(radii**2) < random.uniform(0.3, 1.3) * radius**2
    return np.asarray(radii[filled])


def voids(random: Generator, size: int) -> Float:
    """Foam; in some the voids are oval, or a share of them is filled with something else."""
    radius = size / 2 * (random.uniform(0.65, 0.97) if chance(random, 0.83) else 1.45)
    image = np.ones((size, size), np.float32)
    if chance(random, 0.3):
        image += random.uniform(-0.2, 0.2) * ramp(random, size)
    if chance(random, 0.2):
        image += random.uniform(0.01, 0.06) * random_field(random, size, 5, 0.2 * size)
    contrast = 1 if chance(random, 0.7) else log_uniform(random, 0.03, 0.6)
    inside = 1 - contrast
    filled, filling = pick(random, (0.0, 0.0, 0.3)), random.uniform(0, 1)
    oval, angle = pick(random, (1.0, random.uniform(0.5, 1))), random.uniform(0, 3.1)
    wall = pick(random, (0.0, random.uniform(0.3, 2)))
    centres, radii = packed_discs(random, radius, _wanted_radii(random, size, radius), wall)
    for (row, col), void in zip(centres.tolist(), radii.tolist(), strict=True):
        shape = disc((row, col), void) if oval == 1 else ellipse((row, col), (void, oval * void), angle)
        shape.paint(image, filling if chance(random, filled) else inside)
    holder = disc((0.0, 0.0), radius) if chance(random, 0.7) else blob(random, (0.0, 0.0), (0.9 * radius, 0.9 * radius))
    return image * holder.coverage(size)


def beads(random: Generator, size: int) -> Float:
    """Round grains in a tube, of one to three materials; some are hollow, some lie in a liquid."""
    radius = size / 2 * random.uniform(0.7, 0.97)
    tube = disc((0.0, 0.0), radius)
    wall = random.uniform(0.02, 0.1) * radius
    image = np.zeros((size, size), np.float32)
    tube.paint(image, random.uniform(0.3, 1.2))
    tube.shrunk(wall).paint(image, pick(random, (0.0, 0.0, random.uniform(0.1, 0.7))))
    materials = random.uniform(0.5, 1.3, random.integers(1, 4)).tolist()
    hollow = pick(random, (0.0, 0.0, 0.5))
    spread = pick(random, (0.0, random.uniform(0, 0.1)))
    packed = np.zeros((size, size), np.float32)
    centres, radii = packed_discs(random, radius - wall, _wanted_radii(random, size, radius), 0)
    for (row, col), bead in zip(centres.tolist(), radii.tolist(), strict=True):
        shape = disc((row, col), bead)
        value = pick(random, materials) + spread * random.normal()
        shape.paint(image, value)
        shape.cover(packed)
        if chance(random, hollow):
            shape.shrunk(random.uniform(0.15, 0.5) * bead).paint(image, 0.0)
    if chance(random, 0.2):  # what the beads are made of isn't even
        blend(image, packed, image * (1 + 0.08 * random_field(random, size, 5, 40)))
    return np.maximum(image, 0)
