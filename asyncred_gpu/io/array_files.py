"""Arrays in files that don't say what they are: NumPy's, Matlab's, Zarr's, or any dataset of an HDF5 file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..wording import reason_of
from .axes import Fetch, frames_of, parse_axes
from .projections import Frames

# What projections and angles are called where several arrays are in a file, the likeliest first.
DATA_NAMES = ("projections", "sinogram", "sinograms", "data", "proj", "prj")
DEGREES, RADIANS = ("theta",), ("angles",)


@dataclass(frozen=True)
class Named:
    """An array in a file: how it is called, its shape and type, and how a part of it is read."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    fetch: Fetch

    def frames(self, axes: str | None) -> Frames:
        """As projections."""
        return frames_of(self.name, self.shape, self.dtype, parse_axes(axes, len(self.shape), self.name), self.fetch)

    def values(self) -> NDArray[Any]:
        """All of it."""
        return self.fetch(tuple(slice(None) for _ in self.shape))


def npy_array(path: Path) -> Named:
    """A .npy file, of which only what is asked for is read."""
    array = _loaded(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} holds several arrays, as .npz. Name it so.")
    return in_memory(str(path), array)


def npz_arrays(path: Path) -> dict[str, Named]:
    """The arrays of a .npz file; each is read whole, when it is asked for."""

    def load() -> dict[str, Named]:
        with np.load(path, allow_pickle=False) as file:
            return {name: in_memory(f"{path}: {name}", file[name]) for name in file.files}

    found: dict[str, Named] = _loaded(path, load)
    return found


def matlab_arrays(path: Path) -> dict[str, Named]:
    """The numeric arrays of a Matlab file, of version 7.3 (HDF5) and before, axes in Matlab's order."""
    from pymatreader import read_mat
    from scipy.io.matlab import MatReadError

    def load() -> Any:
        try:
            return read_mat(str(path))
        except MatReadError as error:
            raise OSError(str(error)) from error

    found = _loaded(path, load)
    return {
        name: in_memory(f"{path}: {name}", values)
        for name, values in found.items()
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf"
    }


def zarr_arrays(path: Path) -> dict[str, Named]:
    """The array, or those of the group, of a Zarr store; parts are read.

    Raises:
        ValueError: zarr isn't installed.
    """
    try:
        import zarr
    except ImportError as error:
        raise ValueError(f"{path} is a Zarr store, and zarr isn't installed. `pip install zarr`.") from error
    store = _loaded(path, lambda: zarr.open(str(path), mode="r"))
    if isinstance(store, zarr.Array):
        return {path.name: _lazy(str(path), store)}
    return {name: _lazy(f"{path}: {name}", array) for name, array in store.arrays()}


def pick(path: Path, arrays: Mapping[str, Any], wanted: str | None) -> Any:
    """The array of projections: the one named, or the likeliest of those with two or three axes.

    Raises:
        ValueError: there is none, or several and no name says which.
    """
    if wanted is not None:
        if wanted not in arrays:
            raise ValueError(f"{path} has no array {wanted}, only {_shapes(arrays)}. Pass one of them as --dataset.")
        return arrays[wanted]
    likely = {name: array for name, array in arrays.items() if len(array.shape) in (2, 3)}
    named = [name for name in DATA_NAMES if name in likely]
    if named or len(likely) == 1:
        return likely[named[0] if named else next(iter(likely))]
    raise ValueError(f"{path} holds {_shapes(arrays)}: which are the projections isn't said. Pass --dataset NAME.")


def stored_angles(arrays: Mapping[str, Named]) -> tuple[NDArray[Any], str, str] | None:
    """The file's own angles with their unit and name, if it has some: theta in degrees, angles in radians."""
    for names, units in ((DEGREES, "degrees"), (RADIANS, "radians")):
        for name in names:
            if name in arrays:
                return np.ravel(arrays[name].values()), units, arrays[name].name
    return None


def in_memory(name: str, array: NDArray[Any]) -> Named:
    """An array that is there already, or mapped."""
    return Named(name, array.shape, array.dtype, lambda part: np.asarray(array[part]))


def _lazy(name: str, array: Any) -> Named:
    return Named(name, tuple(array.shape), array.dtype, lambda part: np.asarray(array[part]))


def _shapes(arrays: Mapping[str, Any]) -> str:
    shown = [f"{name} {tuple(array.shape)}" for name, array in list(arrays.items())[:12]]
    return ", ".join(shown) or "no arrays of numbers"


def _loaded(path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise OSError(
            f"{path} can't be read as {path.suffix or 'an array'} ({reason_of(error)}). Copy it again."
        ) from error
