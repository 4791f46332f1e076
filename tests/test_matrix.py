"""BlockCS against dense float64 algebra, in both forms and precisions; minibatches; starts; bad input; the solver."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from asyncred_gpu import BlockCS, GpuAsyncRED, gaussian_matrices, snr
from asyncred_gpu.blocks import BlockGrid, halo_crop
from asyncred_gpu.denoiser import BlockDenoiser, DenoiserSettings
from asyncred_gpu.operators.gaussian import matrix_bytes
from asyncred_gpu.operators.matrix_rows import PIECE_BYTES, RowsForm
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime

from .helpers import LinearResidual, blobs, relative, small_network

ROWS, COLS, HEIGHT, WIDTH, M = 24, 18, 8, 6, 34
BLOCKS, N = 9, HEIGHT * WIDTH


def make(seed=0, m=M, **options):
    """An operator on signed noise and its matrices; blocks of 8×6 pixels."""
    random = np.random.default_rng(seed)
    matrices = (random.standard_normal((BLOCKS, m, N)) / np.sqrt(m)).astype(np.float32)
    measured = random.standard_normal((BLOCKS, m)).astype(np.float32)
    return BlockCS(measured, matrices, (ROWS, COLS), (HEIGHT, WIDTH), **options), matrices, measured


def noise(*shape, seed=7):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense_gradient(matrix, measured, block, rows=None, scaled=True):
    """(m/w)·A_Sᵀ(A_S x − y_S) in float64."""
    rows = np.arange(len(matrix)) if rows is None else rows
    exact, chosen = matrix[rows].astype(np.float64), measured[rows].astype(np.float64)
    factor = len(matrix) / len(rows) if scaled else 1.0
    return factor * (exact.T @ (exact @ block.astype(np.float64).ravel() - chosen)).reshape(block.shape)


def gradient_of(operator, index, block, rows=None):
    return operator.gradient_block(index, block, noise(0), out=np.empty(block.shape, np.float32), subset=rows)


@pytest.mark.parametrize("wrong", [None, "transposed", "other block", "sign"])
@pytest.mark.parametrize("form", ["rows", "normal"])
def test_gradients_are_the_dense_formula(form, wrong):
    operator, matrices, measured = make(form=form)
    image = noise(ROWS, COLS)
    for index, block in enumerate(operator.grid.split(image)):
        found = gradient_of(
            operator, index, np.ascontiguousarray(block.T).reshape(8, 6) if wrong == "transposed" else block
        )
        matrix = matrices[(index + 1) % BLOCKS if wrong == "other block" else index]
        expected = dense_gradient(matrix, -measured[index] if wrong == "sign" else measured[index], block)
        assert (relative(found, expected) < 1e-5) == (wrong is None)
        assert (relative(operator.gradient(image)[operator.grid.window(index).slices], expected) < 1e-5) == (
            wrong not in ("sign", "other block")
        )


@pytest.mark.parametrize("wrong", [False, True])
def test_a_large_block_is_worked_on_piece_by_piece(monkeypatch, wrong):
    """With one thread a matrix comes in many pieces, the last one smaller; the sum is that of the whole."""
    threads = torch.get_num_threads()
    n, m = 4096, 150
    assert m % (PIECE_BYTES // (4 * n)) and m > 2 * PIECE_BYTES // (4 * n)
    matrices, measured, block = noise(1, m, n), noise(1, m, seed=1), noise(64, 64, seed=2)
    rows = np.random.default_rng(0).permutation(m)[:101]
    if wrong:
        monkeypatch.setattr(RowsForm, "_rows_at_once", lambda self, count, columns: count - 1)
        monkeypatch.setattr("asyncred_gpu.operators.matrix_rows.range", lambda a, b, c: [0], raising=False)
    for storage in ("float32", "float16"):
        operator = BlockCS(measured, matrices, (64, 64), storage=storage, form="rows")
        stored = matrices.astype(storage).astype(np.float32)
        try:
            torch.set_num_threads(1)
            whole, part = gradient_of(operator, 0, block), gradient_of(operator, 0, block, rows)
        finally:
            torch.set_num_threads(threads)
        assert (relative(whole, dense_gradient(stored[0], measured[0], block)) < 1e-5) != wrong
        assert (relative(part, dense_gradient(stored[0], measured[0], block, rows)) < 1e-5) != wrong


@pytest.mark.parametrize("form", ["rows", "normal"])
def test_minibatches_are_unbiased(form):
    """The mean over a partition of the rows is the whole gradient; without the factor m/w it is not."""
    operator, matrices, measured = make(form=form)
    block = noise(HEIGHT, WIDTH)
    parts = np.array_split(np.random.default_rng(3).permutation(M), 2)
    found = [gradient_of(operator, 4, block, part) for part in parts]
    for part, gradient in zip(parts, found, strict=True):
        assert relative(gradient, dense_gradient(matrices[4], measured[4], block, part)) < 1e-5
        assert relative(gradient, dense_gradient(matrices[4], measured[4], block, part, scaled=False)) > 0.4
    assert relative(np.mean(found, axis=0), gradient_of(operator, 4, block)) < 1e-5
    assert relative(found[0], gradient_of(operator, 4, block)) > 0.1


@pytest.mark.parametrize("with_torch", [False, True])
@pytest.mark.parametrize("form", ["rows", "normal"])
def test_products_on_the_cpu_are_numpys(monkeypatch, form, with_torch):
    """Whatever torch.set_float32_matmul_precision says, as torch's here: they then answer in bfloat16."""

    def rounded(product):
        def call(*factors, out=None):
            found = product(*(factor.bfloat16() for factor in factors)).float()
            return found if out is None else out.copy_(found)

        return call

    monkeypatch.setattr(torch, "mv", rounded(torch.mv))
    monkeypatch.setattr(torch, "mm", rounded(torch.mm))
    if with_torch:
        monkeypatch.setattr(Tensor, "is_cpu", False)
    operator, matrices, measured = make(form=form)
    block = noise(HEIGHT, WIDTH)
    expected = dense_gradient(matrices[0], measured[0], block)
    assert (relative(gradient_of(operator, 0, block), expected) < 1e-5) != with_torch


