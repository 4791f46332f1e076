"""SNR against seconds, log time; a colour a group of methods, a line style within it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from asyncred_gpu.curves import COLOURS, STYLES, finish

from .methods import METHODS, OURS
from .verdict import Curve

# The first moment shown, seconds; the start image is drawn there.
EARLIEST = 0.03


def peers_figure(title: str, curves: Mapping[str, Curve]) -> Figure:
    """The methods' curves, by name."""
    figure = Figure(figsize=(9.0, 7.4), layout="constrained")
    axes = figure.subplots()
    groups = list(dict.fromkeys(method.group for method in METHODS.values()))
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
    begins = [curve.snr[0] for curve in curves.values() if curve.snr]
    best = max(curve.best for curve in curves.values())
    axes.set_xscale("log")
    axes.set_xlim(left=EARLIEST)
    axes.set_ylim(min(begins) - 0.5, best + 0.5)  # what falls below its start isn't shown
    axes.set_xlabel("seconds of the solver")
    axes.set_ylabel("SNR in dB")
    axes.set_title(title, fontsize=11, loc="left")
    finish(axes)
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    return figure
