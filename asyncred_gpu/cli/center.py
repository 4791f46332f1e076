"""`asyncred center`: a contact sheet of reconstructions by rotation centre, to choose one by eye."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.centering import CenterSettings
from .command import SettingsCommand


def _run(settings: CenterSettings, words: Sequence[str]) -> int:
    from ..contact_sheet import write_sheet

    return write_sheet(settings)


command = SettingsCommand(
    "center",
    CenterSettings,
    _run,
    help="Draw a scan's slice by FBP for several rotation centres, to choose one by eye.",
    argument="input",
)
