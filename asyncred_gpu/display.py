"""The live display of a run: sweeps, updates a second, staleness in commits, ‖G‖²/‖G₀‖² and SNR in dB.

A callback of the solver, called after every commit: it redraws ten times a second at most, from the calling thread.
Where the output is no terminal it prints a line every five seconds instead.
"""

from __future__ import annotations

import math
import time
from collections import deque
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .result import Progress

REDRAW_SECONDS = 0.1
LINE_SECONDS = 5.0
RATE_WINDOW_SECONDS = 3.0


class RunDisplay:
    """Context and callback; owns the terminal's lines while it is open.

    Args:
        console: where to draw; its size and kind are asked for, so tests can pass one of their own.
        quiet: draw nothing at all.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self._console = console or Console(highlight=False)
        self._quiet = quiet
        self._live: Live | None = None
        self._interval = REDRAW_SECONDS if self._console.is_terminal else LINE_SECONDS
        self._drawn_at = -math.inf
        self._recent: deque[tuple[float, int]] = deque()
        self._staleness_sum = 0
        self._staleness_max = 0
        self._commits = 0
        self._snr: float | None = None
        self._last: Progress | None = None

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None and not self._quiet:
            self._draw(self._last)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, progress: Progress) -> None:
        """Take note of a commit, and redraw if the last time is long enough ago."""
        self._last = progress
        self._commits += 1
        self._staleness_sum += progress.staleness
        self._staleness_max = max(self._staleness_max, progress.staleness)
        if progress.snr is not None and math.isfinite(progress.snr):
            self._snr = progress.snr
        self._recent.append((progress.seconds, progress.update))
        while self._recent[-1][0] - self._recent[0][0] > RATE_WINDOW_SECONDS:
            self._recent.popleft()
        now = time.monotonic()
        if not self._quiet and now - self._drawn_at >= self._interval:
            self._draw(progress)
            self._drawn_at = now

    def line(self, progress: Progress) -> str:
        """The numbers of this moment in one line."""
        (begin, first), (end, last) = self._recent[0], self._recent[-1]
        rate = f"{(last - first) / (end - begin):.1f}" if end > begin else "…"
        parts = [
            f"{rate} updates/s",
            f"staleness {self._staleness_sum / self._commits:.1f}, max {self._staleness_max}",
            f"‖G‖²/‖G₀‖² {progress.residual:.1e}",
        ]
        return "  ".join(parts + ([] if self._snr is None else [f"SNR {self._snr:.2f} dB"]))

    def _draw(self, progress: Progress) -> None:
        count = f"sweep {progress.sweep:5.2f}/{progress.total_sweeps:.4g}"
        if self._live is None:
            self._console.print(f"{count}  {self._clock(progress)}  {self.line(progress)}", soft_wrap=True)
            return
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        share = min(progress.sweep, progress.total_sweeps)
        bar.add_row(count, ProgressBar(total=progress.total_sweeps, completed=share), self._clock(progress))
        self._live.update(Group(bar, Text(self.line(progress), no_wrap=True, overflow="ellipsis")), refresh=True)

    @staticmethod
    def _clock(progress: Progress) -> str:
        """Seconds so far, and about how many more until all sweeps are done."""
        left = progress.seconds * (progress.total_sweeps / progress.sweep - 1) if progress.sweep else math.inf
        return f"{progress.seconds:.1f} s" + (f", about {left:.0f} s left" if 0.5 < left < math.inf else "")
