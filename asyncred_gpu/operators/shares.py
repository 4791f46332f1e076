"""Adding up the blocks' shares of the sinogram where footprints overlap: the gather Σ_j s_j of an update's residual."""

from __future__ import annotations

import numpy as np

from ..blocks import FloatArray, IndexArray
from .footprint import Footprint


def add_share(out: FloatArray, start: IndexArray, share: FloatArray, there: Footprint, angles: IndexArray) -> None:
    """out[θ, k] += s_j[θ, k + start[θ] − there.start[θ]] where the two footprints overlap."""
    width = out.shape[1]
    offset = start - there.start[angles]
    rows = np.flatnonzero((offset < there.width) & (offset > -width))
    if not len(rows):
        return
    source = offset[rows, None] + np.arange(width)
    outside = (source < 0) | (source >= there.width)
    np.clip(source, 0, there.width - 1, out=source)
    source += (angles[rows] * there.width)[:, None]
    values = share.reshape(-1).take(source)
    values[outside] = 0
    out[rows] += values
