"""Rules of products and of cumulative functions: each entry of a scan takes one more.

No rule divides by an entry, so that zeros are like other numbers, at every order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine.core import Rule
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.reductions import filled, filling, given, masked, reduced, spread
from unigrad.engine.table import NO_VALUE, composite, refuse

__all__ = ["normal_axis", "part", "recurrence", "reversed_along"]


def normal_axis(axis: Any, ndim: int) -> int:
    """The axis, counted from the front.

    Raises:
        ValueError: if there is no such axis (NumPy's own error).
    """
    i = int(axis)
    if not -ndim <= i < ndim:
        raise ValueError(f"axis {i} is out of bounds for array of dimension {ndim}")
    return i % ndim


def part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """``x[start:stop]`` along an axis."""
    return x[(slice(None),) * axis + (slice(start, stop),)]


def reversed_along(x: Any, axis: int) -> Any:
    """``x[::-1]`` along an axis."""
    return x[(slice(None),) * axis + (slice(None, None, -1),)]


def recurrence(g: Any, p: Any, axis: int) -> Any:
    """``h`` with ``h[i] = g[i] + p[i] h[i+1]``, by doubling; ``p`` is shorter than ``g`` by one."""
    n = g.shape[axis]
    step = 1
    while step < n:
        head = part(g, axis, None, -step) + p * part(g, axis, step, None)
        g = np.concatenate([head, part(g, axis, -step, None)], axis)
        p = part(p, axis, None, -step) * part(p, axis, step, None)
        step *= 2
    return g


def _after_one(x: Any, axis: int) -> Any:
    """``x`` without its last entry, and 1 in front."""
    one = np.ones_like(part(x, axis, None, 1))
    return np.concatenate([one, part(x, axis, None, -1)], axis)


# ------------------------------------------------------------------------- products


def _others(x: Any, axis: int) -> Any:
    """At each entry, the product of all the others along an axis."""
    before = _after_one(np.cumprod(x, axis=axis), axis)
    after = _after_one(np.cumprod(reversed_along(x, axis), axis=axis), axis)
    return before * reversed_along(after, axis)


def _pull_prod(g: Any, ans: Any, x: Any, axis: Any = None, **_: Any) -> Any:
    ndim = len(x.shape)
    if ndim == 0 or x.size == 0:
        return g if ndim == 0 else np.zeros_like(x)
    if axis is None:
        others = _others(x.reshape(-1), 0).reshape(x.shape)
    elif isinstance(axis, (int, np.integer)):
        others = _others(x, normal_axis(axis, ndim))
    else:
        order = [normal_axis(a, ndim) for a in axis]
        order = [i for i in range(ndim) if i not in order] + order
        moved = np.transpose(x, order)
        flat = moved.reshape((*moved.shape[: ndim - len(axis)], -1))
        others = _others(flat, len(flat.shape) - 1).reshape(moved.shape)
        others = np.transpose(others, np.argsort(order))
    return spread(g, x, axis) * conjugate(others)


_PROD = Rule("prod", [_pull_prod])


@composite("prod")
def _prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = NO_VALUE,
    initial: Any = NO_VALUE,
    where: Any = NO_VALUE,
) -> Any:
    refuse("prod", {"out": out})
    options = {"axis": axis, "dtype": dtype}
    if keepdims is not NO_VALUE:
        options["keepdims"] = keepdims
    a = a if where is NO_VALUE else masked(a, where, 1)
    product = reduced(_PROD, lambda a, **options: a.prod(**options), a, options)
    return product * filling(product, initial) if given(initial) else product


# ------------------------------------------------------------------------- cumulative functions


def _pull_cumsum(g: Any, ans: Any, x: Any, axis: int, **_: Any) -> Any:
    return reversed_along(np.cumsum(reversed_along(g, axis), axis=axis), axis)


def _pull_cumprod(g: Any, ans: Any, x: Any, axis: int, **_: Any) -> Any:
    if x.size == 0:
        return g
    later = recurrence(g, conjugate(part(x, axis, 1, None)), axis)
    return conjugate(_after_one(ans, axis)) * later


_SCANS: dict[str, tuple[Rule, Callable[..., Any]]] = {
    "cumsum": (
        Rule("cumsum", [_pull_cumsum], linear=True),
        lambda a, **options: a.cumsum(**options),
    ),
    "cumprod": (Rule("cumprod", [_pull_cumprod]), np.cumprod),
}


def _cumulation(name: str, standard: str, first: float) -> None:
    rule, fn = _SCANS[name]

    @composite(name)
    def handler(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        refuse(name, {"out": out})
        ndim = len(a.shape)
        if axis is None or ndim == 0:
            a, axis = (a if ndim == 1 else a.reshape(-1)), 0
        options = {"axis": normal_axis(axis, len(a.shape)), "dtype": dtype}
        return reduced(rule, fn, a, options)

    @composite(f"nan{name}")
    def without_nan(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        return handler(filled(a, first), axis, dtype, out)

    @composite(standard)
    def standard_handler(
        x: Any,
        /,
        *,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        ndim = len(x.shape)
        if axis is None and ndim > 1:
            raise ValueError("For arrays which have more than one dimension `axis` is required.")
        axis = normal_axis(axis or 0, max(ndim, 1))
        scan = handler(x, axis, dtype, out)
        if not include_initial:
            return scan
        return np.concatenate([np.full_like(part(scan, axis, None, 1), first), scan], axis=axis)


_cumulation("cumsum", "cumulative_sum", 0.0)
_cumulation("cumprod", "cumulative_prod", 1.0)
