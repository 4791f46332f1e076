"""The receptive radius by trial: of layers whose radius is known, with and without a gradient; and who has none."""

import time

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.restoration import denoise_nl_means
from torch import nn

from asyncred_gpu import load_denoiser
from asyncred_gpu.models import DnCNN
from asyncred_gpu.probe import agree, random_image
from asyncred_gpu.receptive import CROPS, SIDES, measured_radius

from .helpers import SHARED, LinearResidual, needs, small_network
from .test_foreign import of_arrays

CPU = torch.device("cpu")


class Bare(nn.Module):
    """A function as a module that says nothing of itself."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, image):
        return self.function(image)


def convolution(kernel, dilation=1, **options):
    torch.manual_seed(1)
    return nn.Conv2d(1, 1, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation, **options)


def residual_of(denoise):
    return lambda image: image - denoise(image)


def median(size):
    return residual_of(of_arrays(ndimage.median_filter, size=size))


def rounded(image):
    """Nothing but steps: its gradient is zero wherever there is one."""
    return torch.nn.functional.avg_pool2d((20 * image).round() / 20, 7, 1, 3)


def shifted(image):
    """Only the pixel 5 columns to the left and 2 rows up."""
    return image.roll((2, 5), (-2, -1))


def hidden(image):
    """Looks 9 pixels far only where the image is bright, as behind a ReLU."""
    far = torch.nn.functional.avg_pool2d(image, 19, 1, 9)
    return image + far * torch.relu(image - 0.9)


class Descending(nn.Module):
    """The gradient of ‖Kx‖²/2, detached, plus Kx: torch's gradient sees the radius 2 of only one of two parts."""

    def __init__(self):
        super().__init__()
        self.layer = convolution(5)

    def forward(self, image):
        with torch.enable_grad():
            leaf = image.detach().clone().requires_grad_()
            inner = torch.autograd.grad(self.layer(leaf).square().sum() / 2, leaf)[0]
        return self.layer(image) + inner.detach()


LOCAL = {
    "pointwise": (Bare(lambda image: image.square()), 0),
    "average": (Bare(LinearResidual()), 1),
    "convolution": (convolution(11), 5),
    "dilated": (nn.Sequential(convolution(3, 8), nn.ReLU(), convolution(3, 4), nn.ELU(), convolution(3)), 13),
    "wide": (nn.Sequential(convolution(3, 20), convolution(3, 15)), 35),
    "mirroring": (convolution(7, padding_mode="reflect"), 3),
    "DnCNN": (Bare(small_network(depth=9, bound=50.0)), 9),
    "shipped": (Bare(load_denoiser("dncnn")), 7),
    "shifted": (Bare(shifted), 5),
    "hidden": (Bare(hidden), 9),
    "batch norm": (nn.Sequential(convolution(3), nn.BatchNorm2d(1)), 1),
    "median of torch": (Bare(lambda x: nn.functional.unfold(x, 7, padding=3).median(1)[0].reshape(x.shape)), 3),
    "median": (Bare(median(9)), 4),
    "non-local means": (Bare(residual_of(of_arrays(denoise_nl_means, patch_size=5, patch_distance=6, h=0.1))), 8),
    "rounded": (Bare(rounded), 3),
    "detached": (Bare(lambda image: image - ndimage_average(image.detach())), 2),
    "its own gradient": (Descending(), 4),
    "weak": (Bare(lambda image: 1e-6 * LinearResidual()(image)), 1),
    "in place": (Bare(lambda image: image.mul_(2)), 0),
}


def ndimage_average(image):
    return of_arrays(ndimage.uniform_filter, size=5)(image)


@pytest.mark.parametrize("name", LOCAL)
def test_a_known_radius_is_found(name):
    network, radius = LOCAL[name]
    assert measured_radius(network, name) == radius


@needs("authors_dncnn_sigma5.npz")
def test_the_authors_radius_is_found():
    assert measured_radius(Bare(load_denoiser(SHARED / "authors_dncnn_sigma5.npz")), "authors") == 7


def test_twenty_layers_take_seconds():
    torch.manual_seed(0)
    network = DnCNN(20, 64)
    begun = time.process_time()
    assert measured_radius(network, "deep") == 20
    assert time.process_time() - begun < 40  # measured 2 to 3 s on two cores


def transformed(image):
    """A Gaussian by Fourier transforms: what is further away than 12 σ is less than rounding, and yet there."""
    rows = torch.fft.fftfreq(image.shape[-2])[:, None]
    cols = torch.fft.fftfreq(image.shape[-1])
    low = torch.exp(-2 * np.pi**2 * 4 * (rows**2 + cols**2))
    return image - torch.fft.ifft2(torch.fft.fft2(image) * low).real


def test_what_is_below_rounding_does_not_count():
    assert 6 < measured_radius(Bare(transformed), "transformed") < 14


