"""The start image of a whole-image method, made as `GpuAsyncRED` makes its own, and what holds for all after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..arrays import checksum
from ..blocks import FloatArray
from ..operators.base import BlockOperator
from ..operators.radon import RadonCT
from ..settings import check_image
from ..solver import choose_scale, outside_notes


@dataclass(frozen=True)
class Start:
    """image: (rows, cols) float32. scale: c, the intensity scale. mask: the field of view, or None."""

    image: FloatArray
    scale: float
    mask: FloatArray | None
    nonnegative: bool
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, operator: BlockOperator, x0: Any, scale: float | None, mask: FloatArray | None, nonnegative: Any
    ) -> Self:
        """From a start's name or an image; `scale` None: chosen from it."""
        image = operator.start(x0) if isinstance(x0, str) else check_image("x0", x0, operator.image_shape)
        chosen, notes = choose_scale(scale, image, operator), outside_notes(image, mask)
        return cls(constrained(image, mask, bool(nonnegative)), chosen, mask, bool(nonnegative), notes)

    @property
    def settings(self) -> dict[str, Any]:
        """What a result says of it."""
        return {
            "start": checksum(self.image),
            "intensity_scale": self.scale,
            "field_of_view": None if self.mask is None else checksum(self.mask),
            "nonnegative": self.nonnegative,
        }


def constrained(image: FloatArray, mask: FloatArray | None, nonnegative: bool) -> FloatArray:
    """The nearest image that is zero outside the field of view and, if asked for, nowhere negative."""
    inside = image if mask is None else image * mask
    return np.ascontiguousarray(np.maximum(inside, 0) if nonnegative else inside, np.float32)


def check_ct(method: str, operator: Any) -> None:
    """Refuse what isn't a CT scan."""
    if not isinstance(operator, RadonCT):
        raise TypeError(f"{method} needs a CT scan, and operator is a {type(operator).__name__}. Pass a RadonCT.")
