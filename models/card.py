"""The model card of trained weights: what they were trained on, what they reach, and what may be said of them.

Facts that are missing leave their section out; the names are those of `asyncred train` and, for what is
measured later, scripts/measure_denoiser.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .card_norms import nonexpansive_section, unconstrained_section

HEAD = """\
# {name}

A DnCNN (3×3 convolutions, no batch normalization) that returns the residual R(x) = x − D(x): subtract it from an image
to denoise the image.{conditional}
"""

CONDITIONAL = """ It is told the noise level, as a second input of its first layer."""

DATA = """\
## Data

{count} images ({folder}){phantoms} at scales 1, 0.9, 0.8 and 0.7, cut into random patches, flipped and turned.
"""

TRAINING = """\
## Training

For white Gaussian noise n of {levels}: {steps} steps of {batch} patches of {patch}×{patch}, loss
{weight}‖R(x + n) − n‖², Adam at {learning_rate:g} with a cosine to 1 %, convolutions in {precision}, seed {seed}.
{start}{clipping}
"""

CLIPPING = """\
Every {clip_every} steps the singular values of each convolution were clipped (Sedghi, Gupta, Long, ICLR 2019)."""

NO_CLIPPING = """\
The singular values of the convolutions were left as they came."""

QUALITY = """\
## Quality

Mean PSNR on {count} images ({folder}) with noise of σ = {sigma:g}/255, whole images, zero padding: {psnr_input:.2f} dB
with noise, **{psnr_output:.2f} dB** denoised, {gain:.2f} dB more.
"""

QUALITIES = """\
## Quality

Mean PSNR on {count} images ({folder}), whole images, zero padding, the network told the level:

| σ, of 255 | with noise, dB | denoised, dB | gain, dB |
|---|---|---|---|
{rows}
"""

LIPSCHITZ = """\
## Lipschitz value

**{product:.6f}** ({asked}), the product of the layers' norms, each the largest singular value over
all frequencies: an upper bound of the Lipschitz constant of R on images of any size, with zeros beyond the border.
Lipschitz(R) ≤ 2 is *necessary* for a nonexpansive D = I − R, which the convergence theorems of Async-RED assume. It is
not sufficient{measured}.
"""

TAIL = """\
## Use

For grey images in [0, 1]. The intensity scale matters, a denoiser isn't scale-equivariant: bring an image in other
units to [0, 1] first, R_c(x) = c·R(x/c), which is what `intensity_scale` does. It is a prior for reconstruction and no
diagnostic tool: fine structure below the noise may come back smoothed.

## Licence

BSD-3-Clause, as asyncred_gpu. The training images aren't part of it and have licences of their own.

Checksum, sha256 of {name}.safetensors: `{sha256}`
"""


def card_text(name: str, facts: dict[str, Any]) -> str:
    """The card as Markdown, from the facts that are saved as JSON beside the weights."""
    conditional = (facts.get("settings") or {}).get("network") == "dncnn-conditional"
    sections = [HEAD.format(name=name, conditional=CONDITIONAL if conditional else "")]
    sections += [section(facts) for key, section in SECTIONS.items() if facts.get(key)]
    sections.append(TAIL.format(name=name, sha256=facts["sha256"]))
    return "\n".join(sections)


def _data(facts: dict[str, Any]) -> str:
    generated = facts["images"].get("phantoms")
    phantoms = f" and {generated} generated phantoms" if generated else ""
    return DATA.format(**{**facts["images"], "phantoms": phantoms})


def _training(facts: dict[str, Any]) -> str:
    settings = facts["settings"]
    lowest = settings.get("lowest_sigma")
    highest = f"{settings['sigma']:g}/255"
    told = "" if settings.get("network") == "dncnn-conditional" else ", which the network isn't told"
    levels = f"σ = {highest}" if lowest is None else f"any σ from {lowest:g}/255 to {highest}{told}"
    weight = "" if lowest is None else f"({highest} / σ) "
    start = f"It began with the weights of {facts['start']['name']}. " if facts.get("start") else ""
    clipping = (NO_CLIPPING if settings["lipschitz"] is None else CLIPPING).format(**settings)
    return TRAINING.format(**{**settings, "levels": levels, "weight": weight, "start": start, "clipping": clipping})


def _quality(facts: dict[str, Any]) -> str:
    """One noise level in a sentence, several in a table."""
    found = facts["validation"]
    if not isinstance(found, list):
        return QUALITY.format(**{**found, "sigma": facts["sigma"]}, gain=found["psnr_output"] - found["psnr_input"])
    rows = [
        f"| {each['sigma']:g} | {each['psnr_input']:.2f} | **{each['psnr_output']:.2f}** "
        f"| {each['psnr_output'] - each['psnr_input']:.2f} |"
        for each in found
    ]
    return QUALITIES.format(**{**found[0], "rows": "\n".join(rows)})


def _lipschitz(facts: dict[str, Any]) -> str:
    bound = facts["lipschitz"]["bound"]
    asked = "no bound was kept" if bound is None else f"asked for: at most {bound:g}"
    measured = ", see below" if facts.get("nonexpansive") else ": D isn't shown to be nonexpansive"
    return LIPSCHITZ.format(product=facts["lipschitz"]["product"], asked=asked, measured=measured)


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "images": _data,
    "settings": _training,
    "validation": _quality,
    "lipschitz": _lipschitz,
    "nonexpansive": nonexpansive_section,
    "unconstrained": unconstrained_section,
}
