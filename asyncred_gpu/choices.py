"""Settings that take one of a few words; the solver checks them, and the command line offers them."""

from __future__ import annotations

from typing import Literal, get_args

Order = Literal["free", "ordered", "sync"]
MethodName = Literal["fast", "paper"]
# Whose solution is looked for: RED's, ∇g(x) + τ(x − D(x)) = 0, or plug-and-play's, x = D(x − ∇g(x)/τ).
Prior = Literal["red", "pnp"]
Precision = Literal["auto", "float32", "tf32", "float16", "bfloat16"]
# How σ and τ are chosen: the last one needs the true image.
Criterion = Literal["gcv", "held-out", "discrepancy", "reference"]

ORDERS: tuple[str, ...] = get_args(Order)
METHODS: tuple[str, ...] = get_args(MethodName)
PRIORS: tuple[str, ...] = get_args(Prior)
PRECISIONS: tuple[str, ...] = get_args(Precision)
CRITERIA: tuple[str, ...] = get_args(Criterion)
