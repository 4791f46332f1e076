"""What moves the numbers: experiments that explain the differences from the paper's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..metrics import snr
from .numbers import SIDE, TABLE_1, TABLE_2, demo_step, rows_of
from .problems import RESAMPLINGS, Measurer, load_images
from .section import Section
from .study import Study, average, final_snr, random_snr

TAU_FACTORS = (0.5, 0.71, 1.0, 1.41, 2.0, 3.0, 4.0)
FEW_ROWS_FACTORS = (2.0, 3.0, 4.0)
WAY = (300, 350, 400, 500, 700, 900)


def resampling(study: Study, section: Section) -> None:
    """The paper doesn't say how 256×256 became 240×240."""
    measurer = study.measurer(SIDE)
    header = ("resampling", *(test.name for test in study.images), "average", "paper", "difference")
    rows = section.table("Set12 to 240 × 240 by other filters, blocks of 80: SNR in dB", *header)
    for name in RESAMPLINGS:
        levels = {}
        for test in load_images(study.folder, len(study.images), name):
            problem = measurer.measure(test)
            levels[test.name] = final_snr(study.run(problem, study.warm(problem)), problem)
            study.say(f"  {name}, {test.name}: {levels[test.name]:.2f} dB")
        told = TABLE_1[SIDE]["average"]
        rows.append([name, *levels.values(), average(levels), told, average(levels) - told])
    section.remarks.append(
        "A smoother filter leaves less of the image that looks like noise, and SNR rises: the spread of this table "
        "is larger than any difference from the paper's numbers."
    )


def strength(study: Study, section: Section) -> None:
    """The demo's τ were chosen for its own network and its own images; and few rows without m/w act as a larger τ."""
    measurer, few = study.measurer(SIDE), min(TABLE_2)
    share = rows_of(SIDE) / few
    header = ("τ over the demo's", *(test.name for test in study.images), "average")
    rows = section.table("Other τ, blocks of 80: SNR in dB", *header)
    random = section.table(f"{few} rows without the factor m/w = {share:g}, other τ: SNR in dB", *header)
    for factor in TAU_FACTORS:
        levels, random_levels = {}, {}
        for test in study.images:
            problem = measurer.measure(test)
            result = study.run(problem, study.start(problem, SIDE), tau=factor * test.tau)
            levels[test.name] = final_snr(result, problem)
            study.say(f"  τ × {factor:g}, {test.name}: {levels[test.name]:.2f} dB")
            if factor in FEW_ROWS_FACTORS:
                random_levels[test.name] = random_snr(study, problem, result.image, few, factor * test.tau)
                study.say(f"  {few} rows, τ × {factor / share:g}, {test.name}: {random_levels[test.name]:.2f} dB")
        rows.append([f"{factor:g}", *levels.values(), average(levels)])
        if random_levels:
            random.append([f"{factor / share:g}", *random_levels.values(), average(random_levels)])
    section.remarks.append(
        f"Without the factor m/w, {few} rows solve the problem whose τ is {share:g} times as large: a row of the 2nd "
        f"table lies near that of the 1st with {share:g} times its τ. The paper's average for {few} rows is "
        f"{TABLE_2[few]:.2f}."
    )


def minibatches(study: Study, section: Section) -> None:
    """The way of a random gradient from zeros with the demo's step: its level depends on when one looks."""
    problem = study.measurer(SIDE).measure(study.images[0])
    tau, m = problem.test.tau, rows_of(SIDE)
    header = ("rows w", "factor m/w", *(f"{sweeps} sweeps" for sweeps in WAY))
    rows = section.table("Cameraman from zeros, the demo's step 1/(2 + 2τ), no momentum: SNR in dB", *header)
    for scaled in (True, False):
        for count in (*TABLE_2, m):
            if count == m and not scaled:
                continue
            # Without the factor: the gradient is w/m of that of a problem whose τ is m/w times as large.
            share = 1.0 if scaled else count / m
            random: dict[str, Any] = {"minibatch": count} if count < m else {}
            result = study.run(
                problem, "zeros", WAY[-1], tau=tau / share, step=demo_step(tau) * share, momentum=0.0, **random
            )
            history = result.history
            places = np.searchsorted(history["sweep"], WAY)
            levels = [float(history["snr"][min(place, len(history["snr"]) - 1)]) for place in places]
            kind = "all rows" if count == m else "with" if scaled else "without"
            rows.append([count, kind, *levels])
            study.say(f"  {count} rows, {kind}: {', '.join(f'{level:.2f}' for level in levels)} dB")
            section.remarks.extend(f"{count} rows, {kind}: {note}" for note in result.notes)
    section.remarks.append(
        "With the factor the solution is that of all rows, and the step decides how far from it the random gradients "
        "keep the image: with the demo's step as here, with Table 2's shorter one hardly. Without it both step and "
        "solution are others."
    )


def precision(study: Study, section: Section) -> None:
    """Rounded matrices, a rounded network, other noise and matrices: none of it should matter."""
    test = study.images[0]
    rows = section.table("Cameraman, blocks of 80: SNR in dB", "variant", "SNR", "difference", "image difference")
    problem = study.measurer(SIDE).measure(test)
    start = study.start(problem, SIDE)
    usual = study.run(problem, start)
    expected = final_snr(usual, problem)
    found = {f"as in the tables (denoiser in {usual.settings['precision']})": usual.image}
    found["denoiser in float32"] = study.run(problem, start, precision="float32").image
    half = Measurer(SIDE, storage="float16").measure(test)
    found["matrices in float16"] = study.run(half, start).image
    for name, image in found.items():
        level = snr(image, test.image)
        rows.append([name, level, f"{level - expected:+.4f}", f"{10 ** (-snr(image, usual.image) / 20):.1e}"])
        study.say(f"  {name}: {level:.3f} dB")
    for seed in (1, 2):
        problem = Measurer(SIDE, seed=seed).measure(test)
        level = final_snr(study.run(problem, study.warm(problem)), problem)
        rows.append([f"matrices and noise of seed {seed}", level, f"{level - expected:+.4f}", None])
        study.say(f"  seed {seed}: {level:.3f} dB")
