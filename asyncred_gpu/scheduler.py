"""Which block next, and who may commit: bounded staleness. Pure: no device, no clock, no data.

A version is the number of commits so far. An update reads version r and commits as number c; its staleness is c − r,
counted in commits, not seconds (Sun et al. 2021, Assumption 1). At most `in_flight` updates are under way, at most one
a block: two would lose one of them. That, and drawing without replacement, is outside the paper's theorems.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final

import numpy as np

SAMPLINGS = ("cyclic", "epoch", "uniform")


class Ticket(NamedTuple):
    """One update: its number in the order of issue, its block, and the version it reads."""

    number: int
    block: int
    read_version: int


class Sampler(Protocol):
    """Draws the block of update `number` among those that no update is at work on."""

    def draw(self, number: int, busy: set[int]) -> int: ...

    def give_back(self, ticket: Ticket) -> None:
        """The update was lost before its commit; its number is drawn for again."""
        ...

    def state(self) -> Any:
        """What the draws to come depend on, ready for JSON."""
        ...

    def restore(self, state: Any) -> None:
        """Go on from there."""
        ...


@final
class UniformSampler:
    """Independent and uniform over the idle blocks."""

    def __init__(self, blocks: int, random: np.random.Generator) -> None:
        self._blocks = blocks
        self._random = random

    def draw(self, number: int, busy: set[int]) -> int:
        idle = [block for block in range(self._blocks) if block not in busy]
        return idle[int(self._random.integers(len(idle)))]

    def give_back(self, ticket: Ticket) -> None:
        """Nothing to do: draws are independent."""

    def state(self) -> Any:
        return self._random.bit_generator.state

    def restore(self, state: Any) -> None:
        self._random.bit_generator.state = state


@final
class EpochSampler:
    """All blocks, then all again; a busy block keeps its place and is drawn once it is idle.

    Args:
        order: of every epoch; None: a random permutation each.
    """

    def __init__(self, blocks: int, random: np.random.Generator, order: Sequence[int] | None = None) -> None:
        self._blocks = blocks
        self._random = random
        self._order = order
        self._waiting: list[int] = []

    def draw(self, number: int, busy: set[int]) -> int:
        place = 0
        while True:
            if place == len(self._waiting):
                epoch = self._random.permutation(self._blocks) if self._order is None else self._order
                self._waiting.extend(int(block) for block in epoch)
            if self._waiting[place] not in busy:
                return self._waiting.pop(place)
            place += 1

    def give_back(self, ticket: Ticket) -> None:
        """Its block is the next to be drawn, so that its epoch stays even."""
        self._waiting.insert(0, ticket.block)

    def state(self) -> Any:
        return {"random": self._random.bit_generator.state, "waiting": list(self._waiting)}

    def restore(self, state: Any) -> None:
        self._random.bit_generator.state = state["random"]
        self._waiting = list(state["waiting"])


@dataclass(frozen=True)
class Pattern:
    """Which updates ask the denoiser, by their numbers: `group` that do, then group·repeats that don't, and so on.

    With all blocks in a group the data are met by what all of them have become: where some move alone, the others move
    against it, and take over what the data leave open.
    """

    group: int
    repeats: int

    def keeps(self, number: int) -> bool:
        """Whether the update is of the data term alone."""
        return number % self._length >= self.group

    def asking(self, number: int) -> int:
        """How many updates before this one ask the denoiser."""
        groups, rest = divmod(number, self._length)
        return groups * self.group + min(rest, self.group)

    def total(self, asking: int) -> int:
        """Of all updates if so many ask the denoiser; after the last whole group the data term's are included."""
        return asking + self.group * self.repeats * (asking // self.group)

    @property
    def _length(self) -> int:
        return self.group * (1 + self.repeats)


@final
class PatternSampler:
    """One sampler for the updates that ask the denoiser, one for those that don't; by the pattern."""

    def __init__(self, pattern: Pattern, asking: Sampler, keeping: Sampler) -> None:
        self._pattern = pattern
        self._asking = asking
        self._keeping = keeping

    def draw(self, number: int, busy: set[int]) -> int:
        return self._of(number).draw(number, busy)

    def give_back(self, ticket: Ticket) -> None:
        self._of(ticket.number).give_back(ticket)

    def state(self) -> Any:
        return {"asking": self._asking.state(), "keeping": self._keeping.state()}

    def restore(self, state: Any) -> None:
        self._asking.restore(state["asking"])
        self._keeping.restore(state["keeping"])

    def _of(self, number: int) -> Sampler:
        return self._keeping if self._pattern.keeps(number) else self._asking


def scattered_order(layout: tuple[int, int], random: np.random.Generator) -> list[int]:
    """Every block once, random, but blocks that touch are a quarter of an epoch apart, or nearly.

    Updates in flight don't see each other; those of neighbours matter most to each other.

    Args:
        layout: blocks down and across.
    """
    numbers = np.arange(layout[0] * layout[1]).reshape(layout)
    quarters = (numbers[row::2, col::2] for row, col in ((0, 0), (1, 1), (0, 1), (1, 0)))
    return [int(block) for quarter in quarters for block in random.permutation(quarter.ravel())]


def make_sampler(sampling: str, layout: tuple[int, int], seed: int | tuple[int, ...]) -> Sampler:
    """The sampler of that name.

    Args:
        layout: blocks down and across.
    """
    random, blocks = np.random.default_rng(seed), layout[0] * layout[1]
    if sampling == "uniform":
        return UniformSampler(blocks, random)
    return EpochSampler(blocks, random, scattered_order(layout, random) if sampling == "cyclic" else None)


class Scheduler(ABC):
    """Owns the version and the updates in flight; a subclass decides what is issued and who commits.

    Updates are numbered in the order of issue, but a lost one that was forgotten is issued again under its number, so
    that whatever goes by the number, its kind for one, stays complete.

    `eager`: issue as soon as possible, since the read version is fixed (else: when a worker is free, to read fresh).
    `keeps_reads`: a lost update is repeated from the same read, so its lease lasts until its commit.
    `forgets`: a lost update may be forgotten, to be issued again with a fresh read.

    At a pause nothing is under way: no update is issued beyond `pause_at` until `go_on`. In an ordered run pauses are
    part of the order: what comes after one reads what was committed before it.
    """

    eager = False
    keeps_reads = False
    forgets = False

    def __init__(self, in_flight: int, limit: int) -> None:
        self.version = 0
        self.issued = 0
        self._in_flight = in_flight
        self._limit = limit
        self._under_way: dict[int, Ticket] = {}
        self._finished: list[Ticket] = []  # in the order they finished
        self._forgotten: list[int] = []  # numbers to be issued again
        self.pause_at = limit
        self._since = 0  # the version at the last pause

    @property
    def paused(self) -> bool:
        """All up to `pause_at` is committed."""
        return self.version == self.pause_at

    def go_on(self, pause_at: int) -> None:
        """After a pause, up to the next one."""
        self._since, self.pause_at = self.version, pause_at

    def stop(self) -> None:
        """Pause as soon as what is under way is committed."""
        self.pause_at = self.issued

    def restore(self, version: int) -> None:
        """Begin after so many commits, with nothing under way."""
        self.version = self.issued = self._since = version

    @property
    def under_way(self) -> int:
        """Updates issued and neither committed nor abandoned."""
        return len(self._under_way)

    def issue(self) -> Ticket | None:
        """The next update, reading the present version; None if none can be issued now."""
        if self._all_issued or self.under_way >= self._in_flight:
            return None
        if self.issued >= self.pause_at and not self._forgotten:
            return None
        number = self._forgotten[0] if self._forgotten else self.issued
        block = self._choose(number, {ticket.block for ticket in self._under_way.values()})
        if block is None:
            return None
        if self._forgotten:
            del self._forgotten[0]
        else:
            self.issued += 1
        self._under_way[number] = Ticket(number, block, self.version)
        return self._under_way[number]

    def finish(self, ticket: Ticket) -> None:
        """The update's result lies in its back slot; only the commit is missing."""
        self._finished.append(ticket)

    def next_commit(self) -> Ticket | None:
        """A finished update that may commit now, if there is one."""
        return next((ticket for ticket in self._finished if self.admits(ticket)), None)

    def commit(self, ticket: Ticket) -> int:
        """Count the update's commit; returns its number c, the version before it."""
        number = self.version
        self._finished.remove(ticket)
        del self._under_way[ticket.number]
        self.version += 1
        return number

    def abandon(self, ticket: Ticket) -> None:
        """The update was lost with its worker: forget it, and issue it again."""
        raise AssertionError(f"{type(self).__name__} repeats update {ticket.number}, it doesn't forget it")

    @property
    def exhausted(self) -> bool:
        """Nothing under way, and nothing left to issue."""
        return self._all_issued and not self._under_way

    @property
    def _all_issued(self) -> bool:
        return self.issued >= self._limit and not self._forgotten

    @abstractmethod
    def _choose(self, number: int, busy: set[int]) -> int | None:
        """The block of update `number`, the next to be issued; None if none can be now."""

    @abstractmethod
    def admits(self, ticket: Ticket) -> bool:
        """Whether the update may commit now."""


@final
class FreeScheduler(Scheduler):
    """Commits as they finish, as long as every other update in flight can still meet the staleness bound."""

    forgets = True

    def __init__(self, sampler: Sampler, in_flight: int, max_staleness: int, limit: int) -> None:
        super().__init__(in_flight, limit)
        self._sampler = sampler
        self._max_staleness = max_staleness

    def _choose(self, number: int, busy: set[int]) -> int:
        return self._sampler.draw(number, busy)

    def abandon(self, ticket: Ticket) -> None:
        """Forget a lost update; it is the next to be issued."""
        del self._under_way[ticket.number]
        self._sampler.give_back(ticket)
        self._forgotten.append(ticket.number)

    def admits(self, ticket: Ticket) -> bool:
        """The others commit after this one, at best the oldest read first: version + 1 + k − r_k ≤ λ for all."""
        version = self.version + 1
        for other in self._under_way.values():  # in the order of issue, so the oldest read first
            if other.number == ticket.number:
                continue
            if version - other.read_version > self._max_staleness:
                return False
            version += 1
        return True


@final
class OrderedScheduler(Scheduler):
    """Update n reads version max(v, n − P + 1), v that of the last pause, and commits as n: the same run every time."""

    eager = True
    keeps_reads = True

    def __init__(self, sampler: Sampler, in_flight: int, limit: int) -> None:
        super().__init__(in_flight, limit)
        self._sampler = sampler

    def _choose(self, number: int, busy: set[int]) -> int:
        due = max(self._since, number - self._in_flight + 1)
        if self.version != due:
            raise AssertionError(f"update {number} reads version {due}, but {self.version} were committed")
        return self._sampler.draw(number, busy)

    def admits(self, ticket: Ticket) -> bool:
        return ticket.number == self.version


@final
class SyncScheduler(Scheduler):
    """Rounds of `in_flight` updates that all read the same version, and a barrier: none commits before all are done.

    Sync-RED of the paper, what Async-RED is compared with: a round takes as long as its slowest update. Commits come in
    the order of issue, so the image is the same every time.
    """

    eager = True
    keeps_reads = True

    def __init__(self, sampler: Sampler, in_flight: int, limit: int) -> None:
        super().__init__(in_flight, limit)
        self._sampler = sampler
        self._begun = 0  # the version the present round reads

    def _choose(self, number: int, busy: set[int]) -> int | None:
        if not busy:
            self._begun = self.version
        return self._sampler.draw(number, busy) if self.version == self._begun else None

    def admits(self, ticket: Ticket) -> bool:
        issued = self.issued - self._begun  # all before this round were committed
        full = issued == self._in_flight or self.issued in (self._limit, self.pause_at)
        done = self.version - self._begun + len(self._finished) == issued
        return full and done and ticket.number == self.version


@final
class ReplayScheduler(Scheduler):
    """A recorded run again: every update reads the version and commits as the number the record says.

    Its leases end with the reads, as they did in a free run: kept until the commits, they could block a single worker.
    """

    eager = True

    def __init__(self, blocks: Sequence[int], read_versions: Sequence[int]) -> None:
        self._recorded = list(zip(blocks, read_versions, strict=True))
        super().__init__(in_flight=len(self._recorded), limit=len(self._recorded))
        self._order = sorted(range(len(self._recorded)), key=lambda commit: (self._recorded[commit][1], commit))

    def _choose(self, number: int, busy: set[int]) -> int | None:
        block, read_version = self._recorded[self.commit_number(number)]
        return block if read_version == self.version else None

    def commit_number(self, number: int) -> int:
        """The commit that update `number` (in the order of issue) becomes."""
        return self._order[number]

    def admits(self, ticket: Ticket) -> bool:
        return self.commit_number(ticket.number) == self.version
