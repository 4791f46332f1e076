"""What "auto" stands for, the denoiser that begins stronger, and the order in which neighbours are apart."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, cg

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser
from asyncred_gpu.denoiser import BlockDenoiser, DenoiserSettings
from asyncred_gpu.engine import growth_note
from asyncred_gpu.method import BLOCK_METHOD, Method, usual_data_updates
from asyncred_gpu.operators.geometry import missing_angle
from asyncred_gpu.operators.radon import project
from asyncred_gpu.result import Schedule, Status
from asyncred_gpu.scheduler import make_sampler, scattered_order

from .helpers import LinearResidual, blobs, relative, small_network, small_scan

AUTO = ("auto",) * 5


@pytest.fixture(scope="module")
def scan():
    return small_scan(size=48, angles=24, noise=0.5)


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.mark.parametrize(
    ("name", "usual", "crowded", "expected"),
    [
        ("fast", "preconditioned", False, Method("preconditioned", 0.5, "cyclic", None, 3)),
        ("fast", "block", False, Method("block", 0.8, "cyclic", None)),
        ("fast", "block", True, Method("block", 0.0, "cyclic", None)),
        ("paper", "preconditioned", False, Method("theory", 0.0, "uniform", 1.0)),
    ],
)
def test_what_auto_stands_for(name, usual, crowded, expected):
    assert Method.of(name, *AUTO, usual=usual, crowded=crowded) == expected


def test_what_is_named_is_taken():
    named = {"step": "global", "momentum": 0.4, "sampling": "epoch", "continuation": 3, "data_updates": 1}
    for name in ("fast", "paper"):
        found = Method.of(name, **named, usual="preconditioned", crowded=True)
        assert dataclasses.asdict(found) == named
    # A step of the theorems' isn't mixed with what they don't cover.
    assert Method.of("fast", "theory", *AUTO[1:], usual="block", crowded=False) == Method("theory", 0.0, "cyclic", 1.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "quick"}, "method='quick' isn't known. Pass one of fast, paper"),
        ({"continuation": 0.5}, "continuation=0.5 can't be. Pass a number >= 1"),
        ({"continuation": "strong"}, "continuation='strong' can't be"),
        ({"data_updates": -1}, "data_updates=-1"),
        ({"data_updates": 1.5}, "data_updates=1.5 isn't a whole number"),
        ({"momentum": "some"}, "momentum='some' can't be"),
        ({"sampling": "random"}, "Pass one of cyclic, epoch, uniform"),
    ],
)
def test_what_cannot_be_is_refused(scan, network, wrong, message):
    with pytest.raises(ValueError, match=message):
        GpuAsyncRED(scan[0], network, **wrong)


def test_the_fast_method_follows_the_problem(scan, network):
    operator, _ = scan
    assert GpuAsyncRED(operator, network).method.step == "preconditioned"
    assert GpuAsyncRED(operator, network, tau=0).method.step == "block"  # nothing would hold the noise down
    assert GpuAsyncRED(operator, network, method="paper").method == Method("theory", 0.0, "uniform", 1.0)


def test_more_data_updates_where_tau_is_small_or_angles_are_missing():
    assert [usual_data_updates(tau, False) for tau in (0.05, 0.0025, 0.00125, 1e-5, math.nan)] == [3, 3, 6, 16, 3]
    assert [usual_data_updates(tau, True) for tau in (0.05, 0.00125, 0.000625)] == [4, 4, 8]
    gap = math.radians(30)
    assert [usual_data_updates(tau, False, gap) for tau in (0.1, 0.05, 0.03, 0.01, math.nan)] == [8, 8, 14, 16, 8]
    assert [usual_data_updates(tau, True, gap) for tau in (0.025, 0.0125)] == [8, 16]
    assert usual_data_updates(0.05, False, math.radians(7)) == 3


@pytest.mark.parametrize(
    ("degrees", "missing"),
    [
        (np.arange(180), 0),
        (np.arange(0, 360, 0.5), 0),
        (np.arange(20) * 9, 0),  # few, and even
        (np.arange(120), 60),
        (np.arange(120)[::-1] + 300.0, 60),
        (np.r_[np.arange(80), np.arange(100, 180)], 20),
        (np.r_[np.arange(90), np.arange(180, 270)], 90),  # half of them from behind
        (np.arange(360), 0),
        (np.zeros(1), 180),
    ],
)
def test_missing_angles_are_found(degrees, missing):
    assert math.degrees(missing_angle(np.deg2rad(degrees))) == pytest.approx(missing, abs=1e-6)


def test_a_scan_with_missing_angles_has_more_data_updates(network):
    angles = np.deg2rad(np.arange(0, 120, 4.0))
    some = RadonCT(project(blobs(48, 48), angles, 69), angles, (48, 48), center=34.0)
    fan = {"source_distance": 200.0, "detector_distance": 50.0}
    for scan_of_120 in (some, RadonCT(some.sinogram, angles, (48, 48), **fan)):
        assert GpuAsyncRED(scan_of_120, network, tau=0.05).method.data_updates == 8
        assert GpuAsyncRED(scan_of_120, network, tau=0.01).method.data_updates == 16
        assert GpuAsyncRED(scan_of_120, network, tau=0.01, data_updates=2).method.data_updates == 2
        assert GpuAsyncRED(scan_of_120, network, tau=0.01, method="paper").method.data_updates == 0


@pytest.mark.usefixtures("one_process")
def test_missing_angles_are_met():
    """From 90 degrees: with the data updates of a whole scan it is further from the solution (conjugate gradients)."""
    angles, tau, denoiser = np.deg2rad(np.arange(0, 90, 3.0)), 0.02, LinearResidual()
    some = RadonCT(project(blobs(48, 48), angles, 69), angles, (48, 48), center=34.0)
    nothing = np.zeros((48, 48), np.float32)
    backward = some.gradient(nothing)

    def curvature(pixels):
        image = pixels.reshape(48, 48).astype(np.float32)
        left = denoiser(torch.from_numpy(image)[None, None])[0, 0].numpy()
        return (some.gradient(image) - backward + tau * left).ravel()

    hessian = LinearOperator((48 * 48, 48 * 48), curvature, dtype=np.float32)
    end = cg(hessian, -backward.ravel(), rtol=1e-6, maxiter=2000)[0].reshape(48, 48)
    settings = {"block_shape": (16, 16), "num_workers": 2, "order": "ordered", "device": "cpu", "precision": "float32"}
    usual, three = (
        relative(GpuAsyncRED(some, denoiser, tau, **settings, **few).run(max_sweeps=12).image, end)
        for few in ({}, {"data_updates": 3})
    )
    assert usual < 0.1 < 0.15 < three


def test_growth_at_the_end_is_noted():
    def noted(least, last, centered=True):
        # Before the third block's first update the sum is of two.
        history = {"block": [0, 1, 0, 2, 1, 2], "residual": [1.0, 1e-9, 1.0, 1.0, least, last], "sweep": range(1, 7)}
        return growth_note({name: np.array(values) for name, values in history.items()}, 3, centered)

    for least, last in ((1.0, 1.0), (0.5, 1.4), (1e-9, 1e-3), (0.02, 0.07), (0.0, 0.0), (1.0, math.nan)):
        assert noted(least, last) is None
    said = noted(0.02, 0.09)
    assert "‖G‖² ended at 0.09 of its start, far above its least, 0.02 after 5 sweeps" in said
    assert said.endswith("pass a larger tau, or more data_updates.")
    assert growth_note({"block": np.array([0, 1])}, 3, True) is None
    assert noted(0.0, 6.0, centered=False).endswith("Pass step='theory', or less momentum.")


@pytest.mark.usefixtures("one_process")
def test_a_run_that_moves_away_says_so():
    """A gap of 120 degrees that the data updates of a whole scan leave undone, and a denoiser that sharpens."""
    angles = np.deg2rad(np.arange(0, 60, 3.0))
    some = RadonCT(project(blobs(48, 48), angles, 69), angles, (48, 48), center=34.0)
    settings = {"block_shape": (16, 16), "num_workers": 2, "order": "ordered", "device": "cpu", "precision": "float32"}
    sharpening = small_network()
    result = GpuAsyncRED(some, sharpening, 0.005, **settings, data_updates=1).run(max_sweeps=12)
    assert any("moves away" in note for note in result.notes)


def test_the_strength_falls_every_sweep():
    plain, with_data_updates = (Method("preconditioned", 0.3, "cyclic", None, count) for count in (0, 2))
    assert [plain.strength(16.0, sweep) for sweep in range(6)] == [16, 8, 4, 2, 1, 1]
    assert [plain.strength(1.0, sweep) for sweep in range(2)] == [1, 1]
    assert [with_data_updates.strength(16.0, sweep) for sweep in range(4)] == [16, 4, 1, 1]


@pytest.mark.parametrize("layout", [(4, 4), (5, 3), (1, 6), (2, 2)])
def test_neighbours_are_apart(layout):
    order = scattered_order(layout, np.random.default_rng(0))
    assert sorted(order) == list(range(layout[0] * layout[1]))

    def touching(order):
        places = [divmod(block, layout[1]) for block in order]
        return sum(max(abs(r - s), abs(c - d)) == 1 for (r, c), (s, d) in pairwise(places))

    # Only where one quarter ends and the next begins may neighbours meet; row by row most of them do.
    assert touching(order) <= 3
    assert layout[0] < 4 or touching(range(len(order))) > 3


def test_a_cycle_is_repeated_and_an_epoch_is_not():
    for sampling in ("cyclic", "epoch"):
        sampler = make_sampler(sampling, (4, 4), seed=3)
        first, second = ([sampler.draw(number, set()) for number in range(16)] for _ in range(2))
        assert sorted(first) == sorted(second) == list(range(16))
        assert (first == second) == (sampling == "cyclic")
    # A busy block keeps its place.
    sampler = make_sampler("cyclic", (4, 4), seed=3)
    order = scattered_order((4, 4), np.random.default_rng(3))
    assert [sampler.draw(0, {order[0]}), sampler.draw(1, set())] == [order[1], order[0]]


def test_a_stronger_denoiser_is_the_network_at_another_scale(network):
    crop = np.random.default_rng(0).uniform(0, 1, (30, 26)).astype(np.float32)
    denoiser = BlockDenoiser(network, DenoiserSettings(network.receptive_radius, "float32", 0.5))
    halo = network.receptive_radius
    out = np.empty((30 - 2 * halo, 26 - 2 * halo), np.float32)
    for f in (1.0, 8.0):
        found = denoiser.residual(crop, out, strength=f).copy()
        whole = network(torch.from_numpy(crop / np.float32(0.5 * f))[None, None])[0, 0].detach().numpy()
        expected = 0.5 * f * whole[halo:-halo, halo:-halo]
        assert relative(found, expected) < 1e-5
        assert (relative(found, expected / f) > 0.1) == (f > 1)


@pytest.mark.usefixtures("one_process")
class TestRuns:
    """On simulated workers."""

    def solver(self, scan, network, **settings):
        usual = {"block_shape": (24, 24), "num_workers": 2, "precision": "float32", "order": "ordered"}
        usual |= {"data_updates": 0}
        return GpuAsyncRED(scan[0], network, 0.1, **usual | settings)

    def test_a_run_begins_stronger_from_the_operators_start_alone(self, scan, network):
        operator, _ = scan
        schedule = self.solver(scan, network).run(max_sweeps=6).schedule
        assert schedule.strength.tolist() == np.repeat([16, 8, 4, 2, 1, 1], 4).tolist()
        assert schedule.settings["continuation"] == 16
        # A start that fits its measurements needs none.
        exact, _ = small_scan(size=48, angles=60, noise=0.0)
        assert self.solver((exact,), network).run(max_sweeps=1).settings["continuation"] < 16
        from_an_image = self.solver(scan, network).run(max_sweeps=2, x0=operator.fbp())
        paper = self.solver(scan, network, method="paper").run(max_sweeps=2)
        for run in (from_an_image, paper):
            assert (run.schedule.strength == 1).all()
        asked = self.solver(scan, network, continuation=3.0).run(max_sweeps=3, x0=operator.fbp())
        assert asked.schedule.strength.tolist() == np.repeat([3.0, 1.5, 1.0], 4).tolist()

    def test_there_is_no_momentum_while_it_is_stronger(self, scan, network):
        schedule = self.solver(scan, network, step="block", continuation=4).run(max_sweeps=4).schedule
        assert schedule.momentum.tolist() == np.repeat([0, 0, 0.8, 0.8], 4).tolist()

    def test_it_changes_the_way_and_not_the_end(self):
        """With a trained network: a random one's G may have no zero that anything converges to."""
        scan, network = small_scan(size=32, angles=16, noise=0.05), load_denoiser("dncnn", sigma=5)
        ends, ways = [], []
        for continuation in (1, 16):
            changes = {"continuation": continuation, "intensity_scale": 1.0, "block_shape": (16, 16)}
            solver = self.solver(scan, network, **changes)
            ways.append(solver.run(max_sweeps=2).image)
            ends.append(solver.run(max_sweeps=400, tol=1e-9))
        assert all(end.status is Status.CONVERGED for end in ends)
        assert relative(*ways) > 1e-3
        assert relative(*(end.image for end in ends)) < 1e-4

    def test_no_run_is_called_converged_with_a_stronger_denoiser(self, scan, network):
        result = self.solver(scan, network).run(max_sweeps=8, tol=1e6)
        assert result.status is Status.CONVERGED
        assert len(result.schedule) == 20  # every block once with the network itself
        result = self.solver(scan, network, continuation=1).run(max_sweeps=8, tol=1e6)
        assert len(result.schedule) == 4

    def test_a_replay_repeats_the_strength(self, scan, network, tmp_path):
        result = self.solver(scan, network, order="free").run(max_sweeps=3)
        result.schedule.save(tmp_path / "schedule.npz")
        solver = self.solver(scan, network, order="free")
        again = solver.run(replay=tmp_path / "schedule.npz")
        assert np.array_equal(again.image, result.image)
        # Also from the image it began with, where a run of its own would have none.
        from_an_image = solver.run(replay=result.schedule, x0=scan[0].fbp())
        assert np.array_equal(from_an_image.image, result.image)
        assert from_an_image.settings["continuation"] == result.settings["continuation"] == 16
        weak = dataclasses.replace(result.schedule, strength=np.ones(len(result.schedule)))
        assert not np.array_equal(solver.run(replay=weak).image, result.image)

    def test_a_schedule_from_before_there_was_a_continuation_has_none(self, scan, network, tmp_path):
        schedule = self.solver(scan, network, **BLOCK_METHOD).run(max_sweeps=1).schedule
        schedule.save(tmp_path / "new.npz")
        with np.load(tmp_path / "new.npz") as file:
            np.savez(tmp_path / "old.npz", **{name: file[name] for name in file if name != "strength"})
        assert np.array_equal(Schedule.load(tmp_path / "old.npz").strength, schedule.strength)

    def test_a_strength_that_cannot_be_is_refused(self, scan, network):
        schedule = self.solver(scan, network).run(max_sweeps=1).schedule
        for value, message in ((-1.0, "a strength is negative"), (np.nan, "strength isn't finite")):
            with pytest.raises(ValueError, match=message):
                dataclasses.replace(schedule, strength=np.full(len(schedule), value)).check(4)
