"""Does a fan beam give the image that a parallel beam gives? The retina by both, with the same pixels and noise.

python scripts/check_fan_beam.py [--size 400] [--views 90,180,360] [--source 2] [--detector 1] [--picture twin.png]

As many views, over a turn of the fan and half a turn of the parallel beam; two detectors are a pixel apart on the axis
of both. Prints the SNR after so many sweeps, and what they took.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from asyncred_gpu import GpuAsyncRED, load_denoiser, snr
from asyncred_gpu.beam import Beam
from asyncred_gpu.blocks import FloatArray
from asyncred_gpu.experiments import Problem, retina_problem

# What counts as 1 to the denoiser is the same for both, not chosen from two different starts.
SCALE = 1.0


def reconstructed(problem: Problem, tau: float, sweeps: float) -> tuple[float, FloatArray, float]:
    """SNR of FBP, the image, and the seconds it took."""
    operator, begun = problem.operator(), time.perf_counter()
    solver = GpuAsyncRED(operator, load_denoiser("dncnn", sigma=5), tau, intensity_scale=SCALE, precision="float32")
    result = solver.run(max_sweeps=sweeps, reference=problem.reference)
    return snr(operator.fbp(), problem.reference), np.asarray(result.image), time.perf_counter() - begun


def save_picture(path: Path, images: dict[str, FloatArray]) -> None:
    """Side by side, the same grey levels."""
    figure = Figure(figsize=(5 * len(images), 5.4), layout="constrained")
    for axes, (name, image) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=0.8)
        axes.set_title(name)
        axes.axis("off")
    figure.savefig(path, dpi=100)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=int, default=400, help="pixels a side")
    options.add_argument("--views", default="90,180,360", help="numbers of views")
    options.add_argument("--source", type=float, default=2.0, help="from the axis, in image sides")
    options.add_argument("--detector", type=float, default=1.0, help="from the axis, in image sides")
    options.add_argument("--noise-db", type=float, default=50.0)
    options.add_argument("--tau", type=float, default=0.0025)
    options.add_argument("--sweeps", type=float, default=12)
    options.add_argument("--picture", type=Path, help="of the last, a new .png")
    chosen = options.parse_args()
    fan = Beam(chosen.source * chosen.size, chosen.detector * chosen.size)
    print(f"{chosen.size}², {chosen.noise_db:g} dB, τ = {chosen.tau:g}, {chosen.sweeps:g} sweeps; {fan.title}")
    columns = (
        "views",
        "FBP, parallel",
        "FBP, fan",
        "Async-RED, parallel",
        "Async-RED, fan",
        "difference",
        "time ratio",
    )
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for views in (int(word) for word in chosen.views.split(",")):
        found = []
        for beam in (Beam(), fan):
            problem = retina_problem(chosen.size, views, noise_db=chosen.noise_db, beam=beam)
            found.append((*reconstructed(problem, chosen.tau, chosen.sweeps), problem.reference))
        (fbp, image, seconds, truth), (fan_fbp, fan_image, fan_seconds, _) = found
        one, other = snr(image, truth), snr(fan_image, truth)
        row = [f"{fbp:.2f} dB", f"{fan_fbp:.2f} dB", f"{one:.2f} dB", f"{other:.2f} dB", f"{other - one:+.2f} dB"]
        print(f"| {views} | {' | '.join(row)} | {fan_seconds / seconds:.2f} |", flush=True)
    if chosen.picture:
        save_picture(chosen.picture, {"the retina": truth, "parallel beam": image, "fan beam": fan_image})


if __name__ == "__main__":
    main()
