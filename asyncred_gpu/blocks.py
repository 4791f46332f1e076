"""The block grid: an image cut into non-overlapping blocks, and a block's crop with a halo around it.

x_i = U_i x in the paper's words (Sun et al., ICLR 2021). Blocks are numbered in row-major order; the last row and
column of blocks may be smaller. Beyond the image's border the halo is the mirrored image (numpy's "reflect").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
IndexArray: TypeAlias = npt.NDArray[np.intp]

# About this many pixels a side: the halo of 7 then costs 14 %, and an 800×800 image has 16 blocks.
TYPICAL_SIDE = 200


@dataclass(frozen=True)
class Window:
    """Rows [top, bottom) and columns [left, right) of the image."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, origin: Window) -> tuple[slice, slice]:
        """This window's slices in an array that holds `origin`."""
        return (
            slice(self.top - origin.top, self.bottom - origin.top),
            slice(self.left - origin.left, self.right - origin.left),
        )

    def intersection(self, other: Window) -> Window | None:
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return Window(top, bottom, left, right) if top < bottom and left < right else None


@dataclass(frozen=True)
class Piece:
    """What one block gives to another's crop: where it lies in the giver and in the crop before mirroring."""

    block: int
    source: tuple[slice, slice]
    target: tuple[slice, slice]


@dataclass(frozen=True)
class BlockGrid:
    """Blocks of `block_shape` over `image_shape` (rows, cols), both in pixels.

    Raises:
        ValueError: an empty image, or a block that is empty or larger than the image.
    """

    image_shape: tuple[int, int]
    block_shape: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.image_shape) < 1:
            raise ValueError(f"image_shape={self.image_shape} holds no pixel. Pass at least one row and one column.")
        if min(self.block_shape) < 1:
            raise ValueError(f"block_shape={self.block_shape} holds no pixel. Pass at least one row and one column.")
        if any(block > image for block, image in zip(self.block_shape, self.image_shape, strict=True)):
            raise ValueError(
                f"block_shape={self.block_shape} is larger than the image {self.image_shape}. "
                f"Pass a block of at most {self.image_shape}, or None to have one chosen."
            )

    @property
    def layout(self) -> tuple[int, int]:
        """Blocks down and across."""
        (rows, cols), (height, width) = self.image_shape, self.block_shape
        return -(-rows // height), -(-cols // width)

    def __len__(self) -> int:
        return self.layout[0] * self.layout[1]

    def window(self, index: int) -> Window:
        """Where block `index` lies in the image."""
        return self._windows[index]

    @cached_property
    def _windows(self) -> tuple[Window, ...]:
        (rows, cols), (height, width) = self.image_shape, self.block_shape
        return tuple(
            Window(top, min(top + height, rows), left, min(left + width, cols))
            for top in range(0, rows, height)
            for left in range(0, cols, width)
        )

    def touching(self, window: Window) -> Iterator[int]:
        """The blocks that have pixels in a window inside the image."""
        (height, width), across = self.block_shape, self.layout[1]
        for row in range(window.top // height, (window.bottom - 1) // height + 1):
            for col in range(window.left // width, (window.right - 1) // width + 1):
                yield row * across + col

    def split(self, image: FloatArray) -> list[FloatArray]:
        """The blocks of an image, as views."""
        return [image[self.window(index).slices] for index in range(len(self))]

    def join(self, blocks: Sequence[FloatArray]) -> FloatArray:
        """The image made of its blocks, (rows, cols) float32."""
        image = np.empty(self.image_shape, np.float32)
        for index, block in enumerate(blocks):
            image[self.window(index).slices] = block
        return image


@dataclass(frozen=True)
class HaloCrop:
    """How a block's crop with `halo` pixels around it is put together from the blocks of the image.

    Args:
        window: its part inside the image.
        pieces: that part, from the blocks.
        rows, cols: where the mirrored crop's pixels lie in that part, at the border.
    """

    shape: tuple[int, int]
    window: Window
    pieces: tuple[Piece, ...]
    rows: IndexArray | None
    cols: IndexArray | None

    @property
    def inside_shape(self) -> tuple[int, int]:
        return self.window.shape

    def of(self, image: FloatArray) -> FloatArray:
        """The crop of a whole image: `window`, mirrored at the border."""
        out = np.empty(self.shape, np.float32)
        self.mirror(image[self.window.slices], out)
        return out

    def mirror(self, inside: FloatArray, out: FloatArray) -> None:
        """Fill the crop `out` from its part `inside` the image; what lies beyond the border is mirrored."""
        if self.rows is None or self.cols is None:
            np.copyto(out, inside)
        else:
            np.copyto(out, inside[self.rows[:, None], self.cols])


def halo_crop(grid: BlockGrid, index: int, halo: int) -> HaloCrop:
    """The crop of block `index` with `halo` pixels on each side."""
    window = grid.window(index)
    return _crop(grid, Window(window.top - halo, window.bottom + halo, window.left - halo, window.right + halo))


def whole_crop(grid: BlockGrid) -> HaloCrop:
    """The whole image from its blocks, nothing mirrored: what a block reads if its denoiser isn't local."""
    rows, cols = grid.image_shape
    return _crop(grid, Window(0, rows, 0, cols))


def _crop(grid: BlockGrid, wanted: Window) -> HaloCrop:
    rows, cols = grid.image_shape
    inside = Window(max(wanted.top, 0), min(wanted.bottom, rows), max(wanted.left, 0), min(wanted.right, cols))
    pieces = []
    for other in grid.touching(inside):
        common = grid.window(other).intersection(inside)
        if common is not None:
            pieces.append(Piece(other, common.within(grid.window(other)), common.within(inside)))
    at_border = wanted != inside
    return HaloCrop(
        shape=wanted.shape,
        window=inside,
        pieces=tuple(pieces),
        rows=reflected(wanted.top, wanted.bottom, rows) - inside.top if at_border else None,
        cols=reflected(wanted.left, wanted.right, cols) - inside.left if at_border else None,
    )


def reflected(start: int, stop: int, length: int) -> IndexArray:
    """Indices start … stop - 1 mirrored into [0, length) about the border pixels, as often as needed."""
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (length - 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded).astype(np.intp)


def choose_block_shape(image_shape: tuple[int, int], at_least: int = 1) -> tuple[int, int]:
    """Equal blocks of about 200 pixels a side, at least four of them if the image has 32 pixels a side or more.

    Args:
        at_least: how many blocks there must be, if the image has the pixels; they get smaller then.
    """
    rows, cols = image_shape
    down, across = (max(round(side / TYPICAL_SIDE), 2 if side >= 32 else 1) for side in image_shape)
    while down * across < min(at_least, rows * cols):
        if across == cols or (down < rows and rows / down >= cols / across):
            down += 1
        else:
            across += 1
    return -(-rows // down), -(-cols // across)
