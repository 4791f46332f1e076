"""A and Aᵀ of the whole image as kernels, here through their host build, against the operator's own blocks."""

import numpy as np
import pytest
import torch

from asyncred_gpu import RadonCT
from asyncred_gpu.kernels.host_build import HostKernels

from .helpers import half_turn, needs_compiler, relative, small_scan

pytestmark = needs_compiler


def scans(**options):
    """The same scan on blocks of the CPU and, prepared, on a device; off centre, spaced, at any angles."""
    angles = np.random.default_rng(3).uniform(0, 2 * np.pi, 19)
    sinogram = np.random.default_rng(4).standard_normal((19, 70)).astype(np.float32)
    made = [RadonCT(sinogram, angles, (44, 37), 0.8, 31.4, **options) for _ in range(2)]
    made[1].prepare_on(torch.device("cpu"), HostKernels())
    return made


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("kind", ["forward", "adjoint"])
def test_it_is_the_sum_of_the_blocks(kind, wrong):
    blocks, whole = scans()
    shape = blocks.image_shape if kind == "forward" else blocks.sinogram.shape
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    found = getattr(whole, kind)(x[:, ::-1] if wrong else x)
    assert (relative(found, getattr(blocks, kind)(x)) < 1e-5) == (not wrong)


@pytest.mark.parametrize("weighted", [False, True])
def test_constants_and_the_start_are_the_same(weighted):
    weights = np.random.default_rng(6).uniform(0, 2, (19, 70)) if weighted else None
    blocks, whole = scans(weights=weights)
    assert whole.scale == pytest.approx(blocks.scale, rel=1e-3)
    for index in range(len(blocks.grid)):
        assert whole.block_lipschitz(index) == pytest.approx(blocks.block_lipschitz(index), rel=2e-3)
    assert whole.minibatch_factor(5) == pytest.approx(blocks.minibatch_factor(5), rel=2e-3)
    for kind in ("fbp", "adjoint"):
        assert relative(whole.start(kind), blocks.start(kind)) < 1e-5
    other = scans(weights=np.ones((19, 70)) if weighted else np.random.default_rng(6).uniform(0, 2, (19, 70)))[1]
    assert other.scale != pytest.approx(blocks.scale, rel=1e-2)


def test_workers_get_no_device():
    whole = scans()[1]
    assert whole.__getstate__()["_whole"] is None
    assert whole.with_blocks(whole.grid)._whole is not None


def test_a_device_is_asked_for_what_the_blocks_need_not_compute():
    scan, _ = small_scan(size=24, angles=8)

    class Counting(HostKernels):
        launched = 0

        def launch(self, name, items, *arguments):
            self.launched += 1
            super().launch(name, items, *arguments)

    kernels = Counting()
    fresh = RadonCT(scan.sinogram, half_turn(8), (24, 24))
    fresh.prepare_on(torch.device("cpu"), kernels)
    assert fresh.lipschitz == pytest.approx(1) and kernels.launched > 4
