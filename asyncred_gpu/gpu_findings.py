"""What is here to run on: the NVIDIA driver, torch's CUDA, its GPUs, and CuPy. Looks, and decides nothing."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import warnings
from dataclasses import dataclass
from importlib import metadata

import torch


@dataclass(frozen=True)
class Found:
    """What `look` found.

    Args:
        driver: the newest CUDA the NVIDIA driver can run, or None without a driver.
        torch: torch's version.
        torch_cuda: the CUDA torch is built for, or None.
        available: torch can use a GPU.
        capabilities: compute capability of each GPU torch sees.
        architectures: what torch holds code for: sm_90, compute_90, …
        current: torch's current GPU.
        visible: CUDA_VISIBLE_DEVICES, or None where it isn't set.
        cupy_packages: installed packages that hold CuPy.
        cupy_cuda: major version of the CUDA that CuPy is built for, as far as it is known.
        cupy_devices: GPUs CuPy sees; looked for only where torch can use one.
        cupy_error: why CuPy can't be used, or None.
    """

    driver: tuple[int, int] | None
    torch: str
    torch_cuda: tuple[int, int] | None
    available: bool = False
    capabilities: tuple[tuple[int, int], ...] = ()
    architectures: tuple[str, ...] = ()
    current: int = 0
    visible: str | None = None
    cupy_packages: tuple[str, ...] = ()
    cupy_cuda: int | None = None
    cupy_devices: int = 0
    cupy_error: str | None = None


def look() -> Found:
    """Find out. CuPy is imported only where torch can use a GPU: that takes a second."""
    cuda = torch.version.cuda
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of an old driver, and we say it ourselves
        available = cuda is not None and torch.cuda.is_available()
    packages = _cupy_packages()
    devices, built, error = _look_at_cupy() if available and len(packages) == 1 else (0, None, None)
    return Found(
        driver=_driver_version(),
        torch=str(torch.__version__),
        torch_cuda=None if cuda is None else _version(cuda),
        available=available,
        capabilities=tuple(torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count() * available)),
        architectures=tuple(torch.cuda.get_arch_list()) if available else (),
        current=torch.cuda.current_device() if available else 0,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        cupy_packages=packages,
        cupy_cuda=cuda_of_package(packages[0]) or built if len(packages) == 1 else None,
        cupy_devices=devices,
        cupy_error=error,
    )


@functools.cache
def _cupy_packages() -> tuple[str, ...]:
    """Installed packages that hold CuPy; looking through all packages takes 0.1 s."""
    return tuple(sorted(set(metadata.packages_distributions().get("cupy", ()))))


def cuda_of_package(name: str) -> int | None:
    """The CUDA a package of CuPy is for, by its name: cupy-cuda12x → 12; a plain "cupy" doesn't say."""
    match = re.fullmatch(r"cupy[-_]cuda(\d+)x", name)
    return None if match is None else int(match[1])


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def _driver_version() -> tuple[int, int] | None:
    """From libcuda itself, which is the driver's: no GPU is touched."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    if driver.cuDriverGetVersion(ctypes.byref(number)) != 0 or number.value == 0:
        return None
    return number.value // 1000, number.value % 1000 // 10


def _look_at_cupy() -> tuple[int, int | None, str | None]:
    """GPUs it sees, the CUDA it is built for, and what it stumbles over."""
    try:
        import cupy

        cupy.cuda.nvrtc.getVersion()  # the compiler is a library of its own, and may be missing
        return cupy.cuda.runtime.getDeviceCount(), cupy.cuda.runtime.runtimeGetVersion() // 1000, None
    except (ImportError, OSError, RuntimeError) as error:
        lines = str(error).strip().splitlines()
        return 0, None, f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
