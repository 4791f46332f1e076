"""Consistency under adversarial orders: every read is a past state, bit for bit; staleness is bounded."""

from functools import cache

import numpy as np
import pytest

from asyncred_gpu import GpuAsyncRED, Schedule, Status, WorkerError
from asyncred_gpu.blocks import halo_crop
from asyncred_gpu.buffer import DoubleBuffer
from asyncred_gpu.runtime.simulated import RandomDurations, RandomOrder, SimulatedRuntime, Starving
from asyncred_gpu.scheduler import FreeScheduler

from .helpers import ALL_RUNS, small_network, small_scan

UPDATES = 48
# Every bound with ASYNCRED_ALL_RUNS=1; else the least, the next one, one in between and the most.
BOUNDS = [
    (workers, bound)
    for workers in (1, 2, 4, 8)
    for bound in range(workers - 1, 21)
    if ALL_RUNS or bound in (workers - 1, workers, 12, 20)
]
POLICIES = {
    "random": lambda workers, seed: RandomOrder(seed),
    "starved": lambda workers, seed: Starving({0}, seed),
    "half starved": lambda workers, seed: Starving(set(range(0, workers, 2)), seed),
    "durations": lambda workers, seed: RandomDurations(workers, seed),
}


@cache
def scan_of_sixteen_blocks():
    return small_scan(size=24, angles=8, noise=0.5, block=6)[0]


@cache
def tiny_network(seed):
    return small_network(seed, depth=2, channels=4)


class Trial:
    """A small run on the simulated runtime that keeps every read and every state."""

    def __init__(self, policy, replay=None, lose=(), victims=1, x0="fbp", network=0, **options):
        scan, network = scan_of_sixteen_blocks(), tiny_network(network)
        self._victims = victims
        options = {"num_workers": 2, "precision": "float32", "seed": 3, "intensity_scale": 1.0} | options
        self.solver = GpuAsyncRED(scan, network, block_shape=(6, 6), **options)
        self.reads, self.states = {}, []
        self._lose = set(lose)

        def make(setup, workers, image):
            self.runtime = SimulatedRuntime(setup, workers, image, policy(workers), self._on_read)
            return self.runtime

        self.result = self.solver._run(make, None, UPDATES, None, None, x0, None, (self._after,), replay)

    def _on_read(self, update):
        if not self.states:  # the state after no commit at all
            self._snapshot(np.zeros(len(self.solver.operator.grid), int))
        seen = update.center if update.task.step.keeps else update.crop
        copies = (seen.copy(), update.residual.copy(), update.pixels.copy(), update.momentum.copy())
        self.reads[update.task.number] = copies

    def _after(self, progress):
        front = self._front.copy()
        front[progress.block] = 1 - front[progress.block]
        self._snapshot(front)
        if progress.update in self._lose:
            for worker in range(self._victims):
                self.runtime.lose((progress.update + worker) % self.solver.parallelism.workers)

    def _snapshot(self, front):
        self._front = front
        slots = [pair[slot] for pair, slot in zip(self.runtime.slots, front, strict=True)]
        self.states.append([tuple(a.copy() for a in (s.pixels, s.momentum, s.share, s.center)) for s in slots])

    def expected_read(self, version, block, keeps):
        """What an update of `block` must see of the state after `version` commits."""
        state, operator = self.states[version], self.solver.operator
        crop = halo_crop(operator.grid, block, self.solver.halo)
        inside, out = np.empty(crop.inside_shape, np.float32), np.empty(crop.shape, np.float32)
        for piece in crop.pieces:
            inside[piece.target] = state[piece.block][0][piece.source]
        crop.mirror(inside, out)
        residual = np.empty(operator.share_shape(block), np.float32)
        operator.residual_block(block, [share for _, _, share, _ in state], out=residual)
        return state[block][3] if keeps else out, residual, state[block][0], state[block][1]

    def wrong_reads(self):
        """How many reads differ from the state they name; every update's number is its draw."""
        schedule = self.result.schedule
        return sum(
            any(
                not np.array_equal(found, wanted)
                for found, wanted in zip(self.reads[draw], self.expected_read(version, block, keeps), strict=True)
            )
            for draw, version, block, keeps in zip(
                schedule.draw, schedule.read, schedule.block, schedule.strength == 0, strict=True
            )
        )


