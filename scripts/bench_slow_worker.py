"""One of four workers is four times slower: what a sweep then costs, asynchronous and with a barrier.

    python scripts/bench_slow_worker.py [--real] [--sweeps 40] [--output docs/results]

In simulated time, with the real scheduler, engine and worker code; with --real also in four processes whose denoiser
sleeps, 40 ms an update and 160 in one of them, so that few cores are enough. Writes slow_worker.md and .png.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from asyncred_gpu import RadonCT, load_denoiser
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.experiments import retina_problem
from asyncred_gpu.runtime.cpu import available_cores
from asyncred_gpu.slow_worker import (
    METHODS,
    SLOWDOWN,
    TIGHT,
    WORKERS,
    Method,
    Sleeping,
    Timed,
    even,
    ideal_ratio,
    make_solver,
    one_slow,
    run_processes,
    simulate,
)
from asyncred_gpu.slow_worker_figure import Pair, slow_worker_figure
from asyncred_gpu.theory_problem import Average

SIZE, ANGLES, BLOCK = 128, 60, 32
JITTER = 0.1
MOMENTUM = 0.8
SLEEP = 0.04
BOUNDS = tuple(range(WORKERS - 1, 17))
BOUND_SWEEPS = 20
NEARLY = 1.03
# Of the slow worker: the first and the last.
PLACES = (0, WORKERS - 1)


def simulated(operator: RadonCT, sweeps: int) -> dict[str, Pair]:
    """Every method with even workers and with a slow one, on the shipped denoiser."""
    network, truth = load_denoiser("dncnn", sigma=5), retina_problem(SIZE, ANGLES).reference
    pairs = {}
    for method in METHODS:
        solver = make_solver(operator, network, method, momentum=MOMENTUM)
        alike = simulate(solver, even(), sweeps, JITTER, 0, truth)
        pairs[method.name] = Pair(alike, simulate(solver, one_slow(), sweeps, JITTER, 0, truth))
        print(row(method.name, pairs[method.name], "updates"), flush=True)
    return pairs


def price(operator: RadonCT, bound: int, place: int) -> float:
    """By how much a sweep takes longer with λ = bound if worker `place` is slow; the denoiser doesn't matter."""
    solver = make_solver(operator, Average(), Method("", "free", bound))
    alike, slow = (simulate(solver, durations, BOUND_SWEEPS, JITTER) for durations in (even(), one_slow(place=place)))
    return Pair(alike, slow).ratio


def processes(operator: RadonCT, sweeps: int) -> dict[str, Pair]:
    """The same in real processes and seconds; and λ = 3 with the last worker slow."""
    pairs = {}
    for method in METHODS:
        alike = in_processes(operator, method, sweeps, None)
        for place in PLACES if method == TIGHT else PLACES[:1]:
            name = method.name if place == PLACES[0] else f"{method.name}, the last worker slow"
            pairs[name] = Pair(alike, in_processes(operator, method, sweeps, place))
            print(row(name, pairs[name], "s"), flush=True)
    return pairs


def in_processes(operator: RadonCT, method: Method, sweeps: int, place: int | None) -> Timed:
    """A run whose worker `place` is slow, or none."""
    with tempfile.TemporaryDirectory() as folder:
        mark = None if place is None else Path(folder)
        network = Sleeping(Average(), Average.receptive_radius, SLEEP, SLOWDOWN * SLEEP, mark, place or 0).eval()
        return run_processes(make_solver(operator, network, method), sweeps)


def row(name: str, pair: Pair, unit: str) -> str:
    return (
        f"| {name} | {pair.even.sweep_time:.3g} {unit} | {pair.slow.sweep_time:.3g} {unit} | {pair.ratio:.2f} | "
        f"{pair.slow.largest_staleness} |"
    )


def table(pairs: Mapping[str, Pair], unit: str) -> str:
    head = "| | sweep, all alike | sweep, one slow | ratio | largest staleness |\n|---|---|---|---|---|\n"
    return head + "\n".join(row(name, pair, unit) for name, pair in pairs.items())


