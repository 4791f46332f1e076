"""The noise of a sinogram, and σ and τ chosen for a scan: without the truth, or with it."""

from .noise import estimate_noise
from .trial import Score, Trial
from .trials import SearchInterrupted, TuningError
from .tune import tune
from .tuned import Tuned

__all__ = ["Score", "SearchInterrupted", "Trial", "Tuned", "TuningError", "estimate_noise", "tune"]
