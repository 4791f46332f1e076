"""The commands beside reconstruct and compare: check, center, tune, what they write and what they refuse."""

from __future__ import annotations

import json
import re
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from matplotlib.image import imread

from asyncred_gpu import GpuAsyncRED, contact_sheet, plan
from asyncred_gpu.cli.main import COMMANDS, main
from asyncred_gpu.config.settings import ReconstructSettings
from asyncred_gpu.contact_sheet import reconstructions, sheet, trial_centers
from asyncred_gpu.experiments import retina_image, scan_problem
from asyncred_gpu.inspection import angle_line
from asyncred_gpu.io.images import read_image
from asyncred_gpu.metrics import snr
from asyncred_gpu.operators.radon import project
from asyncred_gpu.reconstruct import ct_problem, planned
from asyncred_gpu.tune_scan import as_good

from .helpers import blobs, half_turn
from .test_reconstruct_script import write_scan


def test_every_command_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"sage: asyncred {command}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert re.fullmatch(r"asyncred_gpu \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert main([]) == 0  # and doesn't leave the process
    assert "sage: asyncred [OPTIONS] COMMAND" in capsys.readouterr().out
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
    assert "beam         parallel; a fan's takes --source-distance and --detector-distance" in out
    center = re.search(r"centre +detector ([\d.]+), estimated; the detector's middle is 47.5", out)
    assert center is not None and abs(float(center[1]) - 51.5) <= 0.5
    assert "64 views, where FBP would want 101 (π/2 × 64)" in out
    assert re.search(r"4 blocks of 32 × 32, 1 workers, cpu, (float32|bfloat16)", out)
    assert re.search(r"memory +about \d+ MiB at the peak of \d+ MiB free\n", out)
    assert re.search(r"time +about [\d.]+ s: .* each of 7 sweeps", out)


def test_check_of_a_volume_is_of_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("scan.npy", np.stack([project(blobs(32, 32, seed), half_turn(20), 46) for seed in range(7)], axis=1))
    words = ["scan.npy", "--theta", "0:180", "--center", "22.5", "--size", "32", "--workers", "1", "--slices", "0:6:2"]
    assert main(["check", *words]) == 0
    out = capsys.readouterr().out
    assert "scan.npy, slice 2: 32 × 32" in out and out.endswith(
        "slices       3, each about as the one above, or quicker\n"
    )


