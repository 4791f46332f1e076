"""This machine's rates, and the least time of a sweep: before anything is called fast or slow.

    python scripts/bench_roofline.py [--size 800] [--angles 180] [--block 200] [--output FILE.json]

Matrix products and the denoiser's inner convolution in float32 and bfloat16, on one thread and on all; the bandwidth of
a copy; and the floor of a sweep: its denoiser's operations, halo included, at the best rate of a matrix product on all
cores, and the bytes of its projections at that bandwidth.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asyncred_gpu import RadonCT, load_denoiser
from asyncred_gpu.blocks import BlockGrid, choose_block_shape
from asyncred_gpu.models import DnCNN
from asyncred_gpu.options import block_shape, whole
from asyncred_gpu.roofline import DTYPES, convolution_rate, copy_bandwidth, product_rate, sweep_floor
from asyncred_gpu.runtime.cpu import available_cores


def rates(cores: int) -> dict[str, dict[str, float]]:
    """Operations a second by precision: product and convolution, on one thread and on all."""
    found: dict[str, dict[str, float]] = {}
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        found[name] = {}
        for threads in dict.fromkeys((1, cores)):
            found[name][f"product, {threads} thread{'s' * (threads > 1)}"] = product_rate(dtype, threads)
            found[name][f"convolution, {threads} thread{'s' * (threads > 1)}"] = convolution_rate(dtype, threads)
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=whole(1), default=800)
    options.add_argument("--angles", type=whole(1), default=180)
    options.add_argument("--block", type=block_shape, help="ROWSxCOLS of a block, or one number [chosen]")
    options.add_argument("--output", type=Path, metavar="FILE.json", help="write the numbers there, too")
    chosen = options.parse_args(words)

    cores = len(available_cores())
    measured, bandwidth = rates(cores), copy_bandwidth()
    for precision, found in measured.items():
        for what, rate in found.items():
            print(f"{precision} {what}: {rate / 1e9:.0f} GFLOP/s")
    print(f"copy, one core: {bandwidth / 1e9:.1f} GB/s read and written")

    shape = (chosen.size, chosen.size)
    angles = np.linspace(0, math.pi, chosen.angles, endpoint=False)
    empty = np.zeros((chosen.angles, math.ceil(chosen.size * math.sqrt(2))), np.float32)
    grid = BlockGrid(shape, chosen.block or choose_block_shape(shape))
    network = load_denoiser("dncnn", sigma=5)
    assert isinstance(network, DnCNN)
    floor = sweep_floor(RadonCT(empty, angles, shape).with_blocks(grid), network, network.receptive_radius)
    best = max(rate for found in measured.values() for what, rate in found.items() if what.startswith("product"))
    network_seconds, bytes_seconds = floor.seconds(best, bandwidth)
    facts: dict[str, Any] = {
        "blocks": len(grid),
        "block_shape": grid.block_shape,
        "operations_with_halo": floor.halo_operations,
        "operations": floor.operations,
        "projection_bytes": floor.projection_bytes,
        "network_seconds": network_seconds,
        "projection_seconds": bytes_seconds,
    }
    print(
        f"A sweep of {chosen.size}×{chosen.size}, {chosen.angles} angles, {len(grid)} blocks of {grid.block_shape}: "
        f"{floor.halo_operations / 1e9:.0f} GFLOP with halo ({floor.operations / 1e9:.0f} without padding) take "
        f"{network_seconds:.3f} s at {best / 1e9:.0f} GFLOP/s; {floor.projection_bytes / 1e6:.0f} MB of projections "
        f"{bytes_seconds:.3f} s."
    )
    if chosen.output is not None:
        content = {"cores": cores, "rates": measured, "bandwidth": bandwidth, "sweep": facts}
        chosen.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
