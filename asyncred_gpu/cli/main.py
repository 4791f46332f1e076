"""The command `asyncred`: which commands there are, each imported when it is used."""

from __future__ import annotations

import io
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

import rich_click as click

from .. import __version__
from ..config.read import SettingsError
from ..exit_status import INTERRUPTED, REFUSED, ended
from ..wording import one_line
from .command import Interrupted

# Each is a module of this package, whose `command` it is; what takes long to import, they import when they run.
COMMANDS = ("reconstruct", "tune", "check", "center", "compare", "train", "report", "info")


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        print(f"asyncred_gpu {__version__}")
        context.exit()


class Commands(click.RichGroup):
    """Those of COMMANDS."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__package__}.{name}").command
        return command


group = Commands(
    name="asyncred",
    help="Reconstruct images from measurements by asynchronous regularization by denoising (Async-RED).",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Print the version.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is returned, errors are one message without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ‖ shows ? instead
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _ended_as_by_ctrl_c():
        return _run(words)


def _run(words: list[str]) -> int:
    if not words:  # of which click would leave the process
        words = ["--help"]
    warnings.filterwarnings("ignore", "The sinogram")  # of which the commands have words of their own (plausible.py)
    help = f"asyncred {words[0]} --help" if words[0] in COMMANDS else "asyncred --help"
    try:
        status = group.main(words, prog_name="asyncred", standalone_mode=False, obj=tuple(words))
    except (SettingsError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        end = "" if message.endswith((".", "?")) else "."
        return ended(f"error: {one_line(message)}{end} See {help}.", REFUSED)
    except (Interrupted, click.Abort):
        return ended("interrupted: the workers have ended; what was written before stays.", INTERRUPTED)
    return status if isinstance(status, int) else 0


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM, which batch systems send a while before they kill, ends a run well, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)
