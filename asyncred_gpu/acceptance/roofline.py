"""What the device can do: bandwidth of a copy, and the rate of the DnCNN's 64→64 convolution in each precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..denoiser import DenoiserSettings, DeviceDenoiser
from ..layers import DTYPES
from .floors import conv_operations, fraction, network_operations
from .machine import Machine
from .measured import Measured
from .sections import Findings
from .timing import operation

COPY_BYTES = 2**31
CROPS = (1, 2, 4, 8, 16)
CROP_SIDE = 214
KERNEL = (3, 3)


def copy_bandwidth(findings: Findings, machine: Machine, measured: Measured, nbytes: int = COPY_BYTES) -> None:
    """The section: a large copy on the device; every byte is read once and written once."""
    source = torch.rand(nbytes // 4, device=machine.device.torch)
    target = torch.empty_like(source)
    seconds = machine.timer.operations([operation("copy", lambda: target.copy_(source))])
    measured.bandwidth = 2 * nbytes / seconds
    findings.check(torch.equal(source, target), "the copy isn't its source")
    findings.data.update(nbytes=nbytes, seconds=seconds, bandwidth=measured.bandwidth)
    rows = findings.table("Copy on the device", ["GiB", "ms", "TB/s, read and written"])
    rows.append([nbytes / 2**30, 1e3 * seconds, measured.bandwidth / 1e12])


def conv_rates(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    channels: int = 64,
    side: int = CROP_SIDE,
    crops: Sequence[int] = CROPS,
) -> None:
    """The section: the best rate of a convolution of the DnCNN's middle layers, the roofline of a precision."""
    title = f"Convolution {channels}→{channels}, 3×3 on {side}², TFLOP/s by crops at once"
    rows = findings.table(title, ["precision", *(str(count) for count in crops), "best"])
    for precision in machine.precisions:
        rates = [conv_rate(machine, precision, count, channels, side) for count in crops]
        measured.rates[precision] = max(rates)
        rows.append([precision, *(rate / 1e12 for rate in rates), max(rates) / 1e12])
        findings.data[precision] = dict(zip(map(str, crops), rates, strict=True))


def conv_rate(machine: Machine, precision: str, count: int, channels: int, side: int) -> float:
    """Operations a second, on random data in channels_last."""
    place, dtype = machine.device.torch, DTYPES[precision]
    last = torch.channels_last
    features = torch.randn(count, channels, side, side, device=place).to(dtype).contiguous(memory_format=last)
    weight = torch.randn(channels, channels, *KERNEL, device=place).to(dtype).contiguous(memory_format=last)
    with torch.no_grad():
        work = operation("conv", lambda: machine.convolve(features, weight, precision == "tf32"))
        seconds = machine.timer.operations([work])
    inner = side - 2
    return conv_operations(count, channels, channels, KERNEL, inner, inner) / seconds


def network_rates(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    network: nn.Module,
    halo: int,
    side: int = CROP_SIDE,
    crops: Sequence[int] = CROPS,
) -> None:
    """The section: the whole denoiser against the roofline, as the solver runs it and with cuDNN's fused layers."""
    rows = findings.table(f"Denoiser alone on {side}², share of the roofline by crops at once", ["", *map(str, crops)])
    for precision in machine.precisions:
        for fused in (False, True) if precision in ("float16", "bfloat16") else (False,):
            seconds = [denoiser_seconds(machine, network, halo, precision, count, side, fused) for count in crops]
            floors = [
                measured.ceilings().arithmetic(network_operations(network, side, side) * n, precision) for n in crops
            ]
            shares = [fraction(floor, found) for floor, found in zip(floors, seconds, strict=True)]
            name = f"{precision}{', fused' if fused else ''}"
            rows.append([name, *shares])
            findings.data[name] = {"seconds": seconds, "shares": shares}


def denoiser_seconds(
    machine: Machine, network: nn.Module, halo: int, precision: str, count: int, side: int, fused: bool
) -> float:
    place = machine.device.torch
    settings = DenoiserSettings(halo, precision, 1.0)
    denoiser = DeviceDenoiser(network, settings, place, deterministic=False, fused=fused)
    crops = torch.rand(count, 1, side, side, device=place)
    return machine.timer.operations([operation("network", lambda: denoiser.residual(crops))])
