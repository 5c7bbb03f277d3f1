"""Second derivatives with known numbers, and functions whose Hessian is zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_TRAP = np.array([[0.5, -1.0], [1.0, 2.0]])


def _rosenbrock_gradient(u: Any, x: Any) -> Any:
    inner = x[1] - x[0] ** 2
    return u * np.array([-400 * x[0] * inner - 2 * (1 - x[0]), 200 * inner])


def _rosenbrock_second(u: Any, v: Any, x: Any) -> Any:
    return u * np.array(
        [
            (1200 * x[0] ** 2 - 400 * x[1] + 2) * v[0] - 400 * x[0] * v[1],
            -400 * x[0] * v[0] + 200 * v[1],
        ]
    )


def _zero(u: Any, v: Any, *xs: Any) -> Any:
    return tuple(0 * x for x in v) if isinstance(v, tuple) else 0 * v


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "Rosenbrock",
        "curvature",
        lambda xp, x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
        (np.array([-1.2, 1.0]),),
        gradient=_rosenbrock_gradient,
        hvp=_rosenbrock_second,
        tags=frozenset({"core", "third"}),
        float32_tolerance=2e-5,
        reason="x1 - x0² = -0.44 loses a digit to cancellation in single precision",
    ),
    Scenario(
        "sum of squares of a linear map",
        "curvature",
        lambda xp, w, x: xp.sum(xp.matmul(x, w) ** 2),
        (np.array([0.7, -0.3]),),
        (_TRAP,),
        gradient=lambda u, w, x: u * 2 * x.T @ (x @ w),
        hvp=lambda u, v, w, x: u * 2 * x.T @ (x @ v),
    ),
    Scenario(
        "monomial and sine",
        "curvature",
        lambda xp, x: x[0] ** 2 * x[1] + xp.sin(x[1]),
        (np.array([1.0, 2.0]),),
        gradient=lambda u, x: u * np.array([2 * x[0] * x[1], x[0] ** 2 + np.cos(x[1])]),
        hvp=lambda u, v, x: (
            u * np.array([2 * x[1] * v[0] + 2 * x[0] * v[1], 2 * x[0] * v[0] - np.sin(x[1]) * v[1]])
        ),
        tags=frozenset({"third"}),
    ),
    Scenario(
        "relu squared",
        "curvature",
        lambda xp, x: xp.sum(ops.relu(x) ** 2),
        (np.array([-1.0, 0.0, 2.0]),),
        gradient=lambda u, x: u * 2 * x * (x > 0),
        hvp=lambda u, v, x: u * 2 * v * (x > 0),
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "sum of tanh squared",
        "curvature",
        lambda xp, x: xp.sum(xp.tanh(x) ** 2),
        (np.array([0.5, -1.0]),),
        gradient=lambda u, x: u * 2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
        hvp=lambda u, v, x: u * v * 2 * (1 - np.tanh(x) ** 2) * (1 - 3 * np.tanh(x) ** 2),
    ),
    Scenario(
        "linear function",
        "curvature",
        lambda xp, x, c: xp.sum(c * x),
        (draw(141, 3),),
        (np.array([2.0, -1.0, 0.5]),),
        gradient=lambda u, x, c: u * c,
        hvp=_zero,
        tags=frozenset({"core"}),
    ),
    Scenario(
        "linear map of an array",
        "curvature",
        lambda xp, x, a: xp.reshape(xp.matmul(a, x), (2,)),
        (draw(142, 3),),
        (draw(143, 2, 3),),
        output="array",
        gradient=lambda u, x, a: a.T @ u,
        hvp=_zero,
    ),
    Scenario(
        "identity",
        "curvature",
        lambda xp, x: x,
        (draw(144, 3),),
        output="array",
        gradient=lambda u, x: u,
        hvp=_zero,
    ),
    Scenario(
        "constant",
        "curvature",
        lambda xp, x: xp.sum(xp.zeros_like(x)) + 2.0,
        (draw(145, 3),),
        gradient=lambda u, x: 0 * x,
        hvp=_zero,
    ),
    Scenario(
        "piecewise linear",
        "curvature",
        lambda xp, x: xp.sum(xp.abs(x) + 3 * xp.maximum(x, 2 * x)),
        (np.array([-1.0, 2.0, 0.5]),),
        gradient=lambda u, x: u * (np.sign(x) + 3 * np.where(x > 0, 2.0, 1.0)),
        hvp=_zero,
    ),
    Scenario(
        "bilinear function",
        "curvature",
        lambda xp, x, y: xp.matmul(x, y),
        (draw(146, 3), draw(147, 3)),
        gradient=lambda u, x, y: (u * y, u * x),
        hvp=lambda u, v, x, y: (u * v[1], u * v[0]),
        tags=frozenset({"core"}),
    ),
    Scenario(
        "cubic",
        "curvature",
        lambda xp, x: xp.sum(x**3),
        (np.array([1.0, 2.0]),),
        gradient=lambda u, x: u * 3 * x**2,
        hvp=lambda u, v, x: u * 6 * x * v,
        tags=frozenset({"core", "third", "interleaved"}),
    ),
)
