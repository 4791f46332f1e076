"""The comparison as one figure: SNR in dB against sweeps and seconds, speed-up against workers, staleness in commits.

Without a true image, ‖G‖²/‖G₀‖² takes the SNR's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..curves import CLOCKS, Looks, draw_residual, draw_snr, draw_speedup, draw_staleness, looks_of
from ..result import Float64Array, Result
from .numbers import History, last
from .speedup import Ladder

# Names in a line of the legend.
ONE_LINE = 5
# Runs this many times apart are shown on a logarithmic clock.
SQUEEZED = 8


def comparison_curves(
    results: Mapping[str, Result], ladders: Sequence[Ladder], title: str, start_snr: float | None
) -> Figure:
    """Four panels, one colour a mode in all of them.

    Args:
        results: by the modes' names.
        ladders: may be empty.
        start_snr: of the start image, where every curve begins; None without a true image.
    """
    histories = {name: result.history for name, result in results.items()}
    looks = looks_of(dict.fromkeys([*histories, *(ladder.name for ladder in ladders)]))
    figure = Figure(figsize=(13, 9.4), layout="constrained")
    (by_sweeps, by_seconds), (by_workers, by_commits) = figure.subplots(2, 2)
    for axes, (clock, label) in zip((by_sweeps, by_seconds), CLOCKS, strict=True):
        if start_snr is None:
            draw_residual(axes, histories, clock, label, looks)
        else:
            draw_snr(axes, {name: _begun(each, start_snr) for name, each in histories.items()}, clock, label, looks)
    by_sweeps.set_ylabel("‖G‖²/‖G₀‖²" if start_snr is None else "SNR in dB")
    _draw_speedup(by_workers, ladders, looks)
    bounds = {
        name: each.settings["max_staleness"] for name, each in results.items() if "max_staleness" in each.settings
    }
    draw_staleness(by_commits, {name: histories[name] for name in bounds}, bounds, looks)
    _spread(by_seconds, [last(history, "seconds") for history in histories.values()])
    handles, names = by_sweeps.get_legend_handles_labels()
    columns = len(names) if len(names) <= ONE_LINE else -(-len(names) // 2)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, handlelength=3.2)
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return figure


def _spread(axes: Axes, totals: Sequence[float]) -> None:
    """A logarithmic clock where linear seconds would squeeze the fastest run into the first few."""
    if min(totals) > 0 and max(totals) > SQUEEZED * min(totals):
        axes.set_xscale("log", nonpositive="mask")
        axes.set_xlabel("seconds, logarithmic")


def _draw_speedup(axes: Axes, ladders: Sequence[Ladder], looks: Looks) -> None:
    speedups = {ladder.name: ladder.speedups for ladder in ladders if ladder.speedups}
    if not speedups:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no speed-up was measured", ha="center", transform=axes.transAxes, color="#666666")
        return
    cores = [ladder.cores for ladder in ladders if ladder.cores is not None]
    draw_speedup(axes, speedups, looks, cores[0] if cores else None)
    axes.legend(frameon=False, loc="upper left", fontsize=9)


def _begun(history: History, start_snr: float) -> dict[str, Float64Array]:
    """The curve with the start image before it."""
    firsts = {"sweep": 0.0, "seconds": 0.0, "snr": start_snr}
    return {name: np.concatenate([[first], history[name]]) for name, first in firsts.items()}
