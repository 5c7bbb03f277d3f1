"""Densities of random numbers at samples, as functions of the parameters.

A sample is ``(*parameters, *rest)`` for parameters of the shape ``(*parameters)``. Counts have no
derivative. MXNet's own of the normal one has its constant in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad_mxnet.operators.table import OPERATORS, Attributes, operator

__all__: list[str] = []


def _log_gamma(x: Any) -> Any:
    return OPERATORS["gammaln"]([x], Attributes({}), False)[0]


def _normal(x: Any, mean: Any, deviation: Any) -> Any:
    z = (x - mean) / deviation
    return -0.5 * z * z - np.log(deviation) - 0.5 * math.log(2 * math.pi)


def _uniform(x: Any, low: Any, high: Any) -> Any:
    return np.broadcast_to(-np.log(high - low), x.shape)


def _exponential(x: Any, rate: Any) -> Any:
    return np.log(rate) - rate * x


def _gamma(x: Any, shape: Any, rate: Any) -> Any:
    return shape * np.log(rate) + (shape - 1) * np.log(x) - rate * x - _log_gamma(shape)


def _poisson(x: Any, rate: Any) -> Any:
    x = stop_gradient(x)
    return x * np.log(rate) - rate - _log_gamma(x + 1)


def _negative_binomial(x: Any, limit: Any, p: Any) -> Any:
    x = stop_gradient(x)
    choices = _log_gamma(x + limit) - _log_gamma(x + 1) - _log_gamma(limit)
    return choices + limit * np.log(p) + x * np.log(1 - p)


def _by_mean(x: Any, mean: Any, dispersion: Any) -> Any:
    return _negative_binomial(x, 1 / dispersion, 1 / (mean * dispersion + 1))


def _dirichlet(x: Any, weights: Any) -> Any:
    total = _log_gamma(np.sum(weights, axis=-1)) - np.sum(_log_gamma(weights), axis=-1)
    return np.sum((weights - 1) * np.log(x), axis=-1) + total


_LOGARITHMS: dict[str, Callable[..., Any]] = {
    "normal": _normal,
    "uniform": _uniform,
    "exponential": _exponential,
    "gamma": _gamma,
    "poisson": _poisson,
    "negative_binomial": _negative_binomial,
    "generalized_negative_binomial": _by_mean,
    "dirichlet": _dirichlet,
}


def _density(logarithm: Callable[..., Any], kept: int) -> Any:
    """``kept``: how many axes at the end are of one sample."""

    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        x, *parameters = xs
        spread = []
        for p in parameters:
            first = p.ndim - kept
            lengths = p.shape[:first] + (1,) * (x.ndim - p.ndim) + p.shape[first:]
            spread.append(p.reshape(lengths))
        y = logarithm(x, *spread)
        return [y if attrs.flag("is_log") else np.exp(y)]

    return translation


for _name, _fn in _LOGARITHMS.items():
    operator(f"_random_pdf_{_name}")(_density(_fn, 1 if _name == "dirichlet" else 0))
