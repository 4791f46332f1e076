"""The methods that are compared, and the small grid each is tuned on.

An axis is one setting and the values tried, the default first; those that count in factors go on beyond an end of the
grid where the best is there. What is called tau or weight is the same in all of them, the denoiser's weight beside a
data term of norm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Axis(NamedTuple):
    """One setting to tune.

    Args:
        values: numbers in ascending order if there is a factor.
        factor: the next value beyond an end, or None.
        most: no value is above it.
    """

    name: str
    values: tuple[Any, ...]
    factor: float | None = None
    most: float = float("inf")


@dataclass(frozen=True)
class Method:
    """One line of the table.

    Args:
        group: what is drawn in one colour.
        runner: module of this package.
        environment: of environments.py, or None: this interpreter's.
        fixed: settings that aren't tuned.
        axes: tuned one after the other, the others at their first value or at the best found.
    """

    name: str
    title: str
    group: str
    runner: str
    environment: str | None
    fixed: dict[str, Any]
    axes: tuple[Axis, ...]


OURS = "ours"

TAU = Axis("tau", (0.005, 0.01, 0.02), 2)
WEIGHT = TAU._replace(name="weight")
# Of one that replaces the image by the denoised one in every step: 1 is the denoiser as it is, which is far too much
# for a scan of 70 dB; less is a part of its residual, the same trick as a tau.
SHARE = Axis("weight", (0.005, 0.01, 0.02), 2, 1.0)
CG = Axis("cg", (4, 8, 2))
# Of the authors' structure, above 1/(L + 2τ).
FACTOR = Axis("factor", (1.0, 2.0, 4.0))

_OURS: dict[str, Any] = {"group": OURS, "runner": "run_ours", "environment": None, "axes": (TAU,)}
_HAND: dict[str, Any] = {"group": "by hand", "runner": "run_by_hand", "environment": None}
_DEEPINV: dict[str, Any] = {"group": "deepinv", "runner": "run_deepinv", "environment": "deepinv"}
_SCICO: dict[str, Any] = {"group": "SCICO", "runner": "run_scico", "environment": "scico"}


def _methods() -> list[Method]:
    ours = [
        Method(name=OURS, title="asyncred_gpu, its defaults", fixed={"method": "default"}, **_OURS),
        Method(name="bg", title="Async-RED-BG, the paper's method and step", fixed={"method": "BG"}, **_OURS),
        Method(name="sg", title="Async-RED-SG, likewise, a third of the angles", fixed={"method": "SG"}, **_OURS),
        Method(name="gm-red", title="GM-RED, Nesterov, our projector", fixed={"method": "GM-RED"}, **_OURS),
    ]
    authors = Method("authors", "the authors' structure", "authors", "run_authors", None, {}, (TAU, FACTOR))
    hand = [
        Method(
            name=f"hand-{algorithm}-{projector}",
            title=f"by hand: {words}, {parts}",
            fixed={"algorithm": algorithm, "projector": projector},
            axes=(TAU, *([CG] if algorithm == "admm" else [])),
            **_HAND,
        )
        for algorithm, words in (("nesterov", "RED by Nesterov"), ("admm", "PnP-ADMM"))
        for projector, parts in (("astra", "ASTRA"), ("matrix", "sparse matrix"))
    ]
    return [*ours, authors, *hand, *_deepinv(), *_scico()]


def _deepinv() -> list[Method]:
    anderson = Axis("anderson", (False, True))
    axes = {
        "RED-GD": (WEIGHT, Axis("stepsize", (1.0, 1.9)), anderson),
        "RED-PGD": (WEIGHT, Axis("stepsize", (0.5, 0.25, 1.0)), CG),
        "PnP-FISTA": (SHARE, Axis("stepsize", (1.0,))),
        "PnP-ADMM": (WEIGHT, CG, Axis("beta", (1.0,))),
    }
    return [
        Method(
            name=f"deepinv-{algorithm.lower()}",
            title=f"deepinv, {algorithm}",
            fixed={"algorithm": algorithm},
            axes=found,
            **_DEEPINV,
        )
        for algorithm, found in axes.items()
    ]


def _scico() -> list[Method]:
    axes = {"PnP-ADMM": (WEIGHT, CG), "PnP-APGM": (SHARE,)}
    return [
        Method(
            name=f"scico-{algorithm.lower().removeprefix('pnp-')}-{projector}",
            title=f"SCICO, {algorithm}, {words}",
            fixed={"algorithm": algorithm, "projector": projector},
            axes=found,
            **_SCICO,
        )
        for algorithm, found in axes.items()
        for projector, words in (("jax", "its JAX projector"), ("astra", "ASTRA"))
    ]


METHODS = {method.name: method for method in _methods()}