def test_float16_rounds_the_matrices_and_nothing_else():
    operator, matrices, measured = make(storage="float16")
    block = noise(HEIGHT, WIDTH)
    found = gradient_of(operator, 2, block)
    rounded = matrices.astype(np.float16).astype(np.float32)
    assert relative(found, dense_gradient(rounded[2], measured[2], block)) < 1e-5
    assert 1e-5 < relative(found, dense_gradient(matrices[2], measured[2], block)) < 1e-3
    assert operator.storage == "float16" and operator._rows.matrices.nbytes == matrices.nbytes // 2


@pytest.mark.parametrize("wrong", [False, True])
def test_the_adjoint_is_matched(wrong):
    operator, _, _ = make()
    image, values = noise(ROWS, COLS), noise(BLOCKS, M, seed=8)
    forward, back = operator.forward(image), operator.adjoint(values[::-1] if wrong else values)
    apart = abs(np.vdot(forward, values) - np.vdot(image, back))
    assert (apart / (np.linalg.norm(forward) * np.linalg.norm(values)) < 1e-6) == (not wrong)


# --- Lipschitz constants ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
def test_lipschitz_constants_are_the_largest_eigenvalues(normalize):
    operator, matrices, _ = make(normalize=normalize)
    exact = np.linalg.norm(matrices.astype(np.float64), 2, axis=(1, 2)) ** 2
    scale = 1 / exact.max() if normalize else 1.0
    found = [operator.block_lipschitz(index) for index in range(BLOCKS)]
    assert found == pytest.approx(scale * exact, rel=1e-3) and operator.lipschitz == pytest.approx(scale * exact.max())
    assert np.ptp(exact) > 1e-2 * exact.max()  # another block's would not pass
    if normalize:
        assert operator.lipschitz == pytest.approx(1) and operator.scale == pytest.approx(scale)


def test_a_scaled_minibatchs_constant_is_larger():
    """Gaussian rows: (1 + √(n/w))²/(1 + √(n/m))², here from a few draws of one size."""
    matrices = gaussian_matrices(2, 400, 576)
    operator = BlockCS(np.zeros((2, 400), np.float32), matrices, (24, 48))
    law = (1 + np.sqrt(576 / 100)) ** 2 / (1 + np.sqrt(576 / 400)) ** 2
    assert operator.minibatch_factor(100) == pytest.approx(law, rel=0.05) and law > 2
    assert operator.minibatch_factor(400) == pytest.approx(1, abs=1e-3)


# --- starts ---------------------------------------------------------------------------------------------------------


