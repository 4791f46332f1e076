"""What cuDNN is told, by a stand-in that takes the arguments of torch's own schema; no GPU is needed."""

import pytest
import torch
from torch.nn import functional as F

from asyncred_gpu.layers import ValidDnCNN, as_channels_last, cudnn_activated, cudnn_convolution, plain

from .helpers import small_network

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
        self.told.append(told | {"dtype": weight.dtype})
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
