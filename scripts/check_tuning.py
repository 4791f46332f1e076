"""What a choice of σ and τ without the truth loses to the best on the same grid: six simulated scans.

    python scripts/check_tuning.py [--denoiser dncnn] [--size 512] [--output docs/results]

Writes tuning.md and tuning.json, a problem at a time: the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asyncred_gpu import snr
from asyncred_gpu.blocks import FloatArray
from asyncred_gpu.experiments import noisy_scan, retina_image
from asyncred_gpu.family import NETWORKS, DenoiserFamily
from asyncred_gpu.models.phantoms import make_phantoms
from asyncred_gpu.options import Parser, begin, whole
from asyncred_gpu.tuning import Trial, Tuned, estimate_noise, tune
from asyncred_gpu.tuning.tune import FIRST_SWEEPS, SWEEPS, TAUS

# Noise as a share of the largest line integral.
LOW, HIGH = 0.001, 0.004
FEW, MANY = 90, 180
HELD_OUT_SEED = 1000  # of the phantoms: the CT-like weights were trained on seed 1
USED_TAUS = tuple(tau for tau in TAUS if tau >= 0.003)
HEAD = """\
# σ and τ without the truth

`scripts/check_tuning.py`, {denoiser}: {size}×{size}, {taus} τ from {least:g} to {largest:g}, σ = {sigmas}. The noise is
white, as a share of the largest line integral. Every pair of the grid was reconstructed, the first from FBP ({first:g}
sweeps after the warm start), the others from a neighbour's image ({sweeps:g} sweeps); "best" has the highest SNR,
"lost" is how much less the chosen one has.

- gcv: generalized cross-validation on the whole grid. gcv search: the same by the search that `tune` does, which tries
  fewer pairs; the SNR is that of the grid at its choice.
- held-out: every eighth angle left out, twice, σ as gcv chose it.
- discrepancy: residual as large as the noise estimated, σ as gcv chose it.

"""
COLUMNS = (
    "scan",
    "angles",
    "noise",
    "FBP, dB",
    "best, dB (σ, τ)",
    "gcv lost (σ, τ)",
    "gcv search lost (trials)",
    "held-out lost (τ)",
    "discrepancy lost (τ)",
)


@dataclass(frozen=True)
class Scan:
    """A simulated scan."""

    name: str
    image: FloatArray
    angles: int
    noise: float

    @property
    def key(self) -> str:
        return f"{self.name}, {self.angles} angles, {100 * self.noise:g} %"


def scans(size: int) -> list[Scan]:
    """Three images, two noise levels, and each number of angles with both."""
    phantoms = [image.numpy() for image in make_phantoms(4, size, HELD_OUT_SEED)]
    images = {"retina": retina_image(size), "cells": phantoms[2], "textured": phantoms[3]}
    found = []
    for place, (name, image) in enumerate(images.items()):
        pair = (FEW, MANY) if place % 2 == 0 else (MANY, FEW)
        found += [Scan(name, image, angles, noise) for angles, noise in zip(pair, (LOW, HIGH), strict=True)]
    return found


def measure(scan: Scan, denoiser: str, options: argparse.Namespace) -> dict[str, Any]:
    """All of one scan's numbers."""
    began = time.perf_counter()
    operator = noisy_scan(scan.image, scan.angles, scan.noise)
    settings: dict[str, Any] = {"reference": scan.image, "num_workers": options.workers, "taus": USED_TAUS}
    if options.quick:
        settings |= {"first_sweeps": 5, "sweeps": 2}
    grid = tune(operator, denoiser, exhaustive=True, **settings)
    walked = tune(operator, denoiser, **settings)
    family = DenoiserFamily(denoiser)
    left_out = tune(operator, family, [grid.best.sigma], method="held-out", exhaustive=True, **settings)
    noise = estimate_noise(operator.sinogram)
    return {
        "scan": scan.key,
        "name": scan.name,
        "angles": scan.angles,
        "noise": scan.noise,
        "noise_true": scan.noise * float(operator.forward(scan.image).max()),
        "noise_estimated": noise,
        "fbp": snr(operator.fbp(), scan.image),
        "seconds": time.perf_counter() - began,
        "search_seconds": sum(trial.seconds for trial in walked.trials),
        "grid": rows(grid),
        "search": rows(walked),
        "chosen": row(walked.best),
        "held_out": rows(left_out),
    }


def rows(tuned: Tuned) -> list[dict[str, Any]]:
    return [row(trial) for trial in tuned.trials]