@pytest.mark.parametrize(
    ("command", "gone", "there"),
    [
        ("center", ("--angles", "--detectors", "--noise-db", "--pad"), ("--center", "--theta", "--count")),
        ("check", ("--resume", "--quiet", "--save", "--log"), ("--angles", "--tau", "--output", "--slices")),
    ],
)
def test_a_command_shows_what_it_has_a_use_for(
    command: str, gone: tuple[str, ...], there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    for words, expected in ((gone, False), (there, True)):
        for word in words:
            assert (f"{word} " in out) == expected, word


def test_check_refuses_what_reconstruct_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (["absent.h5"], "absent.h5 doesn't exist"),
        (
            ["--size", "64", "--workers", "70", "--block", "8"],
            "70 workers × 1 blocks a launch are 70 updates in flight",
        ),
        (["--denoiser", "absent.npz"], "is neither a shipped denoiser"),
        (["--resume", "run"], "check looks at a run to come, not at one that goes on. Pass --config run/settings.yaml"),
        (["scan.h5", "--slices", "0:4"], "--slices 0:4: the scan has one slice, 0. Pass some of those"),
        (["scan.h5", "--output", "scan.h5"], "scan.h5 is a file, so no folder of that name can be made"),
        (["scan.h5", "--start", "absent.tif"], "absent.tif isn't a file. Pass an image"),
    ):
        assert main(["check", *words]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and message in err


def test_angles_that_take_the_place_of_the_files_are_said(tmp_path: Path, capsys: Any) -> None:
    scan = str(write_scan(tmp_path / "scan.h5", center=51.5))
    for words, warned in ((["--theta", "0:360"], True), ([], False), (["--theta", "0:180"], False)):
        assert main(["check", scan, "--size", "64", "--center", "51.5", *words]) == 0
        out = capsys.readouterr().out
        assert ("warning: --theta takes the place of the file's own angles, 0° to 177.2°" in out) == warned


def test_axes_that_were_assumed_are_said(tmp_path: Path, capsys: Any) -> None:
    """Eight sinograms of 40 angles, read as eight projections."""
    np.save(tmp_path / "sinograms.npy", np.random.default_rng(0).random((8, 40, 64), np.float32))
    words = ["check", str(tmp_path / "sinograms.npy"), "--theta", "0:180"]
    assert main(words) == 2
    assert "Or its axes aren't (angles, rows, detectors), as they were taken: pass --axes." in capsys.readouterr().err
    assert main([*words, "--center", "31.5"]) == 0
    assert "8 × 40 rows × 64 detectors, float32, as line-integrals; if its axes are others, --axes" in (
        capsys.readouterr().out
    )
    assert main([*words, "--center", "31.5", "--axes", "rows,angles,detectors"]) == 0
    assert "if its axes are others" not in capsys.readouterr().out


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


# --- what an image leaves out, and padding -----------------------------------------------------------------------


def truncated_scan(folder: Path, detectors: int) -> tuple[Path, np.ndarray, np.ndarray]:
    """A disc of retina 124 pixels in radius seen by fewer detectors; the image in their view, and where to judge it."""
    image = retina_image(256) * (np.hypot(*(np.mgrid[:256, :256] - 127.5)) < 124) * np.float32(0.02)
    np.save(folder / "scan.npy", project(image, np.arange(90) * np.pi / 90, detectors))
    edge = (256 - detectors) // 2
    inside = np.hypot(*(np.mgrid[:detectors, :detectors] - (detectors - 1) / 2)) < detectors / 2 - 5
    return folder / "scan.npy", image[edge : 256 - edge, edge : 256 - edge], inside


def test_an_object_wider_than_the_detector_takes_padding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, truth, inside = truncated_scan(tmp_path, 160)
    monkeypatch.chdir(tmp_path)
    found = {}
    for pad in (0, 48):
        words = ["--theta", "0:180", "--center", "79.5", "--sweeps", "4", "--quiet", "--save", "npy", "--tau", "0.0025"]
        assert main(["reconstruct", str(scan), *words, "--pad", str(pad), "--output", f"pad{pad}"]) == 0
        image, fbp = np.load(f"pad{pad}/reconstruction.npy"), tifffile.imread(f"pad{pad}/fbp.tif")
        assert image.shape == fbp.shape == truth.shape
        found[pad] = snr(image * inside, truth * inside), snr(fbp * inside, truth * inside)
    assert found[0][0] < 6 < 14 < found[48][0]
    assert found[0][1] < 6 < 12 < found[48][1]
    facts = json.loads((tmp_path / "pad48" / "run.json").read_text())
    assert facts["problem"]["pad"] == 48 and facts["solver"]["image_shape"] == [256, 256]


def test_an_image_too_small_for_the_object_is_warned_of(tmp_path: Path, capsys: Any) -> None:
    scan, _, _ = truncated_scan(tmp_path, 256)
    for size, warned in (("256", False), ("128", True)):
        assert main(["check", str(scan), "--theta", "0:180", "--size", size, "--center", "127.5"]) == 0
        assert ("a ray beside the image of 128 pixels measures" in capsys.readouterr().out) == warned
    assert main(["check", "--size", "64", "--angles", "30"]) == 0  # a square image, whose corners count
    assert "a ray beside" not in capsys.readouterr().out


# --- images that are saved, and begun at --------------------------------------------------------------------------


def test_an_image_is_saved_in_each_kind_with_what_it_comes_from(tmp_path: Path, monkeypatch: Any) -> None:
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    words = ["--size", "64", "--sweeps", "1", "--workers", "1", "--quiet", "--output", "run", "--save", "tif,npy,h5"]
    assert main(["reconstruct", "scan.h5", *words]) == 0
    images = [read_image(Path(f"run/reconstruction.{kind}")) for kind in ("tif", "npy", "h5")]
    for image in images:
        assert image.dtype == np.float32 and image.shape == (64, 64)
        np.testing.assert_array_equal(image, images[0])
    record = json.loads(Path("run/run.json").read_text())
    with h5py.File("run/reconstruction.h5") as file:
        process = file[file.attrs["default"]]["reconstruction"]
        assert process["data_sha256"][()].decode() == record["problem"]["sha256_of_slice"] != ""
        assert json.loads(process["record"][()]) == record
        assert process["settings"][()].decode() == Path("run/settings.yaml").read_text()
        assert process["program"][()].decode() == "asyncred_gpu"
        assert process["data"].attrs["signal"] == "image"


def test_a_run_begins_at_the_image_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["reconstruct", "--size", "64", "--angles", "40", "--workers", "1", "--method", "paper", "--quiet"]
    np.save("start.npy", np.full((64, 64), 0.5, np.float32))
    assert main([*words, "--sweeps", "0.0001", "--start", "start.npy", "--output", "begun"]) == 0
    np.testing.assert_array_equal(tifffile.imread("begun/reconstruction.tif"), np.full((64, 64), 0.5))
    np.save("small.npy", np.zeros((9, 9)))
    Path("words.txt").write_text("an image")
    Path("broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for start, message in (
        ("small.npy", "--start has shape (9, 9), the image (64, 64)"),
        ("absent.tif", "absent.tif isn't a file. Pass an image"),
        ("words.txt", "words.txt isn't read as an image"),
        ("broken.h5", "broken.h5 isn't a reconstruction's HDF5 file"),
    ):
        assert main([*words, "--start", start, "--output", "not"]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1 and not Path("not").exists()
    assert main([*words, "--save", "tif,gif"]) == 2
    assert "--save: 'gif' isn't known, it takes one of tif, npy, h5" in capsys.readouterr().err


# --- tune --------------------------------------------------------------------------------------------------------


def test_what_tune_writes_is_what_reconstruct_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    words = ["scan.h5", "--size", "64", "--taus", "0.03,0.3", "--sigmas", "5,25", "--search-sweeps", "200"]
    assert main(["tune", *words, "--workers", "1", "--output", "tuned"]) == 0
    out = capsys.readouterr().out
    written = {path.name for path in Path("tuned").iterdir()}
    assert written == {"tuning.md", "tuning.png", "start.tif", "settings.yaml", "run.json"}
    found = json.loads(Path("tuned/run.json").read_text())
    assert found["tau"] in (0.03, 0.3) and found["sigma"] in (5, 25) and found["method"] == "gcv"
    assert f"chosen by gcv: σ = {found['sigma']:g}, τ = {found['tau']:g}" in out
    assert "next: asyncred reconstruct --config tuned/settings.yaml" in out
    assert main(["reconstruct", "--config", "tuned/settings.yaml", "--quiet", "--sweeps", "1", "--output", "run"]) == 0
    solver = json.loads(Path("run/run.json").read_text())["solver"]
    assert solver["tau"] == found["tau"] and solver["num_workers"] == 1


def test_tune_says_when_its_time_was_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    words = ["tune", "scan.h5", "--size", "64", "--quiet", "--output", "tuned", "--time-limit"]
    assert main([*words, "0.01"]) == 2  # the stages of a block say so beforehand
    assert "error: --time-limit 0.01 is over before the first trial is done" in capsys.readouterr().err
    assert not Path("tuned").exists()
    monkeypatch.setattr("asyncred_gpu.tuning.trials.perf_counter", chain((0.0, 0.0, 0.0), repeat(99.0)).__next__)
    assert main([*words, "90"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: --time-limit 90 was over before the first trial was: 0 of its 164 sweeps were made")
    assert not Path("tuned").exists()


def test_an_interrupted_tune_writes_the_best_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    made: list[Any] = []
    run = GpuAsyncRED.run

    def few(solver: GpuAsyncRED, **options: Any) -> Any:
        if len(made) == 11:  # the first trial has ten, of two reconstructions
            raise KeyboardInterrupt
        made.append(solver)
        return run(solver, **options | {"max_sweeps": 1})

    monkeypatch.setattr(GpuAsyncRED, "run", few)
    words = ["tune", "scan.h5", "--size", "64", "--taus", "0.03,0.3", "--sigmas", "5", "--workers", "1"]
    assert main([*words, "--output", "tuned"]) == 130
    told = capsys.readouterr()
    assert "interrupted: the best of what was tried so far is in tuned." in told.err
    assert "Ctrl-C ended the search; the choice is the best of 1 trial." in told.out
    assert json.loads(Path("tuned/run.json").read_text())["tau"] in (0.03, 0.3)
    assert Path("tuned/settings.yaml").exists()


def test_tune_refuses_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    for words, message in (
        (["absent.h5"], "absent.h5 doesn't exist"),
        (["scan.h5", "--taus", "0.1,-1"], "--taus: -1 is out of range, it takes more than 0"),
        (["scan.h5", "--taus", ""], "--taus: '' isn't a number"),
        (["scan.h5", "--sigmas", "77"], "'dncnn' has no weights for --sigmas 77"),
        (["scan.h5", "--tuning", "discrepancy"], "which every σ reaches with some τ"),
        (["scan.h5", "--tau", "3"], "No such option '--tau'"),
        (["scan.h5", "--slices", "0:1"], "No such option '--slices'"),  # which did nothing there
    ):
        assert main(["tune", *words, "--quiet"]) == 2
        err = capsys.readouterr().err
        assert message in err and err.startswith("error: ") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]


def test_check_says_which_centre_it_would_have_estimated(tmp_path: Path, capsys: Any) -> None:
    scan = write_scan(tmp_path / "scan.h5", center=51.5)
    assert main(["check", str(scan), "--size", "64", "--center", "40"]) == 0
    found = re.search(r"detector 40.0, given; estimated it would be ([\d.]+)", capsys.readouterr().out)
    assert found is not None and abs(float(found[1]) - 51.5) <= 0.5


def test_tune_says_which_tau_are_as_good() -> None:
    def tuned(method: str, *scores: float) -> Any:
        trials = [SimpleNamespace(tau=t, sigma=5, score=SimpleNamespace(value=v)) for t, v in enumerate(scores, 1)]
        trials.append(SimpleNamespace(tau=0.1, sigma=10, score=SimpleNamespace(value=0.0)))
        return SimpleNamespace(method=method, sigma=5, trials=trials)

    assert "within 1 % of the best: τ = 2 to 3; a smaller" in as_good(tuned("gcv", 1.2, 1.005, 1.0, 1.02))
    assert as_good(tuned("gcv", 1.2, 1.0, 1.5)) == "" == as_good(tuned("discrepancy", 1.0, 1.0))
