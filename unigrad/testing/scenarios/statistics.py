"""Likelihoods: logistic regression on real data, a Gaussian process, a mixture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unigrad import ops
from unigrad.data import digits
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]


def _threes_and_eights() -> tuple[Any, Any]:
    """Forty real images of 3 and 8, in 4 × 4 blocks, and which of them are 8."""
    data = digits()
    chosen = np.flatnonzero(np.isin(data.labels, (3, 8)))[:40]
    blocks = data.images[chosen].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    return blocks.reshape(-1, 16), (data.labels[chosen] == 8).astype(np.float64)


_IMAGES, _TARGETS = _threes_and_eights()
_TIMES, _SEEN = np.linspace(0, 2, 6), draw(131, 6)
_SAMPLES = draw(132, 7, low=-2, high=2)


def _logistic(xp: Any, w: Any, b: Any, x: Any, t: Any) -> Any:
    return ops.binary_cross_entropy(xp.matmul(x, w) + b, t) + 0.005 * xp.sum(w**2)


def _logistic_gradient(u: Any, w: Any, b: Any, x: Any, t: Any) -> Any:
    error = (1 / (1 + np.exp(-(x @ w + b))) - t) / len(t)
    return u * (x.T @ error + 0.01 * w), u * np.sum(error)


def _logistic_second(u: Any, v: Any, w: Any, b: Any, x: Any, t: Any) -> Any:
    p = 1 / (1 + np.exp(-(x @ w + b)))
    moved = p * (1 - p) * (x @ v[0] + v[1]) / len(t)
    return u * (x.T @ moved + 0.01 * v[0]), u * np.sum(moved)


def _softmax_regression(xp: Any, w: Any, x: Any, labels: Any) -> Any:
    return ops.cross_entropy(x @ w, labels) + 0.005 * xp.sum(w**2)


def _gaussian_process(xp: Any, theta: Any, t: Any, y: Any) -> Any:
    """Negative log marginal likelihood; ``theta`` holds log length, scale and noise."""
    length, scale, noise = xp.exp(theta[0]), xp.exp(theta[1]), xp.exp(theta[2])
    apart = t[:, None] - t[None, :]
    k = scale * xp.exp(-0.5 * xp.square(apart / length)) + noise * xp.eye(6, dtype=t.dtype)
    low = xp.linalg.cholesky(k)
    alpha = xp.linalg.solve(k, y)
    return 0.5 * xp.sum(y * alpha) + xp.sum(xp.log(xp.linalg.diagonal(low)))


def _gaussian_process_value(theta: Any, t: Any, y: Any) -> Any:
    length, scale, noise = np.exp(theta)
    apart = t[:, None] - t[None, :]
    k = scale * np.exp(-0.5 * (apart / length) ** 2) + noise * np.eye(6)
    return 0.5 * y @ np.linalg.solve(k, y) + 0.5 * np.log(np.linalg.det(k))


def _mixture(xp: Any, params: Any, x: Any) -> Any:
    z = (x[:, None] - params["mean"]) * xp.exp(-params["log_scale"])
    log_p = -0.5 * z**2 - params["log_scale"] - 0.5 * math.log(2 * math.pi)
    return -xp.sum(ops.logsumexp(ops.log_softmax(params["logit"]) + log_p, axis=1))


def _mixture_value(params: Any, x: Any) -> Any:
    weights = np.exp(params["logit"]) / np.sum(np.exp(params["logit"]))
    scale = np.exp(params["log_scale"])
    density = np.exp(-0.5 * ((x[:, None] - params["mean"]) / scale) ** 2) / scale
    return -np.sum(np.log(np.sum(weights * density / np.sqrt(2 * np.pi), axis=1)))


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "logistic regression on real digits",
        "statistics",
        _logistic,
        (draw(133, 16), np.array(0.3)),
        (_IMAGES, _TARGETS),
        gradient=_logistic_gradient,
        hvp=_logistic_second,
        tags=frozenset({"core"}),
    ),
    Scenario(
        "softmax regression on real digits",
        "statistics",
        _softmax_regression,
        (draw(134, 16, 2),),
        (_IMAGES, _TARGETS.astype(np.int64)),
        value=lambda w, x, labels: (
            np.mean(np.log(np.sum(np.exp(x @ w), axis=1)) - (x @ w)[np.arange(len(labels)), labels])
            + 0.005 * np.sum(w**2)
        ),
        oracle="complex step",
    ),
    Scenario(
        "Gaussian-process likelihood",
        "statistics",
        _gaussian_process,
        (np.array([-0.5, 0.2, -1.0]),),
        (_TIMES, _SEEN),
        value=_gaussian_process_value,
        oracle="complex step",
        tags=frozenset({"core"}),
    ),
    Scenario(
        "Gaussian mixture likelihood",
        "statistics",
        _mixture,
        (
            {
                "logit": np.array([0.1, -0.4]),
                "mean": np.array([-1.0, 0.8]),
                "log_scale": np.array([0.1, -0.2]),
            },
        ),
        (_SAMPLES,),
        value=_mixture_value,
        oracle="complex step",
    ),
    Scenario(
        "Poisson regression",
        "statistics",
        lambda xp, w, x, y: xp.sum(xp.exp(xp.matmul(x, w)) - y * xp.matmul(x, w)),
        (draw(135, 3),),
        (draw(136, 6, 3), np.array([0.0, 1.0, 3.0, 2.0, 0.0, 1.0])),
        gradient=lambda u, w, x, y: u * x.T @ (np.exp(x @ w) - y),
        hvp=lambda u, v, w, x, y: u * x.T @ (np.exp(x @ w) * (x @ v)),
    ),
)
