"""Updates of the data term alone: what they compute, when they come, that the end is the same, and what counts."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, load_denoiser
from asyncred_gpu.denoiser import DenoiserSettings
from asyncred_gpu.engine import guarded
from asyncred_gpu.method import Method
from asyncred_gpu.monitor import Monitor, StepGuard
from asyncred_gpu.red import Moved, Step, follow
from asyncred_gpu.result import Status
from asyncred_gpu.runtime.base import WorkerSetup
from asyncred_gpu.scheduler import EpochSampler, FreeScheduler, Pattern, PatternSampler, Ticket, make_sampler
from asyncred_gpu.slots import slot_layout
from asyncred_gpu.task import Task
from asyncred_gpu.worker import BlockUpdate

from .helpers import relative, small_network, small_scan

TAU = 0.3


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def scan():
    return small_scan(size=48, angles=24, noise=0.5, block=24)[0]


def solver(scan, network, **settings):
    usual = {"block_shape": (24, 24), "num_workers": 2, "precision": "float32", "device": "cpu"}
    return GpuAsyncRED(scan, network, **usual | {"tau": 0.1} | settings)


# --- one update ------------------------------------------------------------------------------------------------------


@pytest.fixture
def worker_and_slots(scan, network):
    halo = network.receptive_radius
    filter_ = scan.preconditioning(TAU, 2.0).filter
    setup = WorkerSetup(scan, network, DenoiserSettings(halo, "float32", 1.0), TAU, None, filter=filter_)
    layout = slot_layout(scan)
    slots = layout.views(bytearray(layout.nbytes))
    worker = setup.make_worker(slots)
    for block, pixels in enumerate(scan.grid.split(scan.fbp())):
        slots[block][0].pixels[:] = pixels
        worker.prime(block)
    return worker, slots


def update(worker, block, front, step, subset=None):
    task = Task(0, block, np.array(front, np.int8), step, subset, granted=True)
    (done, *_), _ = zip(*worker.run([BlockUpdate(task)]), strict=True)
    return done.moved


def test_the_center_begins_as_the_start_image(worker_and_slots):
    _, slots = worker_and_slots
    assert all(np.array_equal(pair[0].center, pair[0].pixels) for pair in slots)


def data_gradient(scan, image, subset=None):
    """∇g by the whole image's operators."""
    part = scan if subset is None else scan.restricted(subset)
    weight = 1 if subset is None else scan.measurements / len(subset)
    return np.float32(weight * scan.scale) * part.adjoint(part.forward(image) - part.sinogram)


def denoised(network, image, strength):
    mirrored = np.pad(image, network.receptive_radius, mode="reflect")
    noise = network.interior(torch.from_numpy(mirrored / np.float32(strength))[None, None])[0, 0].numpy()
    return image - np.float32(strength) * noise


