"""Medians, percentiles and quantiles: weighted means of two neighbours in sorted order.

Every method of NumPy's is a position between 0 and n - 1: its floor says which neighbours, its
fraction their weights. A derivative in ``q`` is that of the position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine.core import Box, primal
from unigrad.engine.rules.reductions import count, filling, number
from unigrad.engine.table import NO_VALUE, composite, refuse
from unigrad.errors import TracingError

__all__: list[str] = []


def _continuous(alpha: float, beta: float) -> Callable[[Any, Any], Any]:
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


def _averaged(n: Any, q: Any) -> Any:
    at = n * q - 1
    return np.where(at == np.floor(at), at + 0.5, np.ceil(at))


_POSITIONS: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda n, q: (n - 1) * q,
    "inverted_cdf": lambda n, q: np.ceil(n * q - 1),
    "averaged_inverted_cdf": _averaged,
    "interpolated_inverted_cdf": _continuous(0, 1),
    "hazen": _continuous(0.5, 0.5),
    "weibull": _continuous(0, 0),
    "median_unbiased": _continuous(1 / 3, 1 / 3),
    "normal_unbiased": _continuous(3 / 8, 3 / 8),
    "lower": lambda n, q: np.floor((n - 1) * q),
    "higher": lambda n, q: np.ceil((n - 1) * q),
    "midpoint": lambda n, q: 0.5 * (np.floor((n - 1) * q) + np.ceil((n - 1) * q)),
    "nearest": lambda n, q: np.rint((n - 1) * q),
}


def _position(name: str, n: Any, q: Any, method: str) -> Any:
    """Where the quantile lies among ``n`` sorted entries (one number, or one for each slice)."""
    found = _POSITIONS.get(method)
    if found is not None:
        return np.clip(found(n, q), 0.0, np.maximum(n - 1.0, 0.0))
    if isinstance(q, Box) or not isinstance(n, int):
        raise TracingError(
            f"numpy.{name}(..., method={method!r}) is not followed here; use one of "
            f"{', '.join(_POSITIONS)}"
        )
    numpys: Any = np.quantile
    return numpys(np.arange(float(n)), q, method=method)


def _flattened(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """The axes to reduce as one, the last; and the shape of the others, 1 where reduced."""
    shape = np.shape(a)
    ndim = len(shape)
    axes = range(ndim) if axis is None else np.atleast_1d(axis)
    reduced = sorted({int(i) % max(ndim, 1) for i in axes}) if ndim else []
    others = [i for i in range(ndim) if i not in reduced]
    if len(reduced) == 1 and reduced[0] == ndim - 1:
        flat = a
    else:
        moved = np.transpose(a, others + reduced)
        flat = np.reshape(moved, (*[shape[i] for i in others], count(a, tuple(reduced))))
    return flat, tuple(1 if i in reduced else n for i, n in enumerate(shape))


def _smallest(flat: Any, places: Any) -> Any:
    """The entries at these places of the order along the last axis."""
    order = np.argpartition(flat, np.unique(places), axis=-1)
    return np.take_along_axis(flat, order[..., places], -1)


def _median(a: Any, axis: Any, keepdims: Any) -> Any:
    flat, kept = _flattened(a, axis)
    n = np.shape(flat)[-1]
    if n == 0:
        return np.mean(a, axis=axis, keepdims=keepdims)
    found = _smallest(flat, np.array([(n - 1) // 2, n // 2, n - 1]))
    middle = found[..., 1] if n % 2 else 0.5 * (found[..., 0] + found[..., 1])
    last = found[..., 2]  # where nan is sorted to
    middle = np.where(np.isnan(last), filling(a, np.nan), middle)
    return np.reshape(middle, kept) if keepdims is not NO_VALUE and keepdims else number(middle)


@composite("median")
def _plain_median(
    a: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    keepdims: Any = NO_VALUE,
) -> Any:
    refuse("median", {"out": out})
    return _median(a, axis, keepdims)


@composite("nanmedian")
def _nan_median(
    a: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    keepdims: Any = NO_VALUE,
) -> Any:
    refuse("nanmedian", {"out": out})
    return _quantile("nanmedian", a, 0.5, axis, "linear", keepdims)


def _quantile(name: str, a: Any, q: Any, axis: Any, method: str, keepdims: Any) -> Any:
    a = a if isinstance(a, Box) else np.asarray(a)
    a = a if a.dtype.kind == "f" else a.astype(float)
    values: Any = primal(q)
    recorded = isinstance(values, Box)
    if not recorded and not np.all((np.asarray(values) >= 0) & (values <= 1)):
        raise ValueError("Quantiles must be in the range [0, 1]")
    flat, kept = _flattened(a, axis)
    size = np.shape(flat)[-1]
    if size == 0:
        return np.mean(a, axis=axis, keepdims=keepdims) + np.zeros((*np.shape(q), *[1] * len(kept)))
    skip = name.startswith("nan")
    n: Any = np.sum(~np.isnan(flat), axis=-1, keepdims=True) if skip else size
    position = _position(name, n, np.reshape(q, (-1,)), method)
    low = np.floor(primal(position)).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(n - 1, 0))
    if skip or isinstance(low, Box):
        ordered = np.sort(flat, axis=-1)
        every = (*np.shape(flat)[:-1], np.shape(low)[-1])
        lower = np.take_along_axis(ordered, np.broadcast_to(low, every), -1)
        upper = np.take_along_axis(ordered, np.broadcast_to(high, every), -1)
        last = ordered[..., -1:]
    else:
        found = _smallest(flat, np.concatenate([low, high, [size - 1]]))
        lower, upper, last = np.split(found, [len(low), 2 * len(low)], axis=-1)
    share, step = (position - low).astype(a.dtype), upper - lower
    if recorded:  # then it may be out of range when it is replayed
        inside = np.reshape((values >= 0) & (values <= 1), (-1,))
        share = np.where(inside, share, filling(a, np.nan))
    # NumPy's own two formulas: each is exact at its end
    found = np.where(share >= 0.5, upper - step * (1 - share), lower + step * share)
    if not skip:
        found = np.where(np.isnan(last), filling(a, np.nan), found)
    found = np.moveaxis(found, -1, 0)
    keeps = keepdims is not NO_VALUE and keepdims
    rest = kept if keeps else np.shape(found)[1:]
    return number(np.reshape(found, (*np.shape(q), *rest)))


def _quantiles(name: str, whole: float) -> None:
    @composite(name)
    def handler(
        a: Any,
        q: Any,
        axis: Any = None,
        out: Any = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: Any = NO_VALUE,
        *,
        weights: Any = None,
        interpolation: Any = None,
    ) -> Any:
        refuse(name, {"out": out})
        if weights is not None:
            raise TracingError(
                f"numpy.{name}(..., weights=...) has no derivative rule; it chooses one entry "
                f"by the weights: index the sorted array with it instead"
            )
        q = q if isinstance(q, Box) else np.asarray(q)
        q = q / whole if whole != 1 else q
        return _quantile(name, a, q, axis, interpolation or method, keepdims)


for _name in ("quantile", "nanquantile"):
    _quantiles(_name, 1.0)
for _name in ("percentile", "nanpercentile"):
    _quantiles(_name, 100.0)
