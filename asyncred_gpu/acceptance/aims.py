"""The figures aimed at on an H200, and whether a measured value reaches them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REACHED, NOT_REACHED, NOT_MEASURED = "reached", "not reached", "not measured"


@dataclass(frozen=True)
class Aim:
    """A figure and its bound; `least`: the value must be at least that, else at most."""

    name: str
    title: str
    bound: float
    unit: str
    least: bool = False

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.bound:g} {self.unit}".strip()


# Figures that say the results are right fail their section as well; the others are reported only. Block compressed
# sensing counts in the first four, and its speed isn't aimed at.
AIMS = (
    Aim("fixed_point", "CUDA's fixed point apart from the CPU's, the most", 0.05, "dB"),
    Aim("replay", "Replay on CUDA apart from the CPU's, the most, relative", 1e-4, ""),
    Aim("staleness", "Staleness beyond λ in saved schedules, the most", 0, "commits"),
    Aim("ordered", "Ordered runs that weren't the same bits", 0, "runs"),
    Aim("chain", "Block-update chain against the conv roofline, float16", 0.60, "", least=True),
    Aim("host", "Host time an update", 15, "µs"),
    Aim("sweep", "One 800² sweep, float16", 1.5, "ms"),
    Aim("speedup", "Synchronous eager time over Async-RED BG's, to 0.1 dB of the fixed point", 5, "×", least=True),
)


@dataclass(frozen=True)
class Verdict:
    """An aim and what was measured of it, None if it wasn't."""

    aim: Aim
    value: float | None

    @property
    def verdict(self) -> str:
        if self.value is None:
            return NOT_MEASURED
        reached = self.value >= self.aim.bound if self.aim.least else self.value <= self.aim.bound
        return REACHED if reached and not math.isnan(self.value) else NOT_REACHED


def judge(measured: Sequence[Mapping[str, float | None]], aims: Sequence[Aim] = AIMS) -> list[Verdict]:
    """A verdict on every aim; where several sections measured one, the worst counts.

    Raises:
        KeyError: a section measured what nobody aims at.
    """
    values: dict[str, list[float]] = {aim.name: [] for aim in aims}
    for section in measured:
        for name, value in section.items():
            if value is not None:
                values[name].append(float(value))
    return [Verdict(aim, _worst(aim, values[aim.name])) for aim in aims]


def _worst(aim: Aim, values: Sequence[float]) -> float | None:
    if not values:
        return None
    if any(math.isnan(value) for value in values):
        return math.nan
    return min(values) if aim.least else max(values)
