"""Orders of a simulated machine's streams: any, and the worst. All are legal; what one hides, another shows.

An adversary runs nothing before the host waits, or all at once, or never a writer while anybody else has work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from .simulated_streams import SimulatedStream, StreamPolicy

Victims = Callable[[SimulatedStream], bool]


class AnyOrder:
    """Any stream, all alike; at every call of the host as many commands as a coin of the run's own says."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._eagerness = self._random.random()

    def choose(self, ready: Sequence[SimulatedStream], must: bool) -> SimulatedStream | None:
        return self._random.choice(ready) if must or self._random.random() < self._eagerness else None


class Delaying:
    """Streams that are victims, by what they are or by what is next on them, go on only when no other can."""

    def __init__(self, victims: Victims, seed: int) -> None:
        self._victims = victims
        self._any = AnyOrder(seed)

    def choose(self, ready: Sequence[SimulatedStream], must: bool) -> SimulatedStream | None:
        others = [stream for stream in ready if not self._victims(stream)]
        if others:
            return self._any.choose(others, must)
        return self._any.choose(ready, True) if must else None


class Oldest:
    """Nothing before the host waits; then what was enqueued first."""

    def choose(self, ready: Sequence[SimulatedStream], must: bool) -> SimulatedStream | None:
        return min(ready, key=_age) if must else None


class Newest:
    """Nothing before the host waits; then what was enqueued last."""

    def choose(self, ready: Sequence[SimulatedStream], must: bool) -> SimulatedStream | None:
        return max(ready, key=_age) if must else None


class RunAhead:
    """All there is, as soon as it is enqueued."""

    def choose(self, ready: Sequence[SimulatedStream], must: bool) -> SimulatedStream | None:
        return ready[-1]


class Bursts:
    """One stream runs all it has, then nothing runs for a while."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._running: SimulatedStream | None = None
        self._quiet = 0

    def choose(self, ready: Sequence[SimulatedStream], must: bool) -> SimulatedStream | None:
        if self._running in ready:
            return self._running
        if self._running is not None:
            self._running = None
            self._quiet = self._random.randrange(40)
        self._quiet -= 1
        if must or self._quiet < 0:
            self._running = self._random.choice(ready)
        return self._running


POLICIES: dict[str, Callable[[int], StreamPolicy]] = {
    "any": AnyOrder,
    "one stream last": lambda seed: Delaying(lambda stream: stream.thread == 1, seed),
    "half of the streams last": lambda seed: Delaying(lambda stream: stream.thread % 2 == 1, seed),
    "writers last": lambda seed: Delaying(lambda stream: stream.next_name == "publish", seed),
    "readers last": lambda seed: Delaying(lambda stream: stream.next_name in ("crop", "whole", "residual"), seed),
    "oldest": lambda seed: Oldest(),
    "newest": lambda seed: Newest(),
    "ahead": lambda seed: RunAhead(),
    "bursts": Bursts,
}


def _age(stream: SimulatedStream) -> int:
    return stream.age
