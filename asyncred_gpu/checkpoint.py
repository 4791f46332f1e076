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

# Changes when a file of before can't be read any more.
FORMAT = 1
SLOT_ARRAYS = ("pixels", "momentum", "center", "share")


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
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            meta = json.loads(str(arrays.pop("meta")))
            if meta.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is a checkpoint of format {meta.get('format')}, this version reads {FORMAT}. Go on with "
                    "the version that wrote it."
                )
            slots = _split({name: arrays[name] for name in SLOT_ARRAYS}, layout)
        except CheckpointError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{path} isn't a checkpoint of this run, or a damaged one ({reason}). Begin anew, with another file."
            ) from error
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
                "begin anew with another file."
            )


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
            raise ValueError(f"its {name} are too few for these blocks")
        return part.reshape(shape)

    slots = [
        Slot(*(take(name, share if name == "share" else pixels) for name in SLOT_ARRAYS))
        for pixels, share in zip(layout.pixels, layout.shares, strict=True)
    ]
    if any(arrays[name].size != begins[name] for name in SLOT_ARRAYS):
        raise ValueError("it has more than these blocks")
    return slots


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