def filtered(scan, gradient):
    inverse = scan.preconditioning(TAU, 2.0).filter
    shape = gradient.shape
    return np.fft.irfft2(inverse.inverse * np.fft.rfft2(gradient, inverse.shape), inverse.shape)[: shape[0], : shape[1]]


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("subset", [None, np.array([0, 5, 11, 20])])
def test_three_updates_of_a_block_by_the_whole_images_operators(worker_and_slots, scan, network, subset, dual):
    """x ← x + (z⁺ − z) − γP(∇g + τ(x − z)); z⁺ = D(x) + βm where the denoiser is asked.

    With plug-and-play it is asked for s = x + u, all blocks' u; u⁺ = s − D(s), z⁺ = D(s) − u⁺, in the place of m.
    """
    worker, slots = worker_and_slots
    others = np.random.default_rng(2).standard_normal(scan.image_shape).astype(np.float32) if dual else 0 * scan.fbp()
    for (slot, _), part in zip(slots[1:], scan.grid.split(others)[1:], strict=True):
        slot.momentum[:] = part
    window, image = scan.grid.window(0), scan.fbp()
    x = image[window.slices].copy()
    z, m = x.copy(), np.zeros_like(x)
    steps = [
        Step(0.8, 0.5, False, strength=4.0, centered=True),
        Step(0.7, 0.0, False, strength=0.0, centered=True),
        Step(0.6, 0.5, False, strength=1.0, centered=True),
    ]
    steps = [step._replace(dual=dual, momentum=0.0 if dual else step.momentum) for step in steps]
    for count, step in enumerate(steps):
        front = [count % 2, 0, 0, 0]
        moved = update(worker, 0, front, step, subset)
        gradient = data_gradient(scan, image, subset)[window.slices]
        ahead, expected = z, gradient + TAU * (x - z)
        if not step.keeps:
            others[window.slices] = m if dual else 0
            seen = image + others
            now = denoised(network, seen, step.strength)[window.slices]
            residual = seen[window.slices] - now
            expected = gradient + TAU * residual
            restarted = not dual and float(np.vdot(expected, m)) > 0
            assert moved.restarted == restarted
            ahead = now - residual if dual else now + (0 if restarted else step.momentum) * m
        assert moved.gradient_squared == pytest.approx(float(np.vdot(expected, expected)), rel=1e-4)
        new = x + (ahead - z) - step.length * filtered(scan, gradient + TAU * (x - z))
        m = m if step.keeps else residual if dual else ahead - z
        there = slots[0][1 - count % 2]
        assert relative(there.pixels - x, new - x) < 1e-4
        assert relative(there.momentum, m) < 1e-4
        assert relative(there.center, ahead) < 1e-5
        share = scan.forward_block(0, there.pixels, out=np.empty(scan.share_shape(0), np.float32))
        assert np.array_equal(there.share, share)
        x, z, m = there.pixels.copy(), there.center.copy(), there.momentum.copy()
        image = image.copy()
        image[window.slices] = x
    assert m.any()


class TestFollow:
    """Its corners, on a few pixels."""

    def go(self, pixels, center, data_gradient, residual, step, mask=None, momentum=None, tau=0.5):
        arrays = [np.array([values], np.float32) for values in (pixels, momentum or [0.0] * len(pixels), center)]
        given = [np.array([values], np.float32) for values in (data_gradient, residual)]
        moved = follow(*arrays, *given, tau, step, None if mask is None else np.array([mask], np.float32))
        return [array[0].tolist() for array in arrays], moved

    def test_where_the_data_say_nothing_the_block_is_its_center_at_once(self):
        step = Step(1e-3, 0.5, False, centered=True)
        (x, m, z), _ = self.go([1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [0.25, -0.5], step)
        assert (x, z, m) == ([0.75, 2.5], [0.75, 2.5], [-0.25, 0.5])
        (x, _, z), moved = self.go(x, z, [0.0, 0.0], [0.25, -0.5], step, momentum=m)
        assert (x, z) == ([0.375, 3.25], [0.375, 3.25]) and not moved.restarted

    def test_momentum_that_points_uphill_is_dropped(self):
        step = Step(1.0, 0.5, False, centered=True)
        (x, m, _), moved = self.go([1.0], [1.0], [0.0], [0.25], step, momentum=[1.0])
        assert (x, m, moved.restarted) == ([0.75], [-0.25], True)

    def test_a_pixel_held_at_zero_stays_while_its_center_is_below(self):
        # Without the data its center rises, but is negative still; the second one's rises above 0.
        (x, _, z), moved = self.go(
            [0.0, 0.0], [-2.0, -0.5], [0.0, 0.0], [1.0, -1.0], Step(0.1, 0.0, True, centered=True)
        )
        assert z == [-1.0, 1.0]
        assert x == [0.0, 1.0]
        assert moved.gradient_squared == pytest.approx(0.25)  # only the second may move

    def test_beyond_the_field_of_view_nothing_moves(self):
        step = Step(1.0, 0.5, False, centered=True)
        (x, _, _), moved = self.go([0.0, 1.0], [0.0, 1.0], [3.0, 0.0], [-1.0, 0.5], step, mask=[0.0, 1.0])
        assert x == [0.0, 0.5]
        assert moved.gradient_squared == pytest.approx(0.0625)

    def test_plug_and_play_by_hand(self):
        # s = x + u = 1.5, D(s) = 1.25: u⁺ = 0.25, z⁺ = 1; x goes along by z⁺ − z = 0.5, then by −γ(1 + τ(x − z⁺)).
        step = Step(0.1, 0.0, False, centered=True, dual=True)
        (x, u, z), moved = self.go([1.0], [0.5], [1.0], [0.25], step, momentum=[0.5])
        assert (u, z) == ([0.25], [1.0])
        assert x == pytest.approx([1.5 - 0.1 * (1 + 0.5 * 0.5)])
        assert moved.gradient_squared == pytest.approx((1 + 0.5 * 0.25) ** 2)

    def test_plug_and_plays_dual_variable_stays_in_the_field_of_view(self):
        step = Step(0.1, 0.0, False, centered=True, dual=True)
        (x, u, _), _ = self.go([0.0, 1.0], [0.0, 1.0], [3.0, 0.0], [-1.0, 0.5], step, mask=[0.0, 1.0])
        assert x[0] == 0 and u == [0.0, 0.5]

    def test_what_is_not_finite_is_told(self):
        _, moved = self.go([1.0], [1.0], [float("nan")], [0.0], Step(1.0, 0.0, False, centered=True))
        assert not moved.finite


# --- which update is which -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "repeats", "expected"),
    [(1, 2, ".==.==.==."), (2, 1, "..==..==..=="), (3, 0, "........")],
)
def test_the_pattern(group, repeats, expected):
    pattern = Pattern(group, repeats)
    assert "".join(".="[pattern.keeps(number)] for number in range(len(expected))) == expected
    assert [pattern.asking(number) for number in range(len(expected))] == [
        expected[:number].count(".") for number in range(len(expected))
    ]
    assert [pattern.asking(pattern.total(count)) for count in range(20)] == list(range(20))
    assert pattern.total(6 * group) == 6 * group * (1 + repeats)
    assert pattern.total(0) == 0


