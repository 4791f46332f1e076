"""Theorems 1 and 2 in four panels: the decay, steps that are too long, SG's curves, SG's floor over the minibatch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .convergence import BLUE, GREY, VERMILION
from .curves import titled
from .theory_problem import Float64Array
from .theory_study import Decay, Floor, LongStep

GREEN, ORANGE = "#009E73", "#E69F00"  # Okabe and Ito's, too
COLOURS = (BLUE, VERMILION, GREEN, ORANGE)
# Curves of more points than a panel has pixels are thinned.
POINTS = 600
# SG's curves are averaged over as many updates as this part of those so far.
SMOOTHING = 0.05


def theory_figure(
    decays: Sequence[Decay], floors: Sequence[Floor], unscaled: Sequence[Floor], long_steps: Sequence[LongStep]
) -> Figure:
    """The four panels.

    Args:
        unscaled: floors of minibatches without the factor (all / count).
    """
    figure = Figure(figsize=(13, 9.4), layout="constrained")
    grid = figure.subplots(2, 2)
    _draw_decays(grid[0, 0], decays)
    _draw_long_steps(grid[0, 1], long_steps)
    _draw_floor_curves(grid[1, 0], floors)
    _draw_floors(grid[1, 1], floors, unscaled)
    return figure


def _draw_decays(axes: Axes, decays: Sequence[Decay]) -> None:
    for decay, colour in zip(decays, COLOURS, strict=False):
        updates = _thinned(len(decay.least))
        axes.plot(updates, decay.bound[updates - 1], color=colour, linestyle="--", linewidth=1.3)
        axes.plot(updates, decay.least[updates - 1], color=colour, linewidth=2.0, label=f"λ = {decay.staleness}")
        axes.plot(updates, decay.least_independent[updates - 1], color="black", linestyle=":", linewidth=1.2)
    axes.plot([], [], color=GREY, linestyle="--", label="Theorem 1's bound")
    axes.plot([], [], color="black", linestyle=":", label="independent draws, all λ late")
    _finish(axes, "Theorem 1 at its step, γ = 1/((1+2λ)(L+2τ))", "min E‖G(x)‖²")


def _draw_long_steps(axes: Axes, long_steps: Sequence[LongStep]) -> None:
    for run, colour in zip(long_steps, COLOURS, strict=False):
        updates = _thinned(len(run.least))
        above = "never above" if run.violation is None else f"above from t = {run.violation}"
        label = f"γ = {run.factor:g}/(L+2τ), λ = {run.staleness}: {above}"
        axes.plot(updates, run.bound[updates - 1], color=colour, linestyle="--", linewidth=1.3)
        axes.plot(updates, run.least[updates - 1], color=colour, linewidth=2.0, label=label)
        if run.violation is not None:
            axes.plot(run.violation, run.least[run.violation - 1], marker="o", color=colour, markersize=7)
    axes.plot([], [], color=GREY, linestyle="--", label="Theorem 1's formula with this γ")
    _finish(axes, "Steps that are too long: ‖G‖ grows, and its least value stays", "min ‖G(x)‖²")


def _draw_floor_curves(axes: Axes, floors: Sequence[Floor]) -> None:
    for floor, colour in zip(floors, COLOURS, strict=False):
        updates = _thinned(len(floor.mean))
        smooth = _smoothed(floor.mean, updates)
        axes.plot(updates, smooth, color=colour, linewidth=1.6, label=f"w = {floor.minibatch}")
        axes.hlines(floor.level, len(floor.mean) // 2, len(floor.mean), color=colour, linestyle=":", linewidth=1.8)
    _finish(axes, f"SG, λ = {floors[0].staleness}: decay, then a floor", "E‖G(x)‖²")


def _draw_floors(axes: Axes, floors: Sequence[Floor], unscaled: Sequence[Floor]) -> None:
    counts = np.array([floor.minibatch for floor in floors], np.float64)
    levels = np.array([floor.level for floor in floors])
    axes.plot(counts, [floor.allowed for floor in floors], color=GREY, linestyle="--", label="Theorem 2's γC/w")
    wrong = [floor.minibatch for floor in unscaled]
    axes.plot(
        wrong,
        [floor.level for floor in unscaled],
        color=VERMILION,
        marker="s",
        linestyle="none",
        label="not scaled by (all / w)",
    )
    axes.plot(counts, levels, color=BLUE, marker="o", linestyle="none", markersize=7, label="floor of SG")
    middle = len(counts) // 2
    axes.plot(counts, levels[middle] * counts[middle] / counts, color=BLUE, linewidth=1.0, label="∼ 1/w")
    _finish(axes, "SG's floor: E‖G(x)‖² over the second half", "", "w, measurements in a minibatch")


def _thinned(count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Updates 1 … count − 1, evenly on a logarithmic scale."""
    return np.unique(np.geomspace(1, max(1, count - 1), POINTS).astype(np.int64))


def _smoothed(values: Float64Array, at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Float64Array:
    """Means over a window around each place that grows with it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    reach = np.maximum(0, (SMOOTHING * at).astype(np.int64))
    begin, end = np.maximum(0, at - reach), np.minimum(len(values), at + reach + 1)
    found: Float64Array = (total[end] - total[begin]) / (end - begin)
    return found


def _finish(axes: Axes, title: str, ylabel: str, xlabel: str = "t, updates") -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    titled(axes, title, xlabel, ylabel)
    axes.legend(frameon=False, fontsize=9.5)
