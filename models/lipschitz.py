"""Singular values of a convolution, and their clipping: the Lipschitz bound of a network.

On a periodic grid a convolution is, at each frequency, a small matrix (out, in): its singular values are the
convolution's (Sedghi, Gupta, Long, ICLR 2019). The largest over *all* frequencies bounds the convolution on an image of
any size, periodic or zero-padded; the product over the layers bounds the network, since a ReLU has 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .conditional import ConditionalDnCNN

CLIP_GRID = 8
SEARCH_GRID = 32
SEARCH_PEAKS = 8
SEARCH_STEP = 1e-3  # in frequency, radians: the norm is flat at its peak, so this leaves about 1e-7


def transfer_matrices(kernel: Tensor, grid: int) -> Tensor:
    """Matrices (grid, grid // 2 + 1, out, in), complex, one for each frequency of a grid×grid image."""
    spectrum: Tensor = torch.fft.rfft2(kernel, s=(grid, grid))
    return spectrum.permute(2, 3, 0, 1)


def torus_norm(kernel: Tensor, grid: int) -> float:
    """Largest singular value of the convolution with `kernel` (out, in, rows, cols) on a grid×grid torus."""
    return float(_largest(transfer_matrices(kernel.detach().double(), grid)).max())


def convolution_norm(kernel: Tensor) -> float:
    """Largest singular value over all frequencies: the norm on images of any size.

    A torus of 64 finds it to 2e-4 only; here the best points of a coarse one are followed to their peaks.
    """
    kernel = kernel.detach().cpu().double()
    coarse = _largest(transfer_matrices(kernel, SEARCH_GRID))
    peaks = coarse.flatten().topk(SEARCH_PEAKS).indices
    spacing = 2 * math.pi / SEARCH_GRID
    frequencies = torch.stack((peaks // coarse.shape[1], peaks % coarse.shape[1]), dim=-1) * spacing
    around = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)] * 2)
    step, values = spacing / 2, coarse
    while step > SEARCH_STEP:
        tried = frequencies[:, None] + step * around
        values = _largest(_transfer_matrices_at(kernel, tried))
        frequencies = tried[torch.arange(len(tried)), values.argmax(dim=1)]
        step /= 2
    return float(values.max())


def _transfer_matrices_at(kernel: Tensor, frequencies: Tensor) -> Tensor:
    """Matrices (…, out, in) at frequencies (…, 2) in radians a pixel."""
    rows, cols = (torch.arange(size, dtype=torch.float64) for size in kernel.shape[-2:])
    phases = frequencies[..., :1, None] * rows[:, None] + frequencies[..., 1:, None] * cols
    return torch.einsum("...rc,oirc->...oi", torch.exp(-1j * phases), kernel.to(torch.complex128))


def _largest(matrices: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.matrix_norm(matrices, ord=2)
    return norms


def clip_convolution(kernel: Tensor, bound: float, grid: int = CLIP_GRID) -> Tensor:
    """The kernel with its singular values clipped at `bound`, cut back to its own support.

    The cut can raise a norm a little again, so repeat it; a scale at the end makes a bound exact.
    """
    left, values, right = torch.linalg.svd(transfer_matrices(kernel.detach(), grid), full_matrices=False)
    if float(values.max()) <= bound:
        return kernel.detach()
    clipped = (left * values.clamp(max=bound).unsqueeze(-2)) @ right
    spatial: Tensor = torch.fft.irfft2(clipped.permute(2, 3, 0, 1), s=(grid, grid))
    return spatial[..., : kernel.shape[-2], : kernel.shape[-1]].contiguous()


def _convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """What the image goes through, first to last; a noise level that is told isn't part of the image."""
    chain = network.dncnn if isinstance(network, ConditionalDnCNN) else network
    return [layer for layer in chain.modules() if isinstance(layer, nn.Conv2d)]


def clip_network(network: nn.Module, bound: float) -> None:
    """Clip every convolution at the same norm, so that their product is at most about `bound`."""
    layers = _convolutions(network)
    share = bound ** (1 / len(layers))
    with torch.no_grad():
        for layer in layers:
            # On the CPU: a GPU's decompositions of many small matrices are slower.
            layer.weight.copy_(clip_convolution(layer.weight.cpu(), share))


def scale_network(network: nn.Module, bound: float) -> float:
    """Scale the layers so that the product of their norms is at most `bound`; return the product."""
    product = lipschitz_bound(network)
    if product <= bound:
        return product
    layers = _convolutions(network)
    # A hair below the bound, so that rounding the scaled weights to float32 doesn't lift the product over it.
    factor = (bound * (1 - 1e-6) / product) ** (1 / len(layers))
    with torch.no_grad():
        for depth, layer in enumerate(layers, start=1):
            layer.weight.mul_(factor)
            if layer.bias is not None:
                layer.bias.mul_(factor**depth)
        if isinstance(network, ConditionalDnCNN):
            network.level.weight.mul_(factor)
    return lipschitz_bound(network)


def lipschitz_bound(network: nn.Module) -> float:
    """Product of the norms of the network's convolutions: an upper bound of its Lipschitz constant."""
    product = 1.0
    for layer in _convolutions(network):
        product *= convolution_norm(layer.weight)
    return product
