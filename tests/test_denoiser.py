"""Crops with a halo give the whole image's residual, one at a time and in batches; loading."""

import numpy as np
import pytest
import torch

from asyncred_gpu import load_denoiser
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.denoiser import BlockDenoiser, DenoiserSettings, DeviceDenoiser, activation_bytes, resolve_halo
from asyncred_gpu.runtime.base import WorkerSetup
from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
from asyncred_gpu.runtime.stage import make_stages
from asyncred_gpu.runtime.stream_policies import POLICIES

from .helpers import SHARED, LinearResidual, blobs, needs, relative, small_network, small_scan
from .test_blocks import gather
from .test_kernels_activate import DTYPES, PLACES, kernels_on


def whole_residual(network, image, halo):
    """crop(network(image mirrored by the halo))."""
    mirrored = torch.from_numpy(np.pad(image, halo, mode="reflect"))[None, None]
    found = network(mirrored)[0, 0].numpy()
    return found[halo : found.shape[0] - halo, halo : found.shape[1] - halo]


def largest_difference(network, image, grid, halo, precision="float32"):
    """Over all blocks, relative to the whole image's residual on the block."""
    expected = whole_residual(network, image, 7)
    denoiser = BlockDenoiser(network, DenoiserSettings(halo, precision, 1.0))
    worst = 0.0
    for index, block in enumerate(blocks := grid.split(image)):
        found = denoiser.residual(gather(grid, blocks, index, halo), np.empty(block.shape, np.float32))
        worst = max(worst, relative(found, expected[grid.window(index).slices]))
    return worst


@pytest.mark.parametrize("halo", [7, 8, 6, 0])
def test_a_halo_of_seven_is_exact_and_six_is_not(halo):
    network, image = small_network(depth=7, channels=16, bound=50.0), blobs(50, 41)
    image += 0.05 * np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    difference = largest_difference(network, image, BlockGrid((50, 41), (20, 14)), halo)
    assert (difference < 1e-5) == (halo >= 7)


@needs("authors_dncnn_sigma5.npz", "set12")
@pytest.mark.parametrize("halo", [7, 6])
def test_a_halo_of_seven_is_exact_for_trained_weights(halo):
    from PIL import Image

    network = load_denoiser(SHARED / "authors_dncnn_sigma5.npz")
    image = np.asarray(Image.open(SHARED / "set12" / "01.png").convert("L"), np.float32)[:120, :130] / 255
    difference = largest_difference(network, image, BlockGrid((120, 130), (50, 50)), halo)
    assert (difference < 1e-5) == (halo == 7)


def test_a_foreign_network_works_on_crops():
    image = blobs(30, 30)
    grid = BlockGrid((30, 30), (10, 15))
    assert largest_difference(LinearResidual(), image, grid, resolve_halo("exact", LinearResidual())) < 1e-6
    assert largest_difference(LinearResidual(), image, grid, 0) > 1e-2


def test_bfloat16_is_close_and_float32_closer():
    network = load_denoiser("dncnn", sigma=5)
    image = blobs(60, 60) * 0.8 + 0.02 * np.random.default_rng(0).standard_normal((60, 60)).astype(np.float32)
    grid = BlockGrid((60, 60), (30, 30))
    # Measured 0.011 on a natural image; with the first layer in bfloat16 as well it is 0.056.
    assert 1e-4 < largest_difference(network, image, grid, 7, "bfloat16") < 0.03
    assert largest_difference(network, image, grid, 7, "float32") < 1e-5


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_intensity_scale_makes_the_residual_homogeneous(scale):
    network, image = small_network(), blobs(20, 20)

    def residual(crop, c):
        return BlockDenoiser(network, DenoiserSettings(3, "float32", c)).residual(crop, np.empty((14, 14), np.float32))

    scaled = residual(np.float32(0.01) * image, scale)
    assert (relative(scaled, 0.01 * residual(image, 1.0)) < 1e-5) == (scale == 0.01)


def test_halo_settings():
    assert resolve_halo("exact", small_network(depth=7)) == 7
    assert resolve_halo(3, torch.nn.Identity()) == 3
    assert resolve_halo("full", small_network()) == 0
    for bad in (-1, 2.5, "whole", True):
        with pytest.raises(ValueError, match=r"isn't a halo\. Pass 'exact', 'full' or a number"):
            resolve_halo(bad, small_network())
    with pytest.raises(ValueError, match="receptive_radius=-1 isn't a number of pixels"):
        resolve_halo("exact", WithRadius(-1))


