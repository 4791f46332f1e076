"""The process of one CPU worker: `python -m asyncred_gpu.runtime.worker FD`, FD its end of the pipe.

It never imports the user's __main__ (so scripts need no guard), keeps no file and no lock, and ends when the pipe does:
with the parent, whatever ended that.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..worker import BlockUpdate, BlockWorker, Stage
from .base import Computed, Published, Read, WorkerSetup
from .descriptors import receive_descriptors
from .messages import Failed, Finish, Grant, Launch, Prime, Ready, Setup
from .shared import load_shared

PR_SET_PDEATHSIG = 1


class Gone(Exception):
    """The other end of the pipe is closed: the run is over."""


class Pipe:
    """The worker's end; tells the run's end apart from errors of the user's code that look like it."""

    def __init__(self, descriptor: int) -> None:
        self._connection = Connection(descriptor)

    def receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise Gone from error

    def receive_descriptors(self, count: int) -> list[int]:
        try:
            return receive_descriptors(self._connection, count)
        except (EOFError, ConnectionResetError) as error:
            raise Gone from error

    def send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone from error


def main() -> None:
    """Serve one run after the other."""
    die_with_parent()
    pipe = Pipe(int(sys.argv[1]))
    index = -1
    try:
        try:
            while True:
                setup: Setup = pipe.receive()
                index = setup.worker
                serve(pipe, index, make_worker(setup, *pipe.receive_descriptors(2)))
                gc.collect()  # the last run's slots and network go, before another's come
        except Gone:
            raise
        except BaseException as error:  # whatever it is, the parent must hear of it
            pipe.send(Failed(index, f"{type(error).__name__}: {error}", traceback.format_exc()))
    except Gone:
        return


def die_with_parent() -> None:
    """Ask the kernel to end this process with its parent: a stopped process wouldn't notice the pipe's end."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit(1)


def make_worker(setup: Setup, memory_fd: int, setup_fd: int) -> BlockWorker:
    """The block worker, on one core, with its view of the shared slots."""
    sys.path[:] = setup.path
    torch.set_num_threads(1)
    if setup.core is not None:
        os.sched_setaffinity(0, {setup.core})
    worker_setup: WorkerSetup = load_shared(setup_fd)
    memory = mmap.mmap(memory_fd, setup.layout.nbytes)
    for descriptor in (setup_fd, memory_fd):
        os.close(descriptor)
    return worker_setup.make_worker(setup.layout.views(memory))


def serve(pipe: Pipe, index: int, worker: BlockWorker) -> None:
    """Answer messages until the run is over."""
    pipe.send(Ready(index))
    while True:
        match pipe.receive():
            case Prime(blocks):
                for block in blocks:
                    worker.prime(block)
                    pipe.send(Ready(index))
            case Launch(tasks):
                run(pipe, index, worker, [BlockUpdate(task) for task in tasks])
            case Finish():
                return


def run(pipe: Pipe, index: int, worker: BlockWorker, updates: list[BlockUpdate]) -> None:
    """Run one launch, reporting its stages."""
    for update, stage in worker.run(updates):
        number = update.task.number
        match stage:
            case Stage.READ:
                pipe.send(Read(index, number))
            case Stage.COMPUTED:
                pipe.send(Computed(index, number))
                granted = pipe.receive()
                assert granted == Grant(number), granted
            case Stage.PUBLISHED:
                assert update.moved is not None
                pipe.send(Published(index, number, update.moved))


if __name__ == "__main__":
    main()
