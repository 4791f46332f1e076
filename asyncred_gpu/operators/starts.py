"""What operators' start images have in common: their names, and Aᵀy scaled to fit y best."""

from __future__ import annotations

import numpy as np

from ..blocks import FloatArray


def check_start(kind: str, kinds: tuple[str, ...]) -> None:
    """Refuse a name that isn't one of the operator's."""
    if kind not in kinds:
        raise ValueError(f"x0={kind!r} isn't a start. Pass one of {', '.join(kinds)}, or an image.")


def fitted(image: FloatArray, projection: FloatArray, measured: FloatArray) -> FloatArray:
    """The image times the factor that brings its `projection` closest to what was measured."""
    energy = float(np.vdot(projection, projection))
    return image * np.float32(np.vdot(projection, measured) / energy) if energy else image
