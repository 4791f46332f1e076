"""Progress of a volume: one bar for all slices on a terminal, a line a slice elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from .result import Progress
from .volume import VolumeSlice

# Updates come by the hundred a second, from several threads; this often is enough.
LEAST_SECONDS = 0.1


class VolumeDisplay:
    """A context, so that the terminal is put right again. `progress` may be called from several threads."""

    def __init__(self, slices: int, quiet: bool = False) -> None:
        self._console = Console()
        self._quiet, self._slices, self._done, self._made = quiet, slices, 0, 0
        self._begun = self._drawn = time.monotonic()
        self._bar = Bar(
            TextColumn("slices"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("slices", total=slices, now="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progress(self, index: int, progress: Progress) -> None:
        """Of a slice under way."""
        now = time.monotonic()
        if now - self._drawn < LEAST_SECONDS:
            return
        self._drawn = now
        self._bar.update(self._task, now=f"slice {index}, sweep {progress.sweep:.1f}/{progress.total_sweeps:.4g}")

    def finished(self, one: VolumeSlice) -> None:
        """A slice is there, made now or before."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        if one.result is None or self._quiet or self._console.is_terminal:
            return
        self._made += 1
        each = (time.monotonic() - self._begun) / self._made
        self._console.print(
            f"slice {one.index}: {one.result.history['sweep'][-1]:.4g} sweeps in {one.result.timings['run']:.1f} s, "
            f"{self._done}/{self._slices}, about {each * (self._slices - self._done):.0f} s left",
            soft_wrap=True,
        )
