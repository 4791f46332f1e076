"""HDF5 files: opened with messages that say what is wrong, and datasets read a few rows at a time.

hdf5plugin's filters (Blosc, LZ4, Bitshuffle, Zstd, …) are there once it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers its filters
import numpy as np
from numpy.typing import NDArray

from ..wording import reason_of
from .axes import frames_of, parse_axes
from .projections import Frames

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Datasets that are named where none is.
SHOWN = 12


def is_hdf5(path: Path) -> bool:
    """By its first bytes; a user block before them is rare."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def open_hdf5(path: Path) -> h5py.File:
    """Open for reading; OSError says whether the file is unreadable, truncated or something else."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise OSError(
                f"{path} is truncated: shorter than its own header says. Copy it again from where it was measured."
            ) from error
        if isinstance(error, PermissionError):
            raise OSError(f"{path} can't be read (Permission denied). Check its permissions.") from error
        if isinstance(error, BlockingIOError) or "open for write" in str(error):
            raise OSError(
                f"{path} is still being written, or wasn't closed by who wrote it. Wait until it is; if nobody writes "
                "it any more, run `h5clear -s` on a copy."
            ) from error
        raise OSError(
            f"{path} isn't an HDF5 file, or a damaged one ({reason_of(error)}). Copy it again from where it was "
            "measured."
        ) from error


def dataset_frames(path: Path, name: str, dataset: h5py.Dataset, axes: str | None = None) -> Frames:
    """A dataset as frames; the file is opened anew for every reading."""

    def fetch(part: tuple[slice, ...]) -> NDArray[Any]:
        return read_part(path, name, part)

    return frames_of(name, dataset.shape, dataset.dtype, parse_axes(axes, len(dataset.shape), name), fetch)


def chosen_frames(path: Path, name: str, shape: tuple[int, int, int], dtype: Any, chosen: Sequence[int]) -> Frames:
    """Some frames of a dataset (frames, rows, detectors), in the order given."""
    runs = _runs(chosen)

    def read(first: int, last: int) -> NDArray[Any]:
        return np.concatenate([read_part(path, name, (run, slice(first, last), slice(None))) for run in runs])

    return Frames(name, (len(chosen), *shape[1:]), np.dtype(dtype), read)


def read_part(path: Path, name: str, part: tuple[slice, ...]) -> NDArray[Any]:
    """A part of a dataset.

    Raises:
        OSError: it is listed but can't be read.
    """
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][part])
    except (OSError, KeyError, ValueError) as error:
        raise OSError(
            f"{path}: {name} is listed but can't be read ({error}). The file may be incomplete, or compressed by a "
            "filter that isn't installed. Copy it again, or rewrite it without the filter."
        ) from error


def check_link(path: Path, group: h5py.Group, name: str) -> None:
    """Refuse a name that leads nowhere: the file it points to wasn't copied along.

    Raises:
        OSError: with where it leads.
    """
    if group.get(name) is not None:
        return
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
        target = f"{link.filename}: {link.path}" if isinstance(link, h5py.ExternalLink) else link.path
        raise OSError(
            f"{path}: {name} is a link to {target}, which isn't there. Copy the file it leads to beside it, too."
        )


def check_sources(path: Path, dataset: h5py.Dataset) -> None:
    """Refuse a virtual dataset some of whose files are gone: HDF5 gives zeros in their place.

    Files are looked for wherever HDF5 may.

    Raises:
        OSError: with which are gone.
    """
    if not dataset.is_virtual or "HDF5_VDS_PREFIX" in os.environ:
        return
    found = {source.file_name for source in dataset.virtual_sources()} - {"."}
    places = (path.parent, path.resolve().parent, Path())

    def there(name: str) -> bool:
        return "%" in name or any((place / part).exists() for place in places for part in (name, Path(name).name))

    gone = sorted(name for name in found if not there(name))
    if gone:
        shown = ", ".join(gone[:3]) + (", …" if len(gone) > 3 else "")
        raise OSError(
            f"{path}: {dataset.name.strip('/')} is put together from {len(found)} other files, and {len(gone)} of them "
            f"can't be found: {shown}. Copy them beside it, too."
        )


def numeric_datasets(file: h5py.File) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what could be projections."""
    found: dict[str, tuple[int, ...]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and len(item.shape) in (2, 3):
            found[name] = item.shape

    file.visititems(visit)
    return found


def listed(found: dict[str, tuple[int, ...]]) -> str:
    """For a message."""
    shown = [f"{name} {shape}" for name, shape in list(found.items())[:SHOWN]]
    return ", ".join(shown) + (", …" if len(found) > SHOWN else "") if shown else "nothing"


def names(group: h5py.Group) -> str:
    """What a group holds, for a message."""
    members = sorted(group)[:SHOWN]
    return ", ".join(f"'{name}'" for name in members) if members else "nothing"


def _runs(chosen: Sequence[int]) -> list[slice]:
    """Consecutive frames together: one reading a run, not one a frame."""
    runs: list[slice] = []
    for frame in chosen:
        if runs and runs[-1].stop == frame:
            runs[-1] = slice(runs[-1].start, frame + 1)
        else:
            runs.append(slice(frame, frame + 1))
    return runs
