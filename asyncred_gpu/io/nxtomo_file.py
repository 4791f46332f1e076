"""NXtomo HDF5 files (ESRF, Diamond, …), by the package nxtomo: frames told apart by their image key.

Frames: 0 projections, 1 flat fields, 2 dark fields; −1 (alignment, back at an angle that was) and 3 (invalid) are left
out and counted. Source: the NeXus application definition NXtomo.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import check_sources, chosen_frames
from .projections import COUNTS, Frames, Projections
from .theta import check_angles

PROJECTION, FLAT, DARK = 0, 1, 2


def entries(path: Path) -> tuple[str, ...]:
    """The scans in the file, by their paths in it."""
    from nxtomo.application.nxtomo import NXtomo  # with silx and pint, half a second

    return tuple(NXtomo.get_valid_entries(str(path)))


def open_nxtomo(path: Path, found: Sequence[str], wanted: str | None) -> Projections:
    """One scan of the file.

    Args:
        found: its scans. wanted: one of them, needed where there are several.
    Raises:
        ValueError: which scan isn't said, or one without projections, angles or fields.
    """
    name = _entry(path, found, wanted)
    from nxtomo.application.nxtomo import NXtomo

    try:
        scan = NXtomo().load(str(path), name)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise OSError(f"{path}: the scan {name} can't be read ({error}). Copy it again, or write it anew.") from error
    detector = scan.instrument.detector
    if detector.half_acquisition:
        raise ValueError(
            f"{path}: {name} is a half acquisition, its rotation axis beside the middle for a field of view twice as "
            "wide. Join the two halves first, e.g. by algotom's convert_sinogram_360_to_180, and pass the sinogram."
        )
    keys = _keys(path, name, detector)
    where = {kind: np.flatnonzero(keys == key) for kind, key in (("data", PROJECTION), ("white", FLAT), ("dark", DARK))}
    missing = [kind for kind, frames in where.items() if not frames.size]
    if missing:
        kinds = {"data": "projections (0)", "white": "flat fields (1)", "dark": "dark fields (2)"}
        raise ValueError(
            f"{path}: {name} has no {' and no '.join(kinds[kind] for kind in missing)} among the image keys of its "
            f"{keys.size} frames. Add them; or read the frames yourself and pass the sinogram to RadonCT."
        )
    source = _source(path, name, keys.size)
    parts = {kind: _frames(source, kind, frames) for kind, frames in where.items()}
    left_out = int(keys.size - sum(frames.size for frames in where.values()))
    info = {"entry": name, "title": scan.title or "", "frames_left_out": left_out, "shape": list(parts["data"].shape)}
    info["white_fields"] = True
    angles = _angles(path, name, scan.sample.rotation_angle, where["data"])
    return Projections(path, "NXtomo", parts["data"], parts["white"], parts["dark"], angles, COUNTS, info)


def _entry(path: Path, found: Sequence[str], wanted: str | None) -> str:
    names = [name.strip("/") for name in found]
    if wanted is not None and wanted.strip("/") in names:
        return found[names.index(wanted.strip("/"))]
    if wanted is not None or len(found) > 1:
        what = "" if wanted is None else f" {wanted} isn't one of them."
        raise ValueError(f"{path} has the scans {', '.join(names)}.{what} Pick one with --dataset.")
    return found[0]


def _keys(path: Path, name: str, detector: Any) -> NDArray[np.int64]:
    raw = detector.image_key_control if detector.image_key_control is not None else detector.image_key
    if raw is None or not len(raw):
        raise ValueError(f"{path}: {name} has no image_key, so which frame is a projection is unknown. Write it.")
    return np.array([getattr(key, "value", key) for key in raw], np.int64)


def _source(path: Path, name: str, frames: int) -> tuple[Path, str, tuple[int, int, int], Any]:
    """The dataset of all frames: the detector's, which may stand for others (a virtual dataset)."""
    inside = f"{name.strip('/')}/instrument/detector/data"
    with h5py.File(path, "r") as file:
        dataset = file.get(inside)
        if not isinstance(dataset, h5py.Dataset) or len(dataset.shape) != 3 or dataset.shape[0] != frames:
            shape = getattr(dataset, "shape", None)
            raise ValueError(f"{path}: {inside} has shape {shape}, its image keys are {frames}. Write one a frame.")
        check_sources(path, dataset)
        return path, inside, dataset.shape, dataset.dtype


def _frames(source: tuple[Path, str, tuple[int, int, int], Any], kind: str, chosen: NDArray[np.int64]) -> Frames:
    path, name, shape, dtype = source
    frames = chosen_frames(path, name, shape, dtype, chosen.tolist())
    called = {"data": "projections (image key 0)", "white": "flat fields (image key 1)", "dark": "dark fields (2)"}
    return Frames(called[kind], frames.shape, frames.dtype, frames.read)


def _angles(path: Path, name: str, rotation: Any, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    called = f"{name.strip('/')}/sample/rotation_angle"
    values = np.asarray([] if rotation is None else rotation.to("degree").magnitude, np.float64)
    if values.size <= chosen.max():
        raise ValueError(f"{path}: {called} has {values.size} angles, too few for its frames. Write one a frame.")
    return check_angles(values[chosen], "degrees", called)
