"""Data Exchange HDF5 files: De Carlo et al., Journal of Synchrotron Radiation 2014; theta there is in degrees."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .dataexchange_checks import REQUIRED, check_fields, check_shapes
from .hdf5 import dataset_frames, read_part
from .projections import COUNTS, LINE_INTEGRALS, TRANSMISSION, Projections, Reading
from .theta import check_angles, given_angles, of_the_file

GROUP = "exchange"


def is_data_exchange(file: h5py.File) -> bool:
    """Whether it has the format's group."""
    return isinstance(file.get(GROUP), h5py.Group)


def open_data_exchange(path: Path, file: h5py.File, reading: Reading) -> Projections:
    """The scan of a file that is open.

    Args:
        reading: what is said of it: then it needn't be in the file, or may be wrong there.
    Raises:
        ValueError: a dataset that is missing, or that can't be what its name says.
    """
    fields = check_fields(file, path, _needed(reading))
    check_shapes({name: tuple(dataset.shape) for name, dataset in fields.items()})
    frames = {name: dataset_frames(path, f"{GROUP}/{name}", fields[name]) for name in fields if name != "theta"}
    info = {
        "shape": list(fields["data"].shape),
        "dtype": str(fields["data"].dtype),
        "title": _scalar_text(file, f"{GROUP}/title"),
        "sample": _scalar_text(file, "measurement/sample/name"),
        "white_fields": f"{GROUP}/data_white" in file,
    }
    if reading.theta is None:
        angles, info["theta_units"] = _own_angles(path, fields["theta"])
    else:
        angles = given_angles(reading.theta, fields["data"].shape[0])
        if f"{GROUP}/theta" in file:
            with suppress(ValueError, OSError):  # why others were passed, it may be
                info |= of_the_file(angles, _own_angles(path, file[f"{GROUP}/theta"])[0])
    parts = (frames["data"], frames.get("data_white"), frames.get("data_dark"))
    return Projections(path, "Data Exchange", *parts, angles, COUNTS, info)


def _own_angles(path: Path, theta: h5py.Dataset) -> tuple[Any, str]:
    """In radians, and the file's unit."""
    units = _text(theta.attrs.get("units"))
    return check_angles(read_part(path, f"{GROUP}/theta", (slice(None),)), units), units or "degrees"


def _needed(reading: Reading) -> list[str]:
    """What the file must have: what isn't said, and fields only where counts are to be divided by them."""
    said = {"theta": reading.theta, "data_white": reading.white, "data_dark": reading.dark}
    divided = ("data_white", "data_dark") if reading.values in (TRANSMISSION, LINE_INTEGRALS) else ()
    return [name for name in REQUIRED if said.get(name) is None and name not in divided]


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return "" if value is None else str(value).strip()


def _scalar_text(file: h5py.File, name: str) -> str:
    item = file.get(name)
    return _text(item[()]) if isinstance(item, h5py.Dataset) and item.size == 1 else ""
