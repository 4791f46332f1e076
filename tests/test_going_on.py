"""asyncred reconstruct --resume: a run that was killed or interrupted goes on in its folder, and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
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

from asyncred_gpu import GpuAsyncRED
from asyncred_gpu.cli.main import main as asyncred
from asyncred_gpu.models import save_weights

from .helpers import small_network
from .test_reconstruct_script import write_scan

OPTIONS = [
    "scan.h5",
    "--size",
    "64",
    "--block",
    "16",
    "--workers",
    "2",
    "--order",
    "ordered",
    "--checkpoint-every",
    "2",
]
# "auto" measures which precision is the faster, and may choose otherwise on a busy machine.
OPTIONS += ["--denoiser", "small.safetensors", "--method", "paper", "--center", "51.5", "--precision", "float32"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_scan(tmp_path / "scan.h5", center=51.5)
    save_weights(small_network(), tmp_path / "small.safetensors", {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(words: Sequence[str]) -> int:
    return asyncred(["reconstruct", *words])


def killed(words: Sequence[str], where: Path, number: int = signal.SIGKILL) -> int:
    """Begin the command in a process, and send it the signal after its first checkpoint."""
    command = [sys.executable, "-m", "asyncred_gpu.cli", "reconstruct", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    deadline = time.monotonic() + 60
    while not (where / "checkpoint").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode


@pytest.mark.own_workers
def test_a_killed_run_goes_on_to_the_same_image(place: Path) -> None:
    words = [*OPTIONS, "--sweeps", "300", "--quiet", "--log", "jsonl"]
    assert killed([*words, "--output", "killed"], place / "killed") == -signal.SIGKILL
    assert {"checkpoint", "settings.yaml", "progress.jsonl"} <= {path.name for path in Path("killed").iterdir()}
    assert not Path("killed/reconstruction.tif").exists()
    assert main(["--resume", "killed", "--sweeps", "40"]) == 0
    assert not Path("killed/checkpoint").exists()
    assert main([*OPTIONS, "--sweeps", "40", "--quiet", "--output", "whole"]) == 0
    one, two = (tifffile.imread(f"{name}/reconstruction.tif") for name in ("killed", "whole"))
    np.testing.assert_array_equal(one, two)
    sweeps = [json.loads(line)["sweep"] for line in Path("killed/progress.jsonl").read_text().splitlines()]
    assert sweeps[0] < 1 and sweeps[-1] > 38


@pytest.mark.own_workers
def test_an_interrupted_run_goes_on_and_its_results_are_kept_aside(place: Path, capsys: Any) -> None:
    words = [*OPTIONS, "--sweeps", "100000", "--quiet", "--output", "run"]
    assert killed(words, place / "run", signal.SIGINT) == 130
    assert Path("run/reconstruction.tif").exists() and Path("run/checkpoint").exists()
    before = tifffile.imread("run/reconstruction.tif")
    for number, sweeps in ((1, "60"), (2, "80")):
        shutil.copy("run/checkpoint", "kept")
        assert main(["--resume", "run", "--sweeps", sweeps, "--quiet"]) == 0
        shutil.move("kept", "run/checkpoint")  # as if it had been interrupted again
        assert (Path(f"run/interrupted-{number}") / "run.json").exists()
    np.testing.assert_array_equal(tifffile.imread("run/interrupted-1/reconstruction.tif"), before)
    assert json.loads(Path("run/run.json").read_text())["result"]["sweeps"] == 80
    assert json.loads(Path("run/interrupted-2/run.json").read_text())["result"]["sweeps"] == 60
    assert Path("run/settings.yaml").exists() and not Path("run/interrupted-1/settings.yaml").exists()


def test_a_time_limit_is_gone_on_from(place: Path, capsys: Any) -> None:
    words = [*OPTIONS, "--order", "free", "--sweeps", "100000", "--time-limit", "0.5", "--output", "run"]
    assert main(words) == 0
    assert main(["--resume", "run", "--sweeps", "3000", "--time-limit", "0.5"]) == 0
    history = np.genfromtxt("run/history.csv", delimiter=",", names=True)
    earlier = np.genfromtxt("run/interrupted-1/history.csv", delimiter=",", names=True)
    assert len(history) > len(earlier)
    np.testing.assert_array_equal(history["block"][: len(earlier)], earlier["block"])


@pytest.fixture
def kept(place: Path, one_process: None) -> Path:
    assert (
        main([*OPTIONS, "--order", "free", "--sweeps", "100000", "--time-limit", "0.3", "--quiet", "--output", "run"])
        == 0
    )
    return place / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def change_data(place: Path) -> None:
    with h5py.File(place / "scan.h5", "r+") as file:
        file["exchange/data"][3, 0, 40] += 1.0


def change_settings(text: str) -> Any:
    def change(place: Path) -> None:
        path = place / "run" / "settings.yaml"
        path.write_text(path.read_text() + text)

    return change


def damage(place: Path) -> None:
    path = place / "run" / "checkpoint"
    path.write_bytes(path.read_bytes()[:-3000])


REFUSED: dict[str, tuple[Any, list[str], str]] = {
    "changed data": (change_data, [], "the data have changed. Go on with those of before, or begin anew"),
    "no data": (lambda place: (place / "scan.h5").unlink(), [], "scan.h5 doesn't exist"),
    "no weights": (lambda place: (place / "small.safetensors").unlink(), [], "small.safetensors"),
    "a damaged checkpoint": (damage, [], "isn't a checkpoint of this run, or a damaged one"),
    "no checkpoint": (
        lambda place: (place / "run" / "checkpoint").unlink(),
        [],
        "run has no checkpoint: the run has ended",
    ),
    "no settings": (lambda place: (place / "run" / "settings.yaml").unlink(), [], "run has no settings.yaml"),
    "settings of another": (change_settings("momentum: 0.5\n"), [], "momentum was 0.0, is 0.5"),
    "settings that cannot be": (change_settings("colour: red\n"), [], "colour isn't a setting"),
    "settings cut off": (lambda place: (place / "run" / "settings.yaml").write_text("# asyncred"), [], "sets nothing"),
    "a changed option": (None, ["--tau", "0.3"], "--tau can't be changed with --resume: the run goes on with its own"),
    "another folder": (None, ["--output", "other"], "--output can't be changed with --resume"),
    "fewer workers": (None, ["--workers", "1"], "--workers can't be changed with --resume"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_gone_on_from_is_refused_and_nothing_is_lost(
    kind: str, place: Path, kept: Path, capsys: Any
) -> None:
    change, words, message = REFUSED[kind]
    if change is not None:
        change(place)
    before = contents(place)
    capsys.readouterr()
    assert main(["--resume", "run", "--quiet", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert contents(place) == before


def test_it_goes_on_whatever_became_of_checkpoint_every(place: Path, kept: Path, capsys: Any) -> None:
    """Not anew, which would take the place of what is there."""
    before = len(np.genfromtxt("run/history.csv", delimiter=",", names=True))
    file = kept / "settings.yaml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "checkpoint_every" not in line))
    assert main(["--resume", "run", "--quiet", "--sweeps", "100000", "--time-limit", "0.2"]) == 0
    assert len(np.genfromtxt("run/history.csv", delimiter=",", names=True)) > before
    assert (kept / "checkpoint").exists()


def test_a_log_that_is_asked_for_is_not_begun_by_a_run_that_is_refused(place: Path, kept: Path, capsys: Any) -> None:
    change_data(place)
    before = contents(place)
    assert main(["--resume", "run", "--quiet", "--log", "jsonl"]) == 2
    assert contents(place) == before


def test_what_is_no_run_is_refused(place: Path, capsys: Any) -> None:
    Path("empty").mkdir()
    for folder, message in (("absent", "--resume absent isn't a folder"), ("empty", "empty has no settings.yaml")):
        assert main(["--resume", folder]) == 2
        assert message in capsys.readouterr().err


def test_a_run_that_is_refused_leaves_no_settings(place: Path, capsys: Any) -> None:
    assert (
        main([*OPTIONS, "--tau", "auto", "--tuning", "discrepancy", "--sigma", "auto", "--quiet", "--output", "run"])
        == 2
    )
    assert not Path("run").exists()


def test_what_the_library_logs_is_shown_if_asked(place: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "asyncred_gpu.cli",
        "reconstruct",
        *OPTIONS,
        "--sweeps",
        "3",
        "--verbose",
        "--quiet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "asyncred_gpu.solver: run of 64×64 in 16 blocks by 2 workers on cpu began" in done.stderr
    assert "asyncred_gpu.keeping: checkpoint after 32 commits" in done.stderr


@pytest.mark.usefixtures("one_process")
def test_a_run_stopped_before_its_first_checkpoint_begins_anew(kept: Path, capsys: Any) -> None:
    for path in kept.iterdir():
        if path.is_file() and path.name not in ("settings.yaml",):
            path.unlink()
    assert main(["--resume", "run", "--sweeps", "2", "--time-limit", "60"]) == 0
    assert "run has no checkpoint yet: the run begins anew with its settings" in capsys.readouterr().out
    assert json.loads((kept / "run.json").read_text())["result"]["sweeps"] == 2
    (kept / "checkpoint").unlink(missing_ok=True)
    assert main(["--resume", "run", "--quiet"]) == 2
    assert "run has no checkpoint: the run has ended" in capsys.readouterr().err


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.usefixtures("one_process")
def test_interrupted_before_its_first_checkpoint_it_says_how_it_can_be_done(
    keeps: bool, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(solver: GpuAsyncRED, **options: Any) -> Any:
        raise KeyboardInterrupt

    place_of_it = OPTIONS.index("--checkpoint-every")
    options = OPTIONS if keeps else OPTIONS[:place_of_it] + OPTIONS[place_of_it + 2 :]
    with monkeypatch.context() as patch:
        patch.setattr(GpuAsyncRED, "run", interrupt)
        assert main([*options, "--output", "run", "--quiet"]) == 130
    err = capsys.readouterr().err
    if keeps:
        anew = "To begin anew with its settings: asyncred reconstruct --resume run"
        assert err == f"interrupted before there was an image. {anew}\n"
        assert main(["--resume", "run", "--sweeps", "1", "--quiet"]) == 0
    else:
        assert err == "interrupted: the workers have ended; what was written before stays.\n"
        assert not Path("run").exists()
