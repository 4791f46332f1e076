"""Tuning: one setting after the other, each at the value that gets to the best SNR first. Pure but for `run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .methods import Axis
from .verdict import Curve, quickest

Run = Callable[[list[dict[str, Any]]], list[Curve]]

# Twice through all settings: a later one can move the best of an earlier one.
PASSES = 2
# Values beyond an end of a grid, at most.
MOST_BEYOND = 4


class Tuned(NamedTuple):
    """What tuning found.

    Args:
        settings: the best ones, and those that stay.
        tried: the values of each setting when it was tuned last.
    """

    settings: dict[str, Any]
    tried: dict[str, tuple[Any, ...]]


def search(axes: Sequence[Axis], fixed: dict[str, Any], run: Run) -> Tuned:
    """The best settings found.

    Args:
        axes: in the order they are tuned.
        fixed: settings that stay.
        run: trials of these settings, a curve each; those made before are free.
    """
    settings = fixed | {axis.name: axis.values[axis.begin] for axis in axes}
    tried = {axis.name: axis.values for axis in axes}
    for _ in range(PASSES if len(axes) > 1 else 1):
        before = dict(settings)
        for axis in axes:
            settings[axis.name], tried[axis.name] = _best_of(axis, settings, run)
        if settings == before:
            break
    return Tuned(settings, tried)


def _best_of(axis: Axis, settings: dict[str, Any], run: Run) -> tuple[Any, tuple[Any, ...]]:
    """The best value of one setting, beyond the grid if the best is at its end; and what was tried."""
    values = list(axis.values)
    if len(values) == 1:
        return values[0], axis.values
    for _ in range(MOST_BEYOND + 1):
        best = values[quickest(run([settings | {axis.name: value} for value in values]))]
        beyond = None if axis.factor is None else _beyond(values, best, axis)
        if beyond is None:
            return best, tuple(values)
        values = sorted([*values, beyond])
    return values[quickest(run([settings | {axis.name: value} for value in values]))], tuple(values)


def _beyond(values: list[Any], best: Any, axis: Axis) -> Any:
    """The value after the end where the best is, or None."""
    assert axis.factor is not None
    if best == values[0] and best / axis.factor >= axis.least:
        return type(best)(best / axis.factor)
    if best == values[-1] and best * axis.factor <= axis.most:
        return best * axis.factor
    return None


def at_an_end(tuned: Tuned) -> dict[str, str]:
    """The settings whose best is the "lowest" or the "highest" value tried; those that aren't numbers have no ends."""
    found = {}
    for name, values in tuned.tried.items():
        best = tuned.settings[name]
        if len(values) == 1 or isinstance(best, bool | str):
            continue
        if best in (min(values), max(values)):
            found[name] = "lowest" if best == min(values) else "highest"
    return found
