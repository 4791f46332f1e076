"""Random matrices for block compressed sensing, what they take, and simulated measurements."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..blocks import BlockGrid, FloatArray
from ..memory import check_available
from ..settings import check_count
from .matrix_checks import check_form, check_storage


def gaussian_matrices(blocks: int, m: int, n: int, seed: int = 0) -> FloatArray:
    """Independent Gaussian entries of variance 1/m, so that ‖A_i x‖² ≈ ‖x‖²: (blocks, m, n) float32.

    Args:
        blocks: matrices, one a block.
        m: rows, the measurements of a block.
        n: columns, the pixels of a block.
        seed: the same seed gives the same matrices, and the first few are those of fewer blocks.
    Raises:
        ValueError: sizes that can't be. MemoryError: there isn't that much.
    """
    for name, size in (("blocks", blocks), ("m", m), ("n", n)):
        check_count(name, size, 1)
    check_count("seed", seed, 0)
    check_available("The matrices take", matrix_bytes(blocks, m, n), "Use smaller blocks, or fewer measurements.")
    matrices = np.empty((blocks, m, n), np.float32)

    def fill(block: int) -> None:
        np.random.default_rng((seed, block)).standard_normal(out=matrices[block], dtype=np.float32)
        matrices[block] *= np.float32(1 / math.sqrt(m))

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(blocks)))
    return matrices


def matrix_bytes(blocks: int, m: int, n: int, storage: str = "float32", form: str = "rows") -> int:
    """Bytes the matrices take, on each GPU and, besides the caller's own, once for a pool of processes.

    Args:
        blocks, m, n: as for `gaussian_matrices`.
        storage, form: as for `BlockCS`; "auto" as on the CPU, where it is "rows".
    """
    dtype = check_storage(storage)
    return blocks * (m * n * dtype.itemsize + (4 * n * n if check_form(form, dtype) == "normal" else 0))


def measure_blocks(
    image: FloatArray, matrices: FloatArray, block_shape: tuple[int, int], noise_db: float = math.inf, seed: int = 0
) -> FloatArray:
    """Simulated measurements y_i = A_i x_i + noise, ‖A x‖/‖noise‖ being `noise_db` exactly: (blocks, m) float32.

    Args:
        image: (rows, cols).
        matrices: (blocks, m, n), blocks and their pixels in row-major order.
        block_shape: (rows, cols) of a block.
        noise_db: input SNR in dB; inf for none.
        seed: of the noise.
    """
    blocks = BlockGrid((image.shape[0], image.shape[1]), block_shape).split(image)
    clean = np.stack([matrix @ block.ravel() for matrix, block in zip(matrices, blocks, strict=True)])
    noise = np.random.default_rng(seed).standard_normal(clean.shape)
    noise *= np.linalg.norm(clean) * 10 ** (-noise_db / 20) / np.linalg.norm(noise)
    return (clean + noise).astype(np.float32)
