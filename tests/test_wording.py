"""What the library says of its arguments, as the command line calls them; a path keeps its letters."""

from __future__ import annotations

import errno
import os
from dataclasses import fields

import pytest

from asyncred_gpu.cli.command import options_of
from asyncred_gpu.config.read import COMMANDS
from asyncred_gpu.models.training_settings import TrainingSettings
from asyncred_gpu.wording import OPTIONS, as_typed, said

SENTENCES = {
    "max_staleness=1 cannot hold. Pass max_staleness >= 2, or a smaller block_shape.": (
        "--max-staleness 1 cannot hold. Pass --max-staleness >= 2, or a smaller --block."
    ),
    "block_shape=(100, 80) is larger. Pass one of at most (64, 64), or None to have one chosen.": (
        "--block 100x80 is larger. Pass one of at most (64, 64), or leave it out."
    ),
    "device=['cuda:0', 'cuda:1'] can't be used. Pass device='cpu'.": (
        "--device cuda:0,cuda:1 can't be used. Pass --device cpu."
    ),
    "prior='pnp' with tau=\"auto\" isn't to be had": "--prior pnp with --tau auto isn't to be had",
    "Pass one σ (sigmas=[5]), or method='gcv'.": "Pass one σ (--sigmas 5), or --tuning gcv.",
    "method='paper' has none": "--method paper has none",
    "network='dncnn-conditional' with lowest_sigma=None: both.": (
        "--network dncnn-conditional with no --lowest-sigma: both."
    ),
    "center=-5.0 isn't on the detector. Pass center= as a number.": (
        "--center -5.0 isn't on the detector. Pass --center as a number."
    ),
    "num_workers was 2, is 3": "--workers was 2, is 3",
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_arguments_become_options(sentence: str) -> None:
    assert as_typed(sentence) == SENTENCES[sentence]


PATHS = ["tau=0.1/scan.h5 doesn't exist", "/a/tau=0.1 is a file", "tau=0.1.h5 is empty", "my-block_shape.h5 is empty"]


@pytest.mark.parametrize("sentence", PATHS)
def test_a_path_keeps_its_letters(sentence: str) -> None:
    assert as_typed(sentence) == sentence


def test_a_command_may_call_it_otherwise() -> None:
    error = ValueError("minibatch=99 is more than the 20 there are")
    assert said(error) == "--minibatch 99 is more than the 20 there are"
    assert said(error, {"minibatch": "sg"}) == "--sg 99 is more than the 20 there are"


def test_every_option_is_one() -> None:
    known = {option.opts[0][2:] for kind in COMMANDS.values() for option in options_of(kind)}
    known |= {field.name.replace("_", "-") for field in fields(TrainingSettings)}
    assert set(OPTIONS.values()) <= known


def test_the_systems_words_come_with_what_to_do() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run/fbp.tif")
    assert said(full) == "run/fbp.tif: No space left on device. Free some space."
    assert (
        said(PermissionError(errno.EACCES, "Permission denied", "a")) == "a: Permission denied. Check its permissions."
    )
    assert said(OSError("a can't be read.\nCopy it\tagain.")) == "a can't be read. Copy it again."
    assert "there isn't enough memory" in said(MemoryError())
