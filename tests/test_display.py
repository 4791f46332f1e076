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


@pytest.mark.parametrize("terminal", [True, False])
def test_it_says_how_long_it_will_take(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line every five seconds where there is no terminal: the clock is moved by hand."""
    now = iter(range(0, 1000, 2))
    monkeypatch.setattr("asyncred_gpu.display.time.monotonic", lambda: next(now))
    commits = [Progress(10 * number, number, 8.0 * number, 0.5, 0, 0, None, 12.0) for number in range(1, 7)]
    lines = shown(*commits, terminal=terminal)
    for sweep, said in ((1, "8.0 s, about 88 s left"), (4, "32.0 s, about 64 s left")):
        assert f"sweep  {sweep}.00/12" in lines and said in lines
    if not terminal:  # after 0, 6 and 12 of the clock's seconds, and at the end
        assert [line.split()[1] for line in lines.splitlines()] == ["1.00/12", "4.00/12", "6.00/12"]


def test_nothing_is_left_when_all_is_done() -> None:
    assert "left" not in shown(*(commit(number) for number in range(1, 41)), terminal=False).splitlines()[-1]


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
