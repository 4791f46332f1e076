"""`asyncred tune`: τ and the denoiser's σ, chosen from the measurements alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.tuning import TuneSettings
from .command import SettingsCommand


def _run(settings: TuneSettings, words: Sequence[str]) -> int:
    from ..tune_scan import tune_scan

    return tune_scan(settings, words)


command = SettingsCommand(
    "tune",
    TuneSettings,
    _run,
    help="Choose tau and the denoiser's sigma from the measurements alone, by reconstructions that each begin at the "
    "last one's image; the settings it writes are for reconstruct --config.",
    argument="input",
)
