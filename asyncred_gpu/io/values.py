"""What the values of a slice must be: finite, in the file, and above the dark field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_slice(index: int, rows: int) -> None:
    """A slice the file has; there is no counting from the end."""
    if not 0 <= index < rows:
        there = f"{rows} slices, 0 to {rows - 1}" if rows > 1 else "one slice, 0"
        raise ValueError(f"slice {index} isn't in the file: it has {there}. Pass {'one of them' if rows > 1 else '0'}.")


def check_finite(name: str, values: NDArray[Any]) -> None:
    """No NaN, no infinity."""
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(
            f"{name} has {bad} NaN or infinite values of {values.size} in this slice: no count can be that. "
            "Replace them, or leave those projections out."
        )


def check_gain(gain: NDArray[np.float64], white: str, dark: str) -> NDArray[np.bool_]:
    """Which detectors are dead: their white field isn't above their dark field. Not all of them may be.

    Args:
        white, dark: the fields' names in their file.
    """
    dead = gain <= 0
    if dead.all():
        raise ValueError(
            f"{white} is nowhere above {dark}, so no detector saw the beam: the two fields may be swapped. Check which "
            "is which."
        )
    return dead
