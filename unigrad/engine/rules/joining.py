"""Rules of functions that join arrays and take them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unigrad.engine.core import apply
from unigrad.engine.table import composite, refuse, sequence_rule

__all__: list[str] = []


def _joined(*arrays: Any, axis: int, **options: Any) -> Any:
    return np.concatenate(arrays, axis=axis, **options)


def _pull_joined(i: int, g: Any, ans: Any, *arrays: Any, axis: int, **_: Any) -> Any:
    start = sum(np.shape(a)[axis] for a in arrays[:i])
    index: list[Any] = [slice(None)] * len(ans.shape)
    index[axis] = slice(start, start + arrays[i].shape[axis])
    return g[tuple(index)]


_CONCATENATE = sequence_rule("concatenate", _pull_joined)


@composite("concatenate", "concat")
def _concatenate(arrays: Any, /, axis: Any = 0, out: Any = None, **options: Any) -> Any:
    refuse("concatenate", {"out": out})
    arrays = tuple(arrays)
    if axis is None:
        arrays, axis = tuple(np.ravel(a) for a in arrays), 0
    return apply(_CONCATENATE, _joined, arrays, {"axis": axis, **options})


@composite("stack")
def _stack(arrays: Any, axis: int = 0, out: Any = None, **options: Any) -> Any:
    refuse("stack", {"out": out})
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis=axis, **options)


@composite("hstack")
def _hstack(tup: Any, **options: Any) -> Any:
    arrays = [np.atleast_1d(a) for a in tup]
    return np.concatenate(arrays, axis=0 if np.ndim(arrays[0]) == 1 else 1, **options)


@composite("vstack", "row_stack")
def _vstack(tup: Any, **options: Any) -> Any:
    return np.concatenate([np.atleast_2d(a) for a in tup], axis=0, **options)


@composite("dstack")
def _dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(a) for a in tup], axis=2)


@composite("column_stack")
def _column_stack(tup: Any) -> Any:
    columns = [np.reshape(a, (-1, 1)) if np.ndim(a) < 2 else a for a in tup]
    return np.concatenate(columns, axis=1)


@composite("append")
def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    return np.concatenate((arr, values), axis=axis)


@composite("block")
def _block(arrays: Any) -> Any:
    def depth(x: Any) -> int:
        return 1 + max(depth(y) for y in x) if isinstance(x, list) else 0

    def joined(x: Any, level: int, ndim: int) -> Any:
        if not isinstance(x, list):
            return np.reshape(x, (1,) * (ndim - np.ndim(x)) + np.shape(x))
        return np.concatenate([joined(y, level - 1, ndim) for y in x], axis=-level)

    def rank(x: Any) -> int:
        return max(rank(y) for y in x) if isinstance(x, list) else np.ndim(x)

    levels = depth(arrays)
    return joined(arrays, levels, max(levels, rank(arrays)))


def _cut(ary: Any, ends: Sequence[int], axis: int) -> list[Any]:
    index: list[Any] = [slice(None)] * np.ndim(ary)
    pieces = []
    for start, stop in zip((0, *ends), (*ends, None), strict=True):
        index[axis] = slice(start, stop)
        pieces.append(ary[tuple(index)])
    return pieces


@composite("array_split")
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if not isinstance(indices_or_sections, (int, np.integer)):
        return _cut(ary, [int(i) for i in indices_or_sections], axis)
    each, extra = divmod(ary.shape[axis], int(indices_or_sections))
    sizes = [each + (i < extra) for i in range(int(indices_or_sections))]
    return _cut(ary, [int(i) for i in np.cumsum(sizes)[:-1]], axis)


@composite("split")
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    sections = indices_or_sections
    if isinstance(sections, (int, np.integer)) and ary.shape[axis] % sections:
        raise ValueError("array split does not result in an equal division")
    return np.array_split(ary, sections, axis)


@composite("hsplit")
def _hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return np.split(ary, indices_or_sections, 0 if np.ndim(ary) == 1 else 1)


@composite("vsplit")
def _vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return np.split(ary, indices_or_sections, 0)


@composite("dsplit")
def _dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return np.split(ary, indices_or_sections, 2)


@composite("unstack")
def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(np.moveaxis(x, axis, 0))


@composite("insert")
def _insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    n = arr.shape[axis]
    new = np.insert(np.zeros(n, dtype=bool), obj, True)
    kept = np.flatnonzero(~new)
    shape = list(arr.shape)
    shape[axis] = len(new)
    out = np.zeros_like(arr, shape=tuple(shape))
    index: list[Any] = [slice(None)] * len(shape)
    index[axis] = kept
    out[tuple(index)] = arr
    index[axis] = np.flatnonzero(new)
    out[tuple(index)] = values
    return out


@composite("delete")
def _delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    kept = np.delete(np.arange(arr.shape[axis]), obj)
    return np.take(arr, kept, axis=axis)
