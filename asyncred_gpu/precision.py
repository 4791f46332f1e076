"""In which precision the denoiser runs; "auto" is measured: on the CPU its speed, on a GPU its error on crops."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import cache, partial
from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .denoiser import DenoiserSettings, DeviceDenoiser

CPU_PRECISIONS = ("auto", "float32", "bfloat16")
# What a GPU may have besides float32, in the order "auto" tries: float16 is as fast as bfloat16 and rounds finer.
REDUCED = ("float16", "bfloat16", "tf32")
# "auto" takes what changes the residual by no more than this: ‖R_p − R_float32‖ / ‖R_float32‖. Measured on crops of
# four images of Set12, clean and with noise of 5 grey levels: the shipped network 5e-4 to 1.4e-3 in float16 (in tf32
# the same) and 4e-3 to 1.1e-2 in bfloat16; the authors' 1.1e-3 to 2.8e-3 and 9e-3 to 2.3e-2; the shipped one with its
# first layer in bfloat16 too, which layers.py doesn't do, 1.3e-2 to 4.6e-2. Reconstructions in bfloat16 end within
# 0.04 dB of float32 (docs/results/cpu.md), and this is about twice its error on the noisy start that "auto" measures.
LARGEST_ERROR = 0.02
# How many times faster a convolution must be in bfloat16 to be worth its rounding. An EPYC (Zen 5) convolves at 4 times
# float32's rate; a Xeon whose virtual machine shows AVX512-BF16, but not AMX, at half of it.
WORTH = 1.2
# Of the convolution that is measured: a few milliseconds each time.
CONVOLVED, CHANNELS, REPETITIONS = 96, 64, 5


@overload
def resolve_precision(precision: str, kind: Literal["cpu"] = ...) -> str: ...
@overload
def resolve_precision(precision: str, kind: Literal["cuda"], offered: Collection[str] = ...) -> str | None: ...
@overload
def resolve_precision(precision: str, kind: str, offered: Collection[str] = ...) -> str | None: ...
def resolve_precision(precision: str, kind: str = "cpu", offered: Collection[str] = REDUCED) -> str | None:
    """The precision meant; None: "auto" on a GPU, to be measured.

    On the CPU "auto" is bfloat16 where this processor has it and convolves faster in it, else float32.

    Args:
        kind: "cpu" or "cuda".
        offered: what the GPU has besides float32 (`offered_precisions`).
    Raises:
        ValueError: a precision this kind of device doesn't have.
    """
    on_cpu = kind == "cpu"
    known = CPU_PRECISIONS if on_cpu else ("auto", "float32", *(name for name in REDUCED if name in offered))
    if precision not in known:
        where = "the CPU" if on_cpu else "a GPU" if precision not in REDUCED else "this GPU (too old)"
        raise ValueError(f"precision={precision!r} isn't available on {where}. Pass one of {', '.join(known)}.")
    if precision != "auto":
        return precision
    if not on_cpu:
        return None
    return "bfloat16" if _faster_in_bfloat16() else "float32"


def offered_precisions(capability: tuple[int, int]) -> tuple[str, ...]:
    """What a GPU of this compute capability has besides float32; bfloat16 and tf32 came with 8.0."""
    return REDUCED if capability >= (8, 0) else ("float16",)


def choose_precision(
    network: nn.Module, halo: int, crops: Tensor, device: torch.device, offered: Collection[str] | None = None
) -> tuple[str, dict[str, float]]:
    """The first precision of REDUCED whose error on these crops is small enough, else float32; and the errors measured.

    A network that isn't a DnCNN runs in float32 or tf32 whatever is asked for, so only tf32 is measured.

    Args:
        crops: (n, 1, rows + 2·halo, cols + 2·halo) float32, divided by the intensity scale.
        offered: what the device has besides float32; None: what it says.
    """
    if offered is None:
        offered = offered_precisions(torch.cuda.get_device_capability(device)) if device.type == "cuda" else REDUCED
    crops = crops.to(device)
    exact = _denoiser(network, halo, "float32", device).residual(crops).double()
    errors: dict[str, float] = {}
    for precision in REDUCED:
        denoiser = _denoiser(network, halo, precision, device)
        if precision not in offered or denoiser.precision != precision:
            continue
        errors[precision] = _relative_error(denoiser.residual(crops).double(), exact)
        if errors[precision] <= LARGEST_ERROR:  # which no NaN is
            return precision, errors
    return "float32", errors


def _relative_error(found: Tensor, exact: Tensor) -> float:
    """‖found − exact‖ / ‖exact‖; 0 where both are zero."""
    off = float(torch.linalg.vector_norm(found - exact))
    return off / float(torch.linalg.vector_norm(exact).clamp_min(torch.finfo(exact.dtype).tiny))


def _denoiser(network: nn.Module, halo: int, precision: str, device: torch.device) -> DeviceDenoiser:
    """By torch's operations: the kernels of kernel_layers.py round no coarser, and needn't be compiled for this."""
    return DeviceDenoiser(network, DenoiserSettings(halo, precision, 1.0), device, deterministic=True)


@cache
def _faster_in_bfloat16() -> bool:
    """Whether the network's inner layer is, here; measured once a process, if the processor has instructions for it."""
    if not _native_bfloat16():
        return False
    float32, bfloat16 = _convolution_seconds((torch.float32, torch.bfloat16))
    return float32 > WORTH * bfloat16


def _convolution_seconds(dtypes: tuple[torch.dtype, ...]) -> list[float]:
    """Of each the fastest, in processor time of one thread, as a worker has it.

    What else the machine does counts little so: with four other programs on two cores the quotient of the two stayed
    within 0.53 and 0.57, where by the clock on the wall it was 0.11 to 3.1. They take turns all the same, since another
    program on the same core slows the processor itself.
    """
    layers = [_convolution(dtype) for dtype in dtypes]
    seconds: list[list[float]] = [[] for _ in dtypes]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for _ in range(1 + REPETITIONS):
                for layer, taken in zip(layers, seconds, strict=True):
                    begun = time.thread_time()
                    layer()
                    taken.append(time.thread_time() - begun)
    finally:
        torch.set_num_threads(threads)
    return [min(taken[1:]) for taken in seconds]


def _convolution(dtype: torch.dtype) -> Callable[[], Tensor]:
    image = torch.ones(1, CHANNELS, CONVOLVED, CONVOLVED, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(CHANNELS, CHANNELS, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return partial(F.conv2d, image, weight)


def _native_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
