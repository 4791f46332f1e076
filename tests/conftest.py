"""Tests run as if there were no GPU, unless they are marked `gpu`: the same tests everywhere."""

import os
import signal
from functools import partial

import pytest
import torch

from asyncred_gpu.runtime.cpu import CpuRuntime
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime
from asyncred_gpu.runtime.spares import SpareWorkers

# Worker processes serve one test after the other: starting one takes seconds, and test_pool.py shows that those kept
# give the bits of those started anew.
SPARES = SpareWorkers()


def pytest_configure():
    """Under nohup Ctrl-C is ignored, also in every process a test starts: it wouldn't end what it is meant to end.

    Where pytest-xdist runs one process a core, each of them and what it starts takes one thread.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def gpu_only_where_marked(request, monkeypatch):
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that a test starts
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def pytest_unconfigure():
    SPARES.close()


@pytest.fixture(autouse=True)
def workers_serve_many_tests(request, monkeypatch):
    if request.node.get_closest_marker("own_workers") is None:
        monkeypatch.setattr("asyncred_gpu.solver.CpuRuntime", partial(CpuRuntime, spares=SPARES))
    else:
        SPARES.close()


@pytest.fixture
def one_process(monkeypatch):
    """The solver's workers simulated in this process, where the processes aren't what is tested: starting them takes
    most of a small run's time."""
    monkeypatch.setattr(
        "asyncred_gpu.solver.CpuRuntime",
        lambda setup, workers, image, spares=None, first_core=None: SimulatedRuntime(
            setup, workers, image, RandomOrder(0)
        ),
    )


@pytest.fixture
def one_thread():
    """Small convolutions are quicker on one thread of torch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
