"""How blocks move: the fast method, which is the default, and the paper's; what "auto" stands for in each.

Both end at the same image, G(x) = 0. The theorems of Sun et al. (ICLR 2021) cover the paper's alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from .blocks import FloatArray
from .choices import METHODS
from .red import check_step
from .scheduler import SAMPLINGS
from .settings import check_choice, check_count, check_number, is_auto

# Heavy ball of a block: half the sweeps with the block step. With the preconditioned one 0.3 saves two sweeps of nine
# on the retina (800², 180 angles). With data updates it is Nesterov's (k − 1)/(k + 2) in sweep k after the stronger
# denoiser, up to 0.5: a camera man (400², 90 angles) has 25.7 dB after 10 sweeps, 25.1 without. With 0.5 from
# the beginning on what the first sweeps moved swings back, and 0.9 gained nothing more.
MOMENTUM = {"block": 0.8, "preconditioned": 0.3}
MOMENTUM_WITH_DATA_UPDATES = 0.5
# Arguments of the block step by itself, for experiments that compare what is asynchronous and what isn't, not steps.
BLOCK_METHOD: Mapping[str, Any] = {"step": "block", "sampling": "epoch", "continuation": 1.0, "data_updates": 0}
# The denoiser begins so many times stronger at most, and weakens every sweep.
CONTINUATION = 16.0
# Updates of the data term alone after each that asks the denoiser, with the preconditioned step: they take 6 % of its
# time. Four a sweep are as good as a solution (by 4 conjugate gradients; on the retina, τ = 0.0025), and three are as
# far after the same time; two aren't. With them the data are met within one sweep, so a stronger denoiser is soon of no
# more use: how many times stronger it begins, and weaker it is a sweep on.
DATA_UPDATES = 3
# Its dual variable adds up what is left of the data term: three diverged on the camera man (400², 90 angles,
# τ = 0.00125).
DATA_UPDATES_OF_PNP = 4
# What workers that don't wait misplace where the data say nothing, τ alone brings back: from there on a smaller τ takes
# more of them. On the retina (256², 60 angles, τ = 0.001) three take 2.0 s to 34.64 dB and eight 1.7 s, in fewer
# sweeps; at τ = 0.0005 it is 3.1 s to 34.74 dB with three, 2.2 s with fifteen.
ENOUGH_TAU, ENOUGH_TAU_OF_PNP = 0.0025, 0.00125
MOST_DATA_UPDATES = 16
# Where angles are missing, what the gap hides comes together from all blocks, and slowly: a retina (256²) of 150° at
# τ = 0.0025 has 33.2 dB after 12 sweeps with three, 36.1 with sixteen, which take twice as long (34.3 and 36.8 after
# 24); of 115° three diverge (6.9 dB), sixteen have 28.7. At τ = 0.05, noise of 40 dB, eight have 1.4 and 2.2 dB
# more than three after 12 sweeps of 115° and 90°, sixteen 1.5 and 2.8. With plug-and-play's solution the same at half
# of τ.
DATA_UPDATES_OF_A_GAP = 8
ENOUGH_TAU_OF_A_GAP, ENOUGH_TAU_OF_A_GAP_OF_PNP = 0.05, 0.025
# Of directions in a row without a view, besides the usual step from one to the next. Of 175° three are as good as
# sixteen.
LARGEST_GAP = math.radians(7.5)
CONTINUATION_WITH_DATA_UPDATES = 4.0
FALL, FALL_WITH_DATA_UPDATES = 2.0, 4.0
# ‖A x₀ − y‖/‖y‖ of a start so good that a stronger denoiser gains nothing. From four scans of the retina, whose FBP
# leaves 0.0025 (29.4 dB; f = 1 or 2 is best), 0.0051, 0.012 and 0.019 (17.4 dB; 16 is best).
WELL_FITTED = 0.0015


@dataclass(frozen=True)
class Method:
    """How the blocks move: what a step is, and where the denoiser begins.

    Args:
        continuation: None: `first_strength` where the run begins at a start of the operator's, else 1.
        data_updates: how many updates of the data term alone follow each that asks the denoiser.
    """

    step: str | float
    momentum: float
    sampling: str
    continuation: float | None
    data_updates: int = 0

    @classmethod
    def of(
        cls,
        name: Any,
        step: Any,
        momentum: Any,
        sampling: Any,
        continuation: Any,
        data_updates: Any = "auto",
        *,
        usual: str,
        crowded: bool,
        dual: bool = False,
        tau: float = math.nan,
        gap: float = 0.0,
    ) -> Self:
        """Fill in what is "auto".

        Args:
            usual: the fast method's step. crowded: over half of the blocks are in flight, where momentum diverges.
            dual: towards plug-and-play's solution, which takes data updates, and has no momentum.
            tau: the weight of the prior; nan: not yet known.
            gap: directions in a row that no view has, in radians.
        Raises:
            ValueError: a choice that isn't one.
        """
        paper = check_choice("method", name, METHODS) == "paper"
        step = check_step(("theory" if paper else usual) if is_auto(step) else step)
        fast = not paper and step in MOMENTUM
        if is_auto(data_updates):
            data_updates = usual_data_updates(tau, dual, gap) if dual or (fast and step == "preconditioned") else 0
        data_updates = check_count("data_updates", data_updates, 0)
        if is_auto(momentum):
            usual_momentum = MOMENTUM_WITH_DATA_UPDATES if data_updates else MOMENTUM.get(str(step), 0.0)
            momentum = usual_momentum if fast and not crowded and not dual else 0.0
        if is_auto(continuation):
            continuation = None if fast else 1.0
        if dual and (paper or momentum or not data_updates):
            raise ValueError(
                f"method={name!r}, momentum={momentum}, data_updates={data_updates} isn't to be had with prior='pnp', "
                "whose dual variable takes the momentum's place and whose data term is solved by data updates. Pass "
                "method='fast', momentum=0 and data_updates=1 or more, or leave them 'auto'."
            )
        return cls(
            step,
            check_number("momentum", momentum, 0.0, 1.0),
            check_choice("sampling", ("uniform" if paper else "cyclic") if is_auto(sampling) else sampling, SAMPLINGS),
            None if continuation is None else check_number("continuation", continuation, 1.0),
            data_updates,
        )

    def first_strength(self, operator: object, start: FloatArray) -> float:
        """How many times stronger the denoiser begins at a start of the operator's, if nobody said.

        Data updates meet the data within a sweep: then too strong a denoiser costs little, whatever the start.
        """
        return CONTINUATION_WITH_DATA_UPDATES if self.data_updates else first_strength(operator, start)

    def strength(self, first: float, sweep: int) -> float:
        """How many times stronger the denoiser is in this sweep: from `first` down to 1."""
        return max(1.0, first * self._fall**-sweep)

    def momentum_at(self, first: float, sweeps: float) -> float:
        """The heavy ball after so many sweeps: none while the denoiser is stronger, which begins at `first`.

        What moved under another denoiser is no guide.
        """
        if self.strength(first, int(sweeps)) > 1:
            return 0.0
        if not self.data_updates:
            return self.momentum
        own = sweeps - math.ceil(math.log(first, self._fall))  # sweeps with the network itself
        return max(0.0, min(self.momentum, (own - 1) / (own + 2)))

    @property
    def _fall(self) -> float:
        return FALL_WITH_DATA_UPDATES if self.data_updates else FALL


def usual_data_updates(tau: float, dual: bool, gap: float = 0.0) -> int:
    """n, or n·(enough τ)/τ for a smaller τ; both n and what is enough are larger where angles are missing."""
    usual, enough = (DATA_UPDATES_OF_PNP, ENOUGH_TAU_OF_PNP) if dual else (DATA_UPDATES, ENOUGH_TAU)
    if gap > LARGEST_GAP:
        usual, enough = DATA_UPDATES_OF_A_GAP, ENOUGH_TAU_OF_A_GAP_OF_PNP if dual else ENOUGH_TAU_OF_A_GAP
    return min(MOST_DATA_UPDATES, math.ceil(usual * enough / tau)) if 0 < tau < enough else usual


@runtime_checkable
class Predicting(Protocol):
    """An operator that can tell how well an image fits its measurements."""

    @property
    def measured(self) -> FloatArray:
        """y, in the shape of `forward`'s result."""
        ...

    def forward(self, image: FloatArray) -> FloatArray:
        """A x."""
        ...


def first_strength(operator: object, start: FloatArray) -> float:
    """How many times stronger the denoiser begins: 1, 2, 4, 8 or 16, the worse the start fits the measurements."""
    if not isinstance(operator, Predicting):
        return CONTINUATION
    energy = float(np.linalg.norm(operator.measured))
    misfit = float(np.linalg.norm(operator.forward(start) - operator.measured))
    if misfit <= WELL_FITTED * energy:
        return 1.0
    return min(CONTINUATION, math.exp2(round(math.log2(misfit / energy / WELL_FITTED)))) if energy else CONTINUATION
