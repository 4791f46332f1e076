"""What a worker process takes of the machine's memory before it has anything to do: Python, torch and this package.

Its own pages count for every process, the mapped files' pages (libraries) once. In bytes; measured, on Linux.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch

MIB = 2**20
# The network it has run, so that the libraries' pages are there: with torch's own buffers of a few kilobytes.
TINY = (4, 24)  # channels, pixels a side
# Where /proc doesn't say: torch 2.13's on x86.
OWN, FILES = 170 * MIB, 110 * MIB


class Interpreter(NamedTuple):
    """Bytes: a process's own pages, and the files' that all map alike."""

    own: int
    files: int


@cache
def empty_worker() -> Interpreter:
    """Of a process that is started for this once, which takes a few seconds."""
    if not sys.platform.startswith("linux"):
        return Interpreter(OWN, FILES)
    from .runtime.cpu import WORKER_ENVIRONMENT

    path = os.pathsep.join(entry for entry in sys.path if entry)
    said = subprocess.run(
        [sys.executable, "-P", "-m", "asyncred_gpu.empty_worker"],
        env=os.environ | WORKER_ENVIRONMENT | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,  # what goes wrong is said on the standard error
        text=True,
        check=True,
    )
    own, files = map(int, said.stdout.split()[-2:])
    return Interpreter(own, files)


def main() -> None:
    """Do a little of everything a worker does, and say what that takes."""
    from .denoiser import BlockDenoiser, DenoiserSettings
    from .memory_watch import counters
    from .models import DnCNN
    from .preconditioner import Filter, HostPreconditioner

    import_module(".runtime.worker", __package__)  # what a worker runs
    torch.set_num_threads(1)
    channels, side = TINY
    network = DnCNN(channels=channels)
    crop = np.zeros((side, side), np.float32)
    inside = side - 2 * network.receptive_radius
    BlockDenoiser(network, DenoiserSettings(network.receptive_radius, "float32", 1.0)).residual(
        crop, np.empty((inside, inside), np.float32)
    )
    HostPreconditioner(Filter(np.ones((2 * side, side + 1), np.float32), (2 * side, 2 * side)))(crop)
    own, files, _ = counters(os.getpid())
    print(own, files)


if __name__ == "__main__":
    main()
