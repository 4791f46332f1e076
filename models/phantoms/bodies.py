"""Cross-sections of people: chest, abdomen, head. Air is 0, soft tissue about 1, bone up to 2.5; (size, size) float32.

Piecewise constant, as Shepp and Logan's phantom (IEEE TNS 1974). Tissues are as little as a few grey levels apart.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .choices import chance, log_uniform, place_within
from .fields import above, random_field
from .growth import blob, branches
from .shapes import Float, Point, blend, disc, ellipse, joined


def _trunk(random: Generator, size: int, contrast: float) -> tuple[Float, Float, Point, float]:
    """Skin and fat (image), the coverage of the muscle within, its half-axes, and fat's value."""
    across = size / 2 * random.uniform(0.8, 0.97)
    axes = (across * random.uniform(0.6, 0.85), across)
    fat = 1 - max(0.06, contrast) * random.uniform(0.5, 1)
    image = np.zeros((size, size), np.float32)
    body = blob(random, (0.0, 0.0), axes, 0.0, 0.06)
    body.paint(image, 1.0)
    body.shrunk(random.uniform(0.8, 2.5)).paint(image, fat)
    rim = random.uniform(0.02, 0.12) * size / 2
    inside = (axes[0] - rim, axes[1] - rim * random.uniform(1, 1.6))
    muscle = blob(random, (0.0, 0.0), inside, 0.0, 0.05).coverage(size) * body.shrunk(3).coverage(size)
    return image, muscle, inside, fat


def _spine(random: Generator, image: Float, axes: Point) -> None:
    """A vertebra at the back: cortical rim, spongy body, canal, and three processes."""
    width, bone = axes[1] * random.uniform(0.11, 0.15), random.uniform(1.3, 2.0)
    at = axes[0] * random.uniform(0.9, 0.97) - 3.3 * width
    for heading in (0.0, 1.9, -1.9):
        behind = (at + 1.6 * width + 0.8 * width * math.cos(heading), 1.3 * width * math.sin(heading))
        ellipse(behind, (0.9 * width, 0.28 * width), heading).paint(image, bone)
    vertebra = blob(random, (at, 0.0), (0.8 * width, width), 0.0, 0.1)
    vertebra.paint(image, bone)
    vertebra.shrunk(0.13 * width).paint(image, 1 + 0.5 * (bone - 1))
    canal = ellipse((at + 1.25 * width, 0.0), (0.42 * width, 0.5 * width))
    canal.paint(image, 1.0)
    canal.shrunk(0.15 * width).paint(image, 1.02)


def chest(random: Generator, size: int) -> Float:
    """Lungs with vessels, heart, aorta, ribs and spine."""
    contrast = log_uniform(random, 0.02, 0.3)
    trunk, muscle, axes, fat = _trunk(random, size, contrast)
    image = np.ones((size, size), np.float32)
    lung = random.uniform(0.1, 0.35)
    air = np.zeros((size, size), np.float32)
    vessels = []
    for side in (-1, 1):
        centre = (-axes[0] * random.uniform(0.0, 0.1), side * axes[1] * random.uniform(0.46, 0.52))
        half = (axes[0] * random.uniform(0.65, 0.8), axes[1] * random.uniform(0.34, 0.4))
        blob(random, centre, half, 0.0, 0.15).cover(air)
        for _ in range(int(random.integers(3, 12))):
            root = (random.normal(0, 0.15) * axes[0], side * 0.25 * axes[1])
            heading = side * random.uniform(0.1, 3.0)
            vessels += branches(random, root, heading, random.uniform(0.004, 0.013) * size, 0.35 * size)
    blend(image, air, lung)
    blend(image, joined(vessels, size) * air, 1.0)
    heart = (axes[0] * random.uniform(-0.4, 0.0), -axes[1] * random.uniform(0.0, 0.2))
    blob(random, heart, (axes[0] * 0.42, axes[1] * 0.3), random.uniform(0, 3), 0.15).paint(image, fat)
    blob(random, heart, (axes[0] * 0.38, axes[1] * 0.27), random.uniform(0, 3), 0.1).paint(image, 1 + 0.3 * contrast)
    for _ in range(int(random.integers(1, 4))):
        near_heart = (heart[0] + random.normal(0, 0.15) * axes[0], heart[1] + random.normal(0, 0.1) * axes[1])
        disc(near_heart, random.uniform(0.05, 0.13) * axes[0]).paint(image, 1 + contrast * random.uniform(0.3, 2))
    _ribs(random, image, axes)
    _spine(random, image, axes)
    blend(trunk, muscle, image)
    return trunk


def _ribs(random: Generator, image: Float, axes: Point) -> None:
    """Slices through ribs along the wall, each a hard shell about marrow."""
    bone, size = random.uniform(1.3, 2.0), 0.06 * axes[1]
    for turn in np.linspace(0.5, math.pi - 0.4, int(random.integers(4, 8))):
        for side in (-1, 1):
            angle = side * (turn + random.normal(0, 0.05))
            centre = (axes[0] * 0.88 * math.cos(angle), axes[1] * 0.9 * math.sin(angle))
            along = math.atan2(axes[1] * math.cos(angle), -axes[0] * math.sin(angle))
            half = (size * random.uniform(0.8, 1.8), size * random.uniform(0.45, 0.6))
            ellipse(centre, half, along).paint(image, bone)
            ellipse(centre, (0.75 * half[0], 0.5 * half[1]), along).paint(image, 1 + 0.4 * (bone - 1))


