"""What the demo compares: the same quantities, of each backend, at the same points.

Every backend gets the same bits: points of one reference path and directions from a seed.
Comparing each backend's own path would measure how far a solver carries rounding instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unigrad.cli.demo.objective import Objective, Vector
from unigrad.errors import HigherOrderError

__all__ = ["Probe", "difference", "direction", "probe", "top_eigenvalue"]


@dataclass(frozen=True)
class Probe:
    """One backend's answers at one point.

    Attributes:
        gradient: of all parameters.
        product: Hessian times the direction; ``None`` where the backend refused (S12).
        curvature: ``vᵀHv``, or ``None``.
    """

    loss: float
    gradient: Vector
    product: Vector | None
    curvature: float | None


def direction(size: int, seed: int) -> Vector:
    """A random direction of length 1."""
    v = np.random.default_rng(seed).normal(size=size)
    unit: Vector = v / np.linalg.norm(v)
    return unit


def probe(objective: Objective, p: Vector, v: Vector) -> Probe:
    """Loss, gradient, and Hessian times ``v``."""
    value, gradient = objective.value_and_grad(p)
    try:
        product = objective.hvp(p, v)
    except HigherOrderError:
        return Probe(value, gradient, None, None)
    return Probe(value, gradient, product, float(v @ product))


def top_eigenvalue(objective: Objective, p: Vector, v: Vector, iterations: int) -> float | None:
    """Rayleigh quotient of the Hessian after this many power iterations from ``v``."""
    quotient = 0.0
    for _ in range(iterations):
        try:
            product = objective.hvp(p, v)
        except HigherOrderError:
            return None
        quotient = float(v @ product)
        v = product / np.linalg.norm(product)
    return quotient


def difference(a: Vector | float | None, b: Vector | float | None) -> float:
    """Largest difference of two arrays relative to the largest entry; 0 if one was refused."""
    if a is None or b is None:
        return 0.0
    scale = max(float(np.max(np.abs(a))), float(np.max(np.abs(b))))
    gap = float(np.max(np.abs(np.subtract(a, b))))
    return gap / scale if gap else 0.0
