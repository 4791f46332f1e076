"""Opening a scan, whatever its format; which one is told from the file, not asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from . import nxtomo_file
from .array_files import Named, in_memory, matlab_arrays, npy_array, npz_arrays, pick, stored_angles, zarr_arrays
from .dataexchange import is_data_exchange, open_data_exchange
from .hdf5 import (
    check_link,
    check_sources,
    dataset_frames,
    is_hdf5,
    listed,
    names,
    numeric_datasets,
    open_hdf5,
)
from .projections import COUNTS, LINE_INTEGRALS, TRANSMISSION, VALUES, Frames, Projections, Reading, Scan
from .theta import check_angles, given_angles, of_the_file
from .tiff import is_tiff, open_tiff, read_tiff

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nx", ".nxs", ".he5")
FORMATS = "Data Exchange, NXtomo or other HDF5 (.h5, .nx …), TIFF stacks, .npy, .npz, Matlab's .mat, .zarr"
FIELDS = "a TIFF file, a folder of them, or .npy"


def read_scan(path: str | Path, slice_index: int = 0, reading: Reading | None = None) -> Scan:
    """Read, check and correct one slice; nothing else of the projections is read where the format allows it.

    Raises:
        ValueError: no such slice, or what the file holds can't be a scan. OSError: it can't be read.
    """
    return open_projections(path, reading).slice(slice_index)


def open_projections(path: str | Path, reading: Reading | None = None) -> Projections:
    """A scan of any of FORMATS.

    Args:
        reading: what the file doesn't say, or says wrongly.
    Raises:
        ValueError: what it holds can't be a scan. OSError: it can't be read.
    """
    path, reading = Path(path), reading or Reading()
    _check_readable(path, f"a scan: {FORMATS}")
    if reading.values in (TRANSMISSION, LINE_INTEGRALS) and (reading.white or reading.dark):
        raise ValueError(
            f"values={reading.values!r} with white or dark fields can't be: those are divided by the beam already. "
            "Leave white= and dark= out, or pass values='counts'."
        )
    if reading.values is not None and reading.values not in VALUES:
        raise ValueError(f"values={reading.values!r} isn't known. Pass one of {', '.join(VALUES)}.")
    named = path.suffix.lower() in HDF5_SUFFIXES and path.is_file()
    inside = is_hdf5(path) and path.suffix != ".mat"
    return _checked(_hdf5(path, reading) if named or inside else _arrays(path, reading))


def _check_readable(path: Path, wanted: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path} doesn't exist. Pass the path of {wanted}.")
    if path.is_dir():
        return
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise OSError(f"{path} can't be read ({error.strerror}). Check its permissions.") from error
    if empty:
        raise OSError(f"{path} is empty (0 bytes). Copy it again from where it was measured.")


def _hdf5(path: Path, reading: Reading) -> Projections:
    with open_hdf5(path) as file:
        if reading.dataset is None and is_data_exchange(file):
            return _overridden(open_data_exchange(path, file, reading), reading)
        datasets = numeric_datasets(file)
        name = "" if reading.dataset is None else reading.dataset.strip("/")
        if name:
            check_link(path, file, name)
            item = file.get(name)  # a link's target, too, which isn't among the datasets
            if isinstance(item, h5py.Dataset):
                check_sources(path, item)
                return _assembled(path, "HDF5", dataset_frames(path, name, item, reading.axes), None, reading)
        inside = names(file)
    entries = nxtomo_file.entries(path)
    if entries:
        return _overridden(nxtomo_file.open_nxtomo(path, entries, reading.dataset), reading)
    if reading.dataset is not None:
        raise ValueError(f"{path} has no dataset {reading.dataset!r}; it holds {listed(datasets)}. Pass one of them.")
    raise ValueError(
        f"{path} has no group 'exchange' (Data Exchange) and no NXtomo entry, only {inside}. If its projections are "
        f"among {listed(datasets)}, pass --dataset NAME and --theta; "
        "else read it yourself and pass the sinogram to RadonCT."
    )


def _arrays(path: Path, reading: Reading) -> Projections:
    suffix = path.suffix.lower()
    if is_tiff(path):
        return _assembled(path, "TIFF", open_tiff(path, reading.axes), None, reading)
    if suffix == ".npy":
        return _assembled(path, "NumPy", npy_array(path).frames(reading.axes), None, reading)
    readers = {".npz": ("NumPy", npz_arrays), ".mat": ("Matlab", matlab_arrays), ".zarr": ("Zarr", zarr_arrays)}
    if suffix in readers:
        name, read = readers[suffix]
        arrays: Mapping[str, Named] = read(path)
        stored = stored_angles(arrays)
        frames = pick(path, arrays, reading.dataset).frames(reading.axes)
        angles = None if stored is None or reading.theta is not None else check_angles(*stored)
        return _assembled(path, name, frames, angles, reading)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder without TIFF files. Pass the file in it, one of {FORMATS}.")
    raise ValueError(f"{path} has a name that ends in {suffix or 'nothing'}, none of the formats read here: {FORMATS}.")


def _overridden(scan: Projections, reading: Reading) -> Projections:
    """A scan that describes itself, but for what was said of it."""
    if reading.axes is not None:
        raise ValueError(f"{scan.path} is in the format {scan.format}, which has its axes. Leave --axes out.")
    angles = scan.angles if reading.theta is None else given_angles(reading.theta, scan.data.shape[0])
    rows = scan.rows
    white = scan.white if reading.white is None else _field(reading.white, rows)
    dark = scan.dark if reading.dark is None else _field(reading.dark, rows)
    info = dict(scan.info) | of_the_file(angles, scan.angles)
    values = reading.values or scan.values
    if values != COUNTS:  # divided by the beam already
        white = dark = None
    return Projections(scan.path, scan.format, scan.data, white, dark, angles, values, info)


def _assembled(
    path: Path, name: str, data: Frames, stored: NDArray[np.float64] | None, reading: Reading
) -> Projections:
    """A scan from an array and from what was said of it."""
    if reading.theta is None and stored is None:
        raise ValueError(
            f"{path} holds {data.shape[0]} projections and no angles. Pass --theta with a file of degrees, or a range: "
            "0:180 if they are evenly spaced over a half turn whose end isn't among them."
        )
    try:
        angles = stored if reading.theta is None else given_angles(reading.theta, data.shape[0])
    except ValueError as error:
        raise ValueError(f"{error}{_other_axes(data, reading)}") from error
    assert angles is not None
    white, dark = (None if file is None else _field(file, data.shape[1]) for file in (reading.white, reading.dark))
    values = reading.values or (LINE_INTEGRALS if white is None else COUNTS)
    if values == COUNTS and white is None:
        raise ValueError(f"{path} has counts and no white fields to compare them with. Pass --white, and --dark.")
    if values == LINE_INTEGRALS and data.dtype.kind != "f":
        raise ValueError(
            f"{path} holds whole numbers ({data.dtype}): counts, not line integrals. Pass --white and --dark, files of "
            "the beam alone and of no beam; or --values transmission or line-integrals if they are that."
        )
    info = {"shape": list(data.shape), **({"axes_assumed": True} if reading.axes is None else {})}
    return Projections(path, name, data, white, dark, angles, values, info)


def _other_axes(data: Frames, reading: Reading) -> str:
    """What may help where the angles don't fit."""
    if reading.axes is not None or data.shape[1] <= 1:
        return ""
    return (
        f" Or the {data.shape[0]} are rows, of sinograms: then pass --axes rows,angles,detectors, which takes "
        f"{data.shape[1]} angles."
    )


