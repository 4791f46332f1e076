"""Scans by a fan beam, with a tilted detector, or whose axis moves, as the command takes them: geometry and centre."""

import math
import re

import h5py
import numpy as np
import pytest

from asyncred_gpu.beam import Beam, aligned, fan_center
from asyncred_gpu.cli.main import main
from asyncred_gpu.config.settings import ReconstructSettings
from asyncred_gpu.experiments import Views, prediction_error, retina_problem, slice_problem
from asyncred_gpu.io import open_projections
from asyncred_gpu.io.images import read_image
from asyncred_gpu.operators.radon import project
from asyncred_gpu.reconstruct import beam_of

from .helpers import blobs, half_turn, relative

# In millimetres: M = 1.5, so a pixel is 0.2/1.5 mm, the source 20 mm = 150 pixels away.
FAN = Beam(source_distance=20.0, detector_distance=10.0, pitch=0.2)


def disc_of_blobs(size=64):
    image = blobs(size, size)
    image[np.hypot(*(np.mgrid[:size, :size] - (size - 1) / 2)) > 0.46 * size] = 0
    return image


def fan_scan(beam=FAN, views=120, center=49.3, noise=0.0, detectors=96, turn=2 * np.pi):
    image, angles = disc_of_blobs(), np.linspace(0, turn, views, endpoint=False)
    sinogram = project(image, angles, detectors, **beam.arguments(center))
    sinogram = sinogram + noise * sinogram.max() * np.random.default_rng(0).standard_normal(sinogram.shape)
    return sinogram.astype(np.float32), angles, image


def write(path, sinogram, angles):
    """Data Exchange, of line integrals as counts would give them."""
    with h5py.File(path, "w") as file:
        counts = 5e4 * np.exp(-np.stack([sinogram, sinogram], axis=1) / 40)
        file["exchange/data"] = np.round(counts).astype(np.uint16)
        file["exchange/data_white"] = np.full((2, 2, sinogram.shape[1]), 50_000, np.uint16)
        file["exchange/data_dark"] = np.zeros((2, 2, sinogram.shape[1]), np.uint16)
        file["exchange/theta"] = np.rad2deg(angles)
        file["exchange/theta"].attrs["units"] = "degrees"
    return path


# --- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [False, True])
def test_two_detectors_are_a_pixel_apart_on_the_axis(wrong):
    geometry = FAN.geometry((64, 64), half_turn(5), 96, 47.5)
    step = 1.1 if wrong else 1.0
    ahead = np.stack([np.cos(geometry.angles), np.sin(geometry.angles)])
    found = [geometry.coordinates(*(step * ahead[:, n]))[n] - 47.5 for n in range(5)]
    assert np.allclose(found, 1, atol=2e-3) == (not wrong)
    assert np.allclose(np.hypot(*geometry.source.T), 150)


def test_the_unit_is_any():
    inches = Beam(20 / 25.4, 10 / 25.4, 0.2 / 25.4)
    one, other = FAN.arguments(3.0), inches.arguments(3.0)
    assert one.keys() == other.keys() and all(one[name] == pytest.approx(other[name]) for name in one)


def test_what_is_said_of_a_beam():
    assert FAN.title == "fan beam, magnified 1.5 times, a pixel 0.1333 wide" and Beam().title == ""
    moved = Beam(tilt=math.radians(2), shifts=np.array([-1.0, 2.5]))
    assert moved.title == "detector tilted by 2°, axis shifted by -1 to 2.5 detectors"
    assert FAN.facts() == {"source_distance": 20, "detector_distance": 10, "pitch": 0.2, "magnification": 1.5}
    assert moved.facts() == {"tilt": pytest.approx(2), "shifts": [-1.0, 2.5]} and Beam().facts() == {}


def test_views_keep_their_own_shifts():
    views = Views(np.zeros((6, 4), np.float32), half_turn(6), Beam(shifts=np.arange(6.0)))
    assert np.array_equal(views.of(np.arange(6) % 2 == 0).beam.shifts, [0, 2, 4])


# --- the centre -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize(("center", "beam"), [(49.3, FAN), (40.0, FAN), (46.0, Beam(40.0, 60.0, 0.2, math.radians(3)))])
def test_a_fans_centre_is_found(center, beam, noise):
    sinogram, angles, _ = fan_scan(beam, center=center, noise=noise)
    assert abs(fan_center(sinogram, angles, beam) - center) < (0.3 if noise else 0.15)


def test_where_the_axis_moves_the_centre_is_found_without_that():
    shifts = np.random.default_rng(1).uniform(-3, 3, 120)
    moving = Beam(FAN.source_distance, FAN.detector_distance, FAN.pitch, shifts=shifts)
    sinogram, angles, _ = fan_scan(moving)
    assert abs(fan_center(sinogram, angles, moving) - 49.3) < 0.3
    image, theta = disc_of_blobs(), half_turn(120)
    parallel = project(image, theta, 96, center=49.3 + shifts)
    still = aligned(parallel, shifts)
    assert relative(still, project(image, theta, 96, center=49.3)) < 0.05 < relative(parallel, still)


def test_half_a_turn_of_a_fan_does_not_show_its_centre():
    sinogram, angles, _ = fan_scan(turn=np.pi)
    with pytest.raises(ValueError, match=r"can't be estimated from 120 views over 17\d degrees: .*Pass center="):
        fan_center(sinogram, angles, FAN)


