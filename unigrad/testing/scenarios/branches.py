"""Selections: `where` with branches undefined where they are not taken, branches of Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.operators import stop_gradient
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_SIGNS = np.array([-1.0, 0.0, 0.5, 2.0])


def _positive(x: Any) -> Any:
    return np.where(x > 0, x, 1.0)


def _python_branch(xp: Any, x: Any) -> Any:
    total = xp.zeros_like(x[0])
    for i in range(4):
        entry = x[i]
        total = total + (entry**2 if i % 2 else xp.exp(entry) * total)
    return total


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "where of two smooth branches",
        "branches",
        lambda xp, x, y: xp.where(x > 0, x * y, y**2),
        (draw(151, 5), draw(152, 5)),
        output="array",
        gradient=lambda u, x, y: (u * np.where(x > 0, y, 0), u * np.where(x > 0, x, 2 * y)),
        hvp=lambda u, v, x, y: (
            u * np.where(x > 0, v[1], 0),
            u * np.where(x > 0, v[0], 2 * v[1]),
        ),
        tags=frozenset({"core"}),
    ),
    Scenario(
        "where with a Python number",
        "branches",
        lambda xp, x: xp.where(x > 0, x**2, xp.zeros_like(x)),
        (_SIGNS,),
        output="array",
        gradient=lambda u, x: u * np.where(x > 0, 2 * x, 0),
        hvp=lambda u, v, x: u * np.where(x > 0, 2 * v, 0),
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "ops.where with an unsafe logarithm",
        "branches",
        lambda xp, x: ops.where(x > 0, xp.log, 0.0, x),
        (_SIGNS,),
        output="array",
        value=lambda x: np.where(x > 0, np.log(_positive(x)), 0.0),
        gradient=lambda u, x: u * np.where(x > 0, 1 / _positive(x), 0.0),
        hvp=lambda u, v, x: u * v * np.where(x > 0, -1 / _positive(x) ** 2, 0.0),
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "ops.where with an unsafe root on both sides",
        "branches",
        lambda xp, x: ops.where(x > 0, xp.sqrt, lambda y: -xp.sqrt(-y - 1 + 2), x, safe=0.5),
        (np.array([-2.0, -0.5, 0.5, 2.0]),),
        output="array",
        value=lambda x: np.where(x > 0, np.sqrt(np.abs(x)), -np.sqrt(np.abs(1 - x))),
        gradient=lambda u, x: u * 0.5 / np.sqrt(np.where(x > 0, x, 1 - x)),
        hvp=lambda u, v, x: (
            u * v * np.where(x > 0, -1, 1) * 0.25 * np.where(x > 0, x, 1 - x) ** -1.5
        ),
    ),
    Scenario(
        "branch of Python",
        "branches",
        _python_branch,
        (draw(153, 4),),
        oracle="complex step",
    ),
    Scenario(
        "xlogy",
        "branches",
        lambda xp, x, y: ops.where(x != 0, lambda a, b: a * xp.log(b), 0.0, x, y),
        (np.array([0.0, 0.3, 1.2]), np.array([0.0, 0.5, 2.0])),
        output="array",
        value=lambda x, y: x * np.log(np.where(x == 0, 1, y)),
        gradient=lambda u, x, y: (
            u * np.log(np.where(x == 0, 1, y)),
            u * x / np.where(x == 0, 1, y),
        ),
        hvp=lambda u, v, x, y: (
            u * np.where(x == 0, 0, v[1]) / np.where(x == 0, 1, y),
            u * (np.where(x == 0, 0, v[0]) / np.where(x == 0, 1, y))
            - u * x * v[1] / np.where(x == 0, 1, y) ** 2,
        ),
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "stop_gradient",
        "branches",
        lambda xp, x: xp.sum(x**2 * stop_gradient(x)),
        (draw(154, 3),),
        value=lambda x: np.sum(x**3),
        gradient=lambda u, x: u * 2 * x**2,
        # The factor that was held constant stays so at every order.
        hvp=lambda u, v, x: u * 2 * x * v,
    ),
)
