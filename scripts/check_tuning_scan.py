"""A real scan, every second projection: how well the others are predicted at the σ and τ chosen, by FBP and by SIRT.

    python scripts/check_tuning_scan.py --input scan.h5 [--denoiser dncnn] [--output docs/results]

The choice sees the projections kept, never those predicted. SIRT is stopped where it predicts best, which favours it.
Writes tuning_SCAN.md and a picture.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser
from asyncred_gpu.baselines import sirt
from asyncred_gpu.experiments import Problem, prediction_error, scan_problem
from asyncred_gpu.family import SHIPPED
from asyncred_gpu.figures import comparison_figure
from asyncred_gpu.options import Parser, begin, whole

METHODS = ("gcv", "held-out")
SIRT_STEPS = tuple(10 * 2**doubling for doubling in range(10))  # until it predicts worse than with half of them


def error(image: np.ndarray, problem: Problem, mask: np.ndarray) -> float:
    found = prediction_error(image, problem, mask)
    assert found is not None
    return found


def by_sirt(operator: RadonCT, problem: Problem, mask: np.ndarray) -> tuple[np.ndarray, int, float]:
    """The image of the number of iterations that predicts best, that number, and the error."""
    image, done, least = np.zeros(problem.image_shape, np.float32), 0, math.inf
    for steps in SIRT_STEPS:
        further = sirt(operator, field_of_view="circle", nonnegative=True, max_sweeps=steps - done, x0=image).image
        found = error(further, problem, mask)
        if found > least:
            break
        image, done, least = further, steps, found
    return image, done, least


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and write the report."""
    options = parse(begin(words))
    problem = scan_problem(options.input, options.slice, every=2)
    operator = RadonCT(problem.measured.sinogram, problem.measured.angles, problem.image_shape, center=problem.center)
    common = {"field_of_view": "circle", "num_workers": options.workers}
    rows, tables, images = [], [], {}
    mask = None
    for method in METHODS:
        solver = GpuAsyncRED(operator, load_denoiser(options.denoiser, sigma="auto"), "auto", **common)
        mask = solver.mask
        assert mask is not None
        tuned = solver.tune(method=method)
        result = solver.run(max_sweeps=options.sweeps)
        found = error(result.image, problem, mask)
        sweeps = sum(trial.sweeps for trial in tuned.trials)
        rows.append(f"| Async-RED, {method}: σ = {tuned.sigma:g}, τ = {tuned.tau:.3g} | {found:.5f} | {sweeps:g} |")
        tables.append(f"## Tried by {method}\n\n{tuned.table()}")
        images[f"Async-RED, {method}"] = result.image
        print(rows[-1], flush=True)
    assert mask is not None
    image, steps, found = by_sirt(operator, problem, mask)
    fbp = operator.fbp() * mask
    rows += [f"| SIRT, nonnegative, {steps} iterations | {found:.5f} | |"]
    rows += [f"| FBP | {error(fbp, problem, mask):.5f} | |"]
    options.output.mkdir(parents=True, exist_ok=True)
    stem = options.output / f"tuning_{options.input.stem}"
    head = (
        f"# σ and τ of a real scan\n\n`scripts/check_tuning_scan.py`, {options.denoiser}: {problem.title}, kept every "
        "second projection. The relative error ‖A x − y‖/‖y‖ of those left out, on rays through the field of view:\n\n"
        "| method | error | sweeps of the search |\n|---|---|---|\n"
    )
    stem.with_suffix(".md").write_text(head + "\n".join(rows) + "\n\n" + "\n".join(tables))
    shown = {"FBP": fbp, f"SIRT, {steps}": image, **images}
    comparison_figure(shown, None, title=problem.title, field_of_view=mask > 0).savefig(stem.with_suffix(".png"))
    print("\n".join(rows))
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = Parser(prog="check_tuning_scan.py", description="A real scan's left-out projections, predicted.")
    parser.add_argument("--input", type=Path, required=True, help="a Data Exchange scan")
    parser.add_argument("--slice", type=whole(0), default=0, help="row of the scan [0]")
    parser.add_argument("--denoiser", choices=SHIPPED, default="dncnn")
    parser.add_argument("--sweeps", type=whole(1), default=30, help="after the search [30]")
    parser.add_argument("--workers", type=whole(1), help="updates at a time [cores]")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder [docs/results]")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
