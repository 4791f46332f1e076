"""What a worker is told: one update, with the slots it reads."""

from __future__ import annotations

from typing import NamedTuple

from .blocks import IndexArray
from .buffer import Slots
from .red import Step


class Task(NamedTuple):
    """One update as a worker sees it.

    Args:
        number: the update's ticket.
        block: which block.
        slots: (blocks,) the slot to read of every block.
        step: how far to move.
        subset: the minibatch's measurements, or None for all.
        granted: the back slot may be written at once.
    """

    number: int
    block: int
    slots: Slots
    step: Step
    subset: IndexArray | None
    granted: bool
