"""A run small enough for compute-sanitizer: 64², few updates, every kernel and every branch that settings choose.

python -m asyncred_gpu.acceptance.small [--device cuda]
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from ..experiments import retina_problem
from ..models import DnCNN
from ..operators.radon import RadonCT
from ..solver import GpuAsyncRED

SIZE, ANGLES, BLOCK, UPDATES = 64, 12, 24, 12
DONE = "the small run is done"

# Blocks at the right and lower border are smaller. Ordered: cuDNN then tries no algorithms, which would take minutes.
RUNS: tuple[dict[str, Any], ...] = (
    {"precision": "float32", "num_workers": 2},
    {"precision": "float16", "num_workers": 2, "blocks_per_launch": 2, "minibatch": 5, "nonnegative": True},
    {"precision": "float32", "num_workers": 1, "blocks_per_launch": 3, "momentum": 0.5, "field_of_view": "circle"},
)


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda")
    device = options.parse_args(arguments).device
    problem = retina_problem(SIZE, ANGLES)
    views = problem.measured
    weights = np.random.default_rng(0).uniform(0.5, 1.5, views.sinogram.shape).astype(np.float32)
    network = DnCNN(depth=3, channels=16).eval().requires_grad_(False)
    for settings in RUNS:
        if device == "cpu":
            settings = settings | {"precision": "float32"}
        weighted = weights if "field_of_view" in settings else None
        operator = RadonCT(views.sinogram, views.angles, problem.image_shape, center=problem.center, weights=weighted)
        solver = GpuAsyncRED(operator, network, block_shape=(BLOCK, BLOCK), order="ordered", device=device, **settings)
        result = solver.run(max_updates=UPDATES, reference=problem.reference)
        print(f"{settings}: {result.status.name}, {len(result.schedule)} updates", flush=True)
    print(DONE, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
