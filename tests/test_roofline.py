"""The floor of a sweep, counted by other means; of the rates, which are measured, how they are taken."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from asyncred_gpu import RadonCT, roofline
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.models import DnCNN

from .helpers import half_turn, needs_compiler

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_roofline.py"


def test_the_operations_are_those_that_torch_counts():
    network = DnCNN(4, 8).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.interior(torch.zeros(1, 1, 30, 23))
    assert roofline.valid_operations(network, 30, 23) == counter.get_total_flops()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 30, 23))
    assert 30 * 23 * network.operations_per_pixel() == counter.get_total_flops()


@needs_compiler
def test_the_floor_of_a_sweep():
    scan = RadonCT(np.zeros((9, 50)), half_turn(9), (30, 36)).with_blocks(BlockGrid((30, 36), (16, 20)))
    network = DnCNN(3, 4)
    floor = roofline.sweep_floor(scan, network, 3)
    shapes = [(22, 26), (22, 22), (20, 26), (20, 22)]
    assert roofline.crops(scan.grid, 3) == shapes
    assert floor.halo_operations == sum(r * c for r, c in shapes) * network.operations_per_pixel()
    assert floor.operations == sum(roofline.valid_operations(network, *shape) for shape in shapes)
    floats = 0
    footprints = [scan.footprint(index) for index in range(4)]
    rays = [{(a, k) for a in range(9) for k in range(f.start[a], f.start[a] + f.width)} for f in footprints]
    for index, own in enumerate(rays):
        floats += sum(len(own & other) for other in rays) + 4 * len(own)  # y, residual twice, and s_i
        floats += 2 * np.prod(scan.grid.window(index).shape)
    assert floor.projection_bytes == 4 * floats
    assert floor.seconds(2.0, 4.0) == (floor.halo_operations / 2, floats)


@pytest.mark.parametrize("slow", [False, True])
def test_slow_products_are_measured_on_smaller_matrices(slow, monkeypatch):
    sizes = []
    monkeypatch.setattr(roofline, "_product_rate", lambda dtype, size: sizes.append(size) or (1e9 if slow else 1e12))
    roofline.product_rate(torch.float32, torch.get_num_threads())
    assert sizes == ([1024] if slow else [1024, 4096])


@needs_compiler
def test_the_script_divides_by_the_best_product(monkeypatch, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("bench_roofline", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    products = {torch.float32: 1e9, torch.bfloat16: 4e9}
    monkeypatch.setattr(script, "product_rate", lambda dtype, threads: products[dtype] * threads)
    monkeypatch.setattr(script, "convolution_rate", lambda dtype, threads: 9e9 * threads)
    monkeypatch.setattr(script, "copy_bandwidth", lambda: 2e9)
    monkeypatch.setattr(script, "available_cores", lambda: [0, 1])
    script.main(["--size", "64", "--angles", "10", "--output", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    sweep = found["sweep"]
    assert sweep["network_seconds"] == pytest.approx(sweep["operations_with_halo"] / 8e9)
    assert sweep["projection_seconds"] == pytest.approx(sweep["projection_bytes"] / 2e9)
    assert found["rates"]["bfloat16"]["convolution, 2 threads"] == 1.8e10
    assert "bfloat16 product, 2 threads: 8 GFLOP/s" in capsys.readouterr().out
