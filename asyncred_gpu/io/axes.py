"""In which order an array's axes are, and the rows of it that are wanted in ours: (angles, rows, detectors)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .projections import Frames

AXES = ("angles", "rows", "detectors")
FLAT = ("angles", "detectors")

Fetch = Callable[[tuple[slice, ...]], NDArray[Any]]


def parse_axes(axes: str | None, dimensions: int, name: str) -> tuple[str, ...]:
    """The axes in the array's order; by default as ours, a two-dimensional array being one slice's sinogram.

    Raises:
        ValueError: not the axes of such an array.
    """
    usual = AXES if dimensions == 3 else FLAT
    if dimensions not in (2, 3):
        raise ValueError(
            f"{name} has {dimensions} dimensions; projections have 3 (angles, rows, detectors), a sinogram 2 (angles, "
            "detectors). Pick another array with --dataset, or reshape it."
        )
    if axes is None:
        return usual
    words = tuple(word.strip() for word in axes.split(","))
    if sorted(words) != sorted(usual):
        raise ValueError(
            f"axes={axes!r} aren't those of {name}, which has {dimensions} dimensions. Pass {','.join(usual)} in its "
            "order."
        )
    return words


def frames_of(name: str, shape: tuple[int, ...], dtype: Any, axes: tuple[str, ...], fetch: Fetch) -> Frames:
    """Frames from an array that `fetch` reads a part of.

    Args:
        fetch: told a slice an axis, in the array's order; what it returns has all of its axes.
    """
    if np.dtype(dtype).kind not in "iuf":
        raise ValueError(f"{name} holds {dtype}, not real numbers. Write them as counts, or pick another array.")
    order = [axes.index(axis) for axis in AXES if axis in axes]
    ours = dict(zip(axes, shape, strict=True))

    def read(first: int, last: int) -> NDArray[Any]:
        part = fetch(tuple(slice(first, last) if axis == "rows" else slice(None) for axis in axes))
        turned = np.transpose(part, order)
        return turned if turned.ndim == 3 else turned[:, None, :]

    return Frames(name, (ours["angles"], ours.get("rows", 1), ours["detectors"]), np.dtype(dtype), read)
