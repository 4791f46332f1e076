"""Which weights for what: families of denoisers side by side on generated slices and on the retina, each at its best.

    python scripts/compare_weights.py [--families dncnn dncnn-ct dncnn-conditional] [--size 512] [--output docs/results]

For every scan and family σ and τ are those of the best SNR (tune with the reference), then the run goes on from there.
Writes weights.md and weights.json, a scan at a time: the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncred_gpu import GpuAsyncRED, RadonCT, snr
from asyncred_gpu.blocks import FloatArray
from asyncred_gpu.experiments import noisy_scan, retina_image
from asyncred_gpu.family import SHIPPED, DenoiserFamily
from asyncred_gpu.models.phantoms import KINDS, make_phantoms
from asyncred_gpu.options import Parser, begin, number, whole
from asyncred_gpu.tuning import tune

SEED = 1000  # of the phantoms: the CT-like weights were trained on seed 1
EACH = 2  # phantoms of a kind
HEAD = """\
# Weights for natural images and for slices

`scripts/compare_weights.py`: {size}×{size}, {angles} angles, white noise of {noise:g} % of the largest line integral;
final SNR in dB after {sweeps} more sweeps at the σ and τ that gave the best (in brackets). The phantoms are of seeds
that nothing was trained on.

"""


def images(size: int) -> dict[str, FloatArray]:
    """The retina, and phantoms of all kinds."""
    phantoms = make_phantoms(EACH * len(KINDS), size, SEED)
    found = {"retina": retina_image(size)}
    for place, image in enumerate(phantoms):
        found[f"{list(KINDS)[place % len(KINDS)]} {place // len(KINDS) + 1}"] = image.numpy()
    return found


def best(operator: RadonCT, image: FloatArray, family: str, options: argparse.Namespace) -> dict[str, Any]:
    """What the family reaches."""
    tuned = tune(operator, family, method="reference", reference=image, num_workers=options.workers)
    solver = GpuAsyncRED(
        operator,
        tuned.denoiser,
        tuned.tau,
        num_workers=options.workers,
        intensity_scale=tuned.intensity_scale,
    )
    result = solver.run(max_sweeps=options.sweeps, x0=tuned.image)
    return {"snr": snr(result.image, image), "sigma": tuned.sigma, "tau": tuned.tau, "notes": list(tuned.notes)}


def write(stem: Path, known: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    """The numbers and the report, whole."""
    settings = {name: getattr(options, name) for name in ("size", "angles", "noise", "sweeps")}
    content = json.dumps({"settings": settings, "scans": known}, indent=1, ensure_ascii=False)
    stem.with_suffix(".json").write_text(content + "\n")
    families = [family for family in SHIPPED if any(family in found for found in known.values())]
    columns = ["scan", "FBP", *families]
    if len(families) > 1:
        columns.append(f"{families[1]} − {families[0]}")
    text = HEAD.format(size=options.size, angles=options.angles, noise=100 * options.noise, sweeps=options.sweeps)
    text += f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    for name, found in known.items():
        cells = [name, f"{found['FBP']:.2f}"]
        for family in families:
            entry = found.get(family)
            cells.append("" if entry is None else f"{entry['snr']:.2f} ({entry['sigma']:g}, {entry['tau']:.3g})")
        if len(families) > 1 and all(family in found for family in families[:2]):
            cells.append(f"{found[families[1]]['snr'] - found[families[0]]['snr']:+.2f}")
        text += f"| {' | '.join(cells)} |\n"
    stem.with_suffix(".md").write_text(text)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = Parser(prog="compare_weights.py", description="Families of denoisers side by side, each at its best.")
    parser.add_argument("--families", nargs="+", choices=SHIPPED, default=["dncnn", "dncnn-ct"])
    parser.add_argument("--size", type=whole(64), default=512, help="pixels a side [512]")
    parser.add_argument("--angles", type=whole(8), default=180, help="over 180 degrees [180]")
    parser.add_argument("--noise", type=number(above=0), default=0.002, help="share of the largest integral [0.002]")
    parser.add_argument("--sweeps", type=whole(1), default=30, help="after the search [30]")
    parser.add_argument("--workers", type=whole(1), help="updates at a time [cores]")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder [docs/results]")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what isn't in the report yet."""
    options = parse(begin(words))
    stem = options.output / "weights"
    settings = {name: getattr(options, name) for name in ("size", "angles", "noise", "sweeps")}
    known: dict[str, Any] = {}
    try:
        for family in options.families:
            assert DenoiserFamily(family).sigmas
        if stem.with_suffix(".json").exists():
            stored = json.loads(stem.with_suffix(".json").read_text())
            if stored["settings"] != settings:
                raise ValueError(
                    f"{stem}.json has other settings: {stored['settings']}. Pass them, or another --output."
                )
            known = stored["scans"]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    for name, image in images(options.size).items():
        operator = noisy_scan(image, options.angles, options.noise)
        entry = known.setdefault(name, {"FBP": snr(operator.fbp(), image)})
        for family in options.families:
            if family not in entry:
                entry[family] = best(operator, image, family, options)
                print(f"{name}, {family}: {entry[family]}", flush=True)
                write(stem, known, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
