"""Settings from the command line and a YAML file: the file's first, what is on the command line over them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ..wording import one_line
from .centering import CenterSettings
from .comparison import CompareSettings
from .settings import ReconstructSettings, Settings, option_name
from .tuning import TuneSettings

Kind = TypeVar("Kind", bound=Settings)

LARGEST_FILE = 1_000_000
COMMANDS: dict[str, type[Settings]] = {
    "reconstruct": ReconstructSettings,
    "tune": TuneSettings,
    "center": CenterSettings,
    "compare": CompareSettings,
}
# In a file alone: on the command line all are texts.
WANTED = {"string_type": "isn't a text", **dict.fromkeys(("bool_parsing", "bool_type"), "is neither true nor false")}
# A name this like another is taken for a slip.
SIMILAR = 0.65


class SettingsError(ValueError):
    """Settings that can't be: what was found, and what to do."""


def make_settings(kind: type[Kind], given: Mapping[str, Any], file: Path | None = None) -> Kind:
    """The settings, checked.

    Args:
        given: by name, from the command line.
        file: YAML, of what is set besides.
    Raises:
        SettingsError: the first that can't be, and where it was found.
    """
    from_file = {} if file is None else read_file(kind, file)
    try:
        return kind(**{**from_file, **given})
    except ValidationError as error:
        raise SettingsError(_explained(error, given, file)) from None


def read_file(kind: type[Settings], file: Path) -> dict[str, Any]:
    """What the file sets, by name; a name may be written with hyphens, and null leaves the default.

    Raises:
        SettingsError: no such file, no YAML, or a name that isn't a setting.
    """
    values = _parsed(file)
    if values is None:
        return {}
    if not isinstance(values, dict):
        what = "a list" if isinstance(values, list) else "a text" if isinstance(values, str) else "one value"
        raise SettingsError(f"{file} holds {what}, not settings. Write one a line, as tau: 0.05.")
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in kind.model_fields:
            raise SettingsError(f"{file}: {key} isn't a setting{_instead(kind, name)}")
        if name in found:
            raise SettingsError(f"{file} sets {name} twice. Leave one out.")
        if value is not None:
            found[name] = value
    return found


def _instead(kind: type[Settings], name: str) -> str:
    """The end of a message: what was meant, or whose setting it is."""
    others = [f"asyncred {command}" for command, other in COMMANDS.items() if name in other.model_fields]
    if others:
        return f" here, but of {' and '.join(others)}."
    close = difflib.get_close_matches(name, kind.model_fields, 1, SIMILAR)
    return f". Is it {close[0]}?" if close else f". There are {', '.join(kind.model_fields)}."


def _parsed(file: Path) -> Any:
    """YAML 1.2: a slice 10:20 is a text, and a key given twice is refused."""
    if not file.exists():
        raise SettingsError(f"{file} doesn't exist. Pass a YAML file of settings, such as a run's settings.yaml.")
    if not file.is_file():
        raise SettingsError(f"{file} isn't a file. Pass a YAML file of settings, such as the settings.yaml in it.")
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise SettingsError(f"{file} has {file.stat().st_size / 1e6:.0f} MB: that isn't a file of settings.")
        return YAML(typ="safe", pure=True).load(file.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{file} can't be read ({error.strerror}). Check its permissions.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} isn't a text in UTF-8. Pass a YAML file of settings.") from error
    except RecursionError as error:
        raise SettingsError(
            f"{file} isn't a file of settings: lists in lists. Write one a line, as tau: 0.05."
        ) from error
    except (YAMLError, ValueError) as error:
        raise SettingsError(
            f"{file} isn't YAML: {_yaml_reason(error)}. Write one setting a line, as tau: 0.05."
        ) from error


def _yaml_reason(error: Exception) -> str:
    """What is wrong, and in which line."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return re.sub(r' in "<.*', "", one_line(str(error)))
    return f"line {error.problem_mark.line + 1}, {one_line(str(error.problem or error.context))}"


def _explained(error: ValidationError, given: Mapping[str, Any], file: Path | None) -> str:
    """The first thing that is wrong, and whose it is."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # a form's own
        message = str(first["ctx"]["error"])
    else:
        message = f"{first['input']!r} {WANTED.get(first['type'], 'is of no use here')}"
    if not first["loc"]:  # settings that don't go together
        return f"{message}."
    name = str(first["loc"][0])
    where = option_name(name) if name in given or file is None else f"{file}: {name}"
    return f"{where}: {message}."
