"""Rules of sorting and taking: each is indexing by a permutation found on the plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.indexing import kept_index
from unigrad.engine.table import composite, refuse
from unigrad.errors import TracingError

__all__: list[str] = []


@composite("take")
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    refuse("take", {"out": out})
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = axis % np.ndim(a)
    chosen = np.asarray(kept_index(indices))
    n = np.shape(a)[axis]
    if mode == "wrap":
        chosen = chosen % n
    elif mode == "clip":
        chosen = np.clip(chosen, 0, n - 1)
    return a[(slice(None),) * axis + (chosen,)]


@composite("take_along_axis")
def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    indices = np.asarray(kept_index(indices))
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


@composite("choose")
def _choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    raise TracingError("numpy.choose has no derivative rule; use numpy.select or indexing")


@composite("sort")
def _sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, **options: Any) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    kind = "stable" if options.get("stable") else kind
    return np.take_along_axis(a, np.argsort(a, axis=axis, kind=kind), axis=axis)


@composite("partition")
def _partition(a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", **_: Any) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    return np.take_along_axis(a, np.argpartition(a, kth, axis=axis), axis=axis)


@composite("median")
def _median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    refuse("median", {"out": out})
    shape = np.shape(a)
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis)
    reduced = sorted(int(i) % len(shape) for i in axes)
    others = [i for i in range(len(shape)) if i not in reduced]
    flat = np.reshape(np.transpose(a, others + reduced), [*[shape[i] for i in others], -1])
    ordered, n = np.sort(flat, axis=-1), np.shape(flat)[-1]
    middle = 0.5 * (ordered[..., (n - 1) // 2] + ordered[..., n // 2])
    middle = np.where(np.isnan(ordered[..., -1]), np.nan, middle)  # nan is sorted to the end
    if keepdims:
        middle = np.reshape(middle, [1 if i in reduced else m for i, m in enumerate(shape)])
    return middle
