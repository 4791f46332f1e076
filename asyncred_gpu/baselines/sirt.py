"""SIRT by ASTRA as a baseline: x ← x + C Aᵀ R (y − A x), no denoiser and no regularization but stopping early.

Gilbert 1972; Gregor and Benson, IEEE TMI 2008. R and C are the reciprocals of A's row and column sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from ..devices import check_device
from ..operators.astra_sirt import AstraSirt
from ..operators.radon import RadonCT
from ..result import Progress, Result
from ..settings import make_mask
from .run import Asked, Run, Update
from .start import Start, check_ct

WHOLE_PROJECTOR = (
    "SIRT projects the whole image at once, with ASTRA: at 800² that is about 3e-4 off the operator on images, 1e-2 on "
    "noise."
)


def sirt(
    operator: RadonCT,
    *,
    nonnegative: bool = False,
    field_of_view: Any = None,
    device: str = "cpu",
    max_sweeps: float | None = 40,
    time_limit: float | None = None,
    tol: float | None = None,
    x0: Any = "zeros",
    reference: Any = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
) -> Result:
    """ASTRA's SIRT, in the operator's geometry.

    Args:
        operator: a scan without statistical weights, which ASTRA's SIRT doesn't know.
        nonnegative: negative pixels become zero after every iteration.
        field_of_view: as of `GpuAsyncRED`; pixels outside are zero and don't enter R and C.
        device: "cpu", or a GPU for ASTRA's SIRT_CUDA: "cuda", "cuda:1", or "auto".
        max_sweeps, time_limit, x0, reference, callbacks: as of `GpuAsyncRED.run`; a sweep is one iteration.
        tol: stop at ‖x⁺ − x‖² ≤ tol times that of the first iteration. x⁺ − x = C Aᵀ R (y − A x) is SIRT's gradient;
            the history's residual is this ratio.
    Raises:
        TypeError, ValueError: input that can't be, before any work.
        DeviceError, RuntimeError: a GPU that isn't there, or that ASTRA can't use.
    """
    check_ct("sirt", operator)
    asked = Asked.of(operator, max_sweeps, time_limit, tol, reference, callbacks)
    if operator.weights is not None:
        raise ValueError(
            "ASTRA's SIRT counts every ray alike, and the scan has statistical weights. "
            "Pass a RadonCT without weights, or use another method."
        )
    mask = make_mask(field_of_view, operator.image_shape)
    used = _one_device(device)
    start = Start.of(operator, x0, 1.0, mask, nonnegative)
    gpu = None if used == "cpu" else int(used.removeprefix("cuda:"))
    before = start.image.copy()
    solver = AstraSirt(operator.geometry, operator.sinogram, start.image, mask, start.nonnegative, gpu)

    def update() -> Update:
        nonlocal before
        image = solver.iterate().copy()
        moved, before = image - before, image
        return Update(image, float(np.vdot(moved, moved)))

    settings = {"method": "SIRT", "projector": "astra", "device": used}
    with closing(solver):
        return Run(asked, start.image).iterate(start, update, settings, notes=(WHOLE_PROJECTOR,))


def _one_device(device: Any) -> str:
    devices = check_device(device)
    if len(devices) > 1:
        raise ValueError(f"device={device!r} are several, and ASTRA's SIRT uses one. Pass one of them.")
    return devices[0]
