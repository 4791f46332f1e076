"""∇g(x) = Aᵀ(A x − y)/‖A‖² on several cores: each process has a share of the angles, and the shares are summed.

Threads wouldn't do: ASTRA keeps Python's lock while it projects (measured: two threads take as long as one).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from .joseph_matrix import adjoint_of, joseph_matrix, rows_between
from .problem import Image, Problem

Product = Callable[[Image], Any]


class Pair(NamedTuple):
    """A of some angles and its adjoint, of flat or shaped arrays alike."""

    forward: Product
    adjoint: Product


def astra_pair(problem: Problem, angles: slice) -> Pair:
    """ASTRA's `linear` projector, Joseph's, on the CPU."""
    import astra  # not in every environment

    volume = astra.create_vol_geom(problem.size, problem.size)
    rays = astra.create_proj_geom("parallel", 1.0, problem.detectors, problem.angles[angles])
    operator = astra.OpTomo(astra.create_projector("linear", rays, volume))
    return Pair(operator.FP, operator.BP)


def matrix_pair(problem: Problem, angles: slice) -> Pair:
    """A sparse matrix."""
    whole = joseph_matrix(problem.folder, problem.size, problem.angles, problem.detectors)
    part = rows_between(whole, angles.start * problem.detectors, angles.stop * problem.detectors)
    back = adjoint_of(part)
    return Pair(lambda image: part @ image.ravel(), lambda rays: back @ rays.ravel())


PAIRS = {"astra": astra_pair, "matrix": matrix_pair}


def shares(count: int, parts: int) -> list[slice]:
    """`count` angles in as equal parts as can be."""
    edges = [round(count * part / parts) for part in range(parts + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]


def serve(folder: str, projector: str, angles: slice, names: tuple[str, str], pipe: Any) -> None:
    """A process, told a word and maybe a sinogram r of its angles.

    "measure" keeps r as y, "forward" answers A x; its share is Aᵀ r by "adjoint", AᵀA x by "normal", Aᵀ(A x − y) by
    "gradient".
    """
    problem = Problem.load(Path(folder))
    pair = PAIRS[projector](problem, angles)
    memories = [SharedMemory(name) for name in names]
    image, share = (_array(memory, problem.size) for memory in memories)
    measured = np.zeros((angles.stop - angles.start, problem.detectors), np.float32)
    pipe.send("ready")
    while True:
        try:
            word, rays = pipe.recv()
        except EOFError:
            break
        if word == "measure":
            measured = rays
            continue
        if word != "adjoint":
            rays = np.asarray(pair.forward(image)).reshape(measured.shape)
        if word == "forward":
            pipe.send(rays)
            continue
        if word == "gradient":
            rays = rays - measured
        share[:] = np.asarray(pair.adjoint(rays)).reshape(share.shape)
        pipe.send("done")


def _array(memory: SharedMemory, size: int) -> Image:
    return np.ndarray((size, size), np.float32, memory.buf)


class AngleShares:
    """The processes, one a core; owns the memory they share with this one."""

    def __init__(self, problem: Problem, projector: str, cores: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._size = problem.size
        self._angles = shares(len(problem.angles), cores)
        self._memories = [SharedMemory(create=True, size=4 * problem.size**2) for _ in range(cores + 1)]
        self._image, *self._shares = [_array(memory, problem.size) for memory in self._memories]
        self._pipes, self._processes = [], []
        for angles, memory in zip(self._angles, self._memories[1:], strict=True):
            ours, theirs = context.Pipe()
            names = (self._memories[0].name, memory.name)
            given = (str(problem.folder), projector, angles, names, theirs)
            process = context.Process(target=serve, args=given, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def forward(self, image: Image) -> Image:
        """A x: (angles, detectors)."""
        self._image[:] = image
        self._send("forward")
        return np.concatenate([pipe.recv() for pipe in self._pipes])

    def measure(self, sinogram: Image) -> None:
        """Set y, zero before: (angles, detectors)."""
        self._send("measure", sinogram)

    def adjoint(self, sinogram: Image) -> Image:
        """Aᵀ r: (angles, detectors) → (size, size)."""
        self._send("adjoint", sinogram)
        return self._sum()

    def gradient(self, image: Image) -> Image:
        """Aᵀ(A x − y)."""
        self._image[:] = image
        self._send("gradient")
        return self._sum()

    def normal(self, image: Image) -> Image:
        """AᵀA x."""
        self._image[:] = image
        self._send("normal")
        return self._sum()

    def _send(self, word: str, sinogram: Image | None = None) -> None:
        for pipe, angles in zip(self._pipes, self._angles, strict=True):
            pipe.send((word, None if sinogram is None else np.ascontiguousarray(sinogram[angles])))

    def _sum(self) -> Image:
        """Of the shares, once all are done."""
        for pipe in self._pipes:
            pipe.recv()
        return np.asarray(np.sum(self._shares, axis=0), np.float32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            process.kill()
            process.join()
        del self._image, self._shares
        for memory in self._memories:
            memory.close()
            memory.unlink()
