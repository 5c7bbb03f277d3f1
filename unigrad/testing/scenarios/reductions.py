"""Reductions along all axes, one, several, kept and dropped."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_X = draw(11, 3, 4)
_POSITIVE = draw(12, 2, 3, low=0.5, high=2)


def _second_of_product(u: Any, v: Any, x: Any) -> Any:
    total = np.prod(x, axis=0)
    ratio = v / x
    return u * total * (np.sum(ratio, axis=0) - ratio) / x


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "sum of squares",
        "reductions",
        lambda xp, x: xp.sum(x**2),
        (_X,),
        gradient=lambda u, x: 2 * u * x,
        hvp=lambda u, v, x: 2 * u * v,
        tags=frozenset({"core"}),
    ),
    Scenario(
        "sum of one axis",
        "reductions",
        lambda xp, x: xp.sum(x**3, axis=1),
        (_X,),
        output="array",
        gradient=lambda u, x: u[:, None] * 3 * x**2,
        hvp=lambda u, v, x: u[:, None] * 6 * x * v,
    ),
    Scenario(
        "sum of two axes kept",
        "reductions",
        lambda xp, x: xp.sum(xp.exp(x), axis=(0, 2), keepdims=True),
        (draw(13, 2, 3, 2),),
        output="array",
        gradient=lambda u, x: u * np.exp(x),
        hvp=lambda u, v, x: u * v * np.exp(x),
    ),
    Scenario(
        "mean",
        "reductions",
        lambda xp, x: xp.mean(x, axis=0) ** 2,
        (_X,),
        output="array",
        gradient=lambda u, x: np.broadcast_to(2 * u * np.mean(x, axis=0) / 3, x.shape),
        hvp=lambda u, v, x: np.broadcast_to(2 * u * np.mean(v, axis=0) / 3, x.shape),
    ),
    Scenario(
        "max",
        "reductions",
        lambda xp, x: xp.max(x, axis=1) ** 2,
        (_X,),
        output="array",
        gradient=lambda u, x: (
            2 * u[:, None] * np.where(x == np.max(x, axis=1, keepdims=True), x, 0)
        ),
        hvp=lambda u, v, x: 2 * u[:, None] * np.where(x == np.max(x, axis=1, keepdims=True), v, 0),
    ),
    Scenario(
        "min of everything",
        "reductions",
        lambda xp, x: xp.min(x) ** 3,
        (_X,),
        gradient=lambda u, x: u * np.where(x == np.min(x), 3 * x**2, 0),
        hvp=lambda u, v, x: u * np.where(x == np.min(x), 6 * x * v, 0),
    ),
    Scenario(
        "prod",
        "reductions",
        lambda xp, x: xp.prod(x, axis=0),
        (_POSITIVE,),
        output="array",
        gradient=lambda u, x: u * np.prod(x, axis=0) / x,
        hvp=_second_of_product,
    ),
    Scenario(
        "ops.prod",
        "reductions",
        lambda xp, x: ops.prod(x, axis=0),
        (_POSITIVE,),
        output="array",
        gradient=lambda u, x: u * np.prod(x, axis=0) / x,
        hvp=_second_of_product,
    ),
    Scenario(
        "var",
        "reductions",
        lambda xp, x: xp.var(x, axis=1, correction=1),
        (_X,),
        output="array",
        gradient=lambda u, x: u[:, None] * 2 / 3 * (x - np.mean(x, axis=1, keepdims=True)),
        hvp=lambda u, v, x: u[:, None] * 2 / 3 * (v - np.mean(v, axis=1, keepdims=True)),
    ),
    Scenario(
        "std",
        "reductions",
        lambda xp, x: xp.std(x),
        (draw(14, 5),),
        value=lambda x: np.sqrt(np.sum((x - np.sum(x) / 5) ** 2) / 5),
        oracle="complex step",
    ),
    Scenario(
        "ops.std",
        "reductions",
        lambda xp, x: ops.std(x, axis=0, correction=1),
        (_X,),
        output="array",
        value=lambda x: np.sqrt(np.sum((x - np.sum(x, axis=0) / 3) ** 2, axis=0) / 2),
        oracle="complex step",
    ),
    Scenario(
        "norm",
        "reductions",
        lambda xp, x: xp.linalg.vector_norm(x),
        (draw(15, 4),),
        gradient=lambda u, x: u * x / np.linalg.norm(x),
        hvp=lambda u, v, x: (
            u * (v / np.linalg.norm(x) - x * np.sum(x * v) / np.linalg.norm(x) ** 3)
        ),
    ),
    Scenario(
        "cumulative_sum",
        "reductions",
        lambda xp, x: xp.cumulative_sum(x**2, axis=1),
        (_X,),
        output="array",
        gradient=lambda u, x: 2 * x * np.cumsum(u[:, ::-1], axis=1)[:, ::-1],
        hvp=lambda u, v, x: 2 * v * np.cumsum(u[:, ::-1], axis=1)[:, ::-1],
    ),
    Scenario(
        "several sums",
        "reductions",
        lambda xp, x: xp.sum(x**2) + xp.sum(xp.exp(x), axis=0)[0] + xp.sum(x * x[0, 0]),
        (_X,),
        oracle="complex step",
    ),
    Scenario(
        "zero-size axis",
        "reductions",
        lambda xp, x: xp.sum(xp.sin(x) ** 2),
        (np.zeros((0, 3)),),
        gradient=lambda u, x: x,
        hvp=lambda u, v, x: x,
        tags=frozenset({"zero_size"}),
        operators=frozenset({"value", "grad", "value_and_grad", "vjp", "hvp"}),
    ),
)
