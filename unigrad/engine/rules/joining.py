"""Rules of functions that join arrays and take them apart."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from unigrad.engine.core import Rule, apply
from unigrad.engine.rules.shaping import arrayed, axis_of, shape_of, sliced
from unigrad.engine.table import composite, refuse
from unigrad.errors import TracingError

__all__: list[str] = []


def _listed(arrays: Any) -> list[Any]:
    """The arrays that were given, with lists of numbers made arrays."""
    return [arrayed(a) if isinstance(a, (list, tuple)) else a for a in arrays]


def _joined(*arrays: Any, axis: int, **options: Any) -> Any:
    return np.concatenate(arrays, axis=axis, **options)


def _pull_joined(g: Any, ans: Any, *arrays: Any, axis: int, **_: Any) -> list[Any]:
    axis = axis % len(ans.shape)
    pieces, start = [], 0
    for a in arrays:
        stop = start + shape_of(a)[axis]
        pieces.append(sliced(g, axis, start, stop))
        start = stop
    return pieces


def _stacked(*arrays: Any, axis: int, **options: Any) -> Any:
    return np.stack(arrays, axis=axis, **options)


def _pull_stacked(g: Any, ans: Any, *arrays: Any, axis: int, **_: Any) -> list[Any]:
    before = (slice(None),) * (axis % len(ans.shape))
    return [g[(*before, i)] for i in range(len(arrays))]


_CONCATENATE = Rule("concatenate", joint=_pull_joined, linear=True)
_STACK = Rule("stack", joint=_pull_stacked, linear=True)


@composite("concatenate", "concat")
def _concatenate(arrays: Any, /, axis: Any = 0, out: Any = None, **options: Any) -> Any:
    refuse("concatenate", {"out": out})
    parts = _listed(arrays)
    if axis is None:
        parts, axis = [np.ravel(a) for a in parts], 0
    return apply(_CONCATENATE, _joined, parts, {"axis": axis, **options})


@composite("stack")
def _stack(arrays: Any, axis: int = 0, out: Any = None, **options: Any) -> Any:
    refuse("stack", {"out": out})
    return apply(_STACK, _stacked, _listed(arrays), {"axis": axis, **options})


@composite("hstack")
def _hstack(tup: Any, **options: Any) -> Any:
    arrays = [np.atleast_1d(a) for a in _listed(tup)]
    return np.concatenate(arrays, axis=0 if len(shape_of(arrays[0])) == 1 else 1, **options)


@composite("vstack", "row_stack")
def _vstack(tup: Any, **options: Any) -> Any:
    return np.concatenate([np.atleast_2d(a) for a in _listed(tup)], axis=0, **options)


@composite("dstack")
def _dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(a) for a in _listed(tup)], axis=2)


@composite("column_stack")
def _column_stack(tup: Any) -> Any:
    arrays = _listed(tup)
    columns = [np.reshape(a, (-1, 1)) if len(shape_of(a)) < 2 else a for a in arrays]
    return np.concatenate(columns, axis=1)


@composite("append")
def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    return np.concatenate((arr, values), axis=axis)


def _depth(x: Any) -> int:
    """How deep the lists of ``numpy.block`` are nested.

    Raises:
        ValueError: if they are not nested evenly, or one is empty.
    """
    if not isinstance(x, list):
        return 0
    depths = {_depth(y) for y in x}
    if len(depths) != 1:
        raise ValueError("numpy.block takes lists that are nested evenly, and not empty")
    return 1 + depths.pop()


@composite("block")
def _block(arrays: Any) -> Any:
    def rank(x: Any) -> int:
        if isinstance(x, tuple):
            raise TypeError("numpy.block takes nested lists, not tuples")
        return max(rank(y) for y in x) if isinstance(x, list) else len(shape_of(x))

    def joined(x: Any, level: int) -> Any:
        if isinstance(x, list):
            return np.concatenate([joined(y, level - 1) for y in x], axis=-level)
        return np.reshape(x, (1,) * (ndim - len(shape_of(x))) + shape_of(x))

    depth = _depth(arrays)
    ndim = max(depth, rank(arrays))
    return joined(arrays, depth) if depth else arrays.copy()


# ------------------------------------------------------------------------- taking apart


def _sizes(length: int, indices_or_sections: Any) -> list[int] | None:
    """Where to cut a length into so many parts; ``None`` if the cuts were given."""
    if np.ndim(indices_or_sections) > 0:
        return None
    sections = operator.index(indices_or_sections)
    if sections <= 0:
        raise ValueError("number sections must be larger than 0.")
    each, extra = divmod(length, sections)
    return [each * i + min(i, extra) for i in range(1, sections)]


@composite("array_split")
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    axis = axis_of(axis, len(shape_of(ary)))
    cuts = _sizes(shape_of(ary)[axis], indices_or_sections)
    ends = [operator.index(i) for i in indices_or_sections] if cuts is None else cuts
    return [
        sliced(ary, axis, start, stop)
        for start, stop in zip((0, *ends), (*ends, shape_of(ary)[axis]), strict=True)
    ]


@composite("split")
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    if np.ndim(indices_or_sections) == 0 and shape_of(ary)[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return np.array_split(ary, indices_or_sections, axis)


def _split_along(name: str, axis: int) -> None:
    @composite(name)
    def handler(ary: Any, indices_or_sections: Any) -> list[Any]:
        ndim = len(shape_of(ary))
        if ndim < max(axis, 1) + (axis != 1):
            raise ValueError(f"{name} only works on arrays of {axis + 1} or more dimensions")
        return np.split(ary, indices_or_sections, min(axis, ndim - 1))


_split_along("vsplit", 0)
_split_along("hsplit", 1)
_split_along("dsplit", 2)


@composite("unstack")
def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    axis = axis_of(axis, len(shape_of(x)))
    return tuple(x[(slice(None),) * axis + (i,)] for i in range(shape_of(x)[axis]))


# ------------------------------------------------------------------------- adding, removing


@composite("insert")
def _insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    if arr.dtype.kind not in "fc":
        raise TracingError(
            f"numpy.insert rounds a traced value to an entry of an array of {arr.dtype}; "
            f"convert that array first: arr.astype(float)"
        )
    shape = shape_of(arr)
    axis = axis_of(axis, len(shape))
    n = shape[axis]
    new = arrayed(values)
    new = np.reshape(new, (1,) * (len(shape) - len(shape_of(new))) + shape_of(new))
    places = np.arange(n)[obj] if isinstance(obj, slice) else np.asarray(obj)
    if places.ndim == 0:
        new = np.moveaxis(new, 0, axis)
    count = shape_of(new)[axis] if places.size == 1 else len(np.insert(np.zeros(n), obj, 0)) - n
    new = np.broadcast_to(new, (*shape[:axis], count, *shape[axis + 1 :]))
    both = np.concatenate([arr, new.astype(arr.dtype)], axis=axis)
    # NumPy itself says where everything goes: entries from n on are the new ones.
    order = np.insert(np.arange(n), obj, n + np.arange(count))
    return np.take(both, order, axis=axis)


@composite("delete")
def _delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = axis_of(axis, len(shape_of(arr)))
    n = shape_of(arr)[axis]
    kept = np.zeros(n, dtype=bool)
    kept[np.delete(np.arange(n), obj)] = True
    return np.moveaxis(np.moveaxis(arr, axis, 0)[kept], 0, axis)
