"""A run's state between two commits, in one file: what is kept so that a killed run goes on as if it hadn't been.

A file is replaced at once or not at all (written beside, synced, renamed), so a kill at any moment leaves the last
one. It holds every block's slot, the history, the schedule so far, and the state of all that decides: samplers,
monitor, guard. Limits aren't in it: those of the run that goes on count.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .slots import Slot, SlotLayout
from .whole_file import replace_file
from .wording import reason_of

# Changes when a file of before can't be read any more.
FORMAT = 1
SLOT_ARRAYS = ("pixels", "momentum", "center", "share")
# What was chosen when the run began, without which it can't go on.
FACTS = ("checkpoint_every", "precision", "intensity_scale", "first_strength", "start", "notes")
# What reading a file that isn't whole, or isn't one, may raise.
DAMAGE = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
OTHER_BLOCKS = "its blocks are others: the data or the settings have changed"


class CheckpointError(ValueError):
    """A file that isn't a checkpoint, or isn't of this run; says what was found and what to do."""


@dataclass(frozen=True)
class State:
    """All of a run with no update under way.

    Args:
        version: commits so far. seconds: that they took.
        slots: of every block, its front one.
        settings: of the run, which the one that goes on must have in common. facts: what was chosen when it began.
        sampler, monitor, guard: of those, ready for JSON; guard None: there was none.
        history, commits: arrays by name, one entry a commit.
        notes: so far.
    """

    version: int
    seconds: float
    slots: Sequence[Slot]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    sampler: Any
    monitor: Mapping[str, Any]
    guard: Mapping[str, Any] | None
    history: Mapping[str, NDArray[Any]]
    commits: Mapping[str, NDArray[Any]]
    notes: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write to the file, in place of the one before."""
        meta = {
            "format": FORMAT,
            "version": self.version,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "facts": dict(self.facts),
            "sampler": self.sampler,
            "monitor": dict(self.monitor),
            "guard": None if self.guard is None else dict(self.guard),
            "notes": list(self.notes),
        }
        arrays: dict[str, Any] = {name: _joined([getattr(slot, name) for slot in self.slots]) for name in SLOT_ARRAYS}
        arrays |= {f"history_{name}": values for name, values in self.history.items()}
        arrays |= {f"commits_{name}": values for name, values in self.commits.items()}
        replace_file(path, lambda file: np.savez(file, meta=json.dumps(meta), **arrays))

    @classmethod
    def load(cls, path: Path, layout: SlotLayout) -> Self:
        """Read the file.

        Args:
            layout: of the run that goes on.
        Raises:
            CheckpointError: absent, damaged, of another version, or of another image or grid.
        """
        if not path.exists():
            raise CheckpointError(f"{path} doesn't exist, so nothing can go on from it. Begin without resume=.")
        try:
            arrays = _arrays(path)
            meta = json.loads(str(arrays.pop("meta")))
            if meta.get("format") == FORMAT:
                return cls._of(meta, arrays, layout)
        except PermissionError as error:
            raise CheckpointError(f"{path} can't be read ({error.strerror}). Check its permissions.") from error
        except DAMAGE as error:
            raise damaged(path, error) from error
        raise CheckpointError(
            f"{path} is a checkpoint of format {meta.get('format')}, this version reads {FORMAT}. Go on with the "
            "version that wrote it."
        )

    @classmethod
    def _of(cls, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], layout: SlotLayout) -> Self:
        slots = _split({name: arrays[name] for name in SLOT_ARRAYS}, layout)
        missing = [name for name in FACTS if name not in meta["facts"]]
        missing += [name for name in ("measurements", "tau") if name not in meta["settings"]]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        return cls(
            version=int(meta["version"]),
            seconds=float(meta["seconds"]),
            slots=slots,
            settings=meta["settings"],
            facts=meta["facts"],
            sampler=meta["sampler"],
            monitor=meta["monitor"],
            guard=meta["guard"],
            history=_named(arrays, "history_"),
            commits=_named(arrays, "commits_"),
            notes=tuple(meta["notes"]),
        )

    def check(self, path: Path, present: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings: what came out would be neither run's image.

        Raises:
            CheckpointError: with what has changed.
        """
        changed = [
            f"{name} was {self.settings.get(name)!r}, is {value!r}"
            for name, value in present.items()
            if self.settings.get(name) != value
        ]
        if changed:
            raise CheckpointError(
                f"{path} is the checkpoint of a run with other settings: {'; '.join(changed)}. Go on with those, or "
                "begin anew with another file or folder."
            )


def damaged(path: Path, error: BaseException) -> CheckpointError:
    """For a file that can't be what it is to be."""
    return CheckpointError(
        f"{path} isn't a checkpoint of this run, or a damaged one ({reason_of(error)}). Begin anew, with another file "
        "or folder."
    )


def sweeps_in(path: Path) -> float | None:
    """How many sweeps the checkpoint holds; None: it isn't one, and whoever goes on from it will say so."""
    try:
        sweeps = _arrays(path)["history_sweep"]
        return float(sweeps[-1]) if len(sweeps) else 0.0
    except DAMAGE:
        return None


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":  # of which NumPy would say that it could be unpickled
            raise ValueError("it isn't NumPy's .npz")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _joined(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([array.ravel() for array in arrays])


def _split(arrays: Mapping[str, NDArray[np.float32]], layout: SlotLayout) -> list[Slot]:
    """The blocks' arrays again; ValueError if they aren't of this layout."""
    begins = dict.fromkeys(SLOT_ARRAYS, 0)

    def take(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        size = int(np.prod(shape))
        part = arrays[name][begins[name] : begins[name] + size]
        begins[name] += size
        if part.size != size:
            raise ValueError(OTHER_BLOCKS)
        if not np.isfinite(part).all():
            raise ValueError(f"its {name} has NaN or infinite values")
        return part.reshape(shape)

    slots = [
        Slot(*(take(name, share if name == "share" else pixels) for name in SLOT_ARRAYS))
        for pixels, share in zip(layout.pixels, layout.shares, strict=True)
    ]
    if any(arrays[name].size != begins[name] for name in SLOT_ARRAYS):
        raise ValueError(OTHER_BLOCKS)
    return slots


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
