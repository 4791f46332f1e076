"""Bad input of a CT scan, refused before any work: what was found, why it can't be, what to do."""

from __future__ import annotations

import math
import operator
import warnings
from typing import Any

import numpy as np

from ..arrays import as_numpy
from ..blocks import FloatArray
from ..kernels.host_build import HostBuildError, host_kernels
from .geometry import Float64Array

PROJECTORS = ("auto", "joseph", "astra")
# More pixels than this can't be indexed by 32-bit integers on a GPU, and fill 8 GiB in float32.
MOST_PIXELS = 2**31 - 1
# A little over a turn, so that a scan that ends where it began passes.
TURN = 2 * math.pi * 1.01


def check_image_shape(image_shape: Any) -> tuple[int, int]:
    """(rows, cols) as integers."""
    try:
        rows, cols = (operator.index(side) for side in image_shape)
    except (TypeError, ValueError) as error:
        raise ValueError(f"image_shape={image_shape!r} isn't (rows, cols). Pass two whole numbers.") from error
    if rows < 1 or cols < 1:
        raise ValueError(f"image_shape={(rows, cols)} holds no pixel. Pass at least one row and one column.")
    if rows * cols > MOST_PIXELS:
        raise ValueError(
            f"image_shape={(rows, cols)} has {rows * cols:.3g} pixels, more than a 32-bit index can count "
            f"({MOST_PIXELS:.3g}). Reconstruct slices one by one, or bin the detectors."
        )
    return rows, cols


def check_angles(angles: Any, count: int) -> Float64Array:
    """(count,) float64 radians."""
    checked = as_numpy(angles, "angles", 1)  # refuses what isn't finite, empty or a vector
    if len(checked) != count:
        raise ValueError(
            f"angles has {len(checked)} entries and the sinogram {count} rows: each row is one angle. "
            "Pass one angle a row, or transpose the sinogram."
        )
    span = float(checked.max() - checked.min())
    if span > TURN:
        raise ValueError(
            f"angles span {span:.4g}, more than a turn (2π): degrees? RadonCT takes radians. "
            "Pass np.deg2rad(angles), or angles % (2π) if several turns are meant."
        )
    exact = np.asarray([float(angle) for angle in angles]) if not isinstance(angles, np.ndarray) else angles
    return np.array(exact, np.float64)


def check_per_angle(name: str, value: Any, count: int) -> float | Float64Array:
    """One finite number, or one an angle: (count,) float64."""
    if np.ndim(value) == 0:
        if not math.isfinite(value):
            raise ValueError(f"{name}={value} isn't finite. Pass a number, or one an angle.")
        return float(value)
    checked = np.array(as_numpy(value, name, 1), np.float64)
    if len(checked) != count:
        raise ValueError(f"{name} has {len(checked)} entries for {count} angles. Pass one number, or one an angle.")
    return np.asarray(value, np.float64).copy() if isinstance(value, np.ndarray) else checked


def check_spacing(spacing: Any, count: int) -> float | Float64Array:
    """Detector spacing in pixels."""
    if np.ndim(spacing) == 0 and not (math.isfinite(spacing) and spacing > 0):
        raise ValueError(f"detector_spacing={spacing} isn't a distance. Pass a positive number of pixels.")
    checked = check_per_angle("detector_spacing", spacing, count)
    if np.min(checked) <= 0:
        raise ValueError(
            f"detector_spacing holds {int(np.sum(np.asarray(checked) <= 0))} values that aren't positive. Pass "
            "distances in pixels."
        )
    return checked


def check_center(center: Any, detectors: int, count: int) -> float | Float64Array:
    """Detector coordinate of the rotation axis."""
    if center is None:
        return (detectors - 1) / 2
    if isinstance(center, str):
        raise ValueError(f"center={center!r} isn't a number. Pass one; asyncred_gpu.io.estimate_center finds it.")
    checked = check_per_angle("center", center, count) if np.ndim(center) else float(center)
    least, most = float(np.min(checked)), float(np.max(checked))
    if not (math.isfinite(least) and least >= -0.5 and most <= detectors - 0.5):
        found = f"center={center}" if np.ndim(center) == 0 else f"center, from {least:.6g} to {most:.6g},"
        raise ValueError(
            f"{found} isn't on the detector, which spans -0.5 to {detectors - 0.5}. Pass the detector "
            f"coordinate of the rotation axis, about {(detectors - 1) / 2} for a centred scan."
        )
    return checked


def check_weights(weights: Any, shape: tuple[int, ...]) -> FloatArray | None:
    """Statistical weights of the rays."""
    if weights is None:
        return None
    checked = as_numpy(weights, "weights", 2)
    if checked.shape != shape:
        raise ValueError(f"weights has shape {checked.shape}, the sinogram {shape}. Pass one weight a ray.")
    if float(checked.min()) < 0:
        raise ValueError(f"weights holds {int((checked < 0).sum())} negative values. Pass weights >= 0.")
    if float(checked.max()) == 0:
        raise ValueError("weights are all zero: no ray would count. Pass a positive weight for the rays to use.")
    return checked


def check_projector(projector: Any) -> str:
    """The projector meant, "joseph" or "astra".

    Raises:
        ValueError: no projector of that name.
        HostBuildError: "joseph" was asked for, and can't be compiled here.
    """
    if projector not in PROJECTORS:
        raise ValueError(f"projector={projector!r} isn't available. Pass one of {', '.join(PROJECTORS)}.")
    if projector == "astra":
        return "astra"
    try:
        host_kernels()
    except HostBuildError as error:
        if projector == "joseph":
            raise
        warnings.warn(f"ASTRA's projectors are used, which take about 3.5 times as long: {error}", stacklevel=3)
        return "astra"
    return "joseph"


def check_shape(name: str, array: FloatArray, expected: tuple[int, ...]) -> None:
    """A kernel would write beyond an array of another shape."""
    if array.shape != expected or array.dtype != np.float32:
        raise ValueError(
            f"{name} is {array.shape} {array.dtype}, this block's is {expected} float32. Pass an array like that."
        )
