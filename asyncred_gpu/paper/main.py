"""scripts/paper_tables.py: the supplement's experiments from one command, with the paper's numbers beside ours."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..denoiser import load_network
from ..devices import DeviceError, check_device
from ..options import Parser, begin, devices, whole
from ..runtime.cpu import available_cores
from . import ct, demo, equal_time, tables, variations
from .numbers import NAMES
from .problems import RESAMPLINGS, load_images
from .section import Report, Section
from .study import Study

REFUSED, INTERRUPTED = 2, 130
TITLES = {
    "demo": "The authors' demo",
    "table1": "Table 1: block sizes",
    "table2": "Table 2: minibatches",
    "table3": "Table 3: halos",
    "figure7": "Figure 7: after the same time",
    "ct": "Figures 8 and 9: computed tomography",
    "resampling": "Experiment: how the images were resized",
    "tau": "Experiment: other τ",
    "minibatches": "Experiment: minibatches on the way",
    "precision": "Experiment: precision, other random numbers",
}
QUICK_IMAGES, QUICK_SWEEPS, SWEEPS = 1, 25, 40
QUICK_LEAVES_OUT = ("resampling", "tau", "minibatches")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = Parser(prog="paper_tables.py", description="The experiments of the Async-RED paper, again.")
    parser.add_argument("--images", type=Path, required=True, help="folder whose first six images are the paper's")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="cameraman only, fewer sweeps, CT at 256²: minutes")
    size.add_argument("--full", action="store_true", help="six images, all experiments: about an hour on two cores")
    parser.add_argument("--denoiser", default="dncnn", help="a shipped denoiser, or a file of weights [dncnn]")
    parser.add_argument("--sections", nargs="+", choices=TITLES, help="these only [all]")
    parser.add_argument("--resampling", choices=RESAMPLINGS, default="nearest", help="to 240 × 240 [nearest]")
    parser.add_argument("--workers", type=whole(1), help="updates at a time [cores]")
    parser.add_argument("--device", type=devices, default="cpu", help="of the asynchronous methods: cpu, cuda [cpu]")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder [docs/results]")
    parser.add_argument("--update", action="store_true", help="replace these sections of an earlier report")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the experiments; the exit status is returned."""
    options = parse(begin(words))
    try:
        study, report = prepare(options)
    except (OSError, ValueError, TypeError, DeviceError) as error:
        print(f"error: {error}")
        return REFUSED
    try:
        for name, experiment in experiments(options, study).items():
            perform(name, experiment, report, made(options))
    except KeyboardInterrupt:
        print("interrupted: the sections before this one are written.")
        return INTERRUPTED
    print(f"results in {study.stem}.md")
    return 0


def prepare(options: argparse.Namespace) -> tuple[Study, Report]:
    """Read images and weights, and see where to write; whatever can't be is refused here."""
    network = load_network(options.denoiser)
    check_device(options.device)
    count = QUICK_IMAGES if options.quick else len(NAMES)
    images = load_images(options.images, count, options.resampling)
    options.output.mkdir(parents=True, exist_ok=True)
    label, size = Path(options.denoiser).stem, "quick" if options.quick else "full"
    stem = options.output / (f"paper_{label}_quick" if options.quick else f"paper_{label}")
    if stem.with_suffix(".json").exists() and not options.update:
        raise FileExistsError(
            f"{stem}.json exists already. Pass --update to replace its sections, or another --output."
        )
    study = Study(
        images,
        network,
        QUICK_SWEEPS if options.quick else SWEEPS,
        options.workers,
        options.device,
        say,
        options.images,
        stem,
    )
    facts = [
        f"`scripts/paper_tables.py --{size} --denoiser {label}`; each section says when, where and how.",
        f"{', '.join(test.name for test in images)}, 240 × 240; 30 dB input SNR; m/n = 0.7; Gaussian matrices of "
        "variance 1/m; the demo's τ.",
        "Every run: least squares, a warm start (the denoiser at 16, 8, 4 and 2 times its noise level, 8 sweeps each), "
        f"then {study.sweeps} sweeps with the block step and heavy ball 0.8 (minibatches: none).",
    ]
    report = Report(stem, f"The paper's experiments, {label}", facts)
    report.load()
    return study, report


def experiments(options: argparse.Namespace, study: Study) -> dict[str, Callable[[Section], None]]:
    """What to do, by name, in the report's order."""
    quick = options.quick
    scan = (256, 60, 15) if quick else (800, 180, 40)
    known: dict[str, Callable[[Section], None]] = {
        "demo": lambda section: demo.demo(study, section, 1 if quick else 3),
        "table1": lambda section: tables.table_1(study, section),
        "table2": lambda section: tables.table_2(study, section),
        "table3": lambda section: tables.table_3(study, section),
        "figure7": lambda section: equal_time.equal_time(study, section, 4.0 if quick else 8.0),
        "ct": lambda section: ct.ct(study, section, *scan),
        "resampling": lambda section: variations.resampling(study, section),
        "tau": lambda section: variations.strength(study, section),
        "minibatches": lambda section: variations.minibatches(study, section),
        "precision": lambda section: variations.precision(study, section),
    }
    usual = [name for name in known if not (quick and name in QUICK_LEAVES_OUT)]
    return {name: known[name] for name in options.sections or usual}


def made(options: argparse.Namespace) -> str:
    """When, where and how, for the foot of a section."""
    workers = f"{options.workers or 'the usual'} workers on {len(available_cores())} cores"
    return (
        f"{time.strftime('%Y-%m-%d')}, resampling {options.resampling}, {workers}, device {options.device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}, "
    )


def perform(name: str, experiment: Callable[[Section], None], report: Report, how: str) -> None:
    """One experiment, written as soon as it is done."""
    say(TITLES[name])
    section, begun = Section(name, TITLES[name], made=how), time.perf_counter()
    experiment(section)
    section.seconds = time.perf_counter() - begun
    report.add(section, tuple(TITLES))
    print(section.markdown(), flush=True)


def say(text: str) -> None:
    print(text, flush=True)
