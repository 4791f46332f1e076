"""Updates of the data term alone: what they compute, when they come, that the end is the same, and what counts."""

import dataclasses

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, load_denoiser
from asyncred_gpu.denoiser import DenoiserSettings
from asyncred_gpu.engine import guarded
from asyncred_gpu.method import Method
from asyncred_gpu.monitor import Monitor, StepGuard
from asyncred_gpu.red import Moved, Step
from asyncred_gpu.result import Status
from asyncred_gpu.runtime.base import WorkerSetup
from asyncred_gpu.scheduler import EpochSampler, Pattern, PatternSampler, Ticket
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
    for _ in worker.run([BlockUpdate(Task(0, block, np.array(front, np.int8), step, subset, granted=True))]):
        pass


def test_what_is_denoised_begins_as_the_start_image(worker_and_slots):
    _, slots = worker_and_slots
    assert all(np.array_equal(pair[0].denoised, pair[0].pixels) for pair in slots)


@pytest.mark.parametrize("subset", [None, np.array([0, 5, 11, 20])])
def test_an_update_without_the_denoiser_takes_what_it_said_last(worker_and_slots, scan, network, subset):
    """x ← x − γP(∇g + τ(x − z)), z = D(x) of the update before; by the whole image's operators."""
    worker, slots = worker_and_slots
    image = scan.fbp()
    update(worker, 0, [0, 0, 0, 0], Step(0.8, 0.5, False, strength=4.0), subset)
    asked = slots[0][1]
    mirrored = np.pad(image, network.receptive_radius, mode="reflect")
    noise = 4 * network.interior(torch.from_numpy(mirrored / 4)[None, None])[0, 0].numpy()
    window = scan.grid.window(0)
    assert relative(asked.denoised, (image - noise)[window.slices]) < 1e-5

    now = image.copy()
    now[window.slices] = asked.pixels
    pixels, momentum, denoised = (array.copy() for array in (asked.pixels, asked.momentum, asked.denoised))
    update(worker, 0, [1, 0, 0, 0], Step(0.7, 0.0, False, strength=0.0), subset)
    kept = slots[0][0]
    part = scan if subset is None else scan.restricted(subset)
    gradient = np.float32(scan.scale) * part.adjoint(part.forward(now) - part.sinogram)[window.slices]
    gradient *= 1 if subset is None else scan.measurements / len(subset)
    gradient += np.float32(TAU) * (pixels - denoised)
    inverse = scan.preconditioning(TAU, 2.0).filter
    direction = np.fft.irfft2(inverse.inverse * np.fft.rfft2(gradient, inverse.shape), inverse.shape)[:24, :24]
    assert relative(kept.pixels - pixels, -0.7 * direction) < 1e-4
    assert np.array_equal(kept.momentum, momentum)
    assert momentum.any()
    assert np.array_equal(kept.denoised, denoised)
    share = scan.forward_block(0, kept.pixels, out=np.empty(scan.share_shape(0), np.float32))
    assert np.array_equal(kept.share, share)


# --- which update is which -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "repeats", "expected"), [(1, 2, ".==.==.=="), (2, 1, "..==..==."), (3, 0, "........")]
)
def test_the_pattern(group, repeats, expected):
    pattern = Pattern(group, repeats)
    assert "".join(".="[pattern.keeps(number)] for number in range(len(expected))) == expected
    assert [pattern.asking(number) for number in range(len(expected))] == [
        expected[:number].count(".") for number in range(len(expected))
    ]
    assert [pattern.asking(pattern.total(count)) for count in range(20)] == list(range(20))
    assert pattern.total(6 * group) == 6 * group * (1 + repeats)


def test_either_kind_has_an_order_of_its_own():
    def sampler():
        return EpochSampler(4, np.random.default_rng(0), [2, 0, 3, 1])

    both = PatternSampler(Pattern(2, 1), sampler(), sampler())
    assert [both.draw(set()) for _ in range(8)] == [2, 0, 2, 0, 3, 1, 3, 1]
    both.give_back(Ticket(5, 1, 0))  # asked the denoiser
    both.give_back(Ticket(7, 3, 0))  # did not
    assert [both.draw(set()) for _ in range(4)] == [1, 2, 3, 2]
    assert [both.draw({0, 3}) for _ in range(2)] == [1, 2]


