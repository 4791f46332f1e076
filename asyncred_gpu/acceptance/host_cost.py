"""What an update costs the host: to launch, commit and choose. Asking in vain whether anything is done counts apart.

Twice: on a runtime that does nothing, which leaves the engine's own bookkeeping; and around the real one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..blocks import FloatArray
from ..red import Moved
from ..result import Result
from ..runtime.base import Event, Published, Read, Runtime, WorkerSetup
from ..slots import Slot
from ..solver import GpuAsyncRED, RuntimeFactory
from ..task import Task
from .cases import Case
from .machine import Machine, run
from .measured import Point
from .sections import Findings
from .sweeps import solver_at

MOVED = Moved(1.0, False, True, 1.0)


class NullRuntime:
    """Every launch is done when the host asks next. The image never changes."""

    notes: tuple[str, ...] = ()

    def __init__(self, workers: int, blocks: Sequence[FloatArray]) -> None:
        self.workers = workers
        self._blocks = blocks
        self._events: list[Event] = []

    def pixels(self, block: int, slot: int) -> FloatArray:
        return self._blocks[block]

    def slot(self, block: int, slot: int) -> Slot:
        raise AssertionError("nothing is kept here")

    def prime(self) -> None:
        """Nothing to fill."""

    def restore(self, slots: Sequence[Slot]) -> None:
        raise AssertionError("nothing is kept here")

    def launch(self, worker: int, tasks: Sequence[Task]) -> None:
        self._events += [Read(worker, task.number) for task in tasks]
        self._events += [Published(worker, task.number, MOVED) for task in tasks]

    def grant(self, worker: int, number: int) -> None:
        """Nobody waits."""

    def wait(self, timeout: float | None) -> list[Event]:
        events, self._events = self._events, []
        return events

    def replace(self, worker: int) -> None:
        raise AssertionError("nothing is ever lost here")

    def close(self) -> None:
        """Nothing to end."""


class TimedRuntime:
    """A runtime around another, which takes the time of its calls. Owns the sums, in seconds.

    polling: looks that found nothing. launching: launch and grant. collecting: looks that found something.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.launching = self.collecting = self.polling = 0.0
        self.launches = 0

    @property
    def workers(self) -> int:
        return self._runtime.workers

    @property
    def notes(self) -> tuple[str, ...]:
        return self._runtime.notes

    def pixels(self, block: int, slot: int) -> FloatArray:
        return self._runtime.pixels(block, slot)

    def slot(self, block: int, slot: int) -> Slot:
        return self._runtime.slot(block, slot)

    def prime(self) -> None:
        self._runtime.prime()

    def restore(self, slots: Sequence[Slot]) -> None:
        self._runtime.restore(slots)

    def launch(self, worker: int, tasks: Sequence[Task]) -> None:
        begun = time.perf_counter()
        self._runtime.launch(worker, tasks)
        self.launching += time.perf_counter() - begun
        self.launches += 1

    def grant(self, worker: int, number: int) -> None:
        begun = time.perf_counter()
        self._runtime.grant(worker, number)
        self.launching += time.perf_counter() - begun

    def wait(self, timeout: float | None) -> list[Event]:
        """Look again and again without a pause, so that every look is known to have been in vain or not."""
        begun = looked = time.perf_counter()
        while True:
            events = self._runtime.wait(0.0)
            now = time.perf_counter()
            if events:
                self.collecting += now - looked
                return events
            self.polling += now - looked
            if timeout is not None and now - begun >= timeout:
                return []
            looked = now

    def replace(self, worker: int) -> None:
        self._runtime.replace(worker)

    def close(self) -> None:
        self._runtime.close()


def host_costs(result: Result, timed: TimedRuntime) -> dict[str, float]:
    """Microseconds an update of a run on that runtime: its parts, "host" (all of them but polling), and "all"."""
    seconds = float(result.history["seconds"][-1])
    parts = {"launching": timed.launching, "collecting": timed.collecting, "polling": timed.polling}
    parts["engine"] = seconds - sum(parts.values())
    costs = {name: 1e6 * part / len(result.history["update"]) for name, part in parts.items()}
    costs["host"] = costs["launching"] + costs["collecting"] + costs["engine"]
    return costs | {"all": 1e6 * seconds / len(result.history["update"])}


def host_time(
    findings: Findings, machine: Machine, case: Case, points: Sequence[Point], precision: str, sweeps: int = 100
) -> None:
    """The section: of the solver at these points, of which the first is the figure aimed at."""
    columns = ["", "launch", "collect", "engine", "host in all", "engine on a null runtime", "update"]
    rows = findings.table(f"Host time, µs an update, {precision}", columns)
    for point in findings.in_time(points):
        solver = solver_at(machine, case, point, precision)
        timed: list[TimedRuntime] = []
        result = run(_timing(machine.factory(solver), timed), solver, sweeps, case.start, case.truth)
        costs = host_costs(result, timed[0])
        idle = run(_doing_nothing(solver), solver, sweeps, case.start, case.truth)
        costs["null"] = 1e6 * float(idle.history["seconds"][-1]) / len(idle.history["update"])
        rows.append(
            [str(point), *(costs[name] for name in ("launching", "collecting", "engine", "host", "null", "all"))]
        )
        findings.data[str(point)] = costs
        findings.measured.setdefault("host", costs["host"])


def _timing(make: RuntimeFactory, timed: list[TimedRuntime]) -> RuntimeFactory:
    """Such a runtime, whose calls are timed; it is added to `timed`."""

    def make_timed(setup: WorkerSetup, workers: int, image: FloatArray) -> Runtime:
        timed.append(TimedRuntime(make(setup, workers, image)))
        return timed[-1]

    return make_timed


def _doing_nothing(solver: GpuAsyncRED) -> RuntimeFactory:
    return lambda setup, workers, image: NullRuntime(workers, solver.operator.grid.split(image))
