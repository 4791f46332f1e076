"""Bias with ReLU, and the first layer, in float16 and bfloat16: against torch, every value, on host and GPU."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.nn import functional as F

from asyncred_gpu.kernels.host_build import HostBuildError, HostKernels
from asyncred_gpu.kernels.nvrtc import Nvrtc, NvrtcMissing, resources
from asyncred_gpu.kernels.sources import FOLDER, device_code

from .helpers import gpu_marks

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
PLACES = ["cpu", pytest.param("cuda", marks=gpu_marks())]
TINY = torch.finfo(torch.float32).tiny
pytestmark = pytest.mark.parametrize("precision", list(DTYPES))


@functools.cache
def kernels_on(place):
    if place == "cuda":
        from asyncred_gpu.kernels.cuda_build import CudaKernels

        return CudaKernels(0)
    try:
        return HostKernels()
    except HostBuildError as error:
        pytest.skip(str(error))


def noise(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same(found, expected):
    """Equal, NaN to NaN; 0 and −0 are the same."""
    return bool(((found == expected) | (found.isnan() & expected.isnan())).all())


# --- bias and ReLU ---------------------------------------------------------------------------------------------------


def activate(place, features, bias):
    """features (pixels, channels), in place."""
    dtype = str(features.dtype).removeprefix("torch.")
    kernels_on(place).launch(f"activate_{dtype}", features.numel() // 8, features, bias, *features.shape)


def truncated(values, dtype):
    """Rounded towards zero."""
    found = values.to(dtype)
    return (found.view(torch.int16) - (found.float().abs() > values.abs()).to(torch.int16)).view(dtype)


ACTIVATIONS = {
    None: lambda x, bias: (x + bias).relu(),
    "no ReLU": lambda x, bias: x + bias,
    "no bias": lambda x, bias: x.relu(),
    "the next channel's": lambda x, bias: (x + bias.roll(1)).relu(),
    "rounded down": lambda x, bias: truncated(x.float() + bias.float(), x.dtype).relu(),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wrong", ACTIVATIONS)
def test_every_value_and_many_biases_give_what_torch_gives(place, precision, wrong):
    dtype = DTYPES[precision]
    most, least = torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, most, -most, torch.inf, -torch.inf, torch.nan, least, -least / 4])
    bias = torch.cat([special, torch.logspace(-9, 4, 53) * noise(53).sign()]).to(dtype)
    values = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    features = values[:, None].repeat(1, 64)
    with torch.no_grad():
        expected = ACTIVATIONS[wrong](features, bias)
    found = features.to(place)
    activate(place, found, bias.to(place))
    assert same(found.cpu(), expected) == (wrong is None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("channels", [8, 24])
def test_only_the_features_are_touched(place, precision, channels):
    memory = torch.full((9, channels), -3.0, dtype=DTYPES[precision], device=place)
    activate(place, memory[2:7], torch.ones(channels, dtype=DTYPES[precision], device=place))
    assert memory[:, 0].tolist() == [-3.0] * 2 + [0.0] * 5 + [-3.0] * 2
    assert (memory == memory[:, :1]).all()


def test_a_tensor_of_another_precision_is_refused(precision):
    other = "float16" if precision == "bfloat16" else "bfloat16"
    features, bias = torch.zeros(2, 8, dtype=DTYPES[other]), torch.zeros(8, dtype=DTYPES[precision])
    with pytest.raises(TypeError, match=rf"a tensor of torch.{other} isn't its argument {precision.capitalize()} \*f"):
        kernels_on("cpu").launch(f"activate_{precision}", 2, features, bias, 2, 8)


# --- the first layer -------------------------------------------------------------------------------------------------


def first_layer(place, precision, crops, weight, bias):
    """(n, channels, rows − 2, cols − 2) from crops (n, 1, rows, cols); whatever lies around it stays as it is."""
    (batch, _, rows, cols), channels = crops.shape, len(weight)
    shape = (batch, rows - 2, cols - 2, channels)
    memory = torch.full((2 * channels + torch.Size(shape).numel(),), torch.nan, dtype=DTYPES[precision], device=place)
    features = memory[channels:-channels].view(shape)
    taps = weight.reshape(-1, 2, 4, 9).permute(3, 1, 0, 2).contiguous().to(place)
    sizes = (batch, rows, cols, channels)
    items = batch * (rows - 2) * -(-(cols - 2) // 3) * (channels // 8)
    kernels_on(place).launch(f"first_layer_{precision}", items, crops.to(place), taps, bias.to(place), *sizes, features)
    assert memory[:channels].isnan().all() and memory[-channels:].isnan().all()
    return features.permute(0, 3, 1, 2).cpu()


def reference(crops, weight, bias):
    return F.conv2d(crops.double(), weight.double(), bias.double())


FIRST_LAYERS = {
    None: lambda crops, weight, bias: reference(crops, weight, bias).relu(),
    "no ReLU": reference,
    "the next channel's bias": lambda crops, weight, bias: reference(crops, weight, bias.roll(1)).relu(),
    "the next channel's weight": lambda crops, weight, bias: reference(crops, weight.roll(1, 0), bias).relu(),
    "transposed": lambda crops, weight, bias: reference(crops, weight.mT, bias).relu(),
    "the next crop": lambda crops, weight, bias: reference(crops.roll(1, 0), weight, bias).relu(),
    "the next pixel": lambda crops, weight, bias: reference(crops.roll(1, 3), weight, bias).relu(),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wrong", FIRST_LAYERS)
@pytest.mark.parametrize(("cols", "channels"), [(3, 8), (4, 64), (5, 24), (6, 64), (7, 8), (35, 64)])
def test_first_layer_is_the_convolution_rounded_once(place, precision, wrong, cols, channels):
    crops, weight, bias = noise(3, 1, 6, cols), noise(channels, 1, 3, 3, seed=4), noise(channels, seed=5)
    exact = FIRST_LAYERS[wrong](crops, weight, bias)
    off = (first_layer(place, precision, crops, weight, bias).double() - exact).abs()
    half_a_step = torch.finfo(DTYPES[precision]).eps / 2
    assert bool((off <= half_a_step * exact.abs() + 4e-6).all()) == (wrong is None)


def between(dtype):
    """Every finite value that isn't negative, the ties between two of them, and what lies next to a tie."""
    top = torch.tensor(torch.inf, dtype=dtype).view(torch.int16)
    values = torch.arange(int(top), dtype=torch.int16).view(dtype).double()
    ties = torch.cat([(values[1:] + values[:-1]) / 2, values[-1:] + (values[-1] - values[-2]) / 2]).float()
    beside = [torch.nextafter(ties, torch.full_like(ties, side)) for side in (0.0, 1e38)]
    return torch.cat([values.float(), ties, *beside])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("wrong", [None, truncated])
