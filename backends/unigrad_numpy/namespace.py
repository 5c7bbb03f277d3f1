"""NumPy's ``xp``: array-api-compat's namespace, mended where it does not take traced arrays."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as standard
import numpy as np
from array_api_compat.numpy import *  # noqa: F403

from unigrad.engine import TracedArray
from unigrad.engine.lazy import is_lazy
from unigrad_numpy import linalg  # noqa: F401

__array_api_version__ = standard.__array_api_version__


def asarray(x: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """An array of these values; a traced array stays traced, and a Dask array lazy."""
    if not (isinstance(x, TracedArray) or is_lazy(x)):
        return standard.asarray(x, dtype=dtype, device=device, copy=copy)
    if dtype is not None and x.dtype != dtype:
        return x.astype(dtype)
    return x.copy() if copy else x


def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """Entries kept within bounds, in the dtype of ``x``."""
    if not any(isinstance(a, TracedArray) or is_lazy(a) for a in (x, min, max)):
        return standard.clip(x, min, max)
    if min is None and max is None:
        return x.copy()
    return np.clip(x, min, max).astype(x.dtype, copy=False)


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Sums of the first entries along an axis, from an optional leading 0 on."""
    if x.ndim != 1 and axis is None:
        raise ValueError(f"cumulative_sum of {x.ndim} dimensions needs axis=")
    axis = 0 if axis is None else axis
    sums = np.cumsum(x, axis=axis, dtype=dtype)
    if not include_initial:
        return sums
    shape = list(x.shape)
    shape[axis] = 1
    return np.concatenate([np.zeros(shape, dtype=sums.dtype), sums], axis=axis)
