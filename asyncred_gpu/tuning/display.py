"""The progress of a search: a bar on a terminal, lines elsewhere. Seconds are wall-clock."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .trial import Trial

REDRAW_SECONDS, LINE_SECONDS = 0.2, 30.0


class TuningDisplay:
    """Context; called after every trial, and told after every commit in one.

    Args:
        total: sweeps, if there is a budget of them.
        console: where to draw; quiet: draw nothing.
    """

    def __init__(self, total: float | None, console: Console | None = None, quiet: bool = False) -> None:
        self._console = console or Console(highlight=False, stderr=True)
        self._quiet = quiet
        self._spent, self._count = 0.0, 0
        self._best: Trial | None = None
        self._finished = ""
        columns = (TextColumn("tuning"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=quiet or not self._console.is_terminal)
        self._task = self._bar.add_task("", total=total, said="")
        self._interval = REDRAW_SECONDS if self._console.is_terminal else LINE_SECONDS
        self._begun = self._drawn_at = time.monotonic()

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
        better = self._best is None or trial.score.value < self._best.score.value or trial.pair == self._best.pair
        if self._best is None or (better and math.isfinite(trial.score.value)):
            self._best = trial
        again = ", again from a better image, whose score counts" if trial.again else ""
        self._finished = f"{said(trial)}{again}; best {said(self._best)}"
        self._bar.update(self._task, completed=self._spent, said=self._finished)
        if not self._quiet and not self._console.is_terminal:
            self._print(f"trial {self._count}: {said(trial)}{again}, {trial.seconds:.1f} s; best {said(self._best)}")
        self._begun = self._drawn_at = time.monotonic()

    def under_way(self, sweeps: float, of: float) -> None:
        """Show how far the trial is that isn't done yet: its sweeps so far, and in all."""
        now = time.monotonic()
        if self._quiet or now - self._drawn_at < self._interval:
            return
        self._drawn_at = now
        far = f"trial {self._count + 1}: sweep {sweeps:.0f} of {of:g}"
        if self._console.is_terminal:
            last = f"; last {self._finished}" if self._finished else ""
            self._bar.update(self._task, completed=self._spent + sweeps, said=far + last)
        else:
            self._print(f"{far}, {now - self._begun:.0f} s")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def said(trial: Trial) -> str:
    """A trial in a few words."""
    sigma = "" if trial.sigma is None else f"σ = {trial.sigma:g}, "
    snr = "" if trial.score.snr is None else f", {trial.score.snr:.2f} dB"
    return f"{sigma}τ = {trial.tau:.3g}: {trial.score.value:.5g}{snr}"
