"""The model card of trained weights: what they were trained on, what they reach, and what may be said of them.

Facts that are missing leave their section out; the names are those of scripts/train_denoiser.py.
"""

from __future__ import annotations

from typing import Any

HEAD = """\
# {name}

A DnCNN (3×3 convolutions, no batch normalization) that returns the residual R(x) = x − D(x): subtract it from an image
to denoise the image.
"""

DATA = """\
## Data

{count} images ({folder}) at scales 1, 0.9, 0.8 and 0.7, cut into random patches, flipped and turned.
"""

TRAINING = """\
## Training

For white Gaussian noise n of σ = {sigma:g}/255: {steps} steps of {batch} patches of {patch}×{patch}, loss
‖R(x + n) − n‖², Adam at {learning_rate:g} with a cosine to 1 %, convolutions in {precision}, seed {seed}. Every
{clip_every} steps the singular values of each convolution were clipped (Sedghi, Gupta, Long, ICLR 2019).
"""

QUALITY = """\
## Quality

Mean PSNR on {count} images ({folder}), whole images, zero padding: {psnr_input:.2f} dB with noise,
**{psnr_output:.2f} dB** denoised.
"""

LIPSCHITZ = """\
## Lipschitz value

**{product:.6f}** (asked for: at most {bound:g}), the product of the layers' norms, each the largest singular value over
all frequencies: an upper bound of the Lipschitz constant of R on images of any size. Lipschitz(R) ≤ 2 is *necessary*
for a nonexpansive D = I − R, which the convergence theorems of Async-RED assume. It is not sufficient: D isn't shown to
be nonexpansive.
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

SECTIONS = {"images": DATA, "settings": TRAINING, "validation": QUALITY, "lipschitz": LIPSCHITZ}


def card_text(name: str, facts: dict[str, Any]) -> str:
    """The card as Markdown, from the facts that are saved as JSON beside the weights."""
    sections = [HEAD.format(name=name)]
    sections += [text.format(**facts[key]) for key, text in SECTIONS.items() if facts.get(key)]
    sections.append(TAIL.format(name=name, sha256=facts["sha256"]))
    return "\n".join(sections)
