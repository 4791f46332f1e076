"""runtime/cuda_device.py with torch.cuda's classes played: which calls it makes, in which order. GPUs: test_gpu.py."""

import gc
import re
import weakref
from contextlib import contextmanager

import pytest
import torch

from asyncred_gpu.runtime import cuda_device
from asyncred_gpu.runtime.cuda_device import CudaDevice, explain
from asyncred_gpu.runtime.device import Event, Operation, Record, Run, access, staged


class Log(list):
    """What was called, in order."""

    def named(self, name):
        return lambda *arguments, **options: self.append(name)


@pytest.fixture
def log(monkeypatch):
    """A machine with one played GPU."""
    calls = Log()
    stack = []

    class Stream:
        cuda_stream = 7

        def __init__(self, device):
            self.device = device

        def synchronize(self):
            calls.append("synchronize stream")

    class PlayedEvent:
        def record(self, stream):
            calls.append("record")
            assert stack and stack[-1] is stream

        def query(self):
            return 1

    class Graph:
        def capture_begin(self, pool, capture_error_mode):
            assert pool == "pool" and capture_error_mode == "thread_local"
            calls.append("capture begins")

        def capture_end(self):
            calls.append("capture ends")
            assert not gc.isenabled()
            if "fails" in calls:
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

        def replay(self):
            calls.append("replay")

    @contextmanager
    def current(stream):
        stack.append(stream)
        yield
        stack.pop()

    @contextmanager
    def nothing(*_):
        yield

    played = {
        "Stream": Stream, "Event": PlayedEvent, "CUDAGraph": Graph, "stream": current, "device": nothing,
        "graph_pool_handle": lambda: "pool", "synchronize": calls.named("synchronize device"),
        "mem_get_info": lambda device: (100, 1000), "memory_reserved": lambda device: 50,
        "memory_allocated": lambda device: 20,
    }  # fmt: skip
    for name, value in played.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(cuda_device, "CudaKernels", lambda index: ("kernels", index))
    return calls


def operation(log, name, capturable=True):
    return Operation(name, lambda: log.append(name), access, capturable)


def test_capture_warms_up_on_the_stream_and_then_captures_once(log):
    stream = CudaDevice("cuda:0").stream()
    commands = staged(stream, [operation(log, "a"), operation(log, "b")])
    warm = ["a", "b"] * cuda_device.WARM_UPS
    assert log == [*warm, "synchronize stream", "capture begins", "a", "b", "capture ends"]
    log.clear()
    stream.enqueue([*commands, Run(operation(log, "c"))])
    assert log == ["replay", "c"]


def test_a_graph_keeps_what_it_works_on(log):
    """Torch would give the memory that only an operation holds to the next who asks."""
    stream, memory = CudaDevice("cuda:0").stream(), torch.zeros(3)
    held = weakref.ref(memory)
    commands = staged(stream, [Operation("zero", memory.zero_, access)])
    del memory
    gc.collect()
    assert held() is not None
    del commands
    gc.collect()
    assert held() is None


def test_what_cannot_be_captured_runs_between_the_graphs(log):
    stream = CudaDevice("cuda:0").stream()
    commands = staged(stream, [operation(log, "a"), operation(log, "eager", False), operation(log, "b")])
    log.clear()
    event: Event = CudaDevice("cuda:0").event()
    stream.enqueue([*commands, Record(event)])
    assert log == ["replay", "eager", "replay", "record"]
    assert event.done() is True


def test_a_capture_that_fails_is_ended(log):
    def fail():
        if log.count("a") > cuda_device.WARM_UPS:
            log.append("fails")
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    stream = CudaDevice("cuda:0").stream()
    with pytest.raises(RuntimeError, match="not permitted"):
        stream.capture([operation(log, "a"), Operation("b", fail, access)])
    assert log[-1] == "capture ends" and gc.isenabled()


def test_memory_time_and_names(log):
    device = CudaDevice("cuda:1")
    assert (device.name, device.torch.index, device.kernels) == ("cuda:1", 1, ("kernels", 1))
    assert device.free_bytes() == 130  # what the driver has, and what torch holds unused
    device.synchronize()
    device.host(access())
    device.pause(0.0)
    device.pause(1.0)
    assert log == ["synchronize device"]


class DriverError(RuntimeError):
    __module__ = "cupy_backends.cuda.api.driver"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried 20 GiB"), "is out of memory .* Use fewer"),
        (MemoryError("Out of memory allocating 512 bytes"), "is out of memory"),
        (RuntimeError("CUDA error: an illegal memory access\nmore"), "illegal memory access.*start a new"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "CUDA_LAUNCH_BLOCKING"),
        (DriverError("CUDA_ERROR_LAUNCH_FAILED"), "the GPU reported: CUDA_ERROR_LAUNCH_FAILED"),
        (DriverError(""), "the GPU reported: DriverError"),
        (RuntimeError("shape mismatch"), None),
        (ValueError("not ours"), None),
    ],
)  # fmt: skip
def test_errors_are_explained(error, told):
    found = explain(error, "cuda:0")
    assert found is None if told is None else re.search(told, found)
