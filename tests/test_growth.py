"""How cost grows: the fit, the estimate of memory against what is measured, and throughput in simulated time."""

import json
import mmap
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from asyncred_gpu import GpuAsyncRED, load_denoiser, stage_times
from asyncred_gpu.empty_worker import Interpreter, empty_worker
from asyncred_gpu.growth import fixed_growth, power_fit, stage_fits
from asyncred_gpu.growth_figure import growth_figure
from asyncred_gpu.growth_report import report
from asyncred_gpu.growth_run import Case, Measured
from asyncred_gpu.growth_tables import checked_fixed, checked_memory
from asyncred_gpu.memory_estimate import MIB, MemoryEstimate, array_bytes, estimate_memory, projector_bytes
from asyncred_gpu.memory_watch import MemoryWatch, Sample, children, counters
from asyncred_gpu.runtime.shared import anonymous_memory, shared_object
from asyncred_gpu.runtime.simulated_clock import TimedWorkers
from asyncred_gpu.slots import slot_layout
from asyncred_gpu.slow_worker import ASYNC, SYNC, make_solver, simulate
from asyncred_gpu.stage_times import STAGES, middle_block, stage_seconds, update_seconds
from asyncred_gpu.theory_problem import Average
from asyncred_gpu.throughput import (
    DELAYS,
    LOOSE,
    METHODS,
    NO_DELAY,
    Throughput,
    lognormal_delay,
    pareto_delay,
    scaling,
    throughput,
    tiny_problem,
)

from .helpers import small_scan

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
SIZES = (256, 512, 1024, 2048)
INTERPRETER = Interpreter(170 * MIB, 110 * MIB)


# --- the fit ---------------------------------------------------------------------------------------------------------


def through_the_values(sizes, values):
    """The wrong fit: a line through the values themselves, whose slope is no exponent."""
    slope, _ = np.polyfit(sizes, values, 1)
    return SimpleNamespace(exponent=slope)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 2.37, 4.0])
@pytest.mark.parametrize("fit", [power_fit, through_the_values])
def test_the_fit_finds_the_exponent(fit, exponent):
    found = fit(SIZES, [3e-6 * size**exponent for size in SIZES])
    assert (abs(found.exponent - exponent) < 1e-9) == (fit is power_fit)


def test_the_fit_goes_through_noise_and_knows_its_factor():
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, len(SIZES)))
    fit = power_fit(SIZES, 3e-6 * np.array(SIZES) ** 2.0 * noise)
    assert fit.exponent == pytest.approx(2.0, abs=0.05)
    assert fit(1024) == pytest.approx(3e-6 * 1024**2, rel=0.05)


@pytest.mark.parametrize(("sizes", "values"), [((256,), (1.0,)), ((256, 256), (1.0, 2.0)), ((256, 512), (1.0, 0.0))])
def test_what_has_no_exponent_is_refused(sizes, values):
    with pytest.raises(ValueError, match="No power law goes through"):
        power_fit(sizes, values)


# --- memory ----------------------------------------------------------------------------------------------------------


