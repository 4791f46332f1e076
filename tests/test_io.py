"""Data Exchange files: line integrals from counts, one slice read, and everything that is no scan refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from asyncred_gpu.io import Reading, read_scan
from asyncred_gpu.io.correction import MIN_TRANSMISSION, line_integrals

TOOTH = Path(__file__).parents[2] / "shared" / "data" / "tooth.h5"
ANGLES, ROWS, DETECTORS = 20, 3, 32
THETA = np.arange(ANGLES) * 180.0 / ANGLES
# Attenuation of the made-up sample, a different one in each slice.
THICKNESS = np.random.default_rng(0).random((ANGLES, ROWS, DETECTORS)) * 2


def counts() -> dict[str, Any]:
    """The datasets of a scan with an uneven beam and an offset."""
    rng = np.random.default_rng(1)
    beam, offset = 1000 + 500 * rng.random((ROWS, DETECTORS)), 50 + 20 * rng.random((ROWS, DETECTORS))
    ripple = np.array([-10.0, 10.0])[:, None, None]  # two fields whose mean is the beam's and the offset's
    return {
        "data": offset + beam * np.exp(-THICKNESS),
        "data_white": offset + beam + ripple,
        "data_dark": offset + ripple,
        "theta": THETA,
    }


def write(path: Path, group: str = "exchange", **changes: Any) -> Path:
    """A scan file; a change replaces a dataset, None leaves it out."""
    with h5py.File(path, "x") as file:
        exchange = file.create_group(group)
        for name, values in (counts() | changes).items():
            if values is not None:
                exchange[name] = values
    return path


@pytest.mark.parametrize("wrong", [None, "slice", "no dark", "no logarithm"])
def test_line_integrals_come_back(tmp_path: Path, wrong: str | None) -> None:
    changes = {"data_dark": 0 * counts()["data_dark"]} if wrong == "no dark" else {}
    scan = read_scan(write(tmp_path / "scan.h5", **changes), slice_index=0 if wrong == "slice" else 1)
    found = np.exp(-scan.sinogram) if wrong == "no logarithm" else scan.sinogram
    assert (np.abs(found - THICKNESS[:, 1]).max() < 1e-5) == (wrong is None)
    if wrong is None:
        assert scan.sinogram.dtype == np.float32
        assert (scan.clipped, scan.dead_detectors, scan.slice) == (0, 0, 1)
        np.testing.assert_allclose(scan.angles, np.arange(ANGLES) * np.pi / ANGLES, rtol=0, atol=1e-12)


def test_integer_counts_are_read_as_well(tmp_path: Path) -> None:
    rounded = {name: np.round(values).astype(np.uint16) for name, values in counts().items() if name != "theta"}
    scan = read_scan(write(tmp_path / "scan.h5", **rounded))
    worst = np.abs(scan.sinogram - THICKNESS[:, 0]).max()
    assert 1e-5 < worst < 0.02  # half a count of the 135 that the thickest place lets through


def test_zero_and_negative_transmissions_are_clipped_and_counted(tmp_path: Path) -> None:
    data = counts()["data"]
    data[3, 0, 5], data[4, 0, 6] = 0.0, counts()["data_dark"][:, 0, 6].mean()
    scan = read_scan(write(tmp_path / "scan.h5", data=data))
    assert scan.clipped == 2
    assert scan.sinogram[3, 5] == scan.sinogram[4, 6] == pytest.approx(-np.log(MIN_TRANSMISSION))
    assert np.isfinite(scan.sinogram).all()


def test_a_dead_detector_is_the_mean_of_its_neighbours(tmp_path: Path) -> None:
    white = counts()["data_white"]
    white[:, 0, 7] = 0
    scan = read_scan(write(tmp_path / "scan.h5", data_white=white))
    assert scan.dead_detectors == 1
    np.testing.assert_allclose(scan.sinogram[:, 7], (scan.sinogram[:, 6] + scan.sinogram[:, 8]) / 2, rtol=1e-5)


def test_angles_in_radians_are_taken_as_such_if_the_file_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", theta=np.deg2rad(THETA))
    with h5py.File(path, "a") as file:
        file["exchange/theta"].attrs["units"] = "radians"
    np.testing.assert_allclose(read_scan(path).angles, np.deg2rad(THETA), atol=1e-12)


def test_the_checksum_is_of_the_slice_that_was_used(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5")
    again = read_scan(write(tmp_path / "copy.h5"), 1).info["sha256_of_slice"]
    assert read_scan(path, 1).info["sha256_of_slice"] == again != read_scan(path, 0).info["sha256_of_slice"]


def test_only_the_slice_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(write(tmp_path / "other.h5"), "r") as whole, h5py.File(path, "x") as file:
        for name, values in whole["exchange"].items():
            chunks = None if name == "theta" else (1, 1, DETECTORS)
            file.create_dataset(f"exchange/{name}", data=values[()], chunks=chunks)
        chunk = file["exchange/data"].id.get_chunk_info_by_coord((0, 2, 0))
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(np.full(DETECTORS, np.nan).tobytes())
    read_scan(path, 1)
    with pytest.raises(ValueError, match="exchange/data has 32 NaN or infinite values of 640 in this slice"):
        read_scan(path, 2)


def broken(name: str, where: Any, value: float) -> np.ndarray:
    values = np.array(counts()[name])
    values[where] = value
    return values


BAD_CONTENT: dict[str, tuple[dict[str, Any], str]] = {
    "no theta": ({"theta": None}, r"lacks exchange/theta \(the angles in degrees\); its 'exchange' holds 'data'"),
    "no white": ({"data_white": None}, r"lacks exchange/data_white \(the flat fields \(beam without sample\)\)"),
    "no dark": ({"data_dark": None}, r"lacks exchange/data_dark \(the dark fields \(no beam\)\)"),
    "no data": ({"data": None}, r"lacks exchange/data \(the projections\)"),
    "two-dimensional": ({"data": counts()["data"][:, 0]}, r"exchange/data has 2 dimensions, shape \(20, 32\)"),
    "one white field": ({"data_white": counts()["data_white"][0]}, r"exchange/data_white has 2 dimensions"),
    "empty": ({"data": np.zeros((0, ROWS, DETECTORS))}, r"exchange/data is empty: shape \(0, 3, 32\)"),
    "other fields": ({"data_dark": counts()["data_dark"][..., :9]}, r"exchange/data_dark has \(3, 9\) \(rows, detec"),
    "19 of 20 angles": ({"theta": THETA[1:]}, r"exchange/theta has 19 angles for 20 projections"),
    "NaN": ({"data": broken("data", (1, 0, slice(3)), np.nan)}, "exchange/data has 3 NaN or infinite values of 640"),
    "infinite": ({"data_white": broken("data_white", (0, 0, 1), np.inf)}, "exchange/data_white has 1 NaN or infinite"),
    "NaN angle": ({"theta": broken("theta", 2, np.nan)}, "exchange/theta has 1 NaN or infinite values of 20"),
    "radians": ({"theta": np.deg2rad(THETA)}, "so these are radians, where degrees belong. Write degrees"),
    "one angle": ({"theta": 0 * THETA + 7}, "exchange/theta is 7 for all 20 projections"),
    "swapped": (
        {"data_white": counts()["data_dark"], "data_dark": counts()["data_white"]},
        "exchange/data_white is nowhere above exchange/data_dark",
    ),
    "line integrals": ({"data": THICKNESS}, "isn't above the dark field in 640 of 640 values of the slice"),
    "text": ({"theta": np.array([b"north"] * ANGLES)}, r"exchange/theta holds \|S5, not real numbers"),
}


@pytest.mark.parametrize("kind", BAD_CONTENT)
def test_content_that_is_no_scan_is_refused(tmp_path: Path, kind: str) -> None:
    changes, message = BAD_CONTENT[kind]
    path = write(tmp_path / "scan.h5", **changes)
    with pytest.raises(ValueError, match=message):
        read_scan(path)


@pytest.mark.parametrize("index", [-1, 3, 400])
def test_a_slice_outside_the_file_is_refused(tmp_path: Path, index: int) -> None:
    with pytest.raises(ValueError, match=rf"slice {index} isn't in the file: it has 3 slices, 0 to 2"):
        read_scan(write(tmp_path / "scan.h5"), index)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"has no group 'exchange' .* and no NXtomo entry, only 'entry'.* entry/data \(20, 3, 32\)"
    ):
        read_scan(write(tmp_path / "scan.h5", group="entry"))


def truncated(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:4000])


def lost_chunks(path: Path) -> None:
    with h5py.File(path, "x") as file:
        for name, values in counts().items():
            file.create_dataset(f"exchange/{name}", data=values, compression="gzip")
        chunk = file["exchange/data"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(bytes(chunk.size))


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "absent": (lambda path: None, r"scan\.h5 doesn't exist\. Pass the path"),
    "folder": (lambda path: path.mkdir(), r"scan\.h5 is a folder"),
    "no bytes": (lambda path: path.touch(), r"is empty \(0 bytes\)"),
    "an image": (lambda path: path.write_bytes(b"II*\0" + bytes(5000)), "isn't an HDF5 file, or a damaged one"),
    "truncated": (truncated, "is truncated: shorter than its own header says. Copy it again"),
    "damaged chunk": (lost_chunks, "exchange/data is listed but can't be read"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, kind: str) -> None:
    make, message = BAD_FILES[kind]
    path = tmp_path / "scan.h5"
    make(path)
    with pytest.raises(OSError, match=message):
        read_scan(path)


def test_all_values_clipped_is_no_transmission() -> None:
    with pytest.raises(ValueError, match="so there is no transmission to take a logarithm of"):
        line_integrals(np.zeros((4, 8)), np.ones((1, 8)), np.zeros((1, 8)))


@pytest.mark.skipif(not TOOTH.exists(), reason="the real scan isn't beside the checkout: ../shared/data/tooth.h5")
def test_the_real_scan_reads() -> None:
    scan = read_scan(TOOTH, 1)
    assert scan.sinogram.shape == (181, 640)
    assert (scan.clipped, scan.dead_detectors) == (0, 0)
    assert abs(float(np.median(scan.sinogram[:, :20]))) < 0.02 < float(scan.sinogram.max())  # air beside the sample


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Unable to open file"), r"can't be read \(Permission denied\)\. Check its permissions\."),
        (BlockingIOError(11, "unable to lock file"), "is still being written, or wasn't closed by who wrote it"),
        (OSError("Unable to open file (file is already open for write)"), r"Wait until it is; .* `h5clear -s`"),
        (OSError("bad\nsuperblock"), r"isn't an HDF5 file, or a damaged one \(bad superblock\)"),
    ],
)
def test_a_file_that_does_not_open_is_said_why(
    error: OSError, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise error

    path = write(tmp_path / "scan.h5")
    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(OSError, match=message):
        read_scan(path)


@pytest.mark.parametrize("units", ["furlongs", "mrad", "turns"])
def test_units_that_are_not_known_are_refused(units: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        file["exchange/theta"].attrs["units"] = units
    with pytest.raises(ValueError, match=rf"exchange/theta is in '{units}', and degrees and radians are what is read"):
        read_scan(path)
    assert read_scan(path, 0, Reading(theta="0:180")).angles[1] == pytest.approx(np.deg2rad(9))


@pytest.mark.parametrize("units", ["Degrees", "deg", "°", b"degree", np.array(["degrees"], object), ""])
def test_degrees_have_many_names(units: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        file["exchange/theta"].attrs["units"] = units
    assert read_scan(path).angles[1] == pytest.approx(np.deg2rad(9))
