"""The scheduler alone: literal tables, bounded staleness under random finishing, one update a block."""

import numpy as np
import pytest

from asyncred_gpu.buffer import DoubleBuffer
from asyncred_gpu.scheduler import (
    EpochSampler,
    FreeScheduler,
    OrderedScheduler,
    ReplayScheduler,
    SyncScheduler,
    UniformSampler,
    make_sampler,
)


class Listed:
    """Draws from a list, whatever is busy."""

    def __init__(self, blocks):
        self._blocks = iter(blocks)

    def draw(self, number, busy):
        return next(self._blocks)

    def give_back(self, ticket):
        self._blocks = iter([ticket.block, *self._blocks])


def test_gate_holds_a_commit_that_would_make_another_too_stale():
    scheduler = FreeScheduler(Listed(range(9)), in_flight=3, max_staleness=2, limit=9)
    a, b, c = scheduler.issue(), scheduler.issue(), scheduler.issue()
    assert scheduler.issue() is None  # three are under way
    scheduler.finish(b)
    assert scheduler.next_commit() == b  # a and c can still commit as numbers 1 and 2
    assert scheduler.commit(b) == 0
    d = scheduler.issue()
    assert (d.block, d.read_version) == (3, 1)
    scheduler.finish(d)
    assert scheduler.next_commit() is None  # a and c would commit as 2 and 3: staleness 3 > 2
    scheduler.finish(c)
    assert scheduler.next_commit() == c  # a then is 2
    scheduler.commit(c)
    assert scheduler.next_commit() is None
    scheduler.finish(a)
    assert [scheduler.next_commit(), scheduler.commit(a)] == [a, 2]
    assert scheduler.next_commit() == d and scheduler.commit(d) == 3


def test_ordered_updates_read_exactly_p_minus_one_commits_back():
    scheduler = OrderedScheduler(make_sampler("epoch", (1, 5), 0), in_flight=3, limit=7)
    reads, under_way = [], []
    while not scheduler.exhausted:
        while (ticket := scheduler.issue()) is not None:
            reads.append(ticket.read_version)
            under_way.append(ticket)
        for ticket in reversed(under_way):  # finished in the wrong order
            scheduler.finish(ticket)
        under_way = []
        scheduler.commit(scheduler.next_commit())
    assert reads == [0, 0, 0, 1, 2, 3, 4]


def test_sync_rounds_read_one_version_and_commit_behind_a_barrier():
    scheduler = SyncScheduler(make_sampler("epoch", (1, 5), 0), in_flight=3, limit=8)
    rounds = []
    while not scheduler.exhausted:
        tickets = []
        while (ticket := scheduler.issue()) is not None:
            tickets.append(ticket)
        rounds.append([(ticket.number, ticket.read_version) for ticket in tickets])
        assert len({ticket.block for ticket in tickets}) == len(tickets)
        for ticket in reversed(tickets):  # finished in the wrong order
            assert scheduler.next_commit() is None  # the barrier
            scheduler.finish(ticket)
        for ticket in tickets:  # committed in the right one
            assert scheduler.under_way == len(tickets) or scheduler.issue() is None  # nobody reads half a round
            assert scheduler.next_commit() == ticket and scheduler.commit(ticket) == ticket.number
    assert rounds == [[(0, 0), (1, 0), (2, 0)], [(3, 3), (4, 3), (5, 3)], [(6, 6), (7, 6)]]


def test_replay_reads_and_commits_as_recorded():
    blocks, reads = [0, 1, 2, 0], [0, 0, 1, 2]
    scheduler = ReplayScheduler(blocks, reads)
    seen = []
    while not scheduler.exhausted:
        while (ticket := scheduler.issue()) is not None:
            scheduler.finish(ticket)
        ticket = scheduler.next_commit()
        seen.append((ticket.block, ticket.read_version, scheduler.commit(ticket)))
    assert seen == [(0, 0, 0), (1, 0, 1), (2, 1, 2), (0, 2, 3)]


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize(("in_flight", "bound"), [(1, 0), (2, 1), (4, 3), (4, 6), (8, 7), (8, 20)])
def test_staleness_never_exceeds_the_bound(in_flight, bound, gated, monkeypatch):
    if not gated:
        monkeypatch.setattr(FreeScheduler, "admits", lambda self, ticket: True)
    worst = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        scheduler = FreeScheduler(make_sampler("uniform", (5, 6), seed), in_flight, bound, limit=300)
        running, victim = [], None
        while not scheduler.exhausted:
            while (ticket := scheduler.issue()) is not None:
                running.append(ticket)
                victim = ticket if victim is None else victim
            others = [ticket for ticket in running if ticket != victim] or running
            if others and (scheduler.next_commit() is None):
                ticket = others[int(random.integers(len(others)))]
                running.remove(ticket)
                victim = None if ticket == victim else victim
                scheduler.finish(ticket)
            while (ticket := scheduler.next_commit()) is not None:
                worst = max(worst, scheduler.commit(ticket) - ticket.read_version)
    assert (worst <= bound) == (gated or in_flight == 1)
    assert worst == bound or not gated


def test_no_block_is_drawn_while_busy_and_every_epoch_is_even():
    for sampler in (EpochSampler(6, np.random.default_rng(0)), UniformSampler(6, np.random.default_rng(0))):
        for _ in range(200):
            assert sampler.draw(0, {1, 2, 3}) not in {1, 2, 3}
    sampler = EpochSampler(6, np.random.default_rng(0))
    draws = [sampler.draw(number, set()) for number in range(60)]
    assert all(sorted(draws[k : k + 6]) == list(range(6)) for k in range(0, 60, 6))
    uniform = UniformSampler(6, np.random.default_rng(0))
    draws = [uniform.draw(number, set()) for number in range(60)]
    assert not all(sorted(draws[k : k + 6]) == list(range(6)) for k in range(0, 60, 6))


def test_a_lost_update_is_issued_again():
    scheduler = FreeScheduler(Listed(range(9)), in_flight=2, max_staleness=1, limit=3)
    lost, kept = scheduler.issue(), scheduler.issue()
    scheduler.abandon(lost)
    scheduler.finish(kept)
    scheduler.commit(kept)
    again = scheduler.issue()
    assert again == lost._replace(read_version=1)  # under its number, with a fresh read
    scheduler.finish(again)
    scheduler.commit(again)
    count = 2
    while (ticket := scheduler.issue()) is not None:
        scheduler.finish(ticket)
        scheduler.commit(scheduler.next_commit())
        count += 1
    assert count == 3 and scheduler.exhausted


def test_leases_guard_the_back_slot_and_end():
    buffer = DoubleBuffer(3)
    slots = buffer.lease(7)
    assert buffer.writable(1)  # slot 1 was never in front
    buffer.flip(1)
    assert not buffer.writable(1)  # reader 7 still reads slot 0
    younger = buffer.lease(8)
    assert list(slots) == [0, 0, 0] and list(younger) == [0, 1, 0]
    assert buffer.writable(0) and buffer.holds(7)
    buffer.release(7)
    buffer.release(7)  # ending it twice is no fault
    assert buffer.writable(1) and not buffer.holds(7)
    assert list(buffer.front()) == [0, 1, 0]
