from .checkpoint import CheckpointError as CheckpointError
from .denoiser import load_denoiser as load_denoiser
from .devices import DeviceError as DeviceError
from .interrupts import RunInterrupted as RunInterrupted
from .metrics import snr as snr
from .operators.check_operator import check_operator as check_operator
from .operators.custom import CustomOperator as CustomOperator
from .operators.gaussian import gaussian_matrices as gaussian_matrices
from .operators.matrix import BlockCS as BlockCS
from .operators.radon import RadonCT as RadonCT
from .result import Progress as Progress
from .result import Result as Result
from .result import Schedule as Schedule
from .result import Status as Status
from .runtime.base import WorkerError as WorkerError
from .solver import GpuAsyncRED as GpuAsyncRED
from .warm_starts import warm_start as warm_start

__version__: str
