"""How cost grows, as a page of Markdown around the tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .growth import of_workers
from .growth_run import FIXED_ANGLES, SETTINGS, Measured
from .growth_tables import (
    MIB,
    Simulated,
    checked_fixed,
    checked_memory,
    exponents,
    memory_table,
    simulated_table,
    stages_table,
    times_table,
)
from .processor import processor_name
from .runtime.cpu import available_cores
from .throughput import BLOCKS, SPREAD, TAIL

TEXT = """# How cost grows

`python scripts/bench_growth.py{arguments}` on {cores} cores ({cpu}), torch {torch}. The retina at any size, with
{angles:.3g} angles a pixel of its side and a detector as wide as its diagonal;
{settings};
the rest is the solver's default: {data_updates} data updates after every block was denoised. Every size in a process
of its own. A sweep's seconds are the median after the first two.{skipped}

![how cost grows](growth.png)

## Time

{times}

{exponents}.

Expected are 2 for what is done a pixel (denoiser, step) and 3 for the projections, whose angles grow, too; at these
sizes most of a sweep is the denoiser's. Blocks stay about 200 pixels a side, so it is their number that grows. Those of
small images are smaller and have more halo to be denoised: 7 pixels around 128 are 23 %, around 205 14 %. The setup is
the start image and ‖A‖², about five projections of the whole and as many back, on all cores.

Stages of one block's update in the middle of the image, milliseconds alone on one core; p is the exponent of all
blocks' together, and "sweep" is the update with its {data_updates} data updates, which have all stages but the
denoiser's:

{stages}

A gather adds up the shares of all blocks that the block's rays meet: angles × blocks across, for every block, which
comes to 4 in the end, and to more while the shares outgrow the caches.

With {fixed_angles} angles at all sizes:

{fixed}

{fixed_says}

## Memory

MiB at the peak, of all processes; what they share counts once. The estimate is `estimate_memory`
(memory_estimate.py), from shapes alone but for an interpreter, measured in an empty worker: {own:.0f} MiB each, and
{files:.0f} of libraries once. The parent here has imported a little more than that.

{memory}

{memory_says}

- Slots are two copies of (pixels, momentum, denoised pixels, share) a block. The first three take 24 bytes a
  pixel; the shares 8 bytes × angles × footprint a block, which grows with size³ if the angles are in proportion.
- The sinogram and whatever else workers are made of lie in one shared piece of memory that all of them map
  (runtime/shared.py). What each has of its own are tables of rays, 48 bytes × angles × blocks, and the network's
  features of a crop: about twice what is alive at once if blocks are of several shapes, since what is freed then
  doesn't fit the next.

## Many workers, simulated

Simulated time (runtime/simulated_clock.py) with the real scheduler, engine and workers' code on {blocks} blocks.
An update stands for all that a block does in a sweep: {update:.3g} s, its stages at {update_size}² on one core, times
a random delay of mean 1; one worker makes {rate:.2g} sweeps a minute. The delay is lognormal (σ = {spread:g}), or
Pareto's, P(delay > t) ∝ t^−{tail:g}, whose variance is infinite. {sweeps} sweeps each, without the first and the last.
Speedup (efficiency), largest staleness, by workers:

{simulated}

- Sync-RED waits for the slowest of each round.
- Async-RED waits only where an update would be staler than λ; the default is max(4·workers, blocks) = {blocks} here.
  With Pareto's delays some updates take as long as that: then everybody waits for one.
- This is throughput. Staler updates may need more sweeps to converge, and these workers share no memory bandwidth.
"""


def report(
    arguments: str,
    sweeps: int,
    runs: Sequence[Measured],
    fixed: Sequence[Measured],
    skipped: Sequence[str],
    found: Simulated,
) -> str:
    """The page.

    Args:
        arguments: of the script.
        sweeps: simulated.
        runs, fixed: measured, with angles in proportion and with the same at all sizes.
        skipped: sentences on what wasn't run.
    """
    pairs = of_workers(runs, 2)
    typical = next((run for run in pairs if run.case.size == 1024), pairs[-1])
    return TEXT.format(
        arguments=arguments,
        cores=len(available_cores()),
        cpu=processor_name(),
        torch=torch.__version__,
        angles=pairs[0].case.angles / pairs[0].case.size,
        settings=", ".join(f"{name}={value!r}" for name, value in SETTINGS.items()),
        data_updates=typical.data_updates,
        skipped="".join(f" {one}" for one in skipped),
        times=times_table(runs),
        exponents=exponents(runs),
        stages=stages_table(pairs),
        fixed_angles=FIXED_ANGLES,
        fixed=times_table(fixed),
        fixed_says=checked_fixed(fixed),
        own=typical.interpreter.own / MIB,
        files=typical.interpreter.files / MIB,
        memory=memory_table(runs),
        memory_says=checked_memory(runs),
        blocks=BLOCKS,
        update=typical.block_sweep,
        update_size=typical.case.size,
        rate=60 / (BLOCKS * typical.block_sweep),
        spread=SPREAD,
        tail=TAIL,
        sweeps=sweeps,
        simulated=simulated_table(found),
    )
