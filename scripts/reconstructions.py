"""Reconstructions to measure a denoiser at: read from files, or made here. Images are (rows, cols) in about [0, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from torch import Tensor, nn

from asyncred_gpu import GpuAsyncRED, RadonCT, snr
from asyncred_gpu.method import BLOCK_METHOD
from asyncred_gpu.operators.radon import project

# A scan with few views of little noise, as `make run` has it, but smaller.
ANGLES, NOISE_DB, TAU, SWEEPS, WORKERS = 60, 70.0, 0.02, 20, 2
BRIGHTEST = (0.1, 2.0)  # beyond these an image isn't in [0, 1], but in a scan's units


def read_reconstruction(path: Path) -> Tensor:
    """An image (rows, cols) from a .npy, .npz (with one array) or .tif file, float32.

    Raises:
        ValueError, OSError: the file is missing, holds something else, or isn't in the network's intensities.
    """
    image = _read(path)
    if image.ndim != 2 or not np.issubdtype(image.dtype, np.floating) or not np.isfinite(image).all():
        raise ValueError(
            f"{path} holds {image.dtype} of shape {image.shape}, or NaN or infinity. Pass one image (rows, cols) of "
            "finite floating-point numbers."
        )
    white = float(np.percentile(image, 99.9)) if image.size else 0.0
    if not BRIGHTEST[0] <= white <= BRIGHTEST[1]:
        raise ValueError(
            f"{path} has white (its 99.9th percentile) at {white:.3g}, the network takes images in [0, 1]. Divide it "
            "by the intensity_scale it was reconstructed with."
        )
    return torch.from_numpy(np.ascontiguousarray(image, np.float32))


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path} doesn't exist. Pass a .npy, .npz or .tif file.")
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path))
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                (name,) = arrays.files
                return np.asarray(arrays[name])
        if path.suffix in (".tif", ".tiff"):
            return np.asarray(tifffile.imread(path))
    except (ValueError, tifffile.TiffFileError) as error:
        raise ValueError(f"{path} can't be read as one image ({error}). Pass a whole file with one array.") from error
    raise ValueError(f"{path} is no .npy, .npz or .tif file. Convert it to one of these.")


def reconstructed(network: nn.Module, image: Tensor, seed: int) -> tuple[Tensor, float]:
    """A reconstruction by Async-RED with this network from a simulated scan of the image, and its SNR in dB."""
    truth = image.numpy()
    angles = np.arange(ANGLES) * np.pi / ANGLES
    sinogram = project(truth, angles, int(np.ceil(np.hypot(*truth.shape))))
    noise = np.random.default_rng(seed).standard_normal(sinogram.shape)
    noise *= np.linalg.norm(sinogram) * 10 ** (-NOISE_DB / 20) / np.linalg.norm(noise)
    scan = RadonCT((sinogram + noise).astype(np.float32), angles, truth.shape)
    # In order and with a fixed number of workers: the same image every time on one machine.
    solver = GpuAsyncRED(
        *(scan, network, TAU),
        **BLOCK_METHOD,
        momentum=0.8,
        intensity_scale=1.0,
        order="ordered",
        num_workers=WORKERS,
        device="cpu",
    )
    found = solver.run(max_sweeps=SWEEPS).image
    return torch.from_numpy(np.array(found, np.float32)), snr(found, truth)


def scan_facts(folder: Path, snrs: list[float]) -> dict[str, Any]:
    """How `reconstructed` made its images, from those of the folder."""
    how: dict[str, Any] = {
        "folder": folder.resolve().name,
        "angles": ANGLES,
        "noise_db": NOISE_DB,
        "tau": TAU,
        "sweeps": SWEEPS,
    }
    return {**how, "snr": [round(value, 2) for value in snrs]}
