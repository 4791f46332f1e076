"""Every way a GPU can't be used, by its message; no GPU is needed."""

import re
import warnings
from dataclasses import replace

import pytest
import torch

from asyncred_gpu.devices import DeviceError, check_device, decide, parse
from asyncred_gpu.gpu_findings import Found, cuda_of_package, look

GOOD = Found(
    driver=(13, 0),
    torch="2.11.0+cu130",
    torch_cuda=(13, 0),
    available=True,
    capabilities=((9, 0), (9, 0)),
    architectures=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"),
    current=1,
    cupy_packages=("cupy-cuda13x",),
    cupy_cuda=13,
    cupy_devices=2,
)
BLIND = replace(GOOD, available=False, capabilities=(), architectures=(), current=0, cupy_devices=0)
NOTHING = Found(driver=None, torch="2.13.0+cpu", torch_cuda=None)
BUILD = r"`pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/"

CASES = {
    "nothing at all": (
        NOTHING,
        r"found no NVIDIA driver \(libcuda.so.1 can't be loaded\), torch 2.13.0\+cpu built without CUDA and no CuPy. "
        r"To mend it, install the NVIDIA driver .*; then " + BUILD + r"cu130`; then `pip install cupy-cuda13x`",
    ),
    "no driver": (replace(BLIND, driver=None), r"found no NVIDIA driver .*loaded\). To mend it, install the NVIDIA"),
    "torch for the CPU, driver 13": (
        replace(BLIND, torch="2.11.0+cpu", torch_cuda=None),
        r"found torch 2.11.0\+cpu built without CUDA. To mend it, " + BUILD + "cu130`. Pass",
    ),
    "torch for the CPU, driver 12": (
        replace(NOTHING, driver=(12, 4)),
        r"found torch 2.13.0\+cpu built without CUDA and no CuPy.* "
        + BUILD
        + "cu126`; then `pip install cupy-cuda12x`",
    ),
    "torch for the CPU, CuPy for 12": (
        replace(NOTHING, driver=(13, 0), cupy_packages=("cupy-cuda12x",), cupy_cuda=12),
        r"built without CUDA. To mend it, " + BUILD + "cu126`. Pass",
    ),
    "torch for the CPU, driver 11": (
        replace(BLIND, driver=(11, 4), torch_cuda=None),
        r"found an NVIDIA driver for CUDA 11.4 and torch .* built without CUDA. To mend it, update the NVIDIA driver;",
    ),
    "driver too old": (
        replace(BLIND, driver=(12, 4)),
        r"an NVIDIA driver for CUDA 12.4, too old for torch 2.11.0\+cu130 \(CUDA 13.0\). "
        r"To mend it, update the NVIDIA driver, or " + BUILD + "cu126`. Pass",
    ),
    "no device": (BLIND, r"found no GPU that torch can see. To mend it, make nvidia-smi list the GPU"),
    "hidden": (replace(BLIND, visible="-1"), r"no GPU that torch can see, with CUDA_VISIBLE_DEVICES='-1'. .* unset it"),
    "all hidden": (replace(BLIND, visible=""), r"with CUDA_VISIBLE_DEVICES=''"),
    "no CuPy": (
        replace(GOOD, cupy_packages=(), cupy_cuda=None),
        r"found no CuPy. To mend it, `pip install cupy-cuda13x`. Pass",
    ),
    "no CuPy for 12": (
        replace(GOOD, torch_cuda=(12, 8), cupy_packages=(), cupy_cuda=None),
        r"found no CuPy. To mend it, `pip install cupy-cuda12x`. Pass",
    ),
    "CuPy for 12": (
        replace(GOOD, cupy_packages=("cupy-cuda12x",), cupy_cuda=12),
        r"found cupy-cuda12x \(CUDA 12\), which doesn't fit torch 2.11.0\+cu130 \(CUDA 13.0\). "
        r"To mend it, `pip uninstall -y cupy-cuda12x` and `pip install cupy-cuda13x`. Pass",
    ),
    "CuPy twice": (
        replace(GOOD, cupy_packages=("cupy-cuda12x", "cupy-cuda13x"), cupy_cuda=None),
        r"found cupy-cuda12x and cupy-cuda13x, which overwrite each other. "
        r"To mend it, `pip uninstall -y cupy-cuda12x cupy-cuda13x` and `pip install cupy-cuda13x`. Pass",
    ),
    "CuPy broken": (
        replace(GOOD, cupy_devices=0, cupy_error="ImportError: libnvrtc.so.13"),
        r"found cupy-cuda13x, which doesn't work \(ImportError: libnvrtc.so.13\). To mend it, `pip uninstall",
    ),
    "CuPy blind": (replace(GOOD, cupy_devices=0), "found cupy-cuda13x, which sees 0 of the 2 GPUs torch sees"),
    "too old a GPU": (
        replace(GOOD, capabilities=((9, 0), (6, 1))),
        r"found cuda:1 of compute capability 6.1. To mend it, use a GPU of compute capability 7.0 or later. Pass",
    ),
    "not in torch's build": (
        replace(GOOD, capabilities=((9, 0), (7, 0))),
        r"cuda:1 of compute capability 7.0 and torch .* without code for it \(only sm_75, .*\). .*cu126`. Pass",
    ),
    "newer than torch's build": (
        replace(GOOD, driver=(12, 8), capabilities=((9, 0), (12, 0)), architectures=("sm_80", "sm_90", "sm_90a")),
        r"cuda:1 of compute capability 12.0 and torch .* without code for it \(only sm_80, .*\). .*cu128`. Pass",
    ),
}


