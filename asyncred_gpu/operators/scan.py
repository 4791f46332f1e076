"""The geometry of a scan from the numbers a user has, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import check_angles, check_center, check_image_shape, check_per_angle, check_spacing
from .geometry import FanGeometry, Geometry, ParallelGeometry


def scan_geometry(
    image_shape: Any,
    angles: Any,
    measured: tuple[int, int],
    spacing: Any = 1.0,
    center: Any = None,
    tilt: Any = 0.0,
    source_distance: float | None = None,
    detector_distance: float | None = None,
) -> Geometry:
    """A parallel beam, or, with distances, a fan; arguments as of `RadonCT`.

    Args:
        measured: (angles, detectors), the sinogram's shape.
    Raises:
        ValueError, TypeError: what can't be.
    """
    count, detectors = measured
    shape, theta = check_image_shape(image_shape), check_angles(angles, count)
    spacing, center = check_spacing(spacing, count), check_center(center, detectors, count)
    tilt = check_per_angle("detector_tilt", tilt, count)
    if not np.abs(tilt).max() < math.pi / 2:
        raise ValueError(
            f"detector_tilt reaches {float(np.abs(tilt).max()):.4g}, a quarter turn or more: rays would pass along the "
            "detector. Pass radians, 0 for a detector square to the beam."
        )
    if source_distance is None and detector_distance is None:
        across = spacing if not np.any(tilt) else spacing * np.cos(tilt)
        return ParallelGeometry(shape, theta, detectors, across, center)
    distances = _distances(source_distance, detector_distance)
    return check_fan(_fan(shape, theta, detectors, spacing, center, tilt, *distances))


def _fan(
    shape: tuple[int, int],
    theta: Any,
    detectors: int,
    spacing: Any,
    center: Any,
    tilt: Any,
    source_distance: float,
    detector_distance: float,
) -> FanGeometry:
    """The source at (sin θ, −cos θ) from the axis; the ray through the axis meets the detector at `center`."""
    toward = np.stack([np.sin(theta), -np.cos(theta)], axis=1)
    step = np.stack([np.cos(theta + tilt), np.sin(theta + tilt)], axis=1) * np.reshape(spacing, (-1, 1))
    first = -detector_distance * toward - np.reshape(center, (-1, 1)) * step
    return FanGeometry(shape, source_distance * toward, first, step, detectors)


def _distances(source: Any, detector: Any) -> tuple[float, float]:
    """From the axis."""
    if source is None or detector is None:
        given, missing = ("detector", "source") if source is None else ("source", "detector")
        raise ValueError(
            f"{given}_distance is given and {missing}_distance isn't: a fan beam has both, each from the rotation "
            "axis, in pixels. Pass both, or neither for a parallel beam."
        )
    source, detector = float(source), float(detector)
    if not (math.isfinite(source) and source > 0 and math.isfinite(detector) and detector >= 0):
        raise ValueError(
            f"source_distance={source}, detector_distance={detector} aren't distances from the rotation axis. Pass "
            "positive numbers of pixels."
        )
    return source, detector


def check_fan(geometry: FanGeometry) -> FanGeometry:
    """Refuse a source beside or within the image, and a fan of a quarter turn or more."""
    rows, cols = geometry.image_shape
    corners = [(x * (cols / 2 + 1), y * (rows / 2 + 1)) for x in (-1, 1) for y in (-1, 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.array([geometry.depth(*corner) for corner in corners])
    if not depth.min() > 0:
        nearest = float(np.hypot(*geometry.source.T).min())
        raise ValueError(
            f"a source {nearest:.5g} pixels from the axis isn't in front of the whole image, whose corners lie "
            f"{math.hypot(rows, cols) / 2:.5g} from it. Pass distances in the detectors' unit, a "
            "larger source_distance, or a smaller image_shape."
        )
    rays = geometry.rays()[:, [0, -1]]
    if not (rays[:, 0] * rays[:, 1]).sum(axis=1).min() > 0:
        raise ValueError(
            "the fan opens by a quarter turn or more, which isn't implemented. Pass distances in the unit of the "
            "detectors' spacing (pixels; on the command line that of --pitch), or fewer detectors."
        )
    return geometry
