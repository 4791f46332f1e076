"""Asynchronous regularization by denoising (Async-RED) for large computed tomography."""

from .denoiser import load_denoiser
from .devices import DeviceError
from .metrics import snr
from .operators.radon import RadonCT
from .result import Progress, Result, Schedule, Status
from .runtime.base import WorkerError
from .solver import GpuAsyncRED

__all__ = [
    "DeviceError",
    "GpuAsyncRED",
    "Progress",
    "RadonCT",
    "Result",
    "Schedule",
    "Status",
    "WorkerError",
    "load_denoiser",
    "snr",
]
__version__ = "0.1.0"
