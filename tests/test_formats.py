"""Scans in every format come to the same sinogram and angles as the Data Exchange file; and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import scipy.io
import tifffile

from asyncred_gpu.io import Reading, open_projections, read_scan
from asyncred_gpu.io.tiff import tiff_files

from .test_io import ANGLES, DETECTORS, ROWS, THETA, THICKNESS, counts, write

COUNTS = {name: values.astype(np.float32) for name, values in counts().items() if name != "theta"}
INTEGRALS = THICKNESS.astype(np.float32)


def fields(folder: Path, suffix: str) -> dict[str, Any]:
    """White and dark fields beside the projections."""
    found = {}
    for name in ("white", "dark"):
        path = folder / f"{name}{suffix}"
        values = COUNTS[f"data_{name}"]
        if suffix == ".npy":
            np.save(path, values)
        elif suffix == ".tif":
            tifffile.imwrite(path, values)
        else:
            path.mkdir()
            for number, field in enumerate(values):
                tifffile.imwrite(path / f"{number}.tif", field)
        found[name] = path
    return found


def tiff_folder(folder: Path) -> tuple[Path, Reading]:
    (folder / "proj").mkdir()
    for number, image in enumerate(COUNTS["data"]):
        tifffile.imwrite(folder / "proj" / f"view_{number}.tif", image, compression="zlib" if number % 2 else None)
    (folder / "proj" / "notes.txt").write_text("not an image")
    return folder / "proj", Reading(theta="0:180", **fields(folder, "-fields"))


def tiff_pages(folder: Path) -> tuple[Path, Reading]:
    tifffile.imwrite(folder / "scan.tiff", COUNTS["data"])
    return folder / "scan.tiff", Reading(theta="0:180", **fields(folder, ".tif"))


def tiff_sinograms(folder: Path) -> tuple[Path, Reading]:
    (folder / "sino").mkdir()
    for row in range(ROWS):
        tifffile.imwrite(folder / "sino" / f"{row}.tif", INTEGRALS[:, row])
    return folder / "sino", Reading(theta="0:180", axes="rows,angles,detectors")


def npy(folder: Path) -> tuple[Path, Reading]:
    np.save(folder / "scan.npy", COUNTS["data"])
    np.savetxt(folder / "theta.txt", THETA)
    return folder / "scan.npy", Reading(theta=str(folder / "theta.txt"), **fields(folder, ".npy"))


def npy_transmission(folder: Path) -> tuple[Path, Reading]:
    np.save(folder / "scan.npy", np.exp(-THICKNESS).transpose(2, 1, 0))
    np.save(folder / "theta.npy", THETA)
    reading = Reading(theta=str(folder / "theta.npy"), axes="detectors,rows,angles", values="transmission")
    return folder / "scan.npy", reading


def npz(folder: Path) -> tuple[Path, Reading]:
    np.savez(folder / "scan.npz", projections=INTEGRALS, angles=np.deg2rad(THETA), other=np.zeros((4, 4)))
    return folder / "scan.npz", Reading()


def matlab(folder: Path) -> tuple[Path, Reading]:
    scipy.io.savemat(folder / "scan.mat", {"proj": INTEGRALS, "theta": THETA, "note": "mine"})
    return folder / "scan.mat", Reading()


def matlab73(folder: Path) -> tuple[Path, Reading]:
    """HDF5 behind a header, each array's axes the other way round, as Matlab lays them out."""
    with h5py.File(folder / "scan.mat", "x", userblock_size=512) as file:
        for name, values in (("sinogram", INTEGRALS), ("theta", THETA[None])):
            file[name] = values.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with (folder / "scan.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return folder / "scan.mat", Reading()


def zarr_group(folder: Path) -> tuple[Path, Reading]:
    zarr = pytest.importorskip("zarr", reason="needs zarr (pip install asyncred-gpu[zarr])")
    group = zarr.open_group(str(folder / "scan.zarr"), mode="w")
    for name, values in (("data", INTEGRALS), ("theta", THETA)):
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=(5, *values.shape[1:]))
        array[:] = values
    return folder / "scan.zarr", Reading()


def zarr_array(folder: Path) -> tuple[Path, Reading]:
    zarr = pytest.importorskip("zarr", reason="needs zarr (pip install asyncred-gpu[zarr])")
    array = zarr.open_array(str(folder / "scan.zarr"), mode="w", shape=INTEGRALS.shape, dtype="float32")
    array[:] = INTEGRALS
    return folder / "scan.zarr", Reading(theta="0:180")


