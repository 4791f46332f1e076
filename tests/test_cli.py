"""The commands beside reconstruct and compare: check, center, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from asyncred_gpu import contact_sheet, plan
from asyncred_gpu.cli.main import COMMANDS, main
from asyncred_gpu.config.settings import ReconstructSettings
from asyncred_gpu.contact_sheet import reconstructions, sheet, trial_centers
from asyncred_gpu.experiments import scan_problem
from asyncred_gpu.inspection import angle_line
from asyncred_gpu.reconstruct import ct_problem, planned

from .test_reconstruct_script import write_scan


def test_every_command_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"sage: asyncred {command}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert re.fullmatch(r"asyncred_gpu \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert main(["recon"]) == 2
    assert capsys.readouterr().err == "error: No such command 'recon'. See asyncred --help.\n"


# --- check -------------------------------------------------------------------------------------------------------


def test_check_says_what_a_scan_holds_and_what_it_would_take(tmp_path: Path, capsys: Any) -> None:
    scan = write_scan(tmp_path / "scan.h5", center=51.5)
    before = sorted(tmp_path.iterdir())
    assert main(["check", str(scan), "--size", "64", "--workers", "1", "--sweeps", "7"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and sorted(tmp_path.iterdir()) == before
    assert "scan.h5: Data Exchange" in out
    assert "64 × 1 rows × 96 detectors, float64, as counts" in out
    assert "white fields 2, dark fields 2" in out
    assert "0° to 177.2°, 2.812° apart" in out
    center = re.search(r"centre +detector ([\d.]+), estimated; the detector's middle is 47.5", out)
    assert center is not None and abs(float(center[1]) - 51.5) <= 0.5
    assert "64 views, where FBP would want 101 (π/2 × 64)" in out
    assert re.search(r"4 blocks of 32 × 32, 1 workers, cpu, (float32|bfloat16)", out)
    assert re.search(r"memory +about \d+ MiB at the peak of \d+ MiB free\n", out)
    assert re.search(r"time +about [\d.]+ s: .* each of 7 sweeps", out)


def test_check_refuses_what_reconstruct_refuses(tmp_path: Path, capsys: Any) -> None:
    for words, message in (
        (["absent.h5"], "absent.h5 doesn't exist"),
        (
            ["--size", "64", "--workers", "70", "--block", "8"],
            "70 workers × 1 blocks a launch are 70 updates in flight",
        ),
        (["--denoiser", "absent.npz"], "is neither a shipped denoiser"),
    ):
        assert main(["check", *words]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and message in err


def test_what_does_not_fit_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(plan, "available_memory", lambda: 50 * 2**20)
    assert main(["check", "--size", "64", "--tau", "auto", "--sigma", "auto"]) == 0
    assert "of 50 MiB free: too little. Use fewer --workers, or a smaller --size" in capsys.readouterr().out


def test_a_plan_counts_every_update() -> None:
    """Twice the data updates and half the workers, with the stages' times held still."""
    made = []
    for data_updates, workers in ((0, 1), (3, 1), (3, 2)):
        options = ReconstructSettings(size=64, data_updates=data_updates, workers=workers, block=(16, 16))
        with pytest.MonkeyPatch.context() as patch:
            stages = {"gather": 1.0, "back projection": 2.0, "denoiser": 10.0, "step": 3.0, "projection": 4.0}
            patch.setattr(plan, "stage_seconds", lambda solver, repetitions, stages=stages: stages)
            patch.setattr(plan, "available_cores", lambda: [0])
            made.append(plan.make_plan(planned(options, ct_problem(options, 0))))
    rest = 1 + 2 + 3 + 4 + plan.OVERHEAD
    assert [one.sweep for one in made] == pytest.approx([16 * (10 + rest), 16 * (10 + 4 * rest), 8 * (10 + 4 * rest)])
    assert made[0].setup == pytest.approx(plan.SETUP_SECONDS + plan.SETUP_PAIRS * 16 * 6)
    assert made[0].total(5) == pytest.approx(made[0].setup + plan.START_SECONDS + 5 * made[0].sweep)


@pytest.mark.parametrize(
    ("degrees", "line"),
    [
        ([0, 1, 2, 3], "0° to 3°, 1° apart"),
        ([0, 1, 2.5, 3], "0° to 3°, 0.5° to 1.5° apart"),
        ([7], "7° alone"),
        ([180, 90, 0], "180° to 0°, -90° apart"),
    ],
)
def test_angles_are_described(degrees: list[float], line: str) -> None:
    assert angle_line(np.deg2rad(degrees)) == line


# --- center ------------------------------------------------------------------------------------------------------


def test_the_right_centre_is_the_sharpest_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    scan = write_scan(tmp_path / "scan.h5", center=51.5)
    problem = scan_problem(scan, center=51.5)
    images = reconstructions(problem, trial_centers(problem, 6, 5))
    assert list(images) == [45.5, 48.5, 51.5, 54.5, 57.5]
    # Arcs spread what is a point: the steepest edges are where the centre is right.
    steepness = {center: float(np.percentile(np.hypot(*np.gradient(image)), 99)) for center, image in images.items()}
    assert max(steepness, key=lambda center: steepness[center]) == 51.5
    figure = sheet(problem, images, part=0.5)
    titles = {axes.get_title(): axes.title.get_fontweight() for axes in figure.axes if axes.get_title()}
    assert titles == {"45.5": "normal", "48.5": "normal", "51.5": "bold", "54.5": "normal", "57.5": "normal"}
    assert figure.axes[0].images[0].get_array().shape == (48, 48)  # half of 96
    monkeypatch.chdir(tmp_path)
    assert main(["center", "scan.h5", "--count", "4", "--center", "50"]) == 0
    assert capsys.readouterr().out == "centre given at detector 50.0; 4 centres around it in center-scan.png\n"
    assert imread("center-scan.png").ndim == 3


def test_center_refuses_and_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.png").write_bytes(b"precious")
    for words, message in (
        ([], "center looks at a measured scan. Pass its file"),
        (["scan.h5", "--output", "mine.png"], "mine.png exists already and isn't overwritten"),
        (["scan.h5", "--output", "sheet.jpg"], "sheet.jpg isn't a .png file"),
        (["scan.h5", "--output", "no/sheet.png"], "no isn't a folder"),
        (["scan.h5", "--center", "500"], "no centre from 492 to 508 is on the detector"),
        (["scan.h5", "--part", "1.5"], "--part: 1.5 is out of range, it takes 1 or less"),
        (["scan.h5", "--count", "0"], "--count: 0 is too small, it takes 1 or more"),
    ):
        assert main(["center", *words]) == 2
        err = capsys.readouterr().err
        assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.png", "scan.h5"]
    assert (tmp_path / "mine.png").read_bytes() == b"precious"


def test_a_centre_off_the_detector_is_left_out(tmp_path: Path) -> None:
    problem = scan_problem(write_scan(tmp_path / "scan.h5", center=51.5), center=3.0)
    assert contact_sheet.trial_centers(problem, 6, 5) == [0.0, 3.0, 6.0, 9.0]
    assert contact_sheet.trial_centers(problem, 6, 1) == [3.0]
