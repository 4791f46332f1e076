"""Which method gets to a given SNR first? Ours beside GM-RED, the authors' structure, ASTRA by hand, deepinv and SCICO.

    python scripts/bench_peers.py [--quick] [--size 800 --angles 180] [--methods ours scico-admm-jax …] [--budget 120]

Writes a page, a figure and the numbers of every problem: peers_800x180.md, .png and .json. Settings are tuned on
another image first. Every trial is kept in the work folder, so the same command goes on after a stop; --again NAME
forgets a method's. The peers' environments are made in the work folder, too: several GB, as is the sparse matrix of
800² × 180, 3.5 GB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage import data, transform

from asyncred_gpu import RadonCT, load_denoiser
from asyncred_gpu.blocks import FloatArray
from asyncred_gpu.experiments import retina_image
from asyncred_gpu.models import DnCNN
from asyncred_gpu.operators.radon import project
from asyncred_gpu.options import Parser, begin, number, whole
from asyncred_gpu.runtime.cpu import available_cores
from asyncred_gpu.solver import choose_scale
from peers.methods import METHODS, OURS, Method
from peers.problem import SPARE_DETECTORS, Problem
from peers.report import Found, processor, write_report
from peers.search import Tuned, search
from peers.trials import Laboratory
from peers.verdict import Curve

SEED = 0
GREY = 255
SMALLEST_TUNING = 128


@dataclass(frozen=True)
class Shape:
    """Of a problem: pixels a side, angles over half a turn."""

    size: int
    angles: int

    @property
    def half(self) -> Shape:
        """What settings are tuned on; smaller images would have other best settings."""
        if self.size < 2 * SMALLEST_TUNING:
            return self
        return Shape(self.size // 2, self.angles // 2)

    def named(self, what: str) -> str:
        """A folder's or a file's name."""
        return f"{what}_{self.size}x{self.angles}"

    @property
    def title(self) -> str:
        """For a person."""
        return f"{self.size}² from {self.angles} angles × {self.detectors} detectors"

    @property
    def detectors(self) -> int:
        """The diagonal."""
        return round(2**0.5 * self.size)


FULL = (Shape(800, 180), Shape(512, 115), Shape(800, 90))
QUICK = (Shape(256, 60),)
BUDGET, QUICK_BUDGET = 120.0, 10.0
# Quick is 29 minutes without it on two cores of a first EPYC.
NOT_QUICK = ("scico-admm-jax-plain",)
# A tuning problem has an eighth of the projections' work and a quarter of the denoiser's.
TUNING_SHARE = 6


def camera_image(size: int) -> FloatArray:
    """scikit-image's camera, (size, size) in [0, 1]."""
    return np.asarray(transform.resize(data.camera() / GREY, (size, size), anti_aliasing=True), np.float32)


IMAGES: dict[str, Callable[[int], FloatArray]] = {"retina": retina_image, "camera": camera_image}


def make_problem(folder: Path, image: str, shape: Shape, noise_db: float, sigma: float) -> Path:
    """The problem's folder, made if it isn't there."""
    place = folder / f"{shape.named(image)}_{noise_db:g}dB_sigma{sigma:g}"
    if (place / "weights.npz").exists():
        return place
    reference, angles = IMAGES[image](shape.size), np.arange(shape.angles) * np.pi / shape.angles
    noise = np.random.default_rng(SEED).standard_normal((shape.angles, shape.detectors + SPARE_DETECTORS))
    network = load_denoiser("dncnn", sigma=sigma)
    assert isinstance(network, DnCNN)
    weights = {}
    for name, value in network.state_dict().items():  # layers.0.weight
        _, index, kind = name.split(".")
        weights[f"{kind[0]}{index}"] = value.numpy()
    arguments = (noise.astype(np.float32), angles, shape.detectors, noise_db)
    unfinished = Problem(reference, reference, *arguments, 1.0, weights, place)
    measured = unfinished.noisy(project(reference, angles, shape.detectors))
    scan = RadonCT(measured, angles, reference.shape)
    start = scan.fbp()
    Problem(reference, start, *arguments, choose_scale(None, start, scan), weights, place).save()
    return place