def plain_hdf5(folder: Path) -> tuple[Path, Reading]:
    with h5py.File(folder / "scan.hdf5", "x") as file:
        file.create_dataset("raw/stack", data=INTEGRALS, **hdf5plugin.Blosc())
        file["raw/other"] = np.zeros((3, 4))
    return folder / "scan.hdf5", Reading(dataset="/raw/stack", theta="0:180")


def nxtomo(folder: Path, **changes: Any) -> tuple[Path, Reading]:
    """As a beamline writes it: darks and whites before, between and after, an alignment and an invalid frame."""
    from nxtomo.application.nxtomo import NXtomo
    from pint import get_application_registry

    white, dark, data = COUNTS["data_white"], COUNTS["data_dark"], COUNTS["data"]
    nothing = np.full_like(data[:1], 9e9)
    frames = np.concatenate([dark, white[:1], data[:7], nothing, data[7:], white[1:], nothing])
    keys = np.array([2, 2, 1, *[0] * 7, 3, *[0] * (ANGLES - 7), 1, -1])
    angles = np.concatenate([[0, 0, 0], THETA[:7], [500], THETA[7:], [0, 0]])
    scan = NXtomo()
    scan.title = "a tooth"
    scan.instrument.detector.data = changes.get("frames", frames)
    scan.instrument.detector.image_key_control = changes.get("keys", keys)
    scan.sample.rotation_angle = changes.get("angles", angles) * get_application_registry().degree
    if "half" in changes:
        scan.instrument.detector.half_acquisition = True
    for entry in changes.get("entries", ["entry0000"]):
        scan.save(str(folder / "scan.nx"), f"/{entry}")
    return folder / "scan.nx", Reading()