def test_either_kind_has_an_order_of_its_own():
    def sampler():
        return EpochSampler(4, np.random.default_rng(0), [2, 0, 3, 1])

    both = PatternSampler(Pattern(2, 1), sampler(), sampler())
    assert [both.draw(number, set()) for number in range(8)] == [2, 0, 2, 0, 3, 1, 3, 1]
    both.give_back(Ticket(1, 0, 0))  # asked the denoiser
    both.give_back(Ticket(6, 2, 0))  # did not
    assert [both.draw(number, set()) for number in (1, 6)] == [0, 2]
    assert [both.draw(number, set()) for number in range(8, 12)] == [2, 0, 2, 0]
    assert [both.draw(number, {0, 3}) for number in range(12, 14)] == [1, 2]


@pytest.mark.parametrize("victims", [(), (0,), (5,), (0, 1, 5, 6, 12)])
def test_a_lost_update_is_made_up_for_in_its_own_group(victims):
    """Every block asks the denoiser once a group and is updated as often as the others after it, whoever is lost."""
    blocks, pattern = 4, Pattern(4, 1)
    sampler = PatternSampler(pattern, *(make_sampler("cyclic", (2, 2), seed=0) for _ in range(2)))
    scheduler = FreeScheduler(sampler, in_flight=2, max_staleness=8, limit=pattern.total(3 * blocks))
    lost, commits = set(), []
    while not scheduler.exhausted:
        while (ticket := scheduler.issue()) is not None:
            if ticket.number in victims and ticket.number not in lost:
                lost.add(ticket.number)
                scheduler.abandon(ticket)
            else:
                scheduler.finish(ticket)
        while (ticket := scheduler.next_commit()) is not None:
            scheduler.commit(ticket)
            commits.append(ticket)
    assert lost == set(victims)
    assert sorted(ticket.number for ticket in commits) == list(range(pattern.total(3 * blocks)))
    by_number = [ticket.block for ticket in sorted(commits)]
    assert all(sorted(by_number[k : k + blocks]) == list(range(blocks)) for k in range(0, len(by_number), blocks))


def test_independent_draws_are_independent_of_those_that_ask(scan, network):
    """With "uniform"; in the other samplings both kinds go in the same order."""
    for sampling, alike in (("uniform", False), ("epoch", True), ("cyclic", True)):
        both = solver(scan, network, sampling=sampling)._sampler()
        group = len(scan.grid)
        asking, keeping = ([both.draw(number, set()) for number in range(k, k + group)] for k in (0, group))
        assert (asking == keeping) == alike