class WithRadius(LinearResidual):
    """Says that it looks so far, whether it does or not."""

    def __init__(self, radius):
        super().__init__()
        self.receptive_radius = radius


def test_a_networks_own_radius_is_trusted():
    assert resolve_halo("exact", WithRadius(5)) == 5
    assert resolve_halo("exact", load_denoiser(WithRadius(5))) == 5
    assert resolve_halo("exact", load_denoiser(lambda x: LinearResidual()(x))) == 1


def test_loading(tmp_path):
    module = LinearResidual()
    assert load_denoiser(module.eval()) is module
    training = LinearResidual()
    assert load_denoiser(training) is not training and training.training and not load_denoiser(training).training
    with pytest.raises(FileNotFoundError, match="neither a shipped denoiser"):
        load_denoiser("bm3d")
    with pytest.raises(ValueError, match="'dncnn' has no weights for sigma=7, but for 5"):
        load_denoiser("dncnn", sigma=7)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"No array is named '….kernel'"):
        load_denoiser(tmp_path / "other.npz")
    with pytest.raises(TypeError, match="denoiser is the class LinearResidual, not one of its objects"):
        load_denoiser(LinearResidual)
    with pytest.raises(TypeError, match=r"denoiser is a float\. Pass a torch module or a callable"):
        load_denoiser(5.0)
    for shipped in ("dncnn", tmp_path / "other.npz"):
        with pytest.raises(ValueError, match=r"predicts='image' can't be for .*: shipped weights and weights from"):
            load_denoiser(shipped, predicts="image")


@pytest.mark.parametrize("network", [small_network(depth=4), LinearResidual()])
@pytest.mark.parametrize("wrong", [None, "elsewhere", "mirrored"])
def test_of_a_whole_image_a_part_is_what_the_network_gives_there(network, wrong):
    """Also for a DnCNN: with its own padding, not with the mirrored image."""
    image = blobs(30, 26) + np.float32(0.1)
    denoiser = BlockDenoiser(network, DenoiserSettings(0, "float32", 0.5, whole=True))
    rows, cols = slice(0, 12), slice(9, 26)
    found = denoiser.residual(image, np.empty((12, 17), np.float32), (rows, cols))
    expected = 0.5 * network(torch.from_numpy(image / np.float32(0.5))[None, None])[0, 0].numpy()
    if wrong == "mirrored":
        expected = 0.5 * whole_residual(network, image / np.float32(0.5), 4)
    if wrong == "elsewhere":
        expected = np.roll(expected, 1, 0)
    assert (relative(found, expected[rows, cols]) < 1e-6) == (wrong is None)


class Descending(torch.nn.Module):
    """R(x) = ∇‖Kx‖²/2 by a gradient of its own, K a 3×3 average."""

    receptive_radius = 2

    def forward(self, image):
        with torch.enable_grad():
            image = image.requires_grad_()
            smooth = image - LinearResidual()(image)
            return torch.autograd.grad(smooth.square().sum() / 2, image)[0] + 0 * image


def test_a_denoiser_may_take_a_gradient():
    crop = blobs(12, 12)
    found = BlockDenoiser(Descending(), DenoiserSettings(2, "float32", 1.0)).residual(
        crop, np.empty((8, 8), np.float32)
    )
    smooth = torch.from_numpy(crop)[None, None]
    for _ in range(2):
        smooth = smooth - LinearResidual()(smooth)
    assert relative(found, smooth[0, 0, 2:-2, 2:-2].numpy()) < 1e-6
    assert relative(found, crop[2:-2, 2:-2]) > 0.1


CPU = torch.device("cpu")


def crops_of(count=3, rows=40, cols=34, seed=0):
    """Noisy crops (count, 1, rows, cols) in [0, 1]."""
    noise = 0.02 * np.random.default_rng(seed).standard_normal((count, 1, rows, cols))
    images = np.stack([blobs(rows, cols, seed + index)[None] for index in range(count)])
    return torch.from_numpy((0.8 * images + noise).astype(np.float32))


def on_device(network, halo=7, precision="float32", scale=1.0, device=CPU, **options):
    return DeviceDenoiser(network, DenoiserSettings(halo, precision, scale), device, deterministic=True, **options)


