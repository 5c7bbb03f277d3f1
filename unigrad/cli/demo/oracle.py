"""Derivatives without any derivative code: Cauchy's integral formula, on plain NumPy.

The loss is written a second time here, for complex numbers, so that nothing is shared with
what is checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.cli.demo.objective import Model, Vector

__all__ = ["taylor"]


def taylor(
    model: Model, p: Vector, v: Vector, images: Vector, labels: Vector, points: int = 32
) -> tuple[float, float, float]:
    """``f(p)``, ``gᵀv`` and ``vᵀHv`` from values of f on a circle in the complex plane.

    ``f⁽ᵏ⁾(0) = k!/N Σ_j f(p + z_j v) z_j^-k`` with ``z_j = exp(2πij/N)``: exact to rounding for
    analytic functions. Lyness and Moler (1967), doi:10.1137/0704019.
    """
    circle = np.exp(2j * np.pi * np.arange(points) / points)
    values = np.array([_loss(model.unpack(p + z * v), images, labels) for z in circle])
    coefficients = [float(np.mean(values * circle**-k).real) for k in range(3)]
    return coefficients[0], coefficients[1], 2.0 * coefficients[2]


def _loss(params: Any, x: Vector, labels: Vector) -> complex:
    for w, b in params[:-1]:
        x = np.tanh(x @ w + b)
    w, b = params[-1]
    z = x @ w + b
    chosen = z[np.arange(len(labels)), labels]
    decay = sum(np.sum(w**2) for w, _ in params)
    total: complex = np.mean(np.log(np.sum(np.exp(z), axis=1)) - chosen) + decay / 1000
    return total
