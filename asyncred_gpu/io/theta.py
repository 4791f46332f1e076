"""The angles of a scan's projections, in radians, from degrees in a file or from a range."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..wording import reason_of

Float = NDArray[np.float64]

# Fewer angles than this within 2π degrees can be a real tilt series; more are radians.
FEW_ANGLES = 8


def given_angles(theta: str, count: int) -> Float:
    """Radians of `count` projections, from "START:STOP" in degrees (STOP not among them), or a file of degrees.

    A file is .npy, or text with a number a line or between commas.

    Raises:
        ValueError: neither, or not one angle a projection. OSError: a file that can't be read.
    """
    begin, colon, end = theta.partition(":")
    if colon and not Path(theta).exists():
        try:
            first, last = float(begin), float(end)
        except ValueError:
            first = last = math.nan
        if not math.isfinite(first) or not math.isfinite(last) or first == last:
            raise ValueError(f"theta={theta!r} isn't a range of degrees. Pass one such as 0:180, or a file of angles.")
        return check_angles(first + (last - first) * np.arange(count) / count, "degrees", f"theta={theta!r}")
    absent = "is neither a file nor a range such as 0:180. Pass one of them."
    values = read_numbers(Path(theta), "theta", absent, "in degrees")
    if values.shape != (count,):
        raise ValueError(
            f"{theta} has {values.size} angles for {count} projections: which angle belongs to which projection is "
            "unknown. Pass one a projection."
        )
    return check_angles(values, "degrees", theta)


def given_shifts(path: Path, count: int) -> Float:
    """(count,) detectors, from a file of numbers like that of angles.

    Raises:
        ValueError: not one finite number a projection. OSError: a file that can't be read.
    """
    values = read_numbers(path, "shifts", "isn't a file. Pass one of numbers.", "in detectors")
    if values.shape != (count,) or not np.isfinite(values).all():
        finite = "" if np.isfinite(values).all() else ", not all of them finite,"
        raise ValueError(f"{path} has {values.size} shifts{finite} for {count} projections. Pass one a projection.")
    return values


def read_numbers(path: Path, name: str, wrong: str, unit: str) -> Float:
    """A list of numbers: .npy, or text with a number a line or between commas."""
    if not path.is_file():
        raise FileNotFoundError(f"{name}={str(path)!r} {wrong}")
    try:
        if path.suffix == ".npy":
            loaded = np.load(path, allow_pickle=False)
            if loaded.dtype.kind not in "iuf":
                raise ValueError(f"it holds {loaded.dtype}")
            return np.ravel(loaded).astype(np.float64)
        words = path.read_text("utf-8-sig").replace(",", " ").split()
        return np.array([float(word) for word in words])
    except (ValueError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} isn't a list of numbers ({reason_of(error)}). Write one a line, {unit}.") from error
    except OSError as error:
        raise OSError(f"{path} can't be read ({error.strerror}). Check its permissions.") from error


def check_angles(theta: NDArray[Any], units: str, name: str = "exchange/theta") -> Float:
    """Radians from `theta`, which is in degrees unless `units` says radians.

    Args:
        name: as the file calls it.
    """
    theta = theta.astype(np.float64)
    bad = int(theta.size - np.count_nonzero(np.isfinite(theta)))
    if bad:
        raise ValueError(
            f"{name} has {bad} NaN or infinite values of {theta.size}. Write the angle of each projection."
        )
    if theta.size > 1 and np.ptp(theta) == 0:
        raise ValueError(
            f"{name} is {theta[0]:g} for all {theta.size} projections: one view can't be reconstructed. "
            "Write the angle of each projection."
        )
    if units.lower().startswith("rad"):
        return theta
    if units and not units.lower().startswith(("deg", "°")):
        raise ValueError(
            f"{name} is in {units!r}, and degrees and radians are what is read here. Write degrees; or pass theta=, a "
            "file of degrees or a range such as 0:180."
        )
    if theta.size > FEW_ANGLES and float(np.abs(theta).max()) <= 2 * math.pi:
        raise ValueError(
            f"{name} spans {theta.min():g} to {theta.max():g} over {theta.size} projections: as degrees that "
            "is hardly a rotation, so these are radians, where degrees belong. Write degrees, or, in an HDF5 file, set "
            "the dataset's attribute units = 'radians'."
        )
    radians: Float = np.deg2rad(theta)
    return radians


def of_the_file(used: Float, own: Float) -> dict[str, str]:
    """For a scan's info: the file's own angles, where others took their place."""
    if used.shape == own.shape and np.allclose(used, own):
        return {}
    first, last = np.rad2deg(own[[0, -1]])
    return {"angles_of_the_file": f"{first:.4g}° to {last:.4g}°"}
