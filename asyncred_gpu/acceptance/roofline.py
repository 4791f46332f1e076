"""What the device can do: bandwidth of a copy, and the rate of the DnCNN's 64→64 convolution in each precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..layers import DTYPES
from .floors import conv_operations
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
    table = findings.table(title, ["precision", *map(str, crops), "best"])
    rows: dict[str, list[Any]] = {name: [name, *(None for _ in crops), None] for name in machine.precisions}
    table.extend(rows.values())
    points = {f"{precision}, {count} crops": (precision, count) for precision in machine.precisions for count in crops}
    for name in findings.in_time(points):
        precision, count = points[name]
        with findings.attempt(name):
            rate = conv_rate(machine, precision, count, channels, side)
            best = measured.rates[precision] = max(rate, measured.rates.get(precision, 0.0))
            rows[precision][1 + crops.index(count)], rows[precision][-1] = rate / 1e12, best / 1e12
            findings.data.setdefault(precision, {})[str(count)] = rate


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
