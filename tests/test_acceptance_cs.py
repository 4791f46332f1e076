"""The acceptance's sections on block compressed sensing without a GPU: 24², blocks of 8², on the simulated device."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from asyncred_gpu.acceptance import block_cs
from asyncred_gpu.acceptance.block_cs import FORMS, TOLERANCES, Form, SensedProblems, check_before, judge_apart
from asyncred_gpu.acceptance.block_cs import make_sensed as make
from asyncred_gpu.acceptance.block_cs_arrays import check_arrays
from asyncred_gpu.acceptance.block_cs_checks import (
    check_replays,
    check_sensed_fixed_point,
    check_sensed_ordered,
    replay_points,
)
from asyncred_gpu.acceptance.block_cs_gradients import SIZES, TOLERANCE, floor_bytes, gradient_times
from asyncred_gpu.acceptance.block_cs_sweeps import PLANS, sensed_sweeps
from asyncred_gpu.acceptance.cases import Cases
from asyncred_gpu.acceptance.main import Plan, make_sections
from asyncred_gpu.acceptance.measured import Measured
from asyncred_gpu.operators.matrix import BlockCS
from asyncred_gpu.operators.matrix_device import NormalOnDevice, RowsOnDevice
from asyncred_gpu.operators.matrix_rows import RowsForm

from .acceptance_machine import SimulatedMachine, findings
from .helpers import LinearResidual, needs_compiler, small_network

M, N = 45, 64
MEASURED = Measured(1e9, {"float32": 1e9})


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: several threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def sensed():
    return make("CS, 24²", 24, small_network(0, 2, 4), torch.device("cpu"))


class PlayedArray(np.ndarray):
    """CuPy's array: where it lies, and a copy on the host."""

    __module__ = "cupy"

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def get(self):
        return np.array(self)


class MachineWithCuPy(SimulatedMachine):
    """CuPy as far as the acceptance and the package use it, on numpy."""

    def cupy(self):
        return sys.modules["cupy"]


@pytest.fixture
def played_cupy(monkeypatch):
    cupy, profiler = ModuleType("cupy"), ModuleType("cupyx.profiler")
    cupy.asarray = lambda array: np.array(array).view(PlayedArray)
    cupy.from_dlpack = lambda tensor: np.from_dlpack(tensor).view(PlayedArray)

    def benchmark(work, n_repeat, n_warmup):
        work()
        return SimpleNamespace(gpu_times=np.full((1, n_repeat), 9e-3))

    profiler.benchmark = benchmark
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx.profiler", profiler)
    return MachineWithCuPy()


# --- the problems ----------------------------------------------------------------------------------------------------


def test_the_problem_is_measured_with_the_noise_it_says(sensed):
    assert tuple(sensed.matrices.shape) == (9, M, N) and sensed.side == 8
    clean = sensed.operator().forward(sensed.truth)
    noise = np.linalg.norm(sensed.measured - clean) / np.linalg.norm(clean)
    assert -20 * np.log10(noise) == pytest.approx(30, abs=1e-3)
    assert sensed.operator()._rows.matrices.data_ptr() == sensed.matrices.data_ptr()


def test_the_large_problem_is_the_papers(monkeypatch):
    class Seen(Exception):
        pass

    def record(*sizes):
        raise Seen(sizes)

    monkeypatch.setattr(block_cs, "gaussian_matrices", record)
    problems = SensedProblems(SimulatedMachine(), Cases())
    for make_one, sizes in ((lambda: problems.large, (9, 4480, 6400)), (lambda: problems.small, (9, 717, 1024))):
        with pytest.raises(Seen) as seen:
            make_one()
        assert seen.value.args == (sizes,)


def test_what_comes_before_a_run_is_the_cpus(sensed):
    found = findings()
    check_before(found, SimulatedMachine(), sensed)
    assert not found.failures and [row[0] for row in found.tables[0]["rows"]] == list(TOLERANCES)
    assert set(found.data["CS, 24²"]) == {"CUDA", "fewer rows", "CPU"}


def test_what_comes_before_a_run_and_is_wrong_is_told(sensed, monkeypatch):
    """0.9 A on the device: the constants are 0.81 times theirs; a minibatch's counts in units of them, and is right."""

    def spoils(self, device, kernels):
        self._rows = RowsForm(0.9 * self._rows.matrices, self._rows.measurements)

    monkeypatch.setattr(BlockCS, "prepare_on", spoils)
    found = findings()
    check_before(found, SimulatedMachine(), sensed)
    told = [failure.split(":")[0] for failure in found.failures]
    assert told == [f"CS, 24², {name}" for name in TOLERANCES if name != "of a minibatch"]


@pytest.mark.parametrize(
    ("apart", "control", "words"),
    [(1e-6, 0.1, None), (2e-5, 0.1, "more than 1e-05"), (np.nan, 0.1, "nan apart"), (1e-6, 1e-6, "shows nothing")],
)
def test_a_difference_is_judged_beside_a_wrong_version(apart, control, words):
    found = findings()
    judge_apart(found, "x", apart, control, 1e-5)
    assert words in found.failures[0] if words else not found.failures


