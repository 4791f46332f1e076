"""How cost grows with the image and with the workers: seconds and memory measured, many workers simulated.

    python scripts/bench_growth.py [--quick] [--simulated] [--output docs/results]

Writes growth.md, growth.png and growth.json; 50 minutes on two cores of a Zen 1. Every size is run in
a process of its own. With --simulated nothing is measured anew: what growth.json has is shown with a new simulation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from asyncred_gpu.growth_figure import growth_figure
from asyncred_gpu.growth_report import report
from asyncred_gpu.growth_run import FIXED_ANGLES, Case, Measured, in_fresh_process
from asyncred_gpu.growth_tables import MIB, Simulated
from asyncred_gpu.memory import available_memory
from asyncred_gpu.memory_estimate import estimate_memory
from asyncred_gpu.throughput import DELAYS, METHODS, scaling, tiny_problem

# A run that is estimated to take more isn't begun.
LARGEST_MEMORY = 24 * 2**30


@dataclass(frozen=True)
class Plan:
    """What is run: cases with angles in proportion and with fixed ones, and the simulation's workers and sweeps."""

    proportional: tuple[Case, ...]
    fixed: tuple[Case, ...]
    workers: tuple[int, ...]
    sweeps: int


# Sweeps by pixels a side.
SWEEPS, QUICK_SWEEPS = {256: 9, 512: 7, 1024: 6, 2048: 5}, {256: 7, 512: 5, 1024: 4}
LARGEST = Case.in_proportion(4096, workers=2, sweeps=3)


def make_plan(quick: bool) -> Plan:
    """The one that takes less than 10 minutes, or all of it."""
    sweeps = QUICK_SWEEPS if quick else SWEEPS
    proportional = [Case.in_proportion(size, workers, count) for size, count in sweeps.items() for workers in (1, 2)]
    fixed = tuple(Case(size, FIXED_ANGLES, 2, count) for size, count in sweeps.items() if size > 256)
    if quick:
        return Plan(tuple(proportional), fixed, (4, 16, 64), 4)
    return Plan((*proportional, LARGEST), fixed, (2, 4, 8, 16, 32, 64), 8)


def measured(cases: Sequence[Case]) -> tuple[list[Measured], list[str]]:
    """Those that fit this machine's memory; and what is to be said of the others."""
    runs, skipped = [], []
    for case in cases:
        refused = too_large(case)
        if refused is not None:
            print(refused, flush=True)
            skipped.append(refused)
            continue
        run = in_fresh_process(case)
        print(
            f"{case}: sweep {run.sweep:.3g} s, setup {run.setup:.3g} s, {run.memory.total / MIB:.0f} MiB, "
            f"estimate {100 * run.off:+.0f} %",
            flush=True,
        )
        runs.append(run)
    return runs, skipped


def too_large(case: Case) -> str | None:
    """Why the case isn't run, by the estimate of its memory."""
    needed, free = estimate_memory(case.solver()).total, available_memory()
    allowed = LARGEST_MEMORY if free is None else min(LARGEST_MEMORY, free)
    if needed <= allowed:
        return None
    return (
        f"{case.size}² with {case.workers} workers wasn't run: by the estimate it takes {needed / MIB:.0f} MiB, and "
        f"{allowed / MIB:.0f} are free."
    )


def simulated(plan: Plan) -> Simulated:
    """Every delay's runs."""
    torch.set_num_threads(1)  # the problem is tiny: several threads mostly wait for each other
    operator, found = tiny_problem(), {}
    for name, delay in DELAYS.items():
        found[name] = scaling(operator, METHODS, plan.workers, delay, plan.sweeps)
        print(f"simulated with {name} delays", flush=True)
    return found


def as_json(runs: Sequence[Measured], fixed: Sequence[Measured], skipped: Sequence[str], found: Simulated) -> Any:
    return {
        "proportional": [run.as_json() for run in runs],
        "fixed": [run.as_json() for run in fixed],
        "skipped": list(skipped),
        "simulated": {
            delay: {method: [asdict(one) for one in several] for method, several in methods.items()}
            for delay, methods in found.items()
        },
    }


def read_measured(path: Path) -> tuple[list[Measured], list[Measured], list[str]]:
    """What an earlier call wrote."""
    found: Mapping[str, Any] = json.loads(path.read_text())
    runs, fixed = ([Measured.from_json(one) for one in found[name]] for name in ("proportional", "fixed"))
    return runs, fixed, found["skipped"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="images to 1024², few sweeps and workers")
    options.add_argument("--simulated", action="store_true", help="measure nothing anew")
    options.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of what is written")
    chosen = options.parse_args()
    plan = make_plan(chosen.quick)
    chosen.output.mkdir(parents=True, exist_ok=True)

    if chosen.simulated:
        runs, fixed, skipped = read_measured(chosen.output / "growth.json")
    else:
        (runs, skipped), (fixed, more) = measured(plan.proportional), measured(plan.fixed)
        skipped += more
    found = simulated(plan)

    (chosen.output / "growth.json").write_text(json.dumps(as_json(runs, fixed, skipped, found), indent=1) + "\n")
    page = report(" --quick" if chosen.quick else "", plan.sweeps, runs, fixed, skipped, found)
    (chosen.output / "growth.md").write_text(page)
    growth_figure(runs, fixed, found).savefig(chosen.output / "growth.png", dpi=110)
    print(f"wrote {chosen.output / 'growth.md'}, growth.png and growth.json")


if __name__ == "__main__":
    main()
