"""Measure how nonexpansive denoisers are, at real images and at reconstructions, and write it into their cards.

    python scripts/measure_denoiser.py dncnn_sigma5 --images ../shared/data/bsd68 --reconstruct ../shared/data/set12
    python scripts/measure_denoiser.py --images FOLDER --reconstructions a.npy b.tif --unconstrained FOLDER

Without a name or path of weights, all that come with the package are measured. NAME.json and NAME.md are rewritten,
NAME.safetensors stays as it is. What isn't measured anew stays in the card.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asyncred_gpu.models import ConditionalDnCNN, DnCNN, load_weights, weights_path
from asyncred_gpu.models.images import load_images
from asyncred_gpu.models.jacobian import PATIENCE
from asyncred_gpu.models.measure import NormsAt, middle, norms_at, summary
from asyncred_gpu.models.quality import noisy
from asyncred_gpu.models.unconstrained import find_unconstrained, unconstrained_facts
from asyncred_gpu.models.weights_io import WEIGHTS_FOLDER, save_facts
from reconstructions import read_reconstruction, reconstructed, scan_facts

SCANS = 3  # images of --reconstruct's folder


@dataclass(frozen=True)
class Part:
    """Images measured together, and what the card says of them besides the norms."""

    images: list[Tensor]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """Weights to be measured, checked; `other` are those trained without the bound."""

    path: Path
    network: DnCNN
    facts: dict[str, Any]
    sigma: float
    other: tuple[Path, DnCNN, dict[str, Any]] | None


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", help="names of weights that come with the package, or .safetensors files")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="measure at its first images, without noise")
    parser.add_argument("--count", type=int, default=20, help="how many of them (20)")
    parser.add_argument("--side", type=int, default=256, help="their middle, at most so many pixels a side (256)")
    parser.add_argument("--noisy", action="store_true", help="measure at these images with the network's noise too")
    parser.add_argument("--reconstructions", type=Path, nargs="+", metavar="FILE", help=".npy, .npz or .tif, in [0, 1]")
    parser.add_argument(
        "--reconstruct",
        type=Path,
        metavar="FOLDER",
        help=f"reconstruct its first {SCANS} images with the weights first",
    )
    parser.add_argument(
        "--unconstrained", type=Path, metavar="FOLDER", help="weights trained without the bound, to be compared with"
    )
    parser.add_argument("--sigma", type=float, help="level told to a network that takes one; else the highest it has")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="relative growth at which to stop (1e-4)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> tuple[list[Job], dict[str, Part], list[Tensor]]:
    """The weights, the images they are all measured at, and those to be reconstructed, all checked.

    Raises:
        ValueError, OSError: something can't be, with what to do about it.
    """
    check(options)
    torch.set_num_threads(options.threads)
    paths = [weights_file(name) for name in options.weights] or sorted(WEIGHTS_FOLDER.glob("*.safetensors"))
    jobs = [make_job(path, options) for path in paths]
    parts, scanned = {}, []
    if options.images is not None:
        found = [middle(image, options.side) for image in load_images(options.images)[: options.count]]
        parts["images"] = Part(found, {"folder": options.images.resolve().name})
    if options.reconstructions is not None:
        files = options.reconstructions
        names = {"names": [path.stem for path in files]}
        parts["reconstructions"] = Part([middle(read_reconstruction(path), options.side) for path in files], names)
    if options.reconstruct is not None:
        scanned = [middle(image, options.side) for image in load_images(options.reconstruct)[:SCANS]]
    radius = max(job.network.receptive_radius for job in jobs)
    smallest = min(
        min(image.shape) for image in [*scanned, *(image for part in parts.values() for image in part.images)]
    )
    if smallest <= radius:
        raise ValueError(f"An image has {smallest} pixels a side, the network looks {radius} far. Pass larger images.")
    return jobs, parts, scanned


def check(options: argparse.Namespace) -> None:
    """Refuse options that can't be, before anything is read."""
    if options.images is None and options.reconstructions is None and options.reconstruct is None:
        raise ValueError("There is nothing to measure at. Pass --images, --reconstructions or --reconstruct.")
    if options.reconstruct is not None and options.reconstructions is not None:
        raise ValueError("--reconstruct makes what --reconstructions gives. Pass one of them.")
    if options.noisy and options.images is None:
        raise ValueError("--noisy has no images to put noise on. Pass --images too.")
    for name in ("count", "side", "threads", "tolerance"):
        if not getattr(options, name) > 0:
            raise ValueError(f"--{name} {getattr(options, name)} must be above 0.")


def weights_file(name: str) -> Path:
    """The file of weights named or given as a path."""
    return Path(name) if name.endswith(".safetensors") else weights_path(name)


