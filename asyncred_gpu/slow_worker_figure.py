"""What a slow worker costs: the time of a sweep, the SNR over time, and the price of a small λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .convergence import BLUE, GREY, VERMILION
from .curves import titled
from .slow_worker import Timed

GREEN = "#009E73"  # Okabe and Ito's, too
COLOURS = (BLUE, GREEN, VERMILION)


@dataclass(frozen=True)
class Pair:
    """The same run with even workers and with a slow one."""

    even: Timed
    slow: Timed

    @property
    def ratio(self) -> float:
        """By how much a sweep takes longer with the slow worker."""
        return self.slow.sweep_time / self.even.sweep_time


def slow_worker_figure(
    pairs: Mapping[str, Pair],
    bounds: Sequence[int],
    prices: Mapping[str, Sequence[float]],
    ideal: float,
    slowdown: float,
) -> Figure:
    """Three panels.

    Args:
        pairs: method's name to its simulated runs, which took an SNR.
        bounds, prices: λ, and by how much a sweep of Async-RED takes longer with it; one or two curves by name.
        ideal: that ratio if nobody ever waits.
        slowdown: of the slow worker; a barrier's ratio.
    """
    figure = Figure(figsize=(15.5, 4.6), layout="constrained")
    bars, curves, price = figure.subplots(1, 3, width_ratios=(1.1, 1.2, 1.0))
    _draw_bars(bars, pairs)
    _draw_curves(curves, pairs)
    _draw_prices(price, bounds, prices, ideal, slowdown)
    return figure


def _draw_bars(axes: Axes, pairs: Mapping[str, Pair]) -> None:
    places = np.arange(len(pairs))
    unit = min(pair.even.sweep_time for pair in pairs.values())
    for place, pair, colour in zip(places, pairs.values(), COLOURS, strict=False):
        even, slow = pair.even.sweep_time / unit, pair.slow.sweep_time / unit
        axes.bar(place - 0.2, even, 0.36, color=colour, alpha=0.4)
        axes.bar(place + 0.2, slow, 0.36, color=colour)
        axes.annotate(
            f"× {pair.ratio:.2f}", (place + 0.2, slow), xytext=(0, 3), textcoords="offset points", ha="center"
        )
    axes.set_xticks(places, [name.replace(", ", "\n") for name in pairs])
    axes.tick_params(axis="x", length=0)
    titled(axes, "A sweep: pale all alike, full one slow", "", "time of a sweep, even Async-RED = 1")


def _draw_curves(axes: Axes, pairs: Mapping[str, Pair]) -> None:
    last = max(pair.slow.times[-1] for name, pair in pairs.items() if not name.startswith("Sync"))
    for (name, pair), colour in zip(pairs.items(), COLOURS, strict=False):
        axes.plot(pair.even.times, pair.even.result.history["snr"], color=colour, linewidth=1.4, linestyle=":")
        axes.plot(pair.slow.times, pair.slow.result.history["snr"], color=colour, linewidth=2.0, label=name)
    axes.plot([], [], color=GREY, linestyle=":", label="all workers alike")
    axes.set_xlim(0, last)
    axes.legend(frameon=False, fontsize=9.5, loc="lower right")
    titled(axes, "SNR over simulated time, one worker slow", "time, updates of a usual worker", "SNR in dB")


def _draw_prices(
    axes: Axes, bounds: Sequence[int], prices: Mapping[str, Sequence[float]], ideal: float, slowdown: float
) -> None:
    for (name, ratios), marker in zip(prices.items(), "os", strict=False):
        axes.plot(bounds, ratios, color=BLUE, marker=marker, linewidth=1.4, markersize=5, label=name)
        axes.lines[-1].set_markerfacecolor(BLUE if marker == "o" else "white")
    for level, name, colour, above in (
        (slowdown, "a barrier every round", VERMILION, 4),
        (ideal, "nobody waits", GREY, -13),
    ):
        axes.axhline(level, color=colour, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"{name}: {level:.2f}",
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(-4, above),
            textcoords="offset points",
            ha="right",
            color=colour,
        )
    axes.set_ylim(0.9, slowdown + 0.4)
    axes.set_xticks(list(bounds)[:: 1 if len(bounds) < 10 else 3])
    axes.legend(frameon=False, fontsize=9.5, loc="center right")
    titled(axes, "Async-RED: the price of a small λ", "λ, largest staleness allowed", "sweep, one slow / all alike")
