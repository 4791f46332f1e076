"""Figure 7: what each method shows after the same time, on one image, from the same start."""

from __future__ import annotations

from typing import Any

from ..baselines import gm_red, sync_red
from ..curves import snr_figure
from ..figures import comparison_figure
from ..metrics import snr
from ..result import Result
from .numbers import SIDE, rows_of
from .section import Section
from .study import MOMENTUM, Study

SWEEPS_AT_MOST = 100_000
# From far away more than the tables' 0.8 pays: there the denoiser moves the image by little a step, and always one way.
LONG_MOMENTUM = 0.95


def equal_time(study: Study, section: Section, seconds: float) -> None:
    """Async-RED with all rows and with half of them, Sync-RED and GM-RED, stopped by the clock."""
    problem = study.measurer(SIDE).measure(study.images[0])
    operator, tau, truth = problem.operator, problem.test.tau, problem.test.image
    start = operator.start("least-squares")
    common: dict[str, Any] = {"time_limit": seconds, "x0": start, "reference": truth}
    half, ball = rows_of(SIDE) // 2, {"momentum": LONG_MOMENTUM}

    def asynchronous(**changes: Any) -> Result:
        return study.run(problem, start, SWEEPS_AT_MOST, time_limit=seconds, **ball | changes)

    def full_gradient(accelerate: bool) -> Result:
        return gm_red(
            *(operator, study.network, tau),
            accelerate=accelerate,
            intensity_scale=1.0,
            precision="auto",
            max_sweeps=SWEEPS_AT_MOST,
            **common,
        )

    synchronous = study.options(**ball)
    results: dict[str, Result] = {
        "Async-RED-BG": asynchronous(),
        f"Async-RED-SG, {half} rows": asynchronous(minibatch=half, momentum=MOMENTUM),
        "Sync-RED-BG": sync_red(operator, study.network, tau, max_sweeps=SWEEPS_AT_MOST, **synchronous, **common),
        "GM-RED": full_gradient(accelerate=False),
        "GM-RED, Nesterov": full_gradient(accelerate=True),
    }
    rows = section.table(f"Cameraman after {seconds:g} s from least squares", "method", "sweeps", "SNR, dB")
    for name, result in results.items():
        rows.append([name, float(result.history["sweep"][-1]), snr(result.image, truth)])
        study.say(f"  {name}: {result.history['sweep'][-1]:.1f} sweeps, {snr(result.image, truth):.2f} dB")
    section.remarks.append(
        f"Async-RED and Sync-RED with {results['Async-RED-BG'].settings['num_workers']} workers ({study.device}) and "
        f"heavy ball {LONG_MOMENTUM}; with half of the rows {MOMENTUM}, since noise restarts a longer one often, which "
        "then gets less far. GM-RED on all cores, as in the paper and with Nesterov's acceleration, whose momentum "
        "grows while all goes downhill. The blocks' own Lipschitz constants are nearly that of the whole here, so "
        "block methods have no longer steps, as they have in CT. Alike workers give Sync-RED little to wait for; "
        "slow_worker.md shows what a slow one does."
    )
    images = {name: result.image for name, result in results.items()}
    study.draw(
        section,
        "figure7.jpg",
        comparison_figure(images, truth, title=f"After {seconds:g} s", unit="grey level"),
        "Figure 7",
    )
    curves = {name: result.history for name, result in results.items()}
    study.draw(section, "figure7_curves.png", snr_figure(curves, title="Cameraman, from least squares"), "On the way")
