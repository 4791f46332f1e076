"""What a Data Exchange file has to hold before work starts: each check names what it found and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from .hdf5 import check_link, check_sources, names

REQUIRED = ("data", "data_white", "data_dark", "theta")
PURPOSE = {
    "data": "the projections",
    "data_white": "the flat fields (beam without sample)",
    "data_dark": "the dark fields (no beam)",
    "theta": "the angles in degrees",
}


def check_fields(file: h5py.File, path: Path, needed: Sequence[str] = REQUIRED) -> dict[str, h5py.Dataset]:
    """Those of the four datasets of `exchange` that are needed, numeric all."""
    group = file.get("exchange")
    if not isinstance(group, h5py.Group):
        raise ValueError(
            f"{path} has no group 'exchange', only {names(file)}: it isn't in the Data Exchange format. "
            "Convert it, or read it yourself and pass the sinogram to RadonCT."
        )
    for name in needed:
        check_link(path, group, name)
    fields = {name: group.get(name) for name in needed}
    missing = [name for name, item in fields.items() if not isinstance(item, h5py.Dataset)]
    if missing:
        wanted = ", ".join(f"exchange/{name} ({PURPOSE[name]})" for name in missing)
        raise ValueError(
            f"{path} lacks {wanted}; its 'exchange' holds {names(group)}. Add what is missing, or pass it: theta=, "
            "white=, dark=; or dataset=, where the projections have another name."
        )
    for name, dataset in fields.items():
        if dataset.dtype.kind not in "iuf":
            raise ValueError(f"exchange/{name} holds {dataset.dtype}, not real numbers. Write it as counts or degrees.")
        check_sources(path, dataset)
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
        if name in shapes and shapes[name][1:] != data[1:]:
            raise ValueError(
                f"exchange/{name} has {shapes[name][1:]} (rows, detectors) a field, exchange/data {data[1:]}: a pixel "
                "has no field to be corrected by. Crop or bin both alike."
            )
    if "theta" in shapes and shapes["theta"][0] != data[0]:
        raise ValueError(
            f"exchange/theta has {shapes['theta'][0]} angles for {data[0]} projections in exchange/data: which "
            "angle belongs to which projection is unknown. Write one angle a projection, none for the fields."
        )
