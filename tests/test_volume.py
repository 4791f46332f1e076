"""Volumes: every slice what it is alone, begun at its neighbour, whatever was killed in between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from asyncred_gpu import GpuAsyncRED, RadonCT
from asyncred_gpu.cli.main import main as asyncred
from asyncred_gpu.io import Reading, open_projections
from asyncred_gpu.models import save_weights
from asyncred_gpu.operators.radon import project
from asyncred_gpu.volume import _Scans, plan_volume, reconstruct_volume

from .helpers import ALL_RUNS, blobs, half_turn, small_network

SIZE, SLICES = 32, 7
ANGLES = half_turn(16)
VOLUME = np.stack([np.roll(blobs(SIZE, SIZE), number, axis=1) for number in range(SLICES)])
SINOGRAMS = np.stack([project(image, ANGLES, 46) for image in VOLUME], axis=1)
READING = Reading(theta="0:180")
NETWORK = small_network()
SETTINGS: dict[str, Any] = {"tau": 0.1, "order": "ordered", "method": "paper", "device": "cpu", "block_shape": (16, 16)}


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    np.save(tmp_path / "scan.npy", SINOGRAMS)
    return tmp_path / "scan.npy"


def volume(scan: Path, **changes: Any) -> list[Any]:
    settings = {"center": 22.5, "size": SIZE, "max_sweeps": 4, "reading": READING, "num_workers": 2} | SETTINGS
    return list(reconstruct_volume(scan, NETWORK, **settings | changes))


def alone(index: int, scale: float, x0: Any, sweeps: float, workers: int = 2) -> np.ndarray:
    """The slice as the solver makes it, without a volume around it."""
    ct = RadonCT(np.ascontiguousarray(SINOGRAMS[:, index]), ANGLES, (SIZE, SIZE), center=22.5)
    solver = GpuAsyncRED(ct, NETWORK, num_workers=workers, intensity_scale=scale, **SETTINGS)
    return np.asarray(solver.run(max_sweeps=sweeps, x0=x0).image)


def test_a_slice_is_what_it_is_alone_begun_at_its_neighbour(scan: Path, one_process: None) -> None:
    found = volume(scan, slices=range(2, 6))
    assert [one.index for one in found] == [2, 3, 4, 5]
    scale = plan_volume(scan, NETWORK, range(2, 6), reading=READING, center=22.5, size=SIZE, **SETTINGS).scale
    x0: Any = "auto"
    for one in found:
        expected = alone(one.index, scale, x0, 4 if one.index == 2 else 2)
        np.testing.assert_array_equal(one.image, expected)
        assert one.scan.slice == one.index and one.result.history["sweep"][-1] == (4 if one.index == 2 else 2)
        x0 = expected
    cold = volume(scan, slices=[2, 3], warm_start=False)
    np.testing.assert_array_equal(cold[1].image, alone(3, plan_of(scan, [2, 3]).scale, "auto", 4))


def plan_of(scan: Path, slices: Sequence[int], **more: Any) -> Any:
    return plan_volume(scan, NETWORK, slices, reading=READING, center=22.5, size=SIZE, **SETTINGS | more)


@pytest.mark.parametrize("at_once", [2, 3])
def test_side_by_side_each_lane_is_a_chain_of_its_own(at_once: int, scan: Path, one_process: None) -> None:
    found = volume(scan, at_once=at_once, num_workers=1)
    scale = plan_of(scan, range(SLICES)).scale
    chains: dict[int, Any] = {}
    for one in found:
        lane = one.index % at_once
        begun = chains.get(lane, "auto")
        expected = alone(one.index, scale, begun, 4 if isinstance(begun, str) else 2, workers=1)
        np.testing.assert_array_equal(one.image, expected)
        chains[lane] = expected
    assert [one.index for one in found] == list(range(SLICES))


@pytest.mark.parametrize("pad", [0, 4])
def test_slices_that_are_there_already_give_the_same_others(pad: int, scan: Path, one_process: None) -> None:
    whole = volume(scan, pad=pad, field_of_view="circle")
    there = {one.index: one.image for one in whole if one.index in (0, 1, 4)}
    again = volume(scan, pad=pad, field_of_view="circle", done=there.get)
    for one, other in zip(whole, again, strict=True):
        assert one.image.shape == (SIZE, SIZE)
        np.testing.assert_array_equal(one.image, other.image)
        assert (other.result is None) == (one.index in there)


def test_what_is_told_is_of_the_slice_and_may_end_the_volume(scan: Path, one_process: None) -> None:
    told: list[tuple[int, float]] = []

    class Enough(Exception):
        pass

    def listen(index: int, progress: Any) -> None:
        told.append((index, progress.sweep))
        if index == 3:
            raise Enough

    with pytest.raises(Enough):
        volume(scan, told=listen)
    assert sorted({index for index, _ in told}) == [0, 1, 2, 3]
    assert sum(index == 3 for index, _ in told) == 1


def test_a_volume_given_up_ends_its_threads(scan: Path, one_process: None) -> None:
    before = threading.active_count()
    slices = reconstruct_volume(
        scan, NETWORK, at_once=2, max_sweeps=3, reading=READING, center=22.5, num_workers=1, size=SIZE, **SETTINGS
    )
    next(slices)
    slices.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_slices_are_read_a_few_at_a_time(most: int, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncred_gpu.volume.READ_SLICES", most)
    opened = open_projections(scan, READING)
    reads: list[tuple[int, int]] = []
    frames = opened.data.read
    object.__setattr__(opened.data, "read", lambda first, last: reads.append((first, last)) or frames(first, last))
    wanted = [0, 1, 2, 4, 5, 6]
    scans = _Scans(opened)
    for index in (0, 1, 4, 6):  # 2 and 5 are there already
        found = scans.take(index, wanted)
        assert found.slice == index
        np.testing.assert_allclose(found.sinogram, SINOGRAMS[:, index], rtol=1e-6)
    assert max(last - first for first, last in reads) <= most
    assert all(first <= 2 or first >= 4 for first, _ in reads)  # slice 3 isn't wanted
    assert not any(first <= 3 < last for first, last in reads)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"slices": []}, "no slices are asked for"),
    "beyond": ({"slices": [5, 7]}, "slice 7 isn't in the file: it has 7 slices, 0 to 6"),
    "before": ({"slices": [-1]}, "slice -1 isn't in the file"),
    "twice": ({"slices": [1, 1]}, "a slice is asked for twice"),
    "no lanes": ({"at_once": 0}, "at_once=0 is too small"),
    "an unknown tau": ({"tau": -1}, "tau=-1 can't be"),
    "no sweeps": ({"max_sweeps": -1}, "max_sweeps=-1 can't be"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_when_the_first_slice_is_asked_for(kind: str, scan: Path) -> None:
    changes, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        volume(scan, **changes)


# --- on the command line -----------------------------------------------------------------------------------------

OPTIONS = ["scan.npy", "--theta", "0:180", "--center", "22.5", "--size", "32", "--order", "ordered", "--tau", "0.1"]
# "auto" measures which precision is the faster, and may choose otherwise on a busy machine.
OPTIONS += ["--denoiser", "small.safetensors", "--method", "paper", "--sweeps", "4", "--workers", "2", "--quiet"]
OPTIONS += ["--precision", "float32"]


@pytest.fixture
def place(scan: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_weights(NETWORK, scan.parent / "small.safetensors", {})
    monkeypatch.chdir(scan.parent)
    return scan.parent


def main(words: Sequence[str]) -> int:
    return asyncred(["reconstruct", *words])


def images(folder: str) -> dict[str, np.ndarray]:
    return {path.name: tifffile.imread(path) for path in sorted(Path(folder, "slices").glob("*.tif"))}


def test_a_volume_from_end_to_end(place: Path, one_process: None, capsys: Any) -> None:
    assert main([*OPTIONS, "--slices", "1:6:2", "--save", "tif,npy,h5", "--output", "run"]) == 0
    found = images("run")
    assert list(found) == ["slice_00001.tif", "slice_00003.tif", "slice_00005.tif"]
    stack = np.stack(list(found.values()))
    np.testing.assert_array_equal(np.load("run/volume.npy"), stack)
    with h5py.File("run/volume.h5") as file:
        data = file["entry/reconstruction/data"]
        np.testing.assert_array_equal(data["volume"][:], stack)
        assert data["slice"][:].tolist() == [1, 3, 5]
    record = json.loads(Path("run/run.json").read_text())
    assert list(record["slices"]) == ["1", "3", "5"] and record["slices"]["3"]["sweeps"] == 2
    assert {path.name for path in Path("run").iterdir()} == {
        *("slices", "slices.jsonl", "settings.yaml", "run.json", "volume.png", "volume.npy", "volume.h5")
    }
    assert main(["--config", "run/settings.yaml", "--output", "again", "--quiet"]) == 0
    for name, image in images("again").items():
        np.testing.assert_array_equal(image, found[name])


@pytest.mark.own_workers
def test_killed_at_random_it_ends_complete_and_the_same(place: Path) -> None:
    random = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))

    def begun(words: Sequence[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "asyncred_gpu.cli", "reconstruct", *words]
        return subprocess.Popen(command, start_new_session=True)

    process = begun([*OPTIONS, "--slices", ":", "--sweeps", "30", "--output", "killed"])
    deaths = 0
    for _ in range(5 if ALL_RUNS else 2):
        ready = len(images("killed")) + 1 if Path("killed/slices").exists() else 1
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if Path("killed/slices").exists() and len(list(Path("killed/slices").glob("slice*"))) >= ready:
                break
            time.sleep(0.005)
        time.sleep(float(random.uniform(0, 0.1)))
        deaths += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = begun(["--resume", "killed", "--quiet"])
    assert process.wait(timeout=120) == 0 and deaths >= 1
    assert main([*OPTIONS, "--slices", ":", "--sweeps", "30", "--output", "whole"]) == 0
    killed, whole = images("killed"), images("whole")
    assert list(killed) == list(whole) and len(whole) == SLICES
    for name, image in whole.items():
        np.testing.assert_array_equal(killed[name], image)
    assert {path.name for path in Path("killed").iterdir()} == {path.name for path in Path("whole").iterdir()}
    assert not list(Path("killed/slices").glob(".*"))


@pytest.mark.own_workers
def test_interrupted_whole_slices_stay(place: Path) -> None:
    words = [*OPTIONS, "--slices", ":", "--sweeps", "400", "--output", "run"]
    command = [sys.executable, "-m", "asyncred_gpu.cli", "reconstruct", *words]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not images("run") and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted: whole slices stay. To go on: asyncred reconstruct --resume run\n"
    assert images("run") and not Path("run/run.json").exists()


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def other_shape(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((3, 3), np.float32))


def other_data(path: Path) -> None:
    changed = SINOGRAMS.copy()
    changed[2, 0, 20] += 1
    np.save(path, changed)


def other_settings(run: Path) -> None:
    file = run / "settings.yaml"
    file.write_text(file.read_text().replace("tau: 0.1\n", "tau: 0.2\n"))


GONE_WRONG: dict[str, tuple[Any, list[str], str]] = {
    "changed data": (lambda: other_data(Path("scan.npy")), [], "slice 0 of .*scan.npy isn't what it was when"),
    "a damaged slice": (lambda: spoil(Path("run/slices/slice_00001.tif")), [], "slice_00001.tif can't be read"),
    "another slice": (
        lambda: other_shape(Path("run/slices/slice_00000.tif")),
        [],
        r"of shape \(3, 3\), a slice",
    ),
    "other settings": (
        lambda: other_settings(Path("run")),
        [],
        "slice_00000.tif was made with other settings than those",
    ),
    "another option": (None, ["--sweeps", "9"], "--sweeps can't be changed with --resume"),
}


FEW = ["scan.npy", "--theta", "0:180", "--center", "22.5", "--denoiser", "small.safetensors", "--sweeps", "1"]


@pytest.mark.parametrize("more", [[], ["--pad", "4"], ["--tilt", "0.1"], ["--size", "30", "--prior", "pnp"]])
def test_what_was_left_to_the_defaults_is_the_same_when_it_goes_on(
    more: list[str], place: Path, one_process: None
) -> None:
    assert main([*FEW, *more, "--slices", "0:2", "--quiet", "--output", "run"]) == 0
    before = images("run")
    Path("run/slices/slice_00001.tif").unlink()
    Path("run/run.json").unlink()
    assert main(["--resume", "run", "--quiet"]) == 0
    assert images("run").keys() == before.keys()
    np.testing.assert_array_equal(images("run")["slice_00000.tif"], before["slice_00000.tif"])


@pytest.mark.parametrize("kind", GONE_WRONG)
def test_what_cannot_be_gone_on_with_is_refused(kind: str, place: Path, one_process: None, capsys: Any) -> None:
    change, words, message = GONE_WRONG[kind]
    assert main([*OPTIONS, "--slices", "0:3", "--output", "run"]) == 0
    Path("run/slices/slice_00002.tif").unlink()
    Path("run/run.json").unlink()
    if change is not None:
        change()
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["--resume", "run", "--quiet", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert re.search(message, err), err
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


WRONG_WORDS: dict[str, tuple[list[str], str]] = {
    "beyond": (["--slices", "0:8"], "--slices 0:8: the scan has 7 slices, 0 to 6. Pass some of those"),
    "none": (["--slices", "5:5"], "--slices 5:5: the scan has 7 slices"),
    "no range": (["--slices", "5"], "--slices: '5' isn't a range of slices, such as 0:512 or 0:512:4"),
    "backwards": (["--slices", "5:1:-1"], "--slices: '5:1:-1' isn't a range of slices"),
    "one and several": (["--slices", "0:2", "--slice", "1"], "--slice is for one slice, and --slices are several"),
    "automatic": (["--slices", "0:2", "--tau", "auto"], "--tau auto and --sigma auto choose for one slice"),
    "checkpoints": (["--slices", "0:2", "--checkpoint-every", "2"], "--checkpoint-every is for one slice"),
    "lanes of one": (["--at-once", "2"], "--at-once is for a volume. Pass --slices FIRST:END"),
}


@pytest.mark.parametrize("kind", WRONG_WORDS)
def test_words_that_cannot_be_are_refused(kind: str, place: Path, capsys: Any) -> None:
    words, message = WRONG_WORDS[kind]
    assert main([*OPTIONS, *words, "--output", "run"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert not Path("run").exists()
