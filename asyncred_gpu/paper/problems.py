"""The paper's compressed sensing problems: images from a folder, random matrices, noisy measurements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..blocks import BlockGrid, FloatArray
from ..operators.gaussian import gaussian_matrices, measure_blocks
from ..operators.matrix import BlockCS
from .numbers import IMAGE_SIDE, INPUT_SNR, NAMES, TAUS, rows_of

# "nearest" keeps the pixels' own noise and comes closest to the paper's numbers; it doesn't say how it resized.
RESAMPLINGS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".pgm")


@dataclass(frozen=True)
class TestImage:
    """One image (240, 240) in [0, 1], and the demo's τ for it."""

    name: str
    image: FloatArray
    tau: float


@dataclass(frozen=True)
class Problem:
    """What was measured of an image: by `operator`, whose measurements are (blocks, m)."""

    test: TestImage
    operator: BlockCS
    measurements: FloatArray


def load_images(folder: Path, count: int = len(NAMES), resampling: str = "nearest") -> list[TestImage]:
    """The folder's first images in the order of their names, in grey, 240×240: the paper's six from Set12.

    Raises:
        FileNotFoundError: no such folder, or too few images in it.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS)
    if len(found) < count:
        raise FileNotFoundError(
            f"{folder} holds {len(found)} images, the experiments take {count}: {', '.join(NAMES[:count])}, in this "
            "order. Pass a folder with Set12's first six as 01.png to 06.png (../shared/data/set12)."
        )
    return [
        TestImage(*each) for each in zip(NAMES, (read(path, resampling) for path in found[:count]), TAUS, strict=False)
    ]


def read(path: Path, resampling: str) -> FloatArray:
    """An image file as (240, 240) in [0, 1]."""
    with Image.open(path) as file:
        grey = file.convert("L").resize((IMAGE_SIDE, IMAGE_SIDE), RESAMPLINGS[resampling])
    return np.asarray(grey, np.float32) / np.float32(255)


class Measurer:
    """Measures images with one set of matrices, which all problems share; owns the matrices.

    Args:
        side: of a block, pixels.
        rows: of a block's matrix; None: 0.7 of its pixels.
        seed: of the matrices; the noise's are seed + 1, seed + 2, … image by image.
        storage: of the matrices; the measurements are made in float32 all the same.
    """

    def __init__(self, side: int, rows: int | None = None, seed: int = 0, storage: str = "float32") -> None:
        self._grid = BlockGrid((IMAGE_SIDE, IMAGE_SIDE), (side, side))
        self._seed = seed
        count = rows_of(side) if rows is None else rows
        self.matrices = gaussian_matrices(len(self._grid), count, side * side, seed)
        nothing = np.zeros((len(self._grid), count), np.float32)
        self.operator = BlockCS(nothing, self.matrices, self._grid.image_shape, storage=storage)
        _ = self.operator.lipschitz  # once for all images

    def measure(self, test: TestImage) -> Problem:
        """A x with noise at 30 dB: ‖A x‖/‖noise‖, exactly."""
        seed = self._seed + 1 + NAMES.index(test.name)
        measured = measure_blocks(test.image, self.matrices, self._grid.block_shape, INPUT_SNR, seed)
        return Problem(test, self.operator.with_measurements(measured), measured)

    def blocks_apart(self, problem: Problem) -> list[BlockCS]:
        """Each block as an image of its own: denoised by itself, mirrored beyond its own border, as in the demo."""
        shape = self._grid.block_shape
        parts = (slice(index, index + 1) for index in range(len(self._grid)))
        return [BlockCS(problem.measurements[part], self.matrices[part], shape) for part in parts]
