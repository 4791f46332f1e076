"""The stages of an update one by one, and the chain of them against its floor: a worker's own operations, run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..operators.radon import RadonCT
from ..red import Step
from ..runtime.cuda import prime_task
from ..runtime.descriptor import DescriptorRing
from ..runtime.device import Operation
from ..runtime.program import BlockProgram
from ..runtime.stage import make_stages
from ..solver import draw_minibatch
from ..task import Task
from .cases import Case
from .floors import fraction, network_operations, update_bytes
from .machine import Machine
from .measured import Measured
from .sections import Findings

SIZES = (1, 2, 4, 8, 16)
MOMENTUM = 0.8


@dataclass(frozen=True)
class Bench:
    """One worker's program with a launch described to it; both slots of every block hold the start image."""

    case: Case
    program: BlockProgram
    side: int
    precision: str
    size: int
    blocks: tuple[int, ...]

    @property
    def stages(self) -> list[Operation]:
        return [*self.program.read(), *self.program.work(), *self.program.publish(0, self.size)]

    @property
    def gradient(self) -> Tensor:
        """(blocks, rows, cols) what the stage of that name left: the sum of its parts, unscaled."""
        return self.program._batch.gradient.sum(dim=1)[: len(self.blocks)]

    @property
    def launches(self) -> list[Sequence[Operation]]:
        """As a worker launches them: read, work, publish."""
        return [self.program.read(), self.program.work(), self.program.publish(0, self.size)]


def make_bench(
    machine: Machine,
    case: Case,
    side: int,
    precision: str,
    size: int,
    first: int = 0,
    minibatch: int | None = None,
) -> Bench:
    """A worker of its own for `size` blocks of side × side a launch, ready for an update of those from `first` on."""
    setup = case.setup(side, precision, size, minibatch)
    (stage,) = make_stages([machine.device], setup, case.start, deterministic=False)
    program = BlockProgram(0, stage, [], setup)
    blocks = len(setup.operator.grid)
    for begin in range(0, blocks, size):
        tasks = [prime_task(block, blocks) for block in range(begin, min(begin + size, blocks))]
        _describe(machine, program, tasks)
        for one in program.prime():
            one.run()
    machine.device.synchronize()
    chosen = tuple(range(first, min(first + size, blocks)))
    step = Step(0.1, MOMENTUM, False)
    front = prime_task(0, blocks).slots * 0
    rows = [draw_minibatch(0, block, setup.operator.measurements, minibatch) for block in chosen]
    tasks = [Task(number, block, front, step, rows[number], True) for number, block in enumerate(chosen)]
    _describe(machine, program, tasks)
    machine.device.synchronize()
    return Bench(case, program, side, precision, size, chosen)


def _describe(machine: Machine, program: BlockProgram, tasks: Sequence[Task]) -> None:
    """Copy the tasks' descriptor to the device, from memory of its own."""
    entry = DescriptorRing(machine.device, program.layout, 0, 1).take()
    entry.fill(tasks, program.gradient_scale)
    program.upload(entry, tasks).run()
    machine.device.synchronize()


def stage_times(findings: Findings, machine: Machine, case: Case, side: int, precision: str, size: int) -> None:
    """Milliseconds of every stage alone, one after the other."""
    bench = make_bench(machine, case, side, precision, size)
    times = {one.name: machine.timer.operations([one]) for one in bench.stages}
    total = sum(times.values())
    rows = findings.table(f"Stages of {size} blocks of {side}², {precision}", ["stage", "µs a block", "share"])
    rows += [[name, 1e6 * seconds / size, f"{seconds / total:.0%}"] for name, seconds in times.items()]
    findings.data[f"{side}², {precision}, {size} a launch"] = times


def chain_fractions(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    case: Case,
    side: int,
    precision: str,
    sizes: Sequence[int] = SIZES,
) -> None:
    """The whole update, launched as a worker does, against the network's operations at the roofline."""
    ceilings = measured.ceilings()
    title = f"Block-update chain, {side}², {precision}"
    columns = ["blocks a launch", "µs a block", "floor: arithmetic, µs", "floor: memory, µs", "share of the roofline"]
    rows = findings.table(title, columns)
    best = None
    blocks = len(case.on_blocks(side).grid)
    for size in findings.in_time(size for size in sizes if size <= blocks):
        bench = make_bench(machine, case, side, precision, size)
        seconds = machine.timer.commands(bench.launches)
        arithmetic, memory = (
            ceilings.arithmetic(chain_operations(bench), precision),
            ceilings.memory(chain_bytes(bench)),
        )
        share = fraction(arithmetic, seconds)
        rows.append([size, *(1e6 * part / size for part in (seconds, arithmetic, memory)), share])
        findings.data[f"{title}, {size} a launch"] = {"seconds": seconds, "arithmetic": arithmetic, "memory": memory}
        best = share if best is None else max(best, share)
    if precision == "float16" and best is not None:
        findings.measured["chain"] = best


def chain_operations(bench: Bench) -> int:
    """The network's, for the launch's blocks."""
    grid, halo = bench.case.on_blocks(bench.side).grid, bench.case.setup(bench.side, bench.precision, 1).denoiser.halo
    shapes = [grid.window(block).shape for block in bench.blocks]
    return sum(network_operations(bench.case.network, rows + 2 * halo, cols + 2 * halo) for rows, cols in shapes)


def chain_bytes(bench: Bench) -> int:
    """All else that must be moved."""
    setup = bench.case.setup(bench.side, bench.precision, 1)
    operator = bench.case.on_blocks(bench.side)
    assert isinstance(operator, RadonCT)
    return sum(update_bytes(operator, block, setup.denoiser.halo) for block in bench.blocks)
