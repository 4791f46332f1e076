"""A run that was interrupted or killed, from its folder: its settings, its checkpoint, and room for its results.

Stopped before its first checkpoint, it begins anew.

Results that an interrupted run wrote are moved to interrupted-1, interrupted-2, … before the new ones are written.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from .checkpoint import sweeps_in
from .config.read import SettingsError, make_settings, read_file
from .config.settings import ReconstructSettings, option_name
from .io import OutputFolder

CHECKPOINT, SETTINGS = "checkpoint", "settings.yaml"
# What a run that goes on keeps in its place.
STAYS = {CHECKPOINT, f".{CHECKPOINT}.part", SETTINGS, "progress.jsonl", "tensorboard"}
# What may be another when a run goes on; with the other settings it wouldn't be the same run.
CHANGEABLE = ("resume", "sweeps", "time_limit", "tol", "save", "log", "verbose", "quiet")
CHANGEABLE_OF_A_VOLUME = ("resume", "save", "verbose", "quiet")


def going_on(given: ReconstructSettings) -> tuple[ReconstructSettings, OutputFolder]:
    """The settings of the run in the folder `resume`, with what may be changed of them, and the folder.

    Raises:
        SettingsError: no such run, one that kept no checkpoint, or settings that can't be changed.
    """
    assert given.resume is not None
    folder = given.resume
    if not folder.is_dir():
        raise SettingsError(f"--resume {folder} isn't a folder. Pass the output folder of a run.")
    file = folder / SETTINGS
    if not file.exists():
        raise SettingsError(
            f"{folder} has no {SETTINGS}: it isn't a run's folder, or the run was killed and kept no checkpoints "
            "(--checkpoint-every), so there is nothing to go on from. Pass the output folder of a run, or begin anew."
        )
    if not read_file(ReconstructSettings, file):
        raise SettingsError(f"{file} sets nothing: it isn't whole. Begin anew, in another folder.")
    volume = make_settings(ReconstructSettings, {}, file).slices is not None
    _check_changes(given, CHANGEABLE_OF_A_VOLUME if volume else CHANGEABLE)
    if not volume and not (folder / CHECKPOINT).exists():
        if stopped_at_once(folder):
            anew = {name: getattr(given, name) for name in given.model_fields_set if name != "resume"}
            return make_settings(ReconstructSettings, anew, file), OutputFolder.of_before(folder)
        raise SettingsError(
            f"{folder} has no checkpoint: the run has ended, which deletes it, or kept none (--checkpoint-every). "
            f"Begin anew, with --config {file}, and --start {folder / 'reconstruction.tif'} to begin at its image."
        )
    changed = {name: getattr(given, name) for name in given.model_fields_set}
    made = None if volume or "sweeps" not in changed else sweeps_in(folder / CHECKPOINT)
    if made is not None and made > given.sweeps + 1:
        raise SettingsError(
            f"--sweeps {given.sweeps:g} leaves nothing to do: {folder} has {made:.4g} already. Pass more, or leave it "
            "out."
        )
    return make_settings(ReconstructSettings, changed, file), OutputFolder.of_before(folder)


def stopped_at_once(folder: Path) -> bool:
    """Whether the run was stopped before its first checkpoint: there is nothing yet but what says how it goes on."""
    return {item.name for item in folder.iterdir()} <= STAYS - {CHECKPOINT}


def _check_changes(given: ReconstructSettings, changeable: tuple[str, ...]) -> None:
    others = [name for name in type(given).model_fields if name in given.model_fields_set and name not in changeable]
    if others:
        raise SettingsError(
            f"{', '.join(option_name(name) for name in others)} can't be changed with --resume: the run goes on with "
            f"its own settings. Only {', '.join(option_name(name) for name in changeable[1:])} may be given."
        )


def how_to_go_on(folder: Path, what: str = "go on") -> str:
    """For the end of a message."""
    return f" To {what}: asyncred reconstruct --resume {shlex.quote(str(folder))}"


def make_room(folder: Path) -> None:
    """Move what an interrupted run wrote out of the way."""
    written = [item for item in folder.iterdir() if item.name not in STAYS and not item.name.startswith("interrupted-")]
    if not written:
        return
    number = 1 + sum(item.name.startswith("interrupted-") for item in folder.iterdir())
    place = folder / f"interrupted-{number}"
    place.mkdir()
    for item in written:
        item.rename(place / item.name)
