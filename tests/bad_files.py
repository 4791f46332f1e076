"""The folder of test_bad_inputs.py: a good scan and its runs, and everything that may be wrong with them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from asyncred_gpu.checkpoint import sweeps_in
from asyncred_gpu.cli.main import main
from asyncred_gpu.models import save_weights
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime

from .helpers import small_network
from .test_reconstruct_script import write_scan

Snapshot = dict[str, tuple[int, int, str] | None]


def snapshot(folder: Path) -> Snapshot:
    """Of everything in the folder: size, time and checksum of a file, None for a folder."""
    found: Snapshot = {}
    for path in sorted(folder.rglob("*")):
        about = path.stat()
        content = None if path.is_dir() else path.read_bytes()
        sum_of = None if content is None else (about.st_size, about.st_mtime_ns, hashlib.sha256(content).hexdigest())
        found[str(path.relative_to(folder))] = sum_of
    return found


def make_files(folder: Path) -> Path:
    """Fill the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("asyncred_gpu.solver.CpuRuntime", _in_this_process)
        write_scan(Path("scan.h5"), center=51.5)
        save_weights(small_network(), Path("small.safetensors"), {})
        _files()
        _scans()
        _settings()
        _folders()
        _runs()
        _volumes()
    return folder


def _in_this_process(setup: Any, workers: int, image: Any, spares: Any = None, first_core: Any = None) -> Any:
    return SimulatedRuntime(setup, workers, image, RandomOrder(0))


def _cut(name: str, other: str, share: float = 0.5) -> None:
    content = Path(name).read_bytes()
    Path(other).write_bytes(content[: int(share * len(content))])


def _files() -> None:
    """Of the wrong kind, or damaged."""
    garbage = np.random.default_rng(0)
    Path("empty.h5").touch()
    Path("garbage.h5").write_bytes(garbage.bytes(5000))
    for name in ("text.h5", "text.tif", "text.npy", "text.mat", "notes.txt"):
        Path(name).write_text("a text, no scan")
    _cut("scan.h5", "cut.h5", 0.3)
    _cut("small.safetensors", "cut.safetensors")
    shutil.copy("small.json", "cut.json")
    integrals = garbage.random((64, 96), np.float32)
    tifffile.imwrite("whole.tif", integrals)
    _cut("whole.tif", "cut.tif")
    tifffile.imwrite("photo.tif", np.zeros((9, 8, 3), np.uint8), photometric="rgb")
    np.savez("damaged.npz", data=integrals)
    content = bytearray(Path("damaged.npz").read_bytes())
    content[3000] ^= 255
    Path("damaged.npz").write_bytes(content)
    np.save("objects.npy", np.array([{}, 1], object))
    np.save("start.npy", np.zeros((9, 9)))
    np.save("counts.npy", garbage.integers(200, 1000, (64, 96), np.uint16))
    Path("angles.txt").write_text("0\n60\n120\n")


def _scans() -> None:
    """Data Exchange files each with something wrong in it, and a volume of four slices."""
    with h5py.File("scan.h5") as file:
        good: dict[str, Any] = {name: values[...] for name, values in file["exchange"].items()}

    def scan(name: str, **changes: Any) -> None:
        with h5py.File(f"{name}.h5", "x") as file:
            for each, values in (good | changes).items():
                if values is not None:
                    file[f"exchange/{each}"] = values

    data, theta = good["data"], good["theta"]
    with_nan, theta_with_nan, changed = data.copy(), theta.copy(), data.copy()
    with_nan[3, 0, 5] = theta_with_nan[7] = np.nan
    changed[3, 0, 40] += 1
    scan("no-white", data_white=None)
    scan("no-theta", theta=None)
    scan("short-theta", theta=theta[:-1])
    scan("still-theta", theta=0 * theta)
    scan("nan-theta", theta=theta_with_nan)
    scan("radians", theta=np.deg2rad(theta))
    scan("furlongs")
    scan("nan", data=with_nan)
    scan("negative", data=-data)
    scan("constant", data=np.full_like(data, 600))
    scan("complex", data=data.astype(complex))
    scan("words", data=np.full(data.shape, b"a"))
    scan("zero-white", data_white=0 * good["data_white"])
    scan("narrow-white", data_white=good["data_white"][..., 1:])
    scan("link", data=h5py.ExternalLink("raw.h5", "/frames"))
    scan("virtual", data=None)
    scan("changed", data=changed)
    with h5py.File("furlongs.h5", "r+") as file:
        file["exchange/theta"].attrs["units"] = "furlongs"
    with h5py.File("virtual.h5", "r+") as file:
        layout = h5py.VirtualLayout(data.shape, data.dtype)
        layout[:] = h5py.VirtualSource("raw.h5", "frames", data.shape)
        file.create_virtual_dataset("exchange/data", layout)
    with h5py.File("plain.h5", "x") as file:
        file["entry/data"] = data
    integrals = np.log(1000 / (data - 90)).astype(np.float32)
    np.save("sinograms.npy", np.repeat(integrals, 4, axis=1))
    np.save("changed.npy", np.repeat(integrals, 4, axis=1) * np.float32(1.01))


