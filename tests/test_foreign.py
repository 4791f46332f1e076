"""Denoisers that aren't ours: wrapped, taken for what they are, and run on crops, on whole images, in processes."""

import functools

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from asyncred_gpu import GpuAsyncRED, Status, WorkerError, load_denoiser
from asyncred_gpu.baselines import gm_red
from asyncred_gpu.denoiser import BlockDenoiser, DenoiserSettings, DeviceDenoiser, network_fingerprint
from asyncred_gpu.foreign import ForeignDenoiser, check_predicts, probe_image
from asyncred_gpu.method import BLOCK_METHOD
from asyncred_gpu.receptive import measured_radius
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime

from .helpers import SHARED, LinearResidual, needs, relative, small_network, small_scan


def of_arrays(function, **options):
    """A denoiser made of a function of numpy images, (rows, cols)."""

    def denoise(images):
        return torch.from_numpy(np.stack([function(image.numpy(), **options) for image in images[:, 0]])[:, None])

    return denoise


def average(images):
    """The image of LinearResidual."""
    return torch.nn.functional.avg_pool2d(images, 3, 1, 1)


GENUINE = {
    "average": average,
    "Gauss, weak": of_arrays(ndimage.gaussian_filter, sigma=0.3),
    "Gauss, strong": of_arrays(ndimage.gaussian_filter, sigma=8.0),
    "median": of_arrays(ndimage.median_filter, size=5),
    "total variation, weak": of_arrays(denoise_tv_chambolle, weight=0.02),
    "total variation, strong": of_arrays(denoise_tv_chambolle, weight=1.0),
    "non-local means": of_arrays(denoise_nl_means, patch_size=5, patch_distance=6, h=0.05),
    "mean": lambda images: images.mean((-2, -1), keepdim=True).expand_as(images),
    "identity": lambda images: images,
    "shipped": lambda images: images - load_denoiser("dncnn")(images),
    "authors": lambda images: images - load_denoiser(SHARED / "authors_dncnn_sigma5.npz")(images),
}
MARKED = [pytest.param(name, marks=needs("authors_dncnn_sigma5.npz") if name == "authors" else ()) for name in GENUINE]


@pytest.mark.parametrize("says", ["residual", "image"])
@pytest.mark.parametrize("returns", ["residual", "image"])
@pytest.mark.parametrize("name", MARKED)
def test_a_denoiser_is_refused_if_it_clearly_returns_the_other(name, returns, says):
    image = GENUINE[name]

    def residual(images):
        return images - image(images)

    denoiser = image if returns == "image" else residual
    if returns == says:
        check_predicts(denoiser, says)
        return
    message = r"nearly that image .* pass predicts='image'" if returns == "image" else r"pass predicts='residual'"
    with pytest.raises(ValueError, match=message):
        load_denoiser(denoiser, predicts=says)


@pytest.mark.parametrize("factor", [0.5, -1.0, 4.0])
@pytest.mark.parametrize("predicts", ["residual", "image"])
def test_what_could_be_either_is_not_judged(factor, predicts):
    """A network without training, one for another scale: nobody knows."""
    check_predicts(lambda images: factor * images, predicts)
    check_predicts(small_network(bound=50.0), "residual")


@pytest.mark.parametrize("bad", ["images", "noise", None])
def test_predicts_is_one_of_two(bad):
    with pytest.raises(ValueError, match=rf"predicts={bad!r} isn't known. Pass one of 'residual', 'image'"):
        load_denoiser(average, predicts=bad)


class Counting(torch.nn.Module):
    """Counts its calls, and draws a random number at each."""

    calls = 0

    def forward(self, image):
        self.calls += 1
        return image - average(image) + 0 * torch.rand(1)


def test_trying_a_denoiser_leaves_it_and_the_random_numbers_alone():
    module = Counting().eval()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network = load_denoiser(module)
    assert module.calls == 0 and torch.equal(torch.get_rng_state(), before) and torch.is_grad_enabled()
    network(probe_image())
    assert module.calls == 1 and not torch.equal(torch.get_rng_state(), before)


def fails_at_sight(images):
    raise ZeroDivisionError("no cat sat on anything")


@pytest.mark.parametrize("odd", [fails_at_sight, lambda images: images[..., 1:], lambda images: images / 0])
def test_what_fails_or_returns_another_shape_is_not_judged(odd):
    check_predicts(odd, "image")


# --- the wrapper -----------------------------------------------------------------------------------------------------


def noisy(count=2, rows=20, cols=17):
    noise = torch.rand((count, 1, rows, cols), generator=torch.Generator().manual_seed(5))
    return 0.3 + 0.5 * noise


def test_predicts_says_what_is_subtracted():
    images = noisy()
    expected = images - average(images)
    assert torch.equal(load_denoiser(average, predicts="image")(images), expected)
    assert torch.equal(load_denoiser(lambda x: x - average(x))(images), expected)
    assert load_denoiser(average, predicts="image").predicts == "image"