@pytest.mark.parametrize("name", ["shipped", "median", "its own gradient"])
@pytest.mark.parametrize("short", [0, 1])
def test_a_radius_is_one_only_if_nothing_less_will_do(name, short):
    """By the definition: the crop with the halo gives the whole image's residual, one pixel less doesn't."""
    network, radius = LOCAL[name]
    image, halo = random_image(96, 96, 7, CPU), radius - short
    with torch.no_grad():
        whole = network(image.clone())[..., 40:59, 37:50]
        crop = network(image[..., 40 - halo : 59 + halo, 37 - halo : 50 + halo].clone())
    assert agree(crop[..., halo : halo + 19, halo : halo + 13], whole, image) == (short == 0)


# --- those that have none --------------------------------------------------------------------------------------------


class UNet(nn.Module):
    """One stride: local, and its output depends on where the image begins."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.down, self.up = nn.Conv2d(1, 4, 2, stride=2), nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, image):
        rows, cols = image.shape[-2:]
        image = nn.functional.pad(image, (0, cols % 2, 0, rows % 2))
        return self.up(torch.relu(self.down(image)))[..., :rows, :cols]


def even(image):
    if image.shape[-1] % 2:
        raise RuntimeError("odd")
    return LinearResidual()(image)


def placed(image):
    """Brighter to the right, as a network that is told the coordinates."""
    return image * torch.linspace(0, 1, image.shape[-1])


def attention(image):
    """Every pixel looks at those on the diagonal that are like it."""
    flat, diagonal = image.flatten(1)[:, :, None], image.diagonal(0, -2, -1)
    weights = torch.softmax(-((flat - diagonal) ** 2) / 0.01, -1)
    return image - (weights * diagonal).sum(-1).reshape(image.shape)


FAR = "isn't local"
WHERE = "its residual depends on where a crop begins"
NOT_LOCAL = {
    "mean": (lambda image: image - image.mean(), FAR),
    "mean of numpy": (lambda image: image - float(image.numpy().mean()), FAR),
    "normalised": (lambda image: (image - image.mean()) / image.std(), FAR),
    "brightest": (lambda image: image / image.max(), FAR),
    "attention": (attention, FAR),
    "transform": (lambda image: torch.fft.ifft2(torch.fft.fft2(image).abs()).real, FAR),
    "cumulative": (lambda image: image.cumsum(-1) / 64, FAR),
    "strided": (UNet(), WHERE),
    "pooled": (
        lambda image: (
            image
            - nn.functional.interpolate(nn.functional.avg_pool2d(image, 4, ceil_mode=True), scale_factor=4)[
                ..., : image.shape[-2], : image.shape[-1]
            ]
        ),
        WHERE,
    ),
    "coordinates": (placed, WHERE),
    "even sides only": (
        even,
        "failed on crops of odd sizes, as a halo makes them: RuntimeError",
    ),
    "three channels": (
        nn.Conv2d(3, 3, 3),
        "failed on an image of one channel: RuntimeError: .* Pass a denoiser of such images",
    ),
    "random": (lambda image: image * torch.rand(1), "it returned two residuals for one image"),
    "not a number": (lambda image: image / 0 * 0, "it returned infinite values or NaN"),
}


@pytest.mark.parametrize("name", NOT_LOCAL)
def test_what_has_no_radius_is_refused_and_told_why_and_what_to_do(name):
    function, why = NOT_LOCAL[name]
    network = function if isinstance(function, nn.Module) else Bare(function)
    with pytest.raises(ValueError, match=rf"(?s)^pad='exact' needs the receptive radius of {name}.*({why})") as raised:
        measured_radius(network, name)
    told = ("pad as a number of pixels", "Pass a denoiser of such images", "Pass one that is finite")
    assert sum(what_to_do in str(raised.value) for what_to_do in told) == 1


class Hole(nn.Module):
    """A pixel 40 away and none in between: on the smallest images it can't be seen."""

    def forward(self, image):
        return image - nn.functional.pad(image, (40, 0, 0, 0))[..., :-40]


def test_a_hole_is_no_end():
    assert (SIDES[0] - 8) // 2 < 40
    with pytest.raises(ValueError, match="no halo gives"):
        measured_radius(Hole(), "hole")


def test_crops_begin_at_odd_and_even_places():
    begins = [
        ((SIDES[1] - rows) // 2 + down, (SIDES[1] - cols) // 2 + across) for (rows, cols), (down, across) in CROPS
    ]
    for axis in (0, 1):
        assert {begin[axis] % 2 for begin in begins} == {0, 1}
        assert len({begin[axis] % 4 for begin in begins}) >= 3


# --- what is left behind ---------------------------------------------------------------------------------------------


class Remembering(nn.Module):
    calls = 0

    def forward(self, image):
        self.calls += 1
        return image * torch.ones(1).uniform_(1, 1)  # draws


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_left_behind(enabled):
    network = Remembering().train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.set_grad_enabled(enabled):
        assert measured_radius(network, "remembering") == 0
        assert torch.is_grad_enabled() == enabled
    assert network.calls == 0 and network.training and torch.equal(torch.get_rng_state(), before)
    with torch.inference_mode():
        assert measured_radius(LOCAL["dilated"][0], "dilated") == 13
        assert torch.is_inference_mode_enabled()


def test_the_weights_get_no_gradient():
    network = convolution(3)
    assert measured_radius(network, "convolution") == 1
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())
