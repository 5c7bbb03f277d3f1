"""Rules of scipy.special's elementary functions: exponentials, entropies, losses, degrees.

Where a limit is taken (``x log y`` at ``x = y = 0``), the derivative is that of the limit in the
other argument; the Box-Cox family is differentiable in its parameter at 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad.engine.rules.special import special

__all__: list[str] = []

LN2, LN10, DEGREE = math.log(2), math.log(10), math.pi / 180

# ------------------------------------------------------------------------- exponentials, powers

special("exp2", sp.exp2, lambda ans, x: ans * LN2)
special("exp10", sp.exp10, lambda ans, x: ans * LN10)
special("expm1", sp.expm1, lambda ans, x: np.exp(x))
special("log1p", sp.log1p, lambda ans, x: 1 / (1 + x))
special("cosm1", sp.cosm1, lambda ans, x: -np.sin(x))
special("cbrt", sp.cbrt, lambda ans, x: 1 / (3 * ans * ans))
special("exprel", sp.exprel, lambda ans, x: _exprel_slope(x))
special(
    "powm1",
    sp.powm1,
    lambda ans, x, y: y * np.power(x, y - 1),
    lambda ans, x, y: (ans + 1) * np.log(x),
)
special("wrightomega", sp.wrightomega, lambda ans, z: ans / (1 + ans))
special("sindg", sp.sindg, lambda ans, x: DEGREE * sp.cosdg(x))
special("cosdg", sp.cosdg, lambda ans, x: -DEGREE * sp.sindg(x))
special("tandg", sp.tandg, lambda ans, x: DEGREE * (1 + ans * ans))
special("cotdg", sp.cotdg, lambda ans, x: -DEGREE * (1 + ans * ans))
special(
    "radian",
    sp.radian,
    lambda ans, d, m, s: DEGREE,
    lambda ans, d, m, s: DEGREE / 60,
    lambda ans, d, m, s: DEGREE / 3600,
)
special("round", sp.round, lambda ans, x: 0.0)

# ------------------------------------------------------------------------- logistic, entropy

special("expit", sp.expit, lambda ans, x: ans * sp.expit(-x))
special("log_expit", sp.log_expit, lambda ans, x: sp.expit(-x))
special("logit", sp.logit, lambda ans, x: 1 / (x * (1 - x)))
special(
    "xlogy",
    sp.xlogy,
    lambda ans, x, y: np.log(np.where(np.logical_and(x == 0, y == 0), 1.0, y)),
    lambda ans, x, y: x / np.where(np.logical_and(x == 0, y == 0), 1.0, y),
)
special(
    "xlog1py",
    sp.xlog1py,
    lambda ans, x, y: np.log1p(np.where(np.logical_and(x == 0, y == -1), 0.0, y)),
    lambda ans, x, y: x / np.where(np.logical_and(x == 0, y == -1), 1.0, 1 + y),
)
special("entr", sp.entr, lambda ans, x: -np.log(x) - 1)
special(
    "rel_entr",
    sp.rel_entr,
    lambda ans, x, y: np.log(_ratio(x, y)) + 1,
    lambda ans, x, y: -_ratio(x, y),
)
special(
    "kl_div",
    sp.kl_div,
    lambda ans, x, y: np.log(_ratio(x, y)),
    lambda ans, x, y: 1 - _ratio(x, y),
)


def _ratio(x: Any, y: Any) -> Any:
    """``x / y``, and ``x`` where both are 0."""
    return x / np.where(np.logical_and(x == 0, y == 0), 1.0, y)


# ------------------------------------------------------------------------- robust losses

special(
    "huber",
    sp.huber,
    lambda ans, delta, r: np.maximum(np.abs(r) - delta, 0.0),
    lambda ans, delta, r: np.minimum(np.maximum(r, -delta), delta),
)
special(
    "pseudo_huber",
    sp.pseudo_huber,
    lambda ans, delta, r: _pseudo_huber_in_delta(delta, r),
    lambda ans, delta, r: r / np.sqrt(1 + (r / delta) ** 2),
)


def _pseudo_huber_in_delta(delta: Any, r: Any) -> Any:
    u = (r / delta) ** 2
    s = np.sqrt(1 + u)
    return delta * u * u / (s * (s + 1) ** 2)


# ------------------------------------------------------------------------- Box and Cox

special(
    "boxcox",
    sp.boxcox,
    lambda ans, x, p: np.power(x, p - 1),
    lambda ans, x, p: _boxcox_in_power(np.log(x), p),
)
special(
    "boxcox1p",
    sp.boxcox1p,
    lambda ans, x, p: np.power(1 + x, p - 1),
    lambda ans, x, p: _boxcox_in_power(np.log1p(x), p),
)
special(
    "inv_boxcox",
    sp.inv_boxcox,
    lambda ans, y, p: ans / (1 + p * y),
    lambda ans, y, p: ans * y * y * _logrel_slope(p * y),
)
special(
    "inv_boxcox1p",
    sp.inv_boxcox1p,
    lambda ans, y, p: (ans + 1) / (1 + p * y),
    lambda ans, y, p: (ans + 1) * y * y * _logrel_slope(p * y),
)


def _boxcox_in_power(log_x: Any, p: Any) -> Any:
    """Box-Cox is ``log(x) exprel(p log(x))``."""
    return log_x * log_x * _exprel_slope(p * log_x)


NEAR = 0.5
"""Below, differences of nearly equal numbers are replaced by their power series."""

_EXPREL = [1 / math.factorial(n) / (n + 2) for n in range(16)]
_LOGREL = [-((-1) ** n) * (n + 1) / (n + 2) for n in range(56)]


def _exprel_slope(x: Any) -> Any:
    """The derivative of ``expm1(x) / x``: ``(exp(x) (x - 1) + 1) / x^2``, 1/2 at 0."""
    near = np.abs(x) < NEAR
    far = np.where(near, 1.0, x)
    direct = (np.exp(far) - sp.exprel(far)) / far
    return np.where(near, _series(_EXPREL, np.where(near, x, 0.0)), direct)


def _logrel_slope(x: Any) -> Any:
    """The derivative of ``log1p(x) / x``: ``(x / (1 + x) - log1p(x)) / x^2``, -1/2 at 0."""
    near = np.abs(x) < NEAR
    far = np.where(near, 1.0, x)
    direct = (far / (1 + far) - np.log1p(far)) / (far * far)
    return np.where(near, _series(_LOGREL, np.where(near, x, 0.0)), direct)


def _polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    total = coefficients[-1] + 0 * x
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def _pull_series(g: Any, ans: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    return g * _series([n * c for n, c in enumerate(coefficients)][1:], x)


_horner = primitive(Rule("a power series", [_pull_series]), _polynomial)


def _series(coefficients: list[float], x: Any) -> Any:
    """The polynomial with these coefficients, lowest first."""
    return _horner(x, coefficients=tuple(coefficients))
