"""What a search gives back: the choice, its image, and everything that was tried, as a table and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..blocks import FloatArray
from .trial import Trial

SCORES = {
    "gcv": "the misfit's square over (1 − freedom)²",
    "held-out": "mean square error of the prediction of what was left out",
    "discrepancy": "|log(misfit² / noise²)|",
    "reference": "−SNR in dB",
}
MEANINGS = {
    "misfit": "root mean square of A x − y, with weights of W^½(A x − y); much below the noise, noise is reconstructed",
    "freedom": "how much of a small change of y the prediction A x follows, 0 to 1; the larger τ, the less",
    "sweeps": "of the trial's reconstructions together; the first trial of all has most",
}
COLUMNS = ("σ", "τ", "score", "misfit", "freedom", "SNR, dB", "sweeps", "seconds")


@dataclass(frozen=True)
class Tuned:
    """The σ and τ chosen, and why.

    sigma: grey levels of 255, None for a network that was given. tau: as of `GpuAsyncRED`.
    denoiser: the network for σ, to pass on. intensity_scale: the c all trials had; pass it on, too.
    image: (rows, cols) float32, the best trial's: a start for the reconstruction (with "held-out" it is from 7 of 8
        measurements).
    trials: in the order they were made, some pairs more than once. best: the chosen one.
    method: the criterion. noise: the standard deviation it reckoned with, or None.
    notes: what to know of the choice, e.g. that it lies at the edge of what was tried.
    """

    sigma: float | None
    tau: float
    denoiser: nn.Module
    intensity_scale: float
    image: FloatArray
    trials: tuple[Trial, ...]
    best: Trial
    method: str
    noise: float | None
    notes: tuple[str, ...]

    def table(self) -> str:
        """What was tried as a table in Markdown, by σ and τ; the chosen one is bold."""
        used = [name for name in COLUMNS if any(_cell(trial, name) != "" for trial in self.trials)]
        lines = [f"| {' | '.join(used)} |", "|" + "---|" * len(used)]
        for trial in self.last():
            mark = "**" if trial is self.best else ""
            cells = (f"{mark}{_cell(trial, name)}{mark}" if _cell(trial, name) else "" for name in used)
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def legend(self) -> str:
        """What the table's columns are, a line each."""
        meanings = {"score": f"{SCORES[self.method]}; the least is chosen"} | MEANINGS
        used = (name for name in meanings if any(_cell(trial, name) for trial in self.trials))
        lines = [f"- {name}: {meanings[name]}." for name in used]
        if any(trial.again for trial in self.trials):
            lines.append("- Of a pair tried again, from a better image, the last score is shown.")
        return "\n".join(lines) + "\n"

    def page(self) -> str:
        """Table and legend, as a page in Markdown."""
        return f"# What was tried ({self.method})\n\n{self.table()}\n{self.legend()}"

    def save_figure(self, path: str | Path) -> None:
        """The score (and the SNR, with a reference) over τ, a line a σ, as a new picture file.

        Raises:
            FileExistsError: the file is there already; nothing is overwritten.
        """
        from .figure import draw  # matplotlib takes a while

        draw(self.last(), self.best, self.method, Path(path))

    def last(self) -> list[Trial]:
        """Of each pair the last trial, by σ and τ: some were tried again from a better image."""
        by_pair = {(trial.sigma or 0.0, trial.tau): trial for trial in self.trials}
        return [by_pair[pair] for pair in sorted(by_pair)]


def _cell(trial: Trial, column: str) -> str:
    score = trial.score
    values: dict[str, tuple[Any, str]] = {
        "σ": (trial.sigma, "g"),
        "τ": (trial.tau, ".4g"),
        "score": (score.value, ".5g"),
        "misfit": (score.misfit, ".4g"),
        "freedom": (score.freedom, ".3f"),
        "SNR, dB": (score.snr, ".2f"),
        "sweeps": (trial.sweeps, "g"),
        "seconds": (trial.seconds, ".1f"),
    }
    value, form = values[column]
    return "" if value is None else format(value, form)
