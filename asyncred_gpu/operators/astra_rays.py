"""ASTRA's vectors of a scan's rays, for one window of the image at the origin; and scans from ASTRA's geometries.

ASTRA's CPU projectors know Joseph's interpolation for parallel beams only: there every ray of a fan is a parallel beam
of one detector. On a GPU a fan is `fanflat_vec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..blocks import IndexArray, Window
from .checks import check_angles
from .footprint import Footprint
from .geometry import FanGeometry, Float64Array, Geometry, ParallelGeometry, centre_of


@dataclass(frozen=True)
class AstraRays:
    """Rays as ASTRA takes them.

    Args:
        kind: ASTRA's name of the vectors.
        vectors: (angles, n, 6), n of them an angle.
        detectors: of each vector.
    """

    kind: str
    vectors: Float64Array
    detectors: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of the sinogram as ASTRA sees it: (vectors, detectors)."""
        return self.vectors.shape[0] * self.vectors.shape[1], self.detectors

    def of_angles(self, subset: IndexArray | slice) -> AstraRays:
        """Those of some of the angles."""
        return AstraRays(self.kind, self.vectors[subset], self.detectors)


def astra_rays(geometry: Geometry, window: Window, footprint: Footprint, gpu: bool = False) -> AstraRays:
    """The footprint's rays, seen from the window's centre."""
    middle = (footprint.start + (footprint.width - 1) / 2)[:, None]
    origin = np.array(centre_of(geometry.image_shape, window))
    if isinstance(geometry, ParallelGeometry):
        cos, sin = np.cos(geometry.angles), np.sin(geometry.angles)
        across = np.stack([cos, sin], axis=1)
        step = np.reshape(geometry.spacing, (-1, 1)) * across
        place = (middle - np.reshape(geometry.center, (-1, 1))) * step - (across @ origin)[:, None] * across
        return AstraRays(
            "parallel_vec", np.hstack([sin[:, None], -cos[:, None], place, step])[:, None], footprint.width
        )
    if not isinstance(geometry, FanGeometry):
        raise TypeError(f"ASTRA has no rays of a {type(geometry).__name__}.")
    source, step = geometry.source - origin, geometry.step
    if gpu:
        place = geometry.first + middle * step - origin
        return AstraRays("fanflat_vec", np.hstack([source, place, step])[:, None], footprint.width)
    rays = footprint.start[:, None] + np.arange(footprint.width)
    places = (geometry.first - origin)[:, None] + rays[..., None] * step[:, None]
    steps = np.broadcast_to(step[:, None], places.shape)
    return AstraRays("parallel_vec", np.concatenate([places - source[:, None], places, steps], axis=2), 1)


def from_astra(projections: Mapping[str, Any], volume: Mapping[str, Any]) -> Geometry:
    """The scan that ASTRA's geometries `parallel`, `parallel_vec`, `fanflat` or `fanflat_vec` describe.

    Args:
        projections: as of astra.create_proj_geom.
        volume: as of astra.create_vol_geom: unit pixels, centred on the axis.
    Raises:
        ValueError: another geometry, or a volume that isn't so.
    """
    rows, cols = _unit_pixels(volume)
    kind, detectors = projections.get("type"), int(projections.get("DetectorCount", 0))
    vectors = _vectors(projections, detectors)
    middle = (detectors - 1) / 2
    place, step = vectors[:, 2:4], vectors[:, 4:6]
    if kind in ("fanflat", "fanflat_vec"):
        return FanGeometry((rows, cols), vectors[:, :2].copy(), place - middle * step, step.copy(), detectors)
    angles = np.arctan2(vectors[:, 0], -vectors[:, 1])
    across = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    spacing = (step * across).sum(axis=1)
    if not np.abs(spacing).min() > 0:
        raise ValueError(
            f"vector {int(np.abs(spacing).argmin())} has its detectors along its rays: each would see the same. Pass "
            "detector steps across the beam."
        )
    return ParallelGeometry((rows, cols), angles, detectors, spacing, middle - (place * across).sum(axis=1) / spacing)


def _unit_pixels(volume: Mapping[str, Any]) -> tuple[int, int]:
    """(rows, cols)."""
    rows, cols = int(volume["GridRowCount"]), int(volume["GridColCount"])
    given = volume.get("option", {})
    expected = {"WindowMinX": -cols / 2, "WindowMaxX": cols / 2, "WindowMinY": -rows / 2, "WindowMaxY": rows / 2}
    wrong = {name: given[name] for name, value in expected.items() if not np.isclose(given.get(name, value), value)}
    if "GridSliceCount" in volume or wrong:
        found = "slices" if "GridSliceCount" in volume else ", ".join(f"{key}={value}" for key, value in wrong.items())
        raise ValueError(
            f"vol_geom has {found}; here a pixel is the unit of length, and the image's middle is the origin. Divide "
            "all distances by the pixel size and pass astra.create_vol_geom(rows, cols)."
        )
    return rows, cols


def _vectors(projections: Mapping[str, Any], detectors: int) -> Float64Array:
    """(angles, 6): rays' directions or sources, detectors' centres, steps."""
    kind = projections.get("type")
    if kind in ("parallel_vec", "fanflat_vec"):
        vectors = np.array(projections["Vectors"], np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != 6 or not np.isfinite(vectors).all():
            raise ValueError(f"Vectors are {vectors.shape}, or not finite. Pass six finite numbers an angle.")
        return vectors
    if kind not in ("parallel", "fanflat"):
        raise ValueError(
            f"proj_geom is of type {kind!r}. Pass parallel, parallel_vec, fanflat or fanflat_vec: one slice, a "
            "straight row of detectors."
        )
    given = np.array(projections["ProjectionAngles"], np.float64)
    angles, spacing = check_angles(given, len(given)), float(projections["DetectorWidth"])
    cos, sin = np.cos(angles), np.sin(angles)
    across, along = np.stack([cos, sin], axis=1), np.stack([sin, -cos], axis=1)
    if kind == "parallel":
        return np.hstack([along, 0 * across, spacing * across])
    source, detector = float(projections["DistanceOriginSource"]), float(projections["DistanceOriginDetector"])
    return np.hstack([source * along, -detector * along, spacing * across])
