"""What the modes run on: the cores, and the GPUs if they work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..devices import check_device, parse, why_no_gpu
from ..gpu_findings import look
from ..precision import CPU_PRECISIONS, offered_precisions, resolve_precision
from ..runtime.cpu import available_cores


@dataclass(frozen=True)
class Machine:
    """cores: of this process. gpus: names, as "cuda:0"; empty: none, and `why` says why."""

    cores: int
    gpus: tuple[str, ...]
    why: str

    @property
    def line(self) -> str:
        """For the user."""
        cores = f"{self.cores} core{'' if self.cores == 1 else 's'}"
        if not self.gpus:
            return f"no GPU: {self.why}; comparing the CPU modes ({cores})"
        names = ", ".join(f"{name} ({torch.cuda.get_device_name(name)})" for name in self.gpus)
        return f"GPU: {names}; CPU: {cores}"

    def precision(self, wanted: str, on_gpu: bool) -> str:
        """What a mode's denoiser is to run in: the same everywhere if both have it."""
        on_cpu = resolve_precision(wanted if wanted in CPU_PRECISIONS or not self.gpus else "auto")
        if not on_gpu:
            return on_cpu
        offered = ("float32", *offered_precisions(torch.cuda.get_device_capability(self.gpus[0])))
        return next((name for name in (wanted, on_cpu) if name in offered), "auto")


def find_machine(device: Any) -> Machine:
    """What there is of what is wanted: "auto", "cpu", or CUDA devices.

    Raises:
        ValueError: another device. DeviceError: CUDA devices that can't be used.
    """
    cores, names = len(available_cores()), parse(device)
    if names == ("cpu",):
        return Machine(cores, (), "device='cpu' was asked for")
    why = why_no_gpu(look()) if names == ("auto",) else None
    if why is not None:
        return Machine(cores, (), why)
    return Machine(cores, check_device("cuda" if names == ("auto",) else device), "")
