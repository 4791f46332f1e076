"""What cuDNN is told, by a stand-in that takes the arguments of torch's own schema; layers by kernels of our own.

No GPU is needed: the kernels run in their host build.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from asyncred_gpu import load_denoiser
from asyncred_gpu.kernel_layers import KernelDnCNN, fits
from asyncred_gpu.layers import ValidDnCNN, as_channels_last, cudnn_activated, cudnn_convolution, plain, prepared

from .helpers import relative, small_network
from .test_kernels_activate import DTYPES, first_layer, kernels_on

CPU = torch.device("cpu")


class StandIn:
    """Does what a cuDNN operator does, and remembers what it was told."""

    def __init__(self, name):
        self._names = [argument.name for argument in getattr(torch.ops.aten, name).default._schema.arguments]
        self.told = []

    def __call__(self, *arguments):
        told = dict(zip(self._names, arguments, strict=True))
        found = F.conv2d(
            told.pop("self"),
            (weight := told.pop("weight")),
            told.pop("bias", None),
            told.pop("stride"),
            told.pop("padding"),
            told.pop("dilation"),
            told.pop("groups"),
        )
        self.told.append(told | {"dtype": weight.dtype, "outputs": len(weight)})
        return found.relu_() if "benchmark" not in told else found


@pytest.fixture
def cudnn(monkeypatch):
    convolution, activated = StandIn("cudnn_convolution"), StandIn("cudnn_convolution_relu")
    monkeypatch.setattr(torch, "cudnn_convolution", convolution)
    monkeypatch.setattr(torch, "cudnn_convolution_relu", activated)
    return convolution, activated


@pytest.mark.parametrize("precision", ["float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_is_told_everything(cudnn, precision, deterministic):
    network, crops = small_network(depth=4), torch.rand(2, 1, 20, 16)
    expected = ValidDnCNN(network, precision, CPU, plain)(crops)
    found = ValidDnCNN(network, precision, CPU, cudnn_convolution(deterministic))(crops)
    rounding = {"float16": 2e-3, "bfloat16": 2e-2}.get(precision, 1e-6)
    assert found.dtype == expected.dtype
    assert torch.allclose(found.float(), expected.float(), rtol=0, atol=rounding * float(expected.abs().max()))
    told, _ = cudnn[0].told, cudnn[1].told
    assert [layer["allow_tf32"] for layer in told] == [False] + 3 * [precision == "tf32"]
    assert [layer["dtype"] for layer in told][:2] == [torch.float32, found.dtype]
    assert {(layer["benchmark"], layer["deterministic"]) for layer in told} == {(not deterministic, deterministic)}


@pytest.mark.parametrize(("precision", "fused"), [("float16", 3), ("bfloat16", 3), ("float32", 0), ("tf32", 0)])
def test_only_reduced_layers_are_fused(cudnn, precision, fused):
    """In float32 a fused layer would take TF32 from torch's settings."""
    network, crops = small_network(depth=5), torch.rand(1, 1, 20, 16)
    expected = ValidDnCNN(network, precision, CPU, plain)(crops)
    found = ValidDnCNN(network, precision, CPU, cudnn_convolution(False), cudnn_activated)(crops)
    assert len(cudnn[1].told) == fused and len(cudnn[0].told) == 5 - fused
    assert torch.allclose(found.float(), expected.float(), rtol=0, atol=2e-2 * float(expected.abs().max()))


@pytest.mark.parametrize("wrong", [False, True])
def test_crops_say_that_they_are_channels_last(wrong):
    """A single channel leaves the strides open, and an output laid out the other way would be copied."""
    crops = torch.rand(3, 1, 8, 6)
    laid_out = crops if wrong else as_channels_last(crops)
    assert torch.equal(laid_out, crops)
    assert (laid_out.stride() == (48, 1, 6, 1)) == (not wrong)


# --- kernels of our own ----------------------------------------------------------------------------------------------


def crops_of(count, rows, cols):
    """Noisy crops (count, 1, rows, cols) about 0.5."""
    return 0.5 + 0.2 * torch.randn((count, 1, rows, cols), generator=torch.Generator().manual_seed(count))


def by_kernels(network, precision, crops, convolve=plain, kernels=None, **options):
    rows, cols = (side - 2 * network.receptive_radius for side in crops.shape[2:])
    out = torch.full((len(crops), 1, rows, cols), torch.nan)
    kernels = kernels_on("cpu") if kernels is None else kernels
    KernelDnCNN(network, precision, CPU, convolve, kernels, **options).into(crops, out)
    return out