def test_least_squares_is_the_solution_of_least_norm():
    operator, matrices, measured = make()
    expected = [np.linalg.pinv(a.astype(np.float64)) @ y for a, y in zip(matrices, measured, strict=True)]
    exact = operator.grid.join([x.reshape(HEIGHT, WIDTH).astype(np.float32) for x in expected])
    assert relative(operator.start("least-squares"), exact) < 1e-2 < relative(operator.start("adjoint"), exact)


def test_the_adjoint_start_fits_best():
    operator, _, measured = make()
    start = operator.start("adjoint")

    def misfit(image):
        return float(np.linalg.norm(operator.forward(image) - measured))

    assert (
        relative(start / np.linalg.norm(start), operator.adjoint(measured) / np.linalg.norm(operator.adjoint(measured)))
        < 1e-5
    )
    assert misfit(start) < min(misfit(0.95 * start), misfit(1.05 * start)) and not operator.start("zeros").any()
    assert np.array_equal(start, operator.start("auto"))


# --- what travels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["rows", "normal"])
@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_a_workers_copy_is_the_same_and_its_arrays_travel_apart(form, storage):
    if form == "normal" and storage == "float16":
        return
    operator, _, _ = make(form=form, storage=storage)
    buffers = []
    content = pickle.dumps(operator, protocol=5, buffer_callback=buffers.append)
    assert len(content) < 5000 < sum(buffer.raw().nbytes for buffer in buffers)
    copy, block, rows = pickle.loads(content, buffers=buffers), noise(HEIGHT, WIDTH), np.array([3, 30, 4])
    for subset in (None, rows):
        assert np.array_equal(gradient_of(copy, 3, block, subset), gradient_of(operator, 3, block, subset))
    assert copy.fingerprint == operator.fingerprint != make(seed=1)[0].fingerprint


def test_matrices_are_not_copied_if_they_need_not_be():
    operator, matrices, measured = make()
    assert operator._rows.matrices.data_ptr() == matrices.ctypes.data
    tensor = torch.from_numpy(matrices)
    assert BlockCS(measured, tensor, (ROWS, COLS), (HEIGHT, WIDTH))._rows.matrices.data_ptr() == tensor.data_ptr()
    for given in (
        matrices.astype(np.float64),
        matrices[:, :, ::-1],
        matrices.byteswap().view(matrices.dtype.newbyteorder()),
    ):
        other = BlockCS(measured, given, (ROWS, COLS), (HEIGHT, WIDTH))
        assert np.array_equal(other._rows.matrices.numpy(), np.asarray(given, np.float32))


def test_the_image_comes_back_as_the_measurements_came():
    _, matrices, measured = make()
    image = noise(ROWS, COLS)
    operator = BlockCS(torch.from_numpy(measured), matrices, (ROWS, COLS), (HEIGHT, WIDTH))
    assert isinstance(operator.like_input(image), torch.Tensor)
    assert make()[0].like_input(image) is image


@pytest.mark.parametrize("given", ["read-only", "reversed", "big-endian", "uint16", "bfloat16", "float64"])
def test_matrices_of_any_kind_are_taken(given):
    _, matrices, measured = make()
    whole = np.round(matrices * 100).clip(0)
    frozen = matrices.copy()
    frozen.flags.writeable = False
    kinds = {
        "read-only": (frozen, matrices),
        "reversed": (matrices[:, ::-1], matrices[:, ::-1]),
        "big-endian": (matrices.astype(">f4"), matrices),
        "uint16": (whole.astype(np.uint16), whole),
        "bfloat16": (torch.from_numpy(matrices).bfloat16(), torch.from_numpy(matrices).bfloat16().float().numpy()),
        "float64": (matrices.astype(np.float64), matrices),
    }
    array, expected = kinds[given]
    operator = BlockCS(measured, array, (ROWS, COLS), (HEIGHT, WIDTH))
    assert np.array_equal(operator._rows.matrices.numpy(), expected)
    if given == "read-only":
        assert operator._rows.matrices.data_ptr() == frozen.ctypes.data


def test_a_copied_operator_gives_the_image_as_the_measurements_came():
    _, matrices, measured = make()
    image = noise(ROWS, COLS)
    for given, kind in ((torch.from_numpy(measured), torch.Tensor), (measured, np.ndarray)):
        operator = BlockCS(given, matrices, (ROWS, COLS), (HEIGHT, WIDTH))
        assert isinstance(copy.deepcopy(operator).like_input(image), kind)


