"""The live display: a bar on a terminal, a line now and then elsewhere, nothing if quiet."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from asyncred_gpu.display import RunDisplay
from asyncred_gpu.result import Progress


def commit(number: int, snr: float | None = None) -> Progress:
    return Progress(number, number / 4, number * 0.01, 0.5**number, number % 3, 0, snr, 10.0)


def shown(*commits: Progress, terminal: bool, quiet: bool = False) -> str:
    stream = io.StringIO()
    with RunDisplay(Console(file=stream, force_terminal=terminal, width=100, highlight=False), quiet) as display:
        for progress in commits:
            display(progress)
    return stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_last_commit_is_always_shown(terminal: bool) -> None:
    text = shown(*(commit(number, 20.0 if number == 30 else math.nan) for number in range(1, 41)), terminal=terminal)
    for part in ("sweep 10.00/10", "100.0 updates/s", "staleness 1.0, max 2", "‖G‖²/‖G₀‖² 9.1e-13", "SNR 20.00 dB"):
        assert part in text


def test_a_thousand_quick_commits_are_a_few_drawings() -> None:
    commits = [commit(number) for number in range(1, 1001)]
    assert 2 <= shown(*commits, terminal=False).count("updates/s") <= 3
    assert shown(*commits, terminal=True).count("updates/s") <= 20


def test_without_a_reference_there_is_no_snr() -> None:
    assert "SNR" not in shown(commit(1), commit(2, None), terminal=False)


def test_quiet_is_quiet() -> None:
    assert shown(commit(1), commit(2), terminal=True, quiet=True) == ""


def test_a_run_without_a_commit_shows_nothing() -> None:
    assert shown(terminal=False) == ""
