"""scripts/reconstruct_ct.py from end to end on small problems, and every input it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from asyncred_gpu.cli.main import main as asyncred
from asyncred_gpu.config.read import make_settings
from asyncred_gpu.config.settings import ReconstructSettings
from asyncred_gpu.experiments import retina_image
from asyncred_gpu.metrics import snr
from asyncred_gpu.models import save_weights
from asyncred_gpu.operators.radon import project

from .helpers import SHARED, needs, small_network

SCRIPT = Path(__file__).parents[1] / "scripts" / "reconstruct_ct.py"
WRITTEN = {
    "comparison.png",
    "convergence.png",
    "fbp.tif",
    "history.csv",
    "reconstruction.tif",
    "report.html",
    "timeline.csv",
    "reference.tif",
    "schedule.npz",
    "run.json",
    "settings.yaml",
}
SMALL = ("--size", "64", "--angles", "48", "--sweeps", "3", "--workers", "1")


def main(words: Sequence[str]) -> int:
    return asyncred(["reconstruct", *words])


@pytest.fixture
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Options for a network that is quick."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(small_network(), path, {})
    return "--denoiser", str(path)


def started(arguments: Sequence[str], folder: Path, **options: Any) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, **options)


def ran(arguments: Sequence[str], folder: Path) -> tuple[int, str, str]:
    process = started(arguments, folder)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def write_scan(path: Path, center: float) -> Path:
    """A made-up measurement: 64 views of a disc of retina by 96 detectors, 1000 counts in the beam."""
    image = retina_image(64) * (np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 30) * 0.05
    angles = np.arange(64) * np.pi / 64
    line_integrals = project(image, angles, 96, center=center)
    noise = 3 * np.random.default_rng(0).standard_normal(line_integrals.shape)
    with h5py.File(path, "x") as file:
        file["exchange/data"] = (1000 * np.exp(-line_integrals) + 100 + noise)[:, None]
        file["exchange/data_white"] = np.full((2, 1, 96), 1100.0)
        file["exchange/data_dark"] = np.full((2, 1, 96), 100.0)
        file["exchange/theta"] = np.rad2deg(angles)
    return path


def test_a_simulated_scan_from_end_to_end(tmp_path: Path) -> None:
    status, out, err = ran([*SMALL, "--order", "ordered"], tmp_path)
    assert (status, err) == (0, "")
    (folder,) = (tmp_path / "outputs").iterdir()
    assert {path.name for path in folder.iterdir()} == WRITTEN
    assert f"results in {folder.relative_to(tmp_path)}" in out
    image, fbp, reference = (tifffile.imread(folder / f"{name}.tif") for name in ("reconstruction", "fbp", "reference"))
    np.testing.assert_array_equal(reference, retina_image(64))
    scores = json.loads((folder / "run.json").read_text())["result"]["scores"]
    assert scores["Async-RED"]["snr_db"] == pytest.approx(snr(image, reference), abs=1e-6)
    assert scores["FBP"]["snr_db"] == pytest.approx(snr(fbp, reference), abs=1e-6)
    assert scores["Async-RED"]["snr_db"] > scores["FBP"]["snr_db"] + 0.2
    history = list(csv.DictReader((folder / "history.csv").open()))
    assert float(history[-1]["sweep"]) == 3
    assert float(history[-1]["snr"]) == pytest.approx(snr(image, reference), abs=1e-3)


def test_a_measured_scan_from_end_to_end(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.h5", center=51.5)
    options = ["--input", str(scan), "--every", "2", "--size", "64", "--sweeps", "6", "--workers", "1"]
    assert main([*options, "--output", str(tmp_path / "run"), "--quiet"]) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == WRITTEN - {"reference.tif"}
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert abs(settings["problem"]["center"] - 51.5) <= 0.5 < 51.5 - 95 / 2
    assert len(settings["problem"]["sha256_of_slice"]) == 64
    scores = settings["result"]["scores"]
    assert scores["Async-RED"]["prediction_error"] < scores["FBP"]["prediction_error"]
    outside = np.hypot(*(np.mgrid[:64, :64] - 31.5)) > 32
    assert not tifffile.imread(tmp_path / "run" / "reconstruction.tif")[outside].any()


def test_a_barrier_can_be_asked_for(tmp_path: Path, denoiser: tuple[str, str]) -> None:
    options = [*SMALL, *denoiser, "--order", "sync", "--quiet"]
    assert main([*options, "--output", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["solver"]["order"] == "sync"


def test_its_settings_repeat_a_run(tmp_path: Path, denoiser: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    scan = write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    options = ["scan.h5", "--size", "64", "--sweeps", "2", "--workers", "2", "--order", "ordered", "--block", "20x32"]
    assert main([*options, *denoiser, "--output", "first", "--quiet"]) == 0
    monkeypatch.chdir(scan.parent.parent)  # its paths hold from anywhere
    again = ["--config", str(tmp_path / "first" / "settings.yaml"), "--output", str(tmp_path / "again"), "--quiet"]
    assert main(again) == 0
    one, two = (tifffile.imread(tmp_path / name / "reconstruction.tif") for name in ("first", "again"))
    np.testing.assert_array_equal(one, two)
    first, second = ((tmp_path / name / "settings.yaml").read_text() for name in ("first", "again"))
    assert first == second
    assert main([*again[:3], str(tmp_path / "other"), "--quiet", "--seed", "1"]) == 0
    assert not np.array_equal(one, tifffile.imread(tmp_path / "other" / "reconstruction.tif"))


def test_what_was_left_to_the_method_is_said(tmp_path: Path, denoiser: tuple[str, str]) -> None:
    """In full in run.json; for people in settings.yaml, which doesn't set it."""
    for name, more, note, solver in (
        ("fast", [], "step preconditioned, momentum 0.5, data_updates 3, continuation by the start", (3, 4.0)),
        ("given", ["--data-updates", "0", "--step", "block"], "momentum 0.8, continuation by the start", (0, None)),
        ("paper", ["--method", "paper"], "step theory, momentum 0.0, data_updates 0, continuation 1.0", (0, 1.0)),
    ):
        run = tmp_path / name
        assert main([*SMALL, *denoiser, *more, "--block", "16", "--output", str(run), "--quiet"]) == 0
        text = (run / "settings.yaml").read_text()
        method = "paper" if name == "paper" else "fast"
        assert text.splitlines()[1] == f"# Left to method {method}: {note}; run.json has all as it was."
        record = json.loads((run / "run.json").read_text())["solver"]
        assert record["data_updates"] == solver[0]
        assert record["continuation"] == solver[1] or (solver[1] is None and record["continuation"] >= 1)
        assert record["step"] == {"fast": "preconditioned", "given": "block", "paper": "theory"}[name]
        assert f'"data_updates":{record["data_updates"]}' in (run / "report.html").read_text().replace('": ', '":')
        settings = make_settings(ReconstructSettings, {}, run / "settings.yaml")
        assert (settings.continuation, settings.momentum) == (None, None)
        assert (settings.step, settings.data_updates) == (("block", 0) if name == "given" else (None, None))