def make_job(path: Path, options: argparse.Namespace) -> Job:
    """Load weights, and those they are compared with, if that is asked for and they have a bound."""
    network, facts = load_weights(path)
    sigma = options.sigma or facts.get("sigma")
    if sigma is None:
        raise ValueError(f"{path} doesn't say what noise it is for. Train it with `asyncred train`.")
    if isinstance(network, DnCNN) and sigma != facts.get("sigma"):
        raise ValueError(
            f"--sigma {sigma:g}: {path.stem} takes no level, it is for {facts.get('sigma')}. Leave it out."
        )
    lowest = (facts.get("settings") or {}).get("lowest_sigma") or sigma
    if not lowest <= sigma <= facts["sigma"]:
        raise ValueError(f"--sigma {sigma:g}: {path.stem} is for {lowest:g} to {facts['sigma']:g}. Pass one of these.")
    other = None
    if options.unconstrained is not None and (facts.get("lipschitz") or {}).get("bound") is not None:
        found = find_unconstrained(options.unconstrained, facts, path.stem)
        loose, loose_facts = load_weights(found)
        other = (found, at_level(loose, sigma), loose_facts)
    return Job(path, at_level(network, sigma), facts, sigma, other)


def at_level(network: DnCNN | ConditionalDnCNN, sigma: float) -> DnCNN:
    return network if isinstance(network, DnCNN) else network.at(sigma / 255)


def run(job: Job, shared: Mapping[str, Part], scanned: Sequence[Tensor], options: argparse.Namespace) -> dict[str, Any]:
    """Measure one network, and the one without the bound; write facts and card, and return the facts."""
    print(f"{job.path.stem}:", flush=True)
    parts = dict(shared)
    if options.noisy:
        images = [noisy(image, job.sigma, seed) for seed, image in enumerate(shared["images"].images)]
        parts["noisy_images"] = Part(images, {**shared["images"].facts, "sigma": job.sigma})
    if scanned:
        parts["reconstructions"] = make_reconstructions(job.network, scanned, options.reconstruct)
    facts = dict(job.facts)
    found = measure_parts(job.network, parts, options.tolerance)
    facts["nonexpansive"] = merged(facts.get("nonexpansive"), found, job.sigma, options.tolerance)
    if job.other is not None:
        path, network, other = job.other
        print(f"{path}, without the bound:", flush=True)
        norms = measure_parts(network, parts, options.tolerance)
        facts["unconstrained"] = {**unconstrained_facts(job.facts, other, path.stem), "nonexpansive": norms}
    elif facts.get("unconstrained"):
        facts["unconstrained"] = without(facts["unconstrained"], found)
    save_facts(job.path, facts)
    return facts


def make_reconstructions(network: DnCNN, images: Sequence[Tensor], folder: Path) -> Part:
    found, snrs = zip(*(reconstructed(network, image, seed) for seed, image in enumerate(images)), strict=True)
    print("  reconstructed, SNR " + ", ".join(f"{value:.1f} dB" for value in snrs), flush=True)
    return Part(list(found), {"scan": scan_facts(folder, list(snrs))})


def measure_parts(network: DnCNN, parts: Mapping[str, Part], tolerance: float) -> dict[str, Any]:
    """The norms at every image of every part, told as they come."""
    found = {}
    for name, part in parts.items():
        norms = []
        for number, image in enumerate(part.images, start=1):
            began = time.perf_counter()
            norms.append(norms_at(network, image, tolerance))
            say(f"  {name} {number}/{len(part.images)}", norms[-1], time.perf_counter() - began)
        found[name] = {**part.facts, **summary(norms, part.images)}
    return found


def say(what: str, norms: NormsAt, seconds: float) -> None:
    each = (("D", norms.denoiser), ("R", norms.residual))
    values = ", ".join(f"‖J_{name}‖ ≥ {norm.value:.4f} ({norm.iterations} iterations)" for name, norm in each)
    print(f"{what}: {values}, {seconds:.0f} s", flush=True)


def merged(earlier: dict[str, Any] | None, found: dict[str, Any], sigma: float, tolerance: float) -> dict[str, Any]:
    """What was measured now, over what was measured earlier in the same way."""
    how = {"sigma": sigma, "tolerance": tolerance, "patience": PATIENCE}
    kept = earlier if earlier and all(earlier.get(name) == value for name, value in how.items()) else {}
    return {**kept, **how, **found}


def without(compared: dict[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The comparison without the parts just measured for one side only, maybe at other images than then."""
    norms = {name: part for name, part in compared["nonexpansive"].items() if name not in found}
    return {**compared, "nonexpansive": norms}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the exit code is 2 for input that can't be, 130 after Ctrl-C."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        jobs, parts, scanned = prepare(options)
    except (ValueError, OSError) as error:
        print(f"measure_denoiser.py: {error}", file=sys.stderr)
        return 2
    for job in jobs:
        try:
            run(job, parts, scanned, options)
        except KeyboardInterrupt:
            print(f"Stopped. The card of {job.path.stem} is as it was.")
            return 130
        print(f"{job.path.with_suffix('.md')} is written.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
