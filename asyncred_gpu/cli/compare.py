"""`asyncred compare`: RED on the GPU and the CPU, asynchronous, with a barrier, serial, and by full gradients."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.comparison import CompareSettings
from .command import SettingsCommand


def _run(settings: CompareSettings, words: Sequence[str]) -> int:
    from ..compare.main import compare_modes

    return compare_modes(settings, words)


command = SettingsCommand(
    "compare",
    CompareSettings,
    _run,
    help="Compare RED on the GPU and the CPU: asynchronous, with a barrier, serial, and by full gradients.",
)
