"""How the demo trains: Newton steps by conjugate gradients, or gradients alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unigrad.cli.demo.objective import Objective, Vector

__all__ = ["METHODS", "Iterate", "train"]

METHODS = {True: "Newton-CG", False: "gradients"}
"""By whether the backend has second order."""


@dataclass(frozen=True)
class Iterate:
    """A point of a training run.

    Attributes:
        p: the parameters.
        loss: at ``p``.
        gradient: at ``p``.
        gradients: how often loss and gradient were asked for so far.
        products: Hessian-vector products asked for so far.
    """

    p: Vector
    loss: float
    gradient: Vector
    gradients: int
    products: int


def train(objective: Objective, p: Vector, steps: int) -> Iterator[Iterate]:
    """Points of a training run, the start first, until the gradient is below 1e-4."""
    run = newton_cg if objective.second_order else gradient_descent
    for iterate in run(objective, p, steps):
        yield iterate
        if np.linalg.norm(iterate.gradient) < 1e-4:
            return


def newton_cg(
    objective: Objective, p: Vector, steps: int, radius: float = 1.0
) -> Iterator[Iterate]:
    """Newton steps ``H d = -g``, solved by conjugate gradients inside a trust region.

    Steihaug (1983), doi:10.1137/0720042; Nocedal and Wright (2006), algorithms 4.1 and 7.2.
    """
    value, g = objective.value_and_grad(p)
    gradients, products = 1, 0
    yield Iterate(p, value, g, gradients, products)
    for _ in range(steps):
        d, curvature, used = _direction(objective, p, g, radius)
        new_value, new_g = objective.value_and_grad(p + d)
        gradients, products = gradients + 1, products + used
        ratio = (value - new_value) / -(g @ d + 0.5 * curvature)
        if ratio < 0.25:
            radius *= 0.25
        elif ratio > 0.75 and np.linalg.norm(d) > 0.99 * radius:
            radius *= 2.5
        if ratio > 0.0:
            p, value, g = p + d, new_value, new_g
        yield Iterate(p, value, g, gradients, products)


def _direction(
    objective: Objective, p: Vector, g: Vector, radius: float, most: int = 30
) -> tuple[Vector, float, int]:
    """A direction d no longer than the radius, ``dᵀHd``, and the number of products it took."""
    d, hd = np.zeros_like(g), np.zeros_like(g)
    r, s = -g, -g
    size = float(np.linalg.norm(g))
    used = 0
    while used < most:
        hs = objective.hvp(p, s)
        used += 1
        curvature = float(s @ hs)
        step = float(r @ r) / curvature if curvature > 0.0 else np.inf
        if not np.linalg.norm(d + step * s) < radius:
            step = _to_boundary(d, s, radius)
            return d + step * s, float((d + step * s) @ (hd + step * hs)), used
        d, hd = d + step * s, hd + step * hs
        r_before, r = r, r - step * hs
        if np.linalg.norm(r) <= min(0.5, size**0.5) * size:
            break
        s = r + float(r @ r) / float(r_before @ r_before) * s
    return d, float(d @ hd), used


def _to_boundary(d: Vector, s: Vector, radius: float) -> float:
    """The positive t at which ``|d + t s|`` is the radius."""
    a, b, c = float(s @ s), float(d @ s), float(d @ d) - radius**2
    return (-b + float(np.sqrt(b * b - a * c))) / a


def gradient_descent(objective: Objective, p: Vector, steps: int) -> Iterator[Iterate]:
    """Gradient steps of the length of Barzilai and Borwein (1988), doi:10.1093/imanum/8.1.141.

    A step is halved until the loss is below the largest of the last ten (Raydan, 1997).
    """
    value, g = objective.value_and_grad(p)
    gradients, length, recent = 1, 1.0, [value]
    yield Iterate(p, value, g, gradients, 0)
    for _ in range(steps):
        new_value, new_g = objective.value_and_grad(p - length * g)
        gradients += 1
        while new_value > max(recent) - 1e-4 * length * (g @ g) and length > 1e-10:
            length *= 0.5
            new_value, new_g = objective.value_and_grad(p - length * g)
            gradients += 1
        moved, turned = -length * g, new_g - g
        along = float(moved @ turned)
        p, value, g = p + moved, new_value, new_g
        length = float(moved @ moved) / along if along > 0.0 else 1.0
        recent = [*recent[-9:], value]
        yield Iterate(p, value, g, gradients, 0)
