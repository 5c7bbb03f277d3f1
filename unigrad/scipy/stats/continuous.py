"""Continuous distributions of scipy.stats, by their standard forms; one entry each, at the end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.scipy.arrays import as_array, as_scalar
from unigrad.scipy.stats.distribution import Distribution, all_of, log

__all__ = [
    "Continuous",
    "beta",
    "cauchy",
    "chi2",
    "expon",
    "gamma",
    "laplace",
    "lognorm",
    "norm",
    "t",
    "uniform",
]

Formula = Callable[..., Any]

LOG_2, LOG_PI = math.log(2), math.log(math.pi)
LOG_ROOT = 0.5 * math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class Continuous(Distribution):
    """A distribution of ``(x - loc) / scale``, whose shapes are positive.

    Attributes:
        of_logpdf: the logarithm of the standard density, ``(z, *shapes)``; so are the others.
        low: end of the support; ``high`` the other.
        middle: a point inside the support, which stands in for what lies outside.
    """

    of_logpdf: Formula = dataclasses.field(kw_only=True)
    of_cdf: Formula = dataclasses.field(kw_only=True)
    of_sf: Formula = dataclasses.field(kw_only=True)
    of_logcdf: Formula | None = None
    of_logsf: Formula | None = None
    low: float = -math.inf
    high: float = math.inf
    middle: float = 0.5

    def parameters(self) -> tuple[str, ...]:
        return (*self.shapes, "loc", "scale")

    def logpdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the density; -inf outside the support, nan for wrong parameters.

        >>> import unigrad as ug
        >>> float(ug.grad(norm.logpdf)(3.0, loc=1.0, scale=2.0))
        -0.5
        """
        found = self.read(args, kwargs)
        out = self._evaluated(self.of_logpdf, x, found, -math.inf, -math.inf)
        if "scale" in found:
            scale = found["scale"]
            out = out - np.log(np.where(scale > 0, scale, 1.0))
        return out

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The density; 0 outside the support, nan for wrong parameters.

        >>> import unigrad as ug
        >>> float(ug.grad(expon.pdf)(0.0))
        -1.0
        """
        return np.exp(self.logpdf(x, *args, **kwargs))

    def cdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of values up to ``x``.

        >>> import unigrad as ug
        >>> float(ug.grad(uniform.cdf)(0.3, scale=2.0))
        0.5
        """
        return self._evaluated(self.of_cdf, x, self.read(args, kwargs), 0.0, 1.0)

    def sf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of values above ``x``.

        >>> import unigrad as ug
        >>> float(ug.grad(uniform.sf)(0.3, scale=2.0))
        -0.5
        """
        return self._evaluated(self.of_sf, x, self.read(args, kwargs), 1.0, 0.0)

    def logcdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `cdf`, for the normal distribution exact in the tail.

        >>> import unigrad as ug
        >>> float(ug.grad(norm.logcdf)(-40.0).round(6))
        40.024969
        """

        def formula(*z: Any) -> Any:
            return log(self.of_cdf(*z))

        found = self.read(args, kwargs)
        return self._evaluated(self.of_logcdf or formula, x, found, -math.inf, 0.0)

    def logsf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `sf`.

        >>> import unigrad as ug
        >>> float(ug.grad(expon.logsf)(800.0))
        -1.0
        """

        def formula(*z: Any) -> Any:
            return log(self.of_sf(*z))

        found = self.read(args, kwargs)
        return self._evaluated(self.of_logsf or formula, x, found, 0.0, -math.inf)

    def _evaluated(
        self, formula: Formula, x: Any, found: dict[str, Any], below: float, above: float
    ) -> Any:
        """A standard formula, where ``z`` is in the support and all parameters are right."""
        z = as_array(x)
        right = []
        if "loc" in found:
            z = z - found["loc"]
        if "scale" in found:
            scale = found["scale"]
            right.append(scale > 0)
            z = z / np.where(right[0], scale, 1.0)
        shapes = []
        for name in self.shapes:
            right.append(found[name] > 0)
            shapes.append(np.where(right[-1], found[name], 1.0))
        if self.low == -math.inf:
            out = formula(z, *shapes)
        else:
            under, over = z < self.low, z > self.high
            outside = np.logical_or(under, over)
            out = formula(np.where(outside, self.middle, z), *shapes)
            out = np.where(outside, np.where(under, below, above), out)
        return as_scalar(np.where(all_of(right), out, np.nan) if right else out)


# ------------------------------------------------------------------------- standard forms


def _normal(z: Any) -> Any:
    return -0.5 * z * z - LOG_ROOT


def _student(z: Any, df: Any) -> Any:
    infinite = np.isinf(df)
    df = np.where(infinite, 1.0, df)
    front = np.log(sp.poch(0.5 * df, 0.5)) - 0.5 * (np.log(df) + LOG_PI)
    return np.where(infinite, _normal(z), front - 0.5 * (df + 1) * np.log1p(z * z / df))


def _gamma(z: Any, a: Any) -> Any:
    return sp.xlogy(a - 1, z) - z - sp.gammaln(a)


def _beta(z: Any, a: Any, b: Any) -> Any:
    return sp.xlog1py(b - 1, -z) + sp.xlogy(a - 1, z) - sp.betaln(a, b)


def _chi2(z: Any, df: Any) -> Any:
    half = 0.5 * df
    return sp.xlogy(half - 1, z) - 0.5 * z - sp.gammaln(half) - LOG_2 * half


def _lognormal(z: Any, s: Any) -> Any:
    # Trap: 0 is in the support, with density 0 for which the formula is inf - inf.
    zero = z == 0
    y = np.log(np.where(zero, 1.0, z))
    return np.where(zero, -np.inf, -0.5 * (y / s) ** 2 - np.log(s) - y - LOG_ROOT)


def _cauchy(z: Any) -> Any:
    far = np.abs(z) > 1e8
    near = -np.log1p(np.where(far, 0.0, z) ** 2)
    return np.where(far, -2 * np.log(np.abs(np.where(far, z, 1.0))), near) - LOG_PI


def _laplace_cdf(z: Any) -> Any:
    # Trap: np.minimum(z, 0) would split the derivative at 0.
    up = z > 0
    return np.where(up, 1 - 0.5 * np.exp(-np.where(up, z, 0.0)), 0.5 * np.exp(np.where(up, 0.0, z)))


def _laplace_logcdf(z: Any) -> Any:
    up = z > 0
    return np.where(up, np.log1p(-0.5 * np.exp(-np.where(up, z, 0.0))), z - LOG_2)


norm = Continuous(
    "norm",
    of_logpdf=_normal,
    of_cdf=sp.ndtr,
    of_sf=lambda z: sp.ndtr(-z),
    of_logcdf=sp.log_ndtr,
    of_logsf=lambda z: sp.log_ndtr(-z),
)
t = Continuous(
    "t",
    ("df",),
    of_logpdf=_student,
    of_cdf=lambda z, df: sp.stdtr(df, z),
    of_sf=lambda z, df: sp.stdtr(df, -z),
)
cauchy = Continuous(
    "cauchy",
    of_logpdf=_cauchy,
    of_cdf=lambda z: np.arctan2(1.0, -z) / math.pi,
    of_sf=lambda z: np.arctan2(1.0, z) / math.pi,
)
laplace = Continuous(
    "laplace",
    of_logpdf=lambda z: -np.abs(z) - LOG_2,
    of_cdf=_laplace_cdf,
    of_sf=lambda z: _laplace_cdf(-z),
    of_logcdf=_laplace_logcdf,
    of_logsf=lambda z: _laplace_logcdf(-z),
)
expon = Continuous(
    "expon",
    low=0.0,
    of_logpdf=lambda z: -z,
    of_cdf=lambda z: -np.expm1(-z),
    of_sf=lambda z: np.exp(-z),
    of_logsf=lambda z: -z,
)
gamma = Continuous(
    "gamma",
    ("a",),
    low=0.0,
    of_logpdf=_gamma,
    of_cdf=lambda z, a: sp.gammainc(a, z),
    of_sf=lambda z, a: sp.gammaincc(a, z),
)
chi2 = Continuous(
    "chi2",
    ("df",),
    low=0.0,
    of_logpdf=_chi2,
    of_cdf=lambda z, df: sp.chdtr(df, z),
    of_sf=lambda z, df: sp.chdtrc(df, z),
)
lognorm = Continuous(
    "lognorm",
    ("s",),
    low=0.0,
    of_logpdf=_lognormal,
    of_cdf=lambda z, s: sp.ndtr(log(z) / s),
    of_sf=lambda z, s: sp.ndtr(-log(z) / s),
    of_logcdf=lambda z, s: sp.log_ndtr(log(z) / s),
    of_logsf=lambda z, s: sp.log_ndtr(-log(z) / s),
)
beta = Continuous(
    "beta",
    ("a", "b"),
    low=0.0,
    high=1.0,
    of_logpdf=_beta,
    of_cdf=lambda z, a, b: sp.betainc(a, b, z),
    of_sf=lambda z, a, b: sp.betaincc(a, b, z),
)
uniform = Continuous(
    "uniform",
    low=0.0,
    high=1.0,
    of_logpdf=lambda z: 0.0 * z,
    of_cdf=lambda z: 1.0 * z,
    of_sf=lambda z: 1.0 - z,
)
