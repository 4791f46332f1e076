"""The .cu files of this folder: their text for a device's compiler, and each kernel's arguments, read from there."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
# The tables (Image, Block, Task, ParallelRays, FanRays) travel as bytes.
_ELEMENTS = {
    "float": torch.float32,
    "int": torch.int32,
    "signed char": torch.int8,
    "Float16": torch.float16,
    "Bfloat16": torch.bfloat16,
}
_KERNEL = re.compile(r"^KERNEL (\w+)\(([^)]*)\)", re.MULTILINE)
_PARAMETER = re.compile(r"(?:const )?([\w ]+?) (\*?)(\w+)( /\*or null\*/)?")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel: `kind` is its C type, that of its elements if it is a pointer."""

    name: str
    kind: str
    pointer: bool
    nullable: bool

    def __str__(self) -> str:
        return f"{self.kind} {'*' * self.pointer}{self.name}"


@dataclass(frozen=True)
class Signature:
    """A kernel's name and parameters."""

    name: str
    parameters: tuple[Parameter, ...]

    def values(self, arguments: tuple[Tensor | int | float | None, ...], device: int) -> list[int | float]:
        """The arguments as addresses and numbers.

        Args:
            device: the index of the CUDA device that the tensors must lie on, or −1 for the CPU.
        Raises:
            TypeError: too few or too many arguments, or one of another kind.
            ValueError: a tensor that isn't contiguous, or lies on another device; an int beyond 32 bits.
        """
        if len(arguments) != len(self.parameters):
            raise TypeError(
                f"kernel {self.name} got {len(arguments)} arguments, it takes {len(self.parameters)}: "
                f"{', '.join(map(str, self.parameters))}."
            )
        return [
            self._address(parameter, argument, device) if parameter.pointer else self._number(parameter, argument)
            for parameter, argument in zip(self.parameters, arguments, strict=True)
        ]

    def _address(self, parameter: Parameter, argument: Tensor | int | float | None, device: int) -> int:
        if argument is None and parameter.nullable:
            return 0
        element = _ELEMENTS.get(parameter.kind)
        if not isinstance(argument, Tensor) or (element is not None and argument.dtype is not element):
            raise self._wrong(parameter, argument)
        if not (argument.is_cpu if device < 0 else argument.get_device() == device):
            raise ValueError(
                f"kernel {self.name}: {parameter.name} lies on {argument.device}, the kernel runs on "
                f"{'the CPU' if device < 0 else f'cuda:{device}'}. Move it there first."
            )
        if not argument.is_contiguous():
            raise ValueError(
                f"kernel {self.name}: {parameter.name} isn't contiguous (shape {tuple(argument.shape)}, strides "
                f"{argument.stride()}). Pass .contiguous(), or a buffer of its own."
            )
        return argument.data_ptr()

    def _number(self, parameter: Parameter, argument: Tensor | int | float | None) -> int | float:
        if parameter.kind == "int" and type(argument) is int:
            if not -(2**31) <= argument < 2**31:
                raise ValueError(f"kernel {self.name}: {parameter.name}={argument} doesn't fit into 32 bits.")
            return argument
        if parameter.kind == "float" and isinstance(argument, int | float) and not isinstance(argument, bool):
            return float(argument)
        raise self._wrong(parameter, argument)

    def _wrong(self, parameter: Parameter, argument: object) -> TypeError:
        found = f"a tensor of {argument.dtype}" if isinstance(argument, Tensor) else repr(argument)
        return TypeError(f"kernel {self.name}: {found} isn't its argument {parameter}.")


def kernel_files() -> list[Path]:
    """Every .cu file, in alphabetical order; each holds one kernel, named as the file."""
    return sorted(FOLDER.glob("*.cu"))


def kernel_headers() -> list[Path]:
    """Every header that they include."""
    return sorted(set(FOLDER.glob("*.h")) - {FOLDER / "lanes.h"})  # which is the host projector's


def signature(file: Path) -> Signature:
    """The kernel in a .cu file.

    Raises:
        ValueError: none, several, or one of another name.
    """
    found = _KERNEL.findall(file.read_text(encoding="utf-8"))
    if [name for name, _ in found] != [file.stem]:
        raise ValueError(f"{file} holds the kernels {[name for name, _ in found]}, not just {file.stem}.")
    return Signature(file.stem, tuple(_parameter(text) for text in found[0][1].split(",")))


def _parameter(text: str) -> Parameter:
    matched = _PARAMETER.fullmatch(" ".join(text.split()))
    if matched is None:
        raise ValueError(f"{text!r} isn't a parameter this reader knows: write it as `const float *name`.")
    kind, star, name, null = matched.groups()
    return Parameter(name, kind, bool(star), bool(null))


def device_code(file: Path) -> str:
    """A .cu file for a device's compiler, whose errors name the file and its lines.

    Begins with a checksum of the headers: CuPy looks for a kept build by this text alone, not by what it includes.
    """
    content = hashlib.sha256()
    for header in sorted(FOLDER.glob("*.h")):
        content.update(header.read_bytes())
    return f'// {content.hexdigest()}\n#line 1 "{file.name}"\n{file.read_text(encoding="utf-8")}'
