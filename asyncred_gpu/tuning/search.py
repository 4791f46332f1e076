"""The least score on a grid of (σ, τ), with few trials: pure, no reconstruction, no clock.

Along log τ a score has one valley, so it is descended, first in steps of two, then of one. The best τ of one σ is near
the best of the next: a stronger denoiser needs less weight, τσ about the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

STRIDES = (2, 1)

Evaluate = Callable[[int, int], float]


class BudgetSpent(Exception):
    """No further trial is allowed, or the time is over: what was found so far stands. Says which of them ended it."""


def descend(score: Callable[[int], float], start: int, count: int, strides: Sequence[int] = STRIDES) -> int:
    """Where on 0 … count − 1 a score with one valley is least, beginning at `start`; it is asked for a place often."""
    best = start
    for stride in strides:
        moved = True
        while moved:
            least = score(best)
            near = [place for place in (best + stride, best - stride) if 0 <= place < count]
            lower = [place for place in near if score(place) < least]
            moved = bool(lower)
            best = min(lower, key=score) if lower else best
    return best


def search(evaluate: Evaluate, sigmas: Sequence[float], taus: Sequence[float], start: tuple[int, int]) -> None:
    """Try pairs (index of σ, index of τ) on the way to the least score, from `start`; `evaluate` notes what it finds.

    One σ after the other in either direction, as long as the next one's valley is lower than the last one's.
    """
    known: dict[tuple[int, int], float] = {}

    def score(sigma: int, tau: int) -> float:
        if (sigma, tau) not in known:
            known[sigma, tau] = evaluate(sigma, tau)
        return known[sigma, tau]

    first, place = start
    valley = descend(partial(score, first), place, len(taus))
    for direction in (1, -1):
        sigma, tau = first, valley
        while 0 <= sigma + direction < len(sigmas):
            following = sigma + direction
            begin = nearest(taus, taus[tau] * sigmas[sigma] / sigmas[following])
            found = descend(partial(score, following), begin, len(taus), (1,))
            if score(following, found) >= score(sigma, tau):
                break
            sigma, tau = following, found


def everything(
    evaluate: Callable[[int, int, str], tuple[int, int]], sigmas: Sequence[float], taus: Sequence[float], begin: int
) -> None:
    """Try all pairs, each σ from the τ that should be its best upwards, then downwards.

    Args:
        evaluate: told where to start from, "best", "row" (the σ's first trial) or "last"; returns the best pair so far.
        begin: the first σ's τ.
    """
    best = (0, begin)
    for sigma in range(len(sigmas)):
        first = nearest(taus, taus[best[1]] * sigmas[best[0]] / sigmas[sigma])
        best = evaluate(sigma, first, "best")
        for tau in range(first + 1, len(taus)):
            best = evaluate(sigma, tau, "last")
        for tau in range(first - 1, -1, -1):
            best = evaluate(sigma, tau, "row" if tau == first - 1 else "last")


def nearest(values: Sequence[float], wanted: float) -> int:
    """The place of the value whose logarithm is nearest; all are positive."""
    return min(range(len(values)), key=lambda place: max(values[place] / wanted, wanted / values[place]))
