"""The progress of a search: a bar on a terminal, a line a trial elsewhere. Seconds are wall-clock."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .trial import Trial


class TuningDisplay:
    """Context, and called after every trial.

    Args:
        total: sweeps, if there is a budget of them.
        console: where to draw; quiet: draw nothing.
    """

    def __init__(self, total: float | None, console: Console | None = None, quiet: bool = False) -> None:
        self._console = console or Console(highlight=False, stderr=True)
        self._quiet = quiet
        self._spent, self._count = 0.0, 0
        self._best: Trial | None = None
        columns = (TextColumn("tuning"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=quiet or not self._console.is_terminal)
        self._task = self._bar.add_task("", total=total, said="")

    def __enter__(self) -> TuningDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, trial: Trial) -> None:
        """Show a trial that is done."""
        self._count += 1
        self._spent += trial.sweeps
        if self._best is None or trial.score.value < self._best.score.value:
            self._best = trial
        self._bar.update(self._task, completed=self._spent, said=f"{said(trial)}; best {said(self._best)}")
        if not self._quiet and not self._console.is_terminal:
            line = f"trial {self._count}: {said(trial)}, {trial.seconds:.1f} s; best {said(self._best)}"
            self._console.print(line, soft_wrap=True)


def said(trial: Trial) -> str:
    """A trial in a few words."""
    sigma = "" if trial.sigma is None else f"σ = {trial.sigma:g}, "
    snr = "" if trial.score.snr is None else f", {trial.score.snr:.2f} dB"
    return f"{sigma}τ = {trial.tau:.3g}: {trial.score.value:.5g}{snr}"
