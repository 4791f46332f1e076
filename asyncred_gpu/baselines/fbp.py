"""Filtered back-projection as a baseline: one step, from zeros.

Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import checksum
from ..operators.radon import RadonCT
from ..result import Progress, Result, Status
from ..settings import make_mask
from ..solver import outside_notes
from .run import Asked, Run, Update
from .start import check_ct, constrained


def fbp(
    operator: RadonCT,
    *,
    nonnegative: bool = False,
    field_of_view: Any = None,
    reference: Any = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
) -> Result:
    """`RadonCT.fbp()`, with the Ram-Lak filter; statistical weights don't enter.

    Args:
        nonnegative: negative pixels become zero.
        field_of_view, reference, callbacks: as of `GpuAsyncRED`.
    Returns:
        One update in the history, whose residual is NaN: nothing is iterated.
    Raises:
        TypeError, ValueError: input that can't be, before any work.
    """
    check_ct("fbp", operator)
    asked = Asked.of(operator, 1, None, None, reference, callbacks)
    mask = make_mask(field_of_view, operator.image_shape)
    run = Run(asked, np.zeros(operator.image_shape, np.float32))
    whole = operator.fbp()
    image = constrained(whole, mask, bool(nonnegative))
    run.record(Update(image, math.nan))
    settings = {"method": "FBP", "nonnegative": bool(nonnegative)}
    settings["field_of_view"] = None if mask is None else checksum(mask)
    return run.result(image, Status.DIRECT, settings, outside_notes(whole, mask))
