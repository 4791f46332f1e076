"""Data Exchange HDF5 files: De Carlo et al., Journal of Synchrotron Radiation 2014; theta there is in degrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .dataexchange_checks import check_fields, check_shapes
from .hdf5 import dataset_frames, read_part
from .projections import COUNTS, Frames, Projections
from .theta import check_angles

GROUP = "exchange"


def is_data_exchange(file: h5py.File) -> bool:
    """Whether it has the format's group."""
    return isinstance(file.get(GROUP), h5py.Group)


def open_data_exchange(path: Path, file: h5py.File) -> Projections:
    """The scan of a file that is open.

    Raises:
        ValueError: a dataset that is missing, or that can't be what its name says.
    """
    fields = check_fields(file, path)
    check_shapes({name: tuple(dataset.shape) for name, dataset in fields.items()})
    units = _text(fields["theta"].attrs.get("units"))
    theta = read_part(path, f"{GROUP}/theta", (slice(None),))

    def frames(name: str) -> Frames:
        return dataset_frames(path, f"{GROUP}/{name}", fields[name])

    info = {
        "shape": list(fields["data"].shape),
        "dtype": str(fields["data"].dtype),
        "theta_units": units or "degrees",
        "title": _scalar_text(file, f"{GROUP}/title"),
        "sample": _scalar_text(file, "measurement/sample/name"),
    }
    angles: NDArray[np.float64] = check_angles(theta, units)
    parts = (frames("data"), frames("data_white"), frames("data_dark"))
    return Projections(path, "Data Exchange", *parts, angles, COUNTS, info)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return "" if value is None else str(value).strip()


def _scalar_text(file: h5py.File, name: str) -> str:
    item = file.get(name)
    return _text(item[()]) if isinstance(item, h5py.Dataset) and item.size == 1 else ""
