"""What a run gives back: the image, how it ended, its history, and a schedule that can be saved and replayed."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

# Of every update that this process committed: its worker; seconds when it was launched, published, committed; its
# block; and whether it asked the denoiser.
TIMELINE = ("worker", "launched", "published", "committed", "block", "asked")
HISTORY = ("update", "sweep", "seconds", "residual", "staleness", "block", "snr")


class Status(Enum):
    """How a run ended; `explanation` says it in a sentence."""

    CONVERGED = "‖G‖²/‖G₀‖² fell below tol."
    MAX_SWEEPS = "The number of sweeps asked for was done."
    MAX_UPDATES = "The number of updates asked for was done."
    TIME_LIMIT = "The time limit was reached; the image is the last committed one."
    INTERRUPTED = "The run was interrupted; the image is the last committed one."
    DIRECT = "The image was computed directly; nothing is iterated."
    REPLAYED = "Every update of the recorded schedule was repeated."
    DIVERGED = (
        "The run diverged: ‖G‖ grew or became infinite although the step was shrunk; the image is the last finite "
        "one. Use step='block' or 'theory', less momentum, or fewer updates in flight."
    )

    @property
    def explanation(self) -> str:
        return self.value


class Progress(NamedTuple):
    """What a callback is told after every commit.

    `residual` is ‖G‖²/‖G₀‖² from the blocks' last gradients, `snr` in dB (None without a reference). `image()` puts the
    image after this commit together, (rows, cols) float32; it takes a copy, so ask now and then, and within the call.
    """

    update: int
    sweep: float
    seconds: float
    residual: float
    staleness: int
    block: int
    snr: float | None
    total_sweeps: float
    image: Callable[[], npt.NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class Schedule:
    """Every update in the order of commits, as equally long arrays, and the settings it depends on.

    block: which block. read: the version read. commit: the number of the commit, so its staleness is commit − read.
    step, momentum: how far it moved. draw: the number that seeds its minibatch. strength: how many times stronger its
    denoiser was than the network (`continuation`); 0: the denoiser wasn't asked (`data_updates`).
    """

    block: IntArray
    read: IntArray
    commit: IntArray
    step: Float64Array
    momentum: Float64Array
    draw: IntArray
    strength: Float64Array
    settings: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.block)

    @property
    def staleness(self) -> IntArray:
        """Commits between each update's read and its own commit."""
        return self.commit - self.read

    def check(self, blocks: int) -> None:
        """Refuse a schedule that no run of `blocks` blocks can have had.

        Raises:
            ValueError: with the first thing that can't be.
        """
        count = len(self.block)
        lengths = {len(getattr(self, name)) for name in _ARRAYS}
        last: dict[int, int] = {}
        fault = None if lengths == {count} else f"its arrays have lengths {sorted(lengths)}"
        for commit in range(count if fault is None else 0):
            block, read = int(self.block[commit]), int(self.read[commit])
            if not 0 <= block < blocks:
                fault = f"commit {commit} is of block {block} of {blocks}"
            elif not max(0, last.get(block, 0)) <= read <= commit:
                fault = f"commit {commit} read version {read}, before its block's last commit or after itself"
            last[block] = commit + 1
        if fault is None and not all(np.isfinite(values).all() for values in (self.step, self.momentum, self.strength)):
            fault = "a step, momentum or strength isn't finite"
        if fault is None and not (self.strength >= 0).all():
            fault = "a strength is negative"
        if fault is not None:
            raise ValueError(f"The schedule can't be replayed: {fault}. Pass one written by result.schedule.save().")

    @property
    def centered(self) -> bool:
        """Whether blocks went along with their centers (`follow` of red.py)."""
        return bool(self.settings.get("centered"))

    def save(self, path: str | Path) -> None:
        """Write to a new .npz file.

        Raises:
            FileExistsError: the file is there already; nothing is overwritten.
        """
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        with Path(path).open("xb") as file:
            np.savez_compressed(file, settings=json.dumps(dict(self.settings)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a saved schedule.

        Raises:
            ValueError: the file isn't one.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS if name != "strength"}
                # Schedules recorded before there was a continuation have none.
                arrays["strength"] = file["strength"] if "strength" in file else np.ones(len(arrays["block"]))
                settings = json.loads(str(file["settings"]))
        except (KeyError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(
                f"{path} isn't a saved schedule ({error}). Pass a file written by result.schedule.save()."
            ) from error
        return cls(**arrays, settings=settings)


LAST = ("sweep", "residual")
_ARRAYS = ("block", "read", "commit", "step", "momentum", "draw", "strength")


@dataclass(frozen=True, repr=False)
class Result:
    """What `GpuAsyncRED.run` and the baselines return.

    image: (rows, cols) float32, of the input's kind. status: how the run ended.
    history: update, sweep, seconds, residual, staleness, block, snr (with a reference), one entry a commit; seconds
        count from when the workers were ready. The block of an update of the whole image is −1.
    schedule: can be saved, and replayed; None from a method of whole images.
    settings: every setting as it was used. notes: what the run did on its own (a step shrunk, a worker replaced).
    timings: seconds of "setup" (start image, constants), "start" (workers) and "run"; before them of "tuning", if τ or
        σ was chosen first. "fit", a part of "setup": bringing the start image to the data (data_start.py).
    timeline: equally long arrays, see TIMELINE, of every update that this run committed (not of what it went on from):
        who worked on what, and when. None from the baselines.
    """

    image: Any
    status: Status
    history: Mapping[str, npt.NDArray[Any]]
    schedule: Schedule | None
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    timings: Mapping[str, float]
    timeline: Mapping[str, npt.NDArray[Any]] | None = None

    def __repr__(self) -> str:
        """In a line: a history has as many entries as there were commits."""
        sweeps, residual = (float(self.history[name][-1]) if len(self.history[name]) else 0.0 for name in LAST)
        seconds, notes = self.timings.get("run", 0.0), len(self.notes)
        shape = tuple(getattr(self.image, "shape", ()))
        return (
            f"Result({self.status.name}: {shape} after {sweeps:.4g} sweeps, {seconds:.1f} s, ‖G‖²/‖G₀‖² "
            f"{residual:.1e}, {notes} note{'' if notes == 1 else 's'})"
        )

    @property
    def sweep_seconds(self) -> Float64Array:
        """(sweeps,) when each whole sweep ended, its data updates included, in seconds of the history."""
        sweep = self.history["sweep"]
        whole = np.arange(1, int(sweep[-1]) + 1) if len(sweep) else np.empty(0)
        ends: Float64Array = np.asarray(self.history["seconds"])[np.searchsorted(sweep, whole, side="right") - 1]
        return ends
