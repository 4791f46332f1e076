"""How cost grows with the image: the exponent p of seconds ∝ size^p, measured, and the one that counting expects.

With angles and detectors in proportion to the size n, and blocks of about 200 pixels whatever the image: the denoiser
and the step have n² pixels to do; each of n angles is projected through n² pixels; and in a gather every block adds up
the shares of the ~n others that its rays meet, n²·n·n in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from .growth_run import Measured

# Of seconds a sweep, in proportion, once there are many blocks.
EXPECTED = {"gather": 4, "back projection": 3, "denoiser": 2, "step": 2, "projection": 3}
# Seconds a sweep and pixel with fixed angles, from the first size to the last: more than this is growth.
LARGEST_FIXED_GROWTH = 1.15


class PowerLaw(NamedTuple):
    """factor · size^exponent."""

    exponent: float
    factor: float

    def __call__(self, size: float) -> float:
        return float(self.factor * size**self.exponent)


def power_fit(sizes: Sequence[float], values: Sequence[float]) -> PowerLaw:
    """Least squares through the logarithms.

    Args:
        sizes, values: two or more, > 0.
    Raises:
        ValueError: fewer than two sizes, or a value that has no logarithm.
    """
    if len(set(sizes)) < 2 or min(values) <= 0:
        raise ValueError(
            f"No power law goes through sizes {list(sizes)} and values {list(values)}. Pass positive values at two "
            "sizes or more."
        )
    exponent, intercept = np.polyfit(np.log(sizes), np.log(values), 1)
    return PowerLaw(float(exponent), float(np.exp(intercept)))


def of_workers(runs: Iterable[Measured], workers: int) -> list[Measured]:
    """The runs with so many, by size."""
    return sorted((run for run in runs if run.case.workers == workers), key=lambda run: run.case.size)


def fit_of(runs: Sequence[Measured], value: Callable[[Measured], float]) -> PowerLaw:
    """Over the runs' sizes."""
    return power_fit([run.case.size for run in runs], [value(run) for run in runs])


def stage_fits(runs: Sequence[Measured]) -> dict[str, PowerLaw]:
    """Seconds of each stage over a whole sweep on one core."""
    return {
        name: fit_of(runs, lambda run, stage=name: run.blocks * run.stages[stage])  # type: ignore[misc]
        for name in runs[0].stages
    }


def seconds_a_pixel(run: Measured) -> float:
    """Of a sweep."""
    return run.sweep / run.pixels


def fixed_growth(runs: Sequence[Measured]) -> float:
    """Seconds a sweep and pixel, the last size's over the first's."""
    return seconds_a_pixel(runs[-1]) / seconds_a_pixel(runs[0])