def test_the_guard_drops_the_momentum_of_those_that_have_one():
    guard = StepGuard(1)
    for residual in (1.0, 30.0):
        guard.judge(residual)
    kept, asked = Step(1.0, 0.0, False, 0.0), Step(1.0, 0.5, False)
    assert guarded(kept, guard, 0) == Step(0.5, 0.0, False, 0.0)
    assert [guarded(asked, guard, 0).momentum for _ in range(2)] == [0.0, 0.5]


def test_the_residual_is_of_those_that_ask_the_denoiser(scan):
    monitor = Monitor(scan.grid, scan.fbp(), None, 1.0)

    def record(block, squared, strength):
        return monitor.record(0, block, 0, Moved(squared, False, True), lambda: scan.fbp(), 0.0, strength)

    for block in range(4):
        record(block, 8.0, 1.0)
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
        assert len(strengths) == 3 * 4 * (1 + 3)
        assert strengths[strengths > 0].tolist() == np.repeat([16.0, 4.0, 1.0], 4).tolist()
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
        scan, network = small_scan(size=48, angles=24, noise=0.05)[0], load_denoiser("dncnn", sigma=5)
        ends, away = {}, {}
        for count in (0, 2):
            settings = {"data_updates": count, "order": "ordered", "intensity_scale": 1.0}
            ends[count] = solver(scan, network, **settings).run(max_sweeps=400, tol=1e-9)
            away[count] = relative(solver(scan, network, **settings).run(max_sweeps=4).image, ends[count].image)
        assert all(end.status is Status.CONVERGED for end in ends.values())
        assert relative(ends[2].image, ends[0].image) < 1e-4
        assert away[2] < 0.85 * away[0]

    @pytest.mark.parametrize("options", [{"minibatch": 12}, {"nonnegative": True, "field_of_view": "circle"}, {}])
    @pytest.mark.parametrize("order", ["free", "ordered", "sync"])
    def test_a_replay_is_the_same(self, scan, network, order, options, tmp_path):
        result = solver(scan, network, order=order, **options).run(max_sweeps=2)
        result.schedule.save(tmp_path / "schedule.npz")
        assert (result.schedule.strength == 0).sum() == 2 * 2 * 4
        again = solver(scan, network, num_workers=1, **options).run(replay=tmp_path / "schedule.npz")
        assert np.array_equal(again.image, result.image)
        # What is replayed is the record's: without its data updates it is another image.
        other = dataclasses.replace(result.schedule, strength=np.ones(len(result.schedule)))
        assert not np.array_equal(solver(scan, network, **options).run(replay=other).image, result.image)

    def test_where_they_are_by_default(self, scan, network):
        assert solver(scan, network).method.data_updates == 2
        for settings in ({"method": "paper"}, {"step": "block"}, {"tau": 0.0}):
            assert solver(scan, network, **settings).method.data_updates == 0


def test_processes_give_the_simulations_image(scan, network):
    one, two = (solver(scan, network, order="ordered").run(max_sweeps=2) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    free = solver(scan, network, num_workers=2).run(max_sweeps=3)
    again = solver(scan, network, num_workers=1).run(replay=free.schedule)
    assert np.array_equal(free.image, again.image)


def test_a_gpu_has_none_yet(scan, network):
    choices = ("fast", "preconditioned", "auto", "auto", "auto")
    here = {"usual": "preconditioned", "crowded": False, "on_cpu": False}
    assert Method.of(*choices, **here).data_updates == 0
    with pytest.raises(ValueError, match="isn't to be had on a GPU yet"):
        Method.of(*choices, 2, **here)


@pytest.mark.usefixtures("one_process")
def test_a_schedule_that_has_them_is_refused_on_a_gpu(scan, network):
    schedule = solver(scan, network).run(max_sweeps=1).schedule
    elsewhere = solver(scan, network, data_updates=0)
    elsewhere.devices = ("cuda:0",)
    with pytest.raises(ValueError, match="Replay it with device='cpu'"):
        elsewhere.run(replay=schedule)
