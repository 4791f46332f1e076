"""How cost grows: a sweep over the image's size, a pixel's seconds, memory against its estimate, and many workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from .convergence import BLUE, GREY, VERMILION
from .curves import titled
from .growth import LARGEST_FIXED_GROWTH, fit_of, of_workers, seconds_a_pixel
from .growth_run import Measured
from .slow_worker_figure import GREEN
from .throughput import Throughput

GIB = 2**30
COLOURS = (BLUE, GREEN, VERMILION)
DASHES = ("-", "--")
MARKERS = ("o", "s")


def growth_figure(
    proportional: Sequence[Measured],
    fixed: Sequence[Measured],
    simulated: Mapping[str, Mapping[str, Sequence[Throughput]]],
) -> Figure:
    """Four panels.

    Args:
        proportional: runs with angles in proportion to the size.
        fixed: runs with the same angles at all sizes, by size.
        simulated: delay's name to method's name to its runs, by workers.
    """
    figure = Figure(figsize=(13.5, 9.6), layout="constrained")
    (sweeps, pixels), (memory, workers) = figure.subplots(2, 2)
    _draw_sweeps(sweeps, proportional)
    _draw_pixels(pixels, fixed)
    _draw_memory(memory, proportional)
    _draw_speedups(workers, simulated)
    return figure


def _draw_sweeps(axes: Axes, runs: Sequence[Measured]) -> None:
    for count, colour in zip(sorted({run.case.workers for run in runs}), COLOURS, strict=False):
        chosen = of_workers(runs, count)
        sizes = [run.case.size for run in chosen]
        label = f"{count} worker{'s' * (count > 1)}"
        if len(chosen) > 1:
            fit = fit_of(chosen, lambda run: run.sweep)
            axes.plot(sizes, [fit(size) for size in sizes], color=colour, linewidth=1.4)
            label += f": size^{fit.exponent:.2f}"
        axes.plot(sizes, [run.sweep for run in chosen], "o", color=colour, label=label)
    sizes = sorted({run.case.size for run in runs})
    first = min(run.sweep for run in runs if run.case.size == sizes[0])
    for exponent, dash in ((2, ":"), (3, "-.")):
        line = [0.7 * first * (size / sizes[0]) ** exponent for size in sizes]
        axes.plot(sizes, line, color=GREY, linestyle=dash, linewidth=1.0, label=f"slope {exponent}")
    axes.set_yscale("log")
    _size_axis(axes, sizes)
    axes.legend(frameon=False, fontsize=9.5)
    titled(axes, "(a) A sweep, angles in proportion to the size", "pixels a side", "seconds a sweep")


def _draw_pixels(axes: Axes, runs: Sequence[Measured]) -> None:
    sizes = [run.case.size for run in runs]
    micros = [1e6 * seconds_a_pixel(run) for run in runs]
    axes.plot(sizes, micros, "o-", color=BLUE, label=f"{runs[0].case.angles} angles, {runs[0].case.workers} workers")
    axes.axhline(
        LARGEST_FIXED_GROWTH * micros[0],
        color=GREY,
        linestyle="--",
        linewidth=1.2,
        label=f"{LARGEST_FIXED_GROWTH:g} times the first",
    )
    axes.set_ylim(0, 1.6 * max(micros))
    _size_axis(axes, sizes)
    axes.legend(frameon=False, fontsize=9.5, loc="lower right")
    titled(axes, "(b) The same angles at all sizes", "pixels a side", "µs a sweep and pixel")


def _draw_memory(axes: Axes, runs: Sequence[Measured]) -> None:
    for count, colour, marker in zip(sorted({run.case.workers for run in runs}), COLOURS, MARKERS, strict=False):
        chosen = of_workers(runs, count)
        sizes = [run.case.size for run in chosen]
        label = f"{count} worker{'s' * (count > 1)}"
        axes.plot(sizes, [run.estimate.total / GIB for run in chosen], "--", color=colour, label=f"{label}: estimate")
        axes.plot(sizes, [run.memory.total / GIB for run in chosen], marker, color=colour, label=f"{label}: measured")
    axes.set_ylim(0, 1.4 * max(run.memory.total for run in runs) / GIB)
    _size_axis(axes, sorted({run.case.size for run in runs}))
    axes.legend(frameon=False, fontsize=9.5, loc="upper left")
    titled(axes, "(c) Peak memory of all processes", "pixels a side", "GiB")


def _draw_speedups(axes: Axes, simulated: Mapping[str, Mapping[str, Sequence[Throughput]]]) -> None:
    counts = sorted({one.workers for methods in simulated.values() for runs in methods.values() for one in runs})
    axes.plot(counts, counts, color=GREY, linestyle=":", linewidth=1.4, label="nobody waits")
    for (delay, methods), dash, marker in zip(simulated.items(), DASHES, MARKERS, strict=False):
        for (method, runs), colour in zip(methods.items(), COLOURS, strict=False):
            axes.plot(
                [one.workers for one in runs],
                [one.speedup for one in runs],
                color=colour,
                linestyle=dash,
                marker=marker,
                markersize=4.5,
                label=f"{method}, {delay}",
            )
    axes.set_yscale("log", base=2)
    _size_axis(axes, counts)
    axes.set_yticks(counts, [str(count) for count in counts])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    titled(axes, "(d) Simulated: delays of mean 1", "workers", "sweeps a second, one worker = 1")


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Logarithmic, with ticks at these places."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(np.array(sizes), [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
