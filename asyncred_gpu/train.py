"""Train denoisers with a bounded Lipschitz constant; write weights, facts (JSON) and model cards (Markdown).

    asyncred train --images FOLDER --validation FOLDER --sigma all --checkpoint checkpoints

With --checkpoint a run that was stopped (Ctrl-C too) goes on where it was, to the same weights.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from .config.forms import path
from .exit_status import failed, refused
from .models import ConditionalDnCNN, DnCNN
from .models.images import load_images, training_images
from .models.phantoms import make_phantoms
from .models.quality import validate
from .models.training import Trainer
from .models.training_settings import TrainingSettings
from .models.weights_io import existing_files, load_weights, save_weights, weights_name
from .options import Parser
from .training_progress import TrainingProgress
from .wording import said

PREVIEW_IMAGES = 8  # of the validation images, while training; all of them at the end
ALL_SIGMAS = (5.0, 10.0, 15.0, 20.0, 25.0)
PHANTOM_SIZE = 180  # as bsd400's
PHANTOM_SEED = 1  # others than these are for testing

HELP = {
    "network": "dncnn, or dncnn-conditional: one network for any noise from lowest-sigma to sigma",
    "sigma": "noise, in grey levels of 255, or all: 5, 10, 15, 20 and 25, one network after the other",
    "lowest_sigma": "least noise of a patch, in grey levels or as a share of sigma, such as 20%%; none: sigma for all",
    "steps": "optimizer steps",
    "patch": "side of a training patch, pixels",
    "batch": "patches a step",
    "learning_rate": "of Adam, at its highest",
    "lipschitz": "bound of the residual's Lipschitz constant, or none",
    "clip_every": "steps between clippings of the singular values",
    "seed": "of the first weights, the patches and the noise",
    "phantoms": "CT-like images, generated, beside those of the folder",
    "start": "weights to go on from (.safetensors), of the same network, or a folder with dncnn's of the same sigma",
    "precision": "of the convolutions: bfloat16 or float32",
}


class Stopped(Exception):
    """The user asked to stop; raised between two steps, so the state is whole."""


@dataclass(frozen=True)
class Job:
    """Everything a run needs, checked."""

    options: argparse.Namespace
    trainer: Trainer
    images: int
    validation: list[Tensor]
    weights: Path
    checkpoint: Path | None


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="asyncred train",
        description="Train DnCNN denoisers with a Lipschitz bound.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--images", type=path, required=True, help="folder of clean images")
    parser.add_argument("--validation", type=path, help="folder of other clean images, to measure PSNR on")
    parser.add_argument("--output", type=path, default=Path("weights"), help="folder the weights are written to")
    parser.add_argument("--force", action="store_true", help="overwrite weights that are there")
    parser.add_argument(
        "--checkpoint", type=path, help="file to resume from, if it exists, and to save to; a folder with --sigma all"
    )
    parser.add_argument("--save-every", type=whole, default=500, metavar="STEPS", help="steps between checkpoints")
    parser.add_argument("--validate-every", type=whole, default=500, metavar="STEPS", help="steps between validations")
    parser.add_argument("--threads", type=whole, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument("--device", default="cpu", help="where to train: cpu, cuda, cuda:1, …")
    readers: dict[str, Any] = {"sigma": number_or("all"), "lipschitz": number_or("none")}
    readers |= {"lowest_sigma": number_or_share, "start": path}
    usual: dict[type, Any] = {int: whole, float: number_or()}
    for field in fields(TrainingSettings):
        option = "--" + field.name.replace("_", "-")
        kind = readers.get(field.name, usual.get(type(field.default), str))
        parser.add_argument(option, type=kind, default=field.default, help=HELP[field.name])
    return parser.parse_args(arguments)


def whole(text: str) -> int:
    """A whole number; in what range, the settings say."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number") from None


def number_or(*words: str) -> Callable[[str], float | str]:
    """One of the words, or a number."""

    def convert(text: str) -> float | str:
        try:
            return text if text in words else float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(" nor ".join([f"{text!r} isn't a number", *words])) from None

    return convert


def number_or_share(text: str) -> float | str:
    """A number, or a percentage as it was written."""
    value = number_or()(text.removesuffix("%"))
    return text if text.endswith("%") else value


def start_file(options: argparse.Namespace, sigma: float) -> Path | None:
    """The weights to go on from, for one noise level."""
    if options.start is None or not options.start.is_dir():
        given: Path | None = options.start
        return given
    name = "conditional" if options.network == "dncnn-conditional" else f"sigma{sigma:g}"
    return Path(options.start) / f"dncnn_{name}.safetensors"


