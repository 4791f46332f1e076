"""How a kernel of this folder is called, on a device or through its host build; and the tables it reads.

Arguments: a contiguous tensor (its address), an int (32 bits), a float (32 bits), or None (a null pointer).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Kernels(Protocol):
    """The kernels, ready to be launched."""

    def launch(self, name: str, items: int, *arguments: Tensor | int | float | None) -> None:
        """Run kernel `name` for `items` independent items, on the current stream.

        Raises:
            ValueError: a tensor that isn't contiguous.
        """
        ...


# struct Image of layout.h
IMAGE = np.dtype(
    [
        (name, "i4")
        for name in ("rows", "cols", "block_rows", "block_cols", "across", "blocks", "halo", "angles", "detectors")
    ]
)

# struct Block of layout.h; `slots`: where its two slots begin in the memory, in floats; the others from there
BLOCK = np.dtype(
    [
        *((name, "i4") for name in ("top", "left", "rows", "cols", "width", "unused")),
        ("slots", "i8", (2,)),
        *((name, "i8") for name in ("momentum", "center", "share")),
    ]
)

# struct Task of layout.h; block −1: nothing to do
TASK = np.dtype(
    [
        ("block", "i4"),
        *((name, "f4") for name in ("length", "momentum", "gradient_scale", "strength")),
        ("nonnegative", "i4"),
    ]
)


def as_bytes(table: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A table of structs on a device, as the kernels take it."""
    return torch.from_numpy(np.ascontiguousarray(table).view(np.uint8).reshape(-1).copy()).to(device)
