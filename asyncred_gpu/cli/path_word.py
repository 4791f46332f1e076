"""A path on the command line that isn't a setting: `--config`, and those of `asyncred report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import rich_click as click

from ..config.forms import path


class PathWord(click.ParamType):  # type: ignore[type-arg]  # generic only of late
    """A path that could be one; whether something is there, whoever uses it looks."""

    name = "path"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        """As a setting's path is read."""
        try:
            return path(str(value))
        except argparse.ArgumentTypeError as error:
            self.fail(str(error), parameter, context)


PATH = PathWord()