@needs("tooth.h5")
def test_the_real_scan_predicts_what_was_left_out_better_than_fbp(tmp_path: Path) -> None:
    options = ["--input", str(SHARED / "tooth.h5"), "--every", "2", "--sweeps", "3", "--quiet"]
    assert main([*options, "--output", str(tmp_path / "run")]) == 0
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert abs(settings["problem"]["center"] - 296) <= 2
    scores = settings["result"]["scores"]
    assert scores["Async-RED"]["prediction_error"] < 0.9 * scores["FBP"]["prediction_error"]


def test_nothing_is_overwritten(tmp_path: Path, denoiser: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMALL, *denoiser, "--output", str(tmp_path / "run")]
    assert main(arguments) == 0
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir()}
    capsys.readouterr()
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "run holds 11 files already" in err and "nothing is overwritten" in err
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_gives_the_image_so_far(number: int, tmp_path: Path, denoiser: tuple[str, str]) -> None:
    process = started(
        [*SMALL[:-4], "--sweeps", "100000", "--workers", "2", "--output", "run", *denoiser],
        tmp_path,
        start_new_session=True,
    )
    assert process.stdout is not None
    while "updates/s" not in process.stdout.readline():
        assert process.poll() is None
    # Ctrl-C as a terminal does it: the workers get it too. A batch system's SIGTERM is for the parent.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    begun = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted: the image so far is in run.\n"
    assert time.monotonic() - begun < 20
    assert {path.name for path in (tmp_path / "run").iterdir()} == WRITTEN
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    image, reference = (tifffile.imread(tmp_path / "run" / f"{name}.tif") for name in ("reconstruction", "reference"))
    assert record["result"]["status"] == "INTERRUPTED"
    assert record["result"]["scores"]["Async-RED"]["snr_db"] == pytest.approx(snr(image, reference), abs=1e-6)


