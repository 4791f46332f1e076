"""`asyncred check`: what a scan holds, and what reconstructing it would take. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.settings import CheckSettings
from ..exit_status import refused
from .command import SettingsCommand


def _run(settings: CheckSettings, words: Sequence[str]) -> int:
    from ..inspection import Refused, inspect_scan

    try:
        report = inspect_scan(settings)
    except Refused as error:
        return refused(error)
    print("\n".join(report))
    return 0


command = SettingsCommand(
    "check",
    CheckSettings,
    _run,
    help="Say what a scan holds, its geometry, and what memory and time reconstructing it would take. "
    "Takes all options of reconstruct, and writes nothing.",
    argument="input",
)
