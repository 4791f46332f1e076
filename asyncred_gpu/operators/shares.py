"""Adding up the blocks' shares of the sinogram where footprints overlap: an update's residual W (Σ_j s_j − y)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..blocks import FloatArray, IndexArray
from ..kernels.host_build import host_kernels
from .footprint import Footprint


class Gather:
    """Residuals on the blocks' footprints, by numpy.

    Args:
        sinogram, weights: (angles, detectors); weights None for 1.
        footprints: of all blocks.
    """

    def __init__(self, sinogram: FloatArray, weights: FloatArray | None, footprints: Sequence[Footprint]) -> None:
        self._sinogram = sinogram
        self._weights = weights
        self._footprints = footprints

    def residual(self, index: int, shares: Sequence[FloatArray], subset: IndexArray | None, out: FloatArray) -> None:
        """W (Σ_j s_j − y) on the footprint of block `index`, (angles or subset, footprint), into `out`."""
        here = self._footprints[index]
        angles = np.arange(len(self._sinogram)) if subset is None else subset
        start = here.start[angles]
        detectors = start[:, None] + np.arange(here.width)
        np.negative(self._sinogram[angles[:, None], detectors], out=out)
        for share, there in zip(shares, self._footprints, strict=True):
            add_share(out, start, share, there, angles)
        if self._weights is not None:
            out *= self._weights[angles[:, None], detectors]


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


class CompiledGather:
    """The same by the host's compiled loops, in the same order of additions; arguments as of `Gather`."""

    def __init__(self, sinogram: FloatArray, weights: FloatArray | None, footprints: Sequence[Footprint]) -> None:
        self._gather = host_kernels().gather_residual
        self._sinogram = np.ascontiguousarray(sinogram)
        self._weights = None if weights is None else np.ascontiguousarray(weights)
        self._starts = [np.ascontiguousarray(footprint.start, np.int64) for footprint in footprints]
        self._start_addresses = np.array([start.ctypes.data for start in self._starts], np.uintp)
        self._widths = np.array([footprint.width for footprint in footprints], np.int32)
        self._share_addresses = np.zeros(len(footprints), np.uintp)

    def residual(self, index: int, shares: Sequence[FloatArray], subset: IndexArray | None, out: FloatArray) -> None:
        """W (Σ_j s_j − y) on the footprint of block `index`, (angles or subset, footprint), into `out`."""
        for share, width in zip(shares, self._widths, strict=True):  # what is read is addresses, not arrays
            if share.shape != (len(self._sinogram), width) or share.dtype != np.float32:
                raise ValueError(
                    f"A share is {share.shape} {share.dtype}, its block's {(len(self._sinogram), int(width))} float32. "
                    "Pass what forward_block filled."
                )
        kept = [np.ascontiguousarray(share) for share in shares]
        for block, share in enumerate(kept):
            self._share_addresses[block] = share.ctypes.data
        angles = None if subset is None else np.ascontiguousarray(subset, np.int64)
        target = out if out.flags.c_contiguous else np.empty_like(out)
        self._gather(
            *(self._sinogram.ctypes.data, self._sinogram.shape[1]),
            *(None if angles is None else angles.ctypes.data, len(out), self._starts[index].ctypes.data),
            *(out.shape[1], len(kept), self._share_addresses.ctypes.data, self._start_addresses.ctypes.data),
            *(self._widths.ctypes.data, None if self._weights is None else self._weights.ctypes.data),
            target.ctypes.data,
        )
        if target is not out:
            np.copyto(out, target)