def test_the_guard_drops_the_momentum_of_those_that_have_one():
    guard = StepGuard(1)
    for residual in (1.0, 30.0):
        guard.judge(residual)
    kept, asked = Step(1.0, 0.0, False, 0.0), Step(1.0, 0.5, False)
    assert guard.momentum == 0.5
    assert guarded(kept, guard, 0) == Step(0.5, 0.0, False, 0.0)
    assert [guarded(asked, guard, 0).momentum for _ in range(2)] == [0.0, 0.5]


def test_what_was_to_start_from_rest_and_is_lost_starts_from_rest_again():
    guard, asked = StepGuard(2), Step(1.0, 0.5, False)
    guard.was_lost(0)  # before any shrink: nothing to make up for
    assert guarded(asked, guard, 0).momentum == 0.5
    for residual in (1.0, 30.0):
        guard.judge(residual)
    assert guarded(asked, guard, 0).momentum == 0.0
    guard.was_lost(0)
    assert [guarded(asked, guard, 0).momentum for _ in range(2)] == [0.0, 0.5]


def test_momentum_that_makes_the_residual_swing_is_halved():
    """Of blocks that go along with their centers alone, and their steps stay."""
    guard, centered, plain = StepGuard(1), Step(1.0, 0.4, False, centered=True), Step(1.0, 0.4, False)
    found = []
    for residual in (1.0, 0.1, 0.19, 0.21, 0.3, 0.43, 0.01, 0.019, 0.05):
        guard.judge(residual)
        found.append(guarded(centered, guard, 0).momentum)
        assert guarded(plain, guard, 0) == plain
    assert found == pytest.approx([0.4, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.1, 0.05])
    assert guarded(centered, guard, 0).length == 1.0


