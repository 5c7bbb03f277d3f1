"""Discrete distributions of scipy.stats: differentiable in their rates and probabilities.

Counts are integers: a derivative with respect to one is refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad.scipy.arrays import as_array, as_scalar
from unigrad.scipy.stats.distribution import Distribution, log

__all__ = ["Discrete", "bernoulli", "binom", "poisson"]

Formula = Callable[..., Any]

_COUNT = Rule("a count of a discrete distribution of scipy.stats", [None])
_counted = primitive(_COUNT, lambda k: k + 0)


def _count(k: Any) -> Any:
    """A count, of which derivatives are refused."""
    return _counted(as_array(k))


@dataclasses.dataclass(frozen=True)
class Discrete(Distribution):
    """A distribution of ``k - loc``.

    Attributes:
        of_logpmf: ``(k, *shapes)`` for integers ``k`` in the support; so are the others.
        checked: ``(*shapes) -> condition, safe shapes``: whether they are right.
        largest: ``(*shapes)``, the last of the support.
    """

    of_logpmf: Formula = dataclasses.field(kw_only=True)
    of_cdf: Formula = dataclasses.field(kw_only=True)
    of_sf: Formula = dataclasses.field(kw_only=True)
    checked: Formula = dataclasses.field(kw_only=True)
    largest: Formula = dataclasses.field(kw_only=True)

    def logpmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability of ``k``; -inf for what is no integer or outside.

        >>> import unigrad as ug
        >>> float(ug.grad(lambda mu: poisson.logpmf(3, mu))(2.0))
        0.5
        """
        k, right, shapes = self._read(k, args, kwargs)
        last = self.largest(*shapes)
        inside = np.logical_and(k == np.floor(k), np.logical_and(k >= 0, k <= last))
        out = self.of_logpmf(np.where(inside, k, 0.0), *shapes)
        return as_scalar(np.where(right, np.where(inside, out, -math.inf), np.nan))

    def pmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of ``k``.

        >>> import unigrad as ug
        >>> float(ug.grad(lambda p: bernoulli.pmf(1, p))(0.3).round(9))
        1.0
        """
        return np.exp(self.logpmf(k, *args, **kwargs))

    def cdf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of values up to ``k``.

        >>> import unigrad as ug
        >>> float(ug.grad(lambda p: bernoulli.cdf(0, p))(0.3))
        -1.0
        """
        return self._cumulated(self.of_cdf, k, args, kwargs, 0.0, 1.0)

    def sf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of values above ``k``.

        >>> import unigrad as ug
        >>> float(ug.grad(lambda p: bernoulli.sf(0, p))(0.3))
        1.0
        """
        return self._cumulated(self.of_sf, k, args, kwargs, 1.0, 0.0)

    def logcdf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `cdf`.

        >>> import unigrad as ug
        >>> float(ug.grad(lambda p: bernoulli.logcdf(0, p))(0.5))
        -2.0
        """

        def formula(*given: Any) -> Any:
            return log(self.of_cdf(*given))

        return self._cumulated(formula, k, args, kwargs, -math.inf, 0.0)

    def logsf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `sf`.

        >>> import unigrad as ug
        >>> float(ug.grad(lambda p: bernoulli.logsf(0, p))(0.5))
        2.0
        """

        def formula(*given: Any) -> Any:
            return log(self.of_sf(*given))

        return self._cumulated(formula, k, args, kwargs, 0.0, -math.inf)

    def _read(self, k: Any, args: Any, kwargs: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        found = self.read(args, kwargs)
        k = _count(k)
        if "loc" in found:
            k = k - _count(found["loc"])
        right, shapes = self.checked(*[found[name] for name in self.shapes])
        return k, right, shapes

    def _cumulated(
        self, formula: Formula, k: Any, args: Any, kwargs: Any, below: float, above: float
    ) -> Any:
        k, right, shapes = self._read(k, args, kwargs)
        k = np.floor(k)
        last = self.largest(*shapes)
        out = formula(np.maximum(np.minimum(k, last - 1), 0), *shapes)
        out = np.where(k < 0, below, np.where(k >= last, above, out))
        return as_scalar(np.where(right, out, np.nan))


def _checked_rate(mu: Any) -> tuple[Any, tuple[Any, ...]]:
    right = mu >= 0
    return right, (np.where(right, mu, 1.0),)


def _checked_probability(p: Any) -> tuple[Any, tuple[Any, ...]]:
    right = np.logical_and(p >= 0, p <= 1)
    return right, (np.where(right, p, 0.5),)


def _checked_trials(n: Any, p: Any) -> tuple[Any, tuple[Any, ...]]:
    n = _count(n)
    trials = np.logical_and(n >= 0, n == np.floor(n))
    right, (p,) = _checked_probability(p)
    return np.logical_and(trials, right), (np.where(trials, n, 1), p)


def _binomial(k: Any, n: Any, p: Any) -> Any:
    choices = sp.gammaln(n + 1) - (sp.gammaln(k + 1) + sp.gammaln(n - k + 1))
    return choices + sp.xlogy(k, p) + sp.xlog1py(n - k, -p)


def _more(k: Any, n: Any) -> Any:
    return np.maximum(n - k, 1.0)


poisson = Discrete(
    "poisson",
    ("mu",),
    of_logpmf=lambda k, mu: sp.xlogy(k, mu) - sp.gammaln(k + 1) - mu,
    of_cdf=lambda k, mu: sp.pdtr(k, mu),
    of_sf=lambda k, mu: sp.pdtrc(k, mu),
    checked=_checked_rate,
    largest=lambda mu: math.inf,
)
binom = Discrete(
    "binom",
    ("n", "p"),
    of_logpmf=_binomial,
    of_cdf=lambda k, n, p: sp.betaincc(k + 1, _more(k, n), p),
    of_sf=lambda k, n, p: sp.betainc(k + 1, _more(k, n), p),
    checked=_checked_trials,
    largest=lambda n, p: n,
)
bernoulli = Discrete(
    "bernoulli",
    ("p",),
    of_logpmf=lambda k, p: sp.xlogy(k, p) + sp.xlog1py(1 - k, -p),
    of_cdf=lambda k, p: 1 - p + 0.0 * k,
    of_sf=lambda k, p: p + 0.0 * k,
    checked=_checked_probability,
    largest=lambda p: 1.0,
)
