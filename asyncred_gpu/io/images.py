"""Images in and out: TIFF, NumPy, and HDF5 with its provenance, a NeXus file that silx and h5web open at the image."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from .. import __version__
from ..whole_file import replace_file
from .array_files import npy_array
from .output import plain
from .tiff import is_tiff, read_tiff

Image = NDArray[np.float32]

# In the HDF5 file.
ENTRY, PROCESS = "entry", "reconstruction"


def save_image(path: Path, image: Image, record: Mapping[str, Any], settings: str) -> None:
    """A new file, of the kind its name ends in; an image is (rows, cols) float32.

    Args:
        record: the run's, as in run.json. settings: the run's, as in settings.yaml.
    """
    if path.suffix == ".npy":
        replace_file(path, lambda file: np.save(file, image))
    elif path.suffix == ".h5":
        replace_file(path, lambda file: _save_hdf5(file, image, record, settings))
    else:
        replace_file(path, lambda file: tifffile.imwrite(file, image))


def read_image(path: Path) -> NDArray[Any]:
    """A TIFF, .npy, or an HDF5 file that `save_image` wrote.

    Raises:
        OSError: absent, or it can't be read. ValueError: none of these.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} isn't a file. Pass an image: TIFF, .npy, or .h5 of a run.")
    if path.suffix.lower() == ".npy":
        return npy_array(path).values()
    if is_tiff(path):
        return read_tiff(path)
    if path.suffix.lower() == ".h5":
        try:
            with h5py.File(path, "r") as file:
                return np.asarray(file[f"{ENTRY}/{PROCESS}/data/image"])
        except (OSError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise OSError(f"{path} isn't a reconstruction's HDF5 file ({reason}). Pass a run's .h5.") from error
    raise ValueError(f"{path} isn't read as an image. Pass TIFF, .npy, or .h5 of a run.")


def provenance(file: h5py.File, record: Mapping[str, Any], settings: str, signal: str) -> h5py.Group:
    """What a result comes from, as NXentry / NXprocess / NXdata, each naming what to show first; the group of its data.

    Args:
        signal: the dataset that is still to be made in that group.
    """
    file.attrs["default"] = ENTRY
    entry = file.create_group(ENTRY)
    entry.attrs.update({"NX_class": "NXentry", "default": PROCESS})
    process = entry.create_group(PROCESS)
    process.attrs.update({"NX_class": "NXprocess", "default": "data"})
    process["program"], process["version"] = "asyncred_gpu", __version__
    process["settings"], process["record"] = settings, json.dumps(plain(record), ensure_ascii=False)
    data = process.create_group("data")
    data.attrs.update({"NX_class": "NXdata", "signal": signal})
    return data


def _save_hdf5(stream: IO[bytes], image: Image, record: Mapping[str, Any], settings: str) -> None:
    with h5py.File(stream, "w") as file:
        data = provenance(file, record, settings, "image")
        process = data.parent
        process["date"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        process["data_sha256"] = str(record.get("problem", {}).get("sha256_of_slice", ""))
        pixels = data.create_dataset("image", data=image, compression="gzip", shuffle=True)
        pixels.attrs["long_name"] = "attenuation a pixel"
        pixels.attrs["interpretation"] = "image"
