"""Which device a run uses; for a GPU that can't be used, what was found and what to install.

`look` finds out what is here; `decide` is a pure function of that.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from .gpu_findings import Found, look

# The kernels are compiled for this compute capability and later.
LEAST_CAPABILITY = (7, 0)
CPU_INSTEAD = "Pass device='cpu' to go on without a GPU."


class DeviceError(RuntimeError):
    """The device asked for can't be used here."""


@dataclass(frozen=True)
class Problem:
    """What was found, and what to do."""

    found: str
    remedy: str


def check_device(device: Any) -> tuple[str, ...]:
    """The devices to use: ("cpu",), or CUDA devices by name, as ("cuda:0", "cuda:1").

    Args:
        device: "auto" (torch's current GPU if it works, else the CPU), "cpu", "cuda" (torch's current GPU), "cuda:1",
            or a list of different CUDA devices; a torch.device too.
    Raises:
        ValueError: something else.
        DeviceError: a CUDA device that can't be used: what was found, and what to install.
    """
    names = parse(device)
    if names == ("auto",) and not torch.cuda.is_available():  # looking closer takes 0.1 s
        names = ("cpu",)
    return names if names == ("cpu",) else decide(names, look())


def parse(device: Any) -> tuple[str, ...]:
    """The names in `device`: ("auto",), ("cpu",), or CUDA devices, not yet looked for."""
    several = isinstance(device, list | tuple)
    names = tuple(str(one) for one in device if isinstance(one, str | torch.device)) if several else (str(device),)
    right = isinstance(device, str | torch.device) or (several and len(names) == len(device) > 0)
    known = r"cuda(:(0|[1-9]\d*))?" + ("" if several else "|cpu|auto")
    if not right or not all(re.fullmatch(known, name) for name in names):
        raise ValueError(
            f"device={_shown(device)} isn't known. Pass 'auto', 'cpu', 'cuda', 'cuda:1', or a list of CUDA devices "
            "such as ['cuda:0', 'cuda:1']."
        )
    return names


def decide(names: tuple[str, ...], found: Found) -> tuple[str, ...]:
    """The devices meant by `names`, given what is here; "auto" warns if a GPU is there that can't be used."""
    auto = names == ("auto",)
    if auto and not found.available:
        return ("cpu",)
    current = f"cuda:{found.current}"
    devices = tuple(current if name in ("auto", "cuda") else name for name in names)
    if len(set(devices)) < len(devices):
        raise ValueError(f"device={list(names)!r} names a device twice. Pass different CUDA devices.")
    problems = _problems(found, devices)
    if not problems:
        return devices
    what = _listed([problem.found for problem in problems])
    remedies = "; then ".join(problem.remedy for problem in problems)
    if auto:
        warnings.warn(f"device='auto' takes the CPU: found {what}. To use the GPU, {remedies}.", stacklevel=4)
        return ("cpu",)
    shown = repr(names[0] if len(names) == 1 else list(names))
    raise DeviceError(f"device={shown} can't be used: found {what}. To mend it, {remedies}. {CPU_INSTEAD}")


def why_no_gpu(found: Found) -> str | None:
    """What keeps torch's current GPU from being used, or None if nothing does."""
    problems = gpu_problems(found)
    return _listed([problem.found for problem in problems]) if problems else None


def gpu_problems(found: Found) -> list[Problem]:
    """What keeps torch's current GPU from being used, in the order to mend it."""
    return _problems(found, (f"cuda:{found.current}",))


def _problems(found: Found, devices: tuple[str, ...]) -> list[Problem]:
    """All there is to mend, in the order to do it."""
    system = [*_driver_problems(found), *_torch_problems(found), *_cupy_problems(found)]
    return system or [problem for name in devices for problem in _gpu_problems(found, name)]


def _driver_problems(found: Found) -> list[Problem]:
    if found.driver is None:
        remedy = "install the NVIDIA driver until nvidia-smi lists the GPU (a container needs --gpus all)"
        return [Problem("no NVIDIA driver (libcuda.so.1 can't be loaded)", remedy)]
    # Within one major version of CUDA an older driver will do.
    needed = 12 if found.torch_cuda is None else found.torch_cuda[0]
    if found.driver[0] < needed and not found.available:
        remedy = "update the NVIDIA driver"
        if found.torch_cuda is not None and found.driver[0] >= 12:
            remedy += f", or `{_torch_command(_torch_build(found))}`"
        wanted = "" if found.torch_cuda is None else f", too old for {_torch(found)}"
        return [Problem(f"an NVIDIA driver for CUDA {_dotted(found.driver)}{wanted}", remedy)]
    return []


