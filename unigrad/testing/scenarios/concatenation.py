"""Joining arrays: each part gets its own piece of the cotangent."""

from __future__ import annotations

import numpy as np

from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_A, _B = draw(51, 2, 3), draw(52, 1, 3)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "concat",
        "concatenation",
        lambda xp, a, b: xp.concat([a**2, b, a], axis=0),
        (_A, _B),
        output="array",
        gradient=lambda u, a, b: (2 * a * u[:2] + u[3:], u[2:3]),
        hvp=lambda u, v, a, b: (2 * v[0] * u[:2], 0 * b),
        tags=frozenset({"core"}),
    ),
    Scenario(
        "stack",
        "concatenation",
        lambda xp, x, y: xp.stack([x * y, x, y**2], axis=1),
        (draw(53, 3), draw(54, 3)),
        output="array",
        gradient=lambda u, x, y: (u[:, 0] * y + u[:, 1], u[:, 0] * x + 2 * y * u[:, 2]),
        hvp=lambda u, v, x, y: (u[:, 0] * v[1], u[:, 0] * v[0] + 2 * v[1] * u[:, 2]),
    ),
    Scenario(
        "stacked scalars",
        "concatenation",
        lambda xp, x: xp.stack([x[0] * x[1], xp.sin(x[2]), x[0] ** 2]),
        (draw(55, 3),),
        output="array",
        gradient=lambda u, x: np.array(
            [u[0] * x[1] + 2 * u[2] * x[0], u[0] * x[0], u[1] * np.cos(x[2])]
        ),
        hvp=lambda u, v, x: np.array(
            [u[0] * v[1] + 2 * u[2] * v[0], u[0] * v[0], -u[1] * np.sin(x[2]) * v[2]]
        ),
    ),
)