def rounded_alike(network, precision, crops):
    """With torch's operations after the first layer, rounded where the kernels round."""
    first, *hidden, last = prepared(network, precision, CPU)
    features = first_layer("cpu", precision, crops, first.weight, first.bias)
    for layer in hidden:
        features = features.contiguous(memory_format=torch.channels_last)
        features = (plain(features, replace(layer, bias=None)) + layer.bias[:, None, None]).relu()
    return plain(features, replace(last, bias=None)).float() + network.layers[-1].bias


class Planted:
    """The kernels with a mistake: what `spoil` makes of the features that one of them wrote, and of its bias."""

    def __init__(self, name, spoil):
        self._name, self._spoil = name, spoil

    def launch(self, name, items, *arguments):
        features, bias = (arguments[0], arguments[1]) if name.startswith("activate") else (arguments[-1], arguments[2])
        before = features.clone()
        kernels_on("cpu").launch(name, items, *arguments)
        if name.startswith(self._name):
            features.copy_(self._spoil(before, features.clone(), bias))


def biased(**options):
    """A small network whose biases matter more than rounding."""
    network = small_network(**options)
    for layer in network.layers:
        layer.bias.mul_(10)
    return network


NETWORKS = {
    "shipped": load_denoiser("dncnn"),
    "16 channels": biased(depth=7, channels=16, bound=50.0),
    "two layers": biased(depth=2),
}
MISTAKES = {
    "no activation": Planted("activate", lambda before, after, bias: before),
    "no ReLU": Planted("activate", lambda before, after, bias: before + bias),
    "the next channel's bias": Planted("activate", lambda before, after, bias: (before + bias.roll(1)).relu()),
    "the next channel": Planted("activate", lambda before, after, bias: after.roll(1, -1)),
    "the next pixel first": Planted("first_layer", lambda before, after, bias: after.roll(1, 2)),
    "the next channel first": Planted("first_layer", lambda before, after, bias: after.roll(1, -1)),
}
SHAPES = [(3, 41, 35), (1, 27, 16), (2, 15, 18)]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_round_as_torch_does(network, precision, shape):
    crops = crops_of(*shape)
    assert torch.equal(by_kernels(network, precision, crops), rounded_alike(network, precision, crops))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("mistake", [None, *MISTAKES])
@pytest.mark.parametrize(("name", "rounding"), [("shipped", 1), ("16 channels", 5), ("two layers", 1)])
def test_kernels_are_the_plain_layers_but_for_rounding(name, rounding, mistake, precision):
    """Measured 0.3 to 0.7, 1.4 to 3.0 and 0.3 of the precision's epsilon; the mistakes make 24 and more."""
    network = NETWORKS[name]
    if name == "two layers" and mistake in MISTAKES and not mistake.endswith("first"):
        pytest.skip("between the first layer and the last there is nothing to get wrong")
    within = rounding * torch.finfo(DTYPES[precision]).eps
    for shape in SHAPES:
        crops = crops_of(*shape)
        found = by_kernels(network, precision, crops, kernels=MISTAKES.get(mistake))
        expected = ValidDnCNN(network, precision, CPU, plain)(crops).float()
        assert (relative(found, expected.numpy()) < within) == (mistake is None), shape


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("pad_last", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_adds_no_bias_between_kernels(cudnn, precision, pad_last, deterministic):
    network, crops = NETWORKS["16 channels"], crops_of(2, 20, 23)
    found = by_kernels(network, precision, crops, cudnn_convolution(deterministic), pad_last=pad_last)
    assert torch.equal(found, rounded_alike(network, precision, crops))
    told, fused = (stand_in.told for stand_in in cudnn)
    assert [layer["outputs"] for layer in told] == 5 * [16] + [8 if pad_last else 1] and not fused
    assert {layer["dtype"] for layer in told} == {DTYPES[precision]}
    assert {(layer["benchmark"], layer["deterministic"]) for layer in told} == {(not deterministic, deterministic)}


def test_features_laid_out_the_other_way_are_turned_first():
    network, crops = NETWORKS["16 channels"], crops_of(2, 20, 23)
    contiguous = lambda features, layer: plain(features, layer).contiguous()  # noqa: E731
    found = by_kernels(network, "bfloat16", crops, contiguous)
    assert torch.equal(found, by_kernels(network, "bfloat16", crops))


@pytest.mark.parametrize(
    ("depth", "channels", "precision", "expected"),
    [
        (2, 8, "float16", True),
        (7, 64, "bfloat16", True),
        (1, 8, "float16", False),
        (3, 12, "float16", False),
        (3, 8, "float32", False),
        (3, 8, "tf32", False),
    ],
)
def test_which_networks_the_kernels_are_made_for(depth, channels, precision, expected):
    assert fits(small_network(depth=depth, channels=channels), precision) == expected
