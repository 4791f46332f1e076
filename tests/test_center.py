"""The rotation centre, estimated from projections whose centre is known, and refused where they don't show it."""

from __future__ import annotations

from pathlib import Path

import astra
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import shepp_logan_phantom
from skimage.transform import resize

from asyncred_gpu.io import estimate_center, read_scan

from .helpers import rarely

TOOTH = Path(__file__).parents[2] / "shared" / "data" / "tooth.h5"
DETECTORS = 160
MIDDLE = (DETECTORS - 1) / 2
TOLERANCE = 0.5


def projections(angles: NDArray[np.float64], center: float) -> NDArray[np.float32]:
    """The Shepp-Logan phantom, 112 pixels wide, seen by a detector whose pixel `center` lies on the axis."""
    image = resize(shepp_logan_phantom(), (112, 112)).astype(np.float32)
    shift = MIDDLE - center
    rays = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    geometry = astra.create_proj_geom("parallel_vec", DETECTORS, np.hstack([rays, shift * along, along]))
    projector = astra.create_projector("linear", geometry, astra.create_vol_geom(*image.shape))
    number, sinogram = astra.create_sino(image, projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return np.asarray(sinogram)


@pytest.mark.parametrize(("endpoint", "noise"), [(False, 0.0), (True, 0.0), (False, 0.02), *rarely((True, 0.02))])
@pytest.mark.parametrize("offset", [-12.3, 0.0, 7.75, *rarely(12.3)])
def test_the_centre_is_found(offset: float, endpoint: bool, noise: float) -> None:
    angles = np.linspace(0, np.pi, 90 + endpoint, endpoint=endpoint)
    sinogram = projections(angles, MIDDLE + offset)
    sinogram = sinogram + noise * sinogram.max() * np.random.default_rng(0).standard_normal(sinogram.shape)
    error = abs(estimate_center(sinogram, angles) - (MIDDLE + offset))
    assert error <= TOLERANCE
    # A detector counted from 1, or a mirrored detector, would be found out.
    assert abs(error + 1) > TOLERANCE
    if offset:
        mirrored = estimate_center(sinogram[:, ::-1], angles)
        assert abs(mirrored - (MIDDLE - offset)) <= TOLERANCE < abs(mirrored - (MIDDLE + offset))


@pytest.mark.parametrize(
    "angles",
    [
        np.arange(180) * 2 * np.pi / 180,  # a full turn
        np.random.default_rng(0).permutation(90) * np.pi / 90,  # in any order
        -np.arange(90) * np.pi / 90 + 5,  # the other way round, from somewhere
        np.sort(np.random.default_rng(1).random(150)) * np.pi,  # uneven
        np.arange(24) * np.pi / 24,  # few
    ],
    ids=["full turn", "shuffled", "backwards", "uneven", "few"],
)
def test_any_angles_that_fill_a_half_turn_will_do(angles: NDArray[np.float64]) -> None:
    assert abs(estimate_center(projections(angles, 85.4), angles) - 85.4) <= TOLERANCE < 85.4 - MIDDLE


SINOGRAM = np.random.default_rng(0).random((90, DETECTORS))
ANGLES = np.arange(90) * np.pi / 90


@pytest.mark.parametrize(
    ("sinogram", "angles", "message"),
    [
        (SINOGRAM, ANGLES * 0.8, r"90 angles over 142.4 degrees with a gap of 37.6: it takes 16 or more"),
        (SINOGRAM[:10], np.arange(10) * np.pi / 10, "from 10 angles over 162.0 degrees"),
        (SINOGRAM[:, :8], ANGLES, "8 detectors are too few to see the rotation centre"),
        (SINOGRAM, ANGLES[1:], r"shape \(90, 160\) and angles of shape \(89,\) don't belong together"),
        (SINOGRAM[0], ANGLES, r"a sinogram of shape \(160,\)"),
        (np.where(SINOGRAM > 0.99, np.nan, SINOGRAM), ANGLES, r"the sinogram has \d+ NaN or infinite values of 14400"),
        (0 * SINOGRAM + 3, ANGLES, "the sinogram is constant, so nothing in it turns"),
    ],
)
def test_what_does_not_show_a_centre_is_refused(sinogram, angles, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        estimate_center(sinogram, angles)


def test_a_centre_outside_the_middle_half_is_refused() -> None:
    # Beyond the edge of the search: the best trial is the last one.
    angles = np.arange(90) * np.pi / 90
    with pytest.raises(ValueError, match="the edge of the search"):
        estimate_center(projections(angles, DETECTORS * 0.8), angles)


@pytest.mark.skipif(not TOOTH.exists(), reason="the real scan isn't beside the checkout: ../shared/data/tooth.h5")
@pytest.mark.parametrize("every", [1, 2])
def test_the_real_scans_centre(every: int) -> None:
    scan = read_scan(TOOTH, 0)
    found = estimate_center(scan.sinogram[::every], scan.angles[::every])
    assert abs(found - 296) <= 2 < abs((640 - 1) / 2 - 296)
