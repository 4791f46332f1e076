"""Joseph's projector for one window and footprint, by the kernels' host build; every ray position from its index.

Forward and adjoint are matched: the adjoint gathers with the very weights the forward used. Source: Joseph, IEEE TMI
1982, eq. 4; kernels/joseph.h and host.cpp.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from ..blocks import FloatArray, IndexArray
from ..kernels.host_build import host_kernels
from .ray_tables import FAN_RAYS


class Scratch(threading.local):
    """Memory that one operator's projectors work in, each thread in its own; grows to the largest call's need."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.float32)

    def address(self, count: int) -> int:
        """Of `count` floats."""
        if len(self._memory) < count:
            self._memory = np.empty(count, np.float32)
        return self._memory.ctypes.data

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        return Scratch, ()


class JosephProjector:
    """A matched CPU pair for one window and footprint; owns its table of rays, works in the operator's scratch."""

    def __init__(self, shape: tuple[int, int], width: int, rays: npt.NDArray[np.void], scratch: Scratch) -> None:
        """`rays` as `ray_table` makes them."""
        self._kernels = host_kernels()
        self._beam = "_fan" if rays.dtype == FAN_RAYS else ""
        self._shape = shape
        self._width = width
        self._rays = np.ascontiguousarray(rays)
        self._scratch = scratch
        adjoint_size = getattr(self._kernels, f"joseph_adjoint_scratch{self._beam}")
        self._forward_size = self._kernels.joseph_forward_scratch(*shape, width)
        self._adjoint_size = adjoint_size(*shape, self._rays.ctypes.data, len(rays), width)

    def of_angles(self, subset: IndexArray) -> JosephProjector:
        """The pair of some of the angles."""
        return JosephProjector(self._shape, self._width, self._rays[subset], self._scratch)

    def forward(self, pixels: FloatArray, out: FloatArray) -> None:
        self._call("joseph_forward", pixels, out, self._forward_size)

    def adjoint(self, sinogram: FloatArray, out: FloatArray) -> None:
        self._call("joseph_adjoint", sinogram, out, self._adjoint_size)

    def _call(self, name: str, array: FloatArray, out: FloatArray, size: int) -> None:
        rows, cols = self._shape
        source = np.ascontiguousarray(array, np.float32)
        target = out if out.flags.c_contiguous else np.empty(out.shape, np.float32)
        rays, scratch = self._rays, self._scratch.address(size)
        kernel = getattr(self._kernels, name + self._beam)
        kernel(source.ctypes.data, rows, cols, rays.ctypes.data, len(rays), self._width, target.ctypes.data, scratch)
        if target is not out:
            np.copyto(out, target)

    def close(self) -> None:
        """Nothing to give back."""
