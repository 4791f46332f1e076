"""Phantoms with texture: rock, spongy bone, fibres, layered things, teeth, and soft regions of random fields.

Air is 0, the main material about 1; (size, size) float32. Textures are band-limited Gaussian fields, whose level sets
make pores, struts and cracks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .choices import chance, log_uniform, pick, place_within
from .ellipses import any_shape, container
from .fields import above, near, ramp, random_field, texture
from .growth import branches, cracks
from .layers import bundles, layers, tooth
from .shapes import Float, blend, disc, joined


def textured(random: Generator, size: int) -> Float:
    """One of the phantoms of this file, or of fibres, layers and teeth."""
    return pick(random, (rock, rock, bone, bone, soft, soft, bundles, layers, layers, tooth))(random, size)


def rock(random: Generator, size: int) -> Float:
    """Pores between grains, two or three minerals, texture within them, cracks and dense specks."""
    fine = log_uniform(random, 4, 0.1 * size)
    contrast = log_uniform(random, 0.02, 0.4)
    stretch, angle = pick(random, (1.0, random.uniform(1, 3))), random.uniform(0, math.pi)
    image = np.ones((size, size), np.float32)
    for _ in range(int(random.integers(1, 4))):
        mineral = random_field(random, size, log_uniform(random, 4, 0.2 * size), 0.5 * size, 0.5, stretch, angle)
        blend(image, above(mineral, random.uniform(0, 1.5)), max(0.2, 1 + contrast * random.normal()))
    if chance(random, 0.85):
        image *= 1 + log_uniform(random, 0.01, 0.1) * texture(random, size)
    coarse = fine * log_uniform(random, 2, 12)
    pores = random_field(random, size, fine, coarse, random.uniform(0, 1.5), stretch, angle)
    empty = pick(random, (0.0, 0.0, random.uniform(0.1, 0.5)))
    blend(image, above(pores, random.uniform(0.0, 2.0)), empty)
    if chance(random, 0.4):
        blend(image, cracks(random, size, int(random.integers(1, 6))), empty)
    specks(random, image, int(random.integers(0, 40)))
    return np.maximum(image, 0) * container(random, size).coverage(size)


def specks(random: Generator, image: Float, count: int) -> None:
    """Small dense grains, painted into the image."""
    value, largest = random.uniform(1.2, 2.2), log_uniform(random, 1, 0.02 * len(image))
    for _ in range(count):
        at = place_within(random, (0.5 * len(image), 0.5 * len(image)))
        disc(at, log_uniform(random, 0.7, largest)).paint(image, value * random.uniform(0.8, 1.1))


def bone(random: Generator, size: int) -> Float:
    """Struts in marrow, within a shell whose thickness varies."""
    holder = container(random, size)
    spacing = log_uniform(random, 6, 0.12 * size)
    stretch, angle = random.uniform(1, 2.5), random.uniform(0, math.pi)
    struts = random_field(random, size, spacing, 1.3 * spacing, 0, stretch, angle)
    density = 0.9 * ramp(random, size) * random.uniform(0, 1) + random.uniform(-0.2, 0.9)
    if chance(random, 0.5):
        network = above(struts - density, 0)
    else:  # two families of thin struts that cross
        others = random_field(random, size, 2 * spacing, 3 * spacing, 0, stretch, angle + random.uniform(0.5, 1.5))
        width = random.uniform(0.1, 0.3) * spacing
        network = np.maximum(near(struts, 0, max(1.0, width)), near(others, 0, max(1.2, 1.5 * width)))
    marrow = pick(random, (0.0, random.uniform(0.1, 0.6)))
    image = np.full((size, size), marrow, np.float32)
    blend(image, network, 1.0)
    shell = random.uniform(0.02, 0.2) * min(holder.reach, size / 2)
    inside = holder.shrunk(shell).coverage(size)
    if chance(random, 0.4):  # the shell's inner edge is worn
        inside = np.maximum(inside, above(struts, 1.0) * holder.shrunk(0.3 * shell).coverage(size))
    blend(image, 1 - inside, 1.0)
    if chance(random, 0.75):
        image *= 1 + log_uniform(random, 0.01, 0.08) * texture(random, size)
    image = np.maximum(image, 0) * holder.coverage(size)
    if chance(random, 0.3):  # in a tube of water
        blend(
            image, (1 - holder.coverage(size)) * disc((0.0, 0.0), 0.49 * size).coverage(size), random.uniform(0.1, 0.4)
        )
    return image


def soft(random: Generator, size: int) -> Float:
    """Regions that differ little, each with a texture of its own; thin vessels and specks."""
    contrast = log_uniform(random, 0.02, 0.4)
    holder = container(random, size)
    radius = min(holder.reach, size / 2)
    image = np.ones((size, size), np.float32)
    textures = [1 + log_uniform(random, 0.01, 0.12) * texture(random, size) for _ in range(int(random.integers(1, 4)))]
    image *= pick(random, textures)
    largest = radius * random.uniform(0.15, 0.6)
    radii = [log_uniform(random, 3, largest) for _ in range(int(log_uniform(random, 4, 60)))]
    for inner in sorted(radii, reverse=True):
        shape = any_shape(random, place_within(random, (radius, radius)), inner)
        value = 1 + contrast * random.normal()
        shape.paint(image, value * pick(random, textures) if chance(random, 0.7) else value)
    pieces = []
    for _ in range(int(random.integers(0, 6))):
        start, width = place_within(random, (radius, radius)), log_uniform(random, 0.6, 0.025 * size)
        pieces += branches(random, start, random.uniform(0, 6.3), width, 0.6 * size)
    blend(image, joined(pieces, size), 1 + contrast * pick(random, (-1, 1, 2)))
    specks(random, image, int(random.integers(0, 8)))
    return np.maximum(image, 0) * holder.coverage(size)
