"""Multivariate distributions of scipy.stats."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.special as sp

from unigrad.scipy.arrays import as_array, as_scalar
from unigrad.scipy.linalg import cholesky, solve_triangular

__all__ = ["Dirichlet", "MultivariateNormal", "dirichlet", "multivariate_normal"]


@dataclasses.dataclass(frozen=True)
class MultivariateNormal:
    """The normal distribution of vectors, with a covariance that has full rank."""

    def logpdf(self, x: Any, mean: Any = None, cov: Any = 1) -> Any:
        """The logarithm of the density, as `scipy.stats.multivariate_normal.logpdf`.

        Args:
            x: ``(..., k)``; for ``k = 1`` a number or ``(n,)`` too.
            mean: ``(k,)``; ``None``: 0, and ``k`` is that of ``cov``.
            cov: ``(k, k)``, symmetric, and so is its gradient; or its diagonal, or a number.

        Raises:
            ValueError: if ``x`` has another ``k``.
            numpy.linalg.LinAlgError: if ``cov`` is not positive definite.

        >>> import numpy as np, unigrad as ug
        >>> ug.grad(multivariate_normal.logpdf)(np.array([1.0, 2.0]), cov=np.eye(2))
        array([-1., -2.])
        """
        x, cov = as_array(x), as_array(cov)
        if mean is None:
            k = np.shape(cov)[0] if np.ndim(cov) == 2 else 1
        else:
            mean = np.reshape(as_array(mean), (-1,))
            k = np.shape(mean)[0]
        if k == 1 and np.ndim(x) < 2:
            x = np.reshape(x, (-1, 1))
        if np.ndim(x) == 0 or np.shape(x)[-1] != k:
            raise ValueError(f"x has shape {np.shape(x)}, but its last axis should have length {k}")
        x = x if mean is None else x - mean
        if np.ndim(cov) < 2:
            variance = np.broadcast_to(cov, (k,))
            squares = np.sum(x * x / variance, axis=-1)
            logarithms = np.sum(np.log(variance))
        else:
            lower = cholesky(cov, lower=True)
            white = solve_triangular(lower, np.reshape(x, (-1, k)).T, lower=True)
            squares = np.reshape(np.sum(white * white, axis=0), np.shape(x)[:-1])
            logarithms = 2 * np.sum(np.log(np.diagonal(lower)))
        squares = np.squeeze(squares)
        return -0.5 * (k * math.log(2 * math.pi) + logarithms + squares)

    def pdf(self, x: Any, mean: Any = None, cov: Any = 1) -> Any:
        """The density, as `scipy.stats.multivariate_normal.pdf`.

        >>> import numpy as np
        >>> print(multivariate_normal.pdf(np.zeros(2), cov=np.eye(2)).round(6))
        0.159155
        """
        return np.exp(self.logpdf(x, mean, cov))


@dataclasses.dataclass(frozen=True)
class Dirichlet:
    """The distribution of probabilities."""

    def logpdf(self, x: Any, alpha: Any) -> Any:
        """The logarithm of the density, as `scipy.stats.dirichlet.logpdf`.

        Where SciPy raises, at ``x`` off the simplex or ``alpha <= 0``, the result is nan.

        Args:
            x: ``(k,)`` or ``(k, n)``; or without the last entry, ``(k - 1,)`` or ``(k - 1, n)``.
            alpha: ``(k,)``.

        >>> import numpy as np, unigrad as ug
        >>> x = np.array([0.25, 0.75])
        >>> ug.grad(lambda alpha: dirichlet.logpdf(x, alpha))(np.ones(2)).round(6)
        array([-0.386294,  0.712318])
        """
        x, alpha = as_array(x), as_array(alpha)
        if x.shape[0] + 1 == alpha.shape[0]:
            x = np.concatenate([x, 1 - np.sum(x, axis=0, keepdims=True)], axis=0)
        if x.shape[0] != alpha.shape[0]:
            raise ValueError(
                f"x has {x.shape[0]} components and alpha {alpha.shape[0]}; x has as many, or "
                f"one less"
            )
        column = np.reshape(alpha, (-1, *[1] * (np.ndim(x) - 1)))
        on_simplex = np.logical_and(
            np.all(np.logical_and(x >= 0, x <= 1), axis=0),
            np.abs(np.sum(x, axis=0) - 1) <= 1e-9,
        )
        right = np.logical_and(on_simplex, np.all(alpha > 0))
        log_beta = np.sum(sp.gammaln(alpha)) - sp.gammaln(np.sum(alpha))
        out = np.sum(sp.xlogy(column - 1, x), axis=0) - log_beta
        return as_scalar(np.where(right, out, np.nan))

    def pdf(self, x: Any, alpha: Any) -> Any:
        """The density, as `scipy.stats.dirichlet.pdf`.

        >>> float(dirichlet.pdf([0.25, 0.75], [1.0, 1.0]).round(6))
        1.0
        """
        return np.exp(self.logpdf(x, alpha))


multivariate_normal = MultivariateNormal()
dirichlet = Dirichlet()
