"""Block workers on streams of one or more GPUs: one host thread, a launch a worker, events instead of locks.

    descriptor, read graph, record (the lease may end), work graph → [back slot granted] → publish graph, record

(work and publish as one graph where the slot is granted at once; both kinds again, without the denoiser, for launches
of updates that all keep their centers).

Everything here runs on the simulated device too (runtime/simulated_streams.py) and is tested there; what touches CUDA
is runtime/cuda_device.py. The host observes an event before it lets another stream rely on it: a slot is flipped in
front only after its writer's event was seen, and granted to a writer only after its readers' events were.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from ..blocks import FloatArray
from ..red import Moved, Step
from ..slots import Slot
from ..task import Task
from .base import Computed, Published, Read, WorkerError
from .base import Event as Report
from .descriptor import DescriptorLayout, DescriptorRing, RingEntry
from .device import Command, Device, Event, Operation, Record, Run, Stream, staged

Result = TypeVar("Result")

# More launches of one worker than this are never under way: while a start image is primed the host runs ahead.
RING_ENTRIES = 4
# How long close() waits for what is still running; a kernel that hangs can't be ended.
CLOSE_SECONDS = 10.0


class Program(Protocol):
    """One worker's operations on its device (runtime/program.py), on static buffers."""

    @property
    def device(self) -> Device: ...

    @property
    def layout(self) -> DescriptorLayout: ...

    @property
    def gradient_scale(self) -> float: ...

    def upload(self, entry: RingEntry, tasks: Sequence[Task]) -> Operation:
        """Copy the descriptor to the device."""
        ...

    def prime(self) -> Sequence[Operation]:
        """From the pixels of the start image to a published slot 0."""
        ...

    @property
    def centered(self) -> bool:
        """Whether blocks go along with their centers, so that a launch may ask the denoiser for nothing."""
        ...

    def read(self, asks: bool = True) -> Sequence[Operation]:
        """Up to what was read; `asks`: what the denoiser needs, too."""
        ...

    def work(self, asks: bool = True) -> Sequence[Operation]:
        """Up to what will be published; `asks`: with the denoiser."""
        ...

    def publish(self, first: int, size: int) -> Sequence[Operation]:
        """Write the back slots of tasks first … first + size − 1."""
        ...

    def exchange(self, tasks: Sequence[Task]) -> Sequence[Operation]:
        """Copy the published slots to the other devices, if there are any."""
        ...

    def result(self, place: int, task: Task) -> Moved:
        """What the step of the launch's task at `place` says of itself, once its work is done."""
        ...


class Memory(Protocol):
    """The slots, wherever they lie."""

    def pixels(self, block: int, slot: int) -> FloatArray:
        """(rows, cols) of a slot, on the host."""
        ...

    def slot(self, block: int, slot: int) -> Slot:
        """All of a slot, on the host."""
        ...

    def fill(self, block: int, content: Slot) -> None:
        """Slot 0 of a block, on every device."""
        ...


@dataclass(frozen=True)
class _Expected:
    """What to report when the event is done."""

    event: Event
    reports: Callable[[], list[Report]]


class _Commands(NamedTuple):
    """A launch up to where its results are published, as graphs where it can be."""

    read: Sequence[Command]
    work: Sequence[Command]
    work_and_publish: Sequence[Command]

    @classmethod
    def of(cls, stream: Stream, program: Program, asks: bool) -> Self:
        """Work and publish are one graph where nothing has to be waited for between them, as it mostly is."""
        publish = program.publish(0, program.layout.size)
        return cls(
            staged(stream, program.read(asks)),
            staged(stream, program.work(asks)),
            staged(stream, [*program.work(asks), *publish]),
        )


class _Worker:
    """The host's side of one worker: its stream, its graphs, and what it waits for."""

    def __init__(self, number: int, program: Program) -> None:
        self.number = number
        self.program = program
        self.device = program.device
        size = program.layout.size
        self._stream = self.device.stream()
        self._ring = DescriptorRing(self.device, program.layout, number, RING_ENTRIES)
        self._asking = _Commands.of(self._stream, program, asks=True)
        self._keeping = _Commands.of(self._stream, program, asks=False) if program.centered else None
        self._publish = [staged(self._stream, program.publish(place, 1)) for place in range(size)]
        self._prime = staged(self._stream, program.prime())
        self._was_read, self._computed = self.device.event(), self.device.event()
        self._published = [self.device.event() for _ in range(size)]
        self._expected: deque[_Expected] = deque()
        self._tasks: list[Task] = []

    def prime(self, tasks: Sequence[Task]) -> None:
        """Publish the start image's blocks; done() says when."""
        commands = [*self._describe(tasks), *self._prime, *self._exchange(tasks), Record(self._was_read)]
        self._stream.enqueue(commands)

    def primed(self) -> bool:
        return self._was_read.done()

    def launch(self, tasks: Sequence[Task]) -> None:
        self._tasks = list(tasks)
        parts = self._asking
        if self._keeping is not None and all(task.step.keeps for task in tasks):
            parts = self._keeping
        commands = [*self._describe(tasks), *parts.read, Record(self._was_read)]
        self._expect(self._was_read, lambda: [Read(self.number, task.number) for task in tasks])
        if all(task.granted for task in tasks):
            commands += [*parts.work_and_publish, *self._exchange(tasks), Record(self._published[0])]
            self._stream.enqueue(commands)
            self._expect(self._published[0], lambda: [self._result(place) for place in range(len(tasks))])
            return
        self._stream.enqueue([*commands, *parts.work, Record(self._computed)])
        waiting = [task.number for task in tasks if not task.granted]
        self._expect(self._computed, lambda: [Computed(self.number, number) for number in waiting])
        for place, task in enumerate(tasks):
            if task.granted:
                self._publish_one(place)

    def grant(self, number: int) -> None:
        self._publish_one(next(place for place, task in enumerate(self._tasks) if task.number == number))

    def poll(self) -> list[Report]:
        """What has happened since; in the order of the stream."""
        reports: list[Report] = []
        while self._expected and self._expected[0].event.done():
            reports += self._expected.popleft().reports()
        return reports

    @property
    def busy(self) -> bool:
        """Something is to be reported."""
        return bool(self._expected)

    def idle(self) -> bool:
        """Nothing is to be reported, and the start image, if it was primed, is."""
        return not self._expected and self.primed()

    def _describe(self, tasks: Sequence[Task]) -> list[Command]:
        entry = self._ring.take()
        entry.fill(tasks, self.program.gradient_scale)
        return [Run(self.program.upload(entry, tasks)), Record(entry.event)]

    def _exchange(self, tasks: Sequence[Task]) -> list[Command]:
        return [Run(operation) for operation in self.program.exchange(tasks)]

    def _publish_one(self, place: int) -> None:
        event = self._published[place]
        self._stream.enqueue([*self._publish[place], *self._exchange([self._tasks[place]]), Record(event)])
        self._expect(event, lambda: [self._result(place)])

    def _result(self, place: int) -> Published:
        task = self._tasks[place]
        return Published(self.number, task.number, self.program.result(place, task))

    def _expect(self, event: Event, reports: Callable[[], list[Report]]) -> None:
        self._expected.append(_Expected(event, reports))


