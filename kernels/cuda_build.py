"""The kernels on a CUDA device: compiled by NVRTC through CuPy, launched on torch's current stream.

A launch allocates nothing and waits for nothing, so it may be captured in a CUDA graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .sources import FOLDER, Signature, device_code, kernel_files, signature

# No fast-math: division stays IEEE. (CuPy itself adds -ftz=true: denormal floats count as zero.)
OPTIONS = ("--std=c++17", f"-I{FOLDER}")
THREADS = 256
# With fewer items than this many such blocks a multiprocessor, the blocks are smaller: they spread more evenly.
FEW_BLOCKS_PER_MULTIPROCESSOR = 4
THREADS_IF_FEW = 64
# Enough blocks of threads to fill a device; items beyond them are later turns of the kernels' loops.
BLOCKS_PER_MULTIPROCESSOR = 32
# CuPy passes a plain int or float in 64 bits, and None as no argument at all.
_NUMBERS: dict[str, Callable[[float], Any]] = {"int": np.int32, "float": np.float32}


class CudaBuildError(RuntimeError):
    """The kernels can't be built for a CUDA device; says why and what to do."""


def launch_grid(items: int, multiprocessors: int) -> tuple[int, int]:
    """(blocks of threads, threads a block) for `items` work items."""
    few = -(-items // THREADS) < FEW_BLOCKS_PER_MULTIPROCESSOR * multiprocessors
    threads = THREADS_IF_FEW if few else THREADS
    return min(-(-items // threads), BLOCKS_PER_MULTIPROCESSOR * multiprocessors), threads


class CudaKernels:
    """`Kernels` of launch.py on one device: compiled and loaded by the constructor.

    Args:
        device_index: the device, as torch counts.
    Raises:
        CudaBuildError: CuPy can't be imported.
    """

    def __init__(self, device_index: int) -> None:
        try:
            import cupy
        except ImportError as error:
            raise CudaBuildError(
                f"CuPy can't be imported ({error}), and it compiles and launches the CUDA kernels. "
                "pip install 'asyncred-gpu[gpu-cuda13]' (or gpu-cuda12), or pass device='cpu'."
            ) from error
        self._cupy = cupy
        self._index = device_index
        self._device = cupy.cuda.Device(device_index)
        self._multiprocessors: int = self._device.attributes["MultiProcessorCount"]
        self._kernels: dict[str, tuple[Signature, Any]] = {}
        self.registers: dict[str, int] = {}
        with self._device:
            for file in kernel_files():
                arguments = signature(file)
                module = cupy.RawModule(code=device_code(file), options=OPTIONS, backend="nvrtc")
                kernel = module.get_function(arguments.name)
                # Asking for its registers loads it: CUDA would else do so at the first launch, maybe in a capture.
                self.registers[arguments.name] = int(kernel.num_regs)
                self._kernels[arguments.name] = arguments, kernel

    def launch(self, name: str, items: int, *arguments: Tensor | int | float | None) -> None:
        """Enqueue kernel `name` for `items` items on torch's current stream of the device.

        Raises:
            KeyError: no kernel of that name.
            TypeError, ValueError: arguments that aren't the kernel's, see `Signature.values`.
        """
        expected, kernel = self._kernels[name]
        values = expected.values(arguments, device=self._index)
        if items < 1:  # CUDA refuses an empty grid
            return
        typed = tuple(
            np.uintp(value) if parameter.pointer else _NUMBERS[parameter.kind](value)
            for parameter, value in zip(expected.parameters, values, strict=True)
        )
        blocks, threads = launch_grid(items, self._multiprocessors)
        address = torch.cuda.current_stream(self._index).cuda_stream
        with self._device, _stream(self._cupy, self._index, address):
            kernel((blocks,), (threads,), typed)


@functools.cache
def _stream(cupy: Any, device_index: int, address: int) -> Any:
    """CuPy's view of torch's stream; made once, within the device's context, and kept: torch keeps its streams, too."""
    if int(cupy.__version__.split(".")[0]) >= 14:
        return cupy.cuda.Stream.from_external(_TorchStream(address))
    return cupy.cuda.ExternalStream(address, device_index)


class _TorchStream:
    """CUDA's stream protocol, which torch's own streams lack before torch 2.9; CuPy keeps a reference."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._address
