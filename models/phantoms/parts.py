"""Phantoms of made things: calibration phantoms with rods and bar patterns, and machine parts.

Piecewise constant. Air is 0, the main material about 1; (size, size) float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .choices import chance, log_uniform, pick, place_within
from .shapes import OUTLINE, Float, Shape, disc, ellipse, outline, rectangle


def inserts(random: Generator, size: int) -> Float:
    """A calibration phantom: rings of rods of several contrasts and radii, bar patterns, wires."""
    radius = size / 2 * random.uniform(0.7, 0.96)
    contrast = log_uniform(random, 0.02, 0.6)
    flat = pick(random, (1.0, 1.0, 1.0, 0.7))
    body = ellipse((0.0, 0.0), (flat * radius, radius))
    image = np.full((size, size), random.uniform(0.8, 1.3), np.float32)
    body.shrunk(random.uniform(0.01, 0.1) * radius).paint(image, 1.0)
    for share in random.permutation([0.25, 0.45, 0.65, 0.82])[: random.integers(2, 5)].tolist():
        _rods(random, image, share * flat * radius, contrast)
    if chance(random, 0.5):
        _bars(random, image, flat * radius)
    for _ in range(int(random.integers(0, 4))):
        disc(place_within(random, (0.6 * radius, 0.6 * radius)), random.uniform(0.7, 1.5)).paint(image, 2.0)
    return image * body.coverage(size)


def _rods(random: Generator, image: Float, ring: float, contrast: float) -> None:
    """Rods on a ring about the middle; their contrast or their radius changes from one to the next."""
    count = int(random.integers(4, 16))
    largest = min(0.8 * ring * math.sin(math.pi / count), 0.1 * len(image))
    start, shrink = random.uniform(0, 2 * math.pi), random.uniform(0.75, 1)
    same = contrast * random.normal() if chance(random, 0.4) else None
    for index in range(count):
        angle = start + 2 * math.pi * index / count
        value = 1 + (contrast * random.normal() if same is None else same)
        if chance(random, 0.05):
            value = pick(random, (0.0, 2.0))
        rod = disc((ring * math.cos(angle), ring * math.sin(angle)), max(0.8, largest * shrink**index))
        rod.paint(image, max(0.0, value))


def _bars(random: Generator, image: Float, radius: float) -> None:
    """Groups of four bars, each finer than the group before: from 6 to 1.2 pixels wide."""
    row, col = place_within(random, (0.4 * radius, 0.4 * radius))
    width, angle, value = random.uniform(2, 6), random.uniform(0, math.pi), pick(random, (0.0, 0.5, 1.5, 2.0))
    cos, sin = math.cos(angle), math.sin(angle)
    shift = -0.6 * radius
    while width > 1.2 and shift < 0.6 * radius:
        for _ in range(4):
            rectangle((row + cos * shift, col + sin * shift), (width / 2, 3 * width), angle).paint(image, value)
            shift += 2 * width
        shift += 2 * width
        width *= 0.8


def part(random: Generator, size: int) -> Float:
    """A machine part: a gear, flange or casting with bores, a sleeve and bolts of other metals, pores and a joint."""
    radius = size / 2 * random.uniform(0.7, 0.96)
    body = _profile(random, radius)
    image = np.zeros((size, size), np.float32)
    body.paint(image, 1.0)
    bore = radius * random.uniform(0.1, 0.45)
    for ring in random.permutation([0.5, 0.65, 0.8])[: random.integers(1, 3)].tolist():
        count, start = int(random.integers(3, 13)), random.uniform(0, 2 * math.pi)
        largest = min(0.7 * ring * radius * math.sin(math.pi / count), 0.15 * radius)
        hole, bolt = largest * random.uniform(0.4, 1), pick(random, (0.0, 0.0, random.uniform(0.3, 1.8)))
        for index in range(count):
            angle = start + 2 * math.pi * index / count
            place = disc((ring * radius * math.cos(angle), ring * radius * math.sin(angle)), hole)
            place.paint(image, 0.0)
            place.shrunk(0.7 + 0.05 * hole).paint(image, bolt)
    middle = disc((0.0, 0.0), bore)
    middle.paint(image, random.uniform(0.6, 1.5))
    middle.shrunk(random.uniform(0.05, 0.3) * bore).paint(image, 0.0)
    if chance(random, 0.5):  # a shaft with a gap about it, and a key
        rectangle((bore, 0.0), (0.25 * bore, 0.15 * bore)).paint(image, 0.0)
        middle.shrunk(random.uniform(0.3, 0.4) * bore).paint(image, random.uniform(0.7, 1.4))
    for _ in range(int(random.integers(0, 60))):  # cast metal's pores
        at = place_within(random, (0.9 * radius, 0.9 * radius))
        disc(at, log_uniform(random, 0.7, 0.02 * size)).paint(image, 0.0)
    if chance(random, 0.3):
        joint = rectangle((random.uniform(-0.5, 0.5) * radius, 0.0), (random.uniform(0.4, 1.2), size))
        joint.paint(image, random.uniform(0, 0.7))
    return image * body.coverage(size)


def _profile(random: Generator, radius: float) -> Shape:
    """A gear, a lobed flange, a rounded block or a disc."""
    at = np.linspace(-math.pi, math.pi, OUTLINE, endpoint=False) + random.uniform(0, 2 * math.pi)
    kind = pick(random, ("gear", "flange", "block", "disc"))
    if kind == "gear":
        wave = np.sin(int(random.integers(8, 40)) * at)
        shape = 1 - random.uniform(0.03, 0.09) * (1 - np.clip(3 * wave, -1, 1))
    elif kind == "flange":
        shape = 1 - random.uniform(0.03, 0.15) * (1 - np.cos(int(random.integers(2, 7)) * at))
    elif kind == "block":  # a superellipse
        power, side = random.uniform(4, 12), random.uniform(0.6, 1)
        shape = 0.8 * (np.abs(np.cos(at)) ** power + np.abs(np.sin(at) / side) ** power) ** (-1 / power)
    else:
        shape = np.ones(OUTLINE)
    return outline((0.0, 0.0), (radius * shape).astype(np.float32))
