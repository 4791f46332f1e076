"""The CT experiment: Figure 8's curves and Figure 9's pictures, on a simulated scan of a retina.

800×800, 180 angles × 1131 detectors, 70 dB; SG takes 60 of the angles. The paper's images aren't to be had, so only the
order of the methods and their distances can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..baselines import bc_red, fbp, gm_red, pgm_tv, sirt, sync_red
from ..blocks import FloatArray
from ..curves import snr_figure
from ..experiments import retina_problem
from ..figures import comparison_figure
from ..method import BLOCK_METHOD
from ..metrics import psnr, snr, ssim
from ..operators.radon import RadonCT
from ..result import Result
from ..solver import GpuAsyncRED
from .section import Section
from .study import MOMENTUM, Study

TAU = 0.01
SUBSET = 60
# Weights of the total variation that are tried; the best for the true image is taken, in favour of PGM-TV.
TV_WEIGHTS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4)


def ct(study: Study, section: Section, size: int, angles: int, sweeps: int) -> None:
    """All methods on one scan, each for the same number of sweeps."""
    problem = retina_problem(size=size, angles=angles)
    views, truth = problem.measured, problem.reference
    assert truth is not None
    operator = RadonCT(views.sinogram, views.angles, problem.image_shape, center=problem.center)
    start = operator.fbp()
    common: dict[str, Any] = {"x0": start, "reference": truth, "max_sweeps": sweeps}
    pool: dict[str, Any] = {"num_workers": study.workers, "device": study.device, **BLOCK_METHOD}
    alone = {name: value for name, value in pool.items() if name != "num_workers"}
    subset = round(angles * SUBSET / 180)

    def asynchronous(**changes: Any) -> Result:
        solver = GpuAsyncRED(operator, study.network, TAU, **pool, **changes)
        return solver.run(sweeps, x0=start, reference=truth)

    results: dict[str, Result] = {}

    def done(name: str, result: Result) -> None:
        results[name] = result
        study.say(f"  {name}: {snr(result.image, truth):.2f} dB, {result.timings['run']:.1f} s")

    done("Async-RED-BG", asynchronous(momentum=MOMENTUM))
    done(f"Async-RED-SG, {subset} angles", asynchronous(minibatch=subset, momentum=MOMENTUM))
    done("Sync-RED-BG", sync_red(operator, study.network, TAU, momentum=MOMENTUM, **pool, **common))
    done("BC-RED", bc_red(operator, study.network, TAU, momentum=MOMENTUM, **alone, **common))
    done("GM-RED", gm_red(operator, study.network, TAU, precision="auto", **common))
    trials = {weight: pgm_tv(operator, weight, **common) for weight in TV_WEIGHTS}
    weight = max(trials, key=lambda weight: snr(trials[weight].image, truth))
    done(f"PGM-TV, weight {weight:g}", trials[weight])
    done("SIRT", sirt(operator, **(common | {"x0": "zeros", "max_sweeps": 5 * sweeps})))
    done("FBP", fbp(operator, reference=truth))

    rows = section.table(f"{problem.title}: τ = {TAU}", "method", "sweeps", "seconds", "SNR, dB", "PSNR, dB", "SSIM")
    for name, result in results.items():
        image: FloatArray = np.asarray(result.image, np.float32)
        counted = float(result.history["sweep"][-1]) if len(result.history["sweep"]) else 0.0
        rows.append(
            [
                name,
                counted,
                float(result.timings["run"]),
                snr(image, truth),
                psnr(image, truth),
                f"{ssim(image, truth):.4f}",
            ]
        )
    section.remarks.append(
        f"PGM-TV after {sweeps} sweeps by its weight: "
        f"{', '.join(f'{w:g}: {snr(tried.image, truth):.2f} dB' for w, tried in trials.items())}; the best for the "
        "true image is shown. SIRT: five times the sweeps, from zeros. SG's step is shorter by its minibatch's larger "
        "Lipschitz constant. Not all have settled after so many sweeps: see Figure 8."
    )
    moving = {name: result.history for name, result in results.items() if len(result.history["sweep"]) > 1}
    level = {"FBP": snr(start, truth)}
    figure = snr_figure(moving, levels=level, title=problem.title, floor=level["FBP"] - 3)
    study.draw(section, "figure8.png", figure, "Figure 8: SNR on the way")
    shown = ("FBP", f"PGM-TV, weight {weight:g}", "GM-RED", "Async-RED-BG", f"Async-RED-SG, {subset} angles")
    pictures = {name: results[name].image for name in shown}
    study.draw(section, "figure9.jpg", comparison_figure(pictures, truth, title=problem.title), "Figure 9")
