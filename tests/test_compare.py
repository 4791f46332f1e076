"""scripts/compare_modes.py: its modes, its table, its figure, and every input it refuses.

The command runs once as it is; otherwise the workers are simulated, in this process.
"""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from asyncred_gpu import solver as solver_module
from asyncred_gpu.cli.main import main
from asyncred_gpu.compare import case, modes
from asyncred_gpu.compare import main as command
from asyncred_gpu.compare.comparison import uneven
from asyncred_gpu.compare.figure import comparison_curves
from asyncred_gpu.compare.machine import Machine
from asyncred_gpu.compare.modes import Mode, Outcome
from asyncred_gpu.compare.numbers import common_level, seconds_to, sweep_seconds
from asyncred_gpu.compare.speedup import Ladder, rungs
from asyncred_gpu.compare.table import aligned
from asyncred_gpu.devices import why_no_gpu
from asyncred_gpu.gpu_findings import Found
from asyncred_gpu.io import output
from asyncred_gpu.models import save_weights
from asyncred_gpu.result import Result, Status
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime
from asyncred_gpu.solver import GpuAsyncRED
from asyncred_gpu.warm_starts import warm_start

from .helpers import small_network
from .test_reconstruct_script import write_scan

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_modes.py"
FIXED = {"comparison.png", "images.png", "run.json", "settings.yaml", "table.md", "speedup.csv"}
CPU_MODES = {"async-cpu": "Async-RED, CPU", "sync-cpu": "Sync-RED, CPU", "bc": "BC-RED (serial)", "gm": "GM-RED"}
SMALL = ("--size", "64", "--angles", "20", "--sweeps", "2")


@pytest.fixture
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Options for a network that is quick."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(small_network(), path, {})
    return "--denoiser", str(path)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers without processes, a short warm start, and coarse pictures."""
    monkeypatch.setattr(
        solver_module, "CpuRuntime", lambda *setup, spares=None: SimulatedRuntime(*setup, RandomOrder(0))
    )
    monkeypatch.setattr(case, "warm_start", partial(warm_start, max_sweeps=1))
    monkeypatch.setattr(output, "FIGURE_DPI", 15)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two would wait for each other on a busy machine
    yield
    torch.set_num_threads(threads)


def histories(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """By the modes' keys."""
    found = {}
    for path in folder.glob("history-*.csv"):
        header, *rows = csv.reader(path.open())
        columns = np.array(rows, float).T
        found[path.stem.removeprefix("history-")] = dict(zip(header, columns, strict=True))
    return found


def table(text: str, number: int = 0) -> list[dict[str, str]]:
    """The rows of a Markdown table, by their columns."""
    parts = [part for part in text.split("\n\n") if part.startswith("| mode")]
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in parts[number].strip().split("\n")
    )
    return [dict(zip(header, row, strict=True)) for row in rows]


def compared(arguments: Sequence[str], folder: Path) -> int:
    return main(["compare", *arguments, "--output", str(folder)])


