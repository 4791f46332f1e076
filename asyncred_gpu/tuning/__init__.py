"""The noise of a sinogram, and σ and τ chosen for a scan: without the truth, or with it."""

from .noise import estimate_noise
from .trial import Score, Trial
from .trials import TuningError
from .tune import tune
from .tuned import Tuned

__all__ = ["Score", "Trial", "Tuned", "TuningError", "estimate_noise", "tune"]
