"""How a setting is written, on the command line and in a YAML file alike, and what is said of one that can't be.

A form is an annotation: it reads text into a value, and says how the value is shown in `--help`.
"""

from __future__ import annotations

import argparse
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo

from ..choices import CRITERIA, METHODS, ORDERS, PRECISIONS, PRIORS, Criterion, MethodName, Order, Precision, Prior
from ..options import block_shape, devices, number, number_or, whole

# Of words in --help; a longer one leaves the descriptions no room, and they name the words themselves.
LONGEST_LIST = 18
# Of a file or a folder, on the file systems there are.
LONGEST_NAME = 255


FILE_KINDS = ("tif", "npy", "h5")
LOG_KINDS = ("jsonl", "tensorboard")


@dataclass(frozen=True)
class Form:
    """metavar: what stands for the value in `--help`. words: what completes it in a shell."""

    metavar: str
    words: tuple[str, ...] = ()


def _reader(convert: Callable[[str], Any]) -> BeforeValidator:
    """From text, or from what YAML made of it."""

    def read(value: Any) -> Any:
        if value is None or isinstance(value, tuple | Path):
            return value
        try:
            if isinstance(value, list):  # [200, 150] for 200x150, [cuda:0, cuda:1] for cuda:0,cuda:1
                return convert(_joined(value, convert))
            return convert(value if isinstance(value, str) else repr(value))
        except argparse.ArgumentTypeError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(read)


def _joined(values: list[Any], convert: Callable[[str], Any]) -> str:
    return ("x" if convert is block_shape else ",").join(str(value) for value in values)


def one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    """One of a few words."""

    def convert(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{text!r} isn't known, it takes one of {', '.join(words)}")
        return text

    return convert


def fraction(text: str) -> float:
    """A share, more than 0 and at most 1."""
    value = number(above=0)(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{value:g} is out of range, it takes 1 or less")
    return value


def slice_range(text: str) -> str:
    """FIRST:END or FIRST:END:STEP, each of which may be left out, as in Python."""
    if re.fullmatch(r"\d*:\d*(:[1-9]\d*)?", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a range of slices, such as 0:512 or 0:512:4")
    return text


def several(convert: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Values with commas between them."""
    return lambda text: tuple(convert(part.strip()) for part in text.split(","))


def different(convert: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Values with commas between them, none of them twice."""

    def read(text: str) -> tuple[Any, ...]:
        values = several(convert)(text)
        twice = [value for value in values if values.count(value) > 1]
        if twice:
            raise argparse.ArgumentTypeError(f"{text!r} names {twice[0]} twice")
        return values

    return read


def path(text: str) -> Path:
    """A path that could be one."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a path")
    longest = max(text.split("/"), key=len)
    if len(longest.encode()) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"{longest[:20]}… isn't a path: a name has {LONGEST_NAME} bytes at most")
    return Path(text).expanduser()


def _choice(words: tuple[str, ...]) -> tuple[BeforeValidator, Form]:
    listed = "|".join(words)
    return _reader(one_of(words)), Form(listed if len(listed) <= LONGEST_LIST else "WORD", words)


_ORDER, _METHOD, _PRIOR = _choice(ORDERS), _choice(METHODS), _choice(PRIORS)
_PRECISION, _CRITERION = _choice(PRECISIONS), _choice(CRITERIA[:-1])
_VALUES = _choice(("counts", "transmission", "line-integrals"))
_FIELD, _PROBLEM = _choice(("circle", "none")), _choice(("ct", "cs"))

Whole0 = Annotated[int, _reader(whole(0)), Form("N")]
Whole1 = Annotated[int, _reader(whole(1)), Form("N")]
Centers = Annotated[int, _reader(whole(1, 100)), Form("N")]
Real = Annotated[float, _reader(number()), Form("X")]
Positive = Annotated[float, _reader(number(above=0)), Form("X")]
NotNegative = Annotated[float, _reader(number(least=0)), Form("X")]
Fraction = Annotated[float, _reader(fraction), Form("X")]
AtLeast1 = Annotated[float, _reader(number(least=1)), Form("X")]
RealOrAuto = Annotated[float | str, _reader(number_or("auto")), Form("X|auto", ("auto",))]
PositiveOrAuto = Annotated[float | str, _reader(number_or("auto", above=0)), Form("X|auto", ("auto",))]
StepRule = Annotated[
    float | str,
    _reader(number_or("preconditioned", "block", "global", "theory", above=0)),
    Form("RULE|X", ("preconditioned", "block", "global", "theory")),
]
Numbers = Annotated[list[float], _reader(several(number(above=0))), Form("X,X…")]
Wholes = Annotated[list[int], _reader(several(whole(1))), Form("N,N…")]
BlockShape = Annotated[tuple[int, int], _reader(block_shape), Form("ROWSxCOLS")]
SliceRange = Annotated[str, _reader(slice_range), Form("FIRST:END")]
LogKinds = Annotated[tuple[str, ...], _reader(different(one_of(LOG_KINDS))), Form("KIND,…", LOG_KINDS)]
FileKinds = Annotated[tuple[str, ...], _reader(different(one_of(FILE_KINDS))), Form("KIND,…", FILE_KINDS)]
Devices = Annotated[str | list[str], _reader(devices), Form("DEVICES", ("auto", "cpu", "cuda"))]
FilePath = Annotated[Path, _reader(path), Form("PATH")]
Word = Annotated[str, Form("WORD")]
OrderWord = Annotated[Order, _ORDER[0], _ORDER[1]]
MethodWord = Annotated[MethodName, _METHOD[0], _METHOD[1]]
PriorWord = Annotated[Prior, _PRIOR[0], _PRIOR[1]]
PrecisionWord = Annotated[Precision, _PRECISION[0], _PRECISION[1]]
CriterionWord = Annotated[Criterion, _CRITERION[0], _CRITERION[1]]
ValuesWord = Annotated[str, _VALUES[0], _VALUES[1]]
ProblemWord = Annotated[str, _PROBLEM[0], _PROBLEM[1]]
FieldOfViewWord = Annotated[str, _FIELD[0], _FIELD[1]]


def setting(default: Any, help: str, shown: str) -> Any:
    """A field of a settings class.

    Args:
        default: None where what it stands for depends on the rest.
        help: a phrase. shown: the default, for people.
    """
    return Field(default=default, description=help, json_schema_extra={"shown": shown})


def form_of(field: FieldInfo) -> Form | None:
    """How the field is written; None for a switch."""
    found = _forms(field.metadata, field.annotation)
    return found[0] if found else None


def _forms(metadata: list[Any], annotation: Any) -> list[Form]:
    here = [item for item in metadata if isinstance(item, Form)]
    if here or annotation is None:
        return here
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _forms(more, inner)
    if get_origin(annotation) in (Union, types.UnionType):
        return [form for part in get_args(annotation) for form in _forms([], part)]
    return []