def refusal(found):
    with pytest.raises(DeviceError) as raised:
        decide(("cuda",), found)
    return str(raised.value)


@pytest.mark.parametrize("case", CASES)
def test_a_gpu_that_cannot_be_used_is_explained(case):
    text = refusal(CASES[case][0])
    assert text.startswith("device='cuda' can't be used: found ")
    assert text.endswith("Pass device='cpu' to go on without a GPU.")
    # Its own message, and no other case's.
    assert [name for name, (_, message) in CASES.items() if re.search(message, text)] == [case]


@pytest.mark.parametrize(
    ("names", "devices"),
    [
        (("auto",), ("cuda:1",)),
        (("cuda",), ("cuda:1",)),
        (("cuda:0",), ("cuda:0",)),
        (("cuda:1", "cuda:0"), ("cuda:1", "cuda:0")),
        (("cuda", "cuda:0"), ("cuda:1", "cuda:0")),
    ],
)
def test_gpus_that_work(names, devices):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decide(names, GOOD) == devices


@pytest.mark.parametrize(
    "found",
    [
        replace(GOOD, driver=(12, 4)),  # forward compatibility: torch itself says that it works
        replace(GOOD, driver=(12, 4), torch_cuda=(12, 8), cupy_packages=("cupy-cuda12x",), cupy_cuda=12),
        replace(GOOD, cupy_packages=("cupy",), cupy_cuda=None),  # conda's, which doesn't say
        replace(GOOD, capabilities=((8, 9), (8, 9))),  # code for 8.6 runs on 8.9
        replace(GOOD, capabilities=((12, 1), (13, 0))),  # PTX for 12.0 runs on all that is later
    ],
)
def test_what_is_not_quite_the_same_but_works(found):
    assert decide(("cuda:0",), found) == ("cuda:0",)


def test_there_is_no_such_gpu():
    with pytest.raises(
        DeviceError, match=r"device='cuda:2' can't be used: found no cuda:2 but 2 GPUs, cuda:0 to cuda:1"
    ):
        decide(("cuda:2",), GOOD)
    with pytest.raises(
        DeviceError, match=r"device=\['cuda:0', 'cuda:7'\] can't be used: found no cuda:7 but 1 GPU, cuda:0"
    ):
        decide(("cuda:0", "cuda:7"), replace(GOOD, capabilities=((9, 0),), cupy_devices=1))
    with pytest.raises(ValueError, match=r"device=\['cuda', 'cuda:1'\] names a device twice"):
        decide(("cuda", "cuda:1"), GOOD)


def test_auto_takes_the_cpu_and_says_why_only_if_a_gpu_is_there():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in (NOTHING, BLIND, replace(BLIND, driver=None)):
            assert decide(("auto",), found) == ("cpu",)
    with pytest.warns(
        UserWarning, match=r"^device='auto' takes the CPU: found no CuPy. To use the GPU, `pip install"
    ) as seen:
        assert decide(("auto",), replace(GOOD, cupy_packages=(), cupy_cuda=None)) == ("cpu",)
    assert "\n" not in str(seen[0].message)


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("auto", ("auto",)),
        ("cpu", ("cpu",)),
        (torch.device("cpu"), ("cpu",)),
        (torch.device("cuda", 1), ("cuda:1",)),
        (["cuda:0", torch.device("cuda:10")], ("cuda:0", "cuda:10")),
        (("cuda",), ("cuda",)),
    ],
)
def test_names(device, names):
    assert parse(device) == names


BAD = [
    "tpu",
    "CUDA",
    "cuda:",
    "cuda:-1",
    "cuda:01",
    "cuda:1 ",
    "cuda:1\n",
    "",
    None,
    0,
    [],
    ["cpu"],
    ["auto"],
    ["cuda", 1],
]


@pytest.mark.parametrize("device", [*BAD, torch.device("meta"), {"cuda:0": 1}])
def test_other_names_are_refused(device):
    with pytest.raises(ValueError, match=r"^device=.* isn't known\. Pass 'auto', 'cpu', 'cuda', 'cuda:1', or a list"):
        check_device(device)


def test_this_machine():
    found = look()
    assert check_device("cpu") == ("cpu",)
    assert found.torch == torch.__version__ and found.available == torch.cuda.is_available()
    if not found.available:
        assert check_device("auto") == ("cpu",)
        with pytest.raises(DeviceError, match="device='cuda' can't be used: found "):
            check_device("cuda")


def test_packages_of_cupy():
    names = ("cupy-cuda12x", "cupy_cuda13x", "cupy", "cupy-rocm-5-0")
    assert [cuda_of_package(name) for name in names] == [12, 13, None, None]
