"""Tuning: one setting after the other, each at the value that gets to the best SNR first. Pure but for `run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .methods import Axis
from .verdict import Curve, quickest

Run = Callable[[list[dict[str, Any]]], list[Curve]]

# Twice through all settings: a later one can move the best of an earlier one.
PASSES = 2
# Values beyond an end of a grid, at most.
MOST_BEYOND = 4


def search(axes: Sequence[Axis], fixed: dict[str, Any], run: Run) -> dict[str, Any]:
    """The best settings found.

    Args:
        axes: in the order they are tuned.
        fixed: settings that stay.
        run: trials of these settings, a curve each; those made before are free.
    """
    settings = fixed | {axis.name: axis.values[0] for axis in axes}
    for _ in range(PASSES if len(axes) > 1 else 1):
        before = dict(settings)
        for axis in axes:
            settings[axis.name] = _best_of(axis, settings, run)
        if settings == before:
            break
    return settings


def _best_of(axis: Axis, settings: dict[str, Any], run: Run) -> Any:
    """The best value of one setting, beyond the grid if the best is at its end."""
    values = list(axis.values)
    if len(values) == 1:
        return values[0]
    for _ in range(MOST_BEYOND + 1):
        best = values[quickest(run([settings | {axis.name: value} for value in values]))]
        beyond = None if axis.factor is None else _beyond(values, best, axis)
        if beyond is None:
            return best
        values = sorted([*values, beyond])
    return values[quickest(run([settings | {axis.name: value} for value in values]))]


def _beyond(values: list[float], best: float, axis: Axis) -> float | None:
    """The value after the end where the best is, or None."""
    assert axis.factor is not None
    if best == values[0]:
        return best / axis.factor
    if best == values[-1] and best * axis.factor <= axis.most:
        return best * axis.factor
    return None
