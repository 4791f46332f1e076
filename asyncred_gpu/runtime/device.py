"""What the CUDA runtime asks of a device: streams that run operations in order, events, captured graphs.

A launch is a list of commands for one stream, so that a simulated device (runtime/simulated_streams.py) can run the
same launches in any legal order. An operation declares what it reads and writes: regions of memory by name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ..kernels.launch import Kernels

Region: TypeAlias = Hashable


@dataclass(frozen=True)
class Access:
    """What an operation touches, by name, when it runs."""

    reads: frozenset[Region]
    writes: frozenset[Region]


def access(reads: Iterable[Region] = (), writes: Iterable[Region] = ()) -> Access:
    return Access(frozenset(reads), frozenset(writes))


@dataclass(frozen=True)
class Operation:
    """Work for a stream.

    Args:
        name: for errors and timings.
        run: enqueues it on the current stream.
        access: what it touches; asked when it runs, since a descriptor says which slots.
        capturable: may be part of a graph: always the same kernels on the same addresses, and no synchronisation.
    """

    name: str
    run: Callable[[], object]
    access: Callable[[], Access]
    capturable: bool = True


class Event(Protocol):
    """A point in a stream; an event that was never recorded is done."""

    def done(self) -> bool: ...


class Graph(Protocol):
    """Captured operations, replayed as one."""


@dataclass(frozen=True)
class Run:
    """Enqueue an operation."""

    operation: Operation


@dataclass(frozen=True)
class Replay:
    """Enqueue a graph's operations."""

    graph: Graph


@dataclass(frozen=True)
class Record:
    """The event is done once everything enqueued before it is."""

    event: Event


Command: TypeAlias = Run | Replay | Record


class Stream(Protocol):
    """Runs what it is given in order, and says nothing of other streams."""

    def enqueue(self, commands: Sequence[Command]) -> None: ...

    def capture(self, operations: Sequence[Operation]) -> Graph:
        """Run the operations once to warm up, and capture them; nothing else may run on the device meanwhile."""
        ...


class Device(Protocol):
    """One device, or a simulated one."""

    @property
    def name(self) -> str: ...

    @property
    def torch(self) -> torch.device:
        """Where tensors live."""
        ...

    @property
    def kernels(self) -> Kernels: ...

    def stream(self) -> Stream: ...

    def event(self) -> Event: ...

    def pinned(self, nbytes: int) -> Tensor:
        """(nbytes,) uint8 of host memory the device can copy from and to while the host goes on."""
        ...

    def host(self, touched: Access) -> None:
        """The host is about to touch memory that the device touches, too."""
        ...

    def pause(self, waited: float) -> None:
        """Nothing is done after `waited` seconds of looking: let time pass."""
        ...

    def synchronize(self) -> None:
        """Wait until nothing runs any more."""
        ...

    def free_bytes(self) -> int | None:
        """Memory that can be had, None if nobody knows."""
        ...

    def explain(self, error: BaseException) -> str | None:
        """What an error of the device means and what to do; None if it isn't one of the device's."""
        ...


def staged(stream: Stream, operations: Sequence[Operation]) -> list[Command]:
    """The operations as commands: neighbours that can be captured as one graph, the others one by one."""
    commands: list[Command] = []
    run: list[Operation] = []
    for operation in operations:
        if operation.capturable:
            run.append(operation)
            continue
        if run:
            commands.append(Replay(stream.capture(run)))
            run = []
        commands.append(Run(operation))
    return [*commands, Replay(stream.capture(run))] if run else commands
