"""Sections of an acceptance run, one after the other: seconds for each, and a failing one doesn't stop the others.

Pure but for the alarm: no device. What doesn't fit in the time is left out, and the report says so.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

PASSED, FAILED, LEFT_OUT = "passed", "failed", "left out"

# A point may take so much longer than the longest before it, when it is asked whether there is time for it.
LONGER = 1.5

T = TypeVar("T")
Say = Callable[[str], None]
Alarm = Callable[[float], AbstractContextManager[None]]


class LeftOut(Exception):
    """A section that can't be run here; the message says why."""


class TooLong(Exception):
    """A section used up its seconds."""


def usable() -> str | None:
    """Nothing is known against it."""
    return None


@dataclass
class Findings:
    """What a section finds; kept as far as it came if it ends early. Owned by the section while it runs.

    Args:
        ends: when its seconds are over, on `clock`.
        say: tells the user how far it is.
        unusable: why nothing more can be run on the GPU in this process, None if it can.
    Attributes:
        data: raw numbers, for the JSON.
        tables: for people: title, columns, rows.
        measured: values of the figures aimed at (aims.py), by name.
        failures: what is wrong. left_out: what wasn't done, and why.
    """

    ends: float
    say: Say
    clock: Callable[[], float] = time.monotonic
    unusable: Callable[[], str | None] = usable
    data: dict[str, Any] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[str, float | None] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds the section still has."""
        return self.ends - self.clock()

    def check(self, holds: bool, wrong: str) -> None:
        """`wrong` goes into the failures unless it holds."""
        if not holds:
            self.failures.append(wrong)
            self.say(f"  FAILED: {wrong}")

    def leave_out(self, what: str) -> None:
        self.left_out.append(what)
        self.say(f"  left out: {what}")

    def in_time(self, points: Iterable[T], name: Callable[[T], str] = str) -> Iterator[T]:
        """The points one after the other while there is time for one more; the others are left out, by name."""
        points, longest = list(points), 0.0
        for number, point in enumerate(points):
            if self.left <= LONGER * longest:
                rest = points[number:]
                self.leave_out(f"{len(rest)} of {len(points)}: {'; '.join(map(name, rest))}")
                return
            begun = self.clock()
            yield point
            longest = max(longest, self.clock() - begun)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """A part whose failure is reported and doesn't stop the section, unless the GPU can't be used any more."""
        try:
            yield
        except (LeftOut, TooLong):
            raise
        except Exception as error:
            self.check(False, f"{what}: {type(error).__name__}: {error}")
            if self.unusable() is not None:
                raise

    def table(self, title: str, columns: Sequence[str]) -> list[list[Any]]:
        """A new table; append rows to what is returned."""
        rows: list[list[Any]] = []
        self.tables.append({"title": title, "columns": list(columns), "rows": rows})
        return rows


@dataclass(frozen=True)
class Section:
    """One part of the run.

    Args:
        run: fills the findings; may raise LeftOut.
        most: seconds after which it is interrupted.
        least: seconds without which it isn't worth starting.
        needs_gpu: it works on the GPU in this process, so not after something spoilt that.
    """

    name: str
    run: Callable[[Findings], None]
    most: float
    least: float = 5.0
    needs_gpu: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a section ended; `error` is a traceback, or why it was left out; `unusable` as in Findings, afterwards."""

    name: str
    status: str
    seconds: float
    error: str | None
    findings: Findings
    unusable: str | None = None


def run_sections(
    sections: Sequence[Section],
    budget: float,
    save: Callable[[Sequence[Outcome]], None],
    say: Say,
    alarm: Alarm | None = None,
    clock: Callable[[], float] = time.monotonic,
    unusable: Callable[[], str | None] = usable,
) -> list[Outcome]:
    """Run them within `budget` seconds in all; `save` is called after each with all outcomes so far.

    The section after which the GPU can't be used any more has failed, and the others that need it are left out.
    """
    ends = clock() + budget
    outcomes: list[Outcome] = []
    spoilt: str | None = None
    for number, section in enumerate(sections, 1):
        left = ends - clock()
        say(f"[{number}/{len(sections)}] {section.name} ({left:.0f} s left)")
        findings = Findings(clock() + min(section.most, left), say, clock, unusable)
        if spoilt is not None and section.needs_gpu:
            outcome = Outcome(section.name, LEFT_OUT, 0.0, spoilt, findings)
        elif left < section.least:
            reason = f"it needs about {section.least:.0f} s, and {max(left, 0.0):.0f} s of {budget:.0f} s were left"
            outcome = Outcome(section.name, LEFT_OUT, 0.0, reason, findings)
        else:
            outcome = _run(section, findings, alarm or alarm_after, clock, unusable if section.needs_gpu else usable)
            if outcome.unusable is not None and spoilt is None:
                spoilt = f"the GPU can't be used any more since “{section.name}”: {outcome.unusable}"
        say(f"  {outcome.status}, {outcome.seconds:.1f} s" + (f": {last_line(outcome.error)}" if outcome.error else ""))
        outcomes.append(outcome)
        save(outcomes)
    return outcomes


def _run(
    section: Section, findings: Findings, alarm: Alarm, clock: Callable[[], float], unusable: Callable[[], str | None]
) -> Outcome:
    begun, error, status = clock(), None, PASSED
    try:
        with alarm(findings.left):
            section.run(findings)
    except LeftOut as reason:
        status, error = LEFT_OUT, str(reason)
    except Exception:  # whatever it is, it is reported, and the other sections run
        status, error = FAILED, traceback.format_exc()
    spoilt = unusable()
    findings.check(spoilt is None, f"the GPU can't be used any more: {spoilt}")
    if findings.failures:
        status = FAILED
    return Outcome(section.name, status, clock() - begun, error, findings, spoilt)


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


@contextmanager
def alarm_after(seconds: float) -> Iterator[None]:
    """Raise TooLong in here after that many seconds; main thread only. An alarm set before goes on afterwards.

    A call that never returns to Python isn't interrupted: for that the program as a whole has faulthandler.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise TooLong(f"not done within {seconds:.0f} s")

    begun = time.monotonic()
    handler = signal.signal(signal.SIGALRM, interrupt)
    waiting, interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if waiting:
            signal.setitimer(signal.ITIMER_REAL, max(waiting - (time.monotonic() - begun), 1e-3), interval)
