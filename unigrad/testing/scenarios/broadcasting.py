"""Broadcasting: cotangents come back to the shape that they left from."""

from __future__ import annotations

import numpy as np

from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_COLUMN, _ROW = draw(3, 3, 1), draw(4, 4, low=0.5, high=1.5)
_CUBE, _NUMBER = draw(5, 2, 3, 4), draw(6)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "column times row",
        "broadcasting",
        lambda xp, a, b: a * b,
        (_COLUMN, _ROW),
        output="array",
        gradient=lambda u, a, b: (
            np.sum(u * b, axis=1, keepdims=True),
            np.sum(u * a, axis=0),
        ),
        hvp=lambda u, v, a, b: (
            np.sum(u * v[1], axis=1, keepdims=True),
            np.sum(u * v[0], axis=0),
        ),
        tags=frozenset({"core"}),
    ),
    Scenario(
        "column over row",
        "broadcasting",
        lambda xp, a, b: a / b,
        (_COLUMN, _ROW),
        output="array",
        gradient=lambda u, a, b: (
            np.sum(u / b, axis=1, keepdims=True),
            np.sum(-u * a / b**2, axis=0),
        ),
        hvp=lambda u, v, a, b: (
            np.sum(-u * v[1] / b**2, axis=1, keepdims=True),
            np.sum(-u * v[0] / b**2 + 2 * u * a * v[1] / b**3, axis=0),
        ),
    ),
    Scenario(
        "cube times number",
        "broadcasting",
        lambda xp, x, c: c * x + c**2,
        (_CUBE, _NUMBER),
        output="array",
        gradient=lambda u, x, c: (u * c, np.sum(u * (x + 2 * c))),
        hvp=lambda u, v, x, c: (u * v[1], np.sum(u * (v[0] + 2 * v[1]))),
    ),
    Scenario(
        "broadcast_to",
        "broadcasting",
        lambda xp, x: xp.broadcast_to(x, (2, 3, 4)) ** 2,
        (_COLUMN,),
        output="array",
        gradient=lambda u, x: np.sum(2 * u * x, axis=(0, 2))[:, None],
        hvp=lambda u, v, x: np.sum(2 * u * v, axis=(0, 2))[:, None],
    ),
    Scenario(
        "number plus Python numbers",
        "broadcasting",
        lambda xp, x: 2 * x + x / 4 - (1 - x) * 3.0 + x**2,
        (_NUMBER,),
        gradient=lambda u, x: u * (5.25 + 2 * x),
        hvp=lambda u, v, x: 2 * u * v,
    ),
    Scenario(
        "outer difference",
        "broadcasting",
        lambda xp, x: xp.sum(xp.square(x[:, None] - x[None, :]) * xp.exp(x)[:, None]),
        (draw(7, 4),),
        oracle="complex step",
    ),
)
