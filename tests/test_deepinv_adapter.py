"""Denoisers of deepinv: told σ, taken for images, forgetful; on a stand-in for its class, and on itself if there."""

import importlib.util
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, load_denoiser
from asyncred_gpu.deepinv_adapter import is_deepinv
from asyncred_gpu.denoiser import network_fingerprint, resolve_halo
from asyncred_gpu.foreign import probe_image

from .helpers import relative, small_scan

HAS_DEEPINV = importlib.util.find_spec("deepinv") is not None
needs_deepinv = pytest.mark.skipif(not HAS_DEEPINV, reason="needs deepinv (pip install asyncred-gpu[deepinv])")


class StandIn(torch.nn.Module):
    """deepinv.models.Denoiser, as far as we know it."""

    def forward(self, x, sigma, **kwargs):
        raise NotImplementedError


class Shrinking(StandIn):
    """D(x, σ) = (1 − σ)·x, so that σ can be read off."""

    def forward(self, x, sigma, **kwargs):
        return (1 - sigma) * x


class WarmStarting(StandIn):
    """Begins from what it returned last, as TVDenoiser does."""

    last = None

    def forward(self, x, sigma, **kwargs):
        start = x if self.last is None else self.last
        self.last = 0.9 * x + 0.1 * start.mean()
        return self.last


@pytest.fixture
def stand_in(monkeypatch):
    module = ModuleType("deepinv.models")
    module.Denoiser = StandIn
    monkeypatch.setitem(sys.modules, "deepinv.models", module)


@pytest.mark.parametrize("sigma", [5, 12.75])
def test_sigma_is_in_units_of_the_image_and_the_image_is_returned(stand_in, sigma):
    image = probe_image()
    found = load_denoiser(Shrinking(), sigma=sigma)(image)
    for factor in (1 / 255, 1.01 / 255, 1.0):
        assert (relative(found.numpy(), factor * sigma * image.numpy()) < 1e-5) == (factor == 1 / 255)


def test_sigma_is_part_of_the_fingerprint(stand_in):
    prints = {network_fingerprint(load_denoiser(Shrinking(), sigma=sigma)) for sigma in (5, 5.0, 25)}
    assert len(prints) == 2


def test_only_what_deepinv_knows_is_taken_for_its_own(stand_in):
    assert is_deepinv(Shrinking()) and not is_deepinv(torch.nn.Identity()) and not is_deepinv(lambda x, sigma: x)


def test_without_deepinv_nothing_is(monkeypatch):
    monkeypatch.delitem(sys.modules, "deepinv.models", raising=False)
    assert not is_deepinv(Shrinking())
    assert "deepinv.models" not in sys.modules


def test_a_denoiser_that_remembers_its_last_image_forgets_it(stand_in):
    model = WarmStarting()
    network, image = load_denoiser(model), probe_image()
    first = network(image)
    network(3 * image)
    assert torch.equal(network(image), first) and model.last is None
    assert not torch.equal(model(3 * image, 0.1) / 3, model(image, 0.1))  # it does, by itself


def test_a_model_in_training_mode_is_copied(stand_in):
    model = Shrinking().train()
    network = load_denoiser(model)
    assert model.training and not network.denoiser.denoiser.training
    assert load_denoiser(model.eval()).denoiser.denoiser is model


# --- deepinv itself --------------------------------------------------------------------------------------------------


def models():
    """Denoisers without downloads, and their radius; None: not local. Random weights are scaled to change little."""
    import deepinv

    torch.manual_seed(0)
    dncnn = deepinv.models.DnCNN(1, 1, depth=5, nf=8, pretrained=None)
    drunet = deepinv.models.DRUNet(1, 1, nc=(4, 8, 16, 32), nb=1, pretrained=None)
    with torch.no_grad():
        dncnn.out_conv.weight.mul_(0.05)
    return {
        "DnCNN": (dncnn, 5),
        "MedianFilter": (deepinv.models.MedianFilter(kernel_size=5), 2),
        "BilateralFilter": (deepinv.models.BilateralFilter(), 2),
        "TVDenoiser": (deepinv.models.TVDenoiser(n_it_max=20), 19),  # a pixel an iteration, but for the first
        "DRUNet": (drunet, None),
    }


@needs_deepinv
@pytest.mark.parametrize("name", ["DnCNN", "MedianFilter", "BilateralFilter", "TVDenoiser", "DRUNet"])
def test_its_denoisers_are_local_or_refused(name):
    model, radius = models()[name]
    network, image = load_denoiser(model, sigma=5), probe_image()
    with torch.no_grad():
        expected = image - model.eval()(image, 5 / 255)
        assert relative(network(image).numpy(), expected.numpy()) < 1e-6
    if radius is not None:
        assert resolve_halo("exact", network) == radius
        return
    with pytest.raises(ValueError, match=rf"receptive radius of {name}, sigma 5.*pad='full'"):
        resolve_halo("exact", network)


@needs_deepinv
@pytest.mark.parametrize(("name", "pad"), [("MedianFilter", "exact"), ("TVDenoiser", "full")])
def test_its_denoisers_reconstruct(name, pad):
    scan, image = small_scan(size=48, angles=24, noise=0.5)
    network = load_denoiser(models()[name][0], sigma=8)
    solver = GpuAsyncRED(scan, network, 0.3, pad=pad, block_shape=(24, 24), num_workers=2)
    result = solver.run(10, reference=image)
    assert result.history["snr"][-1] > result.history["snr"][0] + 2
    assert np.isfinite(result.image).all()


@needs_deepinv
def test_nobody_imports_it_unasked():
    code = "import sys, asyncred_gpu; asyncred_gpu.load_denoiser('dncnn'); assert 'deepinv' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
