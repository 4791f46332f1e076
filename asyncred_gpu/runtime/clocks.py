"""Happens-before on a host thread and the streams it feeds: finds races that a lucky order hides.

Vector clocks with epochs (Flanagan and Freund, FastTrack, PLDI 2009). Streams are ordered among each other only by what
the host has seen: so an operation's clock is the host's at its enqueue, and, on its own stream, all before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from .device import Access, Region

# For every thread: how many of its operations are known to have run. A thread that isn't in it: none.
Clock: TypeAlias = Mapping[int, int]
HOST = 0


class Race(AssertionError):
    """Two operations touch a region, one of them writes, and nothing orders them."""


class Touch(NamedTuple):
    """One access: by which thread, as its how-manieth operation, and the operation's name."""

    thread: int
    tick: int
    name: str


START = Touch(HOST, 0, "nobody yet")


@dataclass(slots=True)
class _Region:
    """The last write, and each thread's last read since."""

    write: Touch = START
    reads: dict[int, Touch] = field(default_factory=dict)


class Clocks:
    """What the host knows of every thread, and who touched each region last."""

    def __init__(self) -> None:
        self._names = ["the host"]
        self._known: dict[int, int] = {HOST: 0}
        self._shared: Clock | None = None
        self._regions: dict[Region, _Region] = {}

    def thread(self, name: str) -> int:
        """A new stream's number."""
        self._names.append(name)
        return len(self._names) - 1

    def now(self) -> Clock:
        """The host's clock at present: what an operation enqueued now comes after."""
        if self._shared is None:  # copied only where it changed
            self._shared = dict(self._known)
        return self._shared

    def join(self, thread: int, tick: int) -> None:
        """The host has seen that `thread` ran its first `tick` operations."""
        if self._known.get(thread, 0) < tick:
            self._known[thread] = tick
            self._shared = None

    def host(self, touched: Access) -> None:
        """The host itself touches memory.

        Raises:
            Race: with an operation that the host hasn't seen the end of.
        """
        tick = self._known[HOST] + 1
        self.join(HOST, tick)
        self.touch(Touch(HOST, tick, "host code"), self.now(), touched)

    def touch(self, by: Touch, clock: Clock, touched: Access) -> None:
        """Note an access by an operation that comes after `clock`, and after all of its own thread.

        Raises:
            Race: with an access that neither covers.
        """
        thread, regions = by.thread, self._regions
        for name in touched.reads:
            region = regions.get(name)
            if region is None:
                region = regions[name] = _Region()
            write = region.write
            if write.thread != thread and clock.get(write.thread, 0) < write.tick:
                raise self._race(name, "reads", by, "wrote", write)
            region.reads[thread] = by
        for name in touched.writes:
            region = regions.get(name)
            if region is None:
                region = regions[name] = _Region()
            write = region.write
            if write.thread != thread and clock.get(write.thread, 0) < write.tick:
                raise self._race(name, "writes", by, "wrote", write)
            for read in region.reads.values():
                if read.thread != thread and clock.get(read.thread, 0) < read.tick:
                    raise self._race(name, "writes", by, "read", read)
            region.write = by
            region.reads = {}

    def _race(self, region: Region, does: str, by: Touch, did: str, other: Touch) -> Race:
        return Race(
            f"race on {region!r}: {by.name} on {self._names[by.thread]} {does} what {other.name} on "
            f"{self._names[other.thread]} {did}, and nothing orders the two. Before the one is enqueued, the host must "
            "see an event done that was recorded after the other."
        )
