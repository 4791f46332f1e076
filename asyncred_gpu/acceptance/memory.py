"""What a run takes of the GPU's memory, at its peak, against the estimate that is made before it (cuda_setup.py)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..blocks import FloatArray
from ..runtime.base import Runtime, WorkerSetup
from ..runtime.cuda_setup import MemoryNeeded, memory_needed
from ..solver import RuntimeFactory
from .cases import Case
from .machine import Machine, run
from .measured import Point
from .sections import Findings
from .sweeps import solver_at

MIB = 2**20


def peak_memory(
    findings: Findings, machine: Machine, case: Case, plans: Sequence[tuple[Point, str]], sweeps: float = 2
) -> None:
    """The section: an estimate below the peak would let a run begin that can't end."""
    columns = ["", "precision", "allocated", "reserved", "estimate", "allocated / estimate"]
    rows = findings.table("Peak memory of a run, MiB", columns)
    for point, precision in findings.in_time(plans, lambda plan: f"{plan[0]}, {plan[1]}"):
        solver = solver_at(machine, case, point, precision)
        run(machine.factory(solver), solver, sweeps, case.start)  # cuDNN's search tries what the run then doesn't use
        allocated, reserved = machine.reset_peak()
        needed: list[MemoryNeeded] = []
        run(_estimating(machine.factory(solver), needed), solver, sweeps, case.start)
        most_allocated, most_reserved = machine.peak()
        took, kept, estimate = most_allocated - allocated, most_reserved - reserved, needed[0].total
        rows.append([str(point), precision, *(round(n / MIB) for n in (took, kept, estimate)), took / estimate])
        parts = {"slots": needed[0].slots, "tables": needed[0].tables, "workers": needed[0].workers}
        findings.data[f"{point}, {precision}"] = {"allocated": took, "reserved": kept, "estimate": estimate, **parts}
        # What is reserved beyond that is the allocator's to give back, such as cuDNN's trials.
        beyond = f"{point}, {precision}: {took / MIB:.0f} MiB were allocated, the estimate was {estimate / MIB:.0f} MiB"
        findings.check(took <= estimate, beyond)


def _estimating(make: RuntimeFactory, needed: list[MemoryNeeded]) -> RuntimeFactory:
    """Such a runtime; the estimate for it is added to `needed`."""

    def make_estimated(setup: WorkerSetup, workers: int, image: FloatArray) -> Runtime:
        needed.append(memory_needed(setup, workers, torch.device("cpu")))
        return make(setup, workers, image)

    return make_estimated