class CudaRuntime:
    """The protocol of runtime/base.py on streams. Owns the workers; `memory` the slots of the first device."""

    def __init__(self, programs: Sequence[Program], memory: Memory, blocks: int, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        self._memory = memory
        self._blocks = blocks
        self._workers: list[_Worker] = []
        for program in programs:  # what fills their buffers runs on another stream
            program.device.synchronize()
        for number, program in enumerate(programs):  # one after the other: a capture wants the device for itself
            try:
                self._workers.append(_Worker(number, program))
            except (RuntimeError, MemoryError) as error:
                raise_explained(number, program.device, "being set up", error)
                raise

    @property
    def workers(self) -> int:
        return len(self._workers)

    def prime(self) -> None:
        """Fill the shares of the start image, each worker its part; every slot 1 holds the image's pixels, too."""
        size = self._workers[0].program.layout.size
        parts = [range(begin, min(begin + size, self._blocks)) for begin in range(0, self._blocks, size)]
        for turn, blocks in enumerate(parts):
            worker = self._workers[turn % self.workers]
            tasks = [prime_task(block, self._blocks) for block in blocks]
            self._named(worker, "projecting the start image", worker.prime, tasks)
        begun = time.perf_counter()
        for worker in self._workers:
            while not self._named(worker, "projecting the start image", worker.primed):
                worker.device.pause(time.perf_counter() - begun)

    def pixels(self, block: int, slot: int) -> FloatArray:
        return self._memory.pixels(block, slot)

    def slot(self, block: int, slot: int) -> Slot:
        return self._memory.slot(block, slot)

    def restore(self, slots: Sequence[Slot]) -> None:
        for block, content in enumerate(slots):
            self._memory.fill(block, content)
        for worker in self._workers:  # what fills them runs on another stream
            worker.device.synchronize()

    def launch(self, worker: int, tasks: Sequence[Task]) -> None:
        self._named(self._workers[worker], "starting updates", self._workers[worker].launch, tasks)

    def grant(self, worker: int, number: int) -> None:
        self._named(self._workers[worker], "publishing an update", self._workers[worker].grant, number)

    def wait(self, timeout: float | None) -> list[Report]:
        begun = time.perf_counter()
        while True:
            reports: list[Report] = []
            for worker in self._workers:
                if worker.busy:
                    reports += self._named(worker, "computing", worker.poll)
            waited = time.perf_counter() - begun
            if reports or (timeout is not None and waited >= timeout):
                return reports
            self._workers[0].device.pause(waited)

    def replace(self, worker: int) -> None:
        """A stream's kernels can't be ended, so a hung worker ends the run."""
        raise WorkerError(
            f"worker {worker} on {self._workers[worker].device.name} gave no result in time, and kernels under way "
            "can't be ended. Look with nvidia-smi for another program on the GPU; else restart Python, and use fewer "
            "workers or smaller blocks."
        )

    def close(self) -> None:
        """Wait for what is still under way, since it uses the slots; but not for ever."""
        begun = time.perf_counter()
        try:
            for worker in self._workers:
                worker.poll()
                while not worker.idle() and time.perf_counter() - begun < CLOSE_SECONDS:
                    worker.device.pause(time.perf_counter() - begun)
                    worker.poll()
        except (RuntimeError, MemoryError):  # the run's own error is on its way
            pass
        self._workers = []

    def _named(self, worker: _Worker, doing: str, call: Callable[..., Result], *arguments: Any) -> Result:
        """The call's result; an error of the device gets the worker's name, and what to do."""
        try:
            return call(*arguments)
        except (RuntimeError, MemoryError) as error:
            raise_explained(worker.number, worker.device, doing, error)
            raise


def raise_explained(worker: int, device: Device, doing: str, error: Exception) -> None:
    """Raise a WorkerError if it is an error of the device."""
    explained = device.explain(error)
    if explained is not None:
        raise WorkerError(f"worker {worker} on {device.name} failed while {doing}: {explained}") from error


def prime_task(block: int, blocks: int) -> Task:
    """An update that moves nothing and asks nothing: it reads slot 1 and publishes slot 0."""
    return Task(-1 - block, block, np.ones(blocks, np.int8), Step(0.0, 0.0, False, strength=0.0), None, True)
