"""What a sinogram from Python can't be: counts, transmissions, or turned about another axis than the middle."""

from __future__ import annotations

import numpy as np
import pytest

from asyncred_gpu import GpuAsyncRED, RadonCT
from asyncred_gpu.io.center import better_center
from asyncred_gpu.operators.doubts import doubts_about_values
from asyncred_gpu.operators.radon import project

from .helpers import LinearResidual, blobs

ANGLES = np.linspace(0, np.pi, 60, endpoint=False)
DETECTORS, MIDDLE = 137, 68.0


def line_integrals(center: float = MIDDLE, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Of a body with blobs in it, at most about 2."""
    body = 0.01 * (np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 40)
    image = (body * (1 + blobs(96, 96, seed))).astype(np.float32)
    sinogram = project(image, ANGLES, DETECTORS, center=center)
    random = np.random.default_rng(seed)
    return (sinogram + noise * sinogram.max() * random.standard_normal(sinogram.shape)).astype(np.float32)


# --- the centre --------------------------------------------------------------------------------------------------


# Noise raises the metric everywhere, so that an offset of two detectors drowns in 2 % of it.
@pytest.mark.parametrize(
    ("offset", "noise"),
    [(-30.0, 0.02), (-12.0, 0.02), (-12.0, 0.0), (-2.0, 0.0), (2.0, 0.0), (5.0, 0.02), (31.5, 0.0), (31.5, 0.02)],
)
def test_another_centre_than_the_middle_is_found(offset, noise):
    found = better_center(line_integrals(MIDDLE + offset, noise), ANGLES)
    assert found == pytest.approx(MIDDLE + offset, abs=0.5)


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("views", [1, 2])
def test_the_middle_is_not_doubted(views, seed, noise):
    sinogram = line_integrals(MIDDLE, noise, seed)[::views]
    assert better_center(sinogram, ANGLES[::views]) is None
    assert better_center(line_integrals(MIDDLE + 0.5, noise, seed)[::views], ANGLES[::views]) is None


def test_nothing_is_said_where_nothing_tells():
    random = np.random.default_rng(0)
    assert better_center(random.random((60, DETECTORS)), ANGLES) is None
    assert better_center(np.ones((60, DETECTORS)), ANGLES) is None
    assert better_center(line_integrals(50.0)[:20], ANGLES[:20]) is None  # a third of the half turn
    assert better_center(line_integrals(50.0)[::6], ANGLES[::6]) is None  # ten angles


def scan(sinogram, angles=ANGLES, **geometry):
    return RadonCT(sinogram, angles, image_shape=(96, 96), **geometry)


def test_a_run_says_that_the_middle_is_not_the_centre(one_process):
    solver = GpuAsyncRED(scan(line_integrals(60.0)), LinearResidual(), tau=0.1, device="cpu")
    with pytest.warns(UserWarning, match="but the sinogram turns about 60.0"):
        notes = solver.run(max_sweeps=1).notes
    assert (
        "center=None takes the detector's middle, 68, but the sinogram turns about 60.0: pass center=60.0" in notes[0]
    )
    assert repr(solver.run(max_sweeps=1)).startswith("Result(MAX_SWEEPS: (96, 96) after 1 sweeps, ")
    for right in (scan(line_integrals(60.0), center=60.0), scan(line_integrals())):
        assert GpuAsyncRED(right, LinearResidual(), tau=0.1, device="cpu").run(max_sweeps=1).notes == ()


def test_a_centre_is_doubted_only_where_it_was_not_given():
    sinogram = line_integrals(60.0)
    with pytest.warns(UserWarning, match="turns about 60.0"):
        assert scan(sinogram).doubts() != ()
    assert scan(sinogram, center=MIDDLE).doubts() == ()
    assert scan(sinogram, source_distance=5000.0, detector_distance=500.0).doubts() == ()
    dead = np.ones_like(sinogram)
    with pytest.warns(UserWarning, match="turns about 60.0"):
        assert scan(sinogram, weights=dead).doubts() != ()
    dead[:, 5] = 0
    assert scan(sinogram, weights=dead).doubts() == ()


def test_it_is_looked_for_once(monkeypatch):
    asked = []
    monkeypatch.setattr("asyncred_gpu.io.center.better_center", lambda *arguments: asked.append(1))
    ct = scan(line_integrals(60.0))
    for operator in (ct, ct.with_blocks(ct.grid), ct.with_blocks(ct.grid)):
        operator.doubts()
    assert len(asked) == 1
    ct.with_measurements(line_integrals()).doubts()
    assert len(asked) == 2


# --- the values --------------------------------------------------------------------------------------------------


def test_line_integrals_are_not_doubted():
    for sinogram in (line_integrals(), line_integrals(noise=0.02), 1000 * line_integrals(), -line_integrals()):
        assert doubts_about_values(sinogram) == ()
    assert doubts_about_values(np.zeros((60, DETECTORS), np.float32)) == ()
    assert doubts_about_values(np.full((60, DETECTORS), 2.0, np.float32)) == ()  # whole numbers, but few
    for seed in range(20):
        assert doubts_about_values(np.random.default_rng(seed).random((40, 91), np.float32)) == ()
    # Cut off by the detector, it is thickest in the middle.
    assert doubts_about_values(line_integrals()[:, 45:92]) == ()


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_counts_are_seen(kind):
    counts = np.random.default_rng(0).poisson(40_000 * np.exp(-line_integrals())).astype(kind)
    with pytest.warns(UserWarning, match="counts"):
        (doubt,) = scan(counts).doubts()
    assert "The sinogram holds whole numbers, half of them above" in doubt and doubt.endswith("(white − dark)).")


@pytest.mark.parametrize("unit", [1.0, 100.0, 26875.25])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_transmissions_are_seen_in_any_unit(noise, unit):
    """Counts that aren't whole numbers among them, of a beam that is weaker at its ends."""
    beam = 1 - 0.3 * np.linspace(-1, 1, DETECTORS) ** 2
    transmissions = beam * np.exp(-line_integrals())
    transmissions += noise * np.random.default_rng(0).standard_normal(transmissions.shape)
    with pytest.warns(UserWarning, match="counts or transmissions"):
        (doubt,) = scan((unit * transmissions).astype(np.float32)).doubts()
    assert "largest at both ends of the detector, and less in between: counts or transmissions?" in doubt
