"""Denoising networks: the DnCNN, its Lipschitz bound, its training, and the weights that come with the package."""

from .conditional import ConditionalDnCNN
from .dncnn import DnCNN, dncnn_from_state, state_from_tensorflow
from .weights_io import load_weights, save_weights, shipped_levels, weights_path

__all__ = [
    "ConditionalDnCNN",
    "DnCNN",
    "dncnn_from_state",
    "load_weights",
    "save_weights",
    "shipped_levels",
    "state_from_tensorflow",
    "weights_path",
]