TEXT = """# One slow worker

`python scripts/bench_slow_worker.py {arguments}`: {workers} workers, one of them {slowdown:g} times slower,
{blocks} blocks. If nobody ever waited, a sweep would take {workers}/({workers} − 1 + 1/{slowdown:g}) =
{ideal:.2f} times as long; with a barrier after every round, {slowdown:g} times.

![slow worker](slow_worker.png)

## In simulated time

The scheduler, the engine and the workers' code are the solver's (`runtime/simulated.py`); the clock is exact
(`runtime/simulated_clock.py`): an update's whole time lies between its read and its result, ± {jitter:.0f} % at
random, and the engine takes none. The unit is an update of a usual worker. Retina {size}², {angles} angles, the
shipped denoiser, momentum {momentum}, {sweeps} sweeps; the slow worker is the first.

{simulated}

- The default λ = max(4·workers, blocks) is {default}: nobody waits. That takes λ ≥ {enough} here.
- λ = {tight}, the least that {workers} workers can have, is nearly as slow as the barrier: while the slow worker
  makes one update, {tight} others may commit, and then all wait.
- How slow it is depends on which worker is slow. While the fast ones wait they finish one more update each, which
  commits right after the slow one's; new updates are issued one after each of these commits and given to the idle
  workers in their order. So the first worker reads before all of these commits, which use up its λ, and the last
  one reads after them: with λ = {tight} a sweep takes × {first:.2f} if the first worker is slow and × {last:.2f}
  if the last one is.
- The order of updates costs hardly any SNR, after {sweeps} sweeps with the slow worker:
  {snrs}.
{real}"""

REAL = """
## In processes

{workers} processes on {cores} cores, real seconds. The denoiser sleeps {sleep:.0f} ms an update, {slow_sleep:.0f} in
one process, the first if nothing is said, so that the cores aren't what limits it; {sweeps} sweeps. What is more than
the sleep is the work itself and messages, on a shared machine.

{table}
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--real", action="store_true", help="in processes, too; about a minute")
    options.add_argument("--sweeps", type=int, default=30, help="of the simulated runs")
    options.add_argument("--real-sweeps", type=int, default=12)
    options.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the table and figure")
    chosen = options.parse_args()
    torch.set_num_threads(1)  # the images are small: several threads mostly wait for each other

    problem = retina_problem(SIZE, ANGLES)
    operator = RadonCT(problem.measured.sinogram, problem.measured.angles, problem.image_shape, center=problem.center)
    operator = operator.with_blocks(BlockGrid(problem.image_shape, (BLOCK, BLOCK)))
    real = processes(operator, chosen.real_sweeps) if chosen.real else {}
    pairs = simulated(operator, chosen.sweeps)
    prices = {
        name: [price(operator, bound, place) for bound in BOUNDS]
        for name, place in zip(("the first worker is slow", "the last worker is slow"), PLACES, strict=True)
    }
    for name, ratios in prices.items():
        print(name, *(f"λ = {bound}: {ratio:.2f}" for bound, ratio in zip(BOUNDS, ratios, strict=True)), flush=True)

    blocks = len(operator.grid)
    first, last = prices.values()
    enough = next(bound for bound, ratio in zip(BOUNDS, first, strict=True) if ratio < NEARLY * first[-1])
    snrs = ", ".join(f"{pair.slow.result.history['snr'][-1]:.2f} dB ({name})" for name, pair in pairs.items())
    text = TEXT.format(
        arguments="--real" if real else "",
        workers=WORKERS,
        slowdown=SLOWDOWN,
        blocks=blocks,
        ideal=ideal_ratio(),
        jitter=100 * JITTER,
        size=SIZE,
        angles=ANGLES,
        momentum=MOMENTUM,
        sweeps=chosen.sweeps,
        simulated=table(pairs, "updates"),
        default=max(4 * WORKERS, blocks),
        tight=WORKERS - 1,
        enough=enough,
        first=first[0],
        last=last[0],
        snrs=snrs,
        real=REAL.format(
            workers=WORKERS,
            cores=len(available_cores()),
            sleep=1e3 * SLEEP,
            slow_sleep=1e3 * SLOWDOWN * SLEEP,
            sweeps=chosen.real_sweeps,
            table=table(real, "s"),
        )
        if real
        else "",
    )
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "slow_worker.md").write_text(text)
    figure = slow_worker_figure(pairs, BOUNDS, prices, ideal_ratio(), SLOWDOWN)
    figure.savefig(chosen.output / "slow_worker.png", dpi=110)
    print(f"wrote {chosen.output / 'slow_worker.md'} and slow_worker.png")


if __name__ == "__main__":
    main()
