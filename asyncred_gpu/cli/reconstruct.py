"""`asyncred reconstruct`: a CT slice, measured or simulated, into a folder of images, figures and settings."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.settings import ReconstructSettings
from .command import SettingsCommand


def _run(settings: ReconstructSettings, words: Sequence[str]) -> int:
    from ..reconstruct import reconstruct  # with torch, which takes a second or two

    return reconstruct(settings, words)


command = SettingsCommand(
    "reconstruct",
    ReconstructSettings,
    _run,
    help="Reconstruct a CT slice by asynchronous RED. Without an INPUT: a simulated scan of an eye's retina.",
    argument="input",
)