def test_blocks_without_a_matrix_have_a_constant_of_zero():
    measured, matrices = noise(4, 50), noise(4, 50, 64)
    matrices[2] = 0
    operator = BlockCS(measured, matrices, (16, 16))
    assert operator.block_lipschitz(2) == 0 < operator.block_lipschitz(1) and operator.minibatch_factor(20) >= 1
    with pytest.raises(ValueError, match=r"all zero: normalize=True can't divide"):
        _ = BlockCS(measured, 0 * matrices, (16, 16), normalize=True).scale


def test_a_few_heavy_rows_count_in_a_minibatchs_constant():
    """One row of 100 with nearly all of ‖A‖²: a minibatch of 5 that holds it is 20 times as steep."""
    matrices = 1e-3 * noise(1, 100, 64)
    matrices[0, 17] = 1
    assert BlockCS(noise(1, 100), matrices, (8, 8)).minibatch_factor(5) == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize(
    ("name", "shape"), [("forward", (ROWS + 8, COLS)), ("adjoint", (1, M)), ("gradient", (COLS, ROWS))]
)
def test_whole_images_of_another_shape_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"has shape .*, it must be .* Pass an array of that shape"):
        getattr(make()[0], name)(noise(*shape))


def test_what_lies_on_the_device_already_is_not_counted_again():
    operator, here, there = make(form="normal")[0], torch.device("cpu"), torch.device("meta")
    assert operator.device_needs(5, here).tables == 0 < operator.device_needs(5, there).tables
    assert operator.device_needs(M, here).tables > 0  # AᵀA isn't made yet
    operator.gradient(noise(ROWS, COLS))
    assert operator.device_needs(M, here).tables == 0


# --- generator and memory -------------------------------------------------------------------------------------------


def test_gaussian_matrices_have_variance_one_over_m():
    matrices = gaussian_matrices(3, 50, 2000, seed=5)
    assert matrices.shape == (3, 50, 2000) and matrices.dtype == np.float32
    assert np.var(matrices) == pytest.approx(1 / 50, rel=0.02) and abs(np.mean(matrices)) < 1e-3
    assert np.array_equal(matrices[:2], gaussian_matrices(2, 50, 2000, seed=5))
    assert not np.array_equal(matrices, gaussian_matrices(3, 50, 2000, seed=6))
    assert abs(np.corrcoef(matrices.reshape(3, -1))[0, 1]) < 0.02


def test_memory_is_estimated_and_refused(monkeypatch):
    assert matrix_bytes(9, 4480, 6400) == 9 * 4480 * 6400 * 4
    assert matrix_bytes(9, 4480, 6400, "float16") == 9 * 4480 * 6400 * 2
    assert matrix_bytes(9, 4480, 6400, form="auto") == matrix_bytes(9, 4480, 6400)
    with pytest.raises(ValueError, match=r"form='nromal' isn't known"):
        matrix_bytes(9, 4480, 6400, form="nromal")
    assert matrix_bytes(9, 4480, 6400, form="normal") == 9 * 4 * (4480 * 6400 + 6400**2)
    monkeypatch.setattr("asyncred_gpu.memory.available_memory", lambda: 10**6)
    with pytest.raises(MemoryError, match=r"The matrices take 984 MiB, and 1 MiB are free. Use smaller blocks"):
        gaussian_matrices(9, 4480, 6400)
    with pytest.raises(MemoryError, match=r"The matrices take .* Use storage='float16'"):
        BlockCS(noise(1, 500), noise(1, 500, 576).astype(np.float64), (24, 24))


# --- bad input ------------------------------------------------------------------------------------------------------


def bad(**changes):
    _, matrices, measured = make()
    given = {"measurements": measured, "matrices": matrices, "image_shape": (ROWS, COLS)} | changes
    return BlockCS(**given)