def abdomen(random: Generator, size: int) -> Float:
    """Liver, kidneys, spleen and gut, a few grey levels apart, in fat; vessels with or without contrast agent."""
    contrast = log_uniform(random, 0.02, 0.2)
    trunk, muscle, axes, fat = _trunk(random, size, contrast)
    image = np.ones((size, size), np.float32)
    cavity = blob(random, (-0.05 * axes[0], 0.0), (0.85 * axes[0], 0.88 * axes[1]), 0.0, 0.06).coverage(size)
    blend(image, cavity, fat)
    organs = [((-0.2, -0.48), (0.55, 0.36)), ((0.1, 0.62), (0.3, 0.18))]  # liver, spleen
    organs += [((0.3, side * 0.42), (0.2, 0.13)) for side in (-1, 1)]  # kidneys
    for (row, col), (down, across) in organs:
        centre = (row * axes[0] + random.normal(0, 0.02) * size, col * axes[1] + random.normal(0, 0.02) * size)
        half = (down * axes[0] * random.uniform(0.85, 1.1), across * axes[1] * random.uniform(0.85, 1.1))
        organ = blob(random, centre, half, random.normal(0, 0.2), 0.2).coverage(size) * cavity
        value = 1 + contrast * random.normal()
        blend(image, organ, value)
        pieces = branches(random, centre, random.uniform(0, 6.3), 0.012 * size, 0.3 * size)
        blend(image, joined(pieces, size) * organ, value + contrast * random.uniform(0.3, 1.5))
        for _ in range(int(random.integers(0, 4))):  # cysts and lesions
            shift = place_within(random, (0.6 * half[0], 0.6 * half[1]))
            lesion = disc((centre[0] + shift[0], centre[1] + shift[1]), log_uniform(random, 1.5, 0.2 * min(half)))
            blend(image, lesion.coverage(size) * organ, value + contrast * random.normal())
    for _ in range(int(random.integers(5, 25))):  # gut: wall, content, gas
        row, col = place_within(random, (0.5 * axes[0], 0.55 * axes[1]))
        centre, radius = (row - 0.25 * axes[0], col + 0.15 * axes[1]), random.uniform(0.04, 0.11) * axes[1]
        loop = (radius, radius * random.uniform(0.6, 1))
        blob(random, centre, loop, random.uniform(0, 3), 0.2).paint(image, 1 + 0.3 * contrast * random.normal())
        filling = 0.05 if chance(random, 0.2) else 1 + contrast * random.normal()
        blob(random, centre, (0.7 * loop[0], 0.7 * loop[1]), random.uniform(0, 3), 0.2).paint(image, filling)
    disc((0.3 * axes[0], -0.06 * axes[1]), 0.05 * axes[1]).paint(image, 1 + contrast * random.uniform(0, 3))
    _spine(random, image, axes)
    blend(trunk, muscle, image)
    return trunk


def head(random: Generator, size: int) -> Float:
    """Scalp, skull, and a brain whose parts are a few grey levels apart; ventricles, bleeding, calcified specks."""
    down = size / 2 * random.uniform(0.7, 0.96)
    axes, angle = (down, down * random.uniform(0.72, 0.9)), random.normal(0, 0.15)
    contrast = log_uniform(random, 0.02, 0.2)
    image = np.zeros((size, size), np.float32)
    scalp = blob(random, (0.0, 0.0), axes, angle, 0.04)
    scalp.paint(image, 0.95)
    skull = scalp.shrunk(random.uniform(0.01, 0.04) * size)
    bone, thickness = random.uniform(1.4, 2.5), random.uniform(0.015, 0.045) * size
    skull.paint(image, bone)
    if chance(random, 0.5):  # spongy bone between two plates
        skull.shrunk(0.3 * thickness).paint(image, 0.75 * bone)
        skull.shrunk(0.7 * thickness).paint(image, bone)
    cavity = skull.shrunk(thickness)
    brain = np.full((size, size), 1 - contrast, np.float32)  # fluid
    cortex = blob(random, (0.0, 0.0), (0.9 * axes[0], 0.88 * axes[1]), angle, 0.04)
    cortex.paint(brain, 1.0)
    white = random_field(random, size, 0.05 * size, 0.4 * size)
    white = above(white, -0.3) * cortex.shrunk(0.04 * size).coverage(size)
    blend(brain, white, 1 - 0.4 * contrast)
    cos, sin = math.cos(angle), math.sin(angle)
    for _ in range(int(random.integers(0, 12))):
        row, col = place_within(random, (0.7 * axes[0], 0.7 * axes[1]))
        half = (log_uniform(random, 2, 0.2 * down), log_uniform(random, 2, 0.2 * down))
        value = 1 + contrast * random.normal()
        ellipse((row, col), half, random.uniform(0, math.pi)).paint(brain, value)
    for side in (-1, 1):  # ventricles, and the grey nuclei beside them
        row, col, tilt = -0.05 * down, side * 0.17 * down, angle + side * random.uniform(0.1, 0.35)
        centre = (cos * row - sin * col, sin * row + cos * col)
        ellipse((1.6 * centre[0], 1.6 * centre[1]), (0.17 * down, 0.1 * down), tilt).paint(brain, 1.0)
        ellipse(centre, (random.uniform(0.15, 0.35) * down, random.uniform(0.03, 0.1) * down), tilt).paint(
            brain, 1 - contrast
        )
        if chance(random, 0.3):
            disc(centre, random.uniform(1, 3)).paint(brain, random.uniform(1.1, 1.6))
    blend(image, cavity.coverage(size), brain)
    return image
