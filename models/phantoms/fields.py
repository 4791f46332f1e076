"""Random fields: white noise with its spectrum shaped, and what their level sets make (pores, struts, membranes).

Lengths are pixels, images (size, size) float32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from scipy import fft

from .choices import chance, log_uniform
from .shapes import Float, coordinates, coverage


def random_field(
    random: Generator,
    size: int,
    fine: float,
    coarse: float,
    slope: float = 0.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Float:
    """A Gaussian field of mean 0 and deviation 1, with structure between `fine` and `coarse` pixels.

    Args:
        fine: wavelengths well below it are gone.
        coarse: wavelengths well above it are gone.
        slope: between them the amplitude falls as frequency ** -slope.
        stretch: structure is this many times longer along `angle` (radians from the rows' direction).
    """
    rows = fft.fftfreq(size).astype(np.float32)[:, None]
    cols = fft.rfftfreq(size).astype(np.float32)[None, :]
    cos, sin = math.cos(angle), math.sin(angle)
    frequency = np.hypot((cos * rows + sin * cols) * stretch, cos * cols - sin * rows)
    frequency[0, 0] = 1
    amplitude = np.exp(-((frequency * fine) ** 2)) * -np.expm1(-((frequency * coarse) ** 2))
    amplitude *= frequency**-slope
    amplitude[0, 0] = 0
    noise = random.standard_normal((size, size), np.float32)
    field = fft.irfft2(fft.rfft2(noise) * amplitude, s=(size, size))
    return np.asarray(field / max(float(field.std()), 1e-12), np.float32)


def texture(random: Generator, size: int) -> Float:
    """A field of random spectrum: coarse to fine, smooth to rough, often with a direction."""
    fine = log_uniform(random, 4, 14)
    coarse = log_uniform(random, 2 * fine, size / 2)
    stretch = log_uniform(random, 1.5, 8) if chance(random, 0.3) else 1.0
    return random_field(random, size, fine, coarse, random.uniform(0, 2), stretch, random.uniform(0, math.pi))


def ramp(random: Generator, size: int) -> Float:
    """A smooth trend over the whole image, within ±1: across, or from the middle outwards (as beam hardening does)."""
    rows, cols = coordinates(size)
    if chance(random, 0.3):
        return np.asarray((rows**2 + cols**2) * (8 / size**2) - 1, np.float32).clip(-1, 1)
    if chance(random, 0.3):
        return np.asarray(random_field(random, size, size / 3, 10 * size) / 3, np.float32).clip(-1, 1)
    angle = random.uniform(0, 2 * math.pi)
    return np.asarray((math.cos(angle) * rows + math.sin(angle) * cols) * (math.sqrt(2) / size), np.float32)


def above(field: Float, level: float) -> Float:
    """Coverage of the region where the field exceeds the level, edges antialiased."""
    return coverage((level - field) / _steepness(field))


def near(field: Float, level: float, width: float | Float) -> Float:
    """Coverage of a line of `width` pixels along the field's level: a crack, a membrane."""
    return coverage(np.abs(field - level) / _steepness(field) - width / 2)


def _steepness(field: Float) -> Float:
    down, right = np.gradient(field)
    return np.asarray(np.hypot(down, right) + 1e-6, np.float32)