def test_a_simulated_scan_from_end_to_end(tmp_path: Path, denoiser: tuple[str, str]) -> None:
    words = [sys.executable, str(SCRIPT), *SMALL, *denoiser, "--workers", "1,2", "--pool", "2", "--output", "run"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "run"
    kept = histories(folder)
    assert set(kept) == set(CPU_MODES)
    assert {path.name for path in folder.iterdir()} == FIXED | {f"history-{key}.csv" for key in CPU_MODES}
    assert [line.startswith("no GPU: ") for line in done.stdout.splitlines()[:3]] == [False, True, False]
    assert "; comparing the CPU modes (" in done.stdout.splitlines()[1]
    assert (folder / "table.md").read_text().split("\n\n", 2)[2].strip() in done.stdout

    rows = table((folder / "table.md").read_text())
    assert [row["mode"] for row in rows] == list(CPU_MODES.values())
    (column,) = (name for name in rows[0] if name.startswith("s to "))
    level = min(history["snr"][-1] for history in kept.values()) - 0.05
    assert column == f"s to {level:.2f} dB"
    for row, key in zip(rows, CPU_MODES, strict=True):
        history = kept[key]
        reached = history["seconds"][np.flatnonzero(history["snr"] >= level)[0]]
        assert row["sweeps"] == "2" == f"{history['sweep'][-1]:g}"
        assert row["run s"] == f"{history['seconds'][-1]:.2f}"
        assert row["SNR dB"] == f"{history['snr'][-1]:.2f}"
        assert row[column] == f"{reached:.2f}"
        ends = history["seconds"][[len(history["sweep"]) // 2 - 1, -1]]
        assert float(row["s/sweep"]) == pytest.approx(ends[1] / 2, rel=0.006)  # two sweeps: the median is the mean
        if key != "gm":
            assert int(row["largest"]) == history["staleness"].max() <= int(row["λ"])
            assert row["mean staleness"] == f"{history['staleness'].mean():.2f}"
    assert [row["λ"] for row in rows] == ["9", "1", "0", "–"]  # of nine blocks
    assert [row["workers"] for row in rows][:3] == ["2", "2", "1"]

    rungs_seen = table((folder / "table.md").read_text(), 1)
    assert [(row["mode"], row["workers"]) for row in rungs_seen] == [
        (name, workers) for name in ("Async-RED, CPU", "Sync-RED, CPU") for workers in "12"
    ]
    for row, kept_rung in zip(rungs_seen, csv.DictReader((folder / "speedup.csv").open()), strict=True):
        assert row["speed-up"] == f"{float(kept_rung['speedup']):.2f}"
    settings = json.loads((folder / "run.json").read_text())["modes"]
    common = {(found["settings"]["start"], found["settings"]["intensity_scale"]) for found in settings.values()}
    assert len(common) == 1  # all began from the same image, and the denoiser saw the same intensities
    for name in ("comparison.png", "images.png"):
        assert imread(folder / name).shape[1] > 1000


def test_compressed_sensing(tmp_path: Path, denoiser: tuple[str, str], simulated: None) -> None:
    options = ["--problem", "cs", "--size", "32", "--block", "16", "--sweeps", "2", "--sg", "90", "--pool", "2"]
    assert compared([*options, "--speedup-sweeps", "0", *denoiser], tmp_path / "run") == 0
    kept = histories(tmp_path / "run")
    assert set(kept) == {*CPU_MODES, "async-sg90-cpu"}
    assert not (tmp_path / "run" / "speedup.csv").exists()
    rows = table((tmp_path / "run" / "table.md").read_text())
    assert [row["mode"] for row in rows][2] == "Async-RED-SG 90, CPU"
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["problem"]["measurements"] == round(0.7 * 16 * 16)
    assert settings["modes"]["Async-RED-SG 90, CPU"]["settings"]["minibatch"] == 90
    assert "4 blocks of 16 × 16, 179 measurements each, 30 dB" in (tmp_path / "run" / "table.md").read_text()
    assert kept["bc"]["snr"][-1] > 5


def test_a_measured_scan_has_residuals_and_prediction_errors(
    tmp_path: Path, denoiser: tuple[str, str], simulated: None, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_scan(tmp_path / "scan.h5", center=51.5)
    options = ["--input", str(scan), "--every", "2", "--sweeps", "2", "--tau", "0.001", "--speedup-sweeps", "0"]
    assert compared([*options, *denoiser], tmp_path / "run") == 0
    rows = table((tmp_path / "run" / "table.md").read_text())
    assert "SNR dB" not in rows[0] and not any(name.startswith("s to") for name in rows[0])
    kept = histories(tmp_path / "run")
    for row, key in zip(rows, CPU_MODES, strict=True):
        assert row["‖G‖²/‖G₀‖²"] == f"{kept[key]['residual'][-1]:.2e}"
        assert 0 < float(row["prediction error"]) < 0.5
    assert "rotation centre estimated at detector 51" in capsys.readouterr().out


class PretendGpu(GpuAsyncRED):
    """Runs on the CPU what is meant for a GPU, and fails with a barrier."""

    def __init__(self, *problem: Any, device: Any, precision: str, **settings: Any) -> None:
        self.on_gpu = device != "cpu"
        assert device == (["cuda:0"] if self.on_gpu else "cpu")
        assert precision == ("float16" if self.on_gpu else "float32")
        super().__init__(*problem, device="cpu", precision="float32", **settings)

    def run(self, *limits: Any, **options: Any) -> Result:
        if self.on_gpu and self.order == "sync":
            raise RuntimeError("the GPU is on fire\nand more of it")
        return super().run(*limits, **options)


def test_a_failing_mode_is_told_and_the_others_go_on(
    tmp_path: Path,
    denoiser: tuple[str, str],
    simulated: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "find_machine", lambda device: Machine(2, ("cuda:0",), ""))
    monkeypatch.setattr(modes, "GpuAsyncRED", PretendGpu)
    monkeypatch.setattr("asyncred_gpu.compare.machine.resolve_precision", lambda wanted: "float32")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: "Imaginary 1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: (9, 0))
    options = ["--precision", "float16", "--block", "16", "--speedup-sweeps", "1", "--workers", "4"]
    assert compared([*SMALL, *options, *denoiser], tmp_path / "run") == 1
    out = capsys.readouterr().out
    assert "GPU: cuda:0 (Imaginary 1); CPU: 2 cores\n" in out
    assert "Sync-RED, GPU … failed: the GPU is on fire\n" in out
    text = (tmp_path / "run" / "table.md").read_text()
    rows = {row["mode"]: row for row in table(text)}
    assert list(rows) == ["Async-RED, GPU", "Sync-RED, GPU", *CPU_MODES.values()]
    assert rows["Sync-RED, GPU"]["note"] == "the GPU is on fire" and rows["Sync-RED, GPU"]["SNR dB"] == "–"
    assert all(float(row["SNR dB"]) > 10 for name, row in rows.items() if name != "Sync-RED, GPU")
    assert rows["Async-RED, GPU"]["workers"] == "4"
    assert set(histories(tmp_path / "run")) == {"async-gpu", *CPU_MODES}
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "and more of it" in found["modes"]["Sync-RED, GPU"]["traceback"]
    climbed = {(row["mode"], row["workers"]): row for row in table(text, 1)}
    assert [workers for mode, workers in climbed if mode == "Async-RED, GPU"] == ["1", "2", "4", "8"]
    assert climbed["Sync-RED, GPU", "8"]["note"] == "the GPU is on fire"
    assert climbed["Async-RED, CPU", "4"]["note"] == "they share 2 cores"
    assert climbed["Async-RED, GPU", "8"]["note"] == ""


def test_interrupted_it_keeps_what_was_done(
    tmp_path: Path,
    denoiser: tuple[str, str],
    simulated: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(modes, "bc_red", interrupt)
    assert compared([*SMALL, *denoiser], tmp_path / "run") == 130
    assert capsys.readouterr().err == "interrupted: the workers have ended; what was written before stays.\n"
    assert set(histories(tmp_path / "run")) == {"async-cpu", "sync-cpu"}


# --- numbers -----------------------------------------------------------------------------------------------------


def made_up(seconds: Sequence[float], snr: Sequence[float], blocks: int = 2) -> dict[str, np.ndarray]:
    """The history of a run of two blocks."""
    return {
        "sweep": np.arange(1, len(seconds) + 1) / blocks,
        "seconds": np.array(seconds, float),
        "snr": np.array(snr, float),
        "residual": 0.5 ** np.arange(len(seconds)),
        "staleness": np.arange(len(seconds)) % 2,
        "block": np.arange(len(seconds)) % blocks,
    }


FAST = made_up([1, 2, 4, 6], [10, 14, 13.9, 15])
SLOW = made_up([10, 20, 30, 41], [11, 12, 13, 14])


def test_all_are_timed_to_a_level_that_all_reach() -> None:
    assert common_level([FAST, SLOW]) == pytest.approx(13.95)
    literal = {13.95: (2, 41), 12.0: (2, 20), 10.0: (1, 10), 14.5: (6, None)}
    assert {level: (seconds_to(level, FAST), seconds_to(level, SLOW)) for level in literal} == literal
    diverged = made_up([1, 2], [10, -math.inf])
    assert common_level([FAST, diverged]) == pytest.approx(14.95)
    assert common_level([]) is None
    assert common_level([{name: values for name, values in FAST.items() if name != "snr"}]) is None


def test_a_sweep_takes_the_median_of_all_from_the_start() -> None:
    assert sweep_seconds(FAST) == 3  # 2 and 4
    assert sweep_seconds(made_up([1, 2, 4, 6, 7, 8], [0] * 6)) == 2  # 2, 4, 2
    assert sweep_seconds(made_up([5, 6, 7], [0] * 3)) == 6  # the half sweep at the end doesn't count
    assert sweep_seconds(made_up([3, 5, 9], [0] * 3, blocks=1)) == 3  # 3, 2, 4
    assert math.isnan(sweep_seconds(made_up([3], [0])))


def outcome(name: str, history: dict[str, np.ndarray], staleness: int | None = None) -> Outcome:
    settings = {} if staleness is None else {"max_staleness": staleness}
    timings = {"setup": 0.0, "start": 0.0, "run": float(history["seconds"][-1])}
    result = Result(np.zeros((2, 2)), Status.MAX_SWEEPS, history, None, settings, (), timings)
    return Outcome(Mode(name, name.lower(), "2", lambda: result), result)


def test_a_disturbed_run_is_told() -> None:
    stalled = made_up([1, 2, 3, 4, 20, 21], [1] * 6)
    assert uneven([outcome("A", FAST), outcome("B", SLOW)]) == []
    (line,) = uneven([outcome("A", FAST), outcome("B", stalled)])
    assert line.startswith("B took 21.0 s, not the 6.0 s")


def test_rungs_double_up_to_the_cores() -> None:
    assert [rungs(cores) for cores in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_the_table_is_aligned_markdown() -> None:
    assert aligned(["mode", "λ"], [["a|b", "16"], ["long name", "3"]]).split("\n") == [
        "| mode      |  λ |",
        "| --------- | -: |",
        "| a¦b       | 16 |",
        "| long name |  3 |",
    ]


def test_a_missing_gpu_is_explained_by_what_was_found() -> None:
    nothing = Found(driver=None, torch="2.13.0+cpu", torch_cuda=None)
    reason = why_no_gpu(nothing)
    assert reason == (
        "no NVIDIA driver (libcuda.so.1 can't be loaded), torch 2.13.0+cpu built without CUDA and no CuPy"
    )
    line = Machine(2, (), reason).line
    assert line == f"no GPU: {reason}; comparing the CPU modes (2 cores)"
    works = replace(nothing, driver=(13, 0), torch_cuda=(13, 0), available=True, capabilities=((9, 0),))
    works = replace(works, architectures=("sm_90",), cupy_packages=("cupy-cuda13x",), cupy_cuda=13, cupy_devices=1)
    assert why_no_gpu(works) is None


@pytest.mark.parametrize(
    ("wanted", "capability", "cpu", "gpu"),
    [
        ("auto", (9, 0), "bfloat16", "bfloat16"),
        ("auto", (7, 5), "bfloat16", "auto"),
        ("float16", (9, 0), "bfloat16", "float16"),
        ("float32", (9, 0), "float32", "float32"),
    ],
)
def test_both_have_the_same_precision_where_both_have_it(
    wanted: str, capability: tuple[int, int], cpu: str, gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncred_gpu.precision._faster_in_bfloat16", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: capability)
    machine = Machine(2, ("cuda:0",), "")
    assert (machine.precision(wanted, on_gpu=False), machine.precision(wanted, on_gpu=True)) == (cpu, gpu)


# --- the figure --------------------------------------------------------------------------------------------------


def curves(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_the_figure_has_a_curve_a_mode_and_one_colour_for_each() -> None:
    results = {
        found.mode.name: found.result
        for found in (outcome("Async-RED, CPU", FAST, 8), outcome("BC-RED", SLOW, 0), outcome("GM-RED", SLOW))
    }
    ladder = Ladder("BC-RED", 1, {}, seconds={1: 6.0, 2: 4.0, 4: 2.0})
    figure = comparison_curves(results, [ladder], "a title", start_snr=9.0)
    sweeps, seconds, workers, staleness = figure.axes
    for axes, clock in ((sweeps, "sweep"), (seconds, "seconds")):
        assert list(curves(axes)) == list(results)
        for name, history in (("Async-RED, CPU", FAST), ("BC-RED", SLOW)):
            np.testing.assert_array_equal(curves(axes)[name].get_xdata(), [0, *history[clock]])
            np.testing.assert_array_equal(curves(axes)[name].get_ydata(), [9, *history["snr"]])
    assert list(curves(workers)["BC-RED"].get_ydata()) == [1.0, 1.5, 3.0]
    assert list(curves(workers)["ideal"].get_ydata()) == [1, 4]
    assert "on the CPU, more workers share 1 core" in [text.get_text() for text in workers.texts]
    assert curves(workers)["BC-RED"].get_color() == curves(sweeps)["BC-RED"].get_color()
    assert [label.get_text() for label in staleness.get_yticklabels()] == ["Async-RED, CPU", "BC-RED"]
    assert "mean 0.50, largest 1, λ = 8" in [text.get_text() for text in staleness.texts]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(results)
    assert (sweeps.get_xscale(), seconds.get_xscale()) == ("linear", "linear")
    figure.canvas.draw()


def test_far_apart_runs_have_a_logarithmic_clock_and_no_speedup_is_said() -> None:
    slow = outcome("B", {**SLOW, "seconds": 10 * SLOW["seconds"]}, 0).result
    fast = outcome("A", FAST, 8).result
    assert slow is not None and fast is not None
    _, seconds, workers, _ = comparison_curves({"A": fast, "B": slow}, [], "", start_snr=None).axes
    assert (seconds.get_xscale(), seconds.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in workers.texts] == ["no speed-up was measured"]
    np.testing.assert_array_equal(curves(seconds)["A"].get_ydata(), FAST["residual"])


# --- what is refused ---------------------------------------------------------------------------------------------


REFUSED: dict[str, tuple[list[str], str]] = {
    "no sweeps": (["--sweeps", "0"], "--sweeps: 0 is too small, it takes 1 or more"),
    "half a sweep": (["--sweeps", "2.5"], "--sweeps: '2.5' isn't a whole number, 1 or more"),
    "few pixels": (["--size", "9"], "--size 9 leaves nothing of the retina to see. Pass 32 to 16384"),
    "no device": (["--device", "cuda:7"], "--device cuda:7 can't be used"),
    "unknown device": (["--device", "abacus"], "--device: 'abacus' can't be, it takes auto, cpu"),
    "unknown problem": (["--problem", "sudoku"], "--problem: 'sudoku' isn't known, it takes one of ct, cs"),
    "large block": (["--block", "65x10"], "--block 65x10 is larger than the image"),
    "no workers": (["--workers", "0"], "--workers: 0 is too small, it takes 1 or more"),
    "many workers": (["--block", "32", "--workers", "1,5"], "5 workers × 1 blocks a launch are 5 updates in flight"),
    "a large pool": (["--block", "32", "--pool", "5"], "5 workers × 1 blocks a launch are 5 updates in flight"),
    "large minibatch": (["--sg", "21"], "--sg 21 is more than the 20 measurements"),
    "momentum": (["--momentum", "1"], "--momentum 1.0 can't be. Pass a number >= 0 and < 1"),
    "precision": (["--precision", "float16"], "--precision float16 isn't available on the CPU"),
    "every": (["--every", "15"], "--every 15 keeps too little of 20 projections"),
    "centre of a simulation": (["--center", "auto"], "--center auto is for a measured scan"),
    "ratio of a scan": (["--ratio", "0.5"], "--ratio doesn't go with --problem ct"),
    "angles of no scan": (["--problem", "cs"], "--angles doesn't go with --problem cs. Leave it out"),
    "view of no scan": (["--problem", "cs", "--field-of-view", "none"], "--field-of-view doesn't go with --problem cs"),
    "ratio above one": (["--problem", "cs", "--ratio", "9"], "--ratio: 9 is out of range, it takes 1 or less"),
    "uneven blocks": (
        ["--problem", "cs", "--size", "64", "--block", "30"],
        "Blocks of 30 × 30 pixels don't cut 64 × 64",
    ),
    "block beyond": (["--problem", "cs", "--size", "64"], "--block 80x80 is larger than the image (64, 64)"),
    "few pixels of cs": (["--problem", "cs", "--size", "9"], "--size 9 can't be. Pass 32 to 16384 pixels a side"),
    "no input": (["--input", "absent.h5"], "absent.h5 doesn't exist"),
    "no denoiser": (["--denoiser", "absent.npz"], "--denoiser absent.npz is neither a shipped denoiser"),
    "no such place": (["--output", "/proc/asyncred/run"], "can't be made"),
    "a full folder": (["--output", "."], "holds 1 files already (mine.txt); nothing is overwritten"),
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
    (tmp_path / "mine.txt").write_text("precious")
    base = [] if "--input" in arguments or (arguments[:2] == ["--problem", "cs"] and len(arguments) > 2) else SMALL
    status = main(["compare", *base, *denoiser, *arguments])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
