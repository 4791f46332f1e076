"""Joseph's projector for one window and footprint, by the kernels' host build; every ray position from its index.

Forward and adjoint are matched: the adjoint gathers with the very weights the forward used. Source: Joseph, IEEE TMI
1982, eq. 4; kernels/joseph.h.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..blocks import FloatArray, IndexArray, Window
from ..kernels.host_build import host_kernels
from .footprint import Float64Array, Footprint, ParallelGeometry

# struct RayFan of kernels/joseph.h
RAY_FAN = np.dtype(
    [
        *((name, "f4") for name in ("first", "first_rest", "per_ray", "per_ray_rest")),
        *((name, "f4") for name in ("per_line", "rays_a_pixel", "reach", "length")),
        *((name, "i4") for name in ("rays_near", "along_rows")),
        ("unused", "i4", (2,)),
    ]
)
# A kernel's search for the rays near a pixel begins early by this much of the largest number in it: its six roundings,
# and the two of a position, are half of that.
SEARCH_ROUNDING = 2.0**-20


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

    def __init__(self, shape: tuple[int, int], width: int, fans: npt.NDArray[np.void], scratch: Scratch) -> None:
        self._kernels = host_kernels()
        self._shape = shape
        self._width = width
        self._fans = np.ascontiguousarray(fans)
        self._scratch = scratch
        address = self._fans.ctypes.data
        self._forward_size = self._kernels.joseph_forward_scratch(*shape, width)
        self._adjoint_size = self._kernels.joseph_adjoint_scratch(*shape, address, len(fans), width)

    def of_angles(self, subset: IndexArray) -> JosephProjector:
        """The pair of some of the angles."""
        return JosephProjector(self._shape, self._width, self._fans[subset], self._scratch)

    def forward(self, pixels: FloatArray, out: FloatArray) -> None:
        self._call(self._kernels.joseph_forward, pixels, out, self._forward_size)

    def adjoint(self, sinogram: FloatArray, out: FloatArray) -> None:
        self._call(self._kernels.joseph_adjoint, sinogram, out, self._adjoint_size)

    def _call(self, kernel: Callable[..., None], array: FloatArray, out: FloatArray, size: int) -> None:
        rows, cols = self._shape
        source = np.ascontiguousarray(array, np.float32)
        target = out if out.flags.c_contiguous else np.empty(out.shape, np.float32)
        fans, scratch = self._fans, self._scratch.address(size)
        kernel(source.ctypes.data, rows, cols, fans.ctypes.data, len(fans), self._width, target.ctypes.data, scratch)
        if target is not out:
            np.copyto(out, target)

    def close(self) -> None:
        """Nothing to give back."""


def ray_fans(geometry: ParallelGeometry, window: Window, footprint: Footprint) -> npt.NDArray[np.void]:
    """(angles,) of RAY_FAN: where the footprint's rays cross the window's rows or columns.

    A ray at t crosses row r, y_r = (rows − 1)/2 − r, at x = (t − y_r·sin θ)/cos θ, and column c,
    x_c = c − (cols − 1)/2, at y = (t − x_c·cos θ)/sin θ; t from the window's centre, in pixels.
    """
    rows, cols = window.shape
    cos, sin = np.cos(geometry.angles), np.sin(geometry.angles)
    t = (footprint.start - geometry.center) * geometry.spacing - geometry.axis_shift(window)
    along_rows = np.abs(cos) > np.abs(sin)
    with np.errstate(divide="ignore", invalid="ignore"):  # the branch not taken may divide by zero
        across_rows = (t - (rows - 1) / 2 * sin) / cos + (cols - 1) / 2
        across_cols = (rows - 1) / 2 - (t + (cols - 1) / 2 * cos) / sin
        first = np.where(along_rows, across_rows, across_cols)
        per_ray = np.where(along_rows, geometry.spacing / cos, -geometry.spacing / sin)
        per_line = np.where(along_rows, sin / cos, cos / sin)
    fans = np.zeros(len(t), RAY_FAN)
    fans["first"], fans["first_rest"] = _two_floats(first)
    fans["per_ray"], fans["per_ray_rest"] = _two_floats(per_ray)
    fans["per_line"], fans["rays_a_pixel"] = per_line, 1 / per_ray
    fans["length"] = 1 / np.maximum(np.abs(cos), np.abs(sin))
    reach = 1 / np.abs(per_ray) + SEARCH_ROUNDING * ((np.abs(first) + rows + cols) / np.abs(per_ray) + 1)
    fans["reach"], fans["rays_near"] = reach, (2 * reach).astype(np.int32) + 1
    fans["along_rows"] = along_rows
    return fans


def _two_floats(values: Float64Array) -> tuple[FloatArray, FloatArray]:
    """float32 arrays whose sum is `values` to 48 bits."""
    nearest = values.astype(np.float32)
    return nearest, (values - nearest).astype(np.float32)