def row(trial: Trial) -> dict[str, Any]:
    score = trial.score
    return {
        "sigma": trial.sigma,
        "tau": trial.tau,
        "score": score.value,
        "misfit": score.misfit,
        "freedom": score.freedom,
        "snr": score.snr,
        "seconds": round(trial.seconds, 2),
    }


def line(found: dict[str, Any]) -> str:
    """A row of the table."""
    grid = {(entry["sigma"], entry["tau"]): entry for entry in found["grid"] if entry["snr"] is not None}
    best = max(grid.values(), key=lambda entry: entry["snr"])

    def lost(choice: dict[str, Any]) -> str:
        return f"{best['snr'] - grid[choice['sigma'], choice['tau']]['snr']:.2f}"

    def least(entries: list[dict[str, Any]]) -> dict[str, Any]:
        return min(entries, key=lambda entry: float(entry["score"]))

    gcv, walked, held_out = least(found["grid"]), found["chosen"], least(found["held_out"])
    same_sigma = [entry for entry in grid.values() if entry["sigma"] == gcv["sigma"]]
    morozov = min(same_sigma, key=lambda entry: abs(np.log(entry["misfit"] / found["noise_estimated"])))
    return (
        f"| {found['name']} | {found['angles']} | {100 * found['noise']:g} % | {found['fbp']:.2f} "
        f"| {best['snr']:.2f} ({best['sigma']:g}, {best['tau']:.3g}) "
        f"| {lost(gcv)} ({gcv['sigma']:g}, {gcv['tau']:.3g}) "
        f"| {lost(walked)} ({len(found['search'])} of {len(grid)}) "
        f"| {lost(held_out)} ({held_out['tau']:.3g}) "
        f"| {lost(morozov)} ({morozov['tau']:.3g}) |\n"
    )


def write(stem: Path, known: dict[str, Any], options: argparse.Namespace) -> None:
    """The numbers and the report, whole."""
    settings = {"size": options.size, "quick": options.quick, "denoiser": options.denoiser}
    content = json.dumps({"settings": settings, "scans": known}, indent=1, ensure_ascii=False)
    stem.with_suffix(".json").write_text(content + "\n")
    first = next(iter(known.values()))
    text = HEAD.format(
        denoiser=options.denoiser,
        size=options.size,
        taus=len(USED_TAUS),
        least=USED_TAUS[0],
        largest=USED_TAUS[-1],
        sigmas=", ".join(f"{sigma:g}" for sigma in sorted({entry["sigma"] for entry in first["grid"]})),
        first=5 if options.quick else FIRST_SWEEPS,
        sweeps=2 if options.quick else SWEEPS,
    )
    text += f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
    text += "".join(line(found) for found in known.values())
    estimates = ", ".join(f"{found['noise_estimated']:.3g} ({found['noise_true']:.3g})" for found in known.values())
    seconds = ", ".join(f"{found['search_seconds']:.0f}" for found in known.values())
    text += f"\nNoise estimated (and true), in the order of the table: {estimates}. Seconds of a search: {seconds}.\n"
    stem.with_suffix(".md").write_text(text)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = Parser(prog="check_tuning.py", description="What a choice of σ and τ without the truth loses.")
    parser.add_argument("--denoiser", choices=(*NETWORKS, "dncnn-conditional"), default="dncnn")
    parser.add_argument("--size", type=whole(64), default=512, help="pixels a side [512]")
    parser.add_argument("--workers", type=whole(1), help="updates at a time [cores]")
    parser.add_argument("--quick", action="store_true", help="few sweeps: to see that it works")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder [docs/results]")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what isn't in the report yet."""
    options = parse(begin(words))
    DenoiserFamily(options.denoiser)
    options.output.mkdir(parents=True, exist_ok=True)
    stem = options.output / ("tuning" if options.denoiser == "dncnn" else f"tuning_{options.denoiser}")
    file = stem.with_suffix(".json")
    settings = {"size": options.size, "quick": options.quick, "denoiser": options.denoiser}
    stored = json.loads(file.read_text()) if file.exists() else {"settings": settings, "scans": {}}
    if stored["settings"] != settings:
        print(
            f"error: {file} has other settings: {stored['settings']}. Pass them, or another --output.", file=sys.stderr
        )
        return 2
    known = stored["scans"]
    for scan in scans(options.size):
        key = scan.key
        if key not in known:
            print(key, flush=True)
            known[key] = measure(scan, options.denoiser, options)
            write(stem, known, options)
            print(line(known[key]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
