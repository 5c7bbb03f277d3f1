"""The softmax family, its losses, and where naive formulas overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_Z = draw(61, 3, 4, low=-2, high=2)
_LABELS = np.array([2, 0, 3])


def _p(z: Any) -> Any:
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def _dot(a: Any, b: Any) -> Any:
    return np.sum(a * b, axis=-1, keepdims=True)


def _covariance(p: Any, v: Any) -> Any:
    """``(diag p - p pᵀ) v``, the derivative of softmax."""
    return p * (v - _dot(p, v))


def _softmax_second(u: Any, v: Any, z: Any) -> Any:
    p = _p(z)
    moved = _covariance(p, v)
    return moved * (u - _dot(p, u)) - p * _dot(moved, u)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "naive logsumexp",
        "softmax",
        lambda xp, z: xp.log(xp.sum(xp.exp(z), axis=-1)),
        (_Z,),
        output="array",
        gradient=lambda u, z: u[:, None] * _p(z),
        hvp=lambda u, v, z: u[:, None] * _covariance(_p(z), v),
        tags=frozenset({"core", "third", "jit"}),
    ),
    Scenario(
        "ops.logsumexp",
        "softmax",
        lambda xp, z: ops.logsumexp(z, axis=-1),
        (_Z,),
        output="array",
        gradient=lambda u, z: u[:, None] * _p(z),
        hvp=lambda u, v, z: u[:, None] * _covariance(_p(z), v),
    ),
    Scenario(
        "ops.logsumexp of large numbers",
        "softmax",
        lambda xp, z: ops.logsumexp(z),
        (np.array([1000.0, 1000.5, -1000.0]),),
        gradient=lambda u, z: u * _p(z),
        hvp=lambda u, v, z: u * _covariance(_p(z), v),
        # In single precision 1000.5 is exact, the sums are not.
        tags=frozenset({"float64_only"}),
    ),
    Scenario(
        "ops.softmax",
        "softmax",
        lambda xp, z: ops.softmax(z, axis=-1),
        (_Z,),
        output="array",
        gradient=lambda u, z: _covariance(_p(z), u),
        hvp=_softmax_second,
    ),
    Scenario(
        "ops.softmax over the first axis",
        "softmax",
        lambda xp, z: ops.softmax(z, axis=0),
        (_Z.T.copy(),),
        output="array",
        gradient=lambda u, z: _covariance(_p(z.T), u.T).T,
        hvp=lambda u, v, z: _softmax_second(u.T, v.T, z.T).T,
    ),
    Scenario(
        "ops.log_softmax",
        "softmax",
        lambda xp, z: ops.log_softmax(z, axis=-1),
        (_Z,),
        output="array",
        gradient=lambda u, z: u - _p(z) * np.sum(u, axis=-1, keepdims=True),
        hvp=lambda u, v, z: -_covariance(_p(z), v) * np.sum(u, axis=-1, keepdims=True),
    ),
    Scenario(
        "ops.cross_entropy of labels",
        "softmax",
        lambda xp, z, labels: ops.cross_entropy(z, labels),
        (_Z,),
        (_LABELS,),
        gradient=lambda u, z, labels: u * (_p(z) - np.eye(4)[labels]) / 3,
        hvp=lambda u, v, z, labels: u * _covariance(_p(z), v) / 3,
        tags=frozenset({"core"}),
    ),
    Scenario(
        "ops.cross_entropy of probabilities",
        "softmax",
        lambda xp, z, p: ops.cross_entropy(z, p, reduction="none"),
        (_Z,),
        (_p(draw(62, 3, 4)),),
        output="array",
        gradient=lambda u, z, p: u[:, None] * (_p(z) - p),
        hvp=lambda u, v, z, p: u[:, None] * _covariance(_p(z), v),
    ),
    # A loss that clips its probabilities has the gradient 0 here.
    Scenario(
        "ops.cross_entropy, surely wrong",
        "softmax",
        lambda xp, z, labels: ops.cross_entropy(z, labels),
        (np.array([[0.0, 20.0]]),),
        (np.array([0]),),
        gradient=lambda u, z, labels: u * (_p(z) - np.eye(2)[labels]),
        hvp=lambda u, v, z, labels: u * _covariance(_p(z), v),
        tolerance=1e-6,
        reason="p (1 - p) at p = 1 - 2e-9 loses nine digits in any formula with p; the Hessian "
        "is relative to its own size",
        agreement=1e-6,
        tags=frozenset({"float64_only"}),
    ),
    Scenario(
        "ops.binary_cross_entropy",
        "softmax",
        lambda xp, x, t: ops.binary_cross_entropy(x, t),
        (np.array([-30.0, -1.0, 0.0, 0.5, 30.0]),),
        (np.array([1.0, 0.0, 0.5, 1.0, 0.0]),),
        gradient=lambda u, x, t: u * (1 / (1 + np.exp(-x)) - t) / 5,
        hvp=lambda u, v, x, t: u * v / (1 + np.exp(-x)) / (1 + np.exp(x)) / 5,
        tags=frozenset({"float64_only"}),
    ),
)