# --- on the device against the CPU -----------------------------------------------------------------------------------


@needs_compiler
def test_every_form_is_replayed_alike(sensed):
    points = replay_points([sensed])
    assert [(str(form), size) for _, form, size in points] == [
        ("rows", 1),
        ("rows in float16", 2),
        ("normal", 2),
        ("rows, 1/4 of them", 1),
    ]
    found = findings()
    check_replays(found, SimulatedMachine(), points)
    assert not found.failures and len(found.tables) == 4 and set(found.measured) == {"replay", "staleness"}
    late = findings(-1)
    check_replays(late, SimulatedMachine(), points)
    assert late.left_out[0].startswith("4 of 4: CS, 24², rows; CS, 24², rows in float16; ")


def test_of_the_larger_problem_two_forms_are_replayed(sensed):
    larger = replace(sensed, name="larger")
    assert [(one.name, str(form), size) for one, form, size in replay_points([sensed, larger])[4:]] == [
        ("larger", "rows in float16, 1/4 of them", 2),
        ("larger", "normal", 1),
    ]


@needs_compiler
def test_the_replays_form_is_what_runs(sensed, monkeypatch):
    """A form that is wrong on the device is told, and no other is."""
    working = NormalOnDevice.gradient
    monkeypatch.setattr(NormalOnDevice, "gradient", lambda self, batch: scaled(working(self, batch), batch.gradient))
    for form, wrong in ((FORMS[0], False), (FORMS[2], True)):
        found = findings()
        check_replays(found, SimulatedMachine(), [(sensed, form, 1)])
        assert bool(found.failures) == wrong
    assert "CS, 24², normal, 1 blocks a launch: CUDA's recorded image is" in found.failures[0]


def scaled(job, gradient):
    def run():
        job()
        gradient.mul_(1.01)

    return run


@needs_compiler
@pytest.mark.parametrize("wrong", [False, True])
def test_the_fixed_point_is_the_cpus(sensed, monkeypatch, wrong):
    """A linear denoiser lets the runs arrive; with τ = 0.3 another τ shows. Wrong: a device whose ∇g is too small."""
    if wrong:
        monkeypatch.setattr(NormalOnDevice, "gradient_scale", lambda self, count: 0.8)
    arriving = replace(sensed, network=LinearResidual(), tau=0.3)
    found = findings()
    check_sensed_fixed_point(found, SimulatedMachine(), arriving)
    assert [row[0] for row in found.tables[0]["rows"]] == ["CUDA", "CUDA, wrong τ", "CPU"]
    assert set(found.measured) == {"fixed_point"} and (found.measured["fixed_point"] <= 0.05) == (not wrong)
    assert bool(found.failures) == wrong


@needs_compiler
def test_ordered_runs_are_the_same_bits(sensed):
    found = findings()
    check_sensed_ordered(found, SimulatedMachine(), sensed, ("float32", "bfloat16"))
    assert not found.failures and found.measured == {"ordered": 0.0} and len(found.tables[0]["rows"]) == 2


# --- arrays ----------------------------------------------------------------------------------------------------------


@needs_compiler
def test_arrays_of_both_libraries_are_taken_as_they_are(sensed, played_cupy):
    found = findings()
    check_arrays(found, played_cupy, sensed)
    assert not found.failures and not found.left_out
    assert found.tables[0]["rows"] == [
        ["torch", "no", "yes", "torch.Tensor", "yes"],
        ["CuPy", "no", "yes", "cupy.PlayedArray", "yes"],
    ]


@needs_compiler
def test_where_cupy_has_no_gpu_its_arrays_are_left_out(sensed):
    found = findings()
    check_arrays(found, SimulatedMachine(), sensed)
    assert found.left_out == ["CuPy's arrays: planted: CuPy has no GPU"] and not found.failures
    assert [row[0] for row in found.tables[0]["rows"]] == ["torch"]


@needs_compiler
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("copies", "CuPy: matrices of the right precision were copied"),
        ("numpy", "CuPy: the image came back as numpy.ndarray, on cpu"),
        ("bits", "CuPy: the image has other bits than numpy's"),
    ],
)
def test_arrays_that_are_copied_or_changed_are_told(sensed, played_cupy, monkeypatch, change, words):
    whole = sys.modules["cupy"].asarray
    if change == "copies":
        working = BlockCS.__init__

        def copies(self, measurements, matrices, *rest, **options):
            working(self, measurements, matrices + 0, *rest, **options)

        monkeypatch.setattr(BlockCS, "__init__", copies)
    elif change == "numpy":
        monkeypatch.setattr(BlockCS, "like_input", lambda self, image: image)
    else:  # a measurement that lost its last bits on the way
        sys.modules["cupy"].asarray = lambda array: whole(array + 1e-3 if array.ndim == 2 else array)
    found = findings()
    check_arrays(found, played_cupy, sensed)
    assert words in found.failures


