"""The pool of processes under force: killed, stopped, interrupted, orphaned. Nothing hangs, nothing stays behind."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from asyncred_gpu import GpuAsyncRED, WorkerError, launches
from asyncred_gpu.interrupts import undisturbed
from asyncred_gpu.runtime.cpu import CpuRuntime
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime
from asyncred_gpu.runtime.spares import SpareWorkers

from .helpers import alive, rarely, small_network, small_scan

pytestmark = [
    pytest.mark.own_workers,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm"),
]
PROGRAM = """
    import numpy as np, sys, threading, time
    from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser
    from asyncred_gpu.operators.radon import project
    angles = np.linspace(0, np.pi, 20, endpoint=False)
    image = np.zeros((64, 64), np.float32); image[20:40, 10:50] = 1
    ct = RadonCT(project(image, angles, 91), angles, (64, 64))
    solver = GpuAsyncRED(ct, load_denoiser("dncnn", sigma=5), block_shape=(16, 16), num_workers=2)
    solver.run(max_sweeps=1e6, callbacks=[lambda p: print(p.update, flush=True) if p.update == 8 else None])
"""


def workers_of(parent: int) -> list[int]:
    """Processes of the pool that `parent` started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            line = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"asyncred_gpu.runtime.worker" in line:
            found.append(int(stat.parent.name))
    return sorted(found)


def children(parent: int) -> set[str]:
    """All processes of `parent`, zombies included."""
    return set(Path(f"/proc/{parent}/task/{parent}/children").read_text().split())


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    """No file in /dev/shm, no process, no open descriptor."""
    before = set(os.listdir("/dev/shm")), children(os.getpid()), len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert set(os.listdir("/dev/shm")) <= before[0]
    assert children(os.getpid()) <= before[1]
    assert len(os.listdir("/proc/self/fd")) <= before[2]


# Of eight sweeps of 16 blocks, data updates included.
UPDATES = 16 * 8 * (1 + 3)


class Disturb:
    """After some commits, send one worker a signal."""

    def __init__(self, kind, at=(20,)):
        self.kind, self.at, self.sent = kind, at, []

    def __call__(self, progress):
        if progress.update in self.at:
            pid = workers_of(os.getpid())[0]
            os.kill(pid, self.kind)
            self.sent.append(time.perf_counter())


def run(disturb, **options):
    return disturbed_solver(**options).run(max_sweeps=8, callbacks=[disturb])


def disturbed_solver(num_workers=2, **options):
    scan, _ = small_scan(size=48, angles=12, noise=0.5)
    return GpuAsyncRED(scan, small_network(), 0.1, (12, 12), num_workers=num_workers, precision="float32", **options)


