"""Tables 1 to 3 of the supplement: block sizes, minibatches, and how much of its neighbours a block's denoiser sees."""

from __future__ import annotations

from typing import Any

from ..baselines import gm_red
from .numbers import SIDE, TABLE_1, TABLE_2, TABLE_3, rows_of
from .problems import TestImage
from .section import Cell, Section
from .study import Study, average, final_snr, random_snr


def compared(ours: float, paper: float | None) -> list[Cell]:
    """Ours, the paper's, and the difference."""
    return [ours, paper, None if paper is None else ours - paper]


def table_1(study: Study, section: Section) -> None:
    """Block sizes."""
    header = ("block", *(test.name for test in study.images), "average", "paper", "difference")
    rows = section.table("Table 1: block size, pixels a side", *header)
    for side in sorted(TABLE_1, reverse=True):

        def solve(test: TestImage, side: int = side) -> float:
            problem = study.measurer(side).measure(test)
            return final_snr(study.run(problem, study.start(problem, side)), problem)

        levels = study.for_all(f"blocks of {side}", solve)
        rows.append([side, *levels.values(), *compared(average(levels), TABLE_1[side]["average"])])
        section.remarks.append(
            f"{side}: the paper's cameraman {TABLE_1[side]['cameraman']:.2f}, ours {levels['cameraman']:.2f} "
            f"({levels['cameraman'] - TABLE_1[side]['cameraman']:+.2f})."
        )


def table_2(study: Study, section: Section) -> None:
    """Minibatches, with the factor m/w that makes them unbiased, and without it, as the demo has it.

    Without m/w the gradient is w/m of that of a problem whose τ is m/w times as large. Every run begins at the end of a
    run with all rows and that τ, so what is told is the level around which the random gradients keep the image.
    """
    m = rows_of(SIDE)
    measurer = study.measurer(SIDE)
    header = ("rows w", "factor m/w", *(test.name for test in study.images), "average", "paper", "difference")
    rows = section.table(f"Table 2: minibatch of {m} rows", *header)
    for scaled in (True, False):
        ends: dict[tuple[str, float], Any] = {}
        for count in (m, *TABLE_2):
            factor = 1.0 if scaled else m / count

            def solve(test: TestImage, count: int = count, factor: float = factor, ends: Any = ends) -> float:
                problem, key = measurer.measure(test), (test.name, factor)
                if key not in ends:
                    ends[key] = study.run(problem, study.start(problem, SIDE), tau=factor * test.tau)
                if count == m:
                    return final_snr(ends[key], problem)
                return random_snr(study, problem, ends[key].image, count, factor * test.tau)

            if scaled or count < m:
                levels = study.for_all(f"{count} rows, {'with' if scaled else 'without'} the factor", solve)
                kind = "all rows" if count == m else "with" if scaled else "without"
                rows.append([count, kind, *levels.values(), *compared(average(levels), TABLE_2.get(count))])
    section.remarks.append(
        "With the factor the minibatch hardly matters once a run has settled (step 1/(βL_i + 2τ), L_i that of the "
        "scaled minibatch; mean over the last 5 sweeps). Without it, the solution is that of a larger τ."
    )


def table_3(study: Study, section: Section) -> None:
    """Halos; "full" denoises the whole image at every step, by GM-RED."""
    measurer = study.measurer(SIDE)
    header = ("pad", *(test.name for test in study.images), "average", "paper", "difference")
    rows = section.table("Table 3: halo around a block, pixels", *header)
    for pad in (0, 7, 10, 20):

        def solve(test: TestImage, pad: int = pad) -> float:
            problem = measurer.measure(test)
            return final_snr(study.run(problem, study.start(problem, SIDE), pad=pad), problem)

        levels = study.for_all(f"pad {pad}", solve)
        rows.append([pad, *levels.values(), *compared(average(levels), TABLE_3.get(pad))])

    def whole(test: TestImage) -> float:
        problem = measurer.measure(test)
        image = study.start(problem, SIDE)
        result = gm_red(
            *(problem.operator, study.network, test.tau), intensity_scale=1.0, max_sweeps=2 * study.sweeps, x0=image
        )
        return final_snr(result, problem)

    levels = study.for_all("the whole image denoised", whole)
    rows.append(["full", *levels.values(), *compared(average(levels), TABLE_3["full"])])
