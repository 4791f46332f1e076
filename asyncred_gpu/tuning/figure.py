"""The score of what was tried, over τ, a line for each σ; with a reference the SNR beside it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .trial import Trial

LABELS = {
    "gcv": "generalized cross-validation",
    "held-out": "error of left-out measurements",
    "discrepancy": "|log of residual² / noise²|",
    "reference": "−SNR, dB",
}


def draw(trials: Sequence[Trial], best: Trial, method: str, path: Path) -> None:
    """Write the figure to a new file.

    Raises:
        FileExistsError: the file is there already.
    """
    panels: list[tuple[str, Callable[[Trial], float | None]]] = [(LABELS[method], lambda trial: trial.score.value)]
    if any(trial.score.snr is not None for trial in trials) and method != "reference":
        panels.append(("SNR, dB", lambda trial: trial.score.snr))
    figure = Figure(figsize=(5.5 * len(panels), 4), layout="constrained")
    for number, (label, value) in enumerate(panels, start=1):
        _panel(figure.add_subplot(1, len(panels), number), trials, best, label, value)
    content = io.BytesIO()  # first, so that a format that can't be leaves no empty file behind
    figure.savefig(content, format=path.suffix.removeprefix(".") or "png", dpi=110)
    with path.open("xb") as file:
        file.write(content.getvalue())


def _panel(
    axes: Axes, trials: Sequence[Trial], best: Trial, label: str, value: Callable[[Trial], float | None]
) -> None:
    for sigma in sorted({trial.sigma for trial in trials}, key=lambda sigma: sigma or 0):
        line = sorted((trial for trial in trials if trial.sigma == sigma), key=lambda trial: trial.tau)
        name = "the network given" if sigma is None else f"σ = {sigma:g}/255"
        axes.plot([trial.tau for trial in line], _finite(line, value), "o-", markersize=4, label=name)
    axes.plot(
        [best.tau], _finite([best], value), "*", markersize=14, color="black", label=f"chosen: τ = {best.tau:.3g}"
    )
    axes.set(xscale="log", xlabel="τ", ylabel=label)
    axes.legend()


def _finite(trials: Sequence[Trial], value: Callable[[Trial], float | None]) -> list[float]:
    """The values, gaps for those that diverged."""
    found = (value(trial) for trial in trials)
    return [math.nan if entry is None or math.isinf(entry) else entry for entry in found]
