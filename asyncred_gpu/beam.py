"""How a scan's rays run where they are neither parallel nor square to the detector, in the units that a facility has.

A fan magnifies by M = (source_distance + detector_distance)/source_distance. A pixel of the image is pitch/M wide: as
far as two detectors lie apart on the rotation axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .operators.geometry import FanGeometry, Geometry
from .operators.rebin import from_both_sides
from .operators.scan import scan_geometry

Angles = NDArray[np.float64]
Image = NDArray[np.float32]

# A fan's centre is looked for in the middle half of the detector, first on this many detectors, then closer and closer.
COARSE_DETECTORS, NARROWER, FINEST = 128, 4, 0.05
# Lines that are to be seen from both ends, as a share of all: those of a full turn are most of them.
LEAST_SEEN_TWICE = 0.15
# At the right centre lines disagree by noise alone, at the others, in the middle, by the object itself.
SURE = 0.2
LEAST_COMPARED = 0.5


@dataclass(frozen=True)
class Beam:
    """A parallel beam, unless distances are given.

    Args:
        source_distance, detector_distance: of a fan beam, from the rotation axis, in the unit of `pitch`.
        pitch: distance of two detectors.
        tilt: of the row of detectors, in radians, as `RadonCT`'s detector_tilt.
        shifts: (projections,) by how many detectors the axis is off the centre in each.
    """

    source_distance: float | None = None
    detector_distance: float | None = None
    pitch: float = 1.0
    tilt: float = 0.0
    shifts: Angles | None = None

    @property
    def is_fan(self) -> bool:
        return self.source_distance is not None or self.detector_distance is not None

    @property
    def magnification(self) -> float:
        """How many times farther apart two shadows are than the points on the axis that throw them."""
        if not self.source_distance or self.detector_distance is None:
            return 1.0
        return (self.source_distance + self.detector_distance) / self.source_distance

    def kept(self, chosen: NDArray[Any]) -> Beam:
        """That of some of the projections."""
        return self if self.shifts is None else replace(self, shifts=self.shifts[chosen])

    def arguments(self, center: float) -> dict[str, Any]:
        """Of `RadonCT`, in pixels of the image."""
        found: dict[str, Any] = {"center": center if self.shifts is None else center + self.shifts}
        if self.tilt:
            found["detector_tilt"] = self.tilt
        if self.is_fan:
            distances = {"source_distance": self.source_distance, "detector_distance": self.detector_distance}
            pixels = self.magnification / self.pitch
            found |= {name: None if value is None else value * pixels for name, value in distances.items()}
            found["detector_spacing"] = self.magnification
        return found

    def geometry(self, image_shape: tuple[int, int], angles: Angles, detectors: int, center: float) -> Geometry:
        """The rays of an image.

        Raises:
            ValueError: what can't be.
        """
        given = self.arguments(center)
        spacing, center = given.pop("detector_spacing", 1.0), given.pop("center")
        tilt = given.pop("detector_tilt", 0.0)
        return scan_geometry(image_shape, angles, (len(angles), detectors), spacing, center, tilt, **given)

    @property
    def title(self) -> str:
        """What people are told of it; nothing of a plain one."""
        words = []
        if self.is_fan:
            pixel = self.pitch / self.magnification
            words.append(f"fan beam, magnified {self.magnification:.4g} times, a pixel {pixel:.4g} wide")
        if self.tilt:
            words.append(f"detector tilted by {np.rad2deg(self.tilt):.4g}°")
        if self.shifts is not None:
            words.append(f"axis shifted by {self.shifts.min():.4g} to {self.shifts.max():.4g} detectors")
        return ", ".join(words)

    def facts(self) -> Mapping[str, Any]:
        """What a run's record says of it."""
        given: dict[str, Any] = {"source_distance": self.source_distance, "detector_distance": self.detector_distance}
        given |= {"pitch": self.pitch if self.is_fan else None, "tilt": float(np.rad2deg(self.tilt)) or None}
        given |= {"magnification": self.magnification if self.is_fan else None}
        given |= {"shifts": None if self.shifts is None else [float(self.shifts.min()), float(self.shifts.max())]}
        return {name: value for name, value in given.items() if value is not None}


def aligned(sinogram: Image, shifts: Angles) -> Image:
    """The sinogram as if the axis hadn't moved: its rows moved back, by linear interpolation."""
    places = np.arange(sinogram.shape[1])
    rows = [np.interp(places + shift, places, row) for row, shift in zip(sinogram, shifts, strict=True)]
    return np.asarray(np.stack(rows), np.float32)


def fan_center(sinogram: Image, angles: Angles, beam: Beam) -> float:
    """Detector coordinate of the rotation axis: where lines measure the same from both their ends.

    Args:
        sinogram: (angles, detectors) of a turn.
        angles: (angles,) radians.
    Raises:
        ValueError: views that see too few lines from both ends, or that agree on none.
    """
    detectors = sinogram.shape[1]
    low, high = detectors / 4, 3 * detectors / 4 - 1
    binning = max(1, round(detectors / COARSE_DETECTORS))
    binned = sinogram[:, : detectors // binning * binning].reshape(len(sinogram), -1, binning).mean(axis=2)
    wide = replace(beam, pitch=binning * beam.pitch, shifts=None if beam.shifts is None else beam.shifts / binning)

    def of_bins(center: float) -> float:  # the middle of bin k is detector k·binning + (binning − 1)/2
        return _mismatch(binned, angles, wide, (center - (binning - 1) / 2) / binning)

    trials = np.arange(low, high + 1, binning)
    found = [of_bins(float(trial)) for trial in trials]
    best = float(trials[int(np.argmin(found))])
    step = binning / NARROWER
    best = _least(of_bins, best + step * np.arange(-NARROWER, NARROWER + 1))
    while step > FINEST:
        step /= NARROWER
        trials = best + step * np.arange(-NARROWER, NARROWER + 1)
        best = _least(lambda center: _mismatch(sinogram, angles, beam, center), trials)
    if min(best - low, high - best) < binning or _mismatch(sinogram, angles, beam, best) > SURE * np.median(found):
        raise ValueError(
            f"no rotation centre from {low:.1f} to {high:.1f} makes lines measure the same from both ends, {best:.1f} "
            "comes closest: the true one lies outside, the distances are wrong, or nothing in the sinogram shows it. "
            "Pass center= as a number."
        )
    return round(float(best), 4)


def _least(mismatch: Callable[[float], float], trials: Angles) -> float:
    return float(trials[int(np.argmin([mismatch(float(trial)) for trial in trials]))])


def _mismatch(sinogram: Image, angles: Angles, beam: Beam, center: float) -> float:
    """Squared difference of lines seen from both ends, over their square; infinite if they aren't the object's."""
    geometry = beam.geometry((1, 1), angles, sinogram.shape[1], center)
    assert isinstance(geometry, FanGeometry)
    both = from_both_sides(sinogram, geometry).values
    twice = np.isfinite(both).all(axis=0)
    if twice.mean() < LEAST_SEEN_TWICE:
        raise ValueError(
            f"the rotation centre of a fan can't be estimated from {len(angles)} views over "
            f"{np.rad2deg(np.ptp(angles)):.0f} degrees: they see {100 * twice.mean():.0f} % of the lines from both "
            "ends, as a turn sees most. Pass center= as a number."
        )
    front, back = both[:, twice]
    compared, all_seen = np.sum(front**2) + np.sum(back**2), np.nansum(both**2)
    if compared <= LEAST_COMPARED * all_seen:  # what is compared is the air beside the object
        return math.inf
    return float(2 * np.sum((front - back) ** 2) / compared)
