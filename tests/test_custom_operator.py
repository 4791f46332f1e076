"""Operators of a user's own: the documentation's blur against a matrix, and every mistake that check_operator tells."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from asyncred_gpu import CustomOperator, GpuAsyncRED, check_operator
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.operators.check_operator import OperatorError
from asyncred_gpu.operators.dense import DenseOperator
from asyncred_gpu.theory_problem import Average

from .helpers import blobs, needs_compiler

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "own_operator.py"
SHAPE = (22, 17)


def example() -> Any:
    spec = importlib.util.spec_from_file_location("own_operator", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Blur = example().Blur
KERNEL = np.random.default_rng(3).standard_normal((5, 5)).astype(np.float32)


def blur() -> Any:
    return Blur(KERNEL, SHAPE)


def matrix() -> np.ndarray:
    """The blur, a column a pixel, by scipy."""
    columns = []
    for pixel in range(SHAPE[0] * SHAPE[1]):
        image = np.zeros(SHAPE)
        image.flat[pixel] = 1
        columns.append(convolve2d(image, KERNEL.astype(np.float64), mode="same").ravel())
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("blocks", [(22, 17), (7, 6), (5, 17), (3, 4)])
def test_the_examples_blur_is_its_matrix_however_it_is_cut(blocks: tuple[int, int]) -> None:
    dense, random = matrix(), np.random.default_rng(0)
    measured = random.standard_normal(SHAPE).astype(np.float32)
    made = CustomOperator(blur(), measured, blocks)
    image = random.standard_normal(SHAPE).astype(np.float32)
    np.testing.assert_allclose(made.forward(image).ravel(), dense @ image.ravel(), atol=2e-5)
    np.testing.assert_allclose(made.adjoint(image).ravel(), dense.T @ image.ravel(), atol=2e-5)
    norm = np.linalg.norm(dense, 2) ** 2
    assert made.norm_squared == pytest.approx(norm, rel=2e-3) and made.lipschitz == pytest.approx(1)
    gradient = dense.T @ (dense @ image.ravel() - measured.ravel()) / norm
    np.testing.assert_allclose(made.gradient(image).ravel(), gradient, atol=3e-3 * np.abs(gradient).max())
    # A block's gradient from the blocks' shares, as a worker computes it.
    shares = [np.empty(made.share_shape(i), np.float32) for i in range(len(made.grid))]
    for index, share in enumerate(shares):
        made.forward_block(index, image[made.windows[index].slices], out=share)
    for index, window in enumerate(made.windows):
        residual = made.residual_block(index, shares, out=np.empty(made.residual_shape(index, 1), np.float32))
        found = made.gradient_block(index, image, residual, out=np.empty(window.shape, np.float32))
        np.testing.assert_allclose(found, made.gradient(image)[window.slices], atol=1e-5)
        columns = dense.reshape(-1, *SHAPE)[:, *window.slices].reshape(SHAPE[0] * SHAPE[1], -1)
        norm_here = np.linalg.norm(columns, 2) ** 2
        assert made.block_lipschitz(index) == pytest.approx(norm_here / norm, rel=1e-2)


def solved(operator: Any, **changes: Any) -> Any:
    settings = {"tau": 0.3, "num_workers": 2, "precision": "float32", "device": "cpu", "order": "ordered"}
    solver = GpuAsyncRED(operator, Average(), **settings | changes)
    return solver.run(max_sweeps=25, x0="adjoint" if changes.get("x0") is None else changes["x0"])


def test_it_solves_what_the_dense_operator_solves(one_process: None) -> None:
    measured = convolve2d(blobs(*SHAPE), KERNEL, mode="same").astype(np.float32)
    grid = BlockGrid(SHAPE, (8, 9))
    custom = CustomOperator(blur(), measured, (8, 9), normalize=False)
    dense = DenseOperator(matrix().astype(np.float32), measured.ravel(), grid)
    x0 = np.zeros(SHAPE, np.float32)
    settings = {
        "tau": 5.0,
        "num_workers": 2,
        "block_shape": (8, 9),
        "device": "cpu",
        "order": "ordered",
        "step": "block",
    }
    one, two = (
        GpuAsyncRED(operator, Average(), intensity_scale=1.0, momentum=0.0, continuation=1.0, **settings).run(
            max_sweeps=60, x0=x0
        )
        for operator in (custom, dense)
    )
    assert np.linalg.norm(one.image - two.image) < 1e-3 * np.linalg.norm(two.image)
    assert np.linalg.norm(one.image - x0) > 0.1


@needs_compiler
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("per_launch", [1, 3])
def test_on_streams_of_a_gpu_it_is_the_same(devices: int, per_launch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncred_gpu.kernels.host_build import HostKernels
    from asyncred_gpu.runtime.cuda_setup import make_cuda_runtime
    from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime
    from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
    from asyncred_gpu.runtime.stream_policies import AnyOrder

    measured = convolve2d(blobs(*SHAPE), KERNEL, mode="same").astype(np.float32)
    kernels = HostKernels()

    def streams(setup: Any, workers: int, image: Any) -> Any:
        machine = Machine(AnyOrder(5), warms_up=False)
        there = [SimulatedDevice(machine, index, kernels) for index in range(devices)]
        return make_cuda_runtime(there, setup, workers, image, deterministic=True)

    def processes(setup: Any, workers: int, image: Any) -> Any:
        return SimulatedRuntime(setup, workers, image, RandomOrder(0))

    images = []
    for runtime in (streams, processes):
        monkeypatch.setattr("asyncred_gpu.solver.CpuRuntime", runtime)
        operator = CustomOperator(blur(), measured, (8, 9))
        images.append(solved(operator, blocks_per_launch=per_launch, step="block").image)
    assert np.linalg.norm(images[0] - images[1]) < 1e-5 * np.linalg.norm(images[1])


@pytest.mark.own_workers
def test_in_processes_a_class_of_the_users_own_travels() -> None:
    measured = convolve2d(blobs(*SHAPE), KERNEL, mode="same").astype(np.float32)
    result = solved(CustomOperator(blur(), measured, (8, 9)), order="free")
    assert result.settings["operator"] == "Blur"
    assert result.history["residual"][-1] < 0.1


def test_the_example_deblurs(one_process: None, capsys: pytest.CaptureFixture[str]) -> None:
    example().main(size=96, sweeps=8)
    out = capsys.readouterr().out
    before, after = (float(out.split(word)[1].split(" dB")[0]) for word in ("blurred ", "deblurred "))
    assert after > before + 2


# --- what check_operator says ------------------------------------------------------------------------------------


def altered(**methods: Any) -> Any:
    return type("Altered", (Blur,), methods)(KERNEL, SHAPE)


def random_forward(self: Any, window: Any, pixels: Any) -> Any:
    return Blur.forward_block(self, window, pixels) + torch.randn(1)


def constant(self: Any, window: Any, pixels: Any) -> Any:
    return Blur.forward_block(self, window, pixels) + 1.0


def squared(self: Any, window: Any, pixels: Any) -> Any:
    return Blur.forward_block(self, window, pixels**2)


def infinite(self: Any, window: Any, pixels: Any) -> Any:
    return Blur.forward_block(self, window, pixels) / 0.0


def twice(self: Any, window: Any, values: Any) -> Any:
    return 2 * Blur.adjoint_block(self, window, values)


def not_turned(self: Any, window: Any, values: Any) -> Any:
    return Blur(KERNEL[::-1, ::-1].copy(), SHAPE).adjoint_block(window, values)


def forgotten(self: Any, window: Any, values: Any) -> Any:
    box = self.footprint(window)
    rows, cols = window.top - box[0].start, window.left - box[1].start
    return values[rows : rows + window.shape[0], cols : cols + window.shape[1]]


def without_a_row(self: Any, window: Any, values: Any) -> Any:
    """Forgets a block's first row, but for the image's own."""
    found = Blur.adjoint_block(self, window, values).clone()
    found[: min(window.top, 1)] = 0
    return found


def upside_down(self: Any, window: Any, values: Any) -> Any:
    return Blur.adjoint_block(self, window, values).flip(0)


def narrow(self: Any, window: Any) -> Any:
    return window.slices


def as_numpy(self: Any, window: Any, pixels: Any) -> Any:
    return Blur.forward_block(self, window, pixels).numpy()


def doubles(self: Any, window: Any, values: Any) -> Any:
    return Blur.adjoint_block(self, window, values).double()


def too_small(self: Any, window: Any, values: Any) -> Any:
    return Blur.adjoint_block(self, window, values)[1:]


def cut_off(self: Any, window: Any, pixels: Any) -> Any:
    """Forgets what a block gives beyond its own rows, unless it is the whole image."""
    found = Blur.forward_block(self, window, pixels).clone()
    top = window.top - self.footprint(window)[0].start
    found[:top] = 0
    return found


def cut_back(self: Any, window: Any, values: Any) -> Any:
    kept = values.clone()
    kept[: window.top - self.footprint(window)[0].start] = 0
    return Blur.adjoint_block(self, window, kept)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "random": ({"forward_block": random_forward}, OperatorError, "two results for the same pixels"),
    "a constant": ({"forward_block": constant}, OperatorError, r"isn't linear: .* A\(0\) isn't 0: leave constants out"),
    "squares": ({"forward_block": squared}, OperatorError, r"isn't linear: A\(x \+ 2\.5 z\) differs"),
    "infinite": ({"forward_block": infinite}, OperatorError, "of finite noise has NaN or infinite values"),
    "twice": (
        {"adjoint_block": twice},
        OperatorError,
        r"isn't the adjoint .* It is the adjoint times 2: divide by that",
    ),
    "not turned": (
        {"adjoint_block": not_turned},
        OperatorError,
        "It is with its rows and columns turned round: the adj",
    ),
    "forgotten": (
        {"adjoint_block": forgotten},
        OperatorError,
        r"isn't the adjoint .*\. Write A as a matrix of a few pix",
    ),
    "a row": (
        {"adjoint_block": without_a_row},
        OperatorError,
        "Of the whole image as one block it is: look at what a b",
    ),
    "upside down": ({"adjoint_block": upside_down}, OperatorError, "Its rows come out in reverse"),
    "cut off": ({"forward_block": cut_off, "adjoint_block": cut_back}, OperatorError, "shares add up to another A x"),
    "numpy": ({"forward_block": as_numpy}, TypeError, "forward_block returned a ndarray. Return a torch tensor"),
    "doubles": ({"adjoint_block": doubles}, ValueError, "adjoint_block returned torch.float64 on cpu"),
    "too small": ({"adjoint_block": too_small}, ValueError, r"adjoint_block returned shape \(6, 6\), its block has"),
    "a narrow footprint": ({"footprint": narrow}, OperatorError, "shares add up to another A x"),
    "no box": ({"footprint": lambda self, window: [0, 1]}, TypeError, r"footprint gave \[0, 1\]. Return a tuple of 2"),
    "an empty box": ({"footprint": lambda self, window: (slice(3, 3), slice(None))}, ValueError, "at least one"),
    "beyond": ({"footprint": lambda self, window: (slice(0, 99), slice(None))}, ValueError, "for an axis of 22"),
    "steps": ({"footprint": lambda self, window: (slice(0, 9, 2), slice(None))}, ValueError, "without steps"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_an_operator_is_told(kind: str) -> None:
    methods, error, message = WRONG[kind]
    with pytest.raises(error, match=message):
        check_operator(altered(**methods), block_shape=(7, 6))


def test_what_is_right_is_told_too() -> None:
    found = check_operator(blur(), block_shape=(7, 6))
    assert found.blocks == 12 and found.mismatch < 1e-6 and found.nonlinearity < 1e-6
    assert found.norm_squared == pytest.approx(np.linalg.norm(matrix(), 2) ** 2, rel=2e-3)
    assert str(found).startswith("12 blocks: adjoint to ")


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(TypeError, match="int lacks image_shape, data_shape, footprint, forward_block, adjoint_block"):
        CustomOperator(3, np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"measured has shape \(3, 4\), the operator's data_shape is \(22, 17\)"):
        CustomOperator(blur(), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        CustomOperator(blur(), np.full(SHAPE, np.nan))
    with pytest.raises(ValueError, match="step='preconditioned' needs an operator whose curvature"):
        GpuAsyncRED(CustomOperator(blur(), np.zeros(SHAPE)), Average(), step="preconditioned", device="cpu")
    with pytest.raises(ValueError, match="minibatch=2 is more than the 1 measurements"):
        GpuAsyncRED(CustomOperator(blur(), np.zeros(SHAPE)), Average(), minibatch=2, device="cpu")


def test_other_settings_of_the_operator_are_another_problem(tmp_path: Path, one_process: None) -> None:
    """A schedule is of one operator: the kernel is no measurement, but counts."""
    measured = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    result = solved(CustomOperator(blur(), measured, (8, 9)))
    other = CustomOperator(Blur(KERNEL * np.float32(1.01), SHAPE), measured, (8, 9))
    solver = GpuAsyncRED(other, Average(), tau=0.3, num_workers=2, precision="float32", device="cpu", order="ordered")
    with pytest.raises(ValueError, match="measurements was"):
        solver.run(replay=result.schedule, x0="adjoint")
