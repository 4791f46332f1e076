"""A padded crop of the image → its residual R_c(x) = c·R(x/c), R(x) = x − D(x) what the network outputs.

A network with receptive radius r gives, inside a crop with r pixels around it, exactly the whole image's residual.
One that isn't local is given the whole image instead, whose residual is cut (pad="full").
Denoisers are not scale-equivariant: c brings the image to the intensities the network was trained on.
"""

from __future__ import annotations

import copy
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from .arrays import checksum
from .blocks import FloatArray
from .deepinv_adapter import adapted, is_deepinv
from .family import SHIPPED, DenoiserFamily
from .foreign import ForeignDenoiser, as_residual, check_shape, evaluating, name_of
from .kernel_layers import KernelDnCNN, fits
from .kernels.launch import Kernels
from .layers import DTYPES, ValidDnCNN, cudnn_activated, cudnn_convolution, plain
from .models import DnCNN, dncnn_from_state, load_weights, state_from_tensorflow
from .receptive import LocalNetwork as LocalNetwork
from .receptive import measured_radius
from .tf32 import float32_rules
from .wording import reason_of
from .workspace import Workspace

# Guesses, not measured: cuDNN's workspace as a share of the features, and what a network we don't know keeps.
CUDNN_WORKSPACE = 0.5
FOREIGN_WIDTH = 64
FOREIGN_LAYERS_ALIVE = 4


Given = str | Path | nn.Module | Callable[[Tensor], Tensor]


@overload
def load_denoiser(denoiser: Given = "dncnn", sigma: float = 5, predicts: str = "residual") -> nn.Module: ...


@overload
def load_denoiser(denoiser: Given, sigma: str, predicts: str = "residual") -> DenoiserFamily: ...


@overload
def load_denoiser(denoiser: DenoiserFamily) -> DenoiserFamily: ...


def load_denoiser(
    denoiser: Given | DenoiserFamily = "dncnn", sigma: float | str = 5, predicts: str = "residual"
) -> nn.Module | DenoiserFamily:
    """A network that returns the residual R(x) = x − D(x) of an image (n, 1, rows, cols) in [0, 1].

    Args:
        denoiser: shipped weights: "dncnn" (trained on natural images), "dncnn-ct" (on generated slices, too),
            "dncnn-conditional" (one network for any level); a path (.safetensors of ours, .npz of TensorFlow kernels);
            a denoiser of deepinv for one channel; a torch module, or any callable, of a float32 tensor
            (n, 1, rows, cols), which returns one of that shape. A module in training mode is copied and put in
            evaluation mode. A callable travels to the workers with what it refers to; on a GPU it is given tensors
            there, and moves its own itself.
        sigma: noise level in grey levels of 255: which shipped weights, or what a denoiser of deepinv is told. "auto",
            for shipped ones: a `DenoiserFamily`, among which `GpuAsyncRED` chooses.
        predicts: what a module or callable returns: "residual", x − D(x), or "image", D(x). One of deepinv returns the
            image.
    Raises:
        ValueError, FileNotFoundError, TypeError: no such weights, a file that holds none, no denoiser at all, or one
            that clearly returns the other of residual and image.
    """
    if isinstance(denoiser, ForeignDenoiser | DenoiserFamily):
        return denoiser
    if isinstance(sigma, str) and not (sigma == "auto" and isinstance(denoiser, str) and denoiser in SHIPPED):
        raise ValueError(
            f"sigma={sigma!r} can't be for this denoiser: σ is chosen among shipped ones. Pass a number, or one of "
            f"{', '.join(SHIPPED)} with sigma='auto'."
        )
    if isinstance(denoiser, DnCNN) and predicts == "residual":  # whatever its weights, that is what it is for
        return evaluating(denoiser)
    if is_deepinv(denoiser):
        return adapted(denoiser, float(sigma))
    if isinstance(denoiser, nn.Module) or (callable(denoiser) and not isinstance(denoiser, type)):
        return as_residual(denoiser, predicts)
    if not isinstance(denoiser, str | Path):
        raise TypeError(
            f"denoiser is {_described(denoiser)}. Pass a torch module or a callable that returns the residual x − D(x) "
            f"(or the image, with predicts='image'), a shipped denoiser's name ({', '.join(SHIPPED)}), or a path."
        )
    if predicts != "residual":
        raise ValueError(
            f"predicts={predicts!r} can't be for {str(denoiser)!r}: shipped weights and weights from files are of "
            "networks that return the residual. Leave predicts out."
        )
    if isinstance(denoiser, str) and denoiser in SHIPPED:
        family = DenoiserFamily(denoiser)
        return family if sigma == "auto" else family.at(sigma)
    path = Path(denoiser)
    if not path.is_file():
        raise FileNotFoundError(
            f"denoiser={str(denoiser)!r} is neither a shipped denoiser ({', '.join(SHIPPED)}) nor a file. "
            "Pass one of these names, or the path of a .safetensors or .npz file; in Python also a torch module."
        )
    if path.suffix == ".npz":
        return dncnn_from_state(state_from_tensorflow(_kernels(path)))
    if path.suffix != ".safetensors":
        raise ValueError(
            f"denoiser={str(denoiser)!r} isn't a file of weights, which end in .safetensors or .npz. Pass one, or one "
            f"of {', '.join(SHIPPED)}."
        )
    network = load_weights(path)[0]
    return network if isinstance(network, DnCNN) else network.at(float(sigma) / 255)


