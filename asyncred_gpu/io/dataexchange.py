"""One slice of a Data Exchange HDF5 scan as a sinogram of line integrals, in units of one detector.

Beer-Lambert after the flat and the dark field: −log((data − dark)/(white − dark)). The format: De Carlo et al.,
Journal of Synchrotron Radiation 2014; theta there is in degrees.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .checks import (
    check_angles,
    check_fields,
    check_finite,
    check_gain,
    check_shapes,
    check_slice,
    open_scan,
)

Float = NDArray[np.float64]

# One count of a 16-bit detector: no transmission below it can be told from none.
MIN_TRANSMISSION = 2.0**-16
MAX_CLIPPED_SHARE = 0.5


@dataclass(frozen=True)
class Scan:
    """A slice ready to be reconstructed; `clipped` counts values, `dead_detectors` detectors."""

    sinogram: NDArray[np.float32]  # (angles, detectors), line integrals of the attenuation a detector width
    angles: Float  # (angles,), radians
    path: Path
    slice: int
    clipped: int
    dead_detectors: int
    info: dict[str, Any] = field(default_factory=dict)


def read_scan(path: str | Path, slice_index: int = 0) -> Scan:
    """Read, check and correct one slice; nothing else of the file's projections is read.

    Transmissions that are zero or negative are clipped at 2⁻¹⁶ and counted. A detector whose white field isn't above
    its dark field has no transmission at all: it is interpolated from its neighbours, and counted.

    Raises:
        OSError: a file that can't be opened or read as HDF5.
        ValueError: a file whose content is no scan: fields, shapes, values or angles. The message says which.
    """
    path = Path(path)
    with open_scan(path) as file:
        fields = check_fields(file, path)
        shapes = {name: tuple(dataset.shape) for name, dataset in fields.items()}
        check_shapes(shapes)
        check_slice(slice_index, shapes["data"][1])
        raw = _read_slice(fields, slice_index, path)
        units = _text(fields["theta"].attrs.get("units"))
        info = {
            "shape": list(shapes["data"]),
            "dtype": str(fields["data"].dtype),
            "theta_units": units or "degrees",
            "title": _scalar_text(file, "exchange/title"),
            "sample": _scalar_text(file, "measurement/sample/name"),
            "sha256_of_slice": _checksum(raw),
        }
    for name, values in raw.items():
        check_finite(f"exchange/{name}", values)
    angles = check_angles(raw["theta"].astype(np.float64), units)
    sinogram, clipped, dead = line_integrals(raw["data"], raw["data_white"], raw["data_dark"])
    return Scan(sinogram, angles, path, slice_index, clipped, dead, info)


def line_integrals(data: NDArray[Any], white: NDArray[Any], dark: NDArray[Any]) -> tuple[NDArray[np.float32], int, int]:
    """Sinogram (angles, detectors), the number of clipped values, and of interpolated detectors.

    Args:
        data: (angles, detectors) counts of one slice.
        white: (fields, detectors) of the beam without a sample; averaged here.
        dark: (fields, detectors) without beam; averaged here.

    Raises:
        ValueError: a white field nowhere above the dark one, or data more than half of which is not above it.
    """
    black = dark.astype(np.float64).mean(axis=0)
    gain = white.astype(np.float64).mean(axis=0) - black
    dead = check_gain(gain)
    alive = ~dead
    transmission = (data[:, alive].astype(np.float64) - black[alive]) / gain[alive]
    low = transmission <= 0
    clipped = int(np.count_nonzero(low))
    if clipped > MAX_CLIPPED_SHARE * low.size:
        raise ValueError(
            f"exchange/data isn't above the dark field in {clipped} of {low.size} values of the slice, so there is no "
            "transmission to take a logarithm of. Pass raw counts; data that are already line integrals go straight to "
            "RadonCT."
        )
    sinogram = np.empty(data.shape, np.float64)
    sinogram[:, alive] = -np.log(np.where(low, MIN_TRANSMISSION, transmission))
    if dead.any():
        index = np.arange(data.shape[1])
        for row in sinogram:
            row[dead] = np.interp(index[dead], index[alive], row[alive])
    return sinogram.astype(np.float32), clipped, int(np.count_nonzero(dead))


def _read_slice(fields: dict[str, h5py.Dataset], index: int, path: Path) -> dict[str, NDArray[Any]]:
    raw: dict[str, NDArray[Any]] = {}
    for name, dataset in fields.items():
        try:
            raw[name] = np.asarray(dataset[()] if name == "theta" else dataset[:, index, :])
        except (OSError, KeyError, ValueError) as error:
            raise OSError(
                f"{path}: exchange/{name} is listed but can't be read ({error}). The file may be incomplete, or "
                "compressed by a filter that isn't installed. Copy it again, or rewrite it without the filter."
            ) from error
    return raw


def _checksum(raw: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(raw):
        digest.update(f"{name}:{raw[name].dtype.str}:{raw[name].shape}:".encode())
        digest.update(np.ascontiguousarray(raw[name]).tobytes())
    return digest.hexdigest()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return "" if value is None else str(value).strip()


def _scalar_text(file: h5py.File, name: str) -> str:
    item = file.get(name)
    return _text(item[()]) if isinstance(item, h5py.Dataset) and item.size == 1 else ""
