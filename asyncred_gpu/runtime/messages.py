"""What travels through the pipe between the solver's process and a worker's, besides events: tasks, grants."""

from __future__ import annotations

from dataclasses import dataclass

from ..slots import SlotLayout
from ..task import Task


@dataclass(frozen=True)
class Setup:
    """A run's first message: who the worker is. Two descriptors follow: the slots' memory, the pickled WorkerSetup."""

    worker: int
    core: int | None  # the processor to stay on
    layout: SlotLayout
    path: tuple[str, ...]  # the parent's import path


@dataclass(frozen=True)
class Prime:
    """Fill these blocks' shares of the start image; Ready comes after each."""

    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Launch:
    """Run these updates."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class Grant:
    """Update `number` may write its back slot."""

    number: int


@dataclass(frozen=True)
class Finish:
    """The run is over; another Setup may come."""


@dataclass(frozen=True)
class Ready:
    """The worker has started, or primed a block."""

    worker: int


@dataclass(frozen=True)
class Failed:
    """The worker's code raised: its traceback, as text."""

    worker: int
    message: str
    traceback: str
