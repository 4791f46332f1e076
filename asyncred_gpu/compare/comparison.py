"""Everything a comparison found, and what has to be said of its times."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..blocks import FloatArray
from ..metrics import snr
from .case import Case
from .machine import Machine
from .modes import Outcome
from .numbers import last, sweep_seconds
from .speedup import Ladder

# A run this many times longer than its median sweeps, and a second for the first, was disturbed.
UNEVEN = 1.2
# Another process or so in the minute before.
BUSY = 0.5


@dataclass(frozen=True)
class Comparison:
    """Everything that was found.

    Args:
        beforehand: seconds of what all modes share, the Lipschitz constants and the start image.
        load: processes that wanted a core in the minute before; None where it isn't known.
        words: the command's.
    """

    case: Case
    machine: Machine
    start: FloatArray
    outcomes: Sequence[Outcome]
    ladders: Sequence[Ladder]
    beforehand: Mapping[str, float]
    load: float | None
    words: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every mode arrived."""
        return all(outcome.arrived is not None for outcome in self.outcomes) and not any(
            ladder.failures for ladder in self.ladders
        )

    @property
    def start_snr(self) -> float | None:
        """Of the start image, in dB; None without a true image."""
        return None if self.case.reference is None else snr(self.start, self.case.reference)

    @property
    def command(self) -> str:
        return shlex.join(["asyncred", *self.words])


def load_average() -> float | None:
    """Of the last minute."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def remarks(comparison: Comparison) -> list[str]:
    """What the tables don't say, a line each."""
    case, grid = comparison.case, comparison.case.operator.grid
    level = "" if comparison.start_snr is None else f" ({comparison.start_snr:.2f} dB)"
    spent = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in comparison.beforehand.items())
    blocks = f"{len(grid)} blocks of {grid.block_shape[0]} × {grid.block_shape[1]}"
    lines = [
        f"All from the same image, {case.start_name}{level}; τ = {case.settings['tau']:g}; {blocks}.",
        "Seconds of a run count from when the workers were ready; those of a sweep are the median.",
        f"Not in the table, shared by all: {spent}.",
    ]
    if comparison.load is not None and comparison.load > BUSY:
        lines.append(
            f"The machine wasn't idle before: load {comparison.load:.1f} on {comparison.machine.cores} cores, so the "
            "times aren't clean."
        )
    return [*lines, *uneven(comparison.outcomes)]


def uneven(outcomes: Sequence[Outcome]) -> list[str]:
    """The runs that took longer than their sweeps: most sweeps are alike, so likely something came between."""
    lines = []
    for outcome in outcomes:
        if outcome.result is None:
            continue
        history = outcome.result.history
        seconds, usual = last(history, "seconds"), last(history, "sweep") * sweep_seconds(history)
        if seconds > UNEVEN * usual + 1:
            lines.append(
                f"{outcome.mode.name} took {seconds:.1f} s, not the {usual:.1f} s of as many median sweeps: "
                "likely something else used the machine."
            )
    return lines
