"""What all workers of one device share: tables, slots, the operator, the denoiser; and the slots seen from the host."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..blocks import BlockGrid, FloatArray
from ..denoiser import DeviceDenoiser
from ..kernels.launch import BLOCK, IMAGE, as_bytes
from ..operators.device import DeviceOperator, Scene
from ..slots import Slot, SlotLayout, slot_layout
from .base import WorkerSetup
from .device import Device


@dataclass(frozen=True)
class Stage:
    """One device's share of a run; `number` counts the devices, `mask` and `reference` are (rows, cols) or None."""

    number: int
    device: Device
    scene: Scene
    operator: DeviceOperator
    denoiser: DeviceDenoiser
    mask: Tensor | None
    reference: Tensor | None


def make_stages(devices: Sequence[Device], setup: WorkerSetup, image: FloatArray, deterministic: bool) -> list[Stage]:
    """A stage on every device, each with a copy of the slots; `deterministic`: the same bits on every run."""
    layout = slot_layout(setup.operator)
    stages = []
    for number, device in enumerate(devices):
        scene = make_scene(device, setup.operator.grid, layout, setup.denoiser.halo, image)
        denoiser = DeviceDenoiser(
            setup.network,  # type: ignore[arg-type]
            setup.denoiser,
            device.torch,
            deterministic,
            kernels=device.kernels,
        )
        stages.append(
            Stage(
                number,
                device,
                scene,
                setup.operator.on_device(scene, setup.count),
                denoiser,
                _moved(setup.mask, device),
                _moved(setup.reference, device),
            )
        )
    return stages


def make_scene(device: Device, grid: BlockGrid, layout: SlotLayout, halo: int, image: FloatArray) -> Scene:
    """The blocks' tables, and their slots: both hold the start image's pixels, as the first center, too."""
    image_table = np.zeros(1, IMAGE)
    image_table[0] = (*grid.image_shape, *grid.block_shape, grid.layout[1], len(grid), halo, 0, 0)
    blocks = np.zeros(len(grid), BLOCK)
    for index, offsets in enumerate(layout.offsets()):
        window = grid.window(index)
        place = (window.top, window.left, *window.shape, 0, 0)
        blocks[index] = (*place, offsets.slots, offsets.momentum, offsets.center, offsets.share)
    content = bytearray(layout.nbytes)
    for slots, pixels in zip(layout.views(content), grid.split(image), strict=True):
        for slot in slots:
            np.copyto(slot.pixels, pixels)
            np.copyto(slot.center, pixels)
    return Scene(
        device=device.torch,
        kernels=device.kernels,
        image=as_bytes(image_table, device.torch),
        blocks=as_bytes(blocks, device.torch),
        memory=torch.frombuffer(content, dtype=torch.float32).clone().to(device.torch),
        image_table=image_table,
        block_table=blocks,
        slot_sizes=tuple(offsets.size for offsets in layout.offsets()),
    )


def _moved(array: FloatArray | None, device: Device) -> Tensor | None:
    return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device.torch)


class SlotMemory:
    """The slots of all devices, seen from the host: read from the first one, filled on every one.

    Args:
        shares: shape of each block's share.
    """

    def __init__(self, scenes: Sequence[Scene], shares: Sequence[tuple[int, ...]]) -> None:
        self._scenes = scenes
        self._scene = scenes[0]
        self._shares = shares

    def pixels(self, block: int, slot: int) -> FloatArray:
        """(rows, cols) x_i of a slot that nobody writes."""
        entry = self._scene.block_table[block]
        begin, rows, cols = int(entry["slots"][slot]), int(entry["rows"]), int(entry["cols"])
        found: FloatArray = self._scene.memory[begin : begin + rows * cols].cpu().numpy()
        return found.reshape(rows, cols).copy()

    def slot(self, block: int, slot: int) -> Slot:
        """All of a slot that nobody writes."""
        return Slot(*(part.cpu().numpy().copy() for part in self._parts(self._scene, block, slot)))

    def fill(self, block: int, content: Slot) -> None:
        """Slot 0 of a block, while nothing runs."""
        arrays = (content.pixels, content.momentum, content.center, content.share)
        for scene in self._scenes:
            for part, array in zip(self._parts(scene, block, 0), arrays, strict=True):
                part.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    def _parts(self, scene: Scene, block: int, slot: int) -> list[Tensor]:
        """Views of x_i, m_i, z_i and s_i."""
        entry, share = scene.block_table[block], self._shares[block]
        begin, shape = int(entry["slots"][slot]), (int(entry["rows"]), int(entry["cols"]))
        offsets = [0, int(entry["momentum"]), int(entry["center"]), int(entry["share"])]
        return [
            scene.memory[begin + offset : begin + offset + math.prod(sides)].view(sides)
            for offset, sides in zip(offsets, (shape, shape, shape, share), strict=True)
        ]
