"""The paper's experiments: their problems, their arithmetic, and the whole command on small images."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from asyncred_gpu import BlockCS, GpuAsyncRED, snr
from asyncred_gpu.baselines import gm_red
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.paper import main as command
from asyncred_gpu.paper import tables
from asyncred_gpu.paper.ct import ct
from asyncred_gpu.paper.demo import blocks_apart
from asyncred_gpu.paper.numbers import DEMO_ROWS, NAMES, TABLE_2, demo_step, rows_of
from asyncred_gpu.paper.problems import Measurer, TestImage, load_images
from asyncred_gpu.paper.section import Report, Section, Table
from asyncred_gpu.paper.study import Study, average, random_snr
from asyncred_gpu.warm_starts import warm_start

from .helpers import LinearResidual, blobs, relative, small_network

TestImage.__test__ = False  # pytest would take it for a test


@pytest.fixture
def small(monkeypatch, one_process):
    """Images of 48×48 in blocks of 16, so that an experiment takes seconds."""
    monkeypatch.setattr("asyncred_gpu.paper.problems.IMAGE_SIDE", 48)
    for module in ("tables", "study", "demo", "variations", "equal_time"):
        monkeypatch.setattr(f"asyncred_gpu.paper.{module}.SIDE", 16)
    monkeypatch.setattr("asyncred_gpu.paper.demo.DEMO_ROWS", 170)
    monkeypatch.setattr("asyncred_gpu.paper.demo.PAPER_SWEEPS", 3)
    monkeypatch.setattr("asyncred_gpu.paper.demo.DEMO_CURVE", {1: 5.0, 2: 6.0})
    for module in ("tables", "variations"):
        levels = {24: {"average": 1.0, "cameraman": 2.0}, 16: {"average": 1.0, "cameraman": 2.0}}
        monkeypatch.setattr(f"asyncred_gpu.paper.{module}.TABLE_1", levels)
        monkeypatch.setattr(f"asyncred_gpu.paper.{module}.TABLE_2", {60: 1.0})
    monkeypatch.setattr("asyncred_gpu.paper.variations.WAY", (1, 2))


@pytest.fixture
def folder(tmp_path):
    """Three images to choose from, and a file that is none."""
    for number in range(3):
        grey = (255 * blobs(48, 48, number)).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{number + 1:02d}.png")
    (tmp_path / "readme.txt").write_text("no image")
    return tmp_path


def study_of(folder, count=1, **changes):
    images = load_images(folder, count)
    said = []
    study = Study(images, small_network(depth=3), 2, 2, "cpu", said.append, folder, folder / "report")
    return study, said


def test_the_papers_settings_are_those_of_the_supplement():
    assert [rows_of(side) for side in (120, 80, 60)] == [10080, 4480, 2520] and DEMO_ROWS == 66**2
    assert demo_step(0.8007) == pytest.approx(0.27767, abs=1e-5) and set(TABLE_2) == {1120, 2240, 3360}
    # Marchenko and Pastur: the demo's L is about 4.89, and the same matrices give it
    assert (1 + np.sqrt(6400 / DEMO_ROWS)) ** 2 == pytest.approx(4.89, abs=5e-3)


def test_images_are_read_in_order(small, folder):
    images = load_images(folder, 2)
    assert [test.name for test in images] == list(NAMES[:2]) and [test.tau for test in images] == [0.8007, 1.4991]
    assert images[0].image.shape == (48, 48) and images[0].image.max() <= 1
    assert relative(images[1].image, blobs(48, 48, 1)) < 0.01 < relative(images[0].image, blobs(48, 48, 1))
    with pytest.raises(FileNotFoundError, match=r"holds 3 images, the experiments take 6: cameraman, house"):
        load_images(folder)


def test_measurements_have_thirty_decibels_and_share_their_matrices(small):
    measurer = Measurer(16)
    first, second = (measurer.measure(TestImage(name, blobs(48, 48, k), 1.0)) for k, name in enumerate(NAMES[:2]))
    for problem in (first, second):
        clean = problem.operator.forward(problem.test.image)
        assert snr(problem.measurements, clean) == pytest.approx(30, abs=1e-3)
        assert problem.operator.measurements == rows_of(16) == 179
    assert first.operator._rows.matrices.data_ptr() == second.operator._rows.matrices.data_ptr()
    assert first.operator._constants[0] == second.operator._constants[0]
    assert first.operator.fingerprint != second.operator.fingerprint
    noise = [p.measurements - p.operator.forward(p.test.image) for p in (first, second)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("form", ["rows", "normal"])
def test_other_measurements_give_the_operator_made_of_them(form):
    random = np.random.default_rng(0)
    matrices = random.standard_normal((4, 40, 36)).astype(np.float32)
    first, second = (random.standard_normal((4, 40)).astype(np.float32) for _ in range(2))
    image = random.standard_normal((12, 12)).astype(np.float32)
    operator = BlockCS(first, matrices, (12, 12), form=form)
    operator.gradient(image)
    expected = BlockCS(second, matrices, (12, 12), form=form).gradient(image)
    assert relative(operator.with_measurements(second).gradient(image), expected) < 1e-6
    assert relative(operator.gradient(image), expected) > 0.1
    with pytest.raises(ValueError, match=r"measurements \(3, 40\): each row is one measurement"):
        operator.with_measurements(second[:3])


def test_the_demos_blocks_know_nothing_of_each_other(small):
    """Put together from single blocks: each is the solution of its own image, and not that with true neighbours."""
    measurer = Measurer(16)
    problem = measurer.measure(TestImage("cameraman", blobs(48, 48), 0.8))
    study = Study([problem.test], LinearResidual(), 2, 2, "cpu", print, Path(), Path())
    start = problem.operator.start("least-squares")
    found = blocks_apart(study, measurer, problem, start)
    whole = gm_red(problem.operator, study.network, 0.8, intensity_scale=1.0, max_sweeps=80, x0=start).image
    operator, here = measurer.blocks_apart(problem)[4], problem.operator.grid.window(4).slices
    alone = GpuAsyncRED(operator, study.network, 0.8, num_workers=1, pad=10, intensity_scale=1.0, momentum=0.0)
    assert alone.operator.grid == BlockGrid((16, 16), (16, 16))
    image = alone.run(200, x0=np.ascontiguousarray(start[here])).image
    assert relative(found[here], image) < 2e-3 < relative(whole[here], image)


def test_a_warm_start_ends_closer_than_as_many_sweeps(small):
    problem = Measurer(16).measure(TestImage("cameraman", blobs(48, 48), 0.8))
    network = small_network(depth=3)
    options = {"num_workers": 2, "order": "ordered", "device": "cpu", "precision": "float32", "continuation": 1.0}
    scales = []

    class Watching(GpuAsyncRED):
        def __init__(self, *arguments, intensity_scale, **others):
            scales.append(intensity_scale)
            super().__init__(*arguments, intensity_scale=intensity_scale, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncred_gpu.warm_starts.GpuAsyncRED", Watching)
        found = warm_start(problem.operator, network, 0.8, 0.5, factors=(4, 2), max_sweeps=2, **options)
    assert scales == [2.0, 1.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "asyncred_gpu.warm_starts.choose_scale", lambda scale, start, operator: 0.5 if scale is None else 1
        )
        assert np.array_equal(
            warm_start(problem.operator, network, 0.8, factors=(4, 2), max_sweeps=2, **options), found
        )
    image = GpuAsyncRED(problem.operator, network, 0.8, intensity_scale=2.0, **options).run(2).image
    image = GpuAsyncRED(problem.operator, network, 0.8, intensity_scale=1.0, **options).run(2, x0=image).image
    assert np.array_equal(found, image)


def test_without_the_factor_a_minibatch_solves_for_another_tau(small, folder, monkeypatch):
    """(w/m)·G of a problem whose τ is m/w times as large, and the all-rows line is what table 1 has."""
    study, _ = study_of(folder)
    asked = []
    run = Study.run

    def watched(self, problem, start, sweeps=None, **changes):
        asked.append((changes["tau"] / problem.test.tau, changes.get("minibatch"), changes.get("momentum", 0.8)))
        return run(self, problem, start, sweeps, **changes)

    monkeypatch.setattr(Study, "run", watched)
    section = Section("table2", "")
    tables.table_2(study, section)
    m = rows_of(16)
    factor = pytest.approx(m / 60)
    assert asked == [(1, None, 0.8), (1, 60, 0.0), (factor, None, 0.8), (factor, 60, 0.0)]
    assert [row[:2] for row in section.tables[0].rows] == [[m, "all rows"], [60, "with"], [60, "without"]]


def test_tables_say_ours_the_papers_and_the_difference():
    assert tables.compared(29.5, 29.0) == [29.5, 29.0, 0.5] and tables.compared(29.5, None) == [29.5, None, None]
    assert average({"a": 1.0, "b": 3.0}) == 2.0
    table = Table("T", ["a", "b", "c"], [[1, 2.345, None]])
    assert table.markdown() == "**T**\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2.35 |  |"


def test_a_random_gradients_level_is_a_mean_over_the_last_sweeps():
    history = {"sweep": np.arange(1, 11) / 1.0, "snr": np.array([0, 0, 0, 0, 0, 1, 2, 3, 4, 5.0])}

    class Fake:
        def run(self, problem, start, **options):
            assert options == {"tau": 0.5, "minibatch": 7, "momentum": 0.0}
            return SimpleNamespace(history=history)

    assert random_snr(Fake(), None, None, 7, 0.5) == 3.0 and random_snr(Fake(), None, None, 7, 0.5, sweeps=1) == 5.0


def test_a_report_keeps_the_sections_of_earlier_runs(tmp_path):
    order = ("one", "two")
    report = Report(tmp_path / "r", "Title", ["fact"])
    section = Section("two", "Second", remarks=["said"], figures={"F": "f.png"}, seconds=3)
    section.table("T", "x").append([1.0])
    report.add(section, order)
    again = Report(tmp_path / "r", "Title", ["fact"])
    again.load()
    again.add(Section("one", "First"), order)
    text = (tmp_path / "r.md").read_text()
    assert text.index("## First") < text.index("## Second") and "- said" in text and "![F](f.png)" in text
    assert list(json.loads((tmp_path / "r.json").read_text())) == ["one", "two"]


@pytest.mark.parametrize(
    "section", ["demo", "table1", "table2", "table3", "figure7", "precision", "resampling", "tau", "minibatches"]
)
def test_every_experiment_runs_through_the_command(small, folder, section, capsys, monkeypatch):
    monkeypatch.setattr(command, "QUICK_SWEEPS", 2)
    monkeypatch.setattr("asyncred_gpu.paper.study.warm_start", lambda operator, *a, **k: operator.start("adjoint"))
    monkeypatch.setattr(command, "load_network", lambda name: small_network(depth=3))
    monkeypatch.setattr("asyncred_gpu.paper.demo.MIRRORED_GRADIENTS", 2)
    monkeypatch.setattr(
        "asyncred_gpu.paper.main.equal_time.equal_time",
        lambda study, section, seconds, real=command.equal_time.equal_time: real(study, section, 0.2),
    )
    words = [
        "--quick",
        "--images",
        str(folder),
        "--output",
        str(folder / "out"),
        "--sections",
        section,
        "--workers",
        "2",
    ]
    assert command.main(words) == 0
    text = (folder / "out" / "paper_dncnn_quick.md").read_text()
    assert command.TITLES[section] in text and "| --- |" in text
    for figure in json.loads((folder / "out" / "paper_dncnn_quick.json").read_text())[section]["figures"].values():
        assert (folder / "out" / figure).stat().st_size > 5000
    assert command.main(words) == 2
    assert "exists already. Pass --update to replace its sections" in capsys.readouterr().out


def test_the_ct_experiment(folder, monkeypatch, one_process):
    monkeypatch.setattr("asyncred_gpu.paper.ct.TV_WEIGHTS", (1e-4, 1e-3))
    study = Study([], small_network(depth=3), 2, 2, "cpu", print, folder, folder / "report")
    section = Section("ct", "CT")
    ct(study, section, 64, 24, 2)
    rows = {row[0]: row for row in section.tables[0].rows}
    assert rows["FBP"][3] < rows["Async-RED-BG"][3] and "Async-RED-SG, 8 angles" in rows and len(rows) == 8
    assert all((folder / name).exists() for name in section.figures.values()) and len(section.figures) == 2


def test_what_cannot_be_is_refused(tmp_path, capsys):
    assert command.main(["--quick", "--images", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "holds 0 images" in capsys.readouterr().out
    assert command.main(["--quick", "--images", str(tmp_path), "--denoiser", "no.npz", "--output", str(tmp_path)]) == 2
    assert "neither a shipped denoiser" in capsys.readouterr().out
    for words in (["--images", "x"], ["--quick", "--full", "--images", "x"], ["--quick"]):
        with pytest.raises(SystemExit):
            command.main(words)
