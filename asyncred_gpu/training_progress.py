"""Progress of a training run: a live bar on a terminal, plain lines elsewhere. PSNR in dB of images in [0, 1]."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 30.0
SMOOTHING = 0.98


class TrainingProgress:
    """Shows steps as they come; a context manager, so that the terminal is put right again."""

    def __init__(self, done: int, steps: int) -> None:
        self._console = Console()
        self._loss = math.nan
        self._validation = ""
        self._steps, self._first = steps, done
        self._began = self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[quality]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=steps, completed=done, quality="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """One step done, with its mean squared error."""
        self._loss = loss if math.isnan(self._loss) else SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        self._bar.update(self._task, completed=step, quality=self._quality())
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._printed > PLAIN_SECONDS or step == self._steps):
            self._printed = now
            left = (now - self._began) / (step - self._first) * (self._steps - step)
            self._console.print(
                f"step {step}/{self._steps}, {self._quality()}, {left / 60:.1f} min left", highlight=False
            )

    def validation(self, psnr: float) -> None:
        """PSNR of the denoised validation images."""
        self._validation = f", validation {psnr:.2f} dB"

    def _quality(self) -> str:
        return f"noise {-10 * math.log10(self._loss):.2f} dB{self._validation}"
