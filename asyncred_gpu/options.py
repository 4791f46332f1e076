"""The options of a reconstruction on the command line: what a word must look like is checked here.

What the values must be together is checked by whoever uses them, with the same kind of message.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from .method import METHODS
from .settings import PRIORS

SIMULATED_ONLY = ("angles", "detectors", "noise_db")


class Parser(argparse.ArgumentParser):
    """One line for an error, not the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with status 2."""
        self.exit(2, f"error: {message}. See --help.\n")


def begin(arguments: Sequence[str] | None) -> tuple[str, ...]:
    """A command's words, from its arguments or the command line; and a terminal without ‖ shows ? instead."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return tuple(sys.argv[1:] if arguments is None else arguments)


def reconstruct_parser() -> Parser:
    """Every option of `reconstruct`; those left at None take the solver's own default."""
    parser = Parser(
        prog="reconstruct_ct.py",
        description="Reconstruct a CT slice by asynchronous RED. Without --input: a simulated scan of an eye's retina.",
    )
    add_data_options(parser.add_argument_group("data"))
    _method_options(parser.add_argument_group("method"))
    _run_options(parser.add_argument_group("run"))
    return parser


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options, and that they go together: a scan isn't simulated, so it takes no noise."""
    parser = reconstruct_parser()
    options = parser.parse_args(arguments)
    check_data_options(parser, options)
    if options.tuning is not None and "auto" not in (options.tau, options.sigma):
        parser.error(
            "--tuning is how --tau auto and --sigma auto choose, and neither is given. Pass one, or leave it out"
        )
    return options


