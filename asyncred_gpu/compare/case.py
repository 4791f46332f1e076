"""One problem for all modes: a CT scan, simulated or measured, or the retina by block compressed sensing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..blocks import BlockGrid, FloatArray
from ..config.comparison import CompareSettings
from ..experiments import LARGEST_SIZE, SMALLEST_SIZE, Problem, prediction_error, retina_image
from ..operators.base import BlockOperator
from ..operators.gaussian import gaussian_matrices, measure_blocks
from ..operators.matrix import BlockCS
from ..reconstruct import TAU_OF_A_SCAN, TAU_OF_THE_RETINA, ct_problem
from ..settings import make_grid, make_mask
from ..warm_starts import warm_start

CS_SIZE, CS_BLOCK, CS_RATIO, CS_NOISE_DB = 240, (80, 80), 0.7, 30.0
# As of the paper's images, 0.8 to 1.5, beside a data term that isn't normalized.
CS_TAU = 1.0


@dataclass(frozen=True)
class Case:
    """What every mode is given.

    Args:
        name, title, facts: for people and for the settings' file.
        operator: on the blocks that all modes share.
        apart: the same for GPUs, which keep its tables with them.
        settings: of the solver: tau, intensity_scale, field_of_view, seed.
        start_name: of the start image; `start` computes it, told how many workers it may have.
        reference: the true image, (rows, cols), or None.
        scan: the CT problem, or None.
    """

    name: str
    title: str
    facts: Mapping[str, Any]
    operator: BlockOperator
    apart: BlockOperator
    network: nn.Module
    settings: Mapping[str, Any]
    start_name: str
    start: Callable[[int], FloatArray]
    reference: FloatArray | None
    scan: Problem | None = None

    @property
    def mask(self) -> FloatArray | None:
        """(rows, cols) of 0 and 1, or None for the whole image."""
        return make_mask(self.settings["field_of_view"], self.operator.image_shape)

    def prediction_error(self, image: FloatArray) -> float | None:
        """Relative error of the projections that were left out, or None if there are none."""
        return None if self.scan is None else prediction_error(image, self.scan, self.mask)

    def compute_constants(self, minibatch: int | None, on_gpu: bool) -> None:
        """Lipschitz constants and checksum, for all modes once."""
        for operator in (self.operator, self.apart) if on_gpu else (self.operator,):
            for index in range(len(operator.grid)):
                operator.block_lipschitz(index)
            if minibatch is not None:
                operator.minibatch_factor(minibatch)
            _ = operator.lipschitz, operator.fingerprint


def make_case(options: CompareSettings, network: nn.Module, most_workers: int) -> Case:
    """Read or simulate the data and build the operator.

    Args:
        most_workers: of any mode; there are at least twice as many blocks, unless they are given.
    Raises:
        ValueError, TypeError, OSError, MemoryError: data that can't be.
    """
    return _cs_case(options, network) if options.problem == "cs" else _ct_case(options, network, most_workers)


def _ct_case(options: CompareSettings, network: nn.Module, most_workers: int) -> Case:
    problem = ct_problem(options, options.seed)
    scan, measured = problem.operator(), options.input is not None
    operator = scan.with_blocks(make_grid(options.block, scan.grid, most_workers, fixed=False))
    circle = (options.field_of_view or ("circle" if measured else "none")) == "circle"
    usual_tau = TAU_OF_A_SCAN if measured else TAU_OF_THE_RETINA
    settings = {
        "tau": options.tau or usual_tau,
        "intensity_scale": "auto",  # of the start image, which all modes share
        "field_of_view": "circle" if circle else None,
        "seed": options.seed,
    }
    return Case(
        name=problem.name,
        title=problem.title,
        facts=problem.facts,
        operator=operator,
        apart=operator.with_blocks(operator.grid),
        network=network,
        settings=settings,
        start_name="FBP",
        start=lambda workers: operator.fbp(),
        reference=problem.reference,
        scan=problem,
    )


def _cs_case(options: CompareSettings, network: nn.Module) -> Case:
    size = options.size or CS_SIZE
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise ValueError(f"size={size} can't be. Pass {SMALLEST_SIZE} to {LARGEST_SIZE} pixels a side.")
    grid = BlockGrid((size, size), options.block or CS_BLOCK)
    (height, width), noise_db = grid.block_shape, CS_NOISE_DB if options.noise_db is None else options.noise_db
    if size % height or size % width:
        raise ValueError(
            f"Blocks of {height} × {width} pixels don't cut {size} × {size} into equal ones. Pass --size or --block so "
            "that they do."
        )
    image = retina_image(size)
    count = max(1, round((options.ratio or CS_RATIO) * height * width))
    matrices = gaussian_matrices(len(grid), count, height * width, options.seed)
    measured = measure_blocks(image, matrices, grid.block_shape, noise_db, options.seed + 1)
    operator = BlockCS(measured, matrices, grid.image_shape, grid.block_shape)
    settings: dict[str, Any] = {
        "tau": options.tau or CS_TAU,
        "intensity_scale": 1.0,
        "field_of_view": None,
        "seed": options.seed,
    }

    def start(workers: int) -> FloatArray:
        few: dict[str, Any] = {"num_workers": workers, "device": "cpu", "seed": options.seed}
        found: FloatArray = warm_start(
            operator, network, settings["tau"], intensity_scale=1.0, x0="least-squares", **few
        )
        return found

    title = f"Retina, {size} × {size} in {len(grid)} blocks of {height} × {width}, {count} measurements each"
    facts = {"simulated": "skimage.data.retina", "size": size, "measurements": count, "noise_db": noise_db}
    return Case(
        name="retina-cs",
        title=f"{title}, {noise_db:g} dB",
        facts=facts | {"pixels_a_block": height * width, "seed": options.seed},
        operator=operator,
        apart=operator.with_measurements(measured),
        network=network,
        settings=settings,
        start_name="warm start",
        start=start,
        reference=image,
    )
