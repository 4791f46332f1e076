"""Do the fast method and the paper's end at the same image? Three images, both until ‖G‖²/‖G₀‖² ≤ tol.

    python scripts/check_methods.py [--size 128] [--angles 60] [--tau 0.02] [--quick] [--output docs/results]

Exit status 1 if an SNR differs by 0.05 dB or more. Writes methods.md. float32 on the CPU; the paper's method with one
worker, so that λ = 0 and its step is the longest its theorems allow, 1/(L+2τ).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from skimage import data, transform

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser, snr
from asyncred_gpu.blocks import FloatArray
from asyncred_gpu.experiments import noisy_scan, retina_image
from asyncred_gpu.result import Result

ALLOWED = 0.05
# White, of the largest line integral.
NOISE = 0.002
METHODS: dict[str, dict[str, Any]] = {
    "fast": {"num_workers": 2},
    "paper": {"method": "paper", "num_workers": 1, "max_staleness": 0},
}


def images(size: int) -> dict[str, FloatArray]:
    """(size, size) in [0, 1]."""
    found = {"camera": data.camera() / 255, "Shepp and Logan's head": data.shepp_logan_phantom()}
    resized = {name: transform.resize(image, (size, size), anti_aliasing=True) for name, image in found.items()}
    return {"retina": retina_image(size)} | {name: np.asarray(image, np.float32) for name, image in resized.items()}


def solve(operator: RadonCT, truth: FloatArray, options: argparse.Namespace, settings: dict[str, Any]) -> Result:
    side = options.size // 4
    solver = GpuAsyncRED(
        *(operator, load_denoiser("dncnn", sigma=5), options.tau),
        block_shape=(side, side),
        precision="float32",
        intensity_scale=1.0,
        device="cpu",
        **settings,
    )
    return solver.run(max_sweeps=options.sweeps, tol=options.tol, reference=truth)


def row(image: str, method: str, result: Result, truth: FloatArray) -> str:
    history = result.history
    return (
        f"| {image} | {method} | {history['sweep'][-1]:.0f} | {result.timings['run']:.1f} | "
        f"{history['residual'][-1]:.1e} | {snr(result.image, truth):.4f} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels a side, a multiple of 4 [128]")
    parser.add_argument("--angles", type=int, default=60, help="over 180 degrees [60]")
    parser.add_argument("--tau", type=float, default=0.02)
    parser.add_argument("--tol", type=float, default=1e-9, help="‖G‖²/‖G₀‖² [1e-9]")
    parser.add_argument("--sweeps", type=float, default=5000, help="at most [5000]")
    parser.add_argument("--quick", action="store_true", help="64², 30 angles")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    if options.quick:
        options.size, options.angles = 64, 30

    rows, worst = [], 0.0
    for name, truth in images(options.size).items():
        operator = noisy_scan(truth, options.angles, NOISE)
        ends = {}
        for method, settings in METHODS.items():
            result = solve(operator, truth, options, settings)
            ends[method] = snr(result.image, truth)
            rows.append(row(name, method, result, truth))
            print(rows[-1], flush=True)
        worst = max(worst, abs(ends["fast"] - ends["paper"]))
    verdict = f"Largest difference: {worst:.4f} dB; {'less' if worst < ALLOWED else 'NOT LESS'} than {ALLOWED} dB."
    print(verdict)
    write(options, rows, verdict)
    return 0 if worst < ALLOWED else 1


def write(options: argparse.Namespace, rows: list[str], verdict: str) -> None:
    options.output.mkdir(parents=True, exist_ok=True)
    quick = " --quick" if options.quick else ""
    lines = [
        "# Where the fast method and the paper's end",
        "",
        f"`python scripts/check_methods.py{quick}`: {options.size}², {options.angles} angles, τ = {options.tau:g}, "
        f"noise {NOISE:g} of the largest line integral, until ‖G‖²/‖G₀‖² ≤ {options.tol:g} or {options.sweeps:g} "
        f"sweeps. {verdict}",
        "",
        "| image | method | sweeps | s | ‖G‖²/‖G₀‖² | SNR, dB |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    (options.output / "methods.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
