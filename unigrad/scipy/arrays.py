"""What all functions here do with their arguments before anything else."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Box

__all__ = ["as_array", "as_scalar", "ratio"]


def as_array(x: Any) -> Any:
    """Lists and Python numbers as arrays, lists of traced values stacked; arrays as they are.

    >>> as_array([1, 2.5])
    array([1. , 2.5])
    """
    if isinstance(x, (list, tuple)):
        entries = [as_array(entry) for entry in x]
        return np.stack(entries) if any(isinstance(e, Box) for e in entries) else np.asarray(x)
    return np.asarray(x) if isinstance(x, (bool, int, float, complex)) else x


def as_scalar(x: Any) -> Any:
    """A plain array without axes as a NumPy number, as SciPy returns it; others as they are."""
    return x if isinstance(x, Box) else x[()]


def ratio(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where ``b`` is 0."""
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))