@pytest.mark.parametrize("halo", [7, 9, 3])
@pytest.mark.parametrize(("precision", "rounding"), [("float32", 1e-6), ("bfloat16", 3e-3)])
def test_a_device_finds_what_a_block_denoiser_does(halo, precision, rounding):
    network, crops = load_denoiser("dncnn"), crops_of()
    block = BlockDenoiser(network, DenoiserSettings(halo, precision, 1.0))
    shape = (crops.shape[2] - 2 * halo, crops.shape[3] - 2 * halo)
    expected = np.stack([block.residual(crop[0].numpy(), np.empty(shape, np.float32)) for crop in crops])
    found = on_device(network, halo, precision).residual(crops)
    assert found.shape == (3, *shape) and found.dtype == torch.float32 and found.is_contiguous()
    assert relative(found.numpy(), expected) < rounding
    if halo >= 7:  # a halo that is too small runs the whole network, in float32 whatever is asked for
        other = on_device(network, halo, "float32" if precision == "bfloat16" else "bfloat16").residual(crops)
        assert relative(other.numpy(), expected) > rounding


@pytest.mark.parametrize("network", [small_network(depth=7), LinearResidual()])
@pytest.mark.parametrize("disturbed", [False, True])
def test_crops_of_a_batch_do_not_see_each_other(network, disturbed):
    halo, crops = resolve_halo("exact", network), crops_of()
    denoiser = on_device(network, halo)
    alone = denoiser.residual(crops[1:2])
    if disturbed:
        crops[1] += 0.1 * crops[2]
    else:
        crops[[0, 2]] = 100.0
    assert (relative(denoiser.residual(crops)[1:2].numpy(), alone.numpy()) < 1e-5) == (not disturbed)


@pytest.mark.parametrize("reach", [7, 8])
def test_a_pixel_sees_its_halo_and_no_further(reach):
    crops = crops_of(1)
    denoiser, halo = on_device(small_network(depth=7, channels=16, bound=50.0)), 7
    before = denoiser.residual(crops)
    # The pixel (r, c) of the residual is the pixel (r + halo, c + halo) of the crop.
    row, col = 10, 9
    crops[..., row + halo + reach, col + halo] += 1.0
    after = denoiser.residual(crops)
    assert torch.equal(after[0, row, col], before[0, row, col]) == (reach > 7)


def test_a_ragged_block_finds_what_the_whole_does():
    network, crops = small_network(depth=7, channels=16, bound=50.0), crops_of(1)
    whole = on_device(network).residual(crops).numpy()
    part = on_device(network).residual(crops[..., 5:27, 11:]).numpy()  # 8 × 9 pixels, and strides of the whole
    assert relative(part, whole[:, 5:13, 11:]) < 1e-6
    assert relative(part, whole[:, 6:14, 11:]) > 0.1


def test_the_intensity_scale_is_the_callers():
    crops = crops_of(1)
    assert torch.equal(*(on_device(small_network(), 3, scale=scale).residual(crops) for scale in (1.0, 0.01)))


class Asking(LinearResidual):
    """Asks the device for a number, which a graph can't."""

    def forward(self, image):
        return super().forward(image) * float(image.sum())


def test_nothing_is_asked_of_the_device():
    """On torch's meta device, which holds no numbers."""
    meta = torch.device("meta")
    crops = crops_of().to(meta)
    for precision in ("float32", "tf32", "float16", "bfloat16"):
        denoiser = on_device(load_denoiser("dncnn"), precision=precision, device=meta)
        assert denoiser.capturable and denoiser.precision == precision
        assert denoiser.residual(crops).shape == (3, 26, 20)
    assert on_device(LinearResidual(), 1, device=meta).residual(crops).shape == (3, 38, 32)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        on_device(Asking(), 1, device=meta).residual(crops)


class Placing(torch.nn.Module):
    """Makes a tensor without saying where."""

    def forward(self, image):
        assert torch.zeros(1).device == image.device
        return image


def test_a_foreign_network_makes_its_tensors_on_the_device():
    crops = crops_of().to("meta")
    assert on_device(Placing(), 0, device=torch.device("meta")).residual(crops).shape == (3, 40, 34)
    with pytest.raises(AssertionError):
        Placing()(crops)


def test_a_foreign_network_is_copied_and_stays_float32():
    module = torch.nn.Conv2d(1, 1, 3, padding=1)
    denoiser = on_device(module, 1, "float16", device=torch.device("meta"))
    assert denoiser.residual(crops_of().to("meta")).dtype == torch.float32
    assert denoiser.precision == "float32" and not denoiser.capturable
    assert module.weight.device == CPU and module.training
    assert on_device(module, 1, "tf32").precision == "tf32"
    with pytest.raises(ValueError, match=r"The denoiser returned \(3, 1, 38, 32\) for an image \(3, 1, 40, 34\)"):
        on_device(torch.nn.Conv2d(1, 1, 3), 1).residual(crops_of())


