"""Rules of scipy.special's Bessel, Struve, Kelvin and Airy functions, in the argument.

The orders have no rule. Exponentially scaled functions of complex numbers are not holomorphic
where the scale is that of a real part, and are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.engine.rules.special import PREFIX, real_only, several, special

__all__: list[str] = []

# ------------------------------------------------------------------------- cylinder functions


def _half_difference(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda ans, n, x: 0.5 * (fn(n - 1, x) - fn(n + 1, x))


def _half_sum(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda ans, n, x: 0.5 * (fn(n - 1, x) + fn(n + 1, x))


special("j0", sp.j0, lambda ans, x: -sp.j1(x))
special("j1", sp.j1, lambda ans, x: 0.5 * (sp.j0(x) - sp.jv(2, x)))
special("jv", sp.jv, None, _half_difference(sp.jv))
special("y0", sp.y0, lambda ans, x: -sp.y1(x))
special("y1", sp.y1, lambda ans, x: 0.5 * (sp.y0(x) - sp.yn(2, x)))
special("yn", sp.yn, None, _half_difference(sp.yn))
special("yv", sp.yv, None, _half_difference(sp.yv))
special("hankel1", sp.hankel1, None, _half_difference(sp.hankel1))
special("hankel2", sp.hankel2, None, _half_difference(sp.hankel2))
special("i0", sp.i0, lambda ans, x: sp.i1(x))
special("i1", sp.i1, lambda ans, x: 0.5 * (sp.i0(x) + sp.iv(2, x)))
special("iv", sp.iv, None, _half_sum(sp.iv))
special("k0", sp.k0, lambda ans, x: -sp.k1(x))
special("k1", sp.k1, lambda ans, x: -0.5 * (sp.k0(x) + sp.kn(2, x)))
special("kn", sp.kn, None, lambda ans, n, x: -0.5 * (sp.kn(n - 1, x) + sp.kn(n + 1, x)))
special("kv", sp.kv, None, lambda ans, n, x: -0.5 * (sp.kv(n - 1, x) + sp.kv(n + 1, x)))

# ------------------------------------------------------------------------- scaled


def _scaled(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """``J`` and ``Y`` scaled by the imaginary part: themselves, on real numbers."""

    def slope(ans: Any, n: Any, x: Any) -> Any:
        real_only(PREFIX + name, x)
        return 0.5 * (fn(n - 1, x) - fn(n + 1, x))

    return slope


def _far(direct: Any, n: Any, x: Any, sign: float, front: float) -> Any:
    """A slope where ``x`` is small; where it is large, by the asymptotic series of the function.

    ``front / sqrt(x) sum_k (sign/x)^k a_k(n)``: the recurrences would subtract equal numbers.
    """
    if x.dtype.kind == "c":
        return direct
    far = np.logical_and(x > FAR, x > 2 * np.multiply(n, n))
    y = np.where(far, x, 1.0)
    square = 4.0 * np.multiply(n, n)
    total = TERMS + 0.5 + 0 * y
    for k in range(TERMS, 0, -1):
        total = k - 0.5 + sign * (square - (2 * k - 1) ** 2) / (8 * k) / y * total
    return np.where(far, -front * total / (y * np.sqrt(y)), direct)


FAR, TERMS = 50.0, 13
FRONT_I, FRONT_K = 1 / math.sqrt(2 * math.pi), math.sqrt(math.pi / 2)


def _ive_slope(ans: Any, n: Any, x: Any) -> Any:
    real_only(PREFIX + "ive", x)
    direct = 0.5 * (sp.ive(n - 1, x) + sp.ive(n + 1, x)) - np.sign(x) * ans
    return _far(direct, n, x, -1.0, FRONT_I)


def _i0e_slope(ans: Any, x: Any) -> Any:
    direct = np.sign(x) * sp.i1e(x) - ans
    return np.sign(x) * _far(direct, 0, np.abs(x), -1.0, FRONT_I)


def _i1e_slope(ans: Any, x: Any) -> Any:
    direct = 0.5 * (sp.i0e(x) + sp.ive(2, x)) - np.sign(x) * ans
    return _far(direct, 1, np.abs(x), -1.0, FRONT_I)


special("jve", sp.jve, None, _scaled("jve", sp.jve))
special("yve", sp.yve, None, _scaled("yve", sp.yve))
special("ive", sp.ive, None, _ive_slope)
special("i0e", sp.i0e, _i0e_slope)
special("i1e", sp.i1e, _i1e_slope)
special("k0e", sp.k0e, lambda ans, x: _far(ans - sp.k1e(x), 0, x, 1.0, FRONT_K))
special(
    "k1e",
    sp.k1e,
    lambda ans, x: _far(ans - 0.5 * (sp.k0e(x) + sp.kve(2, x)), 1, x, 1.0, FRONT_K),
)
special(
    "kve",
    sp.kve,
    None,
    lambda ans, n, x: _far(ans - 0.5 * (sp.kve(n - 1, x) + sp.kve(n + 1, x)), n, x, 1.0, FRONT_K),
)
special(
    "hankel1e",
    sp.hankel1e,
    None,
    lambda ans, n, x: 0.5 * (sp.hankel1e(n - 1, x) - sp.hankel1e(n + 1, x)) - 1j * ans,
)
special(
    "hankel2e",
    sp.hankel2e,
    None,
    lambda ans, n, x: 0.5 * (sp.hankel2e(n - 1, x) - sp.hankel2e(n + 1, x)) + 1j * ans,
)

# ------------------------------------------------------------------------- Struve, Kelvin, Airy


def _struve_term(v: Any, x: Any) -> Any:
    return np.power(0.5 * x, v) * sp.rgamma(v + 1.5) / math.sqrt(math.pi)


special(
    "struve",
    sp.struve,
    None,
    lambda ans, v, x: 0.5 * (sp.struve(v - 1, x) - sp.struve(v + 1, x) + _struve_term(v, x)),
)
special(
    "modstruve",
    sp.modstruve,
    None,
    lambda ans, v, x: 0.5 * (sp.modstruve(v - 1, x) + sp.modstruve(v + 1, x) + _struve_term(v, x)),
)
special("ber", sp.ber, lambda ans, x: sp.berp(x))
special("bei", sp.bei, lambda ans, x: sp.beip(x))
special("ker", sp.ker, lambda ans, x: sp.kerp(x))
special("kei", sp.kei, lambda ans, x: sp.keip(x))


def _per_x(ans: Any, x: Any, series: Any) -> Any:
    """``ans / x``, and its power series where ``x`` is 0, so that all derivatives are right."""
    zero = np.equal(x, 0)
    return np.where(zero, series, ans / np.where(zero, 1.0, x))


special("berp", sp.berp, lambda ans, x: -sp.bei(x) - _per_x(ans, x, x**6 / 18432 - x**2 / 16))
special("beip", sp.beip, lambda ans, x: sp.ber(x) - _per_x(ans, x, 0.5 - x**4 / 384))
special("kerp", sp.kerp, lambda ans, x: -sp.kei(x) - ans / x)
special("keip", sp.keip, lambda ans, x: sp.ker(x) - ans / x)
several(
    "airy",
    sp.airy,
    lambda ans, z: ans[1],
    lambda ans, z: z * ans[0],
    lambda ans, z: ans[3],
    lambda ans, z: z * ans[2],
)
