"""Random slices as computed tomography shows them, generated: to train denoisers on, beside natural images.

Images are (size, size) float32 in [0, 1]; air is 0. Image k depends on (seed, k) alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from scipy import ndimage
from torch import Tensor

from .bodies import abdomen, chest, head
from .cells import cells
from .choices import chance, pick
from .ellipses import collection
from .foam import foam
from .parts import inserts, part
from .shapes import Float
from .textures import textured


def ellipses(random: Generator, size: int) -> Float:
    """Regions of even greys: shapes in a container, a body's cross-section, a calibration phantom, a machine part."""
    return pick(random, (collection, collection, collection, chest, abdomen, head, inserts, part))(random, size)


# Each draws (size, size) float32, not below 0: air is 0 and the main material about 1.
KINDS: dict[str, Callable[[Generator, int], Float]] = {
    "ellipses": ellipses,
    "foam": foam,
    "cells": cells,
    "textured": textured,
}

SMALLEST = 32


def make_phantoms(count: int, size: int, seed: int) -> list[Tensor]:
    """Random phantoms, (size, size) float32 in [0, 1], of all the kinds in turn: image k is of kind k mod 4.

    A longer list begins with the shorter one; another size is another image.

    Raises:
        ValueError: a negative count or seed, or a size too small to hold a phantom.
    """
    if count < 0 or seed < 0:
        raise ValueError(
            f"count={count} and seed={seed} must not be below 0. Pass a count of images and any seed from 0."
        )
    if size < SMALLEST:
        raise ValueError(f"size={size} pixels can't hold a phantom's detail. Pass at least {SMALLEST}.")
    kinds = list(KINDS.values())
    phantoms = []
    for index in range(count):
        random = np.random.default_rng([seed, index])
        phantoms.append(torch.from_numpy(scanned(random, kinds[index % len(kinds)](random, size))))
    return phantoms


def scanned(random: Generator, image: Float) -> Float:
    """The image as a scan gives it: its maximum between 0.6 and 1, and half of the images slightly blurred."""
    if chance(random, 0.5):
        image = ndimage.gaussian_filter(image, random.uniform(0.3, 0.8))
    brightest = max(float(image.max()), 1e-6)
    return np.asarray(image * (random.uniform(0.6, 1) / brightest), np.float32).clip(0, 1)