def undisturbed_image(solver, sweeps):
    """Of workers simulated in this process: not free to choose an order, they have the processes' bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncred_gpu.solver.CpuRuntime", partial(SimulatedRuntime, policy=RandomOrder(0)))
        return solver.run(max_sweeps=sweeps).image


# "sync" repeats a lost update as "ordered" does.
@pytest.mark.parametrize("order", ["free", "ordered", *rarely("sync")])
def test_a_killed_worker_is_replaced_and_the_run_goes_on(order):
    result = run(Disturb(signal.SIGKILL), order=order)
    assert len(result.schedule) == UPDATES
    assert len(result.notes) == 1 and "was killed by signal 9; it was replaced" in result.notes[0]
    if order != "free":
        assert np.array_equal(result.image, undisturbed_image(disturbed_solver(order=order), 8))


def test_a_stopped_worker_is_noticed_within_its_limit_and_replaced(monkeypatch):
    monkeypatch.setattr(launches, "HUNG_SECONDS", 2.0)
    stop = Disturb(signal.SIGSTOP)
    result = run(stop)
    assert len(result.schedule) == UPDATES
    assert "gave no result for 2 s; it was replaced" in result.notes[0]
    assert time.perf_counter() - stop.sent[0] < 2.0 + 10.0


def test_workers_that_keep_dying_end_the_run_with_an_error_that_names_one():
    with pytest.raises(WorkerError, match=r"worker \d was killed by signal 9; 3 workers were replaced before"):
        run(Disturb(signal.SIGKILL, at=(10, 13, 16, 19)), num_workers=1)


def test_an_error_in_a_callback_reaches_the_caller():
    def stumble(progress):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        run(stumble, num_workers=1)


def test_a_slow_callback_is_not_held_against_the_workers(monkeypatch):
    monkeypatch.setattr(launches, "HUNG_SECONDS", 1.0)
    slow = run(lambda progress: time.sleep(2.5 if progress.update == 30 else 0.0), num_workers=1)
    assert not slow.notes


def test_a_default_timeout_of_the_users_sockets_does_no_harm():
    socket.setdefaulttimeout(0.001)
    try:
        assert not run(lambda progress: None, num_workers=1).notes
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize("delay", [0.002, 0.01, 0.05, 0.3, 1.0, 1.6, 2.0])
def test_an_interrupt_at_any_time_leaves_nothing(delay):
    """While the workers start, prime, or run; the fixture looks for what is left."""
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        for _ in range(100):
            run(lambda progress: None)
    timer.join()


def test_an_interrupt_while_a_run_ends_leaves_nothing(monkeypatch):
    end, sent = CpuRuntime._end, []

    def interrupted(runtime, worker):
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))
        end(runtime, worker)

    monkeypatch.setattr(CpuRuntime, "_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(lambda progress: None, num_workers=1)
    assert sent


@pytest.mark.parametrize("nested", [False, True])
def test_an_interrupt_is_held_back_and_then_comes(nested):
    done = []
    with pytest.raises(KeyboardInterrupt), undisturbed(), undisturbed() if nested else contextlib.nullcontext():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        done.append("inside")
    assert done == ["inside"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with undisturbed():  # without one, nothing
        pass
    thread = threading.Thread(target=lambda: done.append(in_a_thread()))
    thread.start()
    thread.join()
    assert done[1:] == [signal.default_int_handler]


def in_a_thread():
    """The handler inside `undisturbed` of another thread: Python lets the main thread alone set one."""
    with undisturbed():
        return signal.getsignal(signal.SIGINT)


# ---- processes kept from run to run


def solver_of(size, workers=2, **options):
    scan, _ = small_scan(size=size, angles=12, noise=0.5)
    settings = {"precision": "float32", "order": "ordered", "block_shape": (size // 4, size // 4)} | options
    return GpuAsyncRED(scan, small_network(), 0.1, num_workers=workers, **settings)


def kept_run(spares, size=48, disturb=None, **options):
    solver = solver_of(size, **options)
    solver.keep_workers(spares)
    pids = []

    def note(progress):
        if not pids:
            pids.append(tuple(workers_of(os.getpid())))
        if disturb is not None:
            disturb(progress)

    return solver.run(max_sweeps=4, callbacks=[note]), pids[0]


def test_kept_processes_serve_one_run_after_the_other_with_the_same_bits():
    with SpareWorkers() as spares:
        first, pids = kept_run(spares)
        assert set(workers_of(os.getpid())) == set(pids)  # idle
        other, same = kept_run(spares, size=64)
        again, _ = kept_run(spares)
        assert same == pids
        one, _ = kept_run(spares, workers=1)
        assert len(workers_of(os.getpid())) == 2
        three, more = kept_run(spares, workers=3)
        assert set(pids) < set(more)
    assert workers_of(os.getpid()) == []
    for result, fresh in ((first, solver_of(48)), (other, solver_of(64)), (three, solver_of(48, workers=3))):
        assert np.array_equal(result.image, undisturbed_image(fresh, 4))
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, one.image)


def test_without_spares_nothing_is_kept():
    solver_of(48, workers=1).run(max_sweeps=1)
    assert workers_of(os.getpid()) == []


def test_a_process_that_died_while_it_waited_is_not_used():
    with SpareWorkers() as spares:
        _, pids = kept_run(spares)
        os.kill(pids[0], signal.SIGKILL)
        while alive(pids[0]):
            time.sleep(0.01)
        result, others = kept_run(spares)
        assert pids[0] not in others and pids[1] in others
        assert not result.notes


def test_a_run_that_ends_early_keeps_no_busy_process():
    def stumble(progress):
        if progress.update == 20:
            raise KeyError("my own mistake")

    with SpareWorkers() as spares:
        with pytest.raises(KeyError):
            kept_run(spares, disturb=stumble)
        result, _ = kept_run(spares)
        assert np.array_equal(result.image, undisturbed_image(solver_of(48), 4))


def test_a_killed_worker_is_replaced_in_a_kept_pool_too():
    with SpareWorkers() as spares:
        kept_run(spares)
        result, _ = kept_run(spares, disturb=Disturb(signal.SIGKILL))
        assert "was killed by signal 9; it was replaced" in result.notes[0]
        assert 1 <= len(workers_of(os.getpid())) <= 2  # one that was still starting isn't kept
        assert np.array_equal(result.image, undisturbed_image(solver_of(48), 4))


@pytest.mark.parametrize("delay", [0.3, 2.0, 3.5])
def test_an_interrupt_of_kept_processes_leaves_nothing(delay):
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), SpareWorkers() as spares:
        timer.start()
        for _ in range(200):
            kept_run(spares)
    timer.join()


def started():
    """A run in a process of its own, past its eighth commit; and its workers."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "8\n"
    workers = workers_of(process.pid)
    assert len(workers) == 2
    return process, workers


# SIGTERM, which nothing handles, ends it as SIGKILL does.
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL, *rarely(signal.SIGTERM)])
def test_an_ended_parent_leaves_no_orphan(kind):
    process, workers = started()
    os.kill(workers[0], signal.SIGSTOP)  # a stopped worker doesn't see the pipe's end
    process.send_signal(kind)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert ("RunInterrupted" in errors) == (kind == signal.SIGINT)
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)