class Noting:
    """Kernels that note which of them were launched."""

    def __init__(self):
        self.launched = []

    def launch(self, name, items, *arguments):
        self.launched.append(name)
        kernels_on("cpu").launch(name, items, *arguments)


@pytest.mark.parametrize(
    ("network", "halo", "precision", "activations"),
    [
        (small_network(depth=7, channels=16), 7, "float16", 5),
        (small_network(depth=4), 6, "bfloat16", 2),
        (small_network(depth=4), 4, "float32", None),
        (small_network(depth=4), 4, "tf32", None),
        (small_network(depth=4, channels=12), 4, "float16", None),
        (small_network(depth=4), 3, "float16", None),
        (LinearResidual(), 1, "float16", None),
    ],
)
@pytest.mark.parametrize("deterministic", [False, True])
def test_kernels_are_used_where_they_fit(network, halo, precision, activations, deterministic):
    kernels = Noting()
    settings = DenoiserSettings(halo, precision, 1.0)
    DeviceDenoiser(network, settings, CPU, deterministic, kernels=kernels).residual(crops_of())
    names = [] if activations is None else [f"first_layer_{precision}"] + activations * [f"activate_{precision}"]
    assert kernels.launched == names


@pytest.mark.parametrize(("precision", "launches"), [("float16", 3), ("float32", 0)])
def test_a_stage_gives_its_denoiser_the_devices_kernels(precision, launches):
    network, kernels = small_network(depth=4), Noting()
    scan, image = small_scan(block=24)
    setup = WorkerSetup(scan, network, DenoiserSettings(4, precision, 1.0), 0.1, None, None, 1, None)
    device = SimulatedDevice(Machine(POLICIES["any"](0)), 0, kernels)
    (stage,) = make_stages([device], setup, image, deterministic=True)
    kernels.launched.clear()
    stage.denoiser.residual(crops_of())
    assert len(kernels.launched) == launches


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("halo", [7, 9])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("pad_last", [False, True])
def test_a_device_with_kernels_finds_what_a_block_denoiser_does(place, precision, halo, count, pad_last):
    network, crops = load_denoiser("dncnn"), crops_of(count, 41, 37)
    settings = DenoiserSettings(halo, precision, 1.0)
    options = {"kernels": kernels_on(place), "pad_last": pad_last}
    denoiser = DeviceDenoiser(network, settings, torch.device(place), deterministic=True, **options)
    found = denoiser.residual(crops.to(place)).cpu().numpy()
    # Measured 0.6 of the rounding on the CPU.
    within = (1 if place == "cpu" else 2) * torch.finfo(DTYPES[precision]).eps
    for shift in (0, 1):
        block = BlockDenoiser(network, settings)
        expected = [block.residual(crop[0].numpy(), np.empty(found.shape[1:], np.float32)) for crop in crops]
        assert (relative(found, np.roll(expected, shift, -1)) < within) == (shift == 0)
    assert torch.equal(denoiser.residual(crops.to(place)).cpu(), torch.from_numpy(found))


@pytest.mark.parametrize("network", [small_network(), LinearResidual()])
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("own", [False, True])
def test_a_residual_is_written_into_a_buffer(network, precision, own):
    halo, crops = resolve_halo("exact", network), crops_of()
    kernels = kernels_on("cpu") if own else None
    denoiser = on_device(network, halo, precision, kernels=kernels)
    before, expected = crops.clone(), denoiser.residual(crops)
    memory = torch.full((5, *expected.shape[1:]), torch.nan)
    found = denoiser.residual_into(crops, memory[1:4])
    assert found.data_ptr() == memory[1].data_ptr() and torch.equal(memory[1:4], expected)
    assert memory[[0, 4]].isnan().all() and torch.equal(crops, before)


def test_memory_grows_with_the_crops():
    network = load_denoiser("dncnn")
    once = activation_bytes(network, 1, 214, 214, "float16")
    assert 2 * 214 * 214 * 64 * 2 < once < 6 * 214 * 214 * 64 * 2
    assert activation_bytes(network, 4, 214, 214, "float16") == 4 * once
    assert activation_bytes(network, 1, 214, 214, "tf32") > once
    assert activation_bytes(LinearResidual(), 1, 214, 214, "float32") > once
