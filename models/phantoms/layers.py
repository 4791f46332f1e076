"""Phantoms of fibres, of layers (growth rings, sediments, wound foils) and of teeth. Air is 0; (size, size) float32."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy.spatial import cKDTree

from .choices import chance, log_uniform, pick, place_within
from .ellipses import any_shape, container
from .fields import above, random_field, texture
from .growth import blob, branches, cracks
from .packing import jittered_grid
from .shapes import Float, blend, coordinates, coverage, disc, ellipse, joined


def bundles(random: Generator, size: int) -> Float:
    """A composite: bundles of fibres cut across or along, in a matrix with pores and cracks."""
    matrix = 1 - log_uniform(random, 0.05, 0.7)
    image = np.full((size, size), matrix, np.float32)
    across = _cut_across(random, size)
    along = above(random_field(random, size, 4, 20, 0, log_uniform(random, 8, 30), random.uniform(0, math.pi)), 0)
    for _ in range(int(random.integers(3, 10))):
        half = random.uniform(0.25, 0.6) * size
        bundle = ellipse(
            place_within(random, (0.4 * size, 0.4 * size)),
            (half, half * random.uniform(0.25, 0.9)),
            pick(random, (0.0, 0.5, 1.0)) * math.pi + random.normal(0, 0.15),
        )
        bundle.paint(image, matrix)
        blend(image, bundle.coverage(size) * (across if chance(random, 0.6) else along), 1 - 0.1 * random.random())
    for _ in range(int(random.integers(0, 10))):
        at = place_within(random, (0.5 * size, 0.5 * size))
        any_shape(random, at, log_uniform(random, 1.5, 0.06 * size)).paint(image, 0.0)
    if chance(random, 0.3):
        blend(image, cracks(random, size, 2), 0.0)
    return image * container(random, size).coverage(size)


def _cut_across(random: Generator, size: int) -> Float:
    """Coverage of many equal discs."""
    radius = log_uniform(random, 2, 0.03 * size)
    spacing = 2 * radius * random.uniform(1.02, 1.5)
    points = jittered_grid(random, size, spacing, random.uniform(0.02, 0.15))
    rows, cols = (np.broadcast_to(line, (size, size)).ravel() for line in coordinates(size))
    distance, _ = cKDTree(points).query(np.stack([rows, cols], axis=1))
    return coverage((distance - radius).reshape(size, size).astype(np.float32))


def layers(random: Generator, size: int) -> Float:
    """Layers that repeat: rings about a centre, a wound foil, or a stack, wavy and each repeat a little different."""
    period = log_uniform(random, 5, 0.1 * size)
    centre = place_within(random, (0.15 * size, 0.15 * size))
    rows, cols = coordinates(size)
    rows, cols = rows - centre[0], cols - centre[1]
    kind = pick(random, ("rings", "roll", "stack"))
    waves = random.uniform(0, 0.35) * period * random_field(random, size, max(2 * period, 0.1 * size), size, 1)
    if kind == "stack":
        angle = random.uniform(0, math.pi)
        place = math.cos(angle) * rows + math.sin(angle) * cols + waves
    else:
        place = np.hypot(rows, cols) + waves * (0.2 if kind == "roll" else 1)
    turns = place / period
    if kind == "roll":
        turns = turns + np.arctan2(rows, cols) / (2 * math.pi)
    image = _profile(random, np.asarray(turns % 1, np.float32), period)
    if kind != "roll" and chance(random, 0.7):  # each repeat has a shade of its own
        shades = 1 + random.uniform(0, 0.1) * random.standard_normal(4096).astype(np.float32)
        repeat = np.floor(turns).astype(int)
        below, here, beyond = (shades[(repeat + step) % len(shades)] for step in (-1, 0, 1))
        past = (turns - repeat) * period  # pixels since the repeat began
        image = image * (here + coverage(past) * (below - here) + coverage(period - past) * (beyond - here))
    if chance(random, 0.7):
        image = image * (1 + log_uniform(random, 0.01, 0.08) * texture(random, size))
    if kind == "roll":
        disc(centre, random.uniform(0.03, 0.12) * size).paint(image, pick(random, (0.0, 1.0)))
    elif chance(random, 0.4):
        blend(image, cracks(random, size, int(random.integers(1, 4))), 0.0)
    return np.maximum(image, 0) * container(random, size).coverage(size)


def _profile(random: Generator, phase: Float, period: float) -> Float:
    """Values over one repeat (phase 0 to 1): steps between materials, or a slow rise and a sharp fall."""
    contrast = log_uniform(random, 0.08, 0.9)
    if chance(random, 0.3):
        return np.asarray(1 - contrast * np.minimum(phase, (1 - phase) * period), np.float32)
    count = int(random.integers(2, 5))
    # No step within a pixel of the repeat's own, so that none is seen from the repeat before or after.
    edges = np.append(np.sort(random.uniform(1 / period, 1 - 1 / period, count - 1)), 1.0)
    values = 1 - contrast * random.permutation(np.linspace(0, 1, count))
    # The step at phase 0 is seen at phase 1 too: both lie on the same edge.
    image = values[-1] + (values[0] - values[-1]) * coverage(-phase * period)
    for edge, before, after in zip(edges, values, np.roll(values, -1), strict=True):
        image = image + (after - before) * coverage((np.float32(edge) - phase) * np.float32(period))
    return np.asarray(image, np.float32)


def tooth(random: Generator, size: int) -> Float:
    """Enamel, dentine with its tubules, and pulp; a filling, caries, cracks. One or a few in jaw bone or in a tube."""
    image = np.zeros((size, size), np.float32)
    count = pick(random, (1, 1, 1, 3))
    if chance(random, 0.4):
        blob(random, (0.0, 0.0), (0.47 * size, 0.47 * size), 0.0, 0.05).paint(image, random.uniform(0.1, 0.4))
    grain = texture(random, size)
    radius = size / 2 * random.uniform(0.65, 0.9) / math.sqrt(count)
    start = random.uniform(0, 2 * math.pi)
    for index in range(count):
        angle, away = start + 2 * math.pi * index / count, 0 if count == 1 else 0.25 * size
        centre = (away * math.cos(angle), away * math.sin(angle))
        axes, turn = (radius, radius * random.uniform(0.65, 1)), random.uniform(0, math.pi)
        body = blob(random, centre, axes, turn, 0.12)
        dentine = random.uniform(0.5, 0.85)
        body.paint(image, 1.0)
        inner = blob(random, centre, (0.8 * axes[0], 0.78 * axes[1]), turn, 0.12).coverage(size)
        inner *= body.shrunk(0.05 * radius).coverage(size)
        blend(image, inner, dentine * (1 + random.uniform(0, 0.06) * grain))
        pulp = blob(random, centre, (random.uniform(0.1, 0.35) * axes[0], 0.2 * axes[1]), turn, 0.25)
        pulp.paint(image, pick(random, (0.0, 0.25 * dentine)))
        if chance(random, 0.3):
            at = (centre[0] + 0.7 * axes[0] * math.cos(turn), centre[1] + 0.7 * axes[0] * math.sin(turn))
            hole = any_shape(random, at, 0.3 * radius).coverage(size) * body.coverage(size)
            blend(image, hole, pick(random, (0.0, 0.4, 1.8)))
        for _ in range(int(random.integers(0, 3))):
            pieces = branches(random, centre, random.uniform(0, 6.3), random.uniform(0.4, 1), radius)
            blend(image, joined(pieces, size) * body.coverage(size), 0.1)
    return np.maximum(image, 0)
