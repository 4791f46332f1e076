"""What the engine asks of a runtime: something that runs block workers and reports how far they are.

A runtime has `workers` workers, numbered from 0, that share one set of slots. It runs launches, reports events, and
never decides who may read, write or commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..blocks import FloatArray
from ..denoiser import BlockDenoiser, DenoiserSettings
from ..operators.base import BlockOperator
from ..preconditioner import Filter, HostPreconditioner
from ..red import Moved
from ..slots import Slot
from ..task import Task
from ..worker import BlockWorker


class Read(NamedTuple):
    """The update has gathered what it reads: its lease may end."""

    worker: int
    number: int


class Computed(NamedTuple):
    """The update waits for its back slot."""

    worker: int
    number: int


class Published(NamedTuple):
    """The update's back slot holds its result."""

    worker: int
    number: int
    moved: Moved


@dataclass(frozen=True)
class Lost:
    """The worker died, and with it the updates it had under way. It runs nothing any more."""

    worker: int
    reason: str


@dataclass(frozen=True)
class Started:
    """The replacement of a lost worker is ready."""

    worker: int


Event = Read | Computed | Published | Lost | Started


class WorkerError(RuntimeError):
    """A worker failed for good: the message names it and says how."""


@dataclass(frozen=True)
class WorkerSetup:
    """All a worker needs besides the slots' memory.

    Args:
        reference: the true image, if a device is to compute the error.
        per_launch: the most updates a launch holds.
        minibatch: measurements of a gradient, None for all.
        filter: the preconditioner of every block's step, or None.
        centered: whether blocks go along with their centers (`follow` of red.py). dual: to plug-and-play's solution.
    """

    operator: BlockOperator
    network: object
    denoiser: DenoiserSettings
    tau: float
    mask: FloatArray | None
    reference: FloatArray | None = None
    per_launch: int = 1
    minibatch: int | None = None
    filter: Filter | None = None
    centered: bool = False
    dual: bool = False

    @property
    def count(self) -> int:
        """Measurements of a gradient."""
        return self.operator.measurements if self.minibatch is None else self.minibatch

    @property
    def crop_shape(self) -> tuple[int, int]:
        """(rows, cols) of what the denoiser is given for the largest block: with its halo, or the whole image."""
        if self.denoiser.whole:
            return self.operator.image_shape
        rows, cols = self.operator.grid.block_shape
        return rows + 2 * self.denoiser.halo, cols + 2 * self.denoiser.halo

    def make_worker(self, slots: Sequence[tuple[Slot, Slot]]) -> BlockWorker:
        """A worker on these slots, with its own copy of the network."""
        denoiser = BlockDenoiser(self.network, self.denoiser)  # type: ignore[arg-type]
        precondition = None if self.filter is None else HostPreconditioner(self.filter)
        return BlockWorker(self.operator, denoiser, self.tau, self.mask, slots, precondition)


class Runtime(Protocol):
    """Runs workers until it is closed."""

    @property
    def workers(self) -> int: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a result should say of the runtime."""
        ...

    def pixels(self, block: int, slot: int) -> FloatArray:
        """(rows, cols) of a front slot; may be a view, and is right between commits only."""
        ...

    def slot(self, block: int, slot: int) -> Slot:
        """All of a front slot, on the host; as `pixels`."""
        ...

    def prime(self) -> None:
        """Fill the shares of the start image, whose pixels lie in slot 0 of every block."""
        ...

    def restore(self, slots: Sequence[Slot]) -> None:
        """Fill slot 0 of every block with these, instead of `prime`."""
        ...

    def launch(self, worker: int, tasks: Sequence[Task]) -> None:
        """Start these updates on an idle worker."""
        ...

    def grant(self, worker: int, number: int) -> None:
        """Let update `number`, which is Computed, write its back slot."""
        ...

    def wait(self, timeout: float | None) -> list[Event]:
        """The next events; none if `timeout` seconds passed without."""
        ...

    def replace(self, worker: int) -> None:
        """End the worker for certain and start a fresh one in its place, which reports Started when it is ready."""
        ...

    def close(self) -> None:
        """End all workers and free the slots. May be called twice."""
        ...
