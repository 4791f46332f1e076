"""Train a DnCNN whose residual has a bounded Lipschitz constant; write weights, facts (JSON) and model card (Markdown).

    python scripts/train_denoiser.py --images FOLDER --validation FOLDER --checkpoint checkpoints/sigma5.pt

With --checkpoint a run that was stopped (Ctrl-C too) goes on where it was, to the same weights.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from asyncred_gpu.models.images import load_images
from asyncred_gpu.models.training import Trainer, TrainingSettings, validate
from asyncred_gpu.models.weights_io import existing_files, save_weights
from training_progress import TrainingProgress

PREVIEW_IMAGES = 8  # of the validation images, while training; all of them at the end

HELP = {
    "sigma": "noise, in grey levels of 255",
    "steps": "optimizer steps",
    "patch": "side of a training patch, pixels",
    "batch": "patches a step",
    "learning_rate": "of Adam, at its highest",
    "lipschitz": "bound of the residual's Lipschitz constant",
    "clip_every": "steps between clippings of the singular values",
    "seed": "of the first weights, the patches and the noise",
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


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Train a DnCNN denoiser with a Lipschitz bound.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of clean images")
    parser.add_argument("--validation", type=Path, help="folder of other clean images, to measure PSNR on")
    parser.add_argument("--output", type=Path, default=Path("models/weights"), help="folder the weights are written to")
    parser.add_argument("--force", action="store_true", help="overwrite weights that are there")
    parser.add_argument("--checkpoint", type=Path, help="file to resume from, if it exists, and to save to")
    parser.add_argument("--save-every", type=int, default=500, metavar="STEPS", help="steps between checkpoints")
    parser.add_argument("--validate-every", type=int, default=500, metavar="STEPS", help="steps between validations")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    for field in fields(TrainingSettings):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), default=field.default, help=HELP[field.name])
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> Job:
    """Check everything that can be checked before training.

    Raises:
        ValueError, OSError: something can't be, with what to do about it.
    """
    settings = TrainingSettings(**{field.name: getattr(options, field.name) for field in fields(TrainingSettings)})
    for name in ("threads", "save_every", "validate_every"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(options, name)} must be at least 1.")
    weights = options.output / f"dncnn_sigma{settings.sigma:g}.safetensors"
    if not options.force and (found := existing_files(weights)):
        raise FileExistsError(f"{found[0]} exists and isn't overwritten. Pass another --output, or --force.")
    if options.validation is not None and options.validation.resolve() == options.images.resolve():
        raise ValueError(
            f"--validation is the training folder {options.images}: PSNR on images trained on says nothing. "
            "Pass a folder of other images, or none."
        )
    images = load_images(options.images)
    validation = [] if options.validation is None else load_images(options.validation)
    for folder in (options.output, *([options.checkpoint.parent] if options.checkpoint else [])):
        require_writable(folder)
    torch.set_num_threads(options.threads)
    trainer = Trainer(settings, images)
    if options.checkpoint is not None and options.checkpoint.exists():
        trainer.resume(options.checkpoint)
    return Job(options, trainer, len(images), validation, weights)


def require_writable(folder: Path) -> None:
    """Make the folder, and a file in it for a moment: better to fail now than after hours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
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
    trainer, options, sigma = job.trainer, job.options, job.trainer.settings.sigma
    preview = job.validation[:: math.ceil(len(job.validation) / PREVIEW_IMAGES)] if job.validation else []

    with stop_requests() as requests, TrainingProgress(trainer.step, trainer.settings.steps) as progress:

        def report(step: int, loss: float) -> None:
            last, stopping = step == trainer.settings.steps, bool(requests)
            progress.step(step, loss)
            if options.checkpoint is not None and (stopping or last or step % options.save_every == 0):
                trainer.save(options.checkpoint)
            if stopping:
                raise Stopped
            if preview and not last and step % options.validate_every == 0:
                progress.validation(fmean(after for _, after in validate(trainer.network, preview, sigma)))

        trainer.run(report)


def finish(job: Job) -> dict[str, Any]:
    """Make the bound exact, measure, and write the three files; return their facts."""
    print("Making the Lipschitz bound exact …", flush=True)
    trainer, options = job.trainer, job.options
    product = trainer.finish()
    facts = {
        "sigma": trainer.settings.sigma,
        "images": {"folder": options.images.resolve().name, "count": job.images},
        "settings": asdict(trainer.settings),
        "lipschitz": {"product": product, "bound": trainer.settings.lipschitz},
        "validation": None,
        "seconds": trainer.seconds,
        "torch": torch.__version__,
    }
    if job.validation:
        print(f"Measuring PSNR on {len(job.validation)} validation images …", flush=True)
        before, after = zip(*validate(trainer.network, job.validation, trainer.settings.sigma), strict=True)
        facts["validation"] = {
            "folder": options.validation.resolve().name,
            "count": len(job.validation),
            "psnr_input": round(fmean(before), 4),
            "psnr_output": round(fmean(after), 4),
            "psnr_output_of_each": [round(value, 4) for value in after],
        }
    return save_weights(trainer.network, job.weights, facts, overwrite=options.force)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; the exit code is 2 for input that can't be, 130 after a stop."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        job = prepare(options)
    except (ValueError, OSError) as error:
        print(f"train_denoiser.py: {error}", file=sys.stderr)
        return 2
    try:
        train(job)
        facts = finish(job)
    except (Stopped, KeyboardInterrupt):
        kept = "Nothing is saved: there was no --checkpoint."
        if options.checkpoint is not None:
            kept = f"{options.checkpoint} is the last checkpoint: the same command goes on from it."
        print(f"Stopped after step {job.trainer.step}. {kept}")
        return 130
    except FloatingPointError as error:
        print(f"train_denoiser.py: {error}", file=sys.stderr)
        return 1
    print(f"{job.weights}: Lipschitz value {facts['lipschitz']['product']:.6f}", end="")
    if facts["validation"]:
        print(", PSNR {psnr_input:.2f} dB → {psnr_output:.2f} dB".format(**facts["validation"]), end="")
    print(f", sha256 {facts['sha256'][:16]}…")
    return 0


if __name__ == "__main__":
    sys.exit(main())
