"""The methods that are compared, and the small grid each is tuned on.

Axes that count in factors go on beyond an end of their grid where the best is there, to a limit. What is called tau or
weight is the same in all of them, the denoiser's weight beside a data term of norm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple


class Axis(NamedTuple):
    """One setting to tune.

    Args:
        values: what is tried; numbers ascend.
        factor: between an end and the next value beyond it, or None: there is none beyond.
        least, most: no value is beyond these.
        begin: index of the value that is taken while others are tuned.
    """

    name: str
    values: tuple[Any, ...]
    factor: int | None = None
    least: float = 0.0
    most: float = float("inf")
    begin: int = 0


@dataclass(frozen=True)
class Method:
    """One line of the table.

    Args:
        group: what is drawn in one colour.
        runner: module of this package.
        environment: of environments.py, or None: this interpreter's.
        fixed: settings that aren't tuned.
        axes: tuned one after the other, the others where they begin or at the best found.
    """

    name: str
    title: str
    group: str
    runner: str
    environment: str | None
    fixed: dict[str, Any]
    axes: tuple[Axis, ...]


OURS, OURS_PNP = "ours", "ours-pnp"

TAU = Axis("tau", (0.00125, 0.0025, 0.005), 2)
WEIGHT = TAU._replace(name="weight")
# Of one that replaces the image by the denoised one in every step: 1 is the denoiser as it is, which is far too much
# for a scan of 70 dB; less is a part of its residual, the same trick as a tau.
SHARE = WEIGHT._replace(most=1.0)
# Before tau or weight: with more of them a smaller tau is best.
CG = Axis("cg", (4, 8, 16), 2, least=1, most=64, begin=1)
# With a preconditioner fewer may do. It is left out last: first comes what is best with it.
FEWER_CG, PRECONDITIONED = Axis("cg", (2, 4, 8, 16), 2, 1, 64, begin=2), Axis("preconditioned", (False, True), begin=1)
# Of the authors' structure, above 1/(L + 2τ).
FACTOR = Axis("factor", (1.0, 2.0, 4.0), 2, most=16.0)

_OURS: dict[str, Any] = {"group": OURS, "runner": "run_ours", "environment": None, "axes": (TAU,)}
_HAND: dict[str, Any] = {"group": "by hand", "runner": "run_by_hand", "environment": None}
_DEEPINV: dict[str, Any] = {"group": "deepinv", "runner": "run_deepinv", "environment": "deepinv"}
_SCICO: dict[str, Any] = {"group": "SCICO", "runner": "run_scico", "environment": "scico"}


def _methods() -> list[Method]:
    theorem = "the theorem's step, λ = 2 (up to 3 cores)"
    ours = [
        Method(name=OURS, title="asyncred_gpu, its defaults", fixed={"method": "default"}, **_OURS),
        Method(name=OURS_PNP, title="asyncred_gpu, prior='pnp'", fixed={"method": "PnP"}, **_OURS),
        Method(name="sync", title="ours, with a barrier (Sync-RED)", fixed={"method": "sync"}, **_OURS),
        Method(name="bg", title=f"Async-RED-BG, {theorem}", fixed={"method": "BG"}, **_OURS),
        Method(name="sg", title=f"Async-RED-SG, {theorem}, a third of the angles", fixed={"method": "SG"}, **_OURS),
        Method(name="gm-red", title="GM-RED, Nesterov, our projector", fixed={"method": "GM-RED"}, **_OURS),
    ]
    authors = Method("authors", "the authors' structure", "authors", "run_authors", None, {}, (TAU, FACTOR))
    hand = [
        Method(
            name=f"hand-{algorithm}-{projector}",
            title=f"by hand: {words}, {parts}",
            fixed={"algorithm": algorithm, "projector": projector},
            axes=(FEWER_CG, TAU, PRECONDITIONED) if algorithm == "admm" else (TAU,),
            **_HAND,
        )
        for algorithm, words in (("nesterov", "RED by Nesterov"), ("admm", "PnP-ADMM"))
        for projector, parts in (("astra", "ASTRA"), ("matrix", "sparse matrix"), ("ours", "our projector"))
    ]
    return [*ours, authors, *hand, *_deepinv(), *_scico()]


def _deepinv() -> list[Method]:
    anderson = Axis("anderson", (False, True))
    order = Axis("g_first", (False, True))
    axes = {
        "RED-GD": (WEIGHT, Axis("stepsize", (1.0, 1.9)), anderson),
        "RED-PGD": (CG, WEIGHT, Axis("stepsize", (0.25, 0.5, 1.0), begin=1)),
        "PnP-FISTA": (SHARE, Axis("stepsize", (1.0,))),
        "PnP-ADMM": (CG, WEIGHT, order, Axis("beta", (1.0,))),
    }
    own = [
        Method(
            name=f"deepinv-{algorithm.lower()}",
            title=f"deepinv, {algorithm}",
            fixed={"algorithm": algorithm, "projector": "own"},
            axes=found,
            **_DEEPINV,
        )
        for algorithm, found in axes.items()
    ]
    astra = replace(
        own[-1],
        name=f"{own[-1].name}-astra",
        title=f"{own[-1].title}, ASTRA",
        fixed=own[-1].fixed | {"projector": "astra"},
    )
    return [*own, astra]


def _scico() -> list[Method]:
    step = Axis("step", ("constant", "adaptive", "robust"))
    axes = {"PnP-ADMM": (FEWER_CG, WEIGHT, PRECONDITIONED), "PnP-APGM": (SHARE, step)}
    plain = Method(
        name="scico-admm-jax-plain",
        title="SCICO, PnP-ADMM, JAX, no preconditioner",
        fixed={"algorithm": "PnP-ADMM", "projector": "jax", "preconditioned": False},
        axes=(CG, WEIGHT),
        **_SCICO,
    )
    passes = Axis("passes", (2, 4, 8), 2, least=1, most=64)
    svmbir = Method(
        name="scico-admm-svmbir",
        title="SCICO, PnP-ADMM, svmbir",
        fixed={"algorithm": "PnP-ADMM", "projector": "svmbir"},
        axes=(passes, WEIGHT),
        **_SCICO,
    )
    rows = [
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
    return [*rows, plain, svmbir]


METHODS = {method.name: method for method in _methods()}
