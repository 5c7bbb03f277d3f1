"""Derivatives of MXNet's functions that the tests of their surroundings take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import unigrad as ug

__all__ = ["TAKES", "F", "array", "numbers", "x"]

B = ug.get_backend("mxnet")

F = Callable[[Any], Any]


def array(values: Any, dtype: str = "float64") -> Any:
    return B.asarray(np.asarray(values, dtype=dtype)).as_nd_ndarray()


def numbers(x: Any) -> list[float]:
    found: list[float] = B.to_numpy(x).tolist()
    return found


def x() -> Any:
    return array([1.0, 2.0])


TAKES: dict[str, Callable[[F], Any]] = {
    "grad": lambda f: ug.grad(f)(x()),
    "hvp": lambda f: ug.hvp(f, x(), array([1.0, 1.0])),
    "vjp": lambda f: ug.vjp(f, x())[1](array([1.0]))[0],
}
