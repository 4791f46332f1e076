"""Asynchronous regularization by denoising (Async-RED) for large computed tomography and compressed sensing."""

from .denoiser import load_denoiser
from .devices import DeviceError
from .metrics import snr
from .operators.gaussian import gaussian_matrices
from .operators.matrix import BlockCS
from .operators.radon import RadonCT
from .result import Progress, Result, Schedule, Status
from .runtime.base import WorkerError
from .solver import GpuAsyncRED
from .warm_starts import warm_start

__all__ = [
    "BlockCS",
    "DeviceError",
    "GpuAsyncRED",
    "Progress",
    "RadonCT",
    "Result",
    "Schedule",
    "Status",
    "WorkerError",
    "gaussian_matrices",
    "load_denoiser",
    "snr",
    "warm_start",
]
__version__ = "0.1.0"
