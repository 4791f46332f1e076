"""Who is hung, on a clock of the test's own: literal seconds, nothing sleeps."""

import pytest

from asyncred_gpu import launches
from asyncred_gpu.launches import Launches


class Clock:
    """Stands in for the time module."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(launches, "time", clock)
    return clock


def look_for(under_way, clock, seconds):
    """Look every half second; what the last look found."""
    found = []
    for _ in range(round(2 * seconds)):
        clock.now += 0.5
        found = under_way.look()
    return found


def one_update_done(clock, duration=0.125):
    """Durations are binary fractions, so that sums of them are exact."""
    under_way = Launches(2)
    under_way.begin(0, [0])
    clock.now += duration
    under_way.finish(0, 0)
    under_way.look()
    return under_way


@pytest.mark.parametrize(("duration", "limit"), [(0.125, 10.0), (2.0, 40.0)])
def test_hung_is_longer_than_ten_seconds_and_twenty_medians(clock, duration, limit):
    under_way = one_update_done(clock, duration)
    under_way.begin(1, [1])
    assert under_way.idle() == [0]
    assert not look_for(under_way, clock, limit)
    assert look_for(under_way, clock, 0.5) == [(1, limit)]
    assert under_way.end(1) == [1] and under_way.idle() == [0, 1]


def test_several_updates_of_a_launch_have_as_many_limits(clock):
    under_way = one_update_done(clock)
    under_way.begin(1, [1, 2, 3])
    assert not look_for(under_way, clock, 30) and look_for(under_way, clock, 0.5) == [(1, 30.0)]


def test_before_the_first_result_and_at_a_start_the_limit_is_generous(clock):
    under_way = Launches(1)
    under_way.begin(0, [0])
    assert not look_for(under_way, clock, 120) and look_for(under_way, clock, 0.5) == [(0, 120.0)]
    starting = one_update_done(clock)
    starting.begin(1, [])
    assert not look_for(starting, clock, 120) and look_for(starting, clock, 0.5) == [(1, 120.0)]


@pytest.mark.parametrize("forgiving", [True, False])
def test_a_pause_of_this_process_is_not_held_against_a_worker(clock, forgiving, monkeypatch):
    """A slow callback, Ctrl-Z: one long step between two looks."""
    if not forgiving:
        monkeypatch.setattr(Launches, "_forgive", lambda self, pause: None)
    under_way = one_update_done(clock)
    under_way.begin(1, [1])
    under_way.look()
    clock.now += 60
    assert (under_way.look() == []) == forgiving


def test_waiting_for_a_back_slot_does_not_count(clock):
    under_way = one_update_done(clock)
    under_way.begin(1, [1])
    under_way.wait(1, 1)
    assert not look_for(under_way, clock, 60) and under_way.waiting() == [(1, 1)]
    under_way.go_on(1, 1)
    assert not look_for(under_way, clock, 10) and look_for(under_way, clock, 0.5) == [(1, 10.0)]


def test_several_that_wait_at_once_are_forgiven_once(clock):
    under_way = one_update_done(clock)
    under_way.begin(1, [1, 2, 3])
    for number in (1, 2):
        look_for(under_way, clock, 1.0)
        under_way.wait(1, number)
    look_for(under_way, clock, 5.0)
    under_way.go_on(1, 2)
    assert under_way.waiting() == [(1, 1)]
    look_for(under_way, clock, 2.0)
    under_way.go_on(1, 1)  # the first waited 8 seconds, the second 5 of them
    assert not look_for(under_way, clock, 29) and look_for(under_way, clock, 0.5) == [(1, 30.0)]


def test_updates_of_the_data_term_do_not_say_how_long_one_may_take(clock):
    under_way = one_update_done(clock, duration=2.0)
    for number in range(1, 9):
        under_way.begin(0, [number], asks=False)
        clock.now += 0.125
        under_way.finish(0, number)
    under_way.begin(0, [9])
    assert look_for(under_way, clock, 39.0) == []
    assert look_for(under_way, clock, 2.0) == [(0, 40.0)]
