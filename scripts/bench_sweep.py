"""The time of a sweep over its floor: the denoiser's operations at the best rate of a matrix product here.

floor = b · (rows + 2·halo)(cols + 2·halo) · operations a pixel / rate; rate: 4096² product, best of 5, all cores, the
faster of float32 and bfloat16. A sweep has data updates, too, which the floor hasn't. Then the time of each stage of an
update, alone on one core, and what scheduler and messages take of an update, measured on as many blocks of 4×4 pixels.

    python scripts/bench_sweep.py [--size 800] [--angles 180] [--block 200] [--workers 2] [--sweeps 12]
"""

from __future__ import annotations

import argparse

import numpy as np

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser
from asyncred_gpu.experiments import retina_problem
from asyncred_gpu.models import DnCNN
from asyncred_gpu.operators.checks import PROJECTORS
from asyncred_gpu.options import block_shape
from asyncred_gpu.roofline import DTYPES, product_rate, sweep_floor
from asyncred_gpu.stage_times import overhead_seconds, stage_seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=int, default=800)
    options.add_argument("--angles", type=int, default=180)
    options.add_argument("--block", type=block_shape, help="ROWSxCOLS of a block, or one number [chosen]")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--sweeps", type=int, default=12)
    options.add_argument("--projector", choices=PROJECTORS, default="auto")
    chosen = options.parse_args()

    rates = {dtype: product_rate(dtype, chosen.workers) for dtype in DTYPES}
    for dtype, rate in rates.items():
        print(f"matrix product, {dtype}, {chosen.workers} threads: {rate / 1e9:.0f} GFLOP/s")
    problem = retina_problem(size=chosen.size, angles=chosen.angles)
    operator = RadonCT(
        problem.measured.sinogram,
        problem.measured.angles,
        problem.image_shape,
        center=problem.center,
        projector=chosen.projector,
    )
    network = load_denoiser("dncnn", sigma=5)
    assert isinstance(network, DnCNN)
    solver = GpuAsyncRED(operator, network, num_workers=chosen.workers, block_shape=chosen.block)
    grid = solver.operator.grid
    floor = sweep_floor(solver.operator, network, solver.halo).halo_operations / max(rates.values())

    result = solver.run(max_sweeps=chosen.sweeps, tol=None)
    ends = result.sweep_seconds
    sweep = float(np.median(np.diff(ends)))
    for name, seconds in stage_seconds(solver).items():
        print(f"{name}: {1e3 * seconds:.1f} ms a block alone on one core")
    overhead = overhead_seconds(round(len(grid) ** 0.5), chosen.workers)
    print(f"scheduler and messages: {1e3 * overhead:.2f} ms of a core an update")
    again = max(product_rate(dtype, chosen.workers) for dtype in DTYPES)
    print(f"best matrix product after the run: {again / 1e9:.0f} GFLOP/s")
    print(
        f"{len(grid)} blocks of {grid.block_shape}, {chosen.workers} workers, {solver.precision}, "
        f"{operator.projector}, {solver.method.data_updates} data updates: sweep {sweep:.3f} s (median of "
        f"{len(ends) - 1}), floor {floor:.3f} s, "
        f"ratio {sweep / floor:.2f}"
    )


if __name__ == "__main__":
    main()
