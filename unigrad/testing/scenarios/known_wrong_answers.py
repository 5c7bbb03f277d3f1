"""What other wrappers are known to get wrong: derivatives inside derivatives, and custom rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.operators import custom_vjp, grad, hvp, jacobian, value_and_grad, vjp
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_X = np.array([1.0, 2.0])


@custom_vjp
def _square(x: Any) -> Any:
    return x * x


_square.defvjp(lambda x: (x * x, x), lambda x, u: (u * 2 * x,))


@custom_vjp
def _product(x: Any, y: Any) -> Any:
    return x * y


_product.defvjp(lambda x, y: (x * y, (x, y)), lambda xy, u: (u * xy[1], u * xy[0]))


SCENARIOS: tuple[Scenario, ...] = (
    # Some give [3, 12].
    Scenario(
        "gradient of the sum of a gradient",
        "known wrong answers",
        lambda xp, x: xp.sum(grad(lambda y: xp.sum(y**3))(x)),
        (_X,),
        value=lambda x: np.sum(3 * x**2),
        gradient=lambda u, x: u * 6 * x,
        hvp=lambda u, v, x: u * 6 * v,
        depth=1,
        tags=frozenset({"interleaved"}),
        operators=frozenset({"value", "grad", "vjp", "hvp"}),
    ),
    # Some give zeros.
    Scenario(
        "Jacobian of a Jacobian",
        "known wrong answers",
        lambda xp, x: xp.sum(jacobian(jacobian(lambda y: y**3))(x)),
        (_X,),
        value=lambda x: np.sum(6 * x),
        gradient=lambda u, x: u * np.full(2, 6.0),
        hvp=lambda u, v, x: 0 * x,
        depth=2,
        operators=frozenset({"value", "grad"}),
    ),
    # d/dx (x · d/dy (x + y)) is 1, and not 2.
    Scenario(
        "perturbation confusion",
        "known wrong answers",
        lambda xp, x: x * grad(lambda y: x + y)(x * 0 + 1.0),
        (np.array(1.5),),
        value=lambda x: x,
        gradient=lambda u, x: u * np.ones_like(x),
        hvp=lambda u, v, x: 0 * x,
        depth=1,
        operators=frozenset({"value", "grad", "hvp"}),
    ),
    Scenario(
        "gradient penalty",
        "known wrong answers",
        lambda xp, w, x: xp.sum(grad(lambda y: xp.sum(xp.tanh(xp.matmul(y, w))))(x) ** 2),
        (draw(171, 2),),
        (draw(172, 3, 2),),
        value=lambda w, x: np.sum(((1 - np.tanh(x @ w) ** 2)[:, None] * w) ** 2),
        oracle="complex step",
        depth=1,
        operators=frozenset({"value", "grad", "value_and_grad", "hvp"}),
    ),
    Scenario(
        "pullback of a cotangent that depends on the argument",
        "known wrong answers",
        lambda xp, x: xp.sum(vjp(xp.sin, x)[1](x**2)[0]),
        (_X,),
        value=lambda x: np.sum(x**2 * np.cos(x)),
        gradient=lambda u, x: u * (2 * x * np.cos(x) - x**2 * np.sin(x)),
        hvp=lambda u, v, x: u * v * (2 * np.cos(x) - 4 * x * np.sin(x) - x**2 * np.cos(x)),
        depth=1,
        operators=frozenset({"value", "grad", "hvp"}),
    ),
    Scenario(
        "value and gradient in one function",
        "known wrong answers",
        lambda xp, x: _value_times_slope(xp, x),
        (np.array(0.7),),
        value=lambda x: np.sin(x) * np.cos(x),
        gradient=lambda u, x: u * np.cos(2 * x),
        hvp=lambda u, v, x: -2 * u * v * np.sin(2 * x),
        depth=1,
        operators=frozenset({"value", "grad", "hvp"}),
    ),
    Scenario(
        "curvature along the gradient",
        "known wrong answers",
        lambda xp, x: xp.sum(hvp(lambda y: xp.sum(y**3), x, x)),
        (_X,),
        value=lambda x: np.sum(6 * x**2),
        gradient=lambda u, x: u * 12 * x,
        hvp=lambda u, v, x: u * 12 * v,
        depth=2,
        operators=frozenset({"value", "grad"}),
    ),
    # A rule that treats its residual as a constant has half of this second derivative.
    Scenario(
        "custom rule",
        "known wrong answers",
        lambda xp, x: xp.sum(_square(x) * _square(_square(x))),
        (_X,),
        value=lambda x: np.sum(x**6),
        gradient=lambda u, x: u * 6 * x**5,
        hvp=lambda u, v, x: u * 30 * x**4 * v,
        tags=frozenset({"custom_vjp"}),
    ),
    # A rule that ignores the factor from upstream has the gradient (y, x).
    Scenario(
        "custom rule with an upstream factor",
        "known wrong answers",
        lambda xp, x, y: xp.sum(xp.exp(_product(x, y))),
        (_X, draw(173, 2)),
        value=lambda x, y: np.sum(np.exp(x * y)),
        gradient=lambda u, x, y: (u * y * np.exp(x * y), u * x * np.exp(x * y)),
        hvp=lambda u, v, x, y: (
            u * np.exp(x * y) * (y**2 * v[0] + (1 + x * y) * v[1]),
            u * np.exp(x * y) * ((1 + x * y) * v[0] + x**2 * v[1]),
        ),
        tags=frozenset({"custom_vjp"}),
    ),
    # None, or a crash, elsewhere (S3).
    Scenario(
        "an argument that is not used",
        "known wrong answers",
        lambda xp, x, y: xp.sum(x**2),
        (_X, draw(174, 2, 3)),
        gradient=lambda u, x, y: (u * 2 * x, 0 * y),
        hvp=lambda u, v, x, y: (u * 2 * v[0], 0 * y),
    ),
    # A step function is connected, and has the derivative 0.
    Scenario(
        "rounding and signs",
        "known wrong answers",
        lambda xp, x: xp.sum(x * xp.sign(x) + xp.floor(x) * x),
        (np.array([1.3, -2.6]),),
        gradient=lambda u, x: u * (np.sign(x) + np.floor(x)),
        hvp=lambda u, v, x: 0 * x,
    ),
)


def _value_times_slope(xp: Any, x: Any) -> Any:
    y, slope = value_and_grad(xp.sin)(x)
    return y * slope