def settings_of(options: argparse.Namespace) -> list[TrainingSettings]:
    """What is to be trained, one after the other.

    Raises:
        ValueError, FileNotFoundError: settings that can't be, or weights to start from that aren't there.
    """
    given = {field.name: getattr(options, field.name) for field in fields(TrainingSettings)}
    if given["lipschitz"] == "none":
        given["lipschitz"] = None
    sigmas = ALL_SIGMAS if options.sigma == "all" else (options.sigma,)
    if len(sigmas) > 1 and options.network == "dncnn-conditional":
        raise ValueError(
            "--sigma all is one network a level, a conditional one is for many. Pass its highest level instead."
        )
    return [TrainingSettings(**{**given, **of_sigma(options, sigma)}) for sigma in sigmas]


def of_sigma(options: argparse.Namespace, sigma: float) -> dict[str, Any]:
    """The settings that depend on the noise level."""
    lowest, start = options.lowest_sigma, start_file(options, sigma)
    if isinstance(lowest, str):
        lowest = sigma * float(lowest.removesuffix("%")) / 100
    return {
        "sigma": sigma,
        "lowest_sigma": lowest,
        "start": None if start is None else load_weights(start)[1]["sha256"],
    }


def check(options: argparse.Namespace) -> None:
    """Refuse, before training, what every network would be refused for.

    Raises:
        ValueError, OSError: something can't be, with what to do about it.
    """
    for name in ("threads", "save_every", "validate_every"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)} must be at least 1.")
    try:
        device = torch.device(options.device)
    except RuntimeError:
        raise ValueError(f"--device {options.device} isn't known. Pass cpu, cuda, or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {options.device} can't train. Pass cpu, cuda, or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"--device {options.device} isn't there: torch finds {torch.cuda.device_count()} GPUs. Pass cpu or another."
        )
    file: Path | None = options.checkpoint
    if file is not None and file.is_dir() and options.sigma != "all":
        raise ValueError(f"--checkpoint {file} is a folder. Pass a file in it; a folder is for --sigma all.")
    if file is not None and file.is_file() and options.sigma == "all":
        raise ValueError(f"--checkpoint {file} is a file. Pass a folder, for a file of each --sigma.")
    if options.validation is not None and options.validation.resolve() == options.images.resolve():
        raise ValueError(
            f"--validation is the training folder {options.images}: PSNR on images trained on says nothing. "
            "Pass a folder of other images, or none."
        )


def prepare(options: argparse.Namespace) -> list[Job]:
    """Everything that can be read and checked before training.

    Raises:
        ValueError, OSError: something can't be, with what to do about it.
    """
    several = settings_of(options)
    check(options)
    several = [settings for settings in several if wanted(options, settings)]
    images = load_images(options.images)
    validation = [] if options.validation is None else load_images(options.validation)
    torch.set_num_threads(options.threads)
    generated = make_phantoms(options.phantoms, PHANTOM_SIZE, PHANTOM_SEED)
    pyramid = training_images(images + generated, options.patch)
    jobs = []
    for settings in several:
        start = start_file(options, settings.sigma)
        trainer = Trainer(settings, pyramid, None if start is None else load_weights(start)[0], options.device)
        file = checkpoint_file(options, settings)
        if file is not None and file.exists():
            trainer.resume(file)
        jobs.append(Job(options, trainer, len(images), validation, weights_file(options, settings), file))
    # The last, so that what is refused leaves no folders.
    places = {options.output: None} | {job.checkpoint.parent: None for job in jobs if job.checkpoint is not None}
    require_writable(list(places))
    return jobs


def weights_file(options: argparse.Namespace, settings: TrainingSettings) -> Path:
    return Path(options.output) / f"{weights_name(settings)}.safetensors"


def checkpoint_file(options: argparse.Namespace, settings: TrainingSettings) -> Path | None:
    checkpoint: Path | None = options.checkpoint
    if checkpoint is None or options.sigma != "all":
        return checkpoint
    return checkpoint / f"{weights_name(settings)}.pt"


def wanted(options: argparse.Namespace, settings: TrainingSettings) -> bool:
    """Whether it is to be trained: of all, those that are there already are kept.

    Raises:
        FileExistsError: the only one asked for is there.
    """
    found = existing_files(weights_file(options, settings))
    if options.force or not found:
        return True
    if options.sigma != "all":
        raise FileExistsError(f"{found[0]} exists and isn't overwritten. Pass another --output, or --force.")
    print(f"{found[0]} exists and is kept; --force trains it again.", flush=True)
    return False


