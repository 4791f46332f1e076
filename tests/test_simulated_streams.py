"""The simulated streams themselves: textbook races are found, ordered pairs aren't reported, any order comes up."""

from itertools import combinations

import pytest

from asyncred_gpu.runtime.clocks import Race
from asyncred_gpu.runtime.device import Operation, Record, Replay, Run, access
from asyncred_gpu.runtime.simulated_streams import Deadlock, Machine, SimulatedDevice
from asyncred_gpu.runtime.stream_policies import POLICIES, AnyOrder, Delaying, Newest, Oldest, RunAhead

# --- streams and events ----------------------------------------------------------------------------------------------


def operation(name, reads=(), writes=(), run=lambda: None):
    return Operation(name, run, lambda: access(reads, writes))


def machine(policy="any", seed=0, streams=2, **options):
    """A simulated device and its streams."""
    device = SimulatedDevice(Machine(POLICIES[policy](seed), **options))
    return device, [device.stream() for _ in range(streams)]


WRITE, READ = {"writes": ["x"]}, {"reads": ["x"]}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("first", "second"), [(WRITE, WRITE), (WRITE, READ), (READ, WRITE), (READ, READ)])
@pytest.mark.parametrize("seen", [True, False])
def test_two_streams_race_unless_the_host_saw_the_first_end(policy, first, second, seen):
    device, (one, two) = machine(policy)
    event = device.event()
    one.enqueue([Run(operation("first", **first)), Record(event)])
    while seen and not event.done():
        device.pause(0.0)
    try:
        two.enqueue([Run(operation("second", **second))])
        device.synchronize()
        raced = False
    except Race as race:
        raced = True
        assert "race on 'x'" in str(race) and "stream 0 of simulated device 0" in str(race)
        assert {"first", "second"} <= set(str(race).replace(":", "").split())
    assert raced == (not seen and (first, second) != (READ, READ))


def test_one_stream_is_in_order_and_other_regions_do_not_race():
    device, (one, two) = machine()
    one.enqueue([Run(operation("a", **WRITE)), Run(operation("b", **READ)), Run(operation("c", **WRITE))])
    two.enqueue([Run(operation("d", ["y"], ["z"]))])
    device.synchronize()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_event_covers_what_was_enqueued_before_it(when):
    device, (one, two) = machine("ahead")
    event, write = device.event(), Run(operation("write", **WRITE))
    one.enqueue([write, Record(event)] if when == "after" else [Record(event), write])
    assert event.done()
    if when == "after":
        two.enqueue([Run(operation("read", **READ))])
    else:
        with pytest.raises(Race):
            two.enqueue([Run(operation("read", **READ))])


@pytest.mark.parametrize("sees", [(0,), (1,), (0, 1)])
def test_a_writer_waits_for_every_reader(sees):
    device, streams = machine("ahead", streams=3)
    events = [device.event(), device.event()]
    for stream, event in zip(streams, events, strict=False):
        stream.enqueue([Run(operation("read", **READ)), Record(event)])
    assert all(events[number].done() for number in sees)
    write = [Run(operation("write", **WRITE))]
    if sees == (0, 1):
        streams[2].enqueue(write)
    else:
        with pytest.raises(Race, match=f"write on stream 2 .* read on stream {1 - sees[0]}"):
            streams[2].enqueue(write)


def test_order_is_handed_on_from_stream_to_stream_by_the_host():
    device, (one, two, three) = machine("ahead", streams=3)
    first, second = device.event(), device.event()
    one.enqueue([Run(operation("write", **WRITE)), Record(first)])
    assert first.done()
    two.enqueue([Run(operation("read", **READ)), Record(second)])
    assert second.done()
    three.enqueue([Run(operation("write", **WRITE))])
    assert device.machine.clocks.now()[one.thread] == 2


# --- the host --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["ahead", "oldest"])
@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize(("host", "stream"), [(WRITE, READ), (READ, WRITE), (READ, READ)])
def test_the_host_races_with_what_it_has_enqueued(policy, seen, host, stream):
    """Also if the operation runs only after the host's access: its order was luck."""
    device, (one, _) = machine(policy)
    event = device.event()
    one.enqueue([Run(operation("copy", **stream)), Record(event)])
    while seen and not event.done():
        device.pause(0.0)
    if seen or host == stream:
        device.host(access(**host))
        return
    with pytest.raises(Race, match="host code on the host"):
        device.host(access(**host))
        device.synchronize()


def test_what_the_host_did_before_is_in_order():
    device, (one, _) = machine("oldest")
    device.host(access(writes=["x"]))
    one.enqueue([Run(operation("copy", ["x"], ["y"]))])
    device.synchronize()
    device.host(access(["y"], ["x"]))


# --- events ----------------------------------------------------------------------------------------------------------


def test_an_event_that_was_never_recorded_is_done_and_orders_nothing():
    device, (one, two) = machine("ahead")
    one.enqueue([Run(operation("write", **WRITE))])
    assert device.event().done()
    with pytest.raises(Race):
        two.enqueue([Run(operation("read", **READ))])