def test_interrupted_before_it_begins_it_leaves_nothing_behind(tmp_path: Path, denoiser: tuple[str, str]) -> None:
    process = started(["--size", "2048", *denoiser], tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("outputs/*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("interrupted: the workers have ended; what was written before stays.\n")
    assert "sweep" not in out and list(tmp_path.iterdir()) == []


def test_a_run_that_diverged_says_so_even_if_it_is_to_be_quiet(
    tmp_path: Path, denoiser: tuple[str, str], capsys: Any
) -> None:
    words = [*SMALL, *denoiser, "--step", "1e9", "--output", str(tmp_path / "run"), "--quiet"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert (
        out == "" and err.startswith("error: The run diverged: ") and err.endswith(f" It is in {tmp_path / 'run'}.\n")
    )
    assert np.isfinite(tifffile.imread(tmp_path / "run" / "reconstruction.tif")).all()


REFUSED: dict[str, tuple[list[str], str]] = {
    "no sweeps": (["--sweeps", "0"], "--sweeps: 0 is out of range, it takes more than 0"),
    "no pixels": (["--size", "0"], "--size: 0 is too small, it takes 1 or more"),
    "few pixels": (["--size", "9"], "--size 9 leaves nothing of the retina to see. Pass 32 to 16384"),
    "overflow": (["--size", "99999999999"], "--size: 99999999999 is too large, it takes less than 2^31"),
    "words for a number": (["--angles", "many"], "--angles: 'many' isn't a whole number, 1 or more"),
    "negative weight": (["--tau", "-1"], "--tau: -1 is out of range, it takes more than 0"),
    "NaN": (["--noise-db", "nan"], "--noise-db: nan isn't finite"),
    "no block": (["--block", "3x"], "--block: '3x' isn't a block, such as 200x200 or 200"),
    "large block": (["--block", "65x10"], "--block 65x10 is larger than the image"),
    "no device": (["--device", "cuda:7"], "--device cuda:7 can't be used"),
    "unknown device": (
        ["--device", "abacus"],
        "--device: 'abacus' can't be, it takes auto, cpu, cuda, cuda:N, or several",
    ),
    "many workers": (["--workers", "70", "--block", "8"], "70 workers × 1 blocks a launch are 70 updates in flight"),
    "stale": (["--workers", "3", "--max-staleness", "1"], "--max-staleness 1 cannot hold for 3 workers"),
    "large minibatch": (["--minibatch", "49"], "--minibatch 49 is more than the 48 measurements"),
    "momentum": (["--momentum", "1"], "--momentum 1.0 can't be. Pass a number >= 0 and < 1"),
    "every": (["--every", "40"], "--every 40 keeps too little of 48 projections"),
    "centre": (["--center", "1000"], "--center 1000.0 isn't on the detector"),
    "centre of a simulation": (["--center", "auto"], "--center auto is for a measured scan"),
    "slice of a simulation": (["--slice", "1"], "--slice is for a measured scan. Pass --input FILE"),
    "step": (["--step", "fast"], "--step: 'fast' isn't a number, nor preconditioned or block or global or theory"),
    "scale": (["--intensity-scale", "0"], "--intensity-scale: 0 is out of range, it takes more than 0"),
    "order": (["--order", "sideways"], "--order: 'sideways' isn't known, it takes one of free, ordered, sync"),
    "unknown option": (["--colour"], "No such option '--colour'"),
    "no denoiser": (["--denoiser", "absent.npz"], "--denoiser absent.npz is neither a shipped denoiser"),
    "sigma": (["--denoiser", "dncnn", "--sigma", "77"], "'dncnn' has no weights for --sigma 77"),
    "no input": (["--input", "absent.h5"], "absent.h5 doesn't exist"),
    "noise on a measurement": (["--input", "absent.h5", "--noise-db", "3"], "--noise-db shape the simulated scan"),
    "no such place": (["--output", "/proc/asyncred/run"], "can't be made"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_before_work_starts(
    kind: str,
    tmp_path: Path,
    denoiser: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, message = REFUSED[kind]
    monkeypatch.chdir(tmp_path)
    base = [] if "--input" in arguments else SMALL
    status = main([*base, *denoiser, *arguments])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_has_no_traceback(tmp_path: Path, denoiser: tuple[str, str]) -> None:
    (tmp_path / "scan.h5").write_bytes(b"no scan" * 100)
    status, out, err = ran(["--input", "scan.h5", *denoiser], tmp_path)
    assert (status, out) == (2, "")
    assert err.startswith("error: scan.h5 isn't an HDF5 file") and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real scan in ../shared/data")
def test_a_truncated_scan_is_refused(tmp_path: Path, denoiser: tuple[str, str], capsys: Any) -> None:
    (tmp_path / "cut.h5").write_bytes((SHARED / "tooth.h5").read_bytes()[:100_000])
    assert main(["--input", str(tmp_path / "cut.h5"), "--output", str(tmp_path / "run"), *denoiser]) == 2
    assert "cut.h5 is truncated" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_start_by_name_is_fbp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, denoiser: tuple[str, str]) -> None:
    """So that a start in a file of settings can be taken back."""
    monkeypatch.chdir(tmp_path)
    words = (*SMALL, *denoiser, "--order", "ordered", "--precision", "float32", "--quiet")
    np.save("other.npy", np.zeros((9, 9), np.float32))
    assert main([*words, "--start", "other.npy", "--output", "wrong"]) == 2
    for name, start in (("plain", ()), ("named", ("--start", "fbp"))):
        assert main([*words, *start, "--output", name]) == 0
    one, two = (tifffile.imread(f"{name}/reconstruction.tif") for name in ("plain", "named"))
    assert np.array_equal(one, two)