def spoiled(array, value):
    array = array.copy()
    array.flat[7] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrices": noise(M, N)}, r"matrices has shape \(34, 48\), it must be \(blocks, m, n\)"),
        ({"matrices": noise(BLOCKS, M + 1, N)}, r"for 9 blocks of 35 rows, and measurements \(9, 34\)"),
        ({"measurements": noise(BLOCKS, M + 1)}, r"for 9 blocks of 34 rows, and measurements \(9, 35\)"),
        ({"matrices": noise(BLOCKS, M, N + 1)}, r"9 matrices with 49 columns .* no grid cuts the image \(24, 18\)"),
        ({"matrices": noise(BLOCKS - 1, M, N)}, r"8 blocks of 34 rows"),
        ({"matrices": noise(BLOCKS, 0, N), "measurements": noise(BLOCKS, 0)}, r"measurements .* it is empty"),
        ({"image_shape": (24, 24)}, r"no grid cuts the image \(24, 24\) into these"),
        ({"image_shape": 24}, r"image_shape=24 isn't \(rows, cols\)"),
        ({"block_shape": (4, 12)}, r"no grid of block_shape=\(4, 12\) cuts"),
        ({"block_shape": 8}, r"block_shape=8 isn't \(rows, cols\)"),
        ({"block_shape": (0, 6)}, r"no grid of block_shape=\(0, 6\)"),
        ({"storage": "int8"}, r"storage='int8' isn't known. Pass one of float32, float16"),
        ({"form": "svd"}, r"form='svd' isn't known. Pass one of auto, rows, normal"),
        ({"form": "normal", "storage": "float16"}, r"form='normal' keeps AᵀA in float32"),
        ({"matrices": 1e-6 * noise(BLOCKS, M, N), "storage": "float16"}, r"which float16 rounds to few digits or to 0"),
        ({"matrices": [[[1.0], [1.0, 2.0]]]}, r"matrices isn't an array"),
        ({"matrices": torch.from_numpy(noise(BLOCKS, M, N)).to_sparse()}, r"torch.sparse_coo"),
        ({"measurements": noise(BLOCKS * M)}, r"measurements has shape \(306,\), it must have 2 dimensions"),
        ({"measurements": spoiled(noise(BLOCKS, M), np.nan)}, r"measurements holds 1 NaN or infinite values"),
        ({"matrices": spoiled(noise(BLOCKS, M, N), np.inf)}, r"matrices\[0\] holds 1 NaN or infinite values"),
        (
            {"matrices": spoiled(noise(BLOCKS, M, N), 1e5), "storage": "float16"},
            r"up to 1e\+05, which overflow float16",
        ),
        ({"matrices": spoiled(noise(BLOCKS, M, N).astype(np.float64), 1e300)}, r"overflow float32"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        bad(**changes)


@pytest.mark.parametrize(
    "matrices", [np.full((BLOCKS, M, N), "a"), noise(BLOCKS, M, N).astype(complex), noise(BLOCKS, M, N) > 0]
)
def test_matrices_that_are_no_numbers_are_refused(matrices):
    for given in (matrices, torch.from_numpy(matrices)) if matrices.dtype.kind != "U" else (matrices,):
        with pytest.raises(TypeError, match=r"matrices has dtype .*, it must hold real numbers"):
            bad(matrices=given)


def test_a_grid_that_could_be_two_is_asked_for():
    matrices, measured = noise(2, 5, 72), noise(2, 5)
    with pytest.raises(ValueError, match=r"Blocks of \(6, 12\) and of \(12, 6\) pixels both fit the image \(12, 12\)"):
        BlockCS(measured, matrices, (12, 12))
    assert BlockCS(measured, matrices, (12, 12), (12, 6)).grid == BlockGrid((12, 12), (12, 6))
    assert BlockCS(noise(6, 5), noise(6, 5, 36), (12, 18)).grid.block_shape == (6, 6)


def test_other_blocks_and_bad_minibatches_are_refused():
    operator, _, _ = make()
    with pytest.raises(ValueError, match=r"block_shape=\(12, 9\) isn't how the image was measured"):
        GpuAsyncRED(operator, LinearResidual(), block_shape=(12, 9), num_workers=2)
    for minibatch, message in ((0, "minibatch=0 is too small"), (M + 1, f"more than the {M} measurements")):
        with pytest.raises(ValueError, match=message):
            GpuAsyncRED(operator, LinearResidual(), num_workers=2, minibatch=minibatch)
    with pytest.raises(ValueError, match=r"The minibatch is empty"):
        gradient_of(operator, 0, noise(HEIGHT, WIDTH), np.empty(0, np.intp))
    with pytest.raises(ValueError, match=r"x0='fbp' isn't a start. Pass one of auto, adjoint, least-squares, zeros"):
        operator.start("fbp")


# --- the solver -----------------------------------------------------------------------------------------------------


def measured_blobs(size=48, side=16, ratio=0.7, seed=0):
    """Blobs measured block by block, without noise."""
    image, grid = blobs(size, size), BlockGrid((size, size), (side, side))
    matrices = gaussian_matrices(len(grid), int(ratio * side * side), side * side, seed)
    measured = np.stack([a @ block.ravel() for a, block in zip(matrices, grid.split(image), strict=True)])
    return BlockCS(measured, matrices, (size, size)), image


@pytest.mark.parametrize("minibatch", [None, 60])
def test_the_pool_replays_what_a_simulation_recorded(minibatch):
    operator, _ = measured_blobs()
    options = {"tau": 0.3, "num_workers": 3, "minibatch": minibatch, "precision": "float32", "intensity_scale": 1.0}
    solver = GpuAsyncRED(operator, small_network(), device="cpu", **options)
    recorded = solver._run(
        lambda setup, workers, image: SimulatedRuntime(setup, workers, image, RandomOrder(1)),
        *(6, None, None, None, "auto", None, (), None),
    )
    assert max(recorded.schedule.staleness) >= 2
    again = solver.run(replay=recorded.schedule)
    assert relative(again.image, recorded.image) < 1e-5 < 1e-3 < relative(again.image, operator.start("auto"))


def test_momentum_leaves_half_of_the_blocks_idle_on_a_machine_with_many_cores(monkeypatch):
    monkeypatch.setattr("asyncred_gpu.solver.available_cores", lambda: list(range(16)))
    operator, _ = measured_blobs()
    for momentum, workers in ((0.8, 4), (0.0, 9)):
        solver = GpuAsyncRED(operator, LinearResidual(), momentum=momentum, device="cpu")
        assert solver.parallelism.workers == workers
    with pytest.raises(ValueError, match=r"momentum=0.8 with 5 updates in flight of 9 blocks diverges"):
        GpuAsyncRED(operator, LinearResidual(), momentum=0.8, num_workers=5, device="cpu")


@pytest.mark.parametrize(("order", "staleness"), [("free", 12), ("ordered", 2), ("sync", 2)])
def test_the_usual_staleness_is_what_an_order_can_have(order, staleness):
    operator, _ = measured_blobs()
    solver = GpuAsyncRED(operator, LinearResidual(), num_workers=3, order=order, device="cpu")
    assert solver.parallelism.max_staleness == staleness
    assert GpuAsyncRED(operator, LinearResidual(), minibatch=operator.measurements, device="cpu").minibatch is None


def test_its_blocks_are_taken_whatever_the_number_of_workers():
    operator, _ = measured_blobs()
    solver = GpuAsyncRED(operator, LinearResidual(), num_workers=9, device="cpu")
    assert solver.operator.grid == operator.grid and solver.parallelism.workers == 9
    with pytest.raises(
        ValueError, match=r"10 workers × 1 blocks a launch are 10 updates in flight, and the image has 9"
    ):
        GpuAsyncRED(operator, LinearResidual(), num_workers=10, device="cpu")


def test_the_solver_finds_the_dense_solution():
    """With a linear residual G(x) = 0 is a linear system; a wrong τ solves another one."""
    operator, image = measured_blobs(24, 8)
    matrices = operator._rows.matrices.double().numpy()
    columns = np.eye(24 * 24, dtype=np.float32).reshape(-1, 24, 24)
    denoiser = BlockDenoiser(LinearResidual(), DenoiserSettings(1, "float32", 1.0))
    crop = halo_crop(BlockGrid((24, 24), (24, 24)), 0, 1)
    residuals = [denoiser.residual(crop.of(column), np.empty((24, 24), np.float32)).ravel() for column in columns]
    normal, constant = np.zeros((576, 576)), np.zeros(576)
    indices = np.arange(576).reshape(24, 24)
    for i, matrix in enumerate(matrices):
        place = indices[operator.grid.window(i).slices].ravel()
        normal[np.ix_(place, place)] = matrix.T @ matrix
        constant[place] = matrix.T @ operator._rows.measurements[i].double().numpy()
    exact = np.linalg.solve(normal + 0.3 * np.array(residuals, np.float64).T, constant).reshape(24, 24)
    for tau in (0.3, 0.5):
        solver = GpuAsyncRED(operator, LinearResidual(), tau, num_workers=2, momentum=0.8, intensity_scale=1.0)
        result = solver.run(600, tol=1e-10, x0="least-squares", reference=image)
        assert (relative(result.image, exact) < 1e-3) == (tau == 0.3)
        assert result.history["snr"][-1] == pytest.approx(snr(result.image, image), abs=1e-3)
