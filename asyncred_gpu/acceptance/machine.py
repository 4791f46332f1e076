"""Where the checks and measurements run: a GPU, or in tests the simulated device behind the same protocol."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from ..blocks import FloatArray
from ..method import BLOCK_METHOD
from ..operators.astra_projectors import AstraCalls, CudaCalls
from ..precision import offered_precisions
from ..result import Result, Schedule
from ..runtime.device import Device
from ..solver import GpuAsyncRED, RuntimeFactory
from .captures import Captures
from .cases import Case
from .timing import CudaTimer, Timer


class Machine(Protocol):
    """A device, how time is taken on it, and how the solver runs on it."""

    @property
    def solver_device(self) -> str:
        """What GpuAsyncRED is given as its device."""
        ...

    @property
    def device(self) -> Device: ...

    @property
    def timer(self) -> Timer: ...

    @property
    def precisions(self) -> Sequence[str]:
        """What the denoiser can run in here, the benchmark's first."""
        ...

    def convolve(self, features: Tensor, weight: Tensor, allow_tf32: bool) -> Tensor:
        """A convolution without padding or bias, by the fastest algorithm there is."""
        ...

    def factory(self, solver: GpuAsyncRED) -> RuntimeFactory:
        """What makes the solver's runtime."""
        ...

    def astra(self) -> AstraCalls:
        """ASTRA's calls on the device.

        Raises:
            RuntimeError: it can't be used there.
        """
        ...

    def cupy(self) -> Any:
        """CuPy, its current device this one.

        Raises:
            RuntimeError: it has no GPU here.
        """
        ...

    def reset_peak(self) -> tuple[int, int]:
        """Begin a new peak; returns bytes allocated and reserved now."""
        ...

    def peak(self) -> tuple[int, int]:
        """Most bytes allocated and reserved since reset_peak."""
        ...


class GpuMachine:
    """One GPU. Nothing of this class runs without one."""

    def __init__(self, name: str) -> None:
        self.solver_device = name
        self.captures = Captures()

    def unusable(self) -> str | None:
        """Why nothing more can be run in this process; None if it can."""
        if self.captures.underway:
            return "a capture failed, and torch's allocator may still be in it"
        try:
            torch.cuda.synchronize(self.solver_device)
        except RuntimeError as error:
            return f"it reported {(str(error).splitlines() or ['an error'])[0]}"
        return None

    @cached_property
    def device(self) -> Device:
        from ..runtime.cuda_device import CudaDevice  # needs CuPy

        return CudaDevice(self.solver_device)

    @cached_property
    def timer(self) -> Timer:
        return CudaTimer(self.device)

    @cached_property
    def precisions(self) -> Sequence[str]:
        offered = offered_precisions(torch.cuda.get_device_capability(self.solver_device))
        return *(name for name in ("float16", "bfloat16", "tf32") if name in offered), "float32"

    def convolve(self, features: Tensor, weight: Tensor, allow_tf32: bool) -> Tensor:
        # Padding, stride, dilation, groups; then benchmark and deterministic.
        return torch.cudnn_convolution(features, weight, (0, 0), (1, 1), (1, 1), 1, True, False, allow_tf32)

    def factory(self, solver: GpuAsyncRED) -> RuntimeFactory:
        return solver._open()

    def astra(self) -> AstraCalls:
        return CudaCalls(torch.device(self.solver_device))

    def cupy(self) -> Any:
        import cupy

        cupy.cuda.Device(torch.device(self.solver_device).index).use()
        return cupy

    def reset_peak(self) -> tuple[int, int]:
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()

    def peak(self) -> tuple[int, int]:
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def make_solver(device: str, case: Case, **settings: Any) -> GpuAsyncRED:
    """The case's solver; two sides of a comparison differ in nothing but the device."""
    chosen: dict[str, Any] = {"tau": case.tau, "intensity_scale": case.scale, "precision": "float32", "momentum": 0.0}
    chosen |= {**BLOCK_METHOD, **settings}
    return GpuAsyncRED(case.operator, case.network, device=device, **chosen)


def run(
    make_runtime: RuntimeFactory,
    solver: GpuAsyncRED,
    sweeps: float,
    start: FloatArray,
    reference: FloatArray | None = None,
    replay: Schedule | None = None,
) -> Result:
    """Run the solver on such a runtime."""
    return solver._run(make_runtime, sweeps, None, None, None, start, reference, (), replay)


def run_on_cpu(solver: GpuAsyncRED, sweeps: float, start: FloatArray, **options: Any) -> Result:
    """Run a solver of the CPU."""
    return run(solver._open(), solver, sweeps, start, **options)