def require_writable(folders: Sequence[Path]) -> None:
    """Make the folders, and a file in each for a moment: better to fail now than after hours.

    Raises:
        OSError: one can't be; none is left that wasn't there.
    """
    made: list[Path] = []
    for folder in folders:
        try:
            for place in (*reversed(folder.parents), folder):
                if not place.exists():
                    place.mkdir()
                    made.append(place)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            for place in reversed(made):
                place.rmdir()
            raise OSError(f"{folder} can't be written to ({error.strerror}). Pass another folder.") from error


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM instead of breaking off in the middle of a step; a second one does break."""
    requests: list[int] = []

    def note(number: int, frame: object) -> None:
        requests.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(job: Job) -> None:
    """Train to the last step, with progress, checkpoints and validation.

    Raises:
        Stopped: the user asked for it; the checkpoint is saved.
    """
    trainer, options = job.trainer, job.options
    preview = job.validation[:: math.ceil(len(job.validation) / PREVIEW_IMAGES)] if job.validation else []

    with stop_requests() as requests, TrainingProgress(trainer.step, trainer.settings.steps) as progress:

        def report(step: int, loss: float) -> None:
            last, stopping = step == trainer.settings.steps, bool(requests)
            progress.step(step, loss)
            if job.checkpoint is not None and (stopping or last or step % options.save_every == 0):
                _save(trainer, job.checkpoint)
            if stopping:
                raise Stopped
            if preview and not last and step % options.validate_every == 0:
                network, sigma = tested(trainer.network, trainer.settings)[-1]
                progress.validation(fmean(after for _, after in validate(network.cpu(), preview, sigma)))
                trainer.network.to(trainer.device)

        trainer.run(report)


def _save(trainer: Trainer, checkpoint: Path) -> None:
    """Write the checkpoint; if that can't be, training goes on, and says so."""
    try:
        trainer.save(checkpoint)
    except OSError as error:
        print(f"warning: step {trainer.step} isn't kept; the checkpoint before is: {said(error)}", file=sys.stderr)


def tested(network: DnCNN | ConditionalDnCNN, settings: TrainingSettings) -> list[tuple[DnCNN, float]]:
    """The networks that are measured and their noise: a conditional one at all usual levels it was trained for."""
    if isinstance(network, DnCNN):
        return [(network, settings.sigma)]
    levels = [level for level in ALL_SIGMAS if (settings.lowest_sigma or 0) <= level <= settings.sigma]
    return [(network.at(level / 255), level) for level in levels or [settings.sigma]]


def measured(network: DnCNN, images: list[Tensor], folder: Path, sigma: float) -> dict[str, Any]:
    """PSNR on the validation images, as the card says it."""
    before, after = zip(*validate(network, images, sigma), strict=True)
    return {
        "sigma": sigma,
        "folder": folder.resolve().name,
        "count": len(images),
        "psnr_input": round(fmean(before), 4),
        "psnr_output": round(fmean(after), 4),
        "psnr_output_of_each": [round(value, 4) for value in after],
    }


def finish(job: Job) -> dict[str, Any]:
    """Make the bound exact, measure, and write the three files; return their facts."""
    trainer, options, settings = job.trainer, job.options, job.trainer.settings
    if settings.lipschitz is not None:
        print("Making the Lipschitz bound exact …", flush=True)
    product, start = trainer.finish(), start_file(options, settings.sigma)
    validation = []
    if job.validation:
        print(f"Measuring PSNR on {len(job.validation)} validation images …", flush=True)
        for network, sigma in tested(trainer.network, settings):
            validation.append(measured(network, job.validation, options.validation, sigma))
    facts = {
        "sigma": settings.sigma,
        "images": {"folder": options.images.resolve().name, "count": job.images, "phantoms": settings.phantoms},
        "settings": asdict(settings),
        "start": None if start is None else {"name": start.stem, "sha256": settings.start},
        "lipschitz": {"product": product, "bound": settings.lipschitz},
        "validation": validation if settings.conditional else next(iter(validation), None),
        "seconds": trainer.seconds,
        "device": torch.cuda.get_device_name(trainer.device) if trainer.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    return save_weights(trainer.network, job.weights, facts, overwrite=options.force)


def say_result(job: Job, facts: dict[str, Any]) -> None:
    print(f"{job.weights}: Lipschitz value {facts['lipschitz']['product']:.6f}", end="")
    found = facts["validation"]
    for validation in found if isinstance(found, list) else [found] if found else []:
        print(", σ = {sigma:g}: PSNR {psnr_input:.2f} dB → {psnr_output:.2f} dB".format(**validation), end="")
    print(f", sha256 {facts['sha256'][:16]}…", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; the exit code is 2 for input that can't be, 130 after a stop."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        jobs = prepare(options)
    except (ValueError, OSError) as error:
        return refused(error)
    for job in jobs:
        if len(jobs) > 1:
            print(f"{job.weights.stem}:", flush=True)
        try:
            train(job)
            facts = finish(job)
        except (Stopped, KeyboardInterrupt):
            kept = "Nothing is saved: there was no --checkpoint."
            if job.checkpoint is not None:
                kept = f"{job.checkpoint} is the last checkpoint: the same command goes on from it."
            print(f"Stopped after step {job.trainer.step}. {kept}")
            return 130
        except (FloatingPointError, OSError) as error:
            return failed(error)
        say_result(job, facts)
    return 0
