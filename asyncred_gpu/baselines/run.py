"""What the whole-image methods share: limits, history, the check for divergence, and the result.

An update is one step of the whole image, and so is a sweep: it takes one full gradient, as a block method's sweep does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from ..blocks import BlockGrid, FloatArray
from ..monitor import MOST_SHRINKS, Monitor, StepGuard
from ..operators.base import BlockOperator
from ..red import Moved
from ..result import Progress, Result, Status
from ..settings import check_callbacks, check_number, check_reference
from .start import Start

# The history's block where an update is of the whole image.
WHOLE = -1


class Update(NamedTuple):
    """The image after an update, and ‖G‖² at the point where the update began."""

    image: FloatArray
    gradient_squared: float


@dataclass(frozen=True)
class Asked:
    """What a run was asked for, checked; inf for no limit. `time` is when."""

    operator: BlockOperator
    updates: float
    time_limit: float
    tol: float
    reference: FloatArray | None
    callbacks: tuple[Callable[[Progress], None], ...]
    time: float

    @classmethod
    def of(
        cls,
        operator: BlockOperator,
        max_sweeps: float | None,
        time_limit: float | None,
        tol: float | None,
        reference: Any,
        callbacks: Sequence[Callable[[Progress], None]],
    ) -> Self:
        """The arguments of `GpuAsyncRED.run`, which refuses the same."""
        check_callbacks(callbacks)
        if max_sweeps is None and time_limit is None:
            raise ValueError("max_sweeps and time_limit are both None: nothing ends the run. Pass one of them.")
        return cls(
            operator=operator,
            updates=math.inf if max_sweeps is None else round(check_number("max_sweeps", max_sweeps, 0.0)),
            time_limit=math.inf if time_limit is None else check_number("time_limit", time_limit, 0.0),
            tol=-math.inf if tol is None else check_number("tol", tol, 0.0),
            reference=None if reference is None else check_reference(reference, operator.image_shape),
            callbacks=tuple(callbacks),
            time=time.perf_counter(),
        )


class Run:
    """One run of a whole-image method, whose clock starts here; owns its history."""

    def __init__(self, asked: Asked, image: FloatArray) -> None:
        whole = BlockGrid(asked.operator.image_shape, asked.operator.image_shape)
        self._asked = asked
        self._monitor = Monitor(whole, image, asked.reference, asked.updates)
        self._updates = 0
        self._begun = time.perf_counter()

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._begun

    def iterate(
        self,
        start: Start,
        update: Callable[[], Update],
        settings: dict[str, Any],
        guard: StepGuard | None = None,
        notes: tuple[str, ...] = (),
    ) -> Result:
        """Update until a limit is met; the result's image is the last finite one.

        Args:
            guard: shrinks the method's step where ‖G‖² grows, as in `GpuAsyncRED`.
        """
        image, residual, notes = start.image, math.inf, (*start.notes, *notes)
        while (status := self._ended(residual, guard)) is None:
            with np.errstate(over="ignore", invalid="ignore"):
                new = update()
            if not (math.isfinite(new.gradient_squared) and np.isfinite(new.image).all()):
                status = Status.DIVERGED
                notes += (
                    f"After update {self._updates}, the next one was infinite or NaN: the step is far too long, or the "
                    "denoiser returned such values.",
                )
                break
            image, residual = new.image, self.record(new).residual
            if guard is not None and guard.judge(residual):
                notes += (
                    f"After update {self._updates}, ‖G‖² had grown to {residual:.3g} of its start: the step was "
                    f"halved, to {guard.factor:.4g} of what it was, and the momentum dropped.",
                )
        return self.result(image, status, settings | start.settings, notes)

    def _ended(self, residual: float, guard: StepGuard | None) -> Status | None:
        if residual <= self._asked.tol:
            return Status.CONVERGED
        if guard is not None and guard.shrinks > MOST_SHRINKS:
            return Status.DIVERGED
        if self._updates >= self._asked.updates:
            return Status.MAX_SWEEPS
        return Status.TIME_LIMIT if self._seconds >= self._asked.time_limit else None

    def record(self, update: Update) -> Progress:
        """Take an update into the history, and tell the callbacks."""
        moved = Moved(update.gradient_squared, restarted=False, finite=True)
        progress = self._monitor.record(self._updates, 0, 0, moved, lambda: update.image, self._seconds)
        progress = progress._replace(block=WHOLE)
        self._updates += 1
        for callback in self._asked.callbacks:
            callback(progress)
        return progress

    def result(self, image: FloatArray, status: Status, settings: dict[str, Any], notes: tuple[str, ...]) -> Result:
        """What `GpuAsyncRED.run` would return, without a schedule."""
        seconds, operator = self._seconds, self._asked.operator
        common = {"image_shape": list(operator.image_shape), "measurements": operator.fingerprint, **operator.details}
        return Result(
            image=operator.like_input(image),
            status=status,
            history=self._monitor.history() | {"block": np.full(self._updates, WHOLE, np.int64)},
            schedule=None,
            settings=common | settings,
            notes=notes,
            timings={"setup": self._begun - self._asked.time, "start": 0.0, "run": seconds},
        )
