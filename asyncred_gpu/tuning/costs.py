"""What a trial costs, in sweeps of all the reconstructions its criterion needs. Pure."""

from __future__ import annotations

from ..warm_starts import FACTORS
from ..warm_starts import SWEEPS as WARM_SWEEPS

# The first trial begins at the operator's own start, the others at another trial's image. With 25 and 10 sweeps the
# score still depends on the way: on a 256² retina it was least at τ = 0.03, with 50 and 20, or 120 and 60, at 0.06.
FIRST_SWEEPS, SWEEPS = 50.0, 20.0
# Of a search on the usual grid (docs/results/tuning.md).
USUAL_TRIALS = (8, 20)


def trial_sweeps(reconstructions: int, own: float, warmed: bool) -> float:
    """Of one trial.

    Args:
        reconstructions: that the criterion needs.
        own: sweeps of each, after the warm start it has if `warmed`.
    """
    return reconstructions * (own + (len(FACTORS) * WARM_SWEEPS if warmed else 0.0))