def test_loading_twice_changes_nothing():
    network = load_denoiser(average, predicts="image")
    assert load_denoiser(network) is network and load_denoiser(network, predicts="image") is network


def test_a_denoiser_may_work_in_place():
    images = noisy()
    before = images.clone()
    halved = ForeignDenoiser(lambda x: x.mul_(0.5), "image", "halving")
    assert torch.equal(halved(images), 0.5 * before) and torch.equal(images, before)


def test_what_numpy_made_of_an_image_is_float32_again():
    network = load_denoiser(of_arrays(lambda image: image.astype(np.float64) * 0.9), predicts="image")
    found = network(noisy())
    assert found.dtype == torch.float32 and relative(found.numpy(), 0.1 * noisy().numpy()) < 1e-6


def test_an_array_is_no_tensor():
    network = load_denoiser(lambda images: images.numpy(), predicts="image")
    with pytest.raises(TypeError, match=r"<lambda> returned a ndarray\. .* torch.from_numpy"):
        network(noisy())


def test_a_shape_that_would_broadcast_is_refused():
    network = load_denoiser(lambda images: images[0, 0], predicts="image")
    with pytest.raises(ValueError, match=r"returned \(20, 17\) for an image \(2, 1, 20, 17\)"):
        network(noisy())


class Imaging(LinearResidual):
    """D(x) instead of R(x)."""

    def forward(self, image):
        return image - super().forward(image)


def test_a_module_keeps_its_mode_and_its_radius():
    training, evaluating = Imaging().train(), Imaging().eval()
    network = load_denoiser(training, predicts="image")
    assert training.training and not network.training and not network.denoiser.training
    assert load_denoiser(evaluating, predicts="image").denoiser is evaluating
    assert network.receptive_radius == 1
    assert not hasattr(load_denoiser(average, predicts="image"), "receptive_radius")


def test_fingerprints_tell_denoisers_apart():
    """A schedule is replayed with the same one only."""
    module = torch.nn.Conv2d(1, 1, 3, padding=1)
    networks = [load_denoiser(module), load_denoiser(module, predicts="image"), load_denoiser(fails_at_sight)]
    networks.append(load_denoiser(torch.nn.Conv2d(1, 1, 3, padding=1)))
    assert len({network_fingerprint(network) for network in networks}) == len(networks)
    assert network_fingerprint(load_denoiser(module)) == network_fingerprint(networks[0])


@pytest.mark.parametrize("predicts", ["residual", "image"])
def test_it_runs_on_crops_as_the_residual_does(predicts):
    """Of a callable that tells nothing of itself but what it predicts; on the CPU and as on a device."""
    denoiser = Imaging() if predicts == "image" else LinearResidual()
    network = load_denoiser(lambda images: denoiser(images), predicts=predicts)
    crops, settings = noisy(3), DenoiserSettings(1, "float32", 1.0)
    expected = LinearResidual()(crops)[:, 0, 1:-1, 1:-1].numpy()
    device = DeviceDenoiser(network, settings, torch.device("cpu"), deterministic=True)
    assert relative(device.residual(crops).numpy(), expected) < 1e-6
    block = BlockDenoiser(network, settings)
    assert relative(block.residual(crops[1, 0].numpy(), np.empty((18, 15), np.float32)), expected[1]) < 1e-6
    assert relative(expected[1], expected[0]) > 0.1
    assert not device.capturable


# --- reconstructions -------------------------------------------------------------------------------------------------

SETTINGS = {"tau": 0.1, "block_shape": (24, 24), "num_workers": 2, "order": "ordered", "precision": "float32"}


@pytest.fixture(scope="module")
def scan():
    return small_scan(size=48, angles=24, noise=0.5)


def test_a_function_of_the_users_own_travels_to_the_processes(scan):
    """A closure over an array, by numpy and scipy: what it refers to goes with it."""
    kernel = np.full((3, 3), 1 / 9, np.float32)
    filtered = of_arrays(lambda image: ndimage.convolve(image, kernel, mode="constant"))
    expected = GpuAsyncRED(scan[0], LinearResidual(), **SETTINGS).run(3).image
    found = GpuAsyncRED(scan[0], load_denoiser(filtered, predicts="image"), **SETTINGS).run(3)
    assert relative(found.image, expected) < 1e-6
    other = of_arrays(lambda image: ndimage.convolve(image, kernel / 2, mode="constant"))
    assert (
        relative(GpuAsyncRED(scan[0], load_denoiser(other, predicts="image"), **SETTINGS).run(3).image, expected) > 0.01
    )


class LookingFar(torch.nn.Module):
    """D(x) pulls every pixel halfway towards the mean of all the image it is given."""

    def forward(self, image):
        return 0.5 * image + 0.5 * image.mean((-2, -1), keepdim=True)