def _kernels(path: Path) -> dict[str, Any]:
    """Of a TensorFlow network."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} can't be read as .npz ({reason_of(error)}). Copy it again.") from error


def load_network(denoiser: Any) -> nn.Module:
    """What `load_denoiser` makes of it, which must be one network.

    Raises:
        ValueError: it is a family, whose σ is still to be chosen.
    """
    loaded: nn.Module | DenoiserFamily = load_denoiser(denoiser)
    if isinstance(loaded, DenoiserFamily):
        raise ValueError(
            f"denoiser is the family {loaded.name!r}, and here it takes one network. Pass load_denoiser("
            f"{loaded.name!r}, sigma=5), or the one that asyncred_gpu.tuning.tune chooses."
        )
    return loaded


def _described(thing: object) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}, not one of its objects"
    return f"a {type(thing).__name__}"


def network_fingerprint(network: nn.Module) -> str:
    """A checksum of a network's class and weights; of a denoiser that isn't ours also its name and what it predicts."""
    kind = f"{network.name}-{network.predicts}" if isinstance(network, ForeignDenoiser) else type(network).__name__
    state = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    return f"{kind}-{checksum(*(value.detach().cpu().float().numpy() for value in state.values()))}"


def resolve_halo(pad: Any, network: nn.Module) -> int:
    """The halo in pixels: `pad` itself; for "exact" the network's receptive radius; for "full" 0, none is needed.

    A network that doesn't say how far it looks is measured (receptive.py), a ForeignDenoiser only once.

    Raises:
        ValueError: a negative pad, or "exact" for a network that isn't local.
    """
    if pad == "full":
        return 0
    if pad == "exact":
        if isinstance(network, LocalNetwork):
            return checked_radius(network.receptive_radius)
        if not isinstance(network, ForeignDenoiser):
            return measured_radius(network, name_of(network))
        network.receptive_radius = measured_radius(network, network.name)
        return network.receptive_radius
    if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
        raise ValueError(f"pad={pad!r} isn't a halo. Pass 'exact', 'full' or a number of pixels >= 0.")
    return pad


def checked_radius(radius: Any) -> int:
    """A network's receptive radius as a whole number >= 0."""
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0:
        raise ValueError(f"receptive_radius={radius!r} isn't a number of pixels. Set it to a whole number >= 0.")
    return radius


@dataclass(frozen=True)
class DenoiserSettings:
    """How a crop is denoised: its halo in pixels, the precision, and the intensity scale c.

    `whole`: the crop is the whole image, without a halo, for every block.
    """

    halo: int
    precision: str
    intensity_scale: float
    whole: bool = False


class BlockDenoiser:
    """Residuals of crops with a halo, on the CPU; holds its own copy of the network in the precision asked for."""

    def __init__(self, network: nn.Module, settings: DenoiserSettings) -> None:
        self.settings = settings
        self._valid = None
        if isinstance(network, DnCNN) and settings.halo >= network.receptive_radius:
            self._margin = settings.halo - network.receptive_radius
            self._valid = ValidDnCNN(network, settings.precision, torch.device("cpu"), plain)
        self._workspace = Workspace()
        # A foreign network stays float32: nobody knows which of its layers bear less.
        self._network = network.eval()

    def residual(
        self, crop: FloatArray, out: FloatArray, part: tuple[slice, slice] | None = None, strength: float = 1.0
    ) -> FloatArray:
        """R_{fc} of the crop's interior.

        Args:
            crop: (rows + 2·halo, cols + 2·halo) float32.
            out: (rows, cols) float32; overwritten.
            part: where `out` lies in the interior; None: it is all of it.
            strength: f, how many times stronger than the network it is.
        """
        scale = np.float32(self.settings.intensity_scale * strength)
        with torch.no_grad():  # not inference_mode: some denoisers take a gradient themselves
            scaled = np.divide(crop, scale, out=self._workspace.take("scaled", crop.shape))
            image = torch.from_numpy(scaled)[None, None]
            residual = self._interior(image)[0, 0]
            np.multiply((residual if part is None else residual[part]).float().numpy(), scale, out=out)
        return out

    def _interior(self, image: Tensor) -> Tensor:
        if self._valid is not None:
            return self._valid(_trimmed(image, self._margin))
        return _padded_residual(self._network, image, self.settings.halo)