def check_data_options(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse what shapes a simulation for a measured scan, and the other way round."""
    if options.input is not None:
        given = [f"--{name.replace('_', '-')}" for name in SIMULATED_ONLY if getattr(options, name) is not None]
        if given:
            parser.error(
                f"{', '.join(given)} shape the simulated scan, but --input is a measured one. Leave them out, or use "
                "--every to take fewer projections"
            )
    elif options.slice is not None or options.center == "auto":
        parser.error("--slice and --center auto are for a measured scan. Pass --input FILE.h5")


def add_data_options(group: argparse._ArgumentGroup) -> None:
    """Of a CT scan, simulated or measured."""
    group.add_argument("--input", type=Path, metavar="FILE.h5", help="a Data Exchange scan")
    group.add_argument("--slice", type=whole(0), help="row of the scan [0]")
    group.add_argument("--center", type=number_or("auto"), help="rotation axis in detectors, or auto [scan: auto]")
    group.add_argument("--every", type=whole(1), default=1, help="use every n-th projection only [1]")
    group.add_argument("--size", type=whole(1), help="pixels a side [800; scan: its detectors]")
    group.add_argument("--angles", type=whole(1), help="simulated projections over 180 degrees [180]")
    group.add_argument("--detectors", type=whole(1), help="simulated detectors [the image's diagonal]")
    group.add_argument("--noise-db", type=number(), help="input SNR of the simulated scan in dB [70]")


def _method_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--tau",
        type=number_or("auto", above=0),
        help="strength of the regularization, or auto: chosen from the measurements [0.0025; scan: 0.05; half of that "
        "with --prior pnp]",
    )
    group.add_argument("--denoiser", default="dncnn", help="a shipped denoiser, or a file of weights [dncnn]")
    group.add_argument(
        "--sigma",
        type=number_or("auto", above=0),
        default=5.0,
        help="noise level of the shipped denoiser, of 255, or auto: chosen from the measurements [5]",
    )
    group.add_argument(
        "--tuning",
        choices=["gcv", "held-out", "discrepancy"],
        help="how auto chooses: by generalized cross-validation, by predicting left-out angles, or by a residual as "
        "large as the noise [gcv]",
    )
    group.add_argument("--sweeps", type=number(above=0), default=12.0, help="sweeps at most [12]")
    group.add_argument("--tol", type=number(above=0), help="stop at this ‖G‖²/‖G₀‖²")
    group.add_argument(
        "--time-limit", type=number(above=0), help="stop after these seconds, a search for auto not among them"
    )
    group.add_argument("--minibatch", type=whole(1), help="angles a gradient uses [all]")
    group.add_argument(
        "--method",
        choices=METHODS,
        default="fast",
        help="fast, or paper: exactly what the paper's theorems cover; the image is the same in the end [fast]",
    )
    group.add_argument(
        "--step",
        type=number_or("preconditioned", "block", "global", "theory", above=0),
        help="preconditioned, block, global, theory, or a number [fast: preconditioned; paper: theory]",
    )
    group.add_argument(
        "--momentum",
        type=number(least=0),
        help="heavy ball of a block [fast: 0.5 with data updates, else block 0.8, preconditioned 0.3, 0 with over half "
        "of the blocks in flight; paper: 0]",
    )
    group.add_argument(
        "--continuation",
        type=number(least=1),
        help="the denoiser begins so much stronger, and weakens every sweep, to a quarter, or to half without data "
        "updates [fast: 4, without data updates 1 to 16, by the start; paper: 1]",
    )
    group.add_argument(
        "--data-updates",
        type=whole(0),
        help="updates of the data term alone after each that asks the denoiser "
        "[fast: 3, with --prior pnp 4, more where tau is small; else 0]",
    )
    group.add_argument(
        "--prior",
        choices=PRIORS,
        default="red",
        help="red, or pnp: to plug-and-play ADMM's solution instead, often higher at half of red's tau [red]",
    )
    group.add_argument(
        "--intensity-scale", type=number_or("auto", above=0), help="what counts as 1 to the denoiser, or auto [auto]"
    )
    group.add_argument("--nonnegative", action="store_true", help="clip at zero")
    group.add_argument(
        "--field-of-view",
        choices=["circle", "none"],
        help="pixels outside are zero, so the object must lie inside [none; scan: circle]",
    )


def _run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--workers", type=whole(1), help="updates at a time [cores]")
    group.add_argument(
        "--max-staleness", type=whole(0), help="commits between a read and its commit at most [max(4 workers, blocks)]"
    )
    group.add_argument(
        "--order",
        choices=["free", "ordered", "sync"],
        default="free",
        help="ordered: the same image each time; sync: a barrier a round [free]",
    )
    group.add_argument("--block", type=block_shape, help="ROWSxCOLS of a block, or one number [chosen]")
    group.add_argument("--blocks-per-launch", type=whole(1), help="updates a worker takes at a time [1]")
    group.add_argument(
        "--precision",
        choices=["auto", "float32", "tf32", "float16", "bfloat16"],
        default="auto",
        help="of the denoiser; tf32 and float16 on a GPU only [auto]",
    )
    group.add_argument("--device", type=devices, default="auto", help="auto, cpu, cuda, cuda:N, cuda:N,cuda:M… [auto]")
    group.add_argument("--seed", type=whole(0), default=0, help="of the noise and of the order of blocks [0]")
    group.add_argument("--output", type=Path, metavar="FOLDER", help="new or empty folder [outputs/NAME-TIME]")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")


def devices(text: str) -> str | list[str]:
    """One device, or several with commas between them."""
    names = text.split(",")
    return names[0] if len(names) == 1 else names


def whole(least: int) -> Callable[[str], int]:
    """A whole number, `least` or more."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number, {least} or more") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small, it takes {least} or more")
        if value >= 2**31:
            raise argparse.ArgumentTypeError(f"{value} is too large, it takes less than 2^31")
        return value

    return convert


def number(*, above: float = -math.inf, least: float = -math.inf) -> Callable[[str], float]:
    """A finite number in the range."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} isn't a number") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text} isn't finite")
        if value <= above or value < least:
            bound = f"more than {above:g}" if value <= above else f"{least:g} or more"
            raise argparse.ArgumentTypeError(f"{value:g} is out of range, it takes {bound}")
        return value

    return convert


def number_or(*words: str, above: float = -math.inf) -> Callable[[str], float | str]:
    """One of the words, or a finite number in the range."""
    convert_number = number(above=above)

    def convert(text: str) -> float | str:
        if text in words:
            return text
        try:
            return convert_number(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{error}, nor {' or '.join(words)}") from None

    return convert


def block_shape(text: str) -> tuple[int, int]:
    """(rows, cols) from "200x150" or "200"."""
    parts = text.lower().split("x")
    try:
        sides = [int(part) for part in parts]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a block, such as 200x200 or 200")
    return sides[0], sides[-1]
