"""A slow worker in simulated time: the clock against literal tables, and what order and λ make of it."""

import os
import pickle
from functools import cache

import numpy as np
import pytest
import torch

from asyncred_gpu.runtime.simulated_clock import TimedWorkers
from asyncred_gpu.slow_worker import (
    ASYNC,
    METHODS,
    SYNC,
    TIGHT,
    Method,
    Sleeping,
    Timed,
    even,
    ideal_ratio,
    make_solver,
    one_slow,
    simulate,
)
from asyncred_gpu.slow_worker_figure import Pair, slow_worker_figure
from asyncred_gpu.theory_problem import Average

from .helpers import small_scan


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A 24×24 convolution on several threads mostly waits for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def solver(method):
    scan, _ = small_scan(size=24, angles=8, noise=0.5, block=6)
    return make_solver(scan, Average(), method)


@cache
def run(method, durations, jitter=0.1, seed=0):
    return simulate(solver(method), durations, sweeps=12, jitter=jitter, seed=seed)


def pair(method, durations):
    return Pair(run(method, even()), run(method, durations))


# Commit times of 4 workers, the first of them 4 times slower, without jitter.
SYNC_TIMES = [4, 4, 4, 4, 8, 8, 8, 8]
# λ = 3: three commit, then all wait. The first worker reads before the three that waited for it commit.
TIGHT_TIMES = [1, 1, 1, 4, 4, 4, 4, 8, 8, 8, 8, 12]
ASYNC_TIMES = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6]
# λ = 3, the last worker slow: it reads after them.
LAST_TIMES = [1, 1, 1, 4, 4, 4, 4, 5, 5, 5, 8, 8, 8, 8, 9, 9, 9, 12]


@pytest.mark.parametrize(
    ("method", "place", "times"),
    [(SYNC, 0, SYNC_TIMES), (TIGHT, 0, TIGHT_TIMES), (TIGHT, 3, LAST_TIMES), (ASYNC, 0, ASYNC_TIMES)],
)
def test_commit_times_by_hand(method, place, times):
    found = run(method, one_slow(place=place), jitter=0.0).times
    assert found[: len(times)].tolist() == times


@pytest.mark.parametrize("method", METHODS)
def test_four_equal_workers_commit_four_at_a_time(method):
    assert run(method, even(), jitter=0.0).times[:12].tolist() == [1] * 4 + [2] * 4 + [3] * 4


class ForgetsIdleTime(TimedWorkers):
    """The wrong model: a worker begins where its own last update ended, not when it is given the next."""

    def on_read(self, update):
        self._due[self._chosen] += self._durations[self._chosen]


def test_a_clock_that_forgets_idle_time_is_found(monkeypatch):
    monkeypatch.setattr("asyncred_gpu.slow_worker.TimedWorkers", ForgetsIdleTime)
    wrong = simulate(solver(TIGHT), one_slow(place=3), sweeps=2).times[: len(LAST_TIMES)]
    assert wrong.tolist() != LAST_TIMES


def test_time_never_runs_back():
    for method in METHODS:
        assert (np.diff(run(method, one_slow()).times) >= 0).all()


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize(("method", "least", "most"), [(SYNC, 3.5, 4.1), (ASYNC, 1.15, 1.4)])
def test_what_a_slow_worker_costs(method, least, most, place):
    assert least < pair(method, one_slow(place=place)).ratio < most
    assert not least < Pair(run(method, even()), run(method, even(), seed=1)).ratio < most  # nobody is slow


def test_a_tight_bound_is_nearly_a_barrier():
    """While the slow one makes an update λ others may commit: with λ = P − 1 that is a barrier again."""
    assert 3.5 < pair(TIGHT, one_slow(place=0)).ratio < 4.1
    assert 2.0 < pair(TIGHT, one_slow(place=3)).ratio < 2.6  # the luckiest of the four
    assert run(TIGHT, one_slow()).largest_staleness == 3
    assert pair(Method("", "free", 12), one_slow()).ratio < 1.4


def test_nobody_waits_with_the_default_bound():
    found = Pair(run(ASYNC, even(), jitter=0.0), run(ASYNC, one_slow(), jitter=0.0)).ratio
    assert found == pytest.approx(ideal_ratio(), rel=0.02)
    assert ideal_ratio() == pytest.approx(16 / 13)
    assert Pair(run(SYNC, even(), jitter=0.0), run(SYNC, one_slow(), jitter=0.0)).ratio == pytest.approx(4.0)


def test_the_time_of_a_sweep_leaves_out_the_first_and_the_last():
    times = np.concatenate([np.linspace(50, 100, 4), 100 + 2.5 * np.arange(1, 9), [500, 600, 700, 800]])
    timed = Timed(blocks=4, times=times, result=run(SYNC, even()).result)
    assert timed.sweep_time == pytest.approx(10.0)
    assert np.polyfit(np.arange(16), times, 1)[0] * 4 > 50  # all of them


def sleeping(folder, place=0):
    """A denoiser as a worker has it."""
    return pickle.loads(pickle.dumps(Sleeping(Average(), 1, 0.04, 0.16, folder, place)))


@pytest.mark.parametrize(("place", "naps"), [(0, [0.04, 0.04]), (1, [0.16, 0.16]), (2, [0.04, 0.04])])
def test_the_worker_at_its_place_sleeps_longer(monkeypatch, tmp_path, place, naps):
    """This process between an older and a younger one; and the denoiser is the inner one."""
    slept = []
    monkeypatch.setattr("asyncred_gpu.slow_worker.time.sleep", slept.append)
    network, image = sleeping(tmp_path, place), torch.rand(1, 1, 5, 6)
    for other in (os.getpid() - 1, os.getpid() + 1):
        (tmp_path / str(other)).touch()
    assert all(torch.equal(network(image), Average()(image)) for _ in range(2))
    assert slept == naps


def test_without_a_folder_nobody_is_slow(monkeypatch):
    slept = []
    monkeypatch.setattr("asyncred_gpu.slow_worker.time.sleep", slept.append)
    sleeping(None)(torch.rand(1, 1, 5, 6))
    assert slept == [0.04]


def test_the_figure_and_its_panels():
    scan, truth = small_scan(size=24, angles=8, block=6)
    runs = {}
    for method in METHODS:
        chosen = make_solver(scan, Average(), method)
        runs[method.name] = Pair(*(simulate(chosen, times, 3, reference=truth) for times in (even(), one_slow())))
    figure = slow_worker_figure(runs, (3, 4), {"first": (4.0, 3.0), "last": (2.3, 2.0)}, ideal_ratio(), 4.0)
    assert len(figure.axes) == 3