def test_an_event_recorded_anew_is_about_its_latest_record():
    device, (one, two) = machine("newest")
    event = device.event()
    one.enqueue([Record(event)])
    device.pause(0.0)
    assert event.done()
    one.enqueue([Run(operation("a", **WRITE)), Record(event)])
    assert not event.done()
    device.pause(0.0)
    assert not event.done()  # only the operation ran
    two.enqueue([Record(event)])
    device.pause(0.0)
    assert event.done() and len(one) == 1  # the newest record, on the other stream
    with pytest.raises(Race):
        two.enqueue([Run(operation("b", **READ))])
        device.synchronize()


# --- orders ----------------------------------------------------------------------------------------------------------


def order_of(policy, seed=0, streams=2, commands=3, victims=None):
    """In which order a policy runs three operations on each stream; the streams of each."""
    ran = []
    made = policy(seed) if victims is None else Delaying(victims, seed)
    device = SimulatedDevice(Machine(made))
    queues = [device.stream() for _ in range(streams)]
    for place in range(commands):
        for number, stream in enumerate(queues):
            stream.enqueue([Run(operation(f"{place}", run=lambda number=number: ran.append(number)))])
    event = device.event()
    queues[0].enqueue([Record(event)])
    while not event.done():
        device.pause(0.0)
    device.synchronize()
    return tuple(ran)


def test_any_order_comes_up():
    """All 20 ways to merge three operations with three others."""
    every = {tuple(int(place in ones) for place in range(6)) for ones in combinations(range(6), 3)}
    assert {order_of(AnyOrder, seed) for seed in range(2000)} == every


def test_the_worst_orders_are_as_they_say():
    assert order_of(lambda seed: Oldest()) == (0, 1, 0, 1, 0, 1)
    assert order_of(lambda seed: RunAhead()) == (0, 1, 0, 1, 0, 1)
    assert order_of(lambda seed: Newest()) == (1, 1, 1, 0, 0, 0)
    for seed in range(20):
        assert order_of(None, seed, victims=lambda stream: stream.thread == 1) == (1, 1, 1, 0, 0, 0)
        last = order_of(None, seed, victims=lambda stream: stream.next_name == "2")
        assert sorted(last[:4]) == [0, 0, 1, 1]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_host_that_waits_gets_its_event_in_the_end(policy):
    for seed in range(20):
        assert sorted(order_of(POLICIES[policy], seed, streams=5)) == sorted(list(range(5)) * 3)


def test_before_the_host_waits_the_oldest_first_runs_nothing():
    device, (one, _) = machine("oldest")
    event = device.event()
    one.enqueue([Run(operation("a")), Record(event)])
    assert not any(event.done() for _ in range(100)) and len(one) == 2


# --- deadlocks, graphs, devices --------------------------------------------------------------------------------------


def test_a_deadlock_is_reported_with_what_every_stream_is_at():
    device, (one, _) = machine()
    one.enqueue([Run(operation("crop"))])
    device.synchronize()
    device.pause(0.0)
    with pytest.raises(Deadlock, match=r"stream 0 of simulated device 0 after crop; .* device 0 after nothing yet"):
        device.pause(0.0)


@pytest.mark.parametrize("warms_up", [True, False])
def test_a_graph_runs_its_operations_in_order_and_only_when_replayed(warms_up):
    _, (one, _) = machine("ahead", warms_up=warms_up)
    ran = []
    graph = one.capture([operation(name, run=lambda name=name: ran.append(name)) for name in "abc"])
    assert ran == (["a", "b", "c"] if warms_up else [])
    ran.clear()
    one.enqueue([Replay(graph), Replay(graph)])
    assert ran == ["a", "b", "c"] * 2


def test_capturing_while_something_runs_is_refused():
    _, (one, two) = machine("oldest")
    one.enqueue([Run(operation("a"))])
    with pytest.raises(AssertionError, match="captured while stream 0 of simulated device 0 runs"):
        two.capture([])


def test_access_is_asked_when_the_operation_runs():
    """A descriptor says which slots; it is on the device only then."""
    device, (one, two) = machine("oldest")
    names = ["y"]
    one.enqueue([Run(operation("write", **WRITE))])
    two.enqueue([Run(Operation("read", lambda: None, lambda: access(names)))])
    names[:] = ["x"]
    with pytest.raises(Race, match="race on 'x'"):
        device.synchronize()


def test_a_simulated_device_is_the_host():
    device, _ = machine()
    assert device.pinned(16).shape == (16,) and device.torch.type == "cpu"
    assert device.free_bytes() is None and device.explain(RuntimeError()) is None
    with pytest.raises(AssertionError, match="simulated device 0 was made without kernels"):
        _ = device.kernels
    assert SimulatedDevice(device.machine, 1, kernels=device).kernels is device
