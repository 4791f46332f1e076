"""Training images: reading a folder, its scales, and random patches. Images are (rows, cols) float32 in [0, 1].

Patches as in Zhang et al., IEEE TIP 2017: scales 1, 0.9, 0.8 and 0.7, flipped and turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

IMAGE_SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"}
SCALES = (1.0, 0.9, 0.8, 0.7)
EIGHT_BIT_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}


def load_images(folder: Path) -> list[Tensor]:
    """All images of a folder, in the order of their names, turned grey: (rows, cols) float32 in [0, 1].

    Raises:
        ValueError: no folder, no image in it, or one that can't be read or has more than 8 bits.
    """
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "doesn't exist"
        raise ValueError(f"{folder} {found}, it must be a folder of images. Pass the folder that holds them.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no image. Pass a folder of {', '.join(sorted(IMAGE_SUFFIXES))} files.")
    return [_read(path) for path in paths]


def _read(path: Path) -> Tensor:
    try:
        with Image.open(path) as image:
            # Pillow would clip deeper images to white on the way to 8 bits, without a word.
            if image.mode not in EIGHT_BIT_MODES:
                raise ValueError(
                    f"{path} has pixels of mode {image.mode}, training images must have 8 bits. Convert it to 8 bits."
                )
            return torch.from_numpy(np.asarray(image.convert("L"), np.float32) / 255)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} can't be read as an image ({error}). Remove it, or replace it.") from error


def training_images(images: Sequence[Tensor], patch: int) -> list[Tensor]:
    """The images at all scales, for patches of patch×patch pixels.

    Raises:
        ValueError: none is as large as a patch.
    """
    found = rescaled(images, SCALES, patch)
    if not found:
        raise ValueError(
            f"No training image holds a patch of {patch}×{patch} pixels. Pass larger images, or a smaller patch."
        )
    return found


def rescaled(images: Sequence[Tensor], scales: Sequence[float], smallest: int) -> list[Tensor]:
    """The images at every scale, without those that became smaller than `smallest` pixels."""
    pyramid = []
    for scale in scales:
        for image in images:
            size = [round(scale * side) for side in image.shape]
            if min(size) >= smallest:
                resized = F.interpolate(image[None, None], size, mode="bicubic", antialias=True)
                pyramid.append(resized[0, 0].clamp(0, 1))
    return pyramid


def random_patches(images: Sequence[Tensor], count: int, size: int, random: torch.Generator) -> Tensor:
    """Random crops (count, 1, size, size), flipped and turned at random."""

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (), generator=random))

    patches = []
    for _ in range(count):
        image = images[draw(len(images))]
        row, col = draw(image.shape[0] - size + 1), draw(image.shape[1] - size + 1)
        patch = torch.rot90(image[row : row + size, col : col + size], draw(4))
        patches.append(patch.flip(0) if draw(2) else patch)
    return torch.stack(patches).unsqueeze(1)
