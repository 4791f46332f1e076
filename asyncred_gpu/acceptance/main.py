"""The acceptance run as a command: its options, its sections in order, its report and its exit status."""

from __future__ import annotations

import argparse
import faulthandler
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

import torch

from ..denoiser import resolve_halo
from .block_cs import SensedProblems
from .block_cs_sections import benchmarks_of_cs, checks_of_cs
from .cases import Cases
from .correctness import check_fixed_point, check_ordered, check_replay
from .denoisers import denoiser_rates
from .environment import describe, why_no_gpu
from .gpu_tests import run_gpu_tests
from .host_cost import host_time
from .machine import GpuMachine, Machine
from .measured import Measured, Point
from .memory import peak_memory
from .report import exit_status, files_for, make_report, summary, to_markdown
from .roofline import conv_rates, copy_bandwidth
from .sanitizer import memcheck
from .sections import Findings, Outcome, Section, run_sections, usable
from .stages import chain_fractions, stage_times
from .sweeps import sweep_rates
from .time_to_snr import time_to_snr

NO_GPU = 2
BUDGET_SECONDS, QUICK_SECONDS = 450.0, 200.0
# Then the process is ended from outside of Python, if a call to the GPU hangs; what was written stays.
HANG_SECONDS = 20.0
DEFAULT_POINT = Point(200, 4, 1)


