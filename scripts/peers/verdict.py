"""Who gets to a given SNR first: times, rows and sentences, from trajectories alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A level is so far below the best SNR it is taken from.
BELOW = 0.1
# Ratios within 5 % of 1 are called equal: as much as runs differ.
EQUAL = 1.05
# So many of the slower ones are named; the table has them all.
SHOWN = 5
# With fewer iterations a run is marked.
FEW = 5


@dataclass(frozen=True)
class Curve:
    """A trial's trajectory.

    Args:
        seconds, snr: equally long, from the start image at 0 s.
        setup: seconds before the clock.
        facts: its settings, notes and versions.
        failure: why there is no trajectory; empty if there is one.
    """

    seconds: Sequence[float]
    snr: Sequence[float]
    setup: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def iterations(self) -> float | None:
        """How many there were; ours are sweeps."""
        notes = self.facts.get("notes", {})
        found: float | None = notes.get("iterations", notes.get("sweeps"))
        return found

    @property
    def rising(self) -> bool:
        """Whether its best SNR is its last."""
        return len(self.snr) > 0 and self.snr[-1] == self.best

    @property
    def best(self) -> float:
        """The highest SNR on the way, −inf without any: whoever peaks early is supposed to have stopped there."""
        return max(self.snr, default=float("-inf"))

    def time_to(self, level: float) -> float | None:
        """Seconds until it first has this SNR; None: it never has."""
        reached = (when for when, snr in zip(self.seconds, self.snr, strict=True) if snr >= level)
        return next(reached, None)


def quickest(curves: Sequence[Curve]) -> int:
    """The trial that first comes within BELOW of the best SNR of them all; with equal times the higher one."""
    level = max(curve.best for curve in curves) - BELOW
    times = [curve.time_to(level) for curve in curves]
    reached = [(when, -curves[i].best, i) for i, when in enumerate(times) if when is not None]
    return min(reached)[2] if reached else 0


@dataclass(frozen=True)
class Row:
    """A method beside ours; None: not reached within the budget.

    Args:
        best: highest SNR, dB.
        level: min(its best, our best) − BELOW, dB, which `its` and `our` seconds lead to.
        target: seconds to our best − BELOW.
        rising: whether a longer run would raise its level: that comes from its best, which is its last.
        iterations: None: not known.
    """

    title: str
    setup: float
    best: float
    level: float
    its: float | None
    our: float | None
    target: float | None
    failure: str = ""
    rising: bool = False
    iterations: float | None = None

    @property
    def ratio(self) -> float | None:
        """Its seconds over ours: above 1 ours is faster."""
        if self.its is None or self.our is None:
            return None
        return self.its / self.our if self.our > 0 else float("inf") if self.its > 0 else 1.0


def compare(titles: Mapping[str, str], curves: Mapping[str, Curve], ours: str) -> list[Row]:
    """A row a method, ours first.

    Args:
        titles, curves: by the methods' names.
    """
    our = curves[ours]
    names = [ours, *(name for name in curves if name != ours)]
    return [_row(titles[name], curves[name], our) for name in names]


def _row(title: str, curve: Curve, our: Curve) -> Row:
    level = min(curve.best, our.best) - BELOW
    return Row(
        title=title,
        setup=curve.setup,
        best=curve.best,
        level=level,
        its=curve.time_to(level),
        our=our.time_to(level),
        target=curve.time_to(our.best - BELOW),
        failure=curve.failure,
        rising=curve.rising and curve.best < our.best,
        iterations=curve.iterations,
    )


HEAD = (
    "| method | setup, s | iterations | best SNR, dB | common level, dB | its s to it | ours | its / ours "
    "| s to {target:.2f} dB |\n|---|---|---|---|---|---|---|---|---|\n"
)
FEW_NOTE = f"\\* Fewer than {FEW} iterations: its times are coarse, and where it would end is open."
RISING_NOTE = "≥ Its SNR still rises at the end, below ours: the common level depends on the budget."


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, and what their marks mean."""
    notes = [FEW_NOTE] if any(map(_few, rows)) else []
    notes += [RISING_NOTE] if any(row.rising for row in rows) else []
    lines = "\n".join(map(_line, rows))
    return HEAD.format(target=rows[0].best - BELOW) + "\n\n".join([lines, *notes])


def _few(row: Row) -> bool:
    return row.iterations is not None and row.iterations < FEW


def _line(row: Row) -> str:
    if row.failure:
        return f"| {row.title} | failed: {row.failure} | | | | | | | |"
    title = f"{row.title} \\*" if _few(row) else row.title
    iterations = "" if row.iterations is None else f"{row.iterations:.0f}"
    ratio = "" if row.ratio is None else f"{'≥ ' if row.rising else ''}{row.ratio:.2f}"
    return (
        f"| {title} | {row.setup:.1f} | {iterations} | {row.best:.2f} | {row.level:.2f} | {_seconds(row.its)} | "
        f"{_seconds(row.our)} | {ratio} | {_seconds(row.target)} |"
    )


def _seconds(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.3g}"


def sentences(rows: Sequence[Row]) -> str:
    """What the table says, whoever wins."""
    ours, *others = [row for row in rows if not row.failure]
    lines = [
        f"- Ours ends at {ours.best:.2f} dB at best, and is within {BELOW} dB of that after {_seconds(ours.its)} s."
    ]
    judged = [row for row in others if row.ratio is not None]
    faster = [row for row in judged if row.ratio is not None and row.ratio < 1 / EQUAL]
    slower = [row for row in judged if row.ratio is not None and row.ratio > EQUAL]
    alike = [row for row in judged if row not in faster and row not in slower]
    if faster:
        lines.append(f"- **Faster than ours** to the common level: {_list(faster, '{1} times as fast')}.")
    if alike:
        lines.append(f"- As fast as ours within 5 %: {_list(alike, '')}.")
    if slower:
        nearest = sorted(slower, key=lambda row: row.ratio or 0.0)
        words = _list(nearest[:SHOWN], "{0} times the time")
        if len(nearest) > SHOWN:
            words += f"; and {len(nearest) - SHOWN} more, up to {_times(nearest[-1].ratio or 0.0)} times"
        lines.append(f"- Slower than ours to the common level: {words}.")
    if not faster:
        lines.append("- None of them is faster than ours to the common level.")
    higher = [row for row in others if row.best > ours.best + BELOW]
    if higher:
        words = "; ".join(f"{row.title} ({row.best:.2f} dB)" for row in sorted(higher, key=lambda row: -row.best))
        lines.append(f"- **Ends higher than ours**, by more than {BELOW} dB, on its own data: {words}.")
    there = [row.title for row in others if row.target is not None]
    if len(there) < len(others):
        who = "; ".join(there) if there else "none"
        lines.append(f"- Of {len(others)} others these reach our best − {BELOW} dB within the time: {who}.")
    return "\n".join(lines)


def _list(rows: Sequence[Row], words: str) -> str:
    """Titles in the order of their ratios, each with its numbers."""
    found = []
    for row in sorted(rows, key=lambda row: row.ratio or 0.0):
        ratio = row.ratio or 0.0
        said = words.format(_times(ratio), _times(1 / ratio if ratio else float("inf")))
        times = f"{_seconds(row.its)} s against {_seconds(row.our)} to {row.level:.2f} dB"
        found.append(f"{row.title} ({', '.join(part for part in (said, times) if part)})")
    return "; ".join(found)


def _times(ratio: float) -> str:
    """A factor in two or three digits."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
