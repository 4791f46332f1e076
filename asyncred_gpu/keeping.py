"""When a run's state is kept, and how it goes on from there: between the run's parts and a checkpoint's file."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .buffer import DoubleBuffer
from .checkpoint import DAMAGE, CheckpointError, State, damaged
from .engine import Commit, Engine
from .monitor import Monitor, StepGuard
from .red import Step
from .runtime.base import Runtime
from .scheduler import Pattern, Sampler
from .settings import check_number
from .slots import SlotLayout

log = logging.getLogger(__name__)

# Sweeps from one checkpoint to the next, if nobody says.
USUAL_EVERY = 5.0
# Of a run's settings: what follows from others, or may be another.
NOT_COMPARED = ("sigma",)


@dataclass(frozen=True)
class Keeping:
    """path: the checkpoint. every: sweeps between two of them. resume: go on from it."""

    path: Path
    every: float | None
    resume: bool

    @classmethod
    def of(cls, checkpoint: Any, every: Any, resume: Any, replayed: bool) -> Keeping | None:
        """From the arguments of `run`; None: nothing is kept.

        Raises:
            ValueError, TypeError: arguments that can't be. FileExistsError: a file that would be lost.
        """
        goes_on = resume not in (False, None)
        if checkpoint is None and (resume is True or (every is not None and not goes_on)):
            what = "resume=True" if every is None else "checkpoint_every="
            raise ValueError(f"{what} needs the checkpoint's file. Pass checkpoint='run.ckpt'.")
        place = resume if checkpoint is None and goes_on else checkpoint
        if place is None:
            return None
        if not isinstance(place, str | Path) or not isinstance(resume, bool | str | Path | None):
            raise TypeError(f"checkpoint={checkpoint!r}, resume={resume!r} aren't paths. Pass the path of a file.")
        if replayed:
            raise ValueError("A replay keeps no checkpoints: it is as good as its schedule. Leave checkpoint= out.")
        interval = None if every is None else check_number("checkpoint_every", every, 0.0)
        if interval == 0:
            raise ValueError("checkpoint_every=0 would only keep checkpoints. Pass sweeps, such as 5.")
        return cls._placed(Path(place), interval, resume)

    @classmethod
    def _placed(cls, path: Path, every: float | None, resume: bool | str | Path | None) -> Keeping:
        exists = path.exists()
        if isinstance(resume, str | Path) and Path(resume) != path:
            raise ValueError(f"checkpoint={path} and resume={resume} are two files. Pass one of them.")
        if not resume and exists:
            raise FileExistsError(
                f"{path} is there already, and isn't overwritten. Pass resume=True to go on from it, or another file."
            )
        if exists and not path.is_file():
            raise ValueError(f"{path} isn't a file. Pass the path of a checkpoint's file.")
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path.parent} isn't a folder. Make it, or pass another file for the checkpoint.")
        return cls(path, every, exists if resume is True else bool(resume))

    def load(self, layout: SlotLayout) -> State | None:
        """The state to go on from, if there is one."""
        return State.load(self.path, layout) if self.resume else None

    def interval(self, state: State | None) -> float:
        """Sweeps between checkpoints: as given, as before, or as usual."""
        if self.every is not None:
            return self.every
        return USUAL_EVERY if state is None else float(state.facts["checkpoint_every"])


def pause_after(pattern: Pattern, blocks: int, every: float) -> Callable[[int], int]:
    """The first pause after a commit: every so many sweeps, their data updates done."""

    def after(version: int) -> int:
        number = math.floor(pattern.asking(version) / (every * blocks))
        while True:
            place = pattern.total(max(1, round(number * every * blocks)))
            if place > version:
                return place
            number += 1

    return after


@dataclass
class Keeper:
    """Keeps the state of one run; the parts are the run's own.

    Args:
        settings: of the run. facts: what was chosen when it began.
    """

    path: Path
    runtime: Runtime
    buffer: DoubleBuffer
    sampler: Sampler
    monitor: Monitor
    guard: StepGuard | None
    engine: Engine
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]

    def keep(self, seconds: float) -> None:
        """Write the checkpoint; if that can't be, the run goes on, and says so."""
        commits = self.engine.commits
        state = State(
            version=len(commits),
            seconds=seconds,
            slots=[self.runtime.slot(block, int(slot)) for block, slot in enumerate(self.buffer.front())],
            settings=self.settings,
            facts=self.facts,
            sampler=self.sampler.state(),
            monitor=self.monitor.state(),
            guard=None if self.guard is None else self.guard.state(),
            history=self.monitor.history(),
            commits=commit_arrays(commits),
            notes=tuple(self.engine.notes),
        )
        try:
            state.save(self.path)
        except OSError as error:
            self.engine.note(
                f"After commit {len(commits)} the checkpoint couldn't be written ({error.strerror or error}); the one "
                "before is still there."
            )
        else:
            log.info("checkpoint after %d commits in %s", len(commits), self.path)

    def go_on_from(self, state: State) -> None:
        """Put the run where it was.

        Raises:
            CheckpointError: the state isn't whole.
        """
        try:
            self.runtime.restore(state.slots)
            self.sampler.restore(state.sampler)
            self.monitor.restore(state.monitor, state.history)
            if self.guard is not None and state.guard is not None:
                self.guard.restore(state.guard)
            commits = commits_of(state.commits)
        except DAMAGE as error:
            raise damaged(self.path, error) from error
        log.info("going on after %d commits from %s", state.version, self.path)
        self.engine.go_on(state.seconds, commits, state.notes)


def check_settings(path: Path, state: State, present: Mapping[str, Any]) -> None:
    """Refuse to go on with other settings or other data.

    Raises:
        CheckpointError: with what has changed.
    """
    settings = json.loads(json.dumps(dict(present)))
    compared = {name: value for name, value in settings.items() if name not in NOT_COMPARED}
    if state.settings.get("measurements") != compared.get("measurements"):
        raise CheckpointError(
            f"{path} is the checkpoint of a run on other measurements (or another geometry): the data have changed. Go "
            "on with those of before, or begin anew with another file or folder."
        )
    state.check(path, compared)


def commit_arrays(commits: list[Commit]) -> dict[str, NDArray[Any]]:
    """Columns."""
    return {
        "block": np.array([commit.block for commit in commits], np.int64),
        "read": np.array([commit.read for commit in commits], np.int64),
        "draw": np.array([commit.draw for commit in commits], np.int64),
        "step": np.array([tuple(map(float, commit.step)) for commit in commits], np.float64).reshape(-1, 6),
    }


def commits_of(arrays: Mapping[str, NDArray[Any]]) -> list[Commit]:
    """And back."""
    columns = (arrays[name].tolist() for name in ("block", "read", "draw", "step"))
    found = []
    for block, read, draw, (length, momentum, nonnegative, strength, centered, dual) in zip(*columns, strict=True):
        step = Step(length, momentum, bool(nonnegative), strength, bool(centered), bool(dual))
        found.append(Commit(block, read, step, draw))
    return found
