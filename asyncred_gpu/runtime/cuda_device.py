"""A CUDA device behind the protocol of runtime/device.py: torch's streams, events, graphs and memory.

Nothing in this file runs without a GPU; scripts/gpu_acceptance.py and the tests marked `gpu` cover it. It is kept so
small for that reason: the runtime (cuda.py), a worker's operations (program.py), the kernels and their order are all
proven without one. torch hands out 32 streams a device, so more workers than that share them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from ..kernels.cuda_build import CudaKernels
from .device import Access, Command, Event, Operation, Record, Replay, Run

# Once for what is compiled and chosen at a first call, once more as it will be.
WARM_UPS = 2
# Spin this long before sleeping between looks: a launch should take less, and a sleep may take longer than it says.
SPIN_SECONDS = 2e-3
SLEEP_SECONDS = 2e-5


class CudaEvent:
    """A torch event without timing: the cheapest to record and to ask."""

    def __init__(self) -> None:
        self.event = torch.cuda.Event()

    def done(self) -> bool:
        return bool(self.event.query())


class CapturedGraph:
    """A graph, and the operations it was captured from: it works on their memory, and owns none of it itself."""

    def __init__(self, graph: torch.cuda.CUDAGraph, operations: Sequence[Operation]) -> None:
        self._graph = graph
        self._operations = tuple(operations)

    def replay(self) -> None:
        self._graph.replay()


class CudaStream:
    """One of torch's streams, and the memory pool of its graphs."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()

    def enqueue(self, commands: Sequence[Command]) -> None:
        with torch.cuda.stream(self.stream):
            for command in commands:
                match command:
                    case Replay(graph):
                        graph.replay()  # type: ignore[attr-defined]
                    case Record(event):
                        event.event.record(self.stream)  # type: ignore[attr-defined]
                    case Run(operation):
                        operation.run()

    def capture(self, operations: Sequence[Operation]) -> CapturedGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UPS):
                for operation in operations:
                    operation.run()
            self.stream.synchronize()
            # Other threads of the user's program may allocate meanwhile.
            with _no_collection():
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                try:
                    for operation in operations:
                        operation.run()
                except BaseException:
                    with suppress(RuntimeError):  # it fails, too, and says less
                        graph.capture_end()
                    raise
                graph.capture_end()
        return CapturedGraph(graph, operations)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: it could free another run's memory, which asks CUDA for what a capture forbids."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class CudaDevice:
    """One GPU."""

    def __init__(self, name: str) -> None:
        self.torch = torch.device(name)
        self.name = name
        self.kernels = CudaKernels(self.torch.index)

    def stream(self) -> CudaStream:
        return CudaStream(self.torch)

    def event(self) -> Event:
        with torch.cuda.device(self.torch):
            return CudaEvent()

    def pinned(self, nbytes: int) -> Tensor:
        return torch.zeros(nbytes, dtype=torch.uint8, pin_memory=True)

    def host(self, touched: Access) -> None:
        """Nothing to do: this is for a simulation's bookkeeping."""

    def pause(self, waited: float) -> None:
        if waited > SPIN_SECONDS:
            time.sleep(SLEEP_SECONDS)

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch)

    def free_bytes(self) -> int | None:
        free, _ = torch.cuda.mem_get_info(self.torch)
        kept = torch.cuda.memory_reserved(self.torch) - torch.cuda.memory_allocated(self.torch)
        return int(free + kept)

    def explain(self, error: BaseException) -> str | None:
        return explain(error, self.name)


def explain(error: BaseException, name: str) -> str | None:
    """What an error of CUDA, torch or CuPy means; None for one of somebody else's."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return (
            f"{name} is out of memory ({text}). Use fewer workers or blocks a launch, a smaller block_shape, or "
            "precision='float16'; nvidia-smi shows what else is on the GPU."
        )
    ours = type(error).__module__.startswith(("cupy", "cupy_backends"))
    if ours or any(word in str(error) for word in ("CUDA", "cuDNN", "CUDNN", "CUBLAS", "cublas", "cuFFT", "CUFFT")):
        return (
            f"the GPU reported: {text}. After such an error a process can't use the GPU any more: start a new one. "
            "With CUDA_LAUNCH_BLOCKING=1 in the environment the error names the kernel."
        )
    return None
