"""The structure of the authors' program: processes share one image, and every update projects all of it.

An update of block i, by whichever process is free: x̃ ← the shared image as it is; r = A x̃ − y with a sparse matrix;
x_i ← x_i − γ(A_iᵀr/‖A‖² + τ·(x̃ − D(x̃))_i). No leases: processes may write at the same time. Blocks are drawn
uniformly. Sun, Liu, Sun, Wohlberg, Kamilov, ICLR 2021, algorithm 1.

Settings: "tau", "factor" (γ = factor/(1 + 2τ)). The denoiser is in float32.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from .dncnn_torch import TorchDnCNN
from .joseph_matrix import adjoint_of, joseph_matrix, rows_between, transposed_matrix
from .problem import Image, Problem, norm_squared
from .trial import Clock, Outcome, Runner, Settings, run_trials

# Blocks a side: 16 in all, as in the paper.
SIDE = 4
# The shared image is looked at so often in a run's time.
LOOKS = 200
START_LIMIT = 600.0


@dataclass(frozen=True)
class Blocks:
    """The image cut into SIDE × SIDE blocks."""

    size: int

    def slices(self, block: int) -> tuple[slice, slice]:
        """Where it lies."""
        edges = [round(self.size * place / SIDE) for place in range(SIDE + 1)]
        row, col = divmod(block, SIDE)
        return slice(edges[row], edges[row + 1]), slice(edges[col], edges[col + 1])

    def order(self) -> NDArray[np.int32]:
        """All pixels, block after block."""
        pixels = np.arange(self.size**2, dtype=np.int32).reshape(self.size, self.size)
        return np.concatenate([pixels[self.slices(block)].ravel() for block in range(SIDE**2)])

    def rows(self, transposed: sparse.csr_matrix) -> list[sparse.csr_matrix]:
        """A_iᵀ of every block, of an Aᵀ in this order."""
        shapes = [
            (rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in map(self.slices, range(SIDE**2))
        ]
        ends = np.concatenate([[0], np.cumsum(shapes)])
        return [rows_between(transposed, int(ends[i]), int(ends[i + 1])) for i in range(SIDE**2)]


class BlockUpdate:
    """G_i of one block, from a copy of the whole image.

    Args:
        matrix: A. rows: A_iᵀ of every block. sinogram: (angles·detectors,). scale: 1/‖A‖².
    """

    def __init__(
        self,
        blocks: Blocks,
        matrix: sparse.csr_matrix,
        rows: list[sparse.csr_matrix],
        sinogram: Image,
        scale: float,
        network: TorchDnCNN,
        tau: float,
    ) -> None:
        self._blocks, self._matrix, self._rows = blocks, matrix, rows
        self._sinogram, self._scale = sinogram, np.float32(scale)
        self._network, self._tau = network, np.float32(tau)

    def gradient(self, image: Image, block: int) -> Image:
        """U_iᵀ(∇g + τR)(x̃)."""
        where = self._blocks.slices(block)
        residual = self._matrix @ image.ravel() - self._sinogram
        data = (self._rows[block] @ residual).reshape(image[where].shape)
        return np.asarray(self._scale * data + self._tau * self._denoiser_residual(image, where), np.float32)

    def _denoiser_residual(self, image: Image, where: tuple[slice, slice]) -> Image:
        """Of the block, with as many pixels around it as the network looks at, mirrored at the border."""
        radius = self._network.radius
        padded = np.pad(image, radius, mode="reflect")
        crop = padded[tuple(slice(part.start, part.stop + 2 * radius) for part in where)]
        return np.asarray(self._network.interior(torch.from_numpy(crop.copy())[None, None])[0, 0].numpy(), np.float32)


def shared_image(memory: SharedMemory, size: int) -> Image:
    """The image in the shared memory."""
    return np.ndarray((size, size), np.float32, memory.buf)


def work(
    index: int, folder: str, sinogram: Image, scale: float, settings: dict[str, Any], shared: dict[str, Any]
) -> None:
    """A process: update blocks until it is told to stop."""
    torch.set_num_threads(1)
    problem = Problem.load(Path(folder))
    blocks = Blocks(problem.size)
    matrix = joseph_matrix(problem.folder, problem.size, problem.angles, problem.detectors)
    rows = blocks.rows(transposed_matrix(problem.folder, matrix, blocks.order(), "blocks"))
    network = TorchDnCNN(problem.weights, problem.scale, "float32")
    update = BlockUpdate(blocks, matrix, rows, sinogram, scale, network, settings["tau"])
    step = np.float32(settings["factor"] / (1 + 2 * settings["tau"]))
    draw = np.random.default_rng((0, index))
    memory = SharedMemory(shared["name"])
    image = shared_image(memory, problem.size)
    for block in range(SIDE**2):  # so that no page of the matrices is read from a file under the clock
        update.gradient(problem.start, block)
    shared["ready"].wait(START_LIMIT)
    while not shared["stop"].is_set():
        block = int(draw.integers(SIDE**2))
        gradient = update.gradient(image.copy(), block)
        image[blocks.slices(block)] -= step * gradient
        shared["updates"][index] += 1
    del image
    memory.close()


class Authors(Runner):
    """One process a core, and this one, which looks at the image now and then."""

    packages = ("numpy", "scipy", "torch")

    def __init__(self, problem: Problem, cores: int) -> None:
        super().__init__(problem, cores)
        matrix = joseph_matrix(problem.folder, problem.size, problem.angles, problem.detectors)
        transposed_matrix(problem.folder, matrix, Blocks(problem.size).order(), "blocks")
        clean = (matrix @ problem.reference.ravel()).reshape(len(problem.angles), problem.detectors)
        self._sinogram = problem.noisy(clean).ravel()
        adjoint = adjoint_of(matrix)
        self._norm = norm_squared(lambda x: (adjoint @ (matrix @ x.ravel())).reshape(x.shape), problem.size)
        self._nonzeros = matrix.nnz

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """Start the processes, look, and stop them."""
        context, size = multiprocessing.get_context("spawn"), self.problem.size
        memory = SharedMemory(create=True, size=4 * size * size)
        image = shared_image(memory, size)
        image[:] = self.problem.start
        shared: dict[str, Any] = {
            "name": memory.name,
            "stop": context.Event(),
            "ready": context.Barrier(self.cores + 1),
        }
        shared["updates"] = context.Array("q", self.cores, lock=False)
        common = (str(self.problem.folder), self._sinogram, 1 / self._norm, dict(settings), shared)
        workers = [context.Process(target=work, args=(index, *common), daemon=True) for index in range(self.cores)]
        try:
            for worker in workers:
                worker.start()
            shared["ready"].wait(START_LIMIT)
            clock = Clock(self.problem, seconds, begun)
            while clock.goes_on(image.copy()):
                time.sleep(seconds / LOOKS)
            shared["stop"].set()
            for worker in workers:
                worker.join()
            updates = sum(shared["updates"])
            return clock.outcome(iterations=updates / SIDE**2, updates=updates, nonzeros=self._nonzeros)
        finally:
            for worker in workers:
                worker.kill()
            del image
            memory.close()
            memory.unlink()


if __name__ == "__main__":
    run_trials(Authors)