def test_the_residual_is_of_those_that_ask_the_denoiser(scan):
    monitor = Monitor(scan.grid, scan.fbp(), None, 1.0)

    def record(block, squared, strength):
        return monitor.record(0, block, 0, Moved(squared, False, True), lambda: scan.fbp(), 0.0, strength)

    for block in range(4):
        record(block, 8.0, 1.0)
    assert monitor.complete
    told = record(2, 1e9, 0.0)
    assert (told.residual, told.sweep, monitor.settled) == (1.0, 1.0, True)
    assert record(2, 4.0, 1.0).residual == pytest.approx(28 / 32)
    assert not Monitor(scan.grid, scan.fbp(), None, 1.0).complete


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_process")
class TestRuns:
    """On simulated workers."""

    def test_a_sweep_is_every_block_denoised_once(self, scan, network):
        result = solver(scan, network, data_updates=3, order="ordered").run(max_sweeps=3)
        strengths = result.schedule.strength
        assert len(strengths) == 4 * 3 * (1 + 3)
        assert strengths[strengths > 0].tolist() == np.repeat([4.0, 1.0, 1.0], 4).tolist()
        assert result.history["sweep"][-1] == 3 and result.status is Status.MAX_SWEEPS
        assert (result.schedule.momentum[strengths == 0] == 0).all()
        for kind in (strengths > 0, strengths == 0):
            blocks = result.schedule.block[kind]
            assert np.bincount(blocks).tolist() == [len(blocks) // 4] * 4
        ends = result.sweep_seconds
        assert len(ends) == 3
        assert ends[-1] == result.history["seconds"][-1]
        assert ends[0] == result.history["seconds"][np.flatnonzero(result.history["sweep"] == 1)[-1]]

    def test_a_run_without_updates_has_no_sweep(self, scan, network):
        assert len(solver(scan, network).run(max_sweeps=0).sweep_seconds) == 0

    def test_the_end_is_the_same_and_the_way_is_shorter(self):
        scan, network = small_scan(size=32, angles=16, noise=0.05)[0], load_denoiser("dncnn", sigma=5)
        ends, away = {}, {}
        for count in (0, 2):
            settings = {"data_updates": count, "order": "ordered", "intensity_scale": 1.0, "block_shape": (16, 16)}
            ends[count] = solver(scan, network, **settings).run(max_sweeps=400, tol=1e-9)
            away[count] = relative(solver(scan, network, **settings).run(max_sweeps=4).image, ends[count].image)
        assert all(end.status is Status.CONVERGED for end in ends.values())
        assert relative(ends[2].image, ends[0].image) < 2e-4
        assert away[2] < 0.85 * away[0]

    @pytest.mark.parametrize("options", [{"minibatch": 12}, {"nonnegative": True, "field_of_view": "circle"}, {}])
    @pytest.mark.parametrize("order", ["free", "ordered", "sync"])
    def test_a_replay_is_the_same(self, scan, network, order, options, tmp_path):
        result = solver(scan, network, order=order, **options).run(max_sweeps=2)
        result.schedule.save(tmp_path / "schedule.npz")
        assert (result.schedule.strength == 0).sum() == 4 * (3 + 3)
        again = solver(scan, network, num_workers=1, **options).run(replay=tmp_path / "schedule.npz")
        assert np.array_equal(again.image, result.image)
        # What is replayed is the record's: without its data updates it is another image.
        other = dataclasses.replace(result.schedule, strength=np.ones(len(result.schedule)))
        assert not np.array_equal(solver(scan, network, **options).run(replay=other).image, result.image)

    def test_a_replay_tells_of_the_record(self, scan, network):
        """Whatever the solver that replays would do itself."""
        result, told = solver(scan, network, seed=5).run(max_sweeps=2), []
        again = solver(scan, network, data_updates=0, momentum=0.1).run(
            replay=result.schedule, callbacks=(told.append,)
        )
        assert again.settings == again.schedule.settings == result.settings
        assert result.settings["data_updates"] == 3 and result.settings["seed"] == 5
        assert told[-1].sweep == told[-1].total_sweeps == 2

    def test_where_they_are_by_default(self, scan, network):
        assert solver(scan, network).method.data_updates == 3
        for settings in ({"method": "paper"}, {"step": "block"}, {"tau": 0.0}):
            assert solver(scan, network, **settings).method.data_updates == 0


def test_processes_give_the_simulations_image(scan, network):
    one, two = (solver(scan, network, order="ordered").run(max_sweeps=2) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    free = solver(scan, network, num_workers=2).run(max_sweeps=3)
    again = solver(scan, network, num_workers=1).run(replay=free.schedule)
    assert np.array_equal(free.image, again.image)


def test_the_momentum_grows_once_the_denoiser_is_itself():
    """Nesterov's (k − 1)/(k + 2), up to the momentum asked for."""
    method = Method("preconditioned", 0.5, "cyclic", None, 4)
    found = [method.momentum_at(4.0, sweeps) for sweeps in (0.0, 0.9, 1.0, 1.9, 2.5, 3.0, 4.0, 5.0, 9.0)]
    assert found == pytest.approx([0, 0, 0, 0, 0.5 / 3.5, 0.25, 0.4, 0.5, 0.5])
    assert [method.momentum_at(1.0, sweeps) for sweeps in (0.0, 2.0, 3.0)] == pytest.approx([0, 0.25, 0.4])
    without = Method("preconditioned", 0.3, "cyclic", None, 0)
    assert [without.momentum_at(4.0, sweeps) for sweeps in (0.0, 1.9, 2.0, 9.0)] == [0, 0, 0.3, 0.3]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("tau", "grows"), [(1e-3, True), (0.1, False)])
@pytest.mark.parametrize("prior", ["red", "pnp"])
def test_a_tau_too_small_for_the_data_updates_is_told(prior, tau, grows):
    few = small_scan(size=48, angles=6, noise=0.05, block=24)[0]
    settings = {"tau": tau, "prior": prior, "data_updates": 1, "order": "ordered", "intensity_scale": 1.0}
    notes = solver(few, load_denoiser("dncnn", sigma=5), **settings).run(max_sweeps=20).notes
    assert any("pass a larger tau, or more data_updates" in note for note in notes) == grows


@pytest.mark.parametrize(
    ("prior", "tau", "count"),
    [
        *(("red", 0.1, 3), ("red", 0.0025, 3), ("red", 0.00125, 6), ("red", 0.001, 8), ("red", 1e-6, 16)),
        *(("pnp", 0.00125, 4), ("pnp", 0.0005, 10), ("pnp", 1e-6, 16)),
    ],
)
def test_a_smaller_tau_takes_more_data_updates(scan, network, prior, tau, count):
    assert solver(scan, network, prior=prior, tau=tau).method.data_updates == count
    assert solver(scan, network, prior=prior, tau=tau, data_updates=2).method.data_updates == 2


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("before", [True, False], ids=["before the run", "by the run"])
def test_a_tau_that_was_chosen_has_its_data_updates(scan, network, before, monkeypatch):
    chosen = solver(scan, network, tau="auto")
    assert chosen.method.data_updates == 3
    quick = {"taus": [0.0005], "first_sweeps": 1, "sweeps": 1}
    if before:
        chosen.tune(x0="fbp", **quick)
    else:
        monkeypatch.setattr(chosen, "tune", partial(chosen.tune, **quick))
    result = chosen.run(max_sweeps=2)
    assert result.settings["data_updates"] == chosen.method.data_updates == 15
    assert len(result.schedule) == 4 * 2 * (1 + 15)


@pytest.mark.usefixtures("one_process")
def test_with_few_angles_and_a_small_tau_more_data_updates_come_closer():
    """With two what the workers misplace stays longer."""
    few = small_scan(size=64, angles=15, noise=0.05, block=32)[0]
    network = load_denoiser("dncnn", sigma=5)

    def gradient(**settings):
        run = solver(few, network, tau=0.001, block_shape=(32, 32), **settings).run(max_sweeps=12)
        return run.history["residual"][-1]

    assert gradient() < 0.5 * gradient(data_updates=2)


@pytest.mark.usefixtures("one_process")
def test_a_schedule_from_before_there_were_centers_is_refused(scan, network):
    schedule = solver(scan, network).run(max_sweeps=1).schedule
    older = dataclasses.replace(schedule, settings={**schedule.settings, "centered": None})
    with pytest.raises(ValueError, match="the version that recorded it"):
        solver(scan, network).run(replay=older)


# --- plug-and-play ---------------------------------------------------------------------------------------------------


def whole_image_step(scan, network, tau, image):
    """D(x − ∇g(x)/τ) by the whole image's operators."""
    return denoised(network, image - data_gradient(scan, image) / np.float32(tau), 1.0)


@pytest.mark.usefixtures("one_process")
class TestPlugAndPlay:
    """prior="pnp"."""

    @pytest.mark.parametrize("options", [{}, {"step": "block", "num_workers": 1}, {"order": "free", "num_workers": 2}])
    def test_it_ends_at_plug_and_plays_solution(self, options):
        scan, network = small_scan(size=32, angles=16, noise=0.05)[0], load_denoiser("dncnn", sigma=5)
        usual = {"intensity_scale": 1.0, "block_shape": (16, 16)}
        settings = usual | {"order": "ordered", "prior": "pnp"} | options
        end = solver(scan, network, **settings).run(max_sweeps=600, tol=1e-7)
        assert end.status is Status.CONVERGED
        assert relative(whole_image_step(scan, network, 0.1, end.image), end.image) < 1e-4
        if not options:  # RED's solution is another one
            red = solver(scan, network, **usual).run(max_sweeps=100).image
            assert relative(whole_image_step(scan, network, 0.1, red), red) > 3e-3

    @pytest.mark.parametrize("options", [{"minibatch": 12}, {"nonnegative": True, "field_of_view": "circle"}, {}])
    def test_a_replay_is_the_same_and_reds_is_another(self, scan, network, options, tmp_path):
        result = solver(scan, network, prior="pnp", **options).run(max_sweeps=3)
        assert result.settings["prior"] == "pnp" and (result.schedule.momentum == 0).all()
        result.schedule.save(tmp_path / "schedule.npz")
        again = solver(scan, network, prior="pnp", num_workers=1, **options).run(replay=tmp_path / "schedule.npz")
        assert np.array_equal(again.image, result.image)
        with pytest.raises(ValueError, match="prior"):
            solver(scan, network, **options).run(replay=tmp_path / "schedule.npz")

    def test_it_has_data_updates_and_no_momentum(self, scan, network):
        for settings in ({}, {"step": "block"}):
            method = solver(scan, network, prior="pnp", **settings).method
            assert (method.data_updates, method.momentum) == (4, 0)
