"""Elementwise functions: value, first and second derivative in closed form, one row each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

Row = tuple[str, Callable[..., Any], Callable[..., Any], Callable[..., Any], float, float]


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _normal_cdf(x: Any) -> Any:
    return np.vectorize(lambda t: 0.5 * math.erfc(-t / math.sqrt(2)))(x)


def _normal_density(x: Any) -> Any:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _silu_slope(x: Any) -> Any:
    s = _logistic(x)
    return s + x * s * (1 - s)


def _silu_curvature(x: Any) -> Any:
    s = _logistic(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


# name, f(xp, x), f', f'', low, high
_ROWS: tuple[Row, ...] = (
    ("exp", lambda xp, x: xp.exp(x), np.exp, np.exp, -2, 2),
    ("expm1", lambda xp, x: xp.expm1(x), np.exp, np.exp, -2, 2),
    ("log", lambda xp, x: xp.log(x), lambda x: 1 / x, lambda x: -1 / x**2, 0.2, 3),
    (
        "log1p",
        lambda xp, x: xp.log1p(x),
        lambda x: 1 / (1 + x),
        lambda x: -1 / (1 + x) ** 2,
        -0.6,
        3,
    ),
    (
        "log2",
        lambda xp, x: xp.log2(x),
        lambda x: 1 / (x * math.log(2)),
        lambda x: -1 / (x**2 * math.log(2)),
        0.2,
        3,
    ),
    (
        "log10",
        lambda xp, x: xp.log10(x),
        lambda x: 1 / (x * math.log(10)),
        lambda x: -1 / (x**2 * math.log(10)),
        0.2,
        3,
    ),
    (
        "sqrt",
        lambda xp, x: xp.sqrt(x),
        lambda x: 0.5 / np.sqrt(x),
        lambda x: -0.25 * x**-1.5,
        0.2,
        3,
    ),
    ("square", lambda xp, x: xp.square(x), lambda x: 2 * x, lambda x: 2 + 0 * x, -2, 2),
    ("sin", lambda xp, x: xp.sin(x), np.cos, lambda x: -np.sin(x), -3, 3),
    ("cos", lambda xp, x: xp.cos(x), lambda x: -np.sin(x), lambda x: -np.cos(x), -3, 3),
    (
        "tan",
        lambda xp, x: xp.tan(x),
        lambda x: 1 + np.tan(x) ** 2,
        lambda x: 2 * np.tan(x) * (1 + np.tan(x) ** 2),
        -1,
        1,
    ),
    (
        "asin",
        lambda xp, x: xp.asin(x),
        lambda x: (1 - x**2) ** -0.5,
        lambda x: x * (1 - x**2) ** -1.5,
        -0.8,
        0.8,
    ),
    (
        "acos",
        lambda xp, x: xp.acos(x),
        lambda x: -((1 - x**2) ** -0.5),
        lambda x: -x * (1 - x**2) ** -1.5,
        -0.8,
        0.8,
    ),
    (
        "atan",
        lambda xp, x: xp.atan(x),
        lambda x: 1 / (1 + x**2),
        lambda x: -2 * x / (1 + x**2) ** 2,
        -2,
        2,
    ),
    ("sinh", lambda xp, x: xp.sinh(x), np.cosh, np.sinh, -2, 2),
    ("cosh", lambda xp, x: xp.cosh(x), np.sinh, np.cosh, -2, 2),
    (
        "tanh",
        lambda xp, x: xp.tanh(x),
        lambda x: 1 - np.tanh(x) ** 2,
        lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
        -2,
        2,
    ),
    (
        "asinh",
        lambda xp, x: xp.asinh(x),
        lambda x: (1 + x**2) ** -0.5,
        lambda x: -x * (1 + x**2) ** -1.5,
        -2,
        2,
    ),
    (
        "acosh",
        lambda xp, x: xp.acosh(x),
        lambda x: (x**2 - 1) ** -0.5,
        lambda x: -x * (x**2 - 1) ** -1.5,
        1.4,
        3,
    ),
    (
        "atanh",
        lambda xp, x: xp.atanh(x),
        lambda x: 1 / (1 - x**2),
        lambda x: 2 * x / (1 - x**2) ** 2,
        -0.8,
        0.8,
    ),
    (
        "reciprocal",
        lambda xp, x: xp.reciprocal(x),
        lambda x: -1 / x**2,
        lambda x: 2 / x**3,
        0.4,
        2,
    ),
    (
        "operators",
        lambda xp, x: -(2 - x) * x / (1 + x**2) + 3 / (x + 2) - x**3,
        lambda x: (
            (-2 + 2 * x) / (1 + x**2)
            - 2 * x * (x**2 - 2 * x) / (1 + x**2) ** 2
            - 3 / (x + 2) ** 2
            - 3 * x**2
        ),
        lambda x: (
            2 / (1 + x**2)
            - 4 * x * (2 * x - 2) / (1 + x**2) ** 2
            - (x**2 - 2 * x) * (2 - 6 * x**2) / (1 + x**2) ** 3
            + 6 / (x + 2) ** 3
            - 6 * x
        ),
        0.2,
        2,
    ),
    ("float power", lambda xp, x: x**2.5, lambda x: 2.5 * x**1.5, lambda x: 3.75 * x**0.5, 0.3, 2),
    (
        "sigmoid",
        lambda xp, x: ops.sigmoid(x),
        lambda x: _logistic(x) * _logistic(-x),
        lambda x: _logistic(x) * _logistic(-x) * (1 - 2 * _logistic(x)),
        -4,
        4,
    ),
    (
        "softplus",
        lambda xp, x: ops.softplus(x),
        _logistic,
        lambda x: _logistic(x) * _logistic(-x),
        -4,
        4,
    ),
    ("silu", lambda xp, x: ops.silu(x), _silu_slope, _silu_curvature, -4, 4),
    (
        "gelu",
        lambda xp, x: ops.gelu(x),
        lambda x: _normal_cdf(x) + x * _normal_density(x),
        lambda x: (2 - x**2) * _normal_density(x),
        -3,
        3,
    ),
)


def _unary(row: Row) -> Scenario:
    name, f, slope, curvature, low, high = row
    tags = {"sin": {"core"}, "tanh": {"core", "third"}, "exp": {"third"}}
    return Scenario(
        name,
        "elementwise",
        f,
        (draw(len(name), 5, low=low, high=high),),
        output="array",
        gradient=lambda u, x: u * slope(x),
        hvp=lambda u, v, x: u * v * curvature(x),
        tags=frozenset(tags.get(name, ())),
    )


_X, _Y = draw(1, 4, low=0.5, high=2), draw(2, 4, low=-1.5, high=1.5)


def _power_second(u: Any, v: Any, x: Any, y: Any) -> Any:
    p, log = x**y, np.log(x)
    mixed = p / x * (1 + y * log)
    return (
        u * (y * (y - 1) * p / x**2 * v[0] + mixed * v[1]),
        u * (mixed * v[0] + p * log**2 * v[1]),
    )


def _atan2_second(u: Any, v: Any, y: Any, x: Any) -> Any:
    r = (x**2 + y**2) ** 2
    yy, xy = -2 * x * y / r, (y**2 - x**2) / r
    return u * (yy * v[0] + xy * v[1]), u * (xy * v[0] - yy * v[1])


SCENARIOS: tuple[Scenario, ...] = (
    *map(_unary, _ROWS),
    Scenario(
        "power of two arrays",
        "elementwise",
        lambda xp, x, y: xp.pow(x, y),
        (_X, _Y),
        output="array",
        gradient=lambda u, x, y: (u * y * x ** (y - 1), u * x**y * np.log(x)),
        hvp=_power_second,
    ),
    Scenario(
        "atan2",
        "elementwise",
        lambda xp, y, x: xp.atan2(y, x),
        (_Y, _X),
        output="array",
        gradient=lambda u, y, x: (u * x / (x**2 + y**2), -u * y / (x**2 + y**2)),
        hvp=_atan2_second,
    ),
    Scenario(
        "logaddexp",
        "elementwise",
        lambda xp, x, y: xp.logaddexp(x, y),
        (_X, _Y),
        output="array",
        gradient=lambda u, x, y: (u * _logistic(x - y), u * _logistic(y - x)),
        hvp=lambda u, v, x, y: (
            u * _logistic(x - y) * _logistic(y - x) * (v[0] - v[1]),
            u * _logistic(x - y) * _logistic(y - x) * (v[1] - v[0]),
        ),
    ),
    # Entries: y x, then x 2y, then x x, by which of them is larger and smaller.
    Scenario(
        "maximum and minimum",
        "elementwise",
        lambda xp, x, y: xp.maximum(x, y) * xp.minimum(x, 2 * y),
        (np.array([1.0, 2.0, 0.5]), np.array([2.0, 0.5, 0.3])),
        output="array",
        gradient=lambda u, x, y: (
            u * np.array([y[0], 2 * y[1], 2 * x[2]]),
            u * np.array([x[0], 2 * x[1], 0.0]),
        ),
        hvp=lambda u, v, x, y: (
            u * np.array([v[1][0], 2 * v[1][1], 2 * v[0][2]]),
            u * np.array([v[0][0], 2 * v[0][1], 0.0]),
        ),
    ),
)
