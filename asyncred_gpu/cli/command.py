"""A command made of its settings: their options in sections, `--config` for a YAML file of them, and the messages.

Exit statuses: 0 done, 1 a run that failed or diverged, 2 refused before it began, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import rich_click as click
from click.core import ParameterSource
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo

from ..config.forms import form_of
from ..config.read import SettingsError, make_settings
from ..config.settings import Settings, option_name
from .path_word import PATH

Kind = TypeVar("Kind", bound=Settings)

CONFIG, BARE = "config", "scan"


class Interrupted(Exception):
    """By Ctrl-C; everything has been ended."""


class SettingsCommand(click.RichCommand, Generic[Kind]):
    """`run` is called with the settings and the words of the command line, and returns the exit status.

    Args:
        argument: the setting that may stand without its option's name.
    """

    def __init__(
        self,
        name: str,
        kind: type[Kind],
        run: Callable[[Kind, Sequence[str]], int],
        help: str,
        argument: str | None = None,
    ) -> None:
        bare = [] if argument is None else [_argument(argument)]
        super().__init__(name=name, params=[*bare, *options_of(kind), _config_option()], help=help)
        self.kind, self.run, self.argument = kind, run, argument

    def invoke(self, context: click.Context) -> int:
        """The settings from the file and the options that were given."""
        given = {
            name: value
            for name, value in context.params.items()
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and value is not None
        }
        file, bare = given.pop(CONFIG, None), given.pop(BARE, None)
        if self.argument is not None and bare is not None:
            if self.argument in given:
                raise SettingsError(
                    f"{bare} and {option_name(self.argument)} {given[self.argument]} are two. Pass one."
                )
            given[self.argument] = bare
        settings = make_settings(self.kind, given, file)
        try:
            return self.run(settings, context.find_object(tuple) or ())
        except KeyboardInterrupt:  # of which click would make an empty line
            raise Interrupted from None


def _argument(name: str) -> click.RichArgument:
    return click.RichArgument(
        [BARE], required=False, type=click.STRING, metavar=f"[{name.upper()}]", help=f"the same as --{name}"
    )


def options_of(kind: type[Settings]) -> list[click.RichOption]:
    """An option a setting, in the order and the sections in which they are declared."""
    options = []
    for section in sections(kind):
        for name, field in kind.model_fields.items():
            if name in section.__annotations__:
                options.append(_option(name, field, section.section, name in kind.unused))
    return options


def sections(kind: type[Settings]) -> list[type[Settings]]:
    """The classes it is made of, the last base first, as pydantic orders their fields."""
    return [base for base in reversed(kind.__mro__) if issubclass(base, Settings) and vars(base).get("section")]


def _option(name: str, field: FieldInfo, section: str, hidden: bool) -> click.RichOption:
    form, flag = form_of(field), option_name(name)
    extra = field.json_schema_extra
    shown = extra["shown"] if isinstance(extra, dict) else field.default
    text = f"{field.description} [{shown}]"
    if form is None:
        return click.RichOption([f"{flag}/--no-{flag[2:]}"], default=None, help=text, panel=section, hidden=hidden)
    # What is right is said by the settings alone, so every word is taken here.
    return click.RichOption(
        [flag],
        type=click.STRING,
        metavar=form.metavar,
        help=text,
        panel=section,
        hidden=hidden,
        shell_complete=_completer(form.words) if form.words else None,
    )


def _completer(words: tuple[str, ...]) -> Callable[[Any, Any, str], list[CompletionItem]]:
    def complete(context: Any, parameter: Any, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]

    return complete


def _config_option() -> click.RichOption:
    return click.RichOption(
        [f"--{CONFIG}"],
        type=PATH,
        metavar="FILE.yaml",
        help="settings from a file, such as a run's settings.yaml; options given beside it override it",
        panel="run",
    )
