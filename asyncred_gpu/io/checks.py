"""What a Data Exchange file has to hold before work starts: each check names what it found and what to do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

REQUIRED = ("data", "data_white", "data_dark", "theta")
PURPOSE = {
    "data": "the projections",
    "data_white": "the flat fields (beam without sample)",
    "data_dark": "the dark fields (no beam)",
    "theta": "the angles in degrees",
}
# Fewer angles than this within 2π degrees can be a real tilt series; more are radians.
FEW_ANGLES = 8


def open_scan(path: Path) -> h5py.File:
    """Open for reading; OSError says whether the file is absent, unreadable, truncated or something else."""
    if not path.exists():
        raise FileNotFoundError(f"{path} doesn't exist. Pass the path of a Data Exchange HDF5 file.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Pass the HDF5 file in it.")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise OSError(f"{path} can't be read ({error.strerror}). Check its permissions.") from error
    if empty:
        raise OSError(f"{path} is empty (0 bytes). Copy it again from where it was measured.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise OSError(
                f"{path} is truncated: shorter than its own header says. Copy it again from where it was measured."
            ) from error
        raise OSError(
            f"{path} isn't an HDF5 file, or a damaged one ({error}). Pass a Data Exchange HDF5 file."
        ) from error


def check_fields(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """The four datasets of `exchange`, numeric all."""
    group = file.get("exchange")
    if not isinstance(group, h5py.Group):
        raise ValueError(
            f"{path} has no group 'exchange', only {_names(file)}: it isn't in the Data Exchange format. "
            "Convert it, or read it yourself and pass the sinogram to RadonCT."
        )
    fields = {name: group.get(name) for name in REQUIRED}
    missing = [name for name, item in fields.items() if not isinstance(item, h5py.Dataset)]
    if missing:
        wanted = ", ".join(f"exchange/{name} ({PURPOSE[name]})" for name in missing)
        raise ValueError(
            f"{path} lacks {wanted}; its 'exchange' holds {_names(group)}. The logarithm of the transmission needs all "
            f"of {', '.join(REQUIRED)}. Add what is missing, or pass your own sinogram to RadonCT."
        )
    for name, dataset in fields.items():
        if dataset.dtype.kind not in "iuf":
            raise ValueError(f"exchange/{name} holds {dataset.dtype}, not real numbers. Write it as counts or degrees.")
    return fields


def check_shapes(shapes: dict[str, tuple[int, ...]]) -> None:
    """Three-dimensional, not empty, one theta a projection, fields as large as a projection."""
    for name, shape in shapes.items():
        wanted = 1 if name == "theta" else 3
        if len(shape) != wanted:
            axes = "(angles,)" if wanted == 1 else "(angles or fields, rows, detectors)"
            raise ValueError(
                f"exchange/{name} has {len(shape)} dimensions, shape {shape}; Data Exchange has {axes}. Reshape it."
            )
        if 0 in shape:
            raise ValueError(f"exchange/{name} is empty: shape {shape}. Write {PURPOSE[name]} to the file.")
    data = shapes["data"]
    for name in ("data_white", "data_dark"):
        if shapes[name][1:] != data[1:]:
            raise ValueError(
                f"exchange/{name} has {shapes[name][1:]} (rows, detectors) a field, exchange/data {data[1:]}: a pixel "
                "has no field to be corrected by. Crop or bin both alike."
            )
    if shapes["theta"][0] != data[0]:
        raise ValueError(
            f"exchange/theta has {shapes['theta'][0]} angles for {data[0]} projections in exchange/data: which "
            "angle belongs to which projection is unknown. Write one angle a projection, none for the fields."
        )


def check_slice(index: int, rows: int) -> None:
    """A slice the file has; there is no counting from the end."""
    if not 0 <= index < rows:
        raise ValueError(f"slice {index} isn't in the file: it has {rows} slices, 0 to {rows - 1}. Pass one of them.")


def check_finite(name: str, values: NDArray[Any]) -> None:
    """No NaN, no infinity."""
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(
            f"{name} has {bad} NaN or infinite values of {values.size} in this slice: no count can be that. "
            "Replace them, or leave those projections out."
        )


def check_angles(theta: NDArray[np.float64], units: str) -> NDArray[np.float64]:
    """Radians from `theta`, which is in degrees unless its units attribute says radians."""
    if theta.size > 1 and np.ptp(theta) == 0:
        raise ValueError(
            f"exchange/theta is {theta[0]:g} for all {theta.size} projections: one view can't be reconstructed. "
            "Write the angle of each projection."
        )
    if units.lower().startswith("rad"):
        return theta
    if theta.size > FEW_ANGLES and float(np.abs(theta).max()) <= 2 * math.pi:
        raise ValueError(
            f"exchange/theta spans {theta.min():g} to {theta.max():g} over {theta.size} projections: as degrees that "
            "is hardly a rotation, so these are radians, where Data Exchange has degrees. Write degrees, or set the "
            "dataset's attribute units = 'radians'."
        )
    return np.deg2rad(theta)


def check_gain(gain: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which detectors are dead: their white field isn't above their dark field. Not all of them may be."""
    dead = gain <= 0
    if dead.all():
        raise ValueError(
            "exchange/data_white is nowhere above exchange/data_dark, so no detector saw the beam: the two fields may "
            "be swapped. Check which is which."
        )
    return dead


def _names(group: h5py.Group) -> str:
    names = sorted(group)[:12]
    return ", ".join(f"'{name}'" for name in names) if names else "nothing"