def _field(path: Path, rows: int) -> Frames:
    """White or dark fields: (fields, rows, detectors), or one image; of a single slice also (fields, detectors)."""
    _check_readable(path, f"fields: {FIELDS}")
    if path.is_dir() and is_tiff(path):
        return open_tiff(path, None)
    if path.suffix.lower() == ".npy":
        values = npy_array(path).values()
    elif is_tiff(path):
        values = read_tiff(path)
    else:
        raise ValueError(f"{path} isn't read as fields. Pass {FIELDS}.")
    if values.ndim == 2:
        values = values[:, None] if rows == 1 else values[None]
    return in_memory(str(path), values).frames(None)


def _checked(scan: Projections) -> Projections:
    """Fields as large as a projection, and one angle each."""
    frames, rows, detectors = scan.data.shape
    if scan.angles.shape != (frames,):
        raise ValueError(
            f"{scan.path} has {scan.angles.size} angles for {frames} projections: which angle belongs to which "
            "projection is unknown. Pass --theta with one a projection."
        )
    if min(scan.data.shape) == 0:
        raise ValueError(f"{scan.path} is empty: shape {scan.data.shape}. Pass a scan with projections.")
    for field in (scan.white, scan.dark):
        if field is not None and field.shape[1:] != (rows, detectors):
            raise ValueError(
                f"{field.name} has {field.shape[1:]} (rows, detectors) a field, {scan.data.name} {(rows, detectors)}: "
                "a pixel has no field to be corrected by. Crop or bin both alike."
            )
    return scan
