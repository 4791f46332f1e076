"""The card's sections on the Jacobians of D = I − R, and on what the Lipschitz bound costs.

The facts are what scripts/measure_denoiser.py adds to those of the training.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

NONEXPANSIVE = """\
## How nonexpansive D is

D is nonexpansive if the norm of its Jacobian J_D is at most 1 at *every* image. Measured at some, in float32, for
σ = {sigma:g}/255, the image mirrored beyond its border as the solver mirrors it:

{table}

Each norm is the largest singular value of a Jacobian as Lanczos' method finds it: a lower bound of the norm at that
image, which it comes close to (it stopped when the last {patience} steps added less than {tolerance:g} of it).
{verdict}
"""

EXPANSIVE = """\
Norms of J_D above 1 show that **D isn't nonexpansive**: there some small changes of the image are made larger, and the
convergence theorems' assumption doesn't hold."""

NOT_REFUTED = """\
None of J_D is above 1. That is no proof for other images."""

UNFINISHED = """ At {count} of the images the limit of iterations was met before: there the norm may be larger yet."""

UNCONSTRAINED = """\
## What the Lipschitz bound costs

The same network, trained without {limit}: {comparison}

| | with the bound | without |
|---|---|---|
{rows}
"""

PARTS = {
    "images": "{count} images ({folder}, the middle {size})",
    "noisy_images": "these with noise of σ = {sigma:g}/255",
    "reconstructions": "{count} reconstructions ({names}, {size})",
}
SCANNED = """\
{count} reconstructions by Async-RED with these weights (scans of {folder} simulated, {angles} angles, {noise_db:g} dB \
noise, {sweeps} sweeps at τ = {tau:g}; {size})"""
HEADING = """\
| at | ‖J_D‖, mean | largest | share above 1 | ‖J_R‖, mean | largest |
|---|---|---|---|---|---|"""


def nonexpansive_section(facts: dict[str, Any]) -> str:
    """The norms measured, as a table, and what they say."""
    measured = facts["nonexpansive"]
    parts = _parts(measured)
    verdict = EXPANSIVE if any(part["share_of_D_above_1"] for part in parts.values()) else NOT_REFUTED
    unfinished = sum(part["not_converged"] for part in parts.values())
    if unfinished:
        verdict += UNFINISHED.format(count=unfinished)
    table = "\n".join([HEADING, *(_row(name, part) for name, part in parts.items())])
    how = {name: measured[name] for name in ("sigma", "tolerance", "patience")}
    return NONEXPANSIVE.format(table=table, verdict=verdict, **how)


def _parts(measured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: measured[name] for name in PARTS if measured.get(name)}


def _place(name: str, part: dict[str, Any]) -> str:
    size = ", ".join(part["sizes"])
    if part.get("scan"):
        return SCANNED.format(**part["scan"], count=part["count"], size=size)
    return PARTS[name].format(**{**part, "names": ", ".join(part.get("names", ())), "size": size})


def _row(name: str, part: dict[str, Any]) -> str:
    cells = [_place(name, part), *_cells(part)]
    return "| " + " | ".join(cells) + " |"


def _cells(part: dict[str, Any]) -> list[str]:
    share = f"{part['share_of_D_above_1']:.0%}"
    denoiser, residual = part["D"], part["R"]
    norms = [f"{value:.4f}" for value in (denoiser["mean"], denoiser["max"], residual["mean"], residual["max"])]
    return [*norms[:2], share, *norms[2:]]


def unconstrained_section(facts: dict[str, Any]) -> str:
    """The same network without the bound, beside this one."""
    other = facts["unconstrained"]
    asked = other["lipschitz"]["bound"]
    limit = "the bound" if asked is None else f"this bound (asked for: at most {asked:g})"
    own, theirs = (_as_list(found["validation"]) for found in (facts, other))
    gains = [without["psnr_output"] - bound["psnr_output"] for bound, without in zip(own, theirs, strict=True)]
    comparison = f"its PSNR is {_compared(fmean(gains))}.{_other_settings(other['other_settings'])}"
    rows = [row for bound, without in zip(own, theirs, strict=True) for row in _qualities(bound, without, len(own) > 1)]
    rows.append(("product of the layers' norms", *(f"{found['lipschitz']['product']:.4g}" for found in (facts, other))))
    rows.append(("steps", str(facts["settings"]["steps"]), str(other["steps"])))
    rows += _largest_norms(*(_parts(found.get("nonexpansive") or {}) for found in (facts, other)))
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return UNCONSTRAINED.format(limit=limit, comparison=comparison, rows=table)


def _as_list(validation: Any) -> list[dict[str, Any]]:
    return validation if isinstance(validation, list) else [validation]


def _compared(gain: float) -> str:
    if abs(gain) < 0.005:
        return "the same to 0.01 dB"
    return f"{abs(gain):.2f} dB {'higher' if gain > 0 else 'lower'}"


def _qualities(bound: dict[str, Any], without: dict[str, Any], several: bool) -> list[tuple[str, ...]]:
    level = f", σ = {bound['sigma']:g}/255" if several else ""
    keys = {"psnr_input": "with noise", "psnr_output": "denoised"}
    return [(f"PSNR {text}{level}", f"{bound[key]:.2f} dB", f"{without[key]:.2f} dB") for key, text in keys.items()]


def _largest_norms(own: dict[str, Any], theirs: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"largest ‖J_{which}‖, {_place(name, own[name])}",
            *(f"{part[name][which]['max']:.4f}" for part in (own, theirs)),
        )
        for name in own
        if name in theirs
        for which in ("D", "R")
    ]


def _other_settings(changed: dict[str, Any]) -> str:
    if not changed:
        return ""
    each = ", ".join(f"{name} {own} and {other}" for name, (own, other) in changed.items())
    return f" The two differ in other settings too (with, without): {each}."
