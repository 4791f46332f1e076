"""Two slots a block, which of them is in front, and who still reads which: consistent reads without waiting.

Dual memory (Peng et al. 2016; the supplement of Async-RED): a writer fills a block's back slot and flips; a reader
leases, in one step, the front slots of all blocks, and so sees exactly the state after some commit. Owned by the
solver's thread: only it leases, releases and flips. Pure bookkeeping; the slots' data lies in slots.py.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Slots: TypeAlias = npt.NDArray[np.int8]


class DoubleBuffer:
    """Front slots and leases of `blocks` blocks."""

    def __init__(self, blocks: int) -> None:
        self._front = np.zeros(blocks, np.int8)
        self._flips = 0
        self._flipped = [0] * blocks  # the count of flips right after each block's last one
        self._leases: dict[int, int] = {}  # reader: flips so far at its lease, hence the oldest first

    def front(self) -> Slots:
        """The front slot of every block, (blocks,): the state after the last commit."""
        return self._front.copy()

    def back(self, block: int) -> int:
        """The slot the block's next value is written to."""
        return 1 - int(self._front[block])

    def lease(self, reader: int) -> Slots:
        """Keep all present front slots from being overwritten until `release(reader)`; returns them."""
        if reader in self._leases:
            raise AssertionError(f"reader {reader} holds a lease already")
        self._leases[reader] = self._flips
        return self.front()

    def release(self, reader: int) -> None:
        """End the lease, if it lasts still."""
        self._leases.pop(reader, None)

    def holds(self, reader: int) -> bool:
        """Whether the reader's lease lasts: what it reads is still there."""
        return reader in self._leases

    def writable(self, block: int) -> bool:
        """Whether nobody reads the back slot: only a lease from before the last flip, when it was in front, could."""
        oldest = next(iter(self._leases.values()), self._flips)
        return oldest >= self._flipped[block]

    def flip(self, block: int) -> None:
        """The back slot holds a finished value: put it in front."""
        self._front[block] = self.back(block)
        self._flips += 1
        self._flipped[block] = self._flips