# --- gradients and sweeps --------------------------------------------------------------------------------------------


def test_the_floors_by_hand():
    """Twice the matrix, x in, the gradient out, y in; or N once, x and c in, the gradient out."""
    assert floor_bytes(Form("rows"), 4480, 6400) == 2 * 4 * 4480 * 6400 + 4 * (6400 + 6400 + 4480)
    assert floor_bytes(Form("rows", "float16"), 4480, 6400) == 2 * 2 * 4480 * 6400 + 4 * (6400 + 6400 + 4480)
    assert floor_bytes(Form("rows", every=4), 4480, 6400) == 2 * 4 * 1120 * 6400 + 4 * (6400 + 6400 + 1120)
    assert floor_bytes(Form("normal"), 4480, 6400) == 4 * (6400 * 6400 + 3 * 6400)


@needs_compiler
@pytest.mark.parametrize("with_cupy", [False, True])
def test_gradients_of_every_form_are_checked_and_timed(sensed, played_cupy, with_cupy):
    found = findings()
    gradient_times(found, played_cupy if with_cupy else SimulatedMachine(), MEASURED, sensed)
    assert not found.failures and not found.measured
    assert found.left_out == ([] if with_cupy else ["CuPy: planted: CuPy has no GPU"])
    rows = found.tables[0]["rows"]
    assert [(row[0], row[1]) for row in rows] == [(str(form), size) for form in FORMS for size in SIZES]
    for _, _, ours, floor, share, torchs, cupys, error in rows:
        assert ours > 0 and share == pytest.approx(floor / ours) and torchs > 0 and error <= TOLERANCE
        assert cupys == pytest.approx(1000) if with_cupy else cupys is None  # 9 ms of nine blocks
    assert rows[0][3] == pytest.approx(1e6 * floor_bytes(FORMS[0], M, N) / 1e9)


@needs_compiler
def test_a_gradient_that_is_wrong_is_told_and_not_timed(sensed, monkeypatch):
    working = RowsOnDevice.gradient
    monkeypatch.setattr(RowsOnDevice, "gradient", lambda self, batch: scaled(working(self, batch), batch.gradient))
    found = findings()
    gradient_times(found, SimulatedMachine(), MEASURED, sensed, FORMS[1:3], (9,))
    assert found.failures == ["rows in float16, 9 a launch: 1.0e-02 apart, more than 1e-05"]
    half, normal = found.tables[0]["rows"]
    assert half[2] is None and half[4] is None and normal[2] > 0


@needs_compiler
def test_a_form_that_fails_does_not_stop_the_others(sensed, monkeypatch):
    def fails(self, batch):
        raise RuntimeError("planted")

    monkeypatch.setattr(NormalOnDevice, "gradient", fails)
    found = findings()
    gradient_times(found, SimulatedMachine(), MEASURED, sensed, FORMS[2:], (3,))
    assert found.failures == ["normal: RuntimeError: planted"]
    assert [row[0] for row in found.tables[0]["rows"]] == ["rows, 1/4 of them"]


@needs_compiler
def test_sweeps_are_timed_against_the_cpus(sensed):
    found, measured = findings(), replace(MEASURED)
    sensed_sweeps(found, SimulatedMachine(), measured, sensed, FORMS[2:], sweeps=6, cpu_sweeps=6)
    rows = found.tables[0]["rows"]
    assert not found.failures and not found.measured and measured.best is None and len(rows) == 2 * len(PLANS)
    for row in rows:
        assert row[3] > 0 and (row[6] is None) == (row[0] == "rows, 1/4 of them")
    assert rows[0][6] == pytest.approx(1e3 * found.data["CPU"]["seconds"] / rows[0][3])
    assert rows[0][5] == pytest.approx(1e3 * 9 * floor_bytes(FORMS[2], M, N) / 1e9)
    late = findings(-1)
    sensed_sweeps(late, SimulatedMachine(), measured, sensed, FORMS[2:], sweeps=6, cpu_sweeps=6)
    assert late.left_out[0].startswith("6 of 6: normal, 8², 4 in flight, 1 a launch; ")


# --- whole -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
def test_the_sections_and_their_places(tmp_path, quick):
    sections = make_sections(Plan(None, tmp_path, quick))
    names = [section.name for section in sections]
    ours = [section for section in sections if section.name.startswith("CS: ")]
    assert len(ours) == 7 and all(section.needs_gpu for section in ours)
    assert names.index("ordered runs") < names.index("CS: problems") < names.index("CS: arrays")
    assert names.index("CS: arrays") < names.index("copy bandwidth") < names.index("conv roofline")
    assert names.index("conv roofline") < names.index("CS: gradients") < names.index("compute-sanitizer")
