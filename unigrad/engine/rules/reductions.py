"""Rules of reductions: sums, means, extrema, variances.

Ties of max and min share the cotangent evenly; std of equal numbers has derivative 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Rule, apply
from unigrad.engine.rules.elementwise import quotient
from unigrad.engine.table import NO_VALUE, composite, constant, function, refuse

__all__ = ["count", "kept_dims", "spread"]


def kept_dims(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """The shape after a reduction with ``keepdims=True``."""
    if axis is None:
        return (1,) * len(shape)
    axes = (axis,) if isinstance(axis, (int, np.integer)) else axis
    reduced = {int(a) % len(shape) if shape else 0 for a in axes}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def spread(g: Any, x: Any, axis: Any) -> Any:
    """A reduced array against the axes of ``x`` that it was reduced over."""
    return np.reshape(g, kept_dims(x.shape, axis))


def count(x: Any, axis: Any) -> int:
    """How many entries each result of a reduction comes from."""
    shape = x.shape
    kept = kept_dims(shape, axis)
    return int(np.prod([n for n, k in zip(shape, kept, strict=True) if k == 1], dtype=np.int64))


function(
    "sum",
    "a axis dtype out keepdims initial where",
    lambda g, ans, x, axis=None, **_: np.broadcast_to(spread(g, x, axis), x.shape),
    linear=True,
)
function(
    "mean",
    "a axis dtype out keepdims where",
    lambda g, ans, x, axis=None, **_: np.broadcast_to(spread(g / count(x, axis), x, axis), x.shape),
    linear=True,
)


def _pull_extremum(g: Any, ans: Any, x: Any, axis: Any = None, **_: Any) -> Any:
    chosen = x == spread(ans, x, axis)
    ties = np.sum(chosen, axis=axis, keepdims=True)
    return np.where(chosen, spread(g, x, axis) / ties.astype(ans.dtype), 0.0)


for _name in ("amax", "amin", "max", "min"):
    function(_name, "a axis out keepdims initial where", _pull_extremum)


@composite("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    refuse("ptp", {"out": out})
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


def _deviation(x: Any, axis: Any) -> Any:
    return x - np.mean(x, axis=axis, keepdims=True)


def _pull_var(g: Any, ans: Any, x: Any, axis: Any = None, ddof: Any = 0, **_: Any) -> Any:
    return spread(g * (2.0 / (count(x, axis) - ddof)), x, axis) * _deviation(x, axis)


def _pull_std(g: Any, ans: Any, x: Any, axis: Any = None, ddof: Any = 0, **_: Any) -> Any:
    slope = quotient(g, ans * (count(x, axis) - ddof))
    return spread(slope, x, axis) * _deviation(x, axis)


_SPREADS = {"var": Rule("var", [_pull_var]), "std": Rule("std", [_pull_std])}


def _dispersion(name: str) -> None:
    fn = getattr(np, name)

    @composite(name)
    def handler(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: Any = False,
        *,
        correction: Any = None,
        where: Any = None,
        mean: Any = None,
    ) -> Any:
        refuse(name, {"out": out, "where": where})
        ddof = ddof if correction is None or correction is NO_VALUE else correction
        keepdims = keepdims is not NO_VALUE and bool(keepdims)
        options = {"axis": axis, "dtype": dtype, "ddof": ddof, "keepdims": keepdims}
        return apply(_SPREADS[name], fn, (a,), options)


_dispersion("var")
_dispersion("std")


@composite("average")
def _average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    keepdims = keepdims is not NO_VALUE and bool(keepdims)
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=keepdims)
        total = mean * 0 + count(a, axis)
    else:
        if np.shape(weights) != np.shape(a):
            shape = [1] * np.ndim(a)
            shape[axis] = -1
            weights = np.broadcast_to(np.reshape(weights, shape), np.shape(a))
        total = np.sum(weights, axis=axis, keepdims=keepdims)
        mean = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (mean, total) if returned else mean


def _nan_aware(name: str, fill: float, plain: Any) -> None:
    @composite(name)
    def handler(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any
    ) -> Any:
        refuse(name, {"out": out, **options})
        options["dtype"] = dtype
        return plain(np.where(np.isnan(a), fill, a), axis=axis, **options)


_nan_aware("nansum", 0.0, np.sum)
_nan_aware("nanprod", 1.0, np.prod)


@composite("nanmean")
def _nanmean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
    refuse("nanmean", {"out": out, **options})
    valid = np.sum(~np.isnan(a), axis=axis, **options)
    return np.sum(np.where(np.isnan(a), 0.0, a), axis=axis, **options) / valid


constant("argmax argmin any all nanargmax nanargmin count_nonzero")