def test_a_centre_at_the_edge_of_the_search_is_refused():
    sinogram, angles, _ = fan_scan(center=22.0, detectors=120)
    with pytest.raises(ValueError, match=r"no rotation centre from 30\.0 to 89\.0 makes lines"):
        fan_center(sinogram, angles, FAN)


# --- by the command --------------------------------------------------------------------------------------------------

QUIET = ["--quiet", "--workers", "1", "--size", "64", "--sweeps", "6", "--tau", "0.02", "--order", "ordered"]
DISTANCES = ["--source-distance", "20", "--detector-distance", "10", "--pitch", "0.2"]


def run(*words):
    assert main(["reconstruct", *map(str, words)]) == 0


def test_a_fans_scan_is_reconstructed_and_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sinogram, angles, image = fan_scan(noise=0.002)
    scan = write(tmp_path / "scan.h5", sinogram, angles)
    run(scan, *QUIET, *DISTANCES, "--output", "fan")
    found = 40 * read_image(tmp_path / "fan" / "reconstruction.tif")
    assert relative(found, image) < 0.2
    run(scan, *QUIET, "--center", "49.3", "--output", "parallel")  # what a wrong geometry makes of it
    wrong = 40 * read_image(tmp_path / "parallel" / "reconstruction.tif")
    assert relative(wrong, image) > 2 * relative(found, image)
    run("--config", "fan/settings.yaml", "--output", "again", "--quiet")
    one, other = (read_image(tmp_path / name / "reconstruction.tif") for name in ("fan", "again"))
    assert np.array_equal(one, other)
    assert main(["check", str(scan), *QUIET[1:], *DISTANCES]) == 0
    told = capsys.readouterr().out
    assert "fan beam, magnified 1.5 times, a pixel 0.1333 wide" in told
    assert abs(float(re.search(r"centre +detector ([\d.]+), estimated", told)[1]) - 49.3) < 0.3


def test_a_moving_axis_is_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shifts, theta, image = np.random.default_rng(1).uniform(-3, 3, 90), half_turn(90), disc_of_blobs()
    scan = write(tmp_path / "scan.h5", project(image, theta, 96, center=49.3 + shifts), theta)
    np.savetxt("shifts.txt", shifts)
    run(scan, *QUIET, "--shifts", "shifts.txt", "--output", "right")
    run(scan, *QUIET, "--center", "49.3", "--output", "wrong")
    errors = [relative(40 * read_image(tmp_path / name / "reconstruction.tif"), image) for name in ("right", "wrong")]
    assert errors[0] < 0.2 and errors[1] > 1.5 * errors[0]


def test_volumes_and_left_out_views_of_a_fan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sinogram, angles, image = fan_scan()
    scan = write(tmp_path / "scan.h5", sinogram, angles)
    run(scan, *QUIET, *DISTANCES, "--slices", "0:2", "--output", "volume")
    for path in sorted((tmp_path / "volume" / "slices").glob("*.tif")):
        assert relative(40 * read_image(path), image) < 0.25
    problem = slice_problem(open_projections(scan).slice(0), 49.3, 64, every=2, beam=FAN)
    errors = [prediction_error(image / 40, one, None) for one in (problem, retina_problem(64, 20, every=2, beam=FAN))]
    assert errors[0] < 0.02 < errors[1]


def test_a_simulated_fan_sees_the_whole_image():
    problem = retina_problem(64, 20, beam=FAN)
    assert problem.measured.angles[-1] > np.pi and problem.facts["magnification"] == 1.5
    views = problem.measured
    geometry = FAN.geometry((64, 64), views.angles, views.sinogram.shape[1], problem.center)
    corners = [geometry.coordinates(x, y) for x in (-32, 32) for y in (-32, 32)]
    assert np.min(corners) > 0 and np.max(corners) < views.sinogram.shape[1] - 1


BAD = [
    (["--source-distance", "100"], "--source-distance is given and --detector-distance isn't"),
    (["--detector-distance", "100"], "--detector-distance is given and --source-distance isn't"),
    (["--pitch", "0.2"], "--pitch is the unit of a fan beam's distances, and none are given"),
    (["--source-distance", "5", "--detector-distance", "5"], "isn't in front of the whole image"),
    (["--tilt", "95"], "a quarter turn or more"),
    (["--shifts", "absent.txt"], "--shifts is for a measured scan"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_beams_that_cannot_be_are_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reconstruct", "--size", "64", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.iterdir())


SHIFTS = {"short": ("1\n2\n", "has 2 shifts for 90 projections"), "words": ("a\n", "isn't a list of numbers"),
          "infinite": ("inf\n" * 90, "90 shifts, not all of them finite")}  # fmt: skip


@pytest.mark.parametrize("kind", SHIFTS)
def test_shifts_that_cannot_be_are_refused(kind, tmp_path):
    text, message = SHIFTS[kind]
    path = tmp_path / "shifts.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        beam_of(ReconstructSettings(input=tmp_path / "scan.h5", shifts=path), 90)
    with pytest.raises(FileNotFoundError, match=r"isn't a file\. Pass one of numbers"):
        beam_of(ReconstructSettings(input=tmp_path / "scan.h5", shifts=tmp_path / "absent"), 90)
