"""BC-RED: one block after the other, each from the newest image; what Async-RED is with one worker and λ = 0.

Sun, Liu, Kamilov, Block Coordinate Regularization by Denoising, NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..operators.base import BlockOperator
from ..result import Progress, Result
from ..solver import GpuAsyncRED


def bc_red(
    operator: BlockOperator,
    denoiser: Any,
    tau: float = 0.02,
    *,
    max_sweeps: float | None = 40,
    time_limit: float | None = None,
    tol: float | None = None,
    x0: Any = "auto",
    reference: Any = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
    **settings: Any,
) -> Result:
    """`GpuAsyncRED` with one worker, one block a launch, and no staleness.

    Args:
        operator, denoiser, tau, settings: as of `GpuAsyncRED`.
        max_sweeps, time_limit, tol, x0, reference, callbacks: as of `GpuAsyncRED.run`.
    Raises: as `GpuAsyncRED` and its `run`.
    """
    solver = GpuAsyncRED(operator, denoiser, tau, num_workers=1, max_staleness=0, blocks_per_launch=1, **settings)
    return solver.run(max_sweeps, time_limit=time_limit, tol=tol, x0=x0, reference=reference, callbacks=callbacks)