def solver(size=256, angles=58, workers=2, block=None, **options):
    scan, _ = small_scan(size=size, angles=angles, block=block)
    settings = {"step": "preconditioned", "precision": "float32", "device": "cpu"} | options
    if block is None:  # four blocks, however many workers
        settings = {"block_shape": (size // 2, size // 2)} | settings
    return GpuAsyncRED(scan, load_denoiser("dncnn", sigma=5), num_workers=workers, **settings)


@linux
@pytest.mark.own_workers
def test_the_estimate_of_a_run_is_near_what_is_measured(one_thread):
    """On top of what this process, which is pytest's, has already. The wrong estimate forgets one worker of two."""
    chosen, others = solver(), [os.getpid(), *children()]  # processes of other tests may still be there
    before = sum(counters(process).own for process in others)
    estimate, empty = estimate_memory(chosen), empty_worker()
    with MemoryWatch() as watch:
        chosen.run(max_sweeps=1)
    assert watch.peak.processes == len(others) + 2
    measured = watch.peak.own + watch.peak.shared - before
    for forgotten in (0, empty.own):
        expected = estimate.total - empty.own - empty.files - forgotten
        assert (abs(expected / measured - 1) < 0.2) == (forgotten == 0)


def test_parts_of_the_estimate_come_from_shapes():
    one, two = (estimate_memory(solver(workers=workers), INTERPRETER) for workers in (1, 2))
    assert two.slots == one.slots == slot_layout(solver().operator).nbytes
    assert two.workers == 2 * one.workers
    assert two.interpreters - one.interpreters == INTERPRETER.own
    assert two.total == two.run == sum(two.parts.values())
    assert two.shared == one.shared >= solver().operator.sinogram.nbytes
    more = estimate_memory(solver(angles=116), INTERPRETER)
    shares = sum(np.prod(solver().operator.share_shape(index)) for index in range(4))  # of 58 angles; 58 more
    assert more.slots - one.slots == pytest.approx(2 * 4 * shares, rel=0.02)  # whole cache lines
    assert more.setup > one.setup


def test_the_setup_can_be_the_most():
    estimate = replace(estimate_memory(solver(), INTERPRETER), setup=2**40)
    assert estimate.total == 2**40 > estimate.run


@pytest.mark.parametrize("wrong", [False, True])
def test_what_is_shared_with_the_workers_is_known_without_sharing_it(wrong):
    operator = solver().operator
    found = array_bytes(operator.sinogram if wrong else operator)
    descriptor = shared_object(operator)
    try:
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    assert (found == pytest.approx(size, abs=1024)) == (not wrong)


def test_tables_of_rays_are_counted():
    scan = solver().operator
    for index in range(len(scan.grid)):
        scan._projector(index)
    held = sum(projector._rays.nbytes for projector in scan._projectors.values())
    assert projector_bytes(scan) == held


def test_an_estimate_for_a_gpu_is_refused():
    with pytest.raises(ValueError, match="this estimate is for the CPU"):
        estimate_memory(SimpleNamespace(devices=("cuda:0",)))


@linux
@pytest.mark.parametrize("processes", [1, 2])
def test_the_watch_counts_shared_memory_once(processes):
    """Also where another process has touched all of it; its resident sizes add up to twice as much."""
    nbytes = 64 * MIB
    touch = (
        "import mmap, sys; m = mmap.mmap(int(sys.argv[1]), 0); m[:] = bytes(len(m)); print('.', flush=True); input()"
    )
    with MemoryWatch() as before:  # of what other tests have left
        pass
    descriptor = anonymous_memory(nbytes)
    with mmap.mmap(descriptor, nbytes) as memory:
        memory[:] = bytes(nbytes)
        command = [sys.executable, "-S", "-c", touch, str(descriptor)]
        others = [
            subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(processes - 1)
        ]
        for other in others:
            other.stdout.readline()
        with MemoryWatch() as watch:
            pass
        for other in others:
            other.communicate(b"\n")
    os.close(descriptor)
    assert watch.peak.processes - before.peak.processes == processes - 1
    assert watch.peak.shared - before.peak.shared == pytest.approx(nbytes, rel=0.05)


@linux
def test_the_watch_sees_what_comes_and_goes():
    """In a process of its own, which no other test has left processes to."""
    subprocess.run([sys.executable, "-c", COMES_AND_GOES], check=True, timeout=60)


COMES_AND_GOES = """
import os
import numpy as np
from asyncred_gpu.memory_estimate import MIB
from asyncred_gpu.memory_watch import MemoryWatch, counters

with MemoryWatch() as watch:
    before = counters(os.getpid()).own
    block = np.ones(8 * MIB)
    while watch.peak.own < before + 60 * MIB:
        pass
    del block
assert watch.alone == watch.peak
assert watch.peak.total > watch.peak.own > before
assert watch.samples > 1
"""


def test_a_case_that_does_not_fit_is_left_out(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    import bench_growth

    monkeypatch.setattr(bench_growth, "estimate_memory", lambda solver: estimate_memory(solver, INTERPRETER))
    case = Case.in_proportion(256, 2, 2)
    assert bench_growth.too_large(case) is None
    monkeypatch.setattr(bench_growth, "LARGEST_MEMORY", 600 * MIB)
    assert bench_growth.measured([case])[0] == []
    assert "256² with 2 workers wasn't run" in bench_growth.measured([case])[1][0]
    assert max(planned.size for planned in bench_growth.make_plan(quick=True).proportional) == 1024
    assert bench_growth.make_plan(quick=False).proportional[-1].size == 4096


# --- stages ----------------------------------------------------------------------------------------------------------


def test_every_stage_takes_time(one_thread):
    seconds = stage_seconds(solver(size=32, angles=4, block=16), repetitions=1)
    assert tuple(seconds) == STAGES
    assert min(seconds.values()) > 0
    assert middle_block(tiny_problem(32).grid) == 4 * 8 + 4


def test_the_overhead_is_what_the_workers_code_leaves(one_thread, monkeypatch):
    alone = []
    monkeypatch.setattr(stage_times, "update_seconds", lambda solver, count: alone.append(count) or 0.0)
    assert stage_times.overhead_seconds(2, 1, sweeps=5) > 0
    assert alone == [5 * 4]


def test_updates_by_the_workers_code_take_time(one_thread):
    assert update_seconds(solver(size=32, angles=4, block=16), 3) > 0


# --- throughput ------------------------------------------------------------------------------------------------------


@cache
def problem():
    return tiny_problem(32)


@pytest.mark.parametrize("method", METHODS)
def test_workers_alike_are_as_many_times_as_fast(one_thread, method):
    one, *others = scaling(problem(), [method], (4, 8), NO_DELAY, 4)[method.name]
    assert one.sweep == pytest.approx(len(problem().grid))
    assert [found.speedup for found in others] == pytest.approx([4, 8], rel=0.01)  # a line through stairs
    assert [found.staleness[-1] for found in others] == [3, 7]


@pytest.mark.parametrize("name", DELAYS)
def test_with_heavy_tails_a_barrier_costs(one_thread, name):
    """And without a delay, the wrong one, it doesn't."""
    for delay, sweeps, waits in ((DELAYS[name], 6, True), (NO_DELAY, 3, False)):
        found = scaling(problem(), (LOOSE, SYNC), (8,), delay, sweeps)
        free, sync = (runs[-1].efficiency for runs in found.values())
        assert free > 0.85
        assert (sync < 0.7 * free) == waits


def not_normalised(random):
    return float(random.lognormal(0.0, 0.5))


@pytest.mark.parametrize("delay", [lognormal_delay(), pareto_delay(3.0), not_normalised])
def test_delays_have_mean_1(delay):
    random = np.random.default_rng(0)
    mean = np.mean([delay(random) for _ in range(20000)])
    assert (abs(mean - 1) < 0.03) == (delay is not not_normalised)


def test_the_tail_of_pareto():
    """P(delay > t) = (1/2t)² for α = 2: from 1/2 on, half of them beyond 1/√2, 1 % beyond 5."""
    random = np.random.default_rng(0)
    drawn = np.array([pareto_delay()(random) for _ in range(20000)])
    assert drawn.min() >= 0.5
    assert np.mean(drawn > np.sqrt(0.5)) == pytest.approx(0.5, abs=0.02)
    assert np.mean(drawn > 5) == pytest.approx(0.01, abs=0.003)
    assert np.mean(drawn > 2.5) != pytest.approx(0.01, abs=0.003)


def test_a_clock_takes_any_delay():
    """Two workers, whose updates take 1, 3, 1, 1, 2 … in the order of their reads."""
    factors = iter([1.0, 3.0, 1.0, 1.0, 2.0])
    solved = make_solver(problem(), Average(), ASYNC, 2)
    times = simulate(solved, (1.0, 1.0), 5 / 64, lambda _: next(factors)).times
    assert times.tolist() == [1, 2, 3, 3, 5]


def test_a_number_is_the_jitter_of_a_uniform_delay():
    drawn = []
    clock = TimedWorkers((2.0,), 0.25, seed=0)
    for _ in range(500):
        clock.choose([0])
        clock.on_read(None)
        drawn.append(clock._due[0] - clock.now)
    assert min(drawn) == pytest.approx(1.5, abs=0.05)
    assert max(drawn) == pytest.approx(2.5, abs=0.05)


def test_one_worker_waits_for_nobody(one_thread):
    alone = [throughput(problem(), method, 1, lognormal_delay(), 3) for method in METHODS]
    assert alone[0].sweep == alone[1].sweep == alone[2].sweep
    assert {one.speedup for one in alone} == {1.0}


# --- the page --------------------------------------------------------------------------------------------------------


def measured(size, workers=2, angles=None, growth=1.0, off=0.0):
    """A run as the theory has it: seconds a pixel times `growth`, and an estimate that is `off`."""
    case = Case.in_proportion(size, workers, 3) if angles is None else Case(size, angles, workers, 3)
    blocks = (size // 128) ** 2
    stages = {"gather": 1e-9 * size**2, "back projection": 1e-5 * size, "denoiser": 0.2, "step": 1e-3}
    stages["projection"] = 5e-6 * size
    memory = Sample(500 * MIB, size**2, 110 * MIB, 3)
    estimate = MemoryEstimate(round((1 + off) * memory.total), 0, 0, 0, 0, 0)
    seconds = 5e-6 * size**2 * growth
    return Measured(
        *(case, (128, 128), blocks, seconds, 3, stages),
        *(1.0, 1.0, memory, 300 * MIB, estimate, Interpreter(1, 1)),
    )


def throughputs():
    return {
        delay: {
            method.name: [Throughput(count, 64 / count, count, 256, (1, 2, 3)) for count in (1, 4)]
            for method in METHODS
        }
        for delay in DELAYS
    }


def test_stages_grow_as_they_should():
    fits = stage_fits([measured(size) for size in SIZES])
    assert {name: round(fit.exponent, 6) for name, fit in fits.items()} == {
        "gather": 4,
        "back projection": 3,
        "denoiser": 2,
        "step": 2,
        "projection": 3,
    }


def test_data_updates_have_all_stages_but_the_denoiser():
    run = measured(1000)  # 1 ms gather, 10 ms back projection, 200 ms denoiser, 1 ms step, 5 ms projection
    assert run.update == pytest.approx(0.217)
    assert run.block_sweep == pytest.approx(0.217 + 3 * 0.017)


@pytest.mark.parametrize(("growth", "holds"), [(1.1, True), (1.2, False)])
def test_growth_with_fixed_angles_is_judged(growth, holds):
    runs = [measured(512, angles=180), measured(2048, angles=180, growth=growth)]
    assert fixed_growth(runs) == pytest.approx(growth)
    assert ("DOES NOT HOLD" in checked_fixed(runs)) != holds


@pytest.mark.parametrize(("off", "holds"), [(0.15, True), (-0.15, True), (0.25, False), (-0.25, False)])
def test_the_estimate_is_judged(off, holds):
    assert ("DOES NOT HOLD" in checked_memory([measured(1024), measured(2048, off=off)])) != holds
    assert "wasn't run" in checked_memory([measured(1024, off=off)])


def test_a_run_survives_json():
    run = measured(512)
    assert Measured.from_json(json.loads(json.dumps(run.as_json()))) == run


def test_the_page_and_the_figure():
    runs = [measured(size, workers) for size in SIZES for workers in (1, 2)]
    fixed = [measured(size, angles=180) for size in SIZES[1:]]
    page = report(" --quick", 4, runs, fixed, ["4096² wasn't run."], throughputs())
    assert "`python scripts/bench_growth.py --quick`" in page
    assert "4096² wasn't run." in page
    assert "2 workers: a sweep ∝ size^2.00" in page
    assert max(len(line) for line in page.splitlines() if not line.startswith("|")) <= 160
    assert len(growth_figure(runs, fixed, throughputs()).axes) == 4
