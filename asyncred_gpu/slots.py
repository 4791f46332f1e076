"""Where a block's two slots lie in memory: pixels, momentum, center and share of the measurements.

A slot is what a block publishes under one version, (x_i, m_i, z_i, s_i), so nothing of it is lost with a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .blocks import FloatArray
from .operators.base import BlockOperator

# Cache lines and vector registers: every array begins on one.
ALIGNMENT = 64


@dataclass(frozen=True)
class Slot:
    """Views of one slot: x_i, m_i and z_i (rows, cols), s_i in the operator's share shape; float32.

    center: z_i, what the denoiser last made of the block, and its momentum (red.py); at first the start image.
    """

    pixels: FloatArray
    momentum: FloatArray
    center: FloatArray
    share: FloatArray

    def fill(self, other: Slot) -> None:
        """Copy another slot of this shape into these arrays."""
        for name in ("pixels", "momentum", "center", "share"):
            np.copyto(getattr(self, name), getattr(other, name))


@dataclass(frozen=True)
class SlotOffsets:
    """Where one block's arrays begin, in floats: both slots in the memory; the others from there."""

    slots: tuple[int, int]
    momentum: int
    center: int
    share: int
    size: int


@dataclass(frozen=True)
class SlotLayout:
    """Shapes of every block's arrays; `nbytes` is the memory both slots of all blocks take."""

    pixels: tuple[tuple[int, int], ...]
    shares: tuple[tuple[int, ...], ...]

    @property
    def nbytes(self) -> int:
        return 2 * sum(
            3 * _bytes(pixels) + _bytes(share) for pixels, share in zip(self.pixels, self.shares, strict=True)
        )

    def offsets(self) -> list[SlotOffsets]:
        """The layout of `views` in numbers, for kernels."""
        found, begin = [], 0
        for pixels, share in zip(self.pixels, self.shares, strict=True):
            one = _bytes(pixels) // 4
            size = 3 * one + _bytes(share) // 4
            found.append(SlotOffsets((begin, begin + size), one, 2 * one, 3 * one, size))
            begin += 2 * size
        return found

    def views(self, memory: Any) -> list[tuple[Slot, Slot]]:
        """Both slots of every block, as views of `memory` (a writable buffer of `nbytes`)."""
        offset = 0

        def take(shape: Sequence[int]) -> FloatArray:
            nonlocal offset
            count = int(np.prod(shape))
            view: FloatArray = np.frombuffer(memory, np.float32, count, offset).reshape(shape)
            offset += _bytes(shape)
            return view

        def slot(pixels: Sequence[int], share: Sequence[int]) -> Slot:
            return Slot(take(pixels), take(pixels), take(pixels), take(share))

        return [
            (slot(pixels, share), slot(pixels, share)) for pixels, share in zip(self.pixels, self.shares, strict=True)
        ]


def _bytes(shape: Sequence[int]) -> int:
    """Bytes of a float32 array, rounded up to whole cache lines."""
    return -(-4 * int(np.prod(shape)) // ALIGNMENT) * ALIGNMENT


def slot_layout(operator: BlockOperator) -> SlotLayout:
    """The layout that an operator's blocks need."""
    indices = range(len(operator.grid))
    return SlotLayout(
        pixels=tuple(operator.grid.window(index).shape for index in indices),
        shares=tuple(operator.share_shape(index) for index in indices),
    )
