"""How long operations take on a device: warm, repeated, the median; by events of the device, or by the host's clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from ..runtime.device import Command, Device, Operation, Replay, access, staged

REPEATS = 15
WARM_UPS = 3
# One repeat lasts about this long at least, so that what starting it takes doesn't count; but no more turns than these.
LEAST_SECONDS = 1e-3
MOST_TURNS = 50


class Timer(Protocol):
    """Takes the time of work on one device."""

    def operations(self, operations: Sequence[Operation], repeats: int = REPEATS) -> float:
        """Median seconds of these operations in a row, without what launching them from the host takes."""
        ...

    def commands(self, groups: Sequence[Sequence[Operation]], repeats: int = REPEATS) -> float:
        """Median seconds when each group is a launch of its own, as a worker launches them, one behind the other."""
        ...


def operation(name: str, run: Callable[[], object]) -> Operation:
    """Work that declares nothing: it runs alone."""

    def enqueue() -> None:
        run()

    return Operation(name, enqueue, access)


def turns_for(seconds: float) -> int:
    """How often to do what takes so long within one repeat."""
    return min(MOST_TURNS, max(1, round(LEAST_SECONDS / max(seconds, 1e-9))))


class CudaTimer:
    """By CUDA events around replays of graphs, on a stream of its own. Nothing of it runs without a GPU."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._stream = device.stream()
        # A stream's graphs share a pool of memory, and torch refuses to capture into one whose graphs have all gone.
        self._counter = torch.zeros(1, device=device.torch)
        self._kept = self._stream.capture([operation("count", lambda: self._counter.add_(1))])

    def operations(self, operations: Sequence[Operation], repeats: int = REPEATS) -> float:
        if not all(one.capturable for one in operations):
            return self.commands([operations], repeats)
        self._device.synchronize()  # what made the inputs ran on another stream
        once = self._median([Replay(self._stream.capture(operations))], 1, WARM_UPS)
        turns = turns_for(once)
        return self._median([Replay(self._stream.capture([*operations] * turns))], 1, repeats) / turns

    def commands(self, groups: Sequence[Sequence[Operation]], repeats: int = REPEATS) -> float:
        self._device.synchronize()
        commands = [command for group in groups for command in staged(self._stream, group)]
        turns = turns_for(self._median(commands, 1, WARM_UPS))
        return self._median(commands, turns, repeats) / turns

    def _median(self, commands: Sequence[Command], turns: int, repeats: int) -> float:
        """Seconds of `turns` times the commands, enqueued at once."""
        stream: torch.cuda.Stream = self._stream.stream  # type: ignore[attr-defined]
        for _ in range(WARM_UPS):
            self._stream.enqueue(commands)
        seconds: list[float] = []
        for _ in range(repeats):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record(stream)
            self._stream.enqueue([*commands] * turns)
            end.record(stream)
            end.synchronize()
            seconds.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(seconds)


class HostTimer:
    """By the host's clock, for a device whose operations have run when they return."""

    def operations(self, operations: Sequence[Operation], repeats: int = REPEATS) -> float:
        return self.commands([operations], repeats)

    def commands(self, groups: Sequence[Sequence[Operation]], repeats: int = REPEATS) -> float:
        seconds = []
        for _ in range(1 + repeats):
            begun = time.perf_counter()
            for group in groups:
                for one in group:
                    one.run()
            seconds.append(time.perf_counter() - begun)
        return statistics.median(seconds[1:])