def _settings() -> None:
    for name, text in {
        "list": "- tau\n- sweeps\n",
        "open": "block: [1, 2\n",
        "twice": "tau: 0.1\ntau: 0.2\n",
        "typo": "tua: 0.1\n",
        "compare": "problem: cs\n",
        "value": "sweeps: many\n",
    }.items():
        Path(f"{name}.yaml").write_text(text)


def _folders() -> None:
    """Of other things, and of images to train with."""
    for name in ("mine", "mine-too", "no-images", "junk", "images", "stack"):
        Path(name).mkdir()
    Path("mine/precious.txt").write_text("precious")
    Path("mine-too/dncnn_sigma5.safetensors").write_text("precious")
    Path("junk/a.png").write_text("no image")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save("images/a.png")
    for number in range(10):
        tifffile.imwrite(f"stack/{number}.tif", np.zeros((4 if number == 9 else 5, 96), np.float32))


def _made(words: str) -> None:
    assert main(["reconstruct", *words.split(), "--device", "cpu", "--quiet"]) == 0


def _like(run: str, name: str) -> Path:
    shutil.copytree(run, name)
    return Path(name)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _runs() -> None:
    """One that keeps a checkpoint and one that has ended, and what may have become of them."""
    common = "scan.h5 --size 64 --denoiser small.safetensors --method paper --center 51.5 --workers 1"
    for limit in ("0.1", "2", "20"):  # on a busy machine a sweep may take a while
        _made(f"{common} --sweeps 9999 --time-limit {limit} --checkpoint-every 1 --output whole-run")
        if (sweeps_in(Path("whole-run/checkpoint")) or 0) > 2:
            break
        shutil.rmtree("whole-run")
    _made(f"{common} --sweeps 1 --output finished")
    Path("run").mkdir()
    for name in ("checkpoint", "settings.yaml", "reconstruction.tif", "run.json"):
        shutil.copy(f"whole-run/{name}", "run")
    shutil.rmtree("whole-run")
    (Path("finished") / "report.html").unlink()
    for name, change in CHECKPOINTS.items():
        change(_like("run", name))
    for name, change in RECORDS.items():
        change(_like("finished", name))


def _later(run: Path) -> None:
    """A checkpoint of a version to come."""
    with np.load(run / "checkpoint") as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta"))) | {"format": 99}
    with (run / "checkpoint").open("wb") as stream:
        np.savez(stream, meta=json.dumps(meta), **arrays)


CHECKPOINTS: dict[str, Callable[[Path], Any]] = {
    "no-checkpoint": lambda run: (run / "checkpoint").unlink(),
    "empty-checkpoint": lambda run: (run / "checkpoint").write_bytes(b""),
    "cut-checkpoint": lambda run: _cut(f"{run}/checkpoint", f"{run}/checkpoint"),
    "garbage-checkpoint": lambda run: (run / "checkpoint").write_bytes(b"garbage" * 999),
    "later-checkpoint": _later,
    "changed-data": lambda run: _replace(run / "settings.yaml", "scan.h5", "changed.h5"),
    "gone-data": lambda run: _replace(run / "settings.yaml", "scan.h5", "gone.h5"),
    "changed-settings": lambda run: _replace(run / "settings.yaml", "tau: 0.05", "tau: 0.07"),
    "changed-size": lambda run: _replace(run / "settings.yaml", "size: 64", "size: 48"),
    "no-settings": lambda run: (run / "settings.yaml").write_text("# asyncred_gpu\n"),
}
RECORDS: dict[str, Callable[[Path], Any]] = {
    "damaged-record": lambda run: _cut(f"{run}/run.json", f"{run}/run.json"),
    "other-record": lambda run: (run / "run.json").write_text('{"method": "gcv"}'),
    "no-history": lambda run: (run / "history.csv").unlink(),
    "empty-history": lambda run: (run / "history.csv").write_text(""),
    "cut-image": lambda run: _cut(f"{run}/reconstruction.tif", f"{run}/reconstruction.tif"),
}


def _volumes() -> None:
    """A finished volume, and what may have become of it before its last slice was made."""
    common = "sinograms.npy --theta 0:180 --center 47.5 --size 64 --denoiser small.safetensors --method paper --tau 0.1"
    _made(f"{common} --workers 1 --sweeps 1 --slices 0:2 --output volume")
    for name in ("changed-volume", "damaged-volume", "other-volume"):
        run = _like("volume", name)
        (run / "slices" / "slice_00001.tif").unlink()
        (run / "run.json").unlink()
    _replace(Path("changed-volume/settings.yaml"), "sinograms.npy", "changed.npy")
    _cut("damaged-volume/slices/slice_00000.tif", "damaged-volume/slices/slice_00000.tif", 0.01)
    _replace(Path("other-volume/settings.yaml"), "tau: 0.1", "tau: 0.2")
