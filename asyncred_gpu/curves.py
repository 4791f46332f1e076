"""Several methods in one figure: SNR in dB against sweeps and seconds, staleness, speed-up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

History = Mapping[str, ArrayLike]
# A method's name to what matplotlib draws its curve with.
Looks = Mapping[str, Mapping[str, Any]]

# Okabe and Ito's colours, safe for colour-blind readers; line styles tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), "-", (0, (1, 1)))
CLOCKS = (("sweep", "sweeps"), ("seconds", "seconds"))
# Of a row of the staleness panel: the height of a bar that has all commits.
BAR_ROOM = 0.8


def snr_figure(
    histories: Mapping[str, History],
    *,
    levels: Mapping[str, float] | None = None,
    title: str = "",
    floor: float | None = None,
) -> Figure:
    """SNR against sweeps, and against seconds.

    Args:
        histories: name to equally long sweep, seconds and snr.
        levels: name to an SNR in dB, drawn as a level line.
        title: above the figure.
        floor: the lowest SNR shown, dB.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    places = figure.subplots(1, 2, sharey=True)
    for axes, (clock, label) in zip(places, CLOCKS, strict=True):
        draw_snr(axes, histories, clock, label)
        for level, (name, value) in enumerate((levels or {}).items()):
            axes.axhline(value, color="#666666", linestyle=(0, (1, 2 + level)), linewidth=1.2)
            axes.annotate(f"{name} {value:.2f} dB", (0.99, value), xycoords=("axes fraction", "data"), **_NOTE)
        if floor is not None:
            axes.set_ylim(bottom=floor)
    places[0].set_ylabel("SNR in dB")
    figure.legend(*places[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4)
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold")
    return figure


_NOTE: dict[str, Any] = {
    "xytext": (0, 3),
    "textcoords": "offset points",
    "ha": "right",
    "color": "#666666",
    "fontsize": 8,
}


def draw_snr(axes: Axes, histories: Mapping[str, History], clock: str, label: str, looks: Looks | None = None) -> None:
    """One curve a method, against `clock`."""
    looks = looks or looks_of(histories)
    for name, history in histories.items():
        values = np.asarray(history["snr"], np.float64)
        taken = np.isfinite(values)
        axes.plot(np.asarray(history[clock])[taken], values[taken], label=name, **looks[name])
    _finish_clock(axes, clock, label)


def draw_residual(
    axes: Axes, histories: Mapping[str, History], clock: str, label: str, looks: Looks | None = None
) -> None:
    """‖G‖²/‖G₀‖², one curve a method, against `clock`."""
    looks = looks or looks_of(histories)
    for name, history in histories.items():
        values = np.asarray(history["residual"], np.float64)
        taken = np.isfinite(values) & (values > 0)
        axes.semilogy(np.asarray(history[clock])[taken], values[taken], label=name, **looks[name])
    _finish_clock(axes, clock, label)


def draw_staleness(
    axes: Axes, histories: Mapping[str, History], bounds: Mapping[str, int], looks: Looks | None = None
) -> None:
    """How often a commit was how stale: a histogram a method, one above the other.

    Args:
        bounds: name to λ.
    """
    looks = looks or looks_of(histories)
    rows = range(len(histories))[::-1]  # the first on top
    for row, (name, history) in zip(rows, histories.items(), strict=True):
        staleness = np.asarray(history["staleness"], np.int64)
        counts = np.bincount(staleness)
        shares = BAR_ROOM * counts / counts.sum()
        axes.bar(np.arange(len(counts)), shares, width=0.8, bottom=row, color=looks[name]["color"], label=name)
        words = f"mean {staleness.mean():.2f}, largest {staleness.max()}, λ = {bounds[name]}"
        at_top = _NOTE | {"xytext": (0, -2), "va": "top"}
        axes.annotate(words, (1.0, row + 1), xycoords=("axes fraction", "data"), **at_top)
        axes.axhline(row, color="#bbbbbb", linewidth=0.8)
    axes.set_yticks([row + BAR_ROOM / 2 for row in rows], list(histories))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(0, max(1, len(histories)))
    axes.set_xlabel("staleness: commits between read and commit (height: their share)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def draw_speedup(
    axes: Axes, speedups: Mapping[str, Mapping[int, float]], looks: Looks | None = None, cores: int | None = None
) -> None:
    """Sweeps a second over those of one worker, against workers, beside the ideal.

    Args:
        speedups: name to the speed-up by workers.
        cores: beyond so many, workers on the CPU share them.
    """
    looks = looks or looks_of(speedups)
    most = max((max(values) for values in speedups.values() if values), default=1)
    axes.plot([1, most], [1, most], color="#bbbbbb", linewidth=1.2, label="ideal")
    for name, values in speedups.items():
        axes.plot(list(values), list(values.values()), marker="o", markersize=5, label=name, **looks[name])
    if cores is not None and cores < most:
        axes.axvline(cores, color="#bbbbbb", linestyle=":", linewidth=1.2)
        words = f"on the CPU, more workers share {cores} core{'' if cores == 1 else 's'}"
        axes.annotate(
            words, (cores, 0.01), xycoords=("data", "axes fraction"), **(_NOTE | {"xytext": (4, 3), "ha": "left"})
        )
    axes.set_xlabel("workers")
    axes.set_ylabel("sweeps a second, over one worker's")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)


def looks_of(names: Iterable[str]) -> Looks:
    """A look for each, in this order."""
    return {name: look(place) for place, name in enumerate(names)}


def look(place: int) -> dict[str, Any]:
    """Colour and style of the method at this place."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": STYLES[place % len(STYLES)], "linewidth": 1.7}


def _finish_clock(axes: Axes, clock: str, label: str) -> None:
    axes.set_xlabel(label)
    if clock == "sweep":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(axes)


def titled(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """A panel's title and labels, and a plain look."""
    axes.set_title(title, fontsize=11.5, loc="left")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def finish(axes: Axes) -> None:
    _plain(axes)
    axes.margins(x=0.02)
