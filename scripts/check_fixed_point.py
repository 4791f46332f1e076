"""Do all methods end at the same image? Prints SNR, and the largest differences, relative to the image's norm.

python scripts/check_fixed_point.py [--size 128] [--angles 40] [--workers 2] [--problem cs]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from asyncred_gpu import BlockCS, GpuAsyncRED, RadonCT, gaussian_matrices, load_denoiser, snr
from asyncred_gpu.baselines import bc_red, gm_red, sync_red
from asyncred_gpu.blocks import BlockGrid, FloatArray
from asyncred_gpu.experiments import retina_image, retina_problem
from asyncred_gpu.operators.base import BlockOperator
from asyncred_gpu.operators.gaussian import measure_blocks
from asyncred_gpu.result import Result
from asyncred_gpu.solver import choose_scale

TAU_OF_CT, TAU_OF_CS = 0.02, 0.8


def ct_problem(size: int, angles: int) -> tuple[BlockOperator, FloatArray]:
    """A scan of the retina, and the retina."""
    problem = retina_problem(size=size, angles=angles)
    assert problem.reference is not None
    views = problem.measured
    return RadonCT(views.sinogram, views.angles, problem.image_shape, center=problem.center), problem.reference


def cs_problem(size: int) -> tuple[BlockOperator, FloatArray]:
    """The retina measured in 16 blocks, m/n = 0.7, without noise."""
    image, side = retina_image(size), size // 4
    grid = BlockGrid((size, size), (side, side))
    matrices = gaussian_matrices(len(grid), round(0.7 * side**2), side**2)
    return BlockCS(measure_blocks(image, matrices, grid.block_shape), matrices, (size, size)), image


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--problem", choices=["ct", "cs"], default="ct")
    options.add_argument("--size", type=int, default=256, help="pixels a side, a multiple of 4")
    options.add_argument("--angles", type=int, default=60, help="projections over 180 degrees")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--tau", type=float)
    options.add_argument("--sweeps", type=float, default=2000, help="at most")
    options.add_argument("--tol", type=float, default=1e-8, help="‖G‖²/‖G₀‖² in float32; 1e-6 in bfloat16")
    chosen = options.parse_args()

    operator, truth = ct_problem(chosen.size, chosen.angles) if chosen.problem == "ct" else cs_problem(chosen.size)
    tau = chosen.tau or (TAU_OF_CT if chosen.problem == "ct" else TAU_OF_CS)
    start = operator.start("auto" if chosen.problem == "ct" else "least-squares")
    network, scale = load_denoiser("dncnn", sigma=5), choose_scale(None, start, operator)
    common: dict[str, Any] = {"x0": start, "reference": truth, "max_sweeps": chosen.sweeps}
    blocks: dict[str, Any] = {"block_shape": (chosen.size // 4, chosen.size // 4), "intensity_scale": scale}

    def asynchronous(precision: str, momentum: float) -> Result:
        settings = {"num_workers": chosen.workers, "precision": precision, "momentum": momentum}
        solver = GpuAsyncRED(operator, network, tau, device="cpu", **blocks, **settings)
        return solver.run(**common, tol=chosen.tol if precision == "float32" else max(chosen.tol, 1e-6))

    exact: dict[str, Any] = {"momentum": 0.8, "precision": "float32", "tol": chosen.tol, "device": "cpu"}
    methods: dict[str, Callable[[], Result]] = {
        "GM-RED": lambda: gm_red(operator, network, tau, intensity_scale=scale, tol=chosen.tol, **common),
        "BC-RED": lambda: bc_red(operator, network, tau, **blocks, **exact, **common),
        "Sync-RED": lambda: sync_red(operator, network, tau, num_workers=chosen.workers, **blocks, **exact, **common),
        "Async-RED": lambda: asynchronous("float32", 0.8),
        "Async-RED, no momentum": lambda: asynchronous("float32", 0.0),
        "Async-RED, the denoiser in the fastest precision": lambda: asynchronous("auto", 0.8),
    }
    ends: dict[str, FloatArray] = {}
    for name, method in methods.items():
        result = method()
        ends[name] = np.asarray(result.image, np.float64)
        history = result.history
        print(
            f"{name}: {result.status.name}, ‖G‖²/‖G₀‖² = {history['residual'][-1]:.1e} after "
            f"{history['sweep'][-1]:.0f} sweeps, {result.timings['run']:.0f} s, SNR {snr(ends[name], truth):.4f} dB",
            flush=True,
        )
    norm = float(np.linalg.norm(ends["GM-RED"]))
    exact_ends = list(ends)[:4]
    apart = {(a, b): float(np.linalg.norm(ends[a] - ends[b])) / norm for a, b in combinations(ends, 2)}
    for what, names in (("of the four methods, float32", exact_ends), ("of all", list(ends))):
        worst = max((pair for pair in apart if set(pair) <= set(names)), key=lambda pair: apart[pair])
        print(f"largest image difference {what}: {apart[worst]:.1e} ({worst[0]}, {worst[1]})")


if __name__ == "__main__":
    main()
