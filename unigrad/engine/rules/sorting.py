"""Rules of sorting and taking: the order is found on the plain values, and has no derivative.

Where entries are equal, the derivative goes to the one that NumPy's order puts there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, primal
from unigrad.engine.indexing import kept_index
from unigrad.engine.table import composite, refuse
from unigrad.errors import TracingError

__all__ = ["permuted"]


@composite("take")
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    refuse("take", {"out": out})
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = axis % np.ndim(a)
    chosen: Any = kept_index(indices)
    chosen = chosen if isinstance(chosen, Box) else np.asarray(chosen)
    n = np.shape(a)[axis]
    if mode == "wrap":
        chosen = chosen % n
    elif mode == "clip":
        chosen = np.clip(chosen, 0, n - 1)
    return a[(slice(None),) * axis + (chosen,)]


@composite("take_along_axis")
def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    indices = kept_index(indices)
    if axis is None:
        return np.ravel(arr)[indices]
    shape = np.shape(arr)
    axis = axis % len(shape)
    grid: list[Any] = []
    for i, n in enumerate(shape):
        if i == axis:
            grid.append(indices)
        else:
            along = np.arange(n)
            grid.append(np.reshape(along, (1,) * i + (-1,) + (1,) * (len(shape) - 1 - i)))
    return arr[tuple(grid)]


@composite("compress")
def _compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    refuse("compress", {"out": out})
    return np.take(a, np.flatnonzero(condition), axis=axis)


@composite("extract")
def _extract(condition: Any, arr: Any) -> Any:
    return np.ravel(arr)[np.flatnonzero(condition)]


# ------------------------------------------------------------------------- sorting


def permuted(x: Any, order: Any, axis: int) -> Any:
    """``x`` in another order along an axis; ``order`` holds each position once."""
    if isinstance(x, Box):
        return apply(_PERMUTED, permuted, (x, order, axis))
    return np.take_along_axis(x, order, axis)


_PERMUTED = Rule(
    "sort",
    [
        lambda g, ans, x, order, axis: permuted(g, np.argsort(order, axis=axis), axis),
        None,
        None,
    ],
    multilinear=True,
)


@composite("sort")
def _sort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    kind = "stable" if stable else kind
    return permuted(a, np.argsort(a, axis=axis, kind=kind, order=order), axis)


@composite("partition")
def _partition(
    a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None
) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    return permuted(a, np.argpartition(a, kth, axis=axis, kind=kind, order=order), axis)


@composite("sort_complex")
def _sort_complex(a: Any) -> Any:
    ordered = np.sort(a)
    return ordered.astype(np.result_type(ordered.dtype, np.complex64))


@composite("unique", "unique_values")
def _unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    **options: Any,
) -> Any:
    values = primal(ar)
    if isinstance(values, Box):
        raise TracingError(
            "numpy.unique has as many entries as there are different values, which a recorded "
            "function cannot follow; call it outside, and index with what return_index=True gives"
        )
    numpys: Any = np.unique
    _, first, *others = numpys(values, True, return_inverse, return_counts, axis, **options)
    unique = np.ravel(ar)[first] if axis is None else np.take(ar, first, axis=axis)
    found = [unique, *([first] if return_index else []), *others]
    return tuple(found) if len(found) > 1 else unique
