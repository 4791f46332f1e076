"""A run's settings as they were used, for the YAML file beside its results: `--config` repeats the run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ruamel.yaml import YAML

from .. import __version__
from .settings import ReconstructSettings, Settings

if TYPE_CHECKING:
    from ..method import Method
    from ..operators.base import BlockOperator
    from ..settings import Parallelism


class Used(Protocol):
    """What is asked of a solver."""

    parallelism: Parallelism
    operator: BlockOperator
    devices: tuple[str, ...]
    precision: str | None
    tau: float


# Of the call, not of the result.
LEFT_OUT = {"output", "quiet", "resume", "verbose"}


def as_used(settings: ReconstructSettings, facts: Mapping[str, Any], solver: Used) -> dict[str, Any]:
    """What was given, and what stood for the defaults that depend on the data or the machine.

    How blocks move is left to `method` unless it was given, and what was "auto" is chosen again.

    Args:
        facts: of the problem: size, center, …
    """
    used = {name: facts[name] for name in ("size", "angles", "detectors", "noise_db") if name in facts}
    if settings.input is not None:
        used = {"size": facts["size"], "slice": facts["slice"]}
    used["center"] = facts["center"]
    parallelism = solver.parallelism
    used |= {"workers": parallelism.workers, "max_staleness": parallelism.max_staleness}
    used |= {"block": list(solver.operator.grid.block_shape), "device": ",".join(solver.devices)}
    if solver.precision is not None:
        used["precision"] = solver.precision
    if settings.tau != "auto":
        used["tau"] = solver.tau
    if Path(settings.denoiser).exists():
        used["denoiser"] = Path(settings.denoiser).absolute()
    found = as_given(settings) | used
    return {name: _plain(found[name]) for name in type(settings).model_fields if name in found}


def as_given(settings: Settings) -> dict[str, Any]:
    """What isn't left to its default, and the defaults that don't depend on anything."""
    found = settings.model_dump(exclude=LEFT_OUT, exclude_none=True)
    found |= {name: value.absolute() for name, value in found.items() if isinstance(value, Path)}
    if Path(found.get("theta", "")).is_file():
        found["theta"] = Path(found["theta"]).absolute()
    return {name: _plain(value) for name, value in found.items()}


def as_yaml(values: Mapping[str, Any], command: str, note: str = "", does: str = "This repeats the run") -> str:
    """The file's text, with a note for people."""
    text = io.StringIO()
    YAML().dump(dict(values), text)
    head = f"# asyncred_gpu {__version__}. {does}: {command} --config FILE\n"
    return f"{head}{f'# {note}' if note else ''}{text.getvalue()}"


def method_note(settings: ReconstructSettings, method: Method) -> str:
    """What `method` stood for, where nothing else was said: it isn't set, so that it may be chosen better one day."""
    chosen = {"step": method.step, "momentum": method.momentum, "data_updates": method.data_updates}
    chosen["continuation"] = "by the start" if method.continuation is None else method.continuation
    said = [f"{name} {value}" for name, value in chosen.items() if getattr(settings, name) is None]
    return f"Left to method {settings.method}: {', '.join(said)}; run.json has all as it was.\n" if said else ""


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
