"""Singular values of a convolution, and their clipping: the Lipschitz bound of a network.

On a periodic grid a convolution is, at each frequency, a small matrix (out, in): its singular values are the
convolution's (Sedghi, Gupta, Long, ICLR 2019). The product of the layers' norms bounds the network's Lipschitz
constant, since a ReLU has 1. A 3x3 kernel's matrix is a trigonometric polynomial of degree 1 in each frequency, so
a grid of 64 finds the largest norm over all frequencies, and with it that of any zero-padded size, to about 1e-4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EXACT_GRID = 64
CLIP_GRID = 8


def transfer_matrices(kernel: Tensor, grid: int) -> Tensor:
    """Matrices (grid, grid // 2 + 1, out, in), complex, one for each frequency of a grid×grid image."""
    spectrum: Tensor = torch.fft.rfft2(kernel, s=(grid, grid))
    return spectrum.permute(2, 3, 0, 1)


def convolution_norm(kernel: Tensor, grid: int = EXACT_GRID) -> float:
    """Largest singular value of the convolution with `kernel` (out, in, 3, 3) on a grid×grid torus."""
    matrices = transfer_matrices(kernel.detach().double(), grid)
    return float(torch.linalg.matrix_norm(matrices, ord=2).max())


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
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def clip_network(network: nn.Module, bound: float) -> None:
    """Clip every convolution at the same norm, so that their product is at most about `bound`."""
    layers = _convolutions(network)
    share = bound ** (1 / len(layers))
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(clip_convolution(layer.weight, share))


def scale_network(network: nn.Module, bound: float) -> float:
    """Scale the layers so that the product of their exact norms is at most `bound`; return the product."""
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
    return lipschitz_bound(network)


def lipschitz_bound(network: nn.Module) -> float:
    """Product of the exact norms of the network's convolutions: an upper bound of its Lipschitz constant."""
    product = 1.0
    for layer in _convolutions(network):
        product *= convolution_norm(layer.weight)
    return product
