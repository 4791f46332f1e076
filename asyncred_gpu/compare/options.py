"""The options of a comparison: those of the data are reconstruct_ct.py's, and `--problem cs` has a few of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..options import Parser, add_data_options, block_shape, check_data_options, devices, number, whole

# What shapes a CT scan only.
CT_ONLY = ("input", "slice", "center", "angles", "detectors", "every", "field_of_view")
CS_ONLY = ("ratio",)


def compare_parser() -> Parser:
    """Every option; None takes a default that depends on the problem or on the machine."""
    parser = Parser(
        prog="compare_modes.py",
        description="Compare RED on the GPU and the CPU: asynchronous, with a barrier, serial, and by full gradients.",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--problem",
        choices=["ct", "cs"],
        default="ct",
        help="cs: the retina by block compressed sensing, 240 pixels a side in blocks of 80, 30 dB [ct]",
    )
    data.add_argument("--ratio", type=number(above=0), help="cs: measurements a pixel [0.7]")
    add_data_options(data)
    _add_method_options(parser.add_argument_group("method"))
    _add_run_options(parser.add_argument_group("run"))
    return parser


def parse(words: list[str]) -> argparse.Namespace:
    """The options, and that those of the data go together."""
    parser = compare_parser()
    options = parser.parse_args(words)
    cs = options.problem == "cs"
    foreign = CT_ONLY if cs else CS_ONLY
    given = [f"--{name.replace('_', '-')}" for name in foreign if getattr(options, name) != parser.get_default(name)]
    if given:
        parser.error(f"{', '.join(given)} doesn't go with --problem {options.problem}. Leave it out")
    check_data_options(parser, options)
    return options


def _add_method_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tau", type=number(above=0), help="strength of the regularization [0.0025; scan: 0.05; cs: 1]")
    group.add_argument("--denoiser", default="dncnn", help="a shipped denoiser, or a file of weights [dncnn]")
    group.add_argument(
        "--sigma", type=number(above=0), default=5.0, help="noise level of the shipped denoiser, of 255 [5]"
    )
    group.add_argument("--sweeps", type=whole(1), default=20, help="sweeps of every mode [20]")
    group.add_argument("--sg", type=whole(1), metavar="N", help="also Async-RED with minibatches of N angles or rows")
    group.add_argument(
        "--momentum",
        type=number(least=0),
        default=0.8,
        help="heavy ball, with up to half of the blocks in flight [0.8]",
    )
    group.add_argument(
        "--field-of-view",
        choices=["circle", "none"],
        help="pixels outside are zero, so the object must lie inside [none; scan: circle]",
    )


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--block", type=block_shape, help="ROWSxCOLS of a block, or one number [chosen; cs: 80]")
    group.add_argument("--pool", type=whole(1), metavar="N", help="workers of the modes on the CPU [cores]")
    group.add_argument(
        "--workers", type=whole(1), nargs="+", metavar="N", help="on the CPU, for the speed-up [1, 2, 4 … cores]"
    )
    group.add_argument("--speedup-sweeps", type=whole(0), default=3, help="sweeps for the speed-up, 0: none [3]")
    group.add_argument(
        "--precision",
        choices=["auto", "float32", "tf32", "float16", "bfloat16"],
        default="auto",
        help="of the denoiser; auto: the CPU's, on a GPU too if it has it [auto]",
    )
    group.add_argument("--device", type=devices, default="auto", help="auto, cpu, cuda, cuda:N, cuda:N,cuda:M… [auto]")
    group.add_argument("--seed", type=whole(0), default=0, help="of the data and of the order of blocks [0]")
    group.add_argument("--output", type=Path, metavar="FOLDER", help="new or empty folder [outputs/compare-NAME-TIME]")
