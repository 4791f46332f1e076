"""Block workers as a pool of processes, one a core, with the slots in anonymous shared memory.

The memory is a memfd handed down by descriptor: it has no name, so nothing can stay behind in /dev/shm, whoever is
killed. One pipe a worker and no shared lock: a killed worker blocks nobody. Linux (other systems: an unlinked file).
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait

import numpy as np

from ..blocks import FloatArray
from ..interrupts import undisturbed
from ..slots import Slot, slot_layout
from ..task import Task
from .base import Event, Lost, Published, Started, WorkerError, WorkerSetup
from .descriptors import send_descriptors
from .messages import Failed, Grant, Launch, Prime, Ready, Setup
from .shared import anonymous_memory, shared_object
from .spares import Spare, SpareWorkers

STARTUP_SECONDS = 120.0
# One thread a worker: the pool is the parallelism. And glibc keeps what was freed: a network's activations would
# otherwise be mapped and cleared anew at every update (measured: 44 ms instead of 56 for a block's denoiser).
WORKER_ENVIRONMENT = {
    **{name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}


def available_cores() -> list[int]:
    """The processors this process may run on."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class CpuRuntime:
    """A pool of worker processes on one image. Owns the processes, their pipes and the shared memory.

    Args:
        image: (rows, cols), where the run begins.
        spares: where idle processes come from and go to; None: every run starts and ends its own.
        first_core: of the first worker, among those there are; None: by chance, where not all are taken.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        workers: int,
        image: FloatArray,
        spares: SpareWorkers | None = None,
        first_core: int | None = None,
    ) -> None:
        self._layout = slot_layout(setup.operator)
        self._cores = available_cores()
        # Runs side by side don't all begin on the first core.
        self._first_core = os.getpid() if workers < len(self._cores) else 0
        if first_core is not None:
            self._first_core = first_core
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * workers
        self._pipes: list[Connection | None] = [None] * workers
        self._answers_due = [0] * workers  # a worker that owes none is idle
        self._spares = spares
        self._memory_fd = self._setup_fd = -1
        self._closed = False
        try:
            with undisturbed():
                self._memory_fd = anonymous_memory(self._layout.nbytes)
            self._memory = mmap.mmap(self._memory_fd, self._layout.nbytes)
            self.slots: Sequence[tuple[Slot, Slot]] = self._layout.views(self._memory)
            for block, pixels in enumerate(setup.operator.grid.split(image)):
                np.copyto(self.slots[block][0].pixels, pixels)
            with undisturbed():
                self._setup_fd = shared_object(replace(setup, reference=None))  # which isn't theirs to see
            for worker in range(workers):
                self._start(worker)
            for worker in range(workers):
                self._expect_ready(worker, "starting")
        except BaseException:
            self.close()
            raise

    notes: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        return len(self._processes)

    # --- processes -------------------------------------------------------------------------------------------------

    def _start(self, worker: int) -> None:
        with undisturbed():
            self._start_process(worker)

    def _start_process(self, worker: int) -> None:
        spare = None if self._spares is None else self._spares.take()
        if spare is None:
            self._start_anew(worker)
        else:
            self._processes[worker], self._pipes[worker] = spare
        core = self._cores[(self._first_core + worker) % len(self._cores)] if sys.platform == "linux" else None
        self._answers_due[worker] = 1
        pipe = self._pipe(worker)
        try:
            pipe.send(Setup(worker, core, self._layout, _import_path()))
            send_descriptors(pipe, (self._memory_fd, self._setup_fd))
        except (BrokenPipeError, ConnectionResetError):
            return  # it died at once: wait() or _expect_ready() will find out and say how

    def _start_anew(self, worker: int) -> None:
        here, there = socket.socketpair()
        for end in (here, there):
            end.setblocking(True)  # whatever socket.setdefaulttimeout() the user's program set
        # Owned before the process exists: if anything interrupts its start, closing the pipe ends it.
        self._pipes[worker] = Connection(here.detach())
        with there:
            self._processes[worker] = subprocess.Popen(
                [sys.executable, "-P", "-m", "asyncred_gpu.runtime.worker", str(there.fileno())],
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                env=os.environ | WORKER_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(_import_path(os.pathsep))},
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )

    def _expect_ready(self, worker: int, doing: str) -> None:
        """Wait until the worker says Ready, or raise with what happened instead."""
        pipe = self._pipe(worker)
        deadline = time.monotonic() + STARTUP_SECONDS
        while not pipe.poll(max(0.0, min(1.0, deadline - time.monotonic()))):
            if time.monotonic() > deadline:
                raise WorkerError(
                    f"worker {worker} was still {doing} after {STARTUP_SECONDS:.0f} s. The machine may be out of "
                    "memory, or busy: use fewer workers, or smaller blocks."
                )
        try:
            message = pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise WorkerError(
                f"worker {worker} {self._fate(worker)} while {doing}. Its own message is on the standard error; "
                "a lack of memory is the usual reason: use fewer workers."
            ) from error
        if isinstance(message, Failed):
            raise failure(message)
        self._answers_due[worker] -= 1

    def _pipe(self, worker: int) -> Connection:
        pipe = self._pipes[worker]
        assert pipe is not None
        return pipe

    def _end(self, worker: int) -> None:
        """Kill the worker and wait until it is gone: it then touches no slot any more."""
        process, pipe = self._processes[worker], self._pipes[worker]
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.wait()
        self._processes[worker] = self._pipes[worker] = None

    def _fate(self, worker: int) -> str:
        process = self._processes[worker]
        assert process is not None
        try:
            code = process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    # --- the protocol of runtime/base.py ---------------------------------------------------------------------------

    def prime(self) -> None:
        """Fill the shares of the start image, each worker its part."""
        blocks = range(len(self.slots))
        for worker in range(self.workers):
            part = tuple(blocks[worker :: self.workers])
            self._answers_due[worker] += len(part)
            self._send(worker, Prime(part))
        for block in blocks:  # one answer a block, so that a long list isn't taken for a hang
            self._expect_ready(block % self.workers, "projecting the start image")

    def pixels(self, block: int, slot: int) -> FloatArray:
        return self.slots[block][slot].pixels

    def slot(self, block: int, slot: int) -> Slot:
        return self.slots[block][slot]

    def restore(self, slots: Sequence[Slot]) -> None:
        for (target, _), slot in zip(self.slots, slots, strict=True):
            target.fill(slot)

    def launch(self, worker: int, tasks: Sequence[Task]) -> None:
        self._answers_due[worker] += len(tasks)
        self._send(worker, Launch(tuple(tasks)))

    def grant(self, worker: int, number: int) -> None:
        self._send(worker, Grant(number))

    def _send(self, worker: int, message: Launch | Grant | Prime) -> None:
        try:
            self._pipe(worker).send(message)
        except (BrokenPipeError, ConnectionResetError):
            return  # its end of the pipe is gone: wait() reports it

    def wait(self, timeout: float | None) -> list[Event]:
        owners = {pipe: worker for worker, pipe in enumerate(self._pipes) if pipe is not None}
        events: list[Event] = []
        for pipe in wait(list(owners), timeout):
            assert isinstance(pipe, Connection)
            events.append(self._receive(owners[pipe], pipe))
        return events

    def _receive(self, worker: int, pipe: Connection) -> Event:
        try:
            message = pipe.recv()
        except (EOFError, ConnectionResetError):
            return Lost(worker, self._fate(worker))
        if isinstance(message, Failed):
            raise failure(message)
        if isinstance(message, Ready | Published):
            self._answers_due[worker] -= 1
        if isinstance(message, Ready):
            return Started(worker)
        return message  # type: ignore[no-any-return]

    def replace(self, worker: int) -> None:
        self._end(worker)
        self._start(worker)

    def close(self) -> None:
        with undisturbed():  # what was killed is soon gone
            self._close()

    def _close(self) -> None:
        if self._closed:
            return
        for worker in range(self.workers):
            self._keep(worker)
        for process, pipe in zip(self._processes, self._pipes, strict=True):  # all of them, before any is waited for
            if pipe is not None:
                pipe.close()
            if process is not None:
                process.kill()
        for worker in range(self.workers):
            self._end(worker)
        self._closed = True
        for descriptor in (self._memory_fd, self._setup_fd):
            if descriptor >= 0:
                os.close(descriptor)

    def _keep(self, worker: int) -> None:
        """Give the process to the spares, if it is idle for certain."""
        process, pipe = self._processes[worker], self._pipes[worker]
        if self._spares is None or process is None or pipe is None or self._answers_due[worker] != 0:
            return
        if process.poll() is None and not pipe.poll():
            self._processes[worker] = self._pipes[worker] = None
            self._spares.give(Spare(process, pipe))


def failure(message: Failed) -> WorkerError:
    """The error of a worker's exception, with its traceback."""
    return WorkerError(f"worker {message.worker} failed: {message.message}\n\n{message.traceback}")


def _import_path(without: str | None = None) -> tuple[str, ...]:
    """The parent's import path, so that a worker finds the same package and the user's modules."""
    entries = (entry if entry else "." for entry in sys.path if isinstance(entry, str))
    found = (os.path.abspath(entry) for entry in entries if os.path.exists(entry))
    return tuple(entry for entry in found if without is None or without not in entry)
