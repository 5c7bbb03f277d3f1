"""Rules of scipy.special's integrals, elliptic and hypergeometric functions, and polynomials.

In the argument (for elliptic functions: where a rule in the parameter ``m`` is missing, it is
refused); degrees, orders and parameters of hypergeometric functions have no rule.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.engine.rules.special import several, special, ufunc_behind

__all__: list[str] = []

# ------------------------------------------------------------------------- integrals

special("exp1", sp.exp1, lambda ans, x: -np.exp(-x) / x)
special("expi", sp.expi, lambda ans, x: np.exp(x) / x)
special("expn", sp.expn, None, lambda ans, n, x: _expn_slope(n, x))
special("spence", sp.spence, lambda ans, z: _spence_slope(z))
several("sici", sp.sici, lambda ans, x: np.sinc(x / math.pi), lambda ans, x: np.cos(x) / x)
several("shichi", sp.shichi, lambda ans, x: _sinhc(x), lambda ans, x: np.cosh(x) / x)
several(
    "fresnel",
    sp.fresnel,
    lambda ans, x: np.sin(0.5 * math.pi * x * x),
    lambda ans, x: np.cos(0.5 * math.pi * x * x),
)


def _expn_slope(n: Any, x: Any) -> Any:
    zero = np.equal(n, 0)
    y = np.where(zero, x, 1.0)
    return -np.where(zero, np.exp(-y) * (1 + y) / (y * y), sp.expn(np.maximum(n - 1, 0), x))


def _sinhc(x: Any) -> Any:
    return sp.hyp0f1(1.5, 0.25 * x * x)


def _spence_slope(z: Any) -> Any:
    """``log(z) / (1 - z)``, -1 at 1."""
    near = np.abs(z - 1) < 0.5
    far = np.where(near, 2.0, z)
    close = np.where(near, z, 1.0)
    return np.where(near, -sp.hyp2f1(1.0, 1.0, 2.0, 1 - close), np.log(far) / (1 - far))


# ------------------------------------------------------------------------- Lambert's W

special(
    "lambertw",
    ufunc_behind(lambda z: sp.lambertw(z)),
    lambda ans, z, k, tol: np.exp(-ans) / (1 + ans),
    None,
    None,
)

# ------------------------------------------------------------------------- elliptic

special("ellipk", sp.ellipk, lambda ans, m: _ellipk_slope(m))
special("ellipkm1", sp.ellipkm1, lambda ans, p: -_ellipk_slope_at_complement(p))
special("ellipe", sp.ellipe, lambda ans, m: _ellipe_slope(m))
special("ellipkinc", sp.ellipkinc, lambda ans, phi, m: 1 / np.sqrt(1 - m * np.sin(phi) ** 2), None)
special("ellipeinc", sp.ellipeinc, lambda ans, phi, m: np.sqrt(1 - m * np.sin(phi) ** 2), None)
several(
    "ellipj",
    sp.ellipj,
    lambda ans, u, m: ans[1] * ans[2],
    lambda ans, u, m: -ans[0] * ans[2],
    lambda ans, u, m: -m * ans[0] * ans[1],
    lambda ans, u, m: ans[2],
    constants=1,
)

_HALF = 0.5
"""Up to here in ``|m|`` by power series; beyond, in ``K`` and ``E``, whose difference is large."""


def _ellipk_slope(m: Any) -> Any:
    near = np.abs(m) < _HALF
    far = np.where(near, _HALF, m)
    direct = (sp.ellipe(far) - (1 - far) * sp.ellipk(far)) / (2 * far * (1 - far))
    series = math.pi / 8 * sp.hyp2f1(1.5, 1.5, 2.0, np.where(near, m, 0.0))
    return np.where(near, series, direct)


def _ellipk_slope_at_complement(p: Any) -> Any:
    """``K'(1 - p)``, also where ``1 - p`` rounds to 1."""
    low = p < _HALF
    y = np.where(low, p, _HALF)
    direct = (sp.ellipe(1 - y) - y * sp.ellipkm1(y)) / (2 * y * (1 - y))
    return np.where(low, direct, _ellipk_slope(1 - np.where(low, _HALF, p)))


def _ellipe_slope(m: Any) -> Any:
    near = np.abs(m) < _HALF
    far = np.where(near, _HALF, m)
    direct = (sp.ellipe(far) - sp.ellipk(far)) / (2 * far)
    series = -math.pi / 8 * sp.hyp2f1(0.5, 1.5, 2.0, np.where(near, m, 0.0))
    return np.where(near, series, direct)


# ------------------------------------------------------------------------- hypergeometric

special(
    "hyp2f1",
    sp.hyp2f1,
    None,
    None,
    None,
    lambda ans, a, b, c, z: a * b / c * sp.hyp2f1(a + 1, b + 1, c + 1, z),
)
special("hyp1f1", sp.hyp1f1, None, None, lambda ans, a, b, z: a / b * sp.hyp1f1(a + 1, b + 1, z))
special("hyp0f1", sp.hyp0f1, None, lambda ans, b, z: sp.hyp0f1(b + 1, z) / b)
special("hyperu", sp.hyperu, None, None, lambda ans, a, b, z: -a * sp.hyperu(a + 1, b + 1, z))

# ------------------------------------------------------------------------- polynomials


def _below(n: Any) -> Any:
    """The degree of the derivative; where it is multiplied by ``n = 0``, any degree does."""
    return np.where(np.equal(n, 0), n, n - 1)


def _nonzero(n: Any) -> Any:
    return np.where(np.equal(n, 0), 0.0, 1.0)


special(
    "eval_legendre",
    sp.eval_legendre,
    None,
    lambda ans, n, x: _nonzero(n) * sp.eval_gegenbauer(_below(n), 1.5, x),
)
special("eval_chebyt", sp.eval_chebyt, None, lambda ans, n, x: n * sp.eval_chebyu(_below(n), x))
special(
    "eval_chebyu",
    sp.eval_chebyu,
    None,
    lambda ans, n, x: 2 * _nonzero(n) * sp.eval_gegenbauer(_below(n), 2.0, x),
)
special(
    "eval_gegenbauer",
    sp.eval_gegenbauer,
    None,
    None,
    lambda ans, n, a, x: 2 * a * _nonzero(n) * sp.eval_gegenbauer(_below(n), a + 1, x),
)
special(
    "eval_jacobi",
    sp.eval_jacobi,
    None,
    None,
    None,
    lambda ans, n, a, b, x: (
        0.5 * (n + a + b + 1) * _nonzero(n) * sp.eval_jacobi(_below(n), a + 1, b + 1, x)
    ),
)
special(
    "eval_hermite", sp.eval_hermite, None, lambda ans, n, x: 2 * n * sp.eval_hermite(_below(n), x)
)
special(
    "eval_hermitenorm",
    sp.eval_hermitenorm,
    None,
    lambda ans, n, x: n * sp.eval_hermitenorm(_below(n), x),
)
special(
    "eval_laguerre",
    sp.eval_laguerre,
    None,
    lambda ans, n, x: -_nonzero(n) * sp.eval_genlaguerre(_below(n), 1.0, x),
)
special(
    "eval_genlaguerre",
    sp.eval_genlaguerre,
    None,
    None,
    lambda ans, n, a, x: -_nonzero(n) * sp.eval_genlaguerre(_below(n), a + 1, x),
)
