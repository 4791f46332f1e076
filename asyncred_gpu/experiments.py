"""CT problems to reconstruct: a simulated scan with a known answer, and a measured one with views left out.

Sinograms are line integrals, one unit = one pixel; angles in radians.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from skimage import color, data, transform

from .beam import Beam, aligned, fan_center
from .io import Reading, Scan, estimate_center, read_scan
from .memory import check_available
from .operators.radon import RadonCT, project

Image = NDArray[np.float32]
Angles = NDArray[np.float64]

CROP = 800
SMALLEST_SIZE, LARGEST_SIZE = 32, 16384
PARALLEL = Beam()
# Of the image's side: detectors over which rays beside it are averaged.
BAND = 0.03
# That any run holds at once: pixels, momentum, center and the start, the blocks' twice (slots.py).
LEAST_IMAGES = 7


@dataclass(frozen=True)
class Views:
    """Projections, their angles, and how their rays run."""

    sinogram: Image  # (angles, detectors)
    angles: Angles
    beam: Beam = PARALLEL

    def of(self, chosen: NDArray[np.bool_]) -> Views:
        """Some of them."""
        return Views(self.sinogram[chosen], self.angles[chosen], self.beam.kept(chosen))


@dataclass(frozen=True)
class Problem:
    """What is measured, what to reconstruct from it, and what to judge the result by.

    image_shape: as it is computed, with `pad` pixels more on every side than are wanted.
    """

    name: str
    title: str
    measured: Views
    image_shape: tuple[int, int]
    center: float
    reference: Image | None = None
    left_out: Views | None = None
    pad: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def operator(self, normalize: bool = True) -> RadonCT:
        """The data term."""
        views = self.measured
        beam = views.beam.arguments(self.center)
        return RadonCT(views.sinogram, views.angles, self.image_shape, normalize=normalize, **beam)

    def offsets(self, views: Views) -> Angles:
        """(angles, detectors): how far every ray passes the axis, in pixels."""
        return np.abs(
            views.beam.geometry(self.image_shape, views.angles, views.sinogram.shape[1], self.center).offsets()
        )

    def wanted(self, image: Image) -> Image:
        """The image without its padding."""
        return image[self.pad : image.shape[0] - self.pad, self.pad : image.shape[1] - self.pad]

    def beside(self, circle: bool) -> float:
        """How much rays beside the image measure at most, over the most of all: of an object that reaches outside it.

        Means over a few neighbouring detectors, so that noise is none.

        Args:
            circle: the image's largest circle is all of it, not its corners.
        """
        band = max(3, round(BAND * min(self.image_shape)))
        smooth = uniform_filter1d(self.measured.sinogram.astype(np.float64), band, axis=1)
        reach = min(self.image_shape) / 2 if circle else math.hypot(*self.image_shape) / 2
        outside = self.offsets(self.measured) > reach + band / 2
        most = float(smooth.max())
        return float(smooth[outside].max()) / most if outside.any() and most > 0 else 0.0

    def padded_fbp(self) -> Image:
        """Filtered back-projection on the padded image, the sinogram continued by its edges.

        Without that an object wider than the detector gets a bright rim. Source: Ohnesorge et al., Medical Physics 27,
        39 (2000), whose continuation this simplifies.
        """
        views = self.measured
        sinogram = np.pad(views.sinogram, ((0, 0), (self.pad, self.pad)), mode="edge")
        beam = views.beam.arguments(self.center + self.pad)
        return RadonCT(sinogram, views.angles, self.image_shape, **beam).fbp()


def retina_image(size: int) -> Image:
    """The middle 800×800 of scikit-image's retina in grey, (size, size) in [0, 1]; other sizes by resampling."""
    grey = color.rgb2gray(data.retina())
    top, left = ((side - CROP) // 2 for side in grey.shape)
    crop = grey[top : top + CROP, left : left + CROP]
    resized = crop if size == CROP else transform.resize(crop, (size, size), anti_aliasing=True)
    return np.ascontiguousarray(resized, np.float32)


def retina_problem(
    size: int = CROP,
    angles: int = 180,
    detectors: int | None = None,
    noise_db: float = 70.0,
    center: float | None = None,
    every: int = 1,
    seed: int = 0,
    beam: Beam = PARALLEL,
) -> Problem:
    """A simulated scan over 180 degrees, a fan's over 360, with Gaussian noise, ‖A x‖/‖noise‖ being `noise_db` exactly.

    Args:
        size: pixels a side.
        angles: projections, the end point not among them.
        detectors: default: the image's diagonal, as a fan sees it.
        noise_db: input SNR in dB; inf for none.
        center: detector coordinate of the rotation axis; default: the middle.
        every: keep every n-th projection.
        seed: of the noise.
        beam: how the rays run; two detectors are a pixel apart on the axis.
    """
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        found = "leaves nothing of the retina to see" if size < SMALLEST_SIZE else "is far beyond what the retina shows"
        raise ValueError(f"size={size} {found}. Pass {SMALLEST_SIZE} to {LARGEST_SIZE} pixels a side.")
    image = retina_image(size)
    count = _detectors_across(size, beam) if detectors is None else detectors
    middle = (count - 1) / 2 if center is None else center
    theta = np.arange(angles) * (2 if beam.is_fan else 1) * np.pi / angles
    clean = project(image, theta, count, **beam.arguments(middle))
    noise = np.random.default_rng(seed).standard_normal(clean.shape)
    noise *= np.linalg.norm(clean) * 10 ** (-noise_db / 20) / np.linalg.norm(noise)
    measured, left_out = split_views(Views((clean + noise).astype(np.float32), theta, beam), every)
    title = f"Retina, {size} × {size} from {len(measured.angles)} angles × {count} detectors, {noise_db:g} dB"
    facts = {"simulated": "skimage.data.retina", "size": size, "angles": angles, "noise_db": noise_db, "seed": seed}
    facts |= {"degrees": 360 if beam.is_fan else 180}
    facts |= {"detectors": count, "center": middle, "every": every, **beam.facts()}
    return Problem("retina", title, measured, (size, size), middle, image, left_out, facts=facts)


def _detectors_across(size: int, beam: Beam) -> int:
    """That see a square image from every side."""
    radius = size / math.sqrt(2)
    source = beam.arguments(0.0).get("source_distance")
    if source is None or source <= radius:
        return round(2 * radius)  # what can't be is refused where the geometry is made
    half = float(source) * math.tan(math.asin(radius / source)) / math.cos(beam.tilt)
    return round(2 * half) + 2


def noisy_scan(image: Image, angles: int, noise: float) -> RadonCT:
    """A simulated scan over 180 degrees, the image's diagonal wide.

    Args:
        image: (size, size), attenuation a pixel.
        noise: white, as a share of the largest line integral.
    """
    theta = np.arange(angles) * np.pi / angles
    clean = project(image, theta, round(math.sqrt(2) * image.shape[0]) + 1)
    rough = clean + noise * clean.max() * np.random.default_rng(0).standard_normal(clean.shape)
    return RadonCT(rough.astype(np.float32), theta, image.shape)


# Of a file that doesn't say what its axes are.
OTHER_AXES = " Or its axes aren't (angles, rows, detectors), as they were taken: pass --axes."


def scan_problem(
    path: str | Path,
    slice_index: int = 0,
    center: float | str = "auto",
    size: int | None = None,
    every: int = 1,
    reading: Reading | None = None,
    pad: int = 0,
    beam: Beam = PARALLEL,
) -> Problem:
    """One slice of a measured scan; with `every` > 1 the other projections are left out, to be predicted.

    Args:
        path: a file of any format that `open_projections` reads.
        slice_index: its row.
        center: detector coordinate of the rotation axis, or "auto": estimated from the projections that are kept.
        size: pixels a side; default: the number of detectors.
        every: keep every n-th projection.
        reading: what the file doesn't say of itself.
        pad: pixels more on every side while the image is computed, for an object wider than the detector.
        beam: how the rays run; of a fan a pixel is as wide as two detectors are apart on the axis.
    """
    return slice_problem(read_scan(path, slice_index, reading), center, size, every, pad, beam)


def slice_problem(
    scan: Scan,
    center: float | str = "auto",
    size: int | None = None,
    every: int = 1,
    pad: int = 0,
    beam: Beam = PARALLEL,
) -> Problem:
    """As `scan_problem`, of a slice that is read already."""
    measured, left_out = split_views(Views(scan.sinogram, scan.angles, beam), every)
    detectors = scan.sinogram.shape[1]
    side = detectors if size is None else size
    pixels = (side + 2 * pad) ** 2
    check_available(
        f"an image of {side} × {side} pixels{f' and {pad} on every side' if pad else ''} takes at least",
        LEAST_IMAGES * np.dtype(np.float32).itemsize * pixels,
        "Pass a smaller size=.",
    )
    if beam.is_fan:  # refused by the image's size, before a centre is looked for
        beam.geometry((side + 2 * pad, side + 2 * pad), scan.angles, detectors, (detectors - 1) / 2)
    try:
        middle = center_of(measured) if center == "auto" else float(center)
    except ValueError as error:
        raise ValueError(f"{error}{OTHER_AXES if scan.info.get('axes_assumed') else ''}") from error
    name = f"{scan.path.stem}-slice{scan.slice}"
    title = f"{scan.path.name}, slice {scan.slice}: {side} × {side} from {len(measured.angles)} angles × {detectors}"
    facts = {"input": str(scan.path), "slice": scan.slice, "clipped_values": scan.clipped, **scan.info}
    facts |= {"dead_detectors": scan.dead_detectors, "detectors": detectors, "size": side, "every": every}
    facts |= {"center": middle, "center_estimated": center == "auto", "pad": pad, **beam.facts()}
    whole = (side + 2 * pad, side + 2 * pad)
    return Problem(name, title, measured, whole, middle, None, left_out, pad, facts)


def center_of(views: Views) -> float:
    """The rotation centre, estimated."""
    beam = views.beam
    if beam.is_fan:
        return fan_center(views.sinogram, views.angles, beam)
    sinogram = views.sinogram if beam.shifts is None else aligned(views.sinogram, beam.shifts)
    return estimate_center(sinogram, views.angles)


def split_views(views: Views, every: int) -> tuple[Views, Views | None]:
    """Every n-th projection, and the others."""
    count = len(views.angles)
    if count < 2:
        raise ValueError(f"there is {count} projection: one view can't be reconstructed. Pass a scan of several.")
    if not 1 <= every <= count // 2:
        raise ValueError(
            f"every={every} keeps too little of {count} projections: it takes two or more. Pass 1 to {count // 2}."
        )
    kept = np.arange(count) % every == 0
    return views.of(kept), None if every == 1 else views.of(~kept)


def prediction_error(image: Image, problem: Problem, mask: Image | None) -> float | None:
    """‖A x − y‖/‖y‖ over the left-out projections, or None if there are none.

    With a mask of a circular field of view, x is cut to it and only the rays through the circle count.
    """
    if problem.left_out is None:
        return None
    seen = problem.left_out.sinogram
    through = np.ones(seen.shape, bool)
    if mask is not None:
        through = problem.offsets(problem.left_out) <= min(problem.image_shape) / 2
        image = np.where(mask > 0, image, np.float32(0))
    beam = problem.left_out.beam.arguments(problem.center)
    predicted = project(image, problem.left_out.angles, seen.shape[1], **beam)
    error = np.linalg.norm((predicted - seen)[through].astype(np.float64))
    return float(error / np.linalg.norm(seen[through].astype(np.float64)))
