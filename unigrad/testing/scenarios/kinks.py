"""Kinks (S18): where no derivative exists, `unigrad.ops` has one rule on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario

__all__ = ["SCENARIOS"]


def _kink(
    name: str,
    f: Callable[..., Any],
    point: list[float] | tuple[list[float], ...],
    slope: list[float] | tuple[list[float], ...],
    *,
    output: Any = "array",
) -> Scenario:
    """A function whose pinned derivative is diagonal or a gradient, and whose second is 0."""
    points = point if isinstance(point, tuple) else (point,)
    slopes = slope if isinstance(slope, tuple) else (slope,)

    def gradient(u: Any, *xs: Any) -> Any:
        return tuple(u * np.array(s) for s in slopes)

    def second(u: Any, v: Any, *xs: Any) -> Any:
        return tuple(0 * x for x in xs)

    return Scenario(
        name,
        "kinks",
        f,
        tuple(np.array(p) for p in points),
        output=output,
        gradient=gradient,
        hvp=second,
        tags=frozenset({"kink"}),
    )


SCENARIOS: tuple[Scenario, ...] = (
    _kink("abs at 0", lambda xp, x: ops.abs(x), [-2.0, 0.0, 3.0], [-1.0, 0.0, 1.0]),
    _kink("relu at 0", lambda xp, x: ops.relu(x), [-2.0, 0.0, 3.0], [0.0, 0.0, 1.0]),
    _kink(
        "leaky_relu at 0",
        lambda xp, x: ops.leaky_relu(x, 0.1),
        [-2.0, 0.0, 3.0],
        [0.1, 0.1, 1.0],
    ),
    _kink(
        "maximum of equals",
        lambda xp, x, y: ops.maximum(x, y),
        ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]),
        ([1.0, 0.0, 1.0], [0.0, 1.0, 0.0]),
    ),
    _kink(
        "minimum of equals",
        lambda xp, x, y: ops.minimum(x, y),
        ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]),
        ([1.0, 1.0, 0.0], [0.0, 0.0, 1.0]),
    ),
    _kink(
        "max of ties", lambda xp, x: ops.max(x), [1.0, 1.0, 0.0], [1.0, 0.0, 0.0], output="scalar"
    ),
    _kink(
        "min of ties", lambda xp, x: ops.min(x), [2.0, 1.0, 1.0], [0.0, 1.0, 0.0], output="scalar"
    ),
    _kink(
        "max of ties, split",
        lambda xp, x: ops.max(x, ties="split"),
        [1.0, 1.0, 0.0],
        [0.5, 0.5, 0.0],
        output="scalar",
    ),
    _kink(
        "clip at its bounds",
        lambda xp, x: ops.clip(x, 0.0, 1.0),
        [-1.0, 0.0, 0.5, 1.0, 2.0],
        [0.0, 1.0, 1.0, 1.0, 0.0],
    ),
    _kink("norm of 0", lambda xp, x: ops.norm(x), [0.0, 0.0], [0.0, 0.0], output="scalar"),
    _kink("std of equals", lambda xp, x: ops.std(x), [1.0, 1.0], [0.0, 0.0], output="scalar"),
    _kink(
        "power at (0, 0)",
        lambda xp, x, y: ops.power(x, y),
        ([0.0], [0.0]),
        ([0.0], [0.0]),
    ),
    _kink("atan2 at (0, 0)", lambda xp, y, x: ops.atan2(y, x), ([0.0], [0.0]), ([0.0], [0.0])),
    _kink(
        "where(x > 0, log x, 0) at 0",
        lambda xp, x: ops.where(x > 0, xp.log, 0.0, x),
        [0.0],
        [0.0],
    ),
    Scenario(
        "maxout of ties",
        "kinks",
        lambda xp, z: ops.maxout(z, 2),
        (np.array([1.0, 3.0, 2.0, 2.0]),),
        output="array",
        gradient=lambda u, z: np.array([0.0, u[0], u[1], 0.0]),
        hvp=lambda u, v, z: 0 * z,
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "max_pool2d of ties",
        "kinks",
        lambda xp, x: ops.max_pool2d(x, 2),
        (np.array([[[[1.0, 1.0], [1.0, 0.0]]]]),),
        output="array",
        gradient=lambda u, x: u * np.array([[[[1.0, 0.0], [0.0, 0.0]]]]),
        hvp=lambda u, v, x: 0 * x,
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "prod with one zero",
        "kinks",
        lambda xp, x: ops.prod(x),
        (np.array([0.0, 2.0, 3.0]),),
        gradient=lambda u, x: u * np.array([6.0, 0.0, 0.0]),
        hvp=lambda u, v, x: u * np.array([3 * v[1] + 2 * v[2], 3 * v[0], 2 * v[0]]),
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "prod with two zeros",
        "kinks",
        lambda xp, x: ops.prod(x),
        (np.array([0.0, 0.0, 3.0]),),
        gradient=lambda u, x: 0 * x,
        hvp=lambda u, v, x: u * np.array([3 * v[1], 3 * v[0], 0.0]),
        tags=frozenset({"kink"}),
    ),
    Scenario(
        "sqrt at 0",
        "kinks",
        lambda xp, x: ops.sqrt(x),
        (np.array([0.0, 4.0]),),
        output="array",
        gradient=lambda u, x: u * np.array([np.inf, 0.25]),
        tags=frozenset({"kink", "singular"}),
        operators=frozenset({"value", "grad", "vjp"}),
    ),
    Scenario(
        "power of 0",
        "kinks",
        lambda xp, x: ops.power(x, 2),
        (np.array([0.0, -3.0]),),
        output="array",
        gradient=lambda u, x: u * 2 * x,
        hvp=lambda u, v, x: u * 2 * v,
        tags=frozenset({"kink"}),
    ),
)