def serial_loop(scan, residual, tau, steps, blocks, c, x):
    """Async-RED at λ = 0 with one worker, as anybody would write it: full projections, the whole image as it is."""
    for block in blocks:
        gradient = scan.scale * scan.adjoint(scan.forward(x) - scan.sinogram)
        denoised = c * residual(torch.from_numpy(x / np.float32(c))[None, None])[0, 0].numpy()
        here = scan.grid.window(block).slices
        x[here] -= np.float32(steps[block]) * (gradient + np.float32(tau) * denoised)[here]
    return x


NETWORKS = {"far": load_denoiser(LookingFar(), predicts="image"), "padded with zeros": small_network()}


@pytest.mark.parametrize("pad", ["full", 5])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("block_shape", [(48, 48), (24, 24), (20, 17)])
def test_on_whole_images_one_worker_equals_a_plain_serial_loop(scan, name, block_shape, pad, one_process):
    """With a halo it doesn't: a crop's mean isn't the image's, and the image's border is mirrored, not zero."""
    settings = {**SETTINGS, **BLOCK_METHOD, "momentum": 0.0, "num_workers": 1, "block_shape": block_shape}
    solver = GpuAsyncRED(scan[0], NETWORKS[name], **settings, pad=pad)
    result, operator = solver.run(max_sweeps=4), solver.operator
    steps = [1 / (operator.block_lipschitz(i) + 0.2) for i in range(len(operator.grid))]
    c = np.percentile(operator.fbp(), 99.9)
    expected = serial_loop(operator, NETWORKS[name], 0.1, steps, result.schedule.block, c, operator.fbp())
    assert (relative(result.image, expected) < 2e-6) == (pad == "full")
    assert result.settings["halo"] == pad


def test_on_whole_images_the_end_does_not_depend_on_the_blocks(scan, one_process):
    """Nor on who computes it: GM-RED denoises the whole image, too. With a halo every block shape has its own end."""

    def end(block_shape, pad):
        settings = SETTINGS | {
            "block_shape": block_shape,
            "intensity_scale": 1.0,
            "max_staleness": None,
            "order": "free",
        }
        result = GpuAsyncRED(scan[0], NETWORKS["far"], **settings, pad=pad).run(400, tol=1e-11)
        assert result.status is Status.CONVERGED
        return result.image

    ends = {pad: [end(shape, pad) for shape in ((24, 24), (16, 12))] for pad in ("full", 3)}
    assert relative(*ends["full"]) < 1e-4 < 1e-2 < relative(*ends[3])
    full = gm_red(scan[0], NETWORKS["far"], 0.1, pad="full", intensity_scale=1.0, tol=1e-11, max_sweeps=4000)
    assert full.status is Status.CONVERGED and relative(full.image, ends["full"][0]) < 1e-4
    assert relative(full.image, ends[3][0]) > 1e-2


def test_processes_denoise_whole_images(scan):
    """Of what each of them read: the same as in one process."""
    settings = SETTINGS | {"block_shape": (20, 17)}
    in_processes = GpuAsyncRED(scan[0], NETWORKS["far"], **settings, pad="full").run(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncred_gpu.solver.CpuRuntime", simulated)
        alone = GpuAsyncRED(scan[0], NETWORKS["far"], **settings, pad="full").run(3)
    assert np.array_equal(in_processes.image, alone.image)
    cropped = GpuAsyncRED(scan[0], NETWORKS["far"], **settings, pad=3).run(3)
    assert relative(cropped.image, in_processes.image) > 1e-2


def simulated(setup, workers, image):
    return SimulatedRuntime(setup, workers, image, RandomOrder(0))


def test_a_radius_is_measured_only_where_it_is_needed_and_once(scan, monkeypatch):
    measured = []

    def noting(network, name):
        measured.append(name)
        return measured_radius(network, name)

    monkeypatch.setattr("asyncred_gpu.denoiser.measured_radius", noting)
    network = load_denoiser(average, predicts="image")
    for pad in ("full", 4):
        GpuAsyncRED(scan[0], network, **SETTINGS, pad=pad)
    assert not measured
    assert [GpuAsyncRED(scan[0], network, **SETTINGS).halo for _ in range(3)] == [1, 1, 1]
    assert measured == ["average"]


def test_a_denoiser_that_is_not_local_is_refused_unless_its_pad_says_how(scan):
    with pytest.raises(ValueError, match=r"receptive radius of LookingFar.*isn't local.*pad='full'.*number of pixels"):
        GpuAsyncRED(scan[0], NETWORKS["far"], **SETTINGS)
    assert GpuAsyncRED(scan[0], NETWORKS["far"], **SETTINGS, pad=6).halo == 6


def test_an_error_of_the_users_function_comes_with_its_traceback(scan):
    broken = functools.partial(fails_at_sight)
    with pytest.raises(WorkerError, match=r"(?s)ZeroDivisionError: no cat.*Traceback.*in fails_at_sight"):
        GpuAsyncRED(scan[0], load_denoiser(broken), **SETTINGS, pad=1).run(1)
