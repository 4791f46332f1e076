"""What a solver was asked to choose on its own: τ, σ of a family of denoisers, or nothing.

The choice is made once, before the first run, by generalized cross-validation: without the truth (tuning/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from .denoiser import load_denoiser
from .family import DenoiserFamily
from .operators.base import BlockOperator
from .settings import check_tau

if TYPE_CHECKING:
    from .tuning import Tuned


@dataclass(frozen=True)
class Wanted:
    """A denoiser and τ as the solver was given them.

    family: its σ is to be chosen. tau None: it is to be chosen.
    """

    network: nn.Module
    family: DenoiserFamily | None
    tau: float | None

    @classmethod
    def of(cls, denoiser: Any, tau: Any) -> Wanted:
        """Check them.

        Raises:
            ValueError, TypeError, FileNotFoundError: a denoiser or a τ that can't be.
        """
        loaded = load_denoiser(denoiser)
        family = loaded if isinstance(loaded, DenoiserFamily) else None
        # Until σ is chosen, any of the family: they are alike but for their weights.
        network = loaded if family is None else family.at(family.sigmas[0])
        return cls(network, family, None if isinstance(tau, str) and tau == "auto" else check_tau(tau))

    @property
    def anything(self) -> bool:
        return self.family is not None or self.tau is None

    def choose(self, operator: BlockOperator, x0: Any, scale: float | None, options: Mapping[str, Any]) -> Tuned:
        """By reconstructions with the solver's own options.

        Args:
            scale: the intensity scale, or None for "auto".
            options: of `GpuAsyncRED` and of `tune`; the latter win.
        """
        from .tuning import tune  # which reconstructs by the solver

        taus = {} if self.tau is None else {"taus": (self.tau,)}
        denoiser = self.network if self.family is None else self.family
        found = {"intensity_scale": "auto" if scale is None else scale, "x0": x0, **taus, **options}
        return tune(operator, denoiser, **found)  # type: ignore[arg-type]


def note_of(tuned: Tuned, wanted: Wanted) -> str:
    """What a result says of the choice."""
    sigma = "" if wanted.family is None else f"σ = {tuned.sigma:g}/255 and "
    tried = f"{len(tuned.trials)} tried" if len(tuned.trials) > 1 else "the only one tried"
    return f"{tuned.method} chose {sigma}τ = {tuned.tau:.3g} ({tried}), in {_seconds(tuned):.0f} s."


def _seconds(tuned: Tuned) -> float:
    return sum(trial.seconds for trial in tuned.trials)
