"""Sync-RED: the workers of Async-RED with a barrier, so that a round takes as long as its slowest update.

Every round updates P blocks, all from the same image (Sun, Liu, Sun, Wohlberg, Kamilov, ICLR 2021, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..operators.base import BlockOperator
from ..result import Progress, Result
from ..solver import GpuAsyncRED


def sync_red(
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
    """`GpuAsyncRED` with order="sync".

    Args:
        operator, denoiser, tau, settings: as of `GpuAsyncRED`; P is num_workers × blocks_per_launch.
        max_sweeps, time_limit, tol, x0, reference, callbacks: as of `GpuAsyncRED.run`.
    Raises: as `GpuAsyncRED` and its `run`.
    """
    solver = GpuAsyncRED(operator, denoiser, tau, order="sync", **settings)
    return solver.run(max_sweeps, time_limit=time_limit, tol=tol, x0=x0, reference=reference, callbacks=callbacks)
