"""How a run got there: SNR in dB and ‖G‖²/‖G₀‖² against sweeps and seconds, and the staleness of its commits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

# Okabe and Ito's colours, safe for colour-blind readers.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#666666"
CLOCKS = (("sweep", "sweeps"), ("seconds", "seconds"))


def convergence_figure(
    history: Mapping[str, ArrayLike],
    *,
    baselines: Mapping[str, float] | None = None,
    max_staleness: int | None = None,
    title: str = "",
) -> Figure:
    """Four curves and a histogram; without any SNR in the history, two curves and the histogram.

    Args:
        history: equally long sweep, seconds, residual and staleness, and snr (nan where it wasn't taken).
        baselines: name to an SNR in dB, drawn as a level line.
        max_staleness: λ, drawn in the histogram.
        title: above the whole figure.
    """
    columns = {name: np.asarray(values, np.float64) for name, values in history.items() if name != "block"}
    has_snr = "snr" in columns and bool(np.isfinite(columns["snr"]).any())
    rows = 2 if has_snr else 1
    figure = Figure(figsize=(14, 3.9 * rows + 0.6), layout="constrained")
    grid = figure.add_gridspec(rows, 3)
    for column, (clock, label) in enumerate(CLOCKS):
        if has_snr:
            _snr(figure.add_subplot(grid[0, column]), columns, clock, baselines or {})
        _residual(figure.add_subplot(grid[rows - 1, column]), columns, clock, label)
    _staleness(figure.add_subplot(grid[:, 2]), columns["staleness"], max_staleness)
    if title:
        figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure


def _snr(axes: Axes, columns: Mapping[str, NDArray[np.float64]], clock: str, baselines: Mapping[str, float]) -> None:
    taken = np.isfinite(columns["snr"])
    axes.plot(columns[clock][taken], columns["snr"][taken], color=BLUE, linewidth=1.8)
    for name, level in baselines.items():
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{name} {level:.2f} dB",
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            color=GREY,
            fontsize=9,
        )
    _finish(axes, "SNR in dB" if clock == "sweep" else "", "", "SNR")


def _residual(axes: Axes, columns: Mapping[str, NDArray[np.float64]], clock: str, label: str) -> None:
    positive = np.isfinite(columns["residual"]) & (columns["residual"] > 0)
    axes.semilogy(columns[clock][positive], columns["residual"][positive], color=VERMILION, linewidth=1.4)
    _finish(axes, "‖G‖² / ‖G₀‖²" if clock == "sweep" else "", label, "Residual")


def _staleness(axes: Axes, staleness: NDArray[np.float64], limit: int | None) -> None:
    finite = staleness[np.isfinite(staleness)].astype(int)
    counts = np.bincount(finite) if finite.size else np.zeros(1, int)
    axes.bar(np.arange(counts.size), counts, width=0.85, color=BLUE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    mean = float(finite.mean()) if finite.size else 0.0
    bound = "" if limit is None else f", allowed {limit}"
    _finish(axes, "commits", "staleness: commits between read and commit", "")
    axes.set_title(f"Staleness: mean {mean:.2f}, largest {counts.size - 1}{bound}", fontsize=11, loc="left")


def _finish(axes: Axes, ylabel: str, xlabel: str, title: str) -> None:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if title and ylabel:
        axes.set_title(title, fontsize=11, loc="left")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
