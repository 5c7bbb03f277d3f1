"""Rules of scipy.special's gamma, beta and zeta functions and of the error functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad.engine.rules.special import real_only, special, ufunc_behind

__all__: list[str] = []

GAUSS = 2 / math.sqrt(math.pi)
ROOT = math.sqrt(2 * math.pi)

# ------------------------------------------------------------------------- gamma, beta, zeta

special("gammaln", sp.gammaln, lambda ans, x: sp.digamma(x))
special("loggamma", sp.loggamma, lambda ans, x: sp.digamma(x))
special("gamma", sp.gamma, lambda ans, x: ans * sp.digamma(x))
special("rgamma", sp.rgamma, lambda ans, x: -ans * sp.digamma(x))
special("digamma", sp.digamma, lambda ans, x: _trigamma(x))
special("psi", sp.psi, lambda ans, x: _trigamma(x))
special("gammasgn", sp.gammasgn, lambda ans, x: 0.0)
special(
    "zeta",
    ufunc_behind(sp.zeta, 2.0),
    None,
    lambda ans, s, q: -s * sp.zeta(s + 1, q),
)
special(
    "poch",
    sp.poch,
    lambda ans, a, m: ans * (sp.digamma(a + m) - sp.digamma(a)),
    lambda ans, a, m: ans * sp.digamma(a + m),
)
special(
    "binom",
    sp.binom,
    lambda ans, n, k: ans * (sp.digamma(n + 1) - sp.digamma(n - k + 1)),
    lambda ans, n, k: ans * (sp.digamma(n - k + 1) - sp.digamma(k + 1)),
)
special(
    "beta",
    sp.beta,
    lambda ans, a, b: ans * (sp.digamma(a) - sp.digamma(a + b)),
    lambda ans, a, b: ans * (sp.digamma(b) - sp.digamma(a + b)),
)
special(
    "betaln",
    sp.betaln,
    lambda ans, a, b: sp.digamma(a) - sp.digamma(a + b),
    lambda ans, a, b: sp.digamma(b) - sp.digamma(a + b),
)


def _trigamma(x: Any) -> Any:
    real_only("the second derivative of scipy.special's gamma functions", x)
    return sp.zeta(2.0, x)


# ------------------------------------------------------------------------- incomplete


def _gamma_density(a: Any, x: Any) -> Any:
    return np.exp(sp.xlogy(a - 1, x) - x - sp.gammaln(a))


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    return np.exp(sp.xlogy(a - 1, x) + sp.xlog1py(b - 1, -x) - sp.betaln(a, b))


special("gammainc", sp.gammainc, None, lambda ans, a, x: _gamma_density(a, x))
special("gammaincc", sp.gammaincc, None, lambda ans, a, x: -_gamma_density(a, x))
special("gammaincinv", sp.gammaincinv, None, lambda ans, a, y: 1 / _gamma_density(a, ans))
special("gammainccinv", sp.gammainccinv, None, lambda ans, a, y: -1 / _gamma_density(a, ans))
special("betainc", sp.betainc, None, None, lambda ans, a, b, x: _beta_density(a, b, x))
special("betaincc", sp.betaincc, None, None, lambda ans, a, b, x: -_beta_density(a, b, x))
special("betaincinv", sp.betaincinv, None, None, lambda ans, a, b, y: 1 / _beta_density(a, b, ans))
special(
    "betainccinv", sp.betainccinv, None, None, lambda ans, a, b, y: -1 / _beta_density(a, b, ans)
)

# ------------------------------------------------------------------------- distributions

special("chdtr", sp.chdtr, None, lambda ans, v, x: 0.5 * _gamma_density(v / 2, x / 2))
special("chdtrc", sp.chdtrc, None, lambda ans, v, x: -0.5 * _gamma_density(v / 2, x / 2))
special(
    "gdtr",
    sp.gdtr,
    lambda ans, a, b, x: x * _gamma_density(b, a * x),
    None,
    lambda ans, a, b, x: a * _gamma_density(b, a * x),
)
special(
    "gdtrc",
    sp.gdtrc,
    lambda ans, a, b, x: -x * _gamma_density(b, a * x),
    None,
    lambda ans, a, b, x: -a * _gamma_density(b, a * x),
)
special("pdtr", sp.pdtr, None, lambda ans, k, m: -_gamma_density(np.floor(k) + 1, m))
special("pdtrc", sp.pdtrc, None, lambda ans, k, m: _gamma_density(np.floor(k) + 1, m))
special("stdtr", sp.stdtr, None, lambda ans, df, t: _student_density(df, t))
special("stdtrit", sp.stdtrit, None, lambda ans, df, p: 1 / _student_density(df, ans))


def _student_density(df: Any, t: Any) -> Any:
    half = 0.5 * df
    logarithm = -sp.betaln(half, 0.5) - 0.5 * np.log(df) - (half + 0.5) * np.log1p(t * t / df)
    return np.exp(logarithm)


# ------------------------------------------------------------------------- error functions

special("erf", sp.erf, lambda ans, x: GAUSS * np.exp(-x * x))
special("erfc", sp.erfc, lambda ans, x: -GAUSS * np.exp(-x * x))
special("erfi", sp.erfi, lambda ans, x: GAUSS * np.exp(x * x))
special("erfcx", sp.erfcx, lambda ans, x: _erfcx_slope(ans, x))
special("dawsn", sp.dawsn, lambda ans, x: _dawson_slope(ans, x))
special("wofz", sp.wofz, lambda ans, z: 1j * GAUSS - 2 * z * ans)
special("erfinv", sp.erfinv, lambda ans, x: np.exp(ans * ans) / GAUSS)
special("erfcinv", sp.erfcinv, lambda ans, x: -np.exp(ans * ans) / GAUSS)
special("ndtr", sp.ndtr, lambda ans, x: np.exp(-0.5 * x * x) / ROOT)
special("ndtri", sp.ndtri, lambda ans, x: ROOT * np.exp(0.5 * ans * ans))
special("log_ndtr", sp.log_ndtr, lambda ans, x: _mills(x))
special("ndtri_exp", sp.ndtri_exp, lambda ans, x: 1 / _mills(ans))
special(
    "owens_t",
    sp.owens_t,
    lambda ans, h, a: -np.exp(-0.5 * h * h) * sp.erf(a * h / math.sqrt(2)) / (2 * ROOT),
    lambda ans, h, a: np.exp(-0.5 * h * h * (1 + a * a)) / (2 * math.pi * (1 + a * a)),
)

FAR = 10.0
"""From here on, ``2 x erfcx(x) - 2 / sqrt(pi)`` and its like cancel: an asymptotic series."""


def _tail(x: Any, sign: float) -> Any:
    """``sum_k sign^k (2 k + 1)!! / (2 x^2)^k``, to full precision from `FAR` on."""
    u = sign / (2 * x * x)
    total = 1 + 0 * u
    for k in range(12, 0, -1):
        total = 1 + (2 * k + 1) * u * total
    return total


def _erfcx_slope(ans: Any, x: Any) -> Any:
    direct = 2 * x * ans - GAUSS
    if x.dtype.kind == "c":
        return direct
    far = x > FAR
    y = np.where(far, x, FAR)
    return np.where(far, -0.5 * GAUSS / (y * y) * _tail(y, -1.0), direct)


def _dawson_slope(ans: Any, x: Any) -> Any:
    direct = 1 - 2 * x * ans
    if x.dtype.kind == "c":
        return direct
    far = np.abs(x) > FAR
    y = np.where(far, x, FAR)
    return np.where(far, -0.5 / (y * y) * _tail(y, 1.0), direct)


def _mills_value(x: Any) -> Any:
    return math.sqrt(2 / math.pi) / sp.erfcx(-x / math.sqrt(2))


def _mills_slope(ans: Any, x: Any) -> Any:
    """``-r (x + r)``, whose two terms cancel where ``x`` is far below 0."""
    low = x < -1
    y = np.where(low, -x, 1.0) / math.sqrt(2)
    e = sp.erfcx(y)
    return np.where(low, ans * _erfcx_slope(e, y) / (math.sqrt(2) * e), -ans * (x + ans))


# The ratio of the normal density to its distribution function.
_mills: Any = primitive(Rule("scipy.special.log_ndtr", derivatives=[_mills_slope]), _mills_value)
