"""Weights on disk: NAME.safetensors, NAME.json with its checksum and facts, NAME.md, the model card made from them.

The facts are a plain dictionary, as `asyncred train` gathers it; `sha256` is added here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from .card import card_text
from .conditional import ConditionalDnCNN, network_from_state
from .dncnn import DnCNN
from .training_settings import TrainingSettings

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
SUFFIXES = (".safetensors", ".json", ".md")


def weights_path(name: str) -> Path:
    """The safetensors file of weights that come with the package, e.g. "dncnn_sigma5".

    Raises:
        ValueError: there are none of that name.
    """
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in WEIGHTS_FOLDER.glob("*.safetensors"))) or "none"
        raise ValueError(
            f"No weights are named {name!r}. The package has: {known}. Pass one of them, or a file's path."
        )
    return path


def shipped_levels(prefix: str) -> tuple[float, ...]:
    """The noise levels of the files PREFIX_sigmaLEVEL that come with the package, ascending."""
    files = WEIGHTS_FOLDER.glob(f"{prefix}_sigma*.safetensors")
    return tuple(sorted(float(file.stem.removeprefix(f"{prefix}_sigma")) for file in files))


def weights_name(settings: TrainingSettings) -> str:
    """The name of weights trained so, e.g. "dncnn_sigma5", "dncnn_ct_sigma5", "dncnn_conditional"."""
    content = "_ct" if settings.phantoms else ""
    bound = "_unconstrained" if settings.lipschitz is None else ""
    return f"dncnn{content}{bound}_" + ("conditional" if settings.conditional else f"sigma{settings.sigma:g}")


def existing_files(path: Path) -> list[Path]:
    """Which of the three files of the weights `path` are there already."""
    return [file for file in map(path.with_suffix, SUFFIXES) if file.exists()]


def save_weights(
    network: DnCNN | ConditionalDnCNN, path: Path, facts: dict[str, Any], *, overwrite: bool = False
) -> dict[str, Any]:
    """Write `path` (NAME.safetensors), its NAME.json and NAME.md; return the facts as written, with `sha256`.

    Raises:
        ValueError: `path` doesn't end in .safetensors.
        FileExistsError: one of the three files is there, and `overwrite` isn't set.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} must end in .safetensors, which is the format written. Pass {path.stem}.safetensors.")
    if not overwrite and (found := existing_files(path)):
        raise FileExistsError(f"{found[0]} exists and isn't overwritten. Pass another path, or overwrite=True.")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = safetensors.torch.save(state)
    facts = {**facts, "sha256": hashlib.sha256(content).hexdigest()}
    files = _facts_files(path, facts)
    _write(path, content)
    _write_all(files)
    return facts


def save_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write the facts beside the weights `path`, and the card made from them; the weights stay as they are."""
    _write_all(_facts_files(path, facts))


def _facts_files(path: Path, facts: dict[str, Any]) -> dict[Path, bytes]:
    """What goes beside the weights: made before anything is written, so that facts without a card leave no weights."""
    content = (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()
    return {path.with_suffix(".json"): content, path.with_suffix(".md"): card_text(path.stem, facts).encode()}


def _write_all(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        _write(path, content)


def load_weights(path: Path | str) -> tuple[DnCNN | ConditionalDnCNN, dict[str, Any]]:
    """The network, in evaluation mode, and its facts; the checksum is verified.

    Raises:
        FileNotFoundError: the weights or their card are missing.
        ValueError: the weights aren't those the card describes, or aren't a network's of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} doesn't exist. Pass a .safetensors file that `asyncred train` wrote.")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} isn't a .safetensors file. Pass one that `asyncred train` wrote.")
    facts = load_facts(path)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != facts["sha256"]:
        raise ValueError(
            f"{path} is damaged or was replaced: its sha256 is {found[:16]}…, its card says {facts['sha256'][:16]}…. "
            "Copy both files again from where they came, or train anew with `asyncred train`."
        )
    try:
        state = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} isn't a safetensors file ({error}). Pass one that `asyncred train` wrote.") from error
    return network_from_state(state), facts


def load_facts(weights: Path) -> dict[str, Any]:
    """The facts beside the weights, without a look at the weights themselves; errors as of `load_weights`."""
    card = weights.with_suffix(".json")
    if not card.is_file():
        raise FileNotFoundError(
            f"{card} is missing: without its checksum {weights.name} can't be verified. Put the file that was written "
            "with the weights beside them."
        )
    try:
        facts = json.loads(card.read_bytes())
    except ValueError as error:
        raise ValueError(f"{card} isn't JSON ({error}). Copy it again from where the weights came.") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("sha256"), str):
        raise ValueError(f"{card} has no sha256 to verify {weights.name} with. Copy it again from where they came.")
    return facts


def _write(path: Path, content: bytes) -> None:
    """In one step: a full disk leaves no half a file behind under the final name."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