def staleness_of(path):
    """From the saved schedule alone: its place among the commits, less the version it read."""
    schedule = Schedule.load(path)
    return np.arange(len(schedule)) - schedule.read


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("workers", "bound"), BOUNDS)
def test_reads_are_past_states_and_staleness_is_bounded(workers, bound, policy, tmp_path):
    seed = 100 * workers + bound
    trial = Trial(lambda n: POLICIES[policy](n, seed), num_workers=workers, max_staleness=bound, momentum=0.5)
    assert trial.result.status is Status.MAX_UPDATES
    assert len(trial.result.schedule) == len(trial.states) - 1 == UPDATES
    assert trial.wrong_reads() == 0
    trial.result.schedule.save(tmp_path / "schedule.npz")
    staleness = staleness_of(tmp_path / "schedule.npz")
    assert staleness.max() <= bound and staleness.min() >= 0
    assert np.array_equal(staleness, trial.result.history["staleness"])


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_without_the_gate_staleness_exceeds_the_bound(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(FreeScheduler, "admits", lambda self, ticket: True)
    trial = Trial(lambda n: Starving({0}, 0), num_workers=workers, max_staleness=workers - 1)
    trial.result.schedule.save(tmp_path / "schedule.npz")
    assert staleness_of(tmp_path / "schedule.npz").max() > workers - 1


def test_a_missing_wait_for_readers_is_found(monkeypatch):
    """The bit comparison can fail: a writer that doesn't wait for leases tears a read."""
    monkeypatch.setattr(DoubleBuffer, "writable", lambda self, block: True)
    wrong = 0
    for seed in range(10):
        trial = Trial(lambda n, s=seed: Starving({0}, s), num_workers=4, max_staleness=20, sampling="uniform")
        wrong += trial.wrong_reads()
    assert wrong > 0


@pytest.mark.parametrize("per_launch", [1, 2])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_ordered_runs_are_the_same_bit_for_bit(workers, per_launch):
    runs = [
        Trial(POLICY, num_workers=workers, blocks_per_launch=per_launch, order="ordered", momentum=0.8)
        for POLICY in (lambda n: RandomOrder(1), lambda n: Starving({0}, 2), lambda n: RandomDurations(n, 3))
    ]
    in_flight = workers * per_launch
    for run in runs:
        assert run.wrong_reads() == 0
        assert np.array_equal(run.result.schedule.read, np.maximum(0, np.arange(UPDATES) - in_flight + 1))
        assert np.array_equal(run.result.image, runs[0].result.image)
    other = Trial(lambda n: RandomOrder(1), num_workers=workers, order="ordered", momentum=0.8, seed=4)
    assert not np.array_equal(other.result.image, runs[0].result.image)


@pytest.mark.parametrize("minibatch", [None, 3])
@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_a_free_run_replays_to_the_same_image(workers, minibatch, tmp_path):
    options = {"max_staleness": 20, "momentum": 0.5, "minibatch": minibatch}
    free = Trial(lambda n: Starving({0}, 5), num_workers=workers, **options)
    free.result.schedule.save(tmp_path / "schedule.npz")
    for replayers, seed in ((workers, 1), (1, 0), (3, 2)):
        replay = Trial(
            lambda n, s=seed: RandomOrder(s),
            num_workers=replayers,
            replay=tmp_path / "schedule.npz",
            seed=99,
            **(options | {"max_staleness": 20}),
        )
        assert replay.result.status is Status.REPLAYED
        assert np.array_equal(replay.result.image, free.result.image)
        for name in ("block", "read", "commit", "step", "momentum", "draw"):
            assert np.array_equal(getattr(replay.result.schedule, name), getattr(free.result.schedule, name))
    assert not np.array_equal(Trial(lambda n: RandomOrder(7), num_workers=8).result.image, free.result.image)


def test_a_replay_with_other_settings_is_refused():
    free = Trial(lambda n: RandomOrder(0))
    for change, name in (
        ({"tau": 0.03}, "tau was 0.02, is 0.03"),
        ({"x0": "zeros"}, "start was"),
        ({"network": 1}, "denoiser was"),
    ):
        with pytest.raises(ValueError, match=f"recorded with other settings: {name}"):
            Trial(lambda n: RandomOrder(0), replay=free.result.schedule, **change)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("block", [0, 99], r"commit 1 is of block 99 of 16"),
        ("read", [0, 2], r"commit 1 read version 2"),
        ("block", [0, 0], r"commit 1 read version 0, before its block's last commit"),
        ("step", [0.1, np.nan], r"a step, momentum or strength isn't finite"),
        ("draw", [0], r"its arrays have lengths \[1, 2\]"),
    ],
)
def test_an_impossible_schedule_is_refused(name, values, message):
    good = {"block": [0, 1], "read": [0, 0], "commit": [0, 1], "step": [0.1, 0.1], "momentum": [0, 0], "draw": [0, 1]}
    good |= {"strength": [2.0, 1.0]}
    Schedule(**{key: np.array(value) for key, value in good.items()}, settings={}).check(16)
    with pytest.raises(ValueError, match=message):
        Schedule(**{key: np.array(value) for key, value in (good | {name: values}).items()}, settings={}).check(16)


