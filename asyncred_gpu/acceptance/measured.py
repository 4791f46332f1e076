"""What sections tell later ones: the device's ceilings, and the fastest configuration of the solver."""

from __future__ import annotations

from dataclasses import dataclass, field

from .floors import Ceilings


@dataclass(frozen=True)
class Point:
    """One configuration of the solver."""

    side: int
    workers: int
    per_launch: int

    @property
    def in_flight(self) -> int:
        return self.workers * self.per_launch

    def __str__(self) -> str:
        return f"{self.side}², {self.in_flight} in flight, {self.per_launch} a launch"


@dataclass
class Measured:
    """What sections tell later ones; filled as they run."""

    bandwidth: float | None = None
    rates: dict[str, float] = field(default_factory=dict)
    best: Point | None = None  # the fastest configuration that leaves room for momentum

    def ceilings(self) -> Ceilings:
        """What was measured; nan where it wasn't."""
        return Ceilings(self.bandwidth or float("nan"), self.rates)
