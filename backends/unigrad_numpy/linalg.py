"""NumPy's ``xp.linalg``: array-api-compat's, mended where it does not take traced arrays."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy.linalg as standard
import numpy as np
from array_api_compat.numpy.linalg import *  # noqa: F403

from unigrad.engine import TracedArray


def solve(x1: Any, x2: Any, /) -> Any:
    """The solution of ``x1 @ x = x2``; only a 1-D ``x2`` is a vector."""
    if not (isinstance(x1, TracedArray) or isinstance(x2, TracedArray)):
        return standard.solve(x1, x2)
    if x2.ndim == 1:
        return np.linalg.solve(x1, x2[:, None])[..., 0]
    if x2.ndim < x1.ndim:
        x2 = x2[(None,) * (x1.ndim - x2.ndim)]
    return np.linalg.solve(x1, x2)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sum along a diagonal of the last two axes."""
    return np.trace(x, offset=offset, axis1=-2, axis2=-1, dtype=dtype)