@pytest.mark.parametrize("seed", range(4))
def test_lost_workers_are_replaced_and_nothing_is_lost(seed):
    undisturbed = Trial(lambda n: RandomOrder(seed), num_workers=3, order="ordered")
    disturbed = Trial(lambda n: RandomOrder(seed), num_workers=3, order="ordered", lose=(5, 9, 25))
    assert np.array_equal(disturbed.result.image, undisturbed.result.image)
    assert len(disturbed.result.notes) == 3 and "it was replaced" in disturbed.result.notes[0]
    free = Trial(lambda n: RandomOrder(seed), num_workers=3, max_staleness=5, lose=(5, 9, 25))
    assert len(free.result.schedule) == UPDATES and free.wrong_reads() == 0
    assert free.result.schedule.staleness.max() <= 5


@pytest.mark.parametrize("order", ["ordered", "free", "sync"])
@pytest.mark.parametrize("seed", range(12))
def test_two_workers_lost_at_once_with_several_blocks_a_launch(seed, order):
    options = {"num_workers": 4, "blocks_per_launch": 2, "order": order}
    at = 6 + seed
    disturbed = Trial(lambda n: RandomOrder(seed), lose=(at,), victims=2, **options)
    assert len(disturbed.result.schedule) == UPDATES and disturbed.wrong_reads() == 0
    if order != "free":
        assert np.array_equal(disturbed.result.image, Trial(lambda n: RandomOrder(0), **options).result.image)


@pytest.mark.parametrize("seed", range(6))
def test_blocks_outside_the_field_of_view_do_not_alarm_the_guard(seed):
    """Their gradient is zero: a sum over the first few blocks says nothing of ‖G‖ yet."""
    assert not Trial(lambda n: RandomOrder(seed), seed=seed, field_of_view="circle", sampling="uniform").result.notes


def test_a_machine_that_keeps_losing_workers_ends_with_an_error_that_names_one():
    with pytest.raises(WorkerError, match=r"worker 1 was ended by the simulation; 3 workers were replaced before"):
        Trial(lambda n: RandomOrder(0), lose=(3, 5, 9, 13))


def test_a_run_that_diverges_stops_with_the_last_finite_image():
    trial = Trial(lambda n: RandomOrder(0), num_workers=4, step=1e30)
    assert trial.result.status is Status.DIVERGED
    assert np.isfinite(trial.result.image).all()
    assert "diverged" in trial.result.status.explanation


def test_the_guard_shrinks_a_step_that_is_too_long():
    trial = Trial(lambda n: RandomOrder(0), num_workers=1, step=50.0)
    assert "every step was halved" in trial.result.notes[0]
    assert trial.result.schedule.step[-1] < 50.0
    assert not Trial(lambda n: RandomOrder(0), num_workers=1, step="block").result.notes
