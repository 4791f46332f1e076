"""How cost grows, in tables of Markdown, and whether what was promised of it holds, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .growth import EXPECTED, LARGEST_FIXED_GROWTH, fit_of, fixed_growth, of_workers, seconds_a_pixel, stage_fits
from .growth_run import Measured
from .throughput import Throughput

MIB = 2**20
# Measured memory may be off its estimate by this much at CHECKED_SIZE.
ALLOWED_OFF, CHECKED_SIZE = 0.2, 2048
# Of smaller images the setup is mostly something else than projections.
SETUP_SIZE = 1024

# Delay's name to method's name to its runs, by workers.
Simulated = Mapping[str, Mapping[str, Sequence[Throughput]]]


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def times_table(runs: Sequence[Measured]) -> str:
    """Sweep and setup of every run."""
    head = ["image", "angles", "blocks", "workers", "s a sweep", "µs a pixel", "setup, s", "workers' start, s"]
    rows = [
        [
            *(f"{run.case.size}²", run.case.angles, f"{run.blocks} of {run.block[0]}×{run.block[1]}"),
            *(run.case.workers, f"{run.sweep:.3g}", f"{1e6 * seconds_a_pixel(run):.2f}"),
            *(f"{run.setup:.3g}", f"{run.start:.3g}"),
        ]
        for run in runs
    ]
    return table(head, rows)


def stages_table(runs: Sequence[Measured]) -> str:
    """Milliseconds of an update's stages, one run a size, and the exponents of a whole sweep's."""
    fits = stage_fits(runs)
    whole = [fit_of(runs, lambda run: run.blocks * run.update), fit_of(runs, lambda run: run.blocks * run.block_sweep)]
    rows: list[list[object]] = [
        [
            *(f"{run.case.size}²", *(f"{1e3 * run.stages[name]:.2f}" for name in fits)),
            *(f"{1e3 * run.update:.1f}", f"{1e3 * run.block_sweep:.1f}"),
        ]
        for run in runs
    ]
    rows.append(["p", *(f"{fit.exponent:.2f}" for fit in (*fits.values(), *whole))])
    rows.append(["expected", *(EXPECTED[name] for name in fits), "2 to 3", "2 to 3"])
    return table(["image", *fits, "update", "sweep"], rows)


def memory_table(runs: Sequence[Measured]) -> str:
    """Measured and estimated, MiB."""
    names = list(runs[0].estimate.parts)
    head = ["image", "workers", "measured", "estimate", "off", *names, "setup measured", "setup estimate"]
    rows = [
        [
            *(f"{run.case.size}²", run.case.workers, mebibytes(run.memory.total), mebibytes(run.estimate.total)),
            *(f"{100 * run.off:+.0f} %", *(mebibytes(run.estimate.parts[name]) for name in names)),
            *(mebibytes(run.setup_memory), mebibytes(run.estimate.setup)),
        ]
        for run in runs
    ]
    return table(head, rows)


def mebibytes(nbytes: int) -> str:
    return f"{nbytes / MIB:.0f}"


def simulated_table(found: Simulated) -> str:
    """Speedups, efficiencies and the largest staleness, by the number of workers."""
    first = next(iter(next(iter(found.values())).values()))
    rows = [
        [
            f"{method}, {delay}",
            *(f"{one.speedup:.1f} ({100 * one.efficiency:.0f} %), {one.staleness[-1]}" for one in runs),
        ]
        for delay, methods in found.items()
        for method, runs in methods.items()
    ]
    return table(["", *(one.workers for one in first)], rows)


def exponents(runs: Sequence[Measured]) -> str:
    """The fits of a sweep and of the setup, by workers."""
    return "; ".join(filter(None, (_exponents(of_workers(runs, count), count) for count in (1, 2))))


def _exponents(runs: Sequence[Measured], workers: int) -> str:
    if len(runs) < 2:
        return ""
    found = f"{workers} worker{'s' * (workers > 1)}: a sweep ∝ size^{fit_of(runs, lambda run: run.sweep).exponent:.2f}"
    large = [run for run in runs if run.case.size >= SETUP_SIZE]
    if len(large) < 2:
        return found
    return f"{found}, the setup from {SETUP_SIZE}² on ∝ size^{fit_of(large, lambda run: run.setup).exponent:.2f}"


def checked_memory(runs: Sequence[Measured]) -> str:
    """Whether the estimate holds where it was promised to."""
    promised = f"Promised are {100 * ALLOWED_OFF:.0f} % at {CHECKED_SIZE}²"
    checked = [run.off for run in runs if run.case.size == CHECKED_SIZE]
    if not checked:
        return f"{promised}, which wasn't run."
    worst = max(checked, key=abs)
    return f"{promised}: {verdict(abs(worst) <= ALLOWED_OFF)}, at worst {100 * worst:+.1f} %."


def checked_fixed(runs: Sequence[Measured]) -> str:
    """Whether a pixel's seconds stay what they are with the same angles at all sizes."""
    if len(runs) < 2:
        return "One size has no ratio."
    ratio = fixed_growth(runs)
    return (
        f"From {runs[0].case.size}² to {runs[-1].case.size}² a sweep's seconds a pixel grow × {ratio:.3f}; less than "
        f"× {LARGEST_FIXED_GROWTH:g} was promised: {verdict(ratio < LARGEST_FIXED_GROWTH)}."
    )


def verdict(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"
