"""What a word on the command line must look like: numbers in a range, blocks, devices.

What the values must be together is checked by whoever uses them, with the same kind of message.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


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


def devices(text: str) -> str | list[str]:
    """One device, or several GPUs with commas between them; whether they are there is asked later."""
    names = [name.strip() for name in text.split(",")]
    known = r"auto|cpu|cuda(:\d+)?" if len(names) == 1 else r"cuda:\d+"
    wrong = [name for name in names if re.fullmatch(known, name) is None]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"{wrong[0]!r} can't be, it takes auto, cpu, cuda, cuda:N, or several GPUs as cuda:0,cuda:1"
        )
    return names[0] if len(names) == 1 else names


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number, `least` or more."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number, {least} or more") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small, it takes {least} or more")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{value} is too large, it takes {most} or less")
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
            joint = "or" if "it takes" in str(error) else "nor"
            raise argparse.ArgumentTypeError(f"{error}, {joint} {' or '.join(words)}") from None

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
