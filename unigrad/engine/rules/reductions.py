"""Rules of reductions: sums, means, extrema, variances, and their ``nan`` forms.

Ties of max and min share the cotangent evenly; std of equal numbers has derivative 0. ``where=``
puts the neutral value in place of what is left out, and ``initial=`` joins at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, primal
from unigrad.engine.lazy import is_lazy, require_size
from unigrad.engine.reverse import apply_one
from unigrad.engine.rules.elementwise import quotient
from unigrad.engine.table import NO_VALUE, composite, constant, forbid_boxes, refuse

__all__ = [
    "count",
    "filled",
    "filling",
    "given",
    "kept_dims",
    "masked",
    "number",
    "reduced",
    "spread",
]


def kept_dims(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """The shape after a reduction with ``keepdims=True``."""
    if axis is None:
        return (1,) * len(shape)
    if isinstance(axis, (int, np.integer)):
        i = int(axis) % len(shape) if shape else 0
        return (*shape[:i], 1, *shape[i + 1 :]) if shape else ()
    reduced = {int(a) % len(shape) for a in axis}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def spread(g: Any, x: Any, axis: Any) -> Any:
    """A reduced array, so that it broadcasts against what ``x`` it was reduced from."""
    if type(x) is not np.ndarray and is_lazy(primal(x)):
        require_size(x)
        # Trap: numpy.broadcast_to of a Dask array makes one chunk of any size.
        whole = axis is None and g.shape == ()
        g = g if whole else g.reshape(kept_dims(x.shape, axis))
        return np.zeros_like(primal(x), dtype=g.dtype) + g
    if axis is None and g.shape == ():
        return g
    kept = kept_dims(x.shape, axis)
    return g if g.shape == kept else g.reshape(kept)


def count(x: Any, axis: Any) -> int:
    """How many entries each result of a reduction comes from."""
    if type(x) is not np.ndarray and is_lazy(primal(x)):
        require_size(x)
    shape = x.shape
    if axis is None:
        return math.prod(shape)
    axes = (axis,) if isinstance(axis, (int, np.integer)) else axis
    return math.prod(shape[a] for a in axes) if shape else 1


def reduced(rule: Rule, fn: Callable[..., Any], x: Any, options: dict[str, Any]) -> Any:
    """``fn(x, **options)`` by its rule."""
    if isinstance(x, Box):
        return apply_one(rule, fn, x, options)
    return apply(rule, fn, (x,), options)


def given(option: Any) -> bool:
    """Whether an option was passed that changes anything."""
    return option is not None and option is not NO_VALUE and option is not True


def masked(x: Any, where: Any, fill: Any) -> Any:
    """``x`` with ``fill`` where the mask, which broadcasts to it, is false."""
    if where is NO_VALUE or where is True or where is None:
        return x
    mask = where if np.shape(where) == np.shape(x) else np.broadcast_to(where, np.shape(x))
    return np.where(mask, x, filling(x, fill))


def filled(x: Any, fill: Any) -> Any:
    """``x`` with ``fill`` in place of nan."""
    return np.where(np.isnan(x), filling(x, fill), x)


def number(x: Any) -> Any:
    """An array of no axes as a NumPy number: ``s += x`` binds it anew, and writes no array."""
    return x[()] if x.shape == () else x


def filling(x: Any, fill: Any) -> Any:
    """A constant in the precision of ``x``."""
    # Trap: NumPy 1 makes float64 of a float32 scalar beside a Python number.
    return fill if isinstance(fill, Box) else x.dtype.type(fill)


def _options(**options: Any) -> dict[str, Any]:
    """Those that were passed."""
    return {k: v for k, v in options.items() if v is not None and v is not NO_VALUE}


# ------------------------------------------------------------------------- sum and mean

_SUM = Rule("sum", [lambda g, ans, x, axis=None, **_: spread(g, x, axis)], linear=True)
_MEAN = Rule(
    "mean",
    [lambda g, ans, x, axis=None, **_: spread(g / count(x, axis), x, axis)],
    linear=True,
)


@composite("sum")
def _sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = NO_VALUE,
    initial: Any = NO_VALUE,
    where: Any = NO_VALUE,
) -> Any:
    if out is not None:
        refuse("sum", {"out": out})
    options = {} if axis is None else {"axis": axis}
    if dtype is not None or keepdims is not NO_VALUE:
        options = _options(axis=axis, dtype=dtype, keepdims=keepdims)
    a = a if where is NO_VALUE else masked(a, where, 0)
    total = reduced(_SUM, lambda a, **options: a.sum(**options), a, options)
    return total + filling(total, initial) if given(initial) else total


@composite("mean")
def _mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = NO_VALUE,
    *,
    where: Any = NO_VALUE,
) -> Any:
    if out is not None:
        refuse("mean", {"out": out})
    options = _options(axis=axis, dtype=dtype, keepdims=keepdims)
    if not given(where):
        return reduced(_MEAN, lambda a, **options: a.mean(**options), a, options)
    return np.sum(masked(a, where, 0), **options) / _counted(a, where, axis, keepdims)


def _counted(a: Any, where: Any, axis: Any, keepdims: Any) -> Any:
    """How many entries of ``a`` the mask leaves, in a float of the same precision; nan for none."""
    mask = where if np.shape(where) == np.shape(a) else np.broadcast_to(where, np.shape(a))
    options = _options(axis=axis, keepdims=keepdims)
    n = np.sum(mask, dtype=_real(a.dtype), **options)
    return np.where(n > 0, n, filling(n, math.nan))


def _real(dtype: Any) -> Any:
    return dtype if dtype.kind == "f" else np.finfo(dtype).dtype


# ------------------------------------------------------------------------- max and min


def _pull_max(g: Any, ans: Any, x: Any, axis: Any = None, **_: Any) -> Any:
    return _shared(g, x >= spread(ans, x, axis), x, axis)


def _pull_min(g: Any, ans: Any, x: Any, axis: Any = None, **_: Any) -> Any:
    return _shared(g, x <= spread(ans, x, axis), x, axis)


def _shared(g: Any, chosen: Any, x: Any, axis: Any) -> Any:
    ties = chosen.sum(axis=axis, keepdims=True, dtype=g.dtype)
    # Trap: beside a nan none is chosen, and the largest of 0 and 1 is divided by.
    return chosen * (spread(g, x, axis) / np.maximum(ties, 1.0))


def _extremum(names: str, fn: Callable[..., Any], pull: Callable[..., Any], pairwise: Any) -> None:
    first = names.split()[0]
    rule = Rule(first, [pull])

    @composite(*names.split())
    def handler(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = NO_VALUE,
        initial: Any = NO_VALUE,
        where: Any = NO_VALUE,
    ) -> Any:
        refuse(first, {"out": out})
        if given(where) and not given(initial):
            raise ValueError(
                f"reduction operation {first} does not have an identity, so to use a where "
                f"mask one has to specify 'initial'"
            )
        options = _options(axis=axis, keepdims=keepdims)
        if not given(initial):
            return reduced(rule, fn, a, options)
        a = masked(a, where, initial)
        if count(a, axis) == 0:
            return np.sum(a, **options) + filling(a, initial)
        return pairwise(reduced(rule, fn, a, options), filling(a, initial))


_extremum("max amax", lambda a, **options: a.max(**options), _pull_max, np.maximum)
_extremum("min amin", lambda a, **options: a.min(**options), _pull_min, np.minimum)


@composite("ptp")
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO_VALUE) -> Any:
    refuse("ptp", {"out": out})
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


# ------------------------------------------------------------------------- var and std


def _deviation(x: Any, axis: Any) -> Any:
    return x - np.mean(x, axis=axis, keepdims=True)


def _freedom(x: Any, axis: Any, ddof: Any) -> float:
    """Degrees of freedom; nan where there are none, which NumPy divides by."""
    n = count(x, axis) - ddof
    return n if n > 0 else math.nan


def _pull_var(g: Any, ans: Any, x: Any, axis: Any = None, ddof: Any = 0, **_: Any) -> Any:
    return spread(g * (2.0 / _freedom(x, axis, ddof)), x, axis) * _deviation(x, axis)


def _pull_std(g: Any, ans: Any, x: Any, axis: Any = None, ddof: Any = 0, **_: Any) -> Any:
    slope = quotient(g, ans * _freedom(x, axis, ddof))
    return spread(slope, x, axis) * _deviation(x, axis)


def _root(x: Any) -> Any:
    """The square root, with derivative 0 at 0."""
    zero = x == 0
    return np.where(zero, filling(x, 0), np.sqrt(np.where(zero, filling(x, 1), x)))


def _masked_var(
    a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: Any, where: Any, mean: Any
) -> Any:
    """The variance of what the mask leaves, about a given mean or their own."""
    a = a if dtype is None else a.astype(dtype)
    n = _counted(a, where, axis, True)
    if not given(mean):
        mean = np.sum(masked(a, where, 0), axis=axis, keepdims=True) / n
    d = masked(a - mean, where, 0)
    squares = np.real(d * np.conj(d)) if np.iscomplexobj(d) else d * d
    freedom = n - filling(n, ddof)
    freedom = np.where(freedom > 0, freedom, filling(freedom, math.nan))
    var = np.sum(squares, axis=axis, keepdims=True) / freedom
    if keepdims is not NO_VALUE and keepdims:
        return var
    kept = kept_dims(np.shape(a), axis)
    axes = range(np.ndim(a)) if axis is None else np.atleast_1d(axis) % max(np.ndim(a), 1)
    return number(np.reshape(var, tuple(n for i, n in enumerate(kept) if i not in axes)))


def _dispersion(name: str, rule: Rule | None) -> None:
    root = name.endswith("std")
    fn = getattr(np, name)

    @composite(name)
    def handler(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: Any = 0,
        keepdims: Any = NO_VALUE,
        *,
        where: Any = NO_VALUE,
        mean: Any = NO_VALUE,
        correction: Any = NO_VALUE,
    ) -> Any:
        refuse(name, {"out": out})
        ddof = ddof if correction is NO_VALUE or correction is None else correction
        forbid_boxes(name, {"ddof": ddof})
        if rule is not None and not given(where) and not given(mean):
            options = _options(axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims)
            return reduced(rule, fn, a, options)
        if rule is None:
            valid = ~np.isnan(a)
            where = valid & where if given(where) else valid
        elif not given(where):
            where = np.ones(np.shape(a), dtype=bool)
        var = _masked_var(a, axis, dtype, ddof, keepdims, where, mean)
        return number(_root(var)) if root else var


_dispersion("var", Rule("var", [_pull_var]))
_dispersion("std", Rule("std", [_pull_std]))
_dispersion("nanvar", None)
_dispersion("nanstd", None)


@composite("average")
def _average(
    a: Any,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = NO_VALUE,
) -> Any:
    if weights is None:
        mean = np.mean(a, axis=axis, keepdims=keepdims)
        return (mean, np.zeros_like(mean) + filling(mean, count(a, axis))) if returned else mean
    if np.shape(weights) != np.shape(a):
        weights = _along(weights, np.shape(a), axis)
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    mean = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (mean, total) if returned else mean


def _along(weights: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """Weights of some axes, against the whole array."""
    if axis is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    axes = [int(i) % len(shape) for i in np.atleast_1d(axis)]
    if np.shape(weights) != tuple(shape[i] for i in axes):
        raise ValueError(
            f"weights of shape {np.shape(weights)} do not match the axes {axis} of shape {shape}"
        )
    ordered = np.transpose(weights, np.argsort(axes))
    return np.broadcast_to(
        np.reshape(ordered, tuple(n if i in axes else 1 for i, n in enumerate(shape))), shape
    )


# ------------------------------------------------------------------------- without nan


def _without_nan(name: str, fill: float, plain: Any) -> None:
    @composite(name)
    def handler(a: Any, axis: Any = None, *args: Any, **options: Any) -> Any:
        return plain(filled(a, fill), axis, *args, **options)


_without_nan("nansum", 0.0, np.sum)
_without_nan("nanprod", 1.0, np.prod)


@composite("nanmean")
def _nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = NO_VALUE,
    *,
    where: Any = NO_VALUE,
) -> Any:
    valid = ~np.isnan(a)
    where = valid & where if given(where) else valid
    return np.mean(a, axis=axis, dtype=dtype, out=out, keepdims=keepdims, where=where)


def _nan_extremum(name: str, plain: Any, least: float) -> None:
    @composite(name)
    def handler(
        a: Any,
        axis: Any = None,
        out: Any = None,
        keepdims: Any = NO_VALUE,
        initial: Any = NO_VALUE,
        where: Any = NO_VALUE,
    ) -> Any:
        refuse(name, {"out": out})
        options = _options(axis=axis, keepdims=keepdims)
        if given(where) or given(initial):
            options.update(_options(initial=initial, where=where))
            return plain(filled(a, least), **options)
        found = plain(filled(a, least), **options)
        nothing = np.all(np.isnan(a), **options)
        return number(np.where(nothing, filling(a, math.nan), found))


_nan_extremum("nanmax", np.max, -math.inf)
_nan_extremum("nanmin", np.min, math.inf)

constant("argmax argmin any all nanargmax nanargmin count_nonzero")