def test_first_layer_rounds_to_nearest_even(place, precision, wrong):
    dtype = DTYPES[precision]
    values = between(dtype)
    if place == "cuda":  # where CuPy has denormal floats count as zero
        values = values[values >= TINY]
    crops, weight = torch.zeros(1, 1, 3, len(values) + 2), torch.zeros(8, 1, 3, 3)
    crops[0, 0, 1, 1:-1] = values
    weight[:, 0, 1, 1] = torch.tensor([1.0, -1.0]).repeat(4)
    found = first_layer(place, precision, crops, weight, torch.zeros(8))[0, :, 0]
    assert not found[1::2].any()
    assert same(found[::2], wrong(values, dtype) if wrong else values.to(dtype)) == (wrong is None)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_finite_stays_so_and_where_it_is(place, precision):
    crops = torch.ones(1, 1, 7, 30)
    crops[0, 0, 3, 4], crops[0, 0, 3, 14], crops[0, 0, 3, 24] = torch.nan, torch.inf, -torch.inf
    found = first_layer(place, precision, crops, torch.ones(8, 1, 3, 3), torch.zeros(8))[0]
    expected = torch.full((8, 5, 28), 9.0)
    expected[:, 1:4, 2:5], expected[:, 1:4, 12:15], expected[:, 1:4, 22:25] = torch.nan, torch.inf, 0.0
    assert same(found, expected)


# --- what the compiler makes of them ---------------------------------------------------------------------------------


class Ptx(Nvrtc):
    """Gives the PTX, not the cubin."""

    def _read(self, program, what):
        return super()._read(program, "PTX" if what == "CUBIN" else what)


@pytest.mark.parametrize(
    ("kernel", "loads", "stores", "instruction"),
    [("activate", 2, 1, "fma.rn.relu.{}x2"), ("first_layer", 8, 3, "cvt.rn.relu.{}x2.f32")],
)
@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_memory_is_read_and_written_16_bytes_at_once(precision, kernel, loads, stores, instruction, architecture):
    file = FOLDER / f"{kernel}_{precision}.cu"
    try:
        compiler = Ptx()
    except NvrtcMissing as error:
        pytest.skip(str(error))
    ptx, log = compiler.compile(device_code(file), file.name, architecture)
    text = ptx.decode()
    assert (text.count("ld.global.v4"), text.count("st.global.v4")) == (loads, stores)
    assert text.count("st.global") == stores
    # Turing has neither instruction, and float16 is offered there.
    assert (instruction.format(precision.replace("float", "f")) in text) == (architecture != "sm_75")
    assert resources(log)[file.stem].spill_stores == 0
