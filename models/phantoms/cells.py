"""Phantoms of cells: animal tissue with nuclei and organelles, plant tissue with walls, wood, crystal grains.

Voronoi cells of jittered grids, their borders bent and their corners rounded. Air is 0, what cells are made of about 1;
(size, size) float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from .choices import chance, log_uniform, pick
from .ellipses import container
from .fields import random_field, texture
from .growth import blob
from .packing import Cells, jittered_grid, voronoi
from .shapes import Float, blend, coverage, disc


def cells(random: Generator, size: int) -> Float:
    """One of the phantoms of this file, within an outline."""
    image = pick(random, (animal, animal, plant, plant, crystals))(random, size)
    if chance(random, 0.25):
        image = np.asarray(ndimage.gaussian_filter(image, random.uniform(0.4, 1.2)), np.float32)
    holder = container(random, size)
    image = image * holder.coverage(size)
    if chance(random, 0.4):  # a skin
        skin = holder.coverage(size) - holder.shrunk(log_uniform(random, 1.5, 0.06 * size)).coverage(size)
        blend(image, skin, random.uniform(0.6, 1.4))
    return np.asarray(image, np.float32)


def _cells(random: Generator, size: int, finest: float) -> tuple[Cells, float]:
    """Cells, and how far apart they are: from `finest` pixels up."""
    spacing = log_uniform(random, finest, size / 6)
    stretch = pick(random, (1.0, random.uniform(1, 2.5)))
    points = jittered_grid(random, size, spacing, random.uniform(0.08, 0.4), stretch)
    if chance(random, 0.3):  # smaller towards the middle, or towards the rim
        far = np.hypot(points[:, :1], points[:, 1:]) / (size / 2) + 0.02
        points = points * far ** random.uniform(-0.25, 0.4)
    bend = None
    if chance(random, 0.7):
        waves = [random_field(random, size, spacing, 3 * spacing) for _ in range(2)]
        strength = random.uniform(0.03, 0.12) * spacing
        bend = (strength * waves[0], strength * waves[1])
    return voronoi(points, size, bend), spacing


def animal(random: Generator, size: int) -> Float:
    """Cells with cytoplasm, a nucleus with its nucleolus, and organelles as dots; bright or dark between them."""
    tissue, spacing = _cells(random, size, 9)
    points = tissue.points
    contrast = log_uniform(random, 0.04, 0.5)
    values = 1 + 0.4 * contrast * random.standard_normal(len(points), np.float32)
    image = tissue.shaded(values)
    if chance(random, 0.6):
        image += 0.3 * contrast * random_field(random, size, 4, max(8, 0.5 * spacing))
    dots = random.uniform(0, 12) if spacing > 14 else 0
    nucleus, dot = (contrast * random.uniform(-1.5, 1.5) for _ in range(2))
    share, side = random.uniform(0.18, 0.32), size / 2
    for (row, col), value in zip(points.tolist(), values.tolist(), strict=True):
        if max(abs(row), abs(col)) > side:
            continue
        for _ in range(int(random.poisson(dots))):
            at = random.normal(0, 0.3 * spacing, 2)
            radius = log_uniform(random, 0.8, 0.06 * spacing)
            disc((row + at[0], col + at[1]), radius).paint(image, value + dot * random.uniform(0.5, 1.2))
        if chance(random, 0.9):
            axes = (share * spacing, share * spacing * random.uniform(0.6, 1))
            shift = random.normal(0, 0.06 * spacing, 2)
            centre = (row + shift[0], col + shift[1])
            body = blob(random, centre, axes, random.uniform(0, math.pi)) if spacing > 20 else disc(centre, axes[0])
            body.paint(image, value + nucleus * random.uniform(0.8, 1.2))
            if spacing > 16:
                disc((centre[0] + 0.3 * axes[1], centre[1]), 0.3 * axes[1]).paint(image, value + 1.7 * nucleus)
    width = log_uniform(random, 1, 0.2 * spacing)
    between = coverage(tissue.rounded(pick(random, (0.0, 0.06)) * spacing) - width / 2)
    blend(image, between, pick(random, (0.0, 1 - contrast, 1 + contrast, 1 + contrast)))
    return np.asarray(np.maximum(image, 0), np.float32)


def plant(random: Generator, size: int) -> Float:
    """Walls about empty or watery cells, as in stems, leaves and wood; here and there a vessel or a starch grain."""
    tissue, spacing = _cells(random, size, 6)
    points, border = tissue.points, tissue.rounded(pick(random, (0.0, 0.05, 0.12)) * spacing)
    width = log_uniform(random, 1.2, 0.45 * spacing)
    inside = 0.0 if chance(random, 0.5) else random.uniform(0, 0.9)
    lumen = np.full(len(points), inside, np.float32)
    if chance(random, 0.5):
        watery = random.random(len(points)) < random.uniform(0.05, 0.5)
        lumen[watery] = random.uniform(0.2, 0.9)
    image = tissue.shaded(lumen)
    blend(image, coverage(border - width / 2), 1.0)
    if chance(random, 0.4):  # a thin middle layer within the wall
        blend(image, coverage(border - 0.12 * width), random.uniform(0.7, 1.3))
    for row, col in random.permutation(points)[: random.integers(0, 12)].tolist():
        vessel = disc((row, col), spacing * random.uniform(0.5, 1.1))
        vessel.paint(image, 1.0)
        vessel.shrunk(width / 2 + 0.5).paint(image, inside)
    if chance(random, 0.3):
        for row, col in (points + 0.2 * spacing)[random.random(len(points)) < 0.3].tolist():
            disc((row, col), max(0.8, 0.1 * spacing)).paint(image, random.uniform(0.8, 1.4))
    return image


def crystals(random: Generator, size: int) -> Float:
    """Grains that touch, of a few materials or each of its own grey; gaps or a binder between, a texture within."""
    grains, spacing = _cells(random, size, 6)
    count = len(grains.points)
    contrast = log_uniform(random, 0.02, 0.5)
    values = 1 + contrast * random.uniform(-1, 1, count).astype(np.float32)
    if chance(random, 0.5):
        values = values[random.integers(0, random.integers(2, 5), count)]
    pores = random.random(count) < pick(random, (0.0, random.uniform(0, 0.15)))
    values[pores] = 0
    image = grains.shaded(values)
    if chance(random, 0.5):
        strength = random.uniform(0, 0.5 * contrast, count).astype(np.float32) * (values > 0)
        image += grains.shaded(strength) * texture(random, size)
    if chance(random, 0.7):
        border = grains.rounded(pick(random, (0.0, 0.04)) * spacing)
        gap = coverage(border - log_uniform(random, 0.8, 0.15 * spacing) / 2)
        blend(image, gap, pick(random, (0.0, 1 - contrast, 1 + contrast)))
    return np.asarray(np.maximum(image, 0), np.float32)