class DeviceDenoiser:
    """Residuals of many crops at once on one device; all of its workers share it, and a call changes nothing in it.

    A DnCNN with its whole halo runs in the precision asked for and leaves torch's settings alone. Any other network
    (or a halo that is too small) runs as a copy on the device, in float32, or tf32 if that is asked for.

    Args:
        deterministic: the same bits for the same crops; else cuDNN may choose its fastest algorithm by trying.
        kernels: the device's, for a DnCNN in float16 or bfloat16 (kernel_layers.py); None: torch's operations alone.
        fused: convolution, bias and ReLU in one cuDNN kernel, in float16 and bfloat16, if not deterministic; instead
            of our kernels.
        pad_last: more outputs of the last layer than are read, where our kernels are used.
    Attributes:
        precision: what the network runs in.
        capturable: may be part of a CUDA graph, once it has run outside.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: DenoiserSettings,
        device: torch.device,
        deterministic: bool,
        *,
        kernels: Kernels | None = None,
        fused: bool = False,
        pad_last: bool = False,
    ) -> None:
        self.settings = settings
        self.capturable = isinstance(network, DnCNN)
        self._device = device
        self._deterministic = deterministic
        self._valid: KernelDnCNN | ValidDnCNN | None = None
        if isinstance(network, DnCNN) and settings.halo >= network.receptive_radius:
            self.precision = settings.precision
            self._margin = settings.halo - network.receptive_radius
            on_cuda = device.type == "cuda"
            convolve = cudnn_convolution(deterministic) if on_cuda else plain
            fused = fused and on_cuda and not deterministic
            if kernels is not None and not fused and fits(network, self.precision):
                self._valid = KernelDnCNN(network, self.precision, device, convolve, kernels, pad_last=pad_last)
            else:
                self._valid = ValidDnCNN(network, self.precision, device, convolve, cudnn_activated if fused else None)
        else:
            self.precision = "tf32" if settings.precision == "tf32" else "float32"
            self._network = copy.deepcopy(network).eval().to(device)

    def residual(self, crops: Tensor) -> Tensor:
        """R of the crops' interiors, without the intensity scale; see `residual_into`."""
        count, _, rows, cols = _trimmed(crops, self.settings.halo).shape
        return self.residual_into(crops, crops.new_empty(count, rows, cols))

    def residual_into(self, crops: Tensor, out: Tensor) -> Tensor:
        """R of the crops' interiors, without the intensity scale.

        Args:
            crops: (n, 1, rows + 2·halo, cols + 2·halo) float32 on the device, divided by the intensity scale.
            out: (n, rows, cols) float32 on the device; overwritten.
        """
        with torch.no_grad():
            if self._valid is not None:
                self._valid.into(_trimmed(crops, self._margin), out.unsqueeze(1))
                return out
            # The device is also where the network makes its own tensors, if it doesn't say where.
            with float32_rules(self.precision == "tf32", self._deterministic), self._device:
                return out.copy_(_padded_residual(self._network, crops, self.settings.halo).squeeze(1))


def activation_bytes(network: nn.Module, batch: int, rows: int, cols: int, precision: str) -> int:
    """Roughly the memory a call takes on the device, besides its input and the weights.

    Args:
        batch: crops at once.
        rows, cols: of a crop, halo included.
    """
    widths = [weight.shape[0] for weight in network.parameters() if weight.ndim == 4]
    if isinstance(network, DnCNN):
        # The first layer's float32 features and their rounded copy are the most there is at a time; else two layers'.
        each = 4 + DTYPES[precision].itemsize
        return int(batch * rows * cols * max(widths) * each * (1 + CUDNN_WORKSPACE))
    features = max(widths, default=FOREIGN_WIDTH) * FOREIGN_LAYERS_ALIVE * 4
    return int(batch * rows * cols * features * (1 + CUDNN_WORKSPACE))


def _padded_residual(network: nn.Module, image: Tensor, halo: int) -> Tensor:
    """The interior of the residual of a network that returns its input's shape."""
    residual: Tensor = network(image)
    check_shape(residual, image)
    return _trimmed(residual.detach(), halo)


def _trimmed(image: Tensor, margin: int) -> Tensor:
    return image[..., margin : image.shape[-2] - margin, margin : image.shape[-1] - margin]