@dataclass
class Plan:
    """What the sections work on."""

    machine: Machine
    root: Path
    quick: bool
    commit: str | None = None
    cases: Cases = field(default_factory=Cases)
    measured: Measured = field(default_factory=Measured)

    @cached_property
    def sensed(self) -> SensedProblems:
        return SensedProblems(self.machine, self.cases)


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Run all; 0: nothing failed, 1: something did, 2: there is no GPU to run on."""
    root = root or Path.cwd()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=root / "docs" / "results", help="folder of the report")
    options.add_argument("--quick", action="store_true", help="less of everything, in about 3 minutes")
    options.add_argument("--commit", help="the checkout's, where git can't tell it")
    chosen = options.parse_args(arguments)
    if (reason := why_no_gpu()) is not None:
        print(reason, file=sys.stderr)
        return NO_GPU
    machine = GpuMachine(f"cuda:{torch.cuda.current_device()}")
    plan = Plan(machine, root, chosen.quick, chosen.commit)
    budget = QUICK_SECONDS if chosen.quick else BUDGET_SECONDS
    faulthandler.dump_traceback_later(budget + HANG_SECONDS, exit=True)
    try:
        with machine.captures.watched():
            name = torch.cuda.get_device_name()
            return carry_out(make_sections(plan), name, chosen.out, chosen.quick, budget, machine.unusable)
    finally:
        faulthandler.cancel_dump_traceback_later()


def carry_out(
    sections: Sequence[Section],
    machine: str,
    out: Path,
    quick: bool,
    budget: float,
    unusable: Callable[[], str | None] = usable,
) -> int:
    """Run the sections, write the report after each, print what it comes to."""
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    files = files_for(out, machine)
    files.keep_older(say)
    outcomes: list[Outcome] = []

    def save(so_far: Sequence[Outcome]) -> None:
        outcomes[:] = so_far
        report = make_report(machine, begun, quick, outcomes, finished=len(outcomes) == len(sections))
        files.write(report, to_markdown(report))

    save(())
    run_sections(sections, budget, save, say, unusable=unusable)
    report = make_report(machine, begun, quick, outcomes, finished=True)
    print(to_markdown(report))
    print("\n".join(summary(report)))  # once more: of a long output only the end may come back
    print(f"Written: {files.path('.json')} and {files.path('.md').name}", flush=True)
    return exit_status(report)


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def make_sections(plan: Plan) -> list[Section]:
    """All sections, in order: what later ones need comes first, what may take long comes last."""
    machine, sensed, quick = plan.machine, plan.sensed, plan.quick
    checks = [*_checks(plan), *checks_of_cs(machine, sensed, quick)]
    benchmarks = [*_benchmarks(plan), *benchmarks_of_cs(machine, plan.measured, sensed, quick)]
    return [*checks, *benchmarks, Section("compute-sanitizer", memcheck, 80, 20, needs_gpu=False)]


def _checks(plan: Plan) -> list[Section]:
    machine, cases, quick = plan.machine, plan.cases, plan.quick
    fixed = partial(check_fixed_point, machine=machine, side=64, workers=4, sweeps=100)
    large = partial(check_fixed_point, machine=machine, side=200, workers=8, sweeps=70, on_cpu=not quick)
    replay = partial(check_replay, machine=machine)
    return [
        Section("environment", lambda findings: describe(findings, plan.root, plan.commit), most=20),
        Section("GPU tests", lambda findings: run_gpu_tests(findings, plan.root), 120 if quick else 180, 15, False),
        Section("problems", cases.prepare, most=40, needs_gpu=False),
        Section("fixed point, 256²", lambda findings: fixed(findings, case=cases.small), most=40, least=10),
        Section("fixed point, 800²", lambda findings: large(findings, case=cases.large), most=80, least=10),
        Section("replay, 256²", lambda findings: replay(findings, case=cases.small, side=64, sweeps=4), most=30),
        Section("replay, fan beam", lambda findings: replay(findings, case=cases.fan, side=64, sweeps=4), most=30),
        Section("replay, 800²", lambda findings: replay(findings, case=cases.large, side=200, sweeps=3), most=40),
        Section(
            "ordered runs",
            lambda findings: check_ordered(findings, machine, cases.large, 200, 5, (machine.precisions[0], "float32")),
            most=40,
        ),
    ]


def _benchmarks(plan: Plan) -> list[Section]:
    machine, cases, measured, quick = plan.machine, plan.cases, plan.measured, plan.quick
    sides = (200,) if quick else (200, 100, 400)
    plans = [(DEFAULT_POINT, "float16"), (DEFAULT_POINT, "float32"), (Point(200, 2, 4), "float16")]

    def points() -> list[Point]:
        fastest = [measured.best] if measured.best is not None else []
        return list(dict.fromkeys([*fastest, DEFAULT_POINT, Point(200, 2, 2), Point(200, 2, 4)]))

    def network(findings: Findings) -> None:
        halo = resolve_halo("exact", cases.network)
        denoiser_rates(findings, machine, measured, cases.network, halo)

    return [
        Section("copy bandwidth", lambda findings: copy_bandwidth(findings, machine, measured), most=20),
        Section("conv roofline", lambda findings: conv_rates(findings, machine, measured), most=45),
        Section("denoiser alone", network, most=45),
        Section("stages", _stages(plan), most=40),
        Section("chain", _chains(plan), most=50),
        Section(
            "sweeps", lambda findings: sweep_rates(findings, machine, measured, cases.large, sides), most=90, least=10
        ),
        Section("host time", lambda findings: host_time(findings, machine, cases.large, points(), "float16"), most=40),
        Section(
            "time to SNR", lambda findings: time_to_snr(findings, machine, measured, cases.large), most=80, least=15
        ),
        Section("peak memory", lambda findings: peak_memory(findings, machine, cases.large, plans), most=30),
    ]


def _stages(plan: Plan) -> Callable[[Findings], None]:
    def stages(findings: Findings) -> None:
        for size in (1, 4):
            stage_times(findings, plan.machine, plan.cases.large, 200, "float16", size)

    return stages


def _chains(plan: Plan) -> Callable[[Findings], None]:
    def chains(findings: Findings) -> None:
        for precision in plan.machine.precisions[: 1 if plan.quick else None]:
            chain_fractions(findings, plan.machine, plan.measured, plan.cases.large, 200, precision)

    return chains
