"""Runs small enough for compute-sanitizer: few updates, every kernel and every branch that settings choose.

python -m asyncred_gpu.acceptance.small [--device cuda]
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from ..blocks import BlockGrid
from ..experiments import retina_image, retina_problem
from ..models import DnCNN
from ..operators.base import BlockOperator
from ..operators.gaussian import gaussian_matrices
from ..operators.matrix import BlockCS
from ..operators.radon import RadonCT
from ..runtime.spares import SpareWorkers
from ..solver import GpuAsyncRED

SIZE, ANGLES, BLOCK, UPDATES = 64, 12, 24, 12
ROWS = 75  # not a multiple of what the kernels take at once
DONE = "the small run is done"

# Blocks at the right and lower border are smaller. Ordered: cuDNN then tries no algorithms, which would take minutes.
RUNS: tuple[dict[str, Any], ...] = (
    {"num_workers": 2},
    {"precision": "float16", "num_workers": 2, "blocks_per_launch": 2, "minibatch": 5, "nonnegative": True},
    {"num_workers": 1, "blocks_per_launch": 3, "step": "block", "momentum": 0.5, "field_of_view": "circle"},
)

# Block compressed sensing: pixels a side, BlockCS's settings, the solver's. Rows of 81 pixels are read one by one, rows
# of 256 in pieces of four.
SENSED: tuple[tuple[int, dict[str, Any], dict[str, Any]], ...] = (
    (48, {"form": "rows"}, {"num_workers": 2, "blocks_per_launch": 2, "minibatch": 40}),
    (27, {"form": "rows", "storage": "float16"}, {"num_workers": 1}),
    (48, {"form": "rows", "storage": "float16"}, {"num_workers": 1, "minibatch": 40}),
    (27, {"form": "normal"}, {"num_workers": 2}),
)


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda")
    device = options.parse_args(arguments).device
    network = DnCNN(depth=3, channels=16).eval().requires_grad_(False)
    with SpareWorkers() as spares:
        for settings in RUNS:
            usual = {"precision": "float32", "block_shape": (BLOCK, BLOCK)}
            solve(scan("field_of_view" in settings), network, device, usual | settings, spares)
        for size, kept, settings in SENSED:
            solve(sensed(size, kept), network, device, {"precision": "float32", **settings}, spares)
    print(DONE, flush=True)
    return 0


def scan(weighted: bool) -> RadonCT:
    problem = retina_problem(SIZE, ANGLES)
    views = problem.measured
    weights = np.random.default_rng(0).uniform(0.5, 1.5, views.sinogram.shape).astype(np.float32) if weighted else None
    return RadonCT(views.sinogram, views.angles, problem.image_shape, center=problem.center, weights=weights)


def sensed(size: int, kept: dict[str, Any]) -> BlockCS:
    """Nine blocks."""
    side = size // 3
    matrices = gaussian_matrices(9, ROWS, side * side)
    blocks = BlockGrid((size, size), (side, side)).split(retina_image(size))
    measured = np.stack([matrix @ block.ravel() for matrix, block in zip(matrices, blocks, strict=True)])
    return BlockCS(measured, matrices, (size, size), **kept)


def solve(operator: BlockOperator, network: DnCNN, device: str, settings: dict[str, Any], spares: SpareWorkers) -> None:
    if device == "cpu":
        settings = settings | {"precision": "float32"}
    reference = retina_image(operator.image_shape[0])
    solver = GpuAsyncRED(operator, network, order="ordered", device=device, **settings)
    solver.keep_workers(spares)
    result = solver.run(max_updates=UPDATES, reference=reference)
    what = {**operator.details, **settings}
    print(f"{what}: {result.status.name}, {len(result.history['update'])} updates", flush=True)


if __name__ == "__main__":
    sys.exit(main())
