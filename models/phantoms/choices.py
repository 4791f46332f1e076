"""Random choices that phantoms are drawn from, each from the generator passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from numpy.random import Generator

from .shapes import Point

Choice = TypeVar("Choice")


def chance(random: Generator, probability: float) -> bool:
    return bool(random.random() < probability)


def pick(random: Generator, choices: Sequence[Choice]) -> Choice:
    return choices[int(random.integers(len(choices)))]


def log_uniform(random: Generator, low: float, high: float) -> float:
    """A length or contrast whose logarithm is uniform; `low` where the range is empty, as in small images."""
    return low * math.exp(random.uniform(0, math.log(max(low, high) / low)))


def place_within(random: Generator, axes: Point) -> Point:
    """A point drawn evenly from an ellipse about the origin, `axes` its half-axes along rows and columns."""
    radius, angle = math.sqrt(random.random()), random.uniform(0, 2 * math.pi)
    return axes[0] * radius * math.cos(angle), axes[1] * radius * math.sin(angle)
