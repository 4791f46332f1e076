"""Devices without a device: streams whose operations run in any order a policy chooses, and every race is reported.

The protocol of runtime/device.py in one thread. An operation runs as a whole when its turn comes; its turn may come
whenever the host calls, or never until the host waits. What is true of streams holds: the order within one, no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..kernels.launch import Kernels
from .clocks import Clock, Clocks, Touch
from .device import Access, Command, Operation, Record, Replay, Run


class Deadlock(AssertionError):
    """The host waits, and nothing is left that could run."""


class StreamPolicy(Protocol):
    """Which stream goes on."""

    def choose(self, ready: Sequence[SimulatedStream], must: bool) -> SimulatedStream | None:
        """One of `ready` runs its next command, and the policy is asked again; None: enough for now.

        `must`: the host waits, so that None would be no legal order for ever; the first ready stream goes on then.
        """
        ...


class SimulatedEvent:
    """Done once the latest of its records ran; the host then knows what came before it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._latest: SimulatedStream | None = None
        self._tick = 0

    def done(self) -> bool:
        self._machine.give_chance()
        if self._latest is None:
            return True
        if self._latest.ticks < self._tick:
            return False
        self._machine.clocks.join(self._latest.thread, self._tick)
        return True

    def enqueued(self, stream: SimulatedStream, tick: int) -> None:
        """A record of it will be the stream's command number `tick`: what was recorded before is forgotten."""
        self._latest = stream
        self._tick = tick


@dataclass(frozen=True)
class SimulatedGraph:
    """The captured operations."""

    operations: tuple[Operation, ...]


class SimulatedStream:
    """A queue of operations and records."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.name = name
        self.thread = machine.clocks.thread(name)
        self.ticks = 0  # commands that ran
        self.last = "nothing yet"
        self._machine = machine
        self._queue: deque[tuple[int, Clock, Operation | None]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def age(self) -> int:
        """When the next command was enqueued, counted over all streams."""
        return self._queue[0][0]

    @property
    def next_name(self) -> str:
        """The next command's name."""
        operation = self._queue[0][2]
        return "record" if operation is None else operation.name

    def enqueue(self, commands: Sequence[Command]) -> None:
        clock, order = self._machine.clocks.now(), self._machine.next_order()
        queue = self._queue
        if commands and not queue:
            self._machine.ready.append(self)
        for command in commands:
            match command:
                case Run(operation):
                    queue.append((order, clock, operation))
                case Replay(graph):
                    assert isinstance(graph, SimulatedGraph)
                    queue.extend((order, clock, operation) for operation in graph.operations)
                case Record(event):
                    assert isinstance(event, SimulatedEvent)
                    queue.append((order, clock, None))
                    event.enqueued(self, self.ticks + len(queue))
        self._machine.give_chance()

    def capture(self, operations: Sequence[Operation]) -> SimulatedGraph:
        self._machine.warm_up(operations)
        return SimulatedGraph(tuple(operations))

    def run_next(self) -> None:
        """Run the next command.

        Raises:
            Race: it touches what nothing orders it after.
        """
        _, clock, operation = self._queue.popleft()
        self.ticks += 1
        if not self._queue:
            self._machine.ready.remove(self)
        if operation is not None:
            self.last = operation.name
            touched = operation.access()
            self._machine.clocks.touch(Touch(self.thread, self.ticks, operation.name), clock, touched)
            operation.run()


class Machine:
    """One host and its simulated devices. Owns the clocks and the streams that could go on."""

    def __init__(self, policy: StreamPolicy, warms_up: bool = True) -> None:
        """`warms_up`: capturing runs the operations once, as on a device."""
        self.clocks = Clocks()
        self.ready: list[SimulatedStream] = []
        self._policy = policy
        self._warms_up = warms_up
        self._streams: list[SimulatedStream] = []
        self._order = 0
        self._ran_at_pause = -1

    def stream(self, device: str) -> SimulatedStream:
        """A new stream of the device."""
        self._streams.append(SimulatedStream(self, f"stream {len(self._streams)} of {device}"))
        return self._streams[-1]

    def next_order(self) -> int:
        """The number of this enqueue."""
        self._order += 1
        return self._order

    def give_chance(self, must: bool = False) -> None:
        """The host calls: let the policy run what it likes, at least one command if the host waits."""
        ready = self.ready
        while ready:
            stream = self._policy.choose(ready, must)
            if stream is None and must:
                stream = ready[0]
            if stream is None:
                return
            stream.run_next()
            must = False

    def warm_up(self, operations: Sequence[Operation]) -> None:
        """Run them before anything else does."""
        if self.ready:
            raise AssertionError(f"captured while {self.ready[0].name} runs. Capture before any worker starts.")
        for operation in operations if self._warms_up else ():
            operation.run()

    def wait(self) -> None:
        """The host has found nothing done.

        Raises:
            Deadlock: nothing could run, and nothing ran since the host waited last.
        """
        ran = sum(stream.ticks for stream in self._streams)
        if not self.ready and ran == self._ran_at_pause:
            places = "; ".join(f"{stream.name} after {stream.last}" for stream in self._streams)
            raise Deadlock(f"the host waits for an event, and nothing is left to run: {places}.")
        self._ran_at_pause = ran
        self.give_chance(must=True)

    def finish(self) -> None:
        """Run all there is; the host then knows all of it."""
        while self.ready:
            self.give_chance(must=True)
        for stream in self._streams:
            self.clocks.join(stream.thread, stream.ticks)


class SimulatedDevice:
    """The protocol of runtime/device.py. Tensors lie in the host's memory; a symbolic program needs no kernels."""

    def __init__(self, machine: Machine, index: int = 0, kernels: Kernels | None = None) -> None:
        self.name = f"simulated device {index}"
        self.torch = torch.device("cpu")
        self.machine = machine
        self._kernels = kernels

    @property
    def kernels(self) -> Kernels:
        assert self._kernels is not None, f"{self.name} was made without kernels"
        return self._kernels

    def stream(self) -> SimulatedStream:
        return self.machine.stream(self.name)

    def event(self) -> SimulatedEvent:
        return SimulatedEvent(self.machine)

    def pinned(self, nbytes: int) -> Tensor:
        return torch.zeros(nbytes, dtype=torch.uint8)

    def host(self, touched: Access) -> None:
        self.machine.clocks.host(touched)

    def pause(self, waited: float) -> None:
        self.machine.wait()

    def synchronize(self) -> None:
        self.machine.finish()

    def free_bytes(self) -> int | None:
        return None

    def explain(self, error: BaseException) -> str | None:
        return None
