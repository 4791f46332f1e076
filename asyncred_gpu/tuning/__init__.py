"""The noise of a sinogram, and σ and τ chosen without the truth."""

from .noise import estimate_noise

__all__ = ["estimate_noise"]