FORMATS: dict[str, tuple[Callable[[Path], tuple[Path, Reading]], str]] = {
    "TIFF folder": (tiff_folder, "TIFF"),
    "TIFF pages": (tiff_pages, "TIFF"),
    "TIFF sinograms": (tiff_sinograms, "TIFF"),
    "npy": (npy, "NumPy"),
    "npy, transmission, turned": (npy_transmission, "NumPy"),
    "npz": (npz, "NumPy"),
    "Matlab": (matlab, "Matlab"),
    "Matlab 7.3": (matlab73, "Matlab"),
    "Zarr group": (zarr_group, "Zarr"),
    "Zarr array": (zarr_array, "Zarr"),
    "HDF5 dataset": (plain_hdf5, "HDF5"),
    "NXtomo": (nxtomo, "NXtomo"),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("row", [0, 2])
def test_every_format_is_the_same_scan(name: str, row: int, tmp_path: Path) -> None:
    make, called = FORMATS[name]
    path, reading = make(tmp_path)
    scan = open_projections(path, reading)
    assert (scan.format, scan.rows, scan.detectors) == (called, ROWS, DETECTORS)
    found = scan.slice(row)
    np.testing.assert_allclose(found.sinogram, THICKNESS[:, row], rtol=0, atol=2e-5)
    assert np.abs(found.sinogram - THICKNESS[:, 1]).max() > 0.1
    np.testing.assert_allclose(found.angles, np.deg2rad(THETA), rtol=0, atol=1e-12)
    assert found.sinogram.dtype == np.float32 and (found.clipped, found.dead_detectors) == (0, 0)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_slices_one_after_the_other_are_those_alone(name: str, at_once: int, tmp_path: Path) -> None:
    scan = open_projections(*FORMATS[name][0](tmp_path))
    found = list(scan.slices(0, ROWS, at_once))
    assert [one.slice for one in found] == [0, 1, 2]
    for one in found:
        alone = scan.slice(one.slice)
        np.testing.assert_array_equal(one.sinogram, alone.sinogram)
        assert one.info["sha256_of_slice"] == alone.info["sha256_of_slice"]


def test_a_single_sinogram_is_a_scan_of_one_row(tmp_path: Path) -> None:
    np.save(tmp_path / "sinogram.npy", INTEGRALS[:, 1])
    scan = open_projections(tmp_path / "sinogram.npy", Reading(theta="0:180"))
    assert scan.rows == 1
    np.testing.assert_array_equal(scan.slice(0).sinogram, INTEGRALS[:, 1])
    np.save(tmp_path / "counts.npy", COUNTS["data"][:, 1])
    for name in ("white", "dark"):
        np.save(tmp_path / f"{name}.npy", COUNTS[f"data_{name}"][:, 1])
    reading = Reading(theta="0:180", white=tmp_path / "white.npy", dark=tmp_path / "dark.npy")
    corrected = read_scan(tmp_path / "counts.npy", 0, reading)
    np.testing.assert_allclose(corrected.sinogram, THICKNESS[:, 1], rtol=0, atol=2e-5)


def test_what_is_said_goes_before_what_the_file_says(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5")
    np.save(tmp_path / "white.npy", 2 * COUNTS["data_white"])
    scan = read_scan(path, 0, Reading(theta="10:370", white=tmp_path / "white.npy"))
    np.testing.assert_allclose(scan.angles, np.deg2rad(10 + 360 * np.arange(ANGLES) / ANGLES))
    assert scan.sinogram.mean() > THICKNESS[:, 0].mean() + 0.5  # about log 2 more
    raw = read_scan(path, 0, Reading(values="line-integrals"))
    np.testing.assert_allclose(raw.sinogram, COUNTS["data"][:, 0], rtol=1e-6)


def test_files_of_a_stack_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["v10.tif", "v2.tif", "v1.tif", "v100.TIF", "v2b.tiff", ".v0.tif", "readme.md"]
    for name in names:
        (tmp_path / name).touch()
    found = [file.name for file in tiff_files(tmp_path)]
    assert found == ["v1.tif", "v2.tif", "v2b.tiff", "v10.tif", "v100.TIF"] != sorted(found)


def test_angles_may_come_from_windows(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", INTEGRALS)
    (tmp_path / "theta.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(str, THETA)).encode())
    scan = open_projections(tmp_path / "scan.npy", Reading(theta=str(tmp_path / "theta.txt")))
    np.testing.assert_allclose(scan.angles, np.deg2rad(THETA))


def test_of_several_nxtomo_scans_one_is_named(tmp_path: Path) -> None:
    path, _ = nxtomo(tmp_path, entries=["first", "second"])
    with pytest.raises(ValueError, match=r"has the scans first, second\. Pick one with --dataset"):
        open_projections(path)
    with pytest.raises(ValueError, match=r"third isn't one of them"):
        open_projections(path, Reading(dataset="third"))
    scan = open_projections(path, Reading(dataset="second"))
    assert (scan.info["entry"], scan.info["title"], scan.info["frames_left_out"]) == ("/second", "a tooth", 2)


def saved(name: str, values: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / name, values)
        return folder / name

    return make


def text(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / name

    return make


def npz_of(**arrays: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "scan.npz", **arrays)
        return folder / "scan.npz"

    return make


def tiff_of(image: Any, name: str = "scan.tif", **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        tifffile.imwrite(folder / name, image, **options)
        return folder / name

    return make


def stack_of(*images: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "stack").mkdir()
        for number, image in enumerate(images):
            tifffile.imwrite(folder / "stack" / f"{number}.tif", image)
        return folder / "stack"

    return make


def linked(link: Any) -> Callable[[Path], Path]:
    """A scan whose projections are a link."""

    def make(folder: Path) -> Path:
        path = write(folder / "linked.h5")
        with h5py.File(path, "r+") as file:
            del file["exchange/data"]
            file["exchange/data"] = link
        return path

    return make


def virtual(folder: Path, kept: int) -> Path:
    """A scan whose projections lie in two files beside it, as a fast detector writes them."""
    half, layout = ANGLES // 2, h5py.VirtualLayout(COUNTS["data"].shape, "f4")
    for number in range(2):
        part = COUNTS["data"][number * half : (number + 1) * half]
        if number < kept:
            with h5py.File(folder / f"raw_{number}.h5", "x") as file:
                file["frames"] = part
        source = h5py.VirtualSource(f"raw_{number}.h5", "frames", part.shape)
        layout[number * half : (number + 1) * half] = source
    path = write(folder / "virtual.h5")
    with h5py.File(path, "r+") as file:
        del file["exchange/data"]
        file.create_virtual_dataset("exchange/data", layout)
    return path


def test_a_scan_in_several_files_is_read_where_all_are_there(tmp_path: Path) -> None:
    np.testing.assert_allclose(read_scan(virtual(tmp_path, kept=2)).sinogram, THICKNESS[:, 0], rtol=0, atol=2e-5)


def test_a_dataset_may_be_named_by_a_link(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", group="entry")
    with h5py.File(path, "r+") as file:
        file["data/data"] = h5py.SoftLink("/entry/data")
    reading = Reading(theta="0:180", dataset="data/data", values="line-integrals")
    np.testing.assert_array_equal(read_scan(path, 1, reading).sinogram, COUNTS["data"][:, 1])


def test_what_is_said_need_not_be_in_a_data_exchange_file(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5")
    expected = read_scan(path, 1).sinogram
    for name in ("theta", "data_white", "data_dark"):
        with h5py.File(path, "r+") as file:
            del file[f"exchange/{name}"]
    reading = Reading(theta="0:180", **fields(tmp_path, ".npy"))
    np.testing.assert_allclose(read_scan(path, 1, reading).sinogram, expected, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match=r"lacks exchange/data_white .* or pass it: theta=, white=, dark="):
        read_scan(path, 1, Reading(theta="0:180"))


def test_transmissions_are_not_divided_by_the_beam_again(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        file["exchange/data"][...] = np.exp(-THICKNESS)
    found = read_scan(path, 1, Reading(values="transmission")).sinogram
    np.testing.assert_allclose(found, THICKNESS[:, 1], rtol=0, atol=2e-5)


GOOD = Reading(theta="0:180")
WHOLE = np.round(1000 * np.exp(-INTEGRALS)).astype(np.uint16)
REFUSED: dict[str, tuple[Callable[[Path], Path], Reading, str]] = {
    "no such format": (text("scan.dat", "1 2 3"), GOOD, "ends in .dat, none of the formats read here: Data Exchange"),
    "no suffix": (text("scan", "1 2 3"), GOOD, "ends in nothing, none of the formats"),
    "an empty folder": (lambda folder: folder, GOOD, "is a folder without TIFF files"),
    "no angles": (saved("a.npy", INTEGRALS), Reading(), "holds 20 projections and no angles. Pass --theta with a file"),
    "angles of others": (npz_of(data=INTEGRALS, theta=THETA[1:]), Reading(), "has 19 angles for 20 projections"),
    "degrees as angles": (npz_of(data=INTEGRALS, theta=np.deg2rad(THETA)), Reading(), "so these are radians"),
    "no range": (saved("a.npy", INTEGRALS), Reading(theta="0:pi"), "theta='0:pi' isn't a range of degrees"),
    "a range of radians": (saved("a.npy", INTEGRALS), Reading(theta="0:3.14"), "so these are radians"),
    "no width": (saved("a.npy", INTEGRALS), Reading(theta="9:9"), "theta='9:9' isn't a range of degrees"),
    "no file of angles": (saved("a.npy", INTEGRALS), Reading(theta="gone.txt"), "neither a file nor a range such as"),
    "counts without white": (saved("a.npy", INTEGRALS), Reading(theta="0:180", values="counts"), "no white fields"),
    "whole numbers": (saved("a.npy", WHOLE), GOOD, r"holds whole numbers \(uint16\): counts, not line integrals"),
    "no such values": (saved("a.npy", INTEGRALS), Reading(theta="0:180", values="grey"), "values='grey' isn't known"),
    "NaN": (saved("a.npy", np.full((9, 8), np.nan)), GOOD, "has 72 NaN or infinite values of 72"),
    "four axes": (saved("a.npy", np.zeros((2, 3, 4, 5))), GOOD, "has 4 dimensions; projections have 3"),
    "axes of others": (saved("a.npy", INTEGRALS), Reading(theta="0:180", axes="x,y,z"), "axes='x,y,z' aren't those of"),
    "axes twice": (saved("a.npy", INTEGRALS), Reading(theta="0:180", axes="rows,rows,angles"), "aren't those of"),
    "no rows": (saved("a.npy", np.zeros((9, 0, 8), np.float32)), GOOD, r"is empty: shape \(9, 0, 8\)"),
    "pickled": (saved("a.npy", np.array([{}, 1], object)), GOOD, r"can't be read as \.npy"),
    "cut off": (text("a.npy", b"\x93NUMPY\x01\x00"), GOOD, r"can't be read as \.npy"),
    "npz of nothing": (text("a.npz", b"PK\x03\x04"), GOOD, r"can't be read as \.npz"),
    "which array": (npz_of(a=INTEGRALS, b=INTEGRALS), GOOD, r"holds a \(20, 3, 32\), b .*: which are the projections"),
    "no such array": (npz_of(a=INTEGRALS), Reading(theta="0:180", dataset="c"), r"has no array c, only a \(20, 3, 32"),
    "no numbers": (npz_of(words=np.array(["a"])), GOOD, r"holds words \(1,\)"),
    "Matlab of nothing": (text("a.mat", b"MATLAB 5.0" + bytes(200)), GOOD, r"can't be read as \.mat"),
    "Zarr of nothing": (text("a.zarr", b"nothing"), GOOD, r"can't be read as \.zarr"),
    "a photograph": (tiff_of(np.zeros((9, 8, 3), np.uint8), photometric="rgb"), GOOD, r"is in colour \(3 samples"),
    "TIFF of nothing": (text("a.tif", b"MM\x00*"), GOOD, "isn't a TIFF file, or a damaged one"),
    "stack of sizes": (
        stack_of(INTEGRALS[0], INTEGRALS[0, :2]),
        GOOD,
        r"1.tif holds float32 of \(2, 32\) pixels, 0.tif",
    ),
    "stack of stacks": (stack_of(INTEGRALS), GOOD, r"a file of a stack holds one grey image"),
    "field of others": (
        saved("a.npy", INTEGRALS),
        Reading(theta="0:180", white=Path("field.npy")),
        r"has \(3, 9\) \(ro",
    ),
    "field of no format": (
        saved("a.npy", INTEGRALS),
        Reading(theta="0:180", white=Path("field.txt")),
        "isn't read as f",
    ),
    "no field": (saved("a.npy", INTEGRALS), Reading(theta="0:180", dark=Path("gone.npy")), "gone.npy doesn't exist"),
    "axes of Data Exchange": (
        lambda folder: write(folder / "a.h5"),
        Reading(axes="rows,angles,detectors"),
        "has its axes",
    ),
    "no such dataset": (
        lambda folder: write(folder / "a.h5", group="entry"),
        Reading(theta="0:180", dataset="entry/none"),
        r"has no dataset 'entry/none'; it holds entry/data \(20, 3, 32\)",
    ),
    "complex numbers": (saved("a.npy", INTEGRALS.astype(complex)), GOOD, "a.npy holds complex128, not real numbers"),
    "a mask": (saved("a.npy", INTEGRALS > 0), GOOD, "a.npy holds bool, not real numbers"),
    "a text for Matlab": (text("a.mat", "1 2 3"), GOOD, r"can't be read as \.mat \(Mat file appears to be truncated"),
    "angles of a complex kind": (
        saved("a.npy", INTEGRALS),
        Reading(theta="complex.npy"),
        r"isn't a list of numbers \(it holds complex128\)",
    ),
    "fields for what is divided": (
        saved("a.npy", INTEGRALS),
        Reading(theta="0:180", values="transmission", white=Path("field.npy")),
        "values='transmission' with white or dark fields can't be: those are divided by the beam already",
    ),
    "a link to a file left behind": (
        linked(h5py.ExternalLink("raw.h5", "/frames")),
        Reading(),
        r"data is a link to raw.h5: /frames, which isn't there\. Copy the file it leads to beside it",
    ),
    "a link to nothing": (
        linked(h5py.SoftLink("/entry/raw")),
        Reading(theta="0:180", dataset="exchange/data"),
        "exchange/data is a link to /entry/raw, which isn't there",
    ),
    "files left behind": (
        lambda folder: virtual(folder, kept=1),
        Reading(),
        r"exchange/data is put together from 2 other files, and 1 of them can't be found: raw_1\.h5\. Copy them",
    ),
    "half acquisition": (lambda folder: nxtomo(folder, half=True)[0], Reading(), "is a half acquisition"),
    "no dark frames": (
        lambda folder: nxtomo(folder, keys=np.array([1, 1, 1] + [0] * 23))[0],
        Reading(),
        r"no dark fields \(2\) among the image keys of its 26 frames",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_scan_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reading, message = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path)
    np.save("field.npy", np.ones((2, 3, 9)))
    np.save("complex.npy", THETA.astype(complex))
    Path("field.txt").write_text("1 1 1")
    with pytest.raises((ValueError, OSError), match=message) as caught:
        read_scan(path, 0, reading)
    assert "\n" not in str(caught.value)


def test_without_zarr_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.zarr").mkdir()
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ValueError, match=r"zarr isn't installed\. `pip install zarr`"):
        read_scan(tmp_path / "scan.zarr", 0, GOOD)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_of_a_stack_only_the_row_is_read_where_it_can_be(
    compression: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stack_of(*COUNTS["data"])(tmp_path)
    for number, image in enumerate(COUNTS["data"]):
        tifffile.imwrite(path / f"{number}.tif", image, compression=compression)
    whole: list[Any] = []
    read = tifffile.imread
    monkeypatch.setattr(tifffile, "imread", lambda *arguments: whole.append(arguments) or read(*arguments))
    frames = open_projections(path, Reading(theta="0:180", values="line-integrals")).data
    np.testing.assert_array_equal(frames.read(1, 2), COUNTS["data"][:, 1:2])
    assert len(whole) == (0 if compression is None else ANGLES)
