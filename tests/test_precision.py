"""Which precision is taken, and that "auto" refuses one that is bad for the network at hand."""

import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from asyncred_gpu import load_denoiser, precision
from asyncred_gpu.models import DnCNN
from asyncred_gpu.precision import LARGEST_ERROR, REDUCED, choose_precision, offered_precisions, resolve_precision

from .helpers import LinearResidual, small_network
from .test_denoiser import CPU, crops_of


def test_names_on_the_cpu():
    assert resolve_precision("float32") == "float32"
    assert resolve_precision("auto") in ("float32", "bfloat16")
    for bad in ("float8", "float16", "tf32"):
        with pytest.raises(
            ValueError, match=rf"precision='{bad}' isn't available on the CPU\. Pass one of auto, float32, b"
        ):
            resolve_precision(bad)


@pytest.mark.parametrize(
    ("native", "seconds", "expected"),
    [(True, 0.5, "bfloat16"), (True, 0.9, "float32"), (True, 2.0, "float32"), (False, 0.5, "float32")],
)
def test_auto_on_the_cpu_is_bfloat16_where_it_is_there_and_faster(native, seconds, expected, monkeypatch):
    monkeypatch.setattr(precision, "_native_bfloat16", lambda: native)
    times = {torch.float32: 1.0, torch.bfloat16: seconds}
    monkeypatch.setattr(precision, "_convolution_seconds", lambda dtypes: [times[dtype] for dtype in dtypes])
    monkeypatch.setattr(precision, "_faster_in_bfloat16", precision._faster_in_bfloat16.__wrapped__)
    assert resolve_precision("auto") == expected


def test_what_is_measured_is_a_convolution_on_this_machine():
    seconds = precision._convolution_seconds((torch.float32, torch.bfloat16))
    assert all(1e-5 < value < 1.0 for value in seconds)


def test_what_else_the_machine_does_is_not_measured(monkeypatch):
    """A convolution waits for its turn a thousand times as long as it takes, and isn't slower by that."""

    def convolve(dtype):
        if dtype == torch.float32:
            time.sleep(0.02)

    monkeypatch.setattr(precision, "_convolution", lambda dtype: partial(convolve, dtype))
    threads = torch.get_num_threads()
    waiting, _ = precision._convolution_seconds((torch.float32, torch.bfloat16))
    assert waiting < 0.01
    assert torch.get_num_threads() == threads


def test_a_pause_of_the_machine_hits_both_precisions(monkeypatch):
    """Something else runs for the first eight of twelve convolutions: measured one after the other, it hit float32."""
    now, calls = [0.0], [0]
    costs = {torch.float32: 1.0, torch.bfloat16: 1.0}

    def convolve(dtype):
        calls[0] += 1
        now[0] += costs[dtype] * (10 if calls[0] <= 8 else 1)

    monkeypatch.setattr(precision, "_convolution", lambda dtype: partial(convolve, dtype))
    monkeypatch.setattr(precision, "time", SimpleNamespace(thread_time=lambda: now[0]))
    assert precision._convolution_seconds((torch.float32, torch.bfloat16)) == [1.0, 1.0]


def test_names_on_a_gpu():
    assert resolve_precision("auto", "cuda") is None
    assert [resolve_precision(name, "cuda") for name in ("float32", *REDUCED)] == ["float32", *REDUCED]
    with pytest.raises(ValueError, match=r"precision='float8' isn't available on a GPU\. Pass one of auto, .*, tf32\."):
        resolve_precision("float8", "cuda")
    turing = offered_precisions((7, 5))
    assert resolve_precision("float16", "cuda", turing) == "float16"
    for bad in ("bfloat16", "tf32"):
        with pytest.raises(
            ValueError, match=rf"'{bad}' isn't .* this GPU \(too old\)\. Pass one of auto, float32, float16\."
        ):
            resolve_precision(bad, "cuda", turing)


def test_what_a_gpu_offers():
    assert offered_precisions((7, 0)) == offered_precisions((7, 5)) == ("float16",)
    assert offered_precisions((8, 0)) == offered_precisions((12, 0)) == REDUCED


def overflowing(factor=1e6):
    """Activations beyond float16's 65504, and a residual like any other."""
    network = small_network(depth=4)
    with torch.no_grad():
        network.layers[0].weight.mul_(factor)
        network.layers[0].bias.mul_(factor)
        network.layers[1].bias.mul_(factor)
        network.layers[2].bias.mul_(factor)
        network.layers[3].weight.div_(factor)
    return network


def cancelling(offset):
    """The image plus an offset, less the offset: exact in float32; what rounding leaves of the image, in others."""
    network = DnCNN(3, 2).eval().requires_grad_(False)
    for layer in network.layers:
        layer.weight.zero_()
        layer.bias.zero_()
    first, second, last = network.layers
    first.weight[0, 0, 1, 1] = 1.0
    first.bias[:] = offset
    second.weight[0, 0, 1, 1] = second.weight[1, 1, 1, 1] = 1.0
    last.weight[0, 0, 1, 1], last.weight[0, 1, 1, 1] = 1.0, -1.0
    return network


@pytest.mark.parametrize(
    ("network", "halo", "chosen", "measured"),
    [
        (load_denoiser("dncnn"), 7, "float16", ["float16"]),
        (overflowing(), 4, "bfloat16", ["float16", "bfloat16"]),
        (cancelling(4.0), 3, "float16", ["float16"]),
        (cancelling(64.0), 3, "tf32", ["float16", "bfloat16", "tf32"]),
        (LinearResidual(), 1, "tf32", ["tf32"]),
    ],
    ids=["trained", "overflows", "cancels a little", "cancels", "foreign"],
)
def test_auto_takes_the_first_that_is_good_enough(network, halo, chosen, measured):
    found, errors = choose_precision(network, halo, crops_of(), CPU)
    assert (found, list(errors)) == (chosen, measured)
    for name, error in errors.items():
        assert (error <= LARGEST_ERROR) == (name == chosen)


def test_auto_takes_float32_where_nothing_else_is_good_or_offered():
    for offered in (("float16", "bfloat16"), ("float16",)):
        found, errors = choose_precision(cancelling(64.0), 3, crops_of(), CPU, offered)
        assert found == "float32" and list(errors) == list(offered)
    assert choose_precision(load_denoiser("dncnn"), 7, crops_of(), CPU, ()) == ("float32", {})
    assert choose_precision(LinearResidual(), 1, crops_of(), CPU, ("float16",)) == ("float32", {})


def test_no_residual_is_no_error():
    network = small_network()
    for parameter in network.parameters():
        parameter.zero_()
    assert choose_precision(network, 3, crops_of(), CPU) == ("float16", {"float16": 0.0})
