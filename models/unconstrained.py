"""The price of the Lipschitz bound: the same network trained without it, found in a folder and put beside the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .weights_io import load_facts

# These belong to the bound, or have a row of their own in the card.
APART = {"lipschitz", "clip_every", "steps"}
# Settings that older facts don't name.
DEFAULTS = {"network": "dncnn", "phantoms": 0}


def find_unconstrained(folder: Path, facts: dict[str, Any], name: str) -> Path:
    """The weights in `folder` for the same noise and kind of images as `facts`, trained with no or a larger bound.

    Raises:
        ValueError: there are none, or several, or their PSNR was measured on other images.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} isn't a folder. Pass the one that holds {name} trained without the bound.")
    candidates = {path: load_facts(path) for path in sorted(folder.glob("*.safetensors"))}
    found = [path for path, other in candidates.items() if _kind(other) == _kind(facts) and _looser(other, facts)]
    if len(found) != 1:
        seen = ", ".join(path.name for path in found or candidates) or "no .safetensors file"
        raise ValueError(
            f"{folder} holds {len(found)} networks like {name} without its bound, it must be one: {seen}. "
            "Train it with `asyncred train` --lipschitz none, or pass another folder."
        )
    compared = [_conditions(each.get("validation")) for each in (facts, candidates[found[0]])]
    if compared[0] != compared[1] or not compared[0]:
        raise ValueError(
            f"{name} was validated on {compared[0] or 'nothing'}, {found[0]} on {compared[1] or 'nothing'}: their PSNR "
            "can't be compared. Train both with the same --validation."
        )
    return found[0]


def _kind(facts: dict[str, Any]) -> tuple[Any, ...]:
    settings = {**DEFAULTS, **(facts.get("settings") or {})}
    return facts.get("sigma"), settings["network"], settings.get("lowest_sigma"), bool(settings["phantoms"])


def _looser(other: dict[str, Any], facts: dict[str, Any]) -> bool:
    if not (facts.get("lipschitz") and other.get("lipschitz")):
        return False
    own, bound = facts["lipschitz"]["bound"], other["lipschitz"]["bound"]
    return own is not None and (bound is None or bound > own)


def _conditions(validation: Any) -> list[tuple[Any, ...]]:
    """What each PSNR was measured on; a level that isn't named is the network's."""
    several = validation if isinstance(validation, list) else [validation] if validation else []
    return [(each["folder"], each["count"], each.get("sigma") if len(several) > 1 else None) for each in several]


def unconstrained_facts(facts: dict[str, Any], other: dict[str, Any], name: str) -> dict[str, Any]:
    """What of the facts `other`, of the weights `name`, goes into `facts` under "unconstrained"."""
    own, theirs = ({**DEFAULTS, **(each.get("settings") or {})} for each in (facts, other))
    changed = {key: [own.get(key), theirs.get(key)] for key in sorted((own.keys() | theirs.keys()) - APART)}
    return {
        "name": name,
        "sha256": other["sha256"],
        "steps": theirs["steps"],
        "other_settings": {key: pair for key, pair in changed.items() if pair[0] != pair[1]},
        "lipschitz": other["lipschitz"],
        "validation": _means(other["validation"]),
    }


def _means(validation: Any) -> Any:
    """Without the PSNR of each image: the weights' own facts have that."""
    if isinstance(validation, list):
        return [_means(each) for each in validation]
    return {key: value for key, value in validation.items() if key != "psnr_output_of_each"}