def compare_on(shape: Shape, laboratory: Laboratory, options: argparse.Namespace) -> Found:
    """Tune every method on the other image, run it on the retina."""
    problems = laboratory.work / "problems"
    other, final = (
        make_problem(problems, image, each, options.noise_db, options.sigma)
        for image, each in (("camera", shape.half), ("retina", shape))
    )
    curves, tuning = {}, {}
    for name in options.methods:
        method = METHODS[name]
        tuning[name] = tuned(method, laboratory, other, options.tune_budget)
        settings = tuning[name].settings
        curves[name] = laboratory.run(method, final, [settings], options.budget)[0]
        print(f"{shape.named('retina')}, {name}: {said(curves[name])} with {settings}", flush=True)
    tuned_on = f"{shape.half.size}² from {shape.half.angles} angles"
    return Found(shape.named("peers"), shape.title, curves, tuning, tuned_on)


def tuned(method: Method, laboratory: Laboratory, problem: Path, seconds: float) -> Tuned:
    """The settings found on this problem."""
    printed = set()

    def run(trials: list[dict[str, object]]) -> list[Curve]:
        curves = laboratory.run(method, problem, trials, seconds)
        for trial, curve in zip(trials, curves, strict=True):
            line = f"  tuning {method.name}: {said(curve)} with {trial}"
            if line not in printed:
                print(line, flush=True)
                printed.add(line)
        return curves

    return search(method.axes, method.fixed, run)


def said(curve: Curve) -> str:
    """A curve in a few words."""
    if curve.failure:
        return f"failed, {curve.failure}"
    return f"{curve.best:.2f} dB, within 0.1 of it after {curve.time_to(curve.best - 0.1):.3g} s"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options, those left out filled in."""
    parser = Parser(prog="bench_peers.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="256², 10 s a run: under half an hour")
    parser.add_argument("--size", type=whole(32), help="of one problem instead, pixels a side")
    parser.add_argument("--angles", type=whole(4), help="of it [a quarter of its size]")
    left_out = " and ".join(NOT_QUICK)
    parser.add_argument("--methods", nargs="+", choices=METHODS, help=f"[all; quick: without {left_out}]; ours always")
    parser.add_argument("--budget", type=number(above=0), help="seconds a run [120; quick: 10]")
    parser.add_argument("--tune-budget", type=number(above=0), help="seconds a trial of the tuning [budget / 6]")
    parser.add_argument("--noise-db", type=number(), default=70.0, help="input SNR [70]")
    parser.add_argument("--sigma", type=number(above=0), default=5.0, help="of the weights [5]")
    parser.add_argument("--cores", type=whole(1), default=len(available_cores()), help="[all]")
    parser.add_argument("--work", type=Path, default=Path(".peers"), help="folder of environments and trials [.peers]")
    parser.add_argument("--environments", type=Path, help="the peers' [work/environments]")
    parser.add_argument("--again", nargs="+", choices=METHODS, default=[], help="forget these methods' trials first")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder [docs/results]")
    options = parser.parse_args(words)
    if options.angles is not None and options.size is None:
        parser.error("--angles is of the problem that --size asks for. Pass both")
    usual = [name for name in METHODS if name not in NOT_QUICK] if options.quick else list(METHODS)
    options.methods = [name for name in METHODS if name in (options.methods or usual) or name == OURS]
    options.budget = options.budget or (QUICK_BUDGET if options.quick else BUDGET)
    options.tune_budget = options.tune_budget or options.budget / TUNING_SHARE
    return options


def shapes(options: argparse.Namespace) -> tuple[Shape, ...]:
    """The problems asked for."""
    if options.size is not None:
        return (Shape(options.size, options.angles or options.size // 4),)
    return QUICK if options.quick else FULL


def main(words: Sequence[str] | None = None) -> int:
    """Tune, run and report, a problem after the other."""
    given = begin(words)
    options = parse(given)
    work = options.work.resolve()
    for name in options.again:
        for folder in work.glob(f"trials/*/{name}"):
            shutil.rmtree(folder)
    laboratory = Laboratory(work, (options.environments or work / "environments").resolve(), options.cores)
    facts = {"arguments": " ".join(given), "cores": options.cores, "processor": processor(), "budget": options.budget}
    facts |= {"tune": options.tune_budget, "noise_db": options.noise_db, "sigma": options.sigma, "seed": SEED}
    print(facts, flush=True)
    for shape in shapes(options):
        print(write_report(options.output, compare_on(shape, laboratory, options), facts).read_text(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
