"""How long a search for τ and σ will take, from the stages of one block, timed here and now."""

from __future__ import annotations

from dataclasses import dataclass

from ..plan import START_SECONDS, make_plan
from ..solver import GpuAsyncRED
from ..wording import duration
from .costs import FIRST_SWEEPS, SWEEPS, USUAL_TRIALS, trial_sweeps
from .criteria import RECONSTRUCTIONS

# A limit below this share of what the first trial should take is too short, however quick the machine gets.
SURELY = 0.5


@dataclass(frozen=True)
class Forecast:
    """Sweeps and seconds of the first trial and of each other, setup included."""

    first_sweeps: float
    sweeps: float
    first: float
    each: float

    def line(self) -> str:
        """For people, before a search."""
        few, many = (duration(self.first + (count - 1) * self.each) for count in USUAL_TRIALS)
        return (
            f"the first trial takes {self.first_sweeps:g} sweeps, about {duration(self.first)} here, the others "
            f"{self.sweeps:g}, about {duration(self.each)}; the usual search, {USUAL_TRIALS[0]} to {USUAL_TRIALS[1]} "
            f"trials, {few} to {many}"
        )

    def check(self, limit: float | None) -> str:
        """What to say of a limit in seconds: nothing, or that there will be little to compare.

        Raises:
            ValueError: nothing could be chosen by then.
        """
        if limit is None or limit >= self.first + self.each:
            return ""
        enough = f"{self.first + (USUAL_TRIALS[0] - 1) * self.each:.2g}"
        if limit < SURELY * self.first:
            raise ValueError(
                f"time_limit={limit:g} is over before the first trial is done, which takes about "
                f"{duration(self.first)} here, so nothing could be chosen. Allow {float(enough):g} s for a search, or "
                "leave it out."
            )
        return (
            f"warning: in {limit:g} s there is hardly more than one trial, so nothing to compare; a search takes "
            f"{float(enough):g} s or more"
        )


def make_forecast(solver: GpuAsyncRED, method: str) -> Forecast | None:
    """Of a search from the operator's own start with the usual sweeps; None on a GPU, where nothing is timed before.

    Args:
        solver: with the options of the trials', whose data updates it has none of.
    """
    if solver.devices != ("cpu",):
        return None
    plan = make_plan(solver)
    first, later = (
        trial_sweeps(RECONSTRUCTIONS[method], own, warmed) for own, warmed in ((FIRST_SWEEPS, True), (SWEEPS, False))
    )
    return Forecast(first, later, plan.setup + START_SECONDS + first * plan.sweep, later * plan.sweep)