def _torch_problems(found: Found) -> list[Problem]:
    if found.torch_cuda is None:
        return [Problem(f"torch {found.torch} built without CUDA", f"`{_torch_command(_torch_build(found))}`")]
    if found.available or _driver_problems(found):
        return []
    if found.visible is not None:
        remedy = "set CUDA_VISIBLE_DEVICES to a GPU that nvidia-smi lists, or unset it"
        return [Problem(f"no GPU that torch can see, with CUDA_VISIBLE_DEVICES={found.visible!r}", remedy)]
    return [Problem("no GPU that torch can see", "make nvidia-smi list the GPU (a container needs --gpus all)")]


def _cupy_problems(found: Found) -> list[Problem]:
    wanted = f"cupy-cuda{_cuda_major(found)}x"
    installed = " ".join(found.cupy_packages)
    reinstall = f"`pip uninstall -y {installed}` and `pip install {wanted}`"
    if not found.cupy_packages:
        return [Problem("no CuPy", f"`pip install {wanted}`")]
    if len(found.cupy_packages) > 1:
        return [Problem(f"{_listed(found.cupy_packages)}, which overwrite each other", reinstall)]
    if found.torch_cuda and found.cupy_cuda not in (None, found.torch_cuda[0]):
        return [Problem(f"{installed} (CUDA {found.cupy_cuda}), which doesn't fit {_torch(found)}", reinstall)]
    if found.cupy_error is not None:
        return [Problem(f"{installed}, which doesn't work ({found.cupy_error})", reinstall)]
    if found.available and found.cupy_devices < len(found.capabilities):
        what = f"{installed}, which sees {found.cupy_devices} of the {len(found.capabilities)} GPUs torch sees"
        return [Problem(what, reinstall)]
    return []


def _gpu_problems(found: Found, name: str) -> list[Problem]:
    index, count = int(name.removeprefix("cuda:")), len(found.capabilities)
    if index >= count:
        there = "1 GPU, cuda:0" if count == 1 else f"{count} GPUs, cuda:0 to cuda:{count - 1}"
        return [Problem(f"no {name} but {there}", "pass one of these")]
    capability = found.capabilities[index]
    what = f"{name} of compute capability {_dotted(capability)}"
    if capability < LEAST_CAPABILITY:
        return [Problem(what, f"use a GPU of compute capability {_dotted(LEAST_CAPABILITY)} or later")]
    if not _holds(found.architectures, capability):
        has = ", ".join(found.architectures)
        # The builds for CUDA 13 begin with compute capability 7.5, those for CUDA 12.6 end with 9.0.
        newest = "cu128" if found.driver is not None and found.driver[0] == 12 else "cu130"
        build = "cu126" if capability < (7, 5) else newest
        return [Problem(f"{what} and {_torch(found)} without code for it (only {has})", f"`{_torch_command(build)}`")]
    return []


def _holds(architectures: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Whether a build runs there: machine code of the same major version, or PTX, of this capability or earlier."""
    for name in architectures:
        if match := re.fullmatch(r"(sm|compute)_(\d+)(\d)", name):
            built = (int(match[2]), int(match[3]))
            if built <= capability and (match[1] == "compute" or built[0] == capability[0]):
                return True
    return False


def _cuda_major(found: Found) -> int:
    """The CUDA that torch is built for, or will be."""
    return found.torch_cuda[0] if found.torch_cuda else 12 if _torch_build(found) == "cu126" else 13


def _torch_build(found: Found) -> str:
    """The build of torch that fits the driver, and CuPy if it is there; the newest where nothing is yet."""
    twelve = found.cupy_cuda == 12 if found.driver is None or found.driver[0] > 12 else found.driver[0] == 12
    return "cu126" if twelve else "cu130"


def _torch_command(build: str) -> str:
    # Without --force-reinstall pip is content with a build for the CPU.
    return f"pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/{build}"


def _torch(found: Found) -> str:
    return f"torch {found.torch}" + (f" (CUDA {_dotted(found.torch_cuda)})" if found.torch_cuda else "")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _shown(device: Any) -> str:
    return repr(str(device)) if isinstance(device, torch.device) else repr(device)
