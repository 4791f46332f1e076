"""The DnCNN, its Lipschitz bound, the authors' weights, and the weights that come with the package."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from asyncred_gpu.models import DnCNN, dncnn_from_state, load_weights, save_weights, state_from_tensorflow, weights_path
from asyncred_gpu.models.images import load_images
from asyncred_gpu.models.lipschitz import (
    clip_convolution,
    clip_network,
    convolution_norm,
    lipschitz_bound,
    scale_network,
    torus_norm,
    transfer_matrices,
)
from asyncred_gpu.models.quality import psnr, psnr_before_after

from .helpers import ALL_RUNS, SHARED, needs, small_network

AUTHORS = "authors_dncnn_sigma5.npz"


def random_kernel(outputs: int = 3, inputs: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def periodic_matrix(kernel: torch.Tensor, grid: int) -> np.ndarray:
    """The periodic convolution as a dense matrix, column by column."""
    outputs, inputs = kernel.shape[:2]
    units = torch.eye(inputs * grid * grid, dtype=torch.float64).reshape(-1, inputs, grid, grid)
    columns = F.conv2d(F.pad(units, (1, 1, 1, 1), mode="circular"), kernel)
    return columns.reshape(-1, outputs * grid * grid).T.numpy()


# ---- singular values


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "inputs and outputs of a tap swapped"])
def test_singular_values_are_those_of_the_dense_matrix(wrong):
    grid, kernel = 6, random_kernel(3, 3)
    tested = kernel.clone()
    if wrong:
        tested[..., 0, 0] = tested[..., 0, 0].T
    dense = np.linalg.svd(periodic_matrix(kernel, grid), compute_uv=False)
    values = torch.linalg.svdvals(transfer_matrices(tested, grid))
    # The half spectrum holds the columns between the first and the middle one for their mirrored twins too.
    values = torch.cat([values, values[:, 1 : (grid + 1) // 2]], dim=1)
    mismatch = np.abs(np.sort(dense) - np.sort(values.flatten().numpy())).max() / dense[0]
    assert (mismatch < 1e-12) == (not wrong)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_norm_is_the_largest_over_all_frequencies(seed):
    kernel = random_kernel(4, 3, seed)
    fine = torus_norm(kernel, 512)
    assert 0 <= convolution_norm(kernel) / fine - 1 < 1e-4
    assert torus_norm(kernel, 8) / fine - 1 < -1e-4  # a coarse torus alone misses the peak


def test_the_norm_bounds_a_zero_padded_convolution():
    kernel = random_kernel()
    image = torch.randn(1, 2, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(100):
        image = F.conv_transpose2d(F.conv2d(image, kernel, padding=1), kernel, padding=1)
        image /= image.norm()
    gain = float(F.conv2d(image, kernel, padding=1).norm())
    assert torus_norm(kernel, 2) < gain <= convolution_norm(kernel)  # a torus of 2 is no bound


# ---- clipping and scaling


def test_clipping_again_and_again_brings_the_norm_to_the_bound():
    kernel = random_kernel()
    bound = 0.5 * convolution_norm(kernel)
    once = clip_convolution(kernel, bound)
    clipped = once
    for _ in range(29):
        clipped = clip_convolution(clipped, bound)
    # Once isn't enough: the cut to 3x3 raises it again.
    assert convolution_norm(clipped) < 1.1 * bound < convolution_norm(once) < convolution_norm(kernel)


def test_clipping_leaves_a_kernel_under_the_bound_alone():
    kernel = random_kernel()
    bound = convolution_norm(kernel)
    assert torch.equal(clip_convolution(kernel, 1.001 * bound), kernel)
    assert not torch.equal(clip_convolution(kernel, 0.9 * bound), kernel)


def test_clipping_a_network_lowers_its_bound():
    network = DnCNN(3, 8)
    before = lipschitz_bound(network)
    for _ in range(20):
        clip_network(network, 1.5)
    assert before > 3
    assert lipschitz_bound(network) < 1.2 * 1.5


@pytest.mark.parametrize("wrong", [False, True], ids=["biases too", "weights only"])
def test_scaling_scales_the_networks_output(wrong):
    network, scaled = small_network(bound=6.0), small_network(bound=6.0)
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    product = scale_network(scaled, 2.0)
    if wrong:
        for layer, original in zip(scaled.layers, network.layers, strict=True):
            layer.bias.copy_(original.bias)
    expected = product / lipschitz_bound(network) * network(image)
    assert product <= 2.0
    assert product == pytest.approx(2.0, rel=1e-5)
    assert torch.allclose(scaled(image), expected, rtol=1e-4, atol=1e-6) == (not wrong)


def test_scaling_leaves_a_network_under_the_bound_alone():
    network = small_network(bound=1.0)
    weights = [parameter.clone() for parameter in network.parameters()]
    scale_network(network, 2.0)
    assert all(map(torch.equal, weights, network.parameters()))


# ---- the network


@pytest.mark.parametrize(("halo", "exact"), [(3, True), (2, False)])
def test_a_pixel_depends_on_as_many_neighbours_as_layers(halo, exact):
    network = small_network(depth=3)
    assert network.receptive_radius == 3
    image = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    crop = image[..., 8 - halo : 16 + halo, 8 - halo : 16 + halo]
    inside = network(crop)[..., halo : halo + 8, halo : halo + 8]
    assert torch.allclose(inside, network(image)[..., 8:16, 8:16], atol=1e-6) == exact


def test_the_interior_is_the_residual_without_the_border():
    network = small_network(depth=3)
    image = torch.rand(1, 1, 20, 18, generator=torch.Generator().manual_seed(0))
    assert network.interior(image).shape == (1, 1, 14, 12)
    assert torch.allclose(network.interior(image), network(image)[..., 3:-3, 3:-3], atol=1e-6)
    assert not torch.allclose(network.interior(image), network(image)[..., 2:-4, 3:-3], atol=1e-4)


def test_operations_a_pixel():
    assert DnCNN().operations_per_pixel() == 2 * 9 * (64 + 5 * 64 * 64 + 64)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state.pop("layers.0.weight"), r"layers\.0\.weight is None"),
        (lambda state: state.update({"layers.0.weight": torch.zeros(8, 2, 3, 3)}), r"is \(8, 2, 3, 3\)"),
        (lambda state: state.pop("layers.1.bias"), "don't fit a DnCNN with 3 layers"),
    ],
    ids=["no first layer", "two input channels", "no bias"],
)
def test_weights_that_are_no_dncnn_are_refused(change, text):
    state = small_network(depth=3).state_dict()
    change(state)
    with pytest.raises(ValueError, match=text):
        dncnn_from_state(state)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [({"x": np.zeros(1)}, "No array is named"), ({"layer_0.kernel": np.zeros((3, 3, 1, 1))}, "has no layer_0.bias")],
    ids=["no kernel", "no bias"],
)
def test_arrays_that_are_no_weights_are_refused(arrays, text):
    with pytest.raises(ValueError, match=text):
        state_from_tensorflow(arrays)


TRANSPOSITIONS = {
    "as it is": lambda weight: weight,
    "rows and columns swapped": lambda weight: weight.transpose(2, 3),
    "mirrored": lambda weight: weight.flip(2, 3),
    "inputs and outputs swapped": lambda weight: (
        weight.transpose(0, 1) if weight.shape[0] == weight.shape[1] else weight
    ),
}


@pytest.mark.parametrize("wrong", TRANSPOSITIONS)
def test_tensorflow_kernels_are_rows_columns_inputs_outputs(wrong):
    random = np.random.default_rng(0)
    kernel, image = random.standard_normal((3, 3, 4, 4)), random.standard_normal((7, 8, 4))
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1))
    expected = np.einsum("yxirc,rcio->oyx", windows, kernel)
    state = state_from_tensorflow({"layer_0.kernel": kernel, "layer_0.bias": np.zeros(4)})
    weight = TRANSPOSITIONS[wrong](state["layers.0.weight"])
    found = F.conv2d(torch.from_numpy(image.transpose(2, 0, 1)), weight).numpy()
    assert np.allclose(found, expected) == (wrong == "as it is")


@needs(AUTHORS, "set12")
@pytest.mark.parametrize("wrong", TRANSPOSITIONS)
def test_the_authors_weights_denoise_the_cameraman(wrong):
    state = state_from_tensorflow(dict(np.load(SHARED / AUTHORS)))
    state = {name: TRANSPOSITIONS[wrong](value) if value.ndim == 4 else value for name, value in state.items()}
    photo = Image.open(SHARED / "set12" / "01.png").convert("L").resize((240, 240), Image.Resampling.BICUBIC)
    clean = torch.from_numpy(np.asarray(photo, np.float32) / 255)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((240, 240)).astype(np.float32))
    noisy = clean + 5 / 255 * noise
    with torch.inference_mode():
        denoised = noisy - dncnn_from_state(state)(noisy[None, None])[0, 0]
    # A photograph on its side is a photograph too: swapped rows and columns give 37.551, mirrored kernels 37.557.
    assert (abs(psnr(denoised, clean) - 37.554) < 0.001) == (wrong == "as it is")


# ---- weights on disk


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_weights(small_network(), path, {"sigma": 5.0, "lipschitz": {"product": 1.5, "bound": 2.0}})
    return path


def test_weights_come_back_as_they_were_saved(saved):
    network, facts = load_weights(saved)
    assert all(map(torch.equal, network.parameters(), small_network().parameters()))
    assert not all(map(torch.equal, network.parameters(), small_network(seed=1).parameters()))
    assert facts["sigma"] == 5.0
    assert facts["sha256"] in saved.with_suffix(".md").read_text()
    assert "**1.500000** (asked for: at most 2)" in saved.with_suffix(".md").read_text()
    assert {path.suffix for path in saved.parent.iterdir()} == {".safetensors", ".json", ".md"}


def damage(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (damage, ValueError, "damaged or was replaced: its sha256 is"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), ValueError, "damaged or was replaced"),
        (lambda path: path.unlink(), FileNotFoundError, "tiny.safetensors doesn't exist"),
        (lambda path: path.with_suffix(".json").unlink(), FileNotFoundError, "tiny.json is missing"),
        (lambda path: path.with_suffix(".json").write_text("{"), ValueError, "isn't JSON"),
        (lambda path: path.with_suffix(".json").write_text("{}"), ValueError, "has no sha256"),
    ],
    ids=["one bit", "truncated", "no weights", "no card", "damaged card", "empty card"],
)
def test_weights_that_cannot_be_verified_are_refused(saved, change, error, text):
    change(saved)
    with pytest.raises(error, match=text):
        load_weights(saved)


def test_weights_are_not_overwritten_unasked(saved):
    before = saved.read_bytes()
    with pytest.raises(FileExistsError, match=r"tiny\.safetensors exists and isn't overwritten"):
        save_weights(small_network(seed=1), saved, {})
    assert saved.read_bytes() == before
    save_weights(small_network(seed=1), saved, {}, overwrite=True)
    assert saved.read_bytes() != before
    load_weights(saved)


def test_facts_that_make_no_card_leave_no_weights(tmp_path):
    with pytest.raises(KeyError, match="bound"):
        save_weights(small_network(), tmp_path / "tiny.safetensors", {"lipschitz": {"product": 1.5}})
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_weights(small_network(), tmp_path / "tiny.pt", {})
    assert not list(tmp_path.iterdir())


def test_unknown_weights_are_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"No weights are named 'dncnn_sigma7'.*dncnn_sigma5"):
        weights_path("dncnn_sigma7")


# ---- the weights that come with the package


def test_the_shipped_weights_have_the_lipschitz_bound_their_card_says():
    network, facts = load_weights(weights_path("dncnn_sigma5"))
    bound = lipschitz_bound(network)
    assert bound <= 2
    assert bound == pytest.approx(facts["lipschitz"]["product"], rel=1e-6)
    with torch.no_grad():
        network.layers[3].weight.mul_(2.001 / bound)
    assert lipschitz_bound(network) > 2


@needs("bsd68")
def test_the_shipped_weights_reach_the_psnr_their_card_says():
    network, facts = load_weights(weights_path("dncnn_sigma5"))
    card = facts["validation"]
    assert (card["folder"], card["count"]) == ("bsd68", 68)
    assert card["psnr_output"] == pytest.approx(np.mean(card["psnr_output_of_each"]), abs=1e-3)
    assert card["psnr_output"] >= 36.8
    images = load_images(SHARED / "bsd68")
    for index in range(0, 68, 20 if ALL_RUNS else 40):  # each takes seconds
        before, after = psnr_before_after(network, images[index], 5.0, seed=index)
        assert before == pytest.approx(34.15, abs=0.05)
        assert after == pytest.approx(card["psnr_output_of_each"][index], abs=0.01)
    assert abs(after - psnr_before_after(network, images[index], 5.5, seed=index)[1]) > 0.01


def test_the_shipped_card_was_made_from_the_shipped_facts(tmp_path):
    path = weights_path("dncnn_sigma5")
    network, facts = load_weights(path)
    save_weights(network, tmp_path / path.name, facts)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / path.name).with_suffix(".md").read_text() == path.with_suffix(".md").read_text()
