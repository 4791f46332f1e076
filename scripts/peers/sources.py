"""What a method's trials depend on: its runner, the modules that one imports, our package if they do, and its pins."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import asyncred_gpu
from asyncred_gpu import kernels, models

from .environments import PINS
from .methods import Method

HERE = Path(__file__).parent
# The last two lie beside the package in a checkout.
PACKAGES = tuple(Path(each.__file__).parent for each in (asyncred_gpu, kernels, models))
SUFFIXES = (".py", ".cpp", ".h", ".cu")
DIGITS = 8


def fingerprint(method: Method) -> str:
    """A few digits, others once any of it changes."""
    found = hashlib.sha256(repr((method.fixed, PINS.get(method.environment or ""))).encode())
    for path in sources(HERE, method.runner):
        found.update(path.read_bytes())
    return found.hexdigest()[:DIGITS]


def sources(folder: Path, runner: str) -> list[Path]:
    """The runner and what it imports of its folder, in turn; with all of our package if one of them imports that."""
    left, found, package = [folder / f"{runner}.py"], set(), False
    while left:
        path = left.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        text = path.read_text()
        left += [folder / f"{name}.py" for name in re.findall(r"^from \.(\w+) import", text, re.MULTILINE)]
        package |= re.search(r"^from asyncred_gpu", text, re.MULTILINE) is not None
    if package:
        for place in PACKAGES:
            found |= {path for path in place.rglob("*.*") if path.suffix in SUFFIXES}
    return sorted(found)
