"""SNR against seconds, log time, a panel a problem; a colour a group of methods, a line style within it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from asyncred_gpu.curves import COLOURS, STYLES, finish

from .methods import METHODS, OURS
from .verdict import Curve

# The first moment shown, seconds; the start image is drawn there.
EARLIEST = 0.03


def peers_figure(problems: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """A panel a problem.

    Args:
        problems: title to the methods' curves by name.
    """
    figure = Figure(figsize=(max(9.0, 1.0 + 6.2 * len(problems)), 7.4), layout="constrained")
    places = figure.subplots(1, len(problems), squeeze=False)[0]
    groups = list(dict.fromkeys(method.group for method in METHODS.values()))
    for axes, (title, curves) in zip(places, problems.items(), strict=True):
        for name, curve in curves.items():
            if curve.failure:
                continue
            method = METHODS[name]
            siblings = [other.name for other in METHODS.values() if other.group == method.group]
            look: dict[str, Any] = {
                "color": COLOURS[groups.index(method.group)],
                "linestyle": STYLES[siblings.index(name)],
            }
            seconds = [max(EARLIEST, when) for when in curve.seconds]
            look |= {"linewidth": 2.6 if name == OURS else 1.3, "drawstyle": "steps-post"}  # nothing between iterations
            axes.plot(seconds, curve.snr, label=method.title, **look)
        shown = [snr for curve in curves.values() for snr in curve.snr[:1]]
        best = max(curve.best for curve in curves.values())
        axes.set_xscale("log")
        axes.set_xlim(left=EARLIEST)
        axes.set_ylim(min(shown) - 0.5, best + 0.5)  # what falls below its start isn't shown
        axes.set_xlabel("seconds of the solver")
        axes.set_ylabel("SNR in dB")
        axes.set_title(title, fontsize=11, loc="left")
        finish(axes)
    handles = {
        label: handle for axes in places for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        frameon=False,
        loc="outside lower center",
        ncols=2 if len(problems) == 1 else 3,
        fontsize=9,
    )
    return figure
