"""Arrays in and out: numpy, torch or CuPy in, float32 numpy inside, the same kind out. Refuses what isn't finite."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .blocks import FloatArray

FLOAT32_MAX = float(np.finfo(np.float32).max)


def as_numpy(array: Any, name: str, ndim: int) -> FloatArray:
    """The array as contiguous float32 numpy, checked; never a view of the caller's memory.

    Args:
        array: numpy, torch or CuPy, or nested lists; real numbers.
        name: what the caller calls it, for the errors.
        ndim: the number of dimensions it must have.
    Raises:
        TypeError: not an array of real numbers.
        ValueError: wrong dimensions, empty, NaN, infinite or too large for float32.
    """
    found = _on_host(array)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {found.dtype}, it must hold real numbers. Pass a float32 array.")
    if found.ndim != ndim:
        raise ValueError(
            f"{name} has shape {found.shape}, it must have {ndim} dimensions. Pass one slice of your data."
        )
    if found.size == 0:
        raise ValueError(f"{name} has shape {found.shape}: it is empty. Pass an array with data in it.")
    bad = int(found.size - np.count_nonzero(np.isfinite(found)))
    if bad:
        raise ValueError(
            f"{name} holds {bad} NaN or infinite values of {found.size}. "
            "Correct them first (dead detectors, zero flat fields), or give those rays zero weight and a finite value."
        )
    if found.dtype.kind == "f" and float(np.abs(found).max()) > FLOAT32_MAX:
        raise ValueError(f"{name} holds values above {FLOAT32_MAX:.1e}, which overflow float32. Rescale it.")
    return np.array(found, np.float32, order="C")


def _on_host(array: Any) -> np.ndarray[Any, Any]:
    if isinstance(array, torch.Tensor):
        tensor = array.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if comes_from_cupy(array):
        return np.asarray(array.get())
    return np.asarray(array)


def comes_from_cupy(array: Any) -> bool:
    """Whether it is CuPy's, without importing that."""
    return type(array).__module__.partition(".")[0] == "cupy"


def checksum(*arrays: Any) -> str:
    """A short checksum of the bytes of numpy arrays and their shapes."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(repr((array.shape, str(array.dtype))).encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()[:16]


@dataclass(frozen=True)
class Converter:
    """Turns a numpy image into the kind an input was, on its device; picklable, so copies of an operator keep it."""

    kind: str
    device: torch.device | None = None

    def __call__(self, image: FloatArray) -> Any:
        if self.kind == "torch":
            return torch.from_numpy(image).to(self.device)
        return importlib.import_module("cupy").asarray(image) if self.kind == "cupy" else image


def converter_like(array: Any) -> Converter:
    """To the kind `array` is."""
    if isinstance(array, torch.Tensor):
        return Converter("torch", array.device)
    return Converter("cupy" if comes_from_cupy(array) else "numpy")
