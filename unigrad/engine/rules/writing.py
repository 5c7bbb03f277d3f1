"""NumPy's functions that write into an array, which must be one made inside the function.

Each finds the places and writes by an assignment, so that views follow as for ``x[i] = v``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Box
from unigrad.engine.rules.shaping import arrayed, axis_of, shape_of
from unigrad.engine.table import composite
from unigrad.errors import TracingError

__all__: list[str] = []


def _writable(name: str, target: Any) -> None:
    if not isinstance(target, Box):
        raise TracingError(
            f"numpy.{name} would write a traced value into a {type(target).__name__}, where its "
            f"derivative is lost; make that array by numpy.zeros_like(v) of a traced v"
        )


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _repeated(values: Any, count: int) -> Any:
    """The values in order, cut or begun again to give so many."""
    flat = np.ravel(arrayed(values))
    n = shape_of(flat)[0]
    if n == count or n == 1:
        return flat
    if n == 0 and count > 0:
        raise ValueError("Cannot insert from an empty array!")
    return np.resize(flat, (count,))


@composite("copyto")
def _copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    _writable("copyto", dst)
    src = arrayed(src)
    if not np.can_cast(np.result_type(src), dst.dtype, casting):
        raise TypeError(f"Cannot cast {np.result_type(src)} to {dst.dtype} by {casting!r}")
    dst[...] = src if where is True else np.where(where, src, dst)


@composite("put")
def _put(a: Any, ind: Any, v: Any, mode: Any = "raise") -> None:
    _writable("put", a)
    places, shape = np.ravel(ind), shape_of(a)
    if shape_of(places)[0] == 0:
        return
    if mode == "raise":
        places = np.where(places < 0, places + _size(shape), places)
    else:
        places = np.ravel_multi_index((places,), (_size(shape),), mode)
    a[np.unravel_index(places, shape)] = _repeated(v, shape_of(places)[0])


@composite("place")
def _place(arr: Any, mask: Any, vals: Any) -> None:
    _writable("place", arr)
    index = np.nonzero(np.reshape(mask, shape_of(arr)))
    if count := len(index[0]):
        arr[index] = _repeated(vals, count)


@composite("putmask")
def _putmask(a: Any, /, mask: Any, values: Any) -> None:
    _writable("putmask", a)
    shape = shape_of(a)
    filled = np.broadcast_to(_repeated(values, _size(shape)), (_size(shape),))
    new = np.reshape(filled, shape)
    a[...] = np.where(mask, new, a)


@composite("put_along_axis")
def _put_along_axis(arr: Any, indices: Any, values: Any, axis: Any = -1) -> None:
    _writable("put_along_axis", arr)
    shape = shape_of(arr)
    values = arrayed(values)
    if axis is None:
        arr[np.unravel_index(indices, shape)] = values
        return
    axis = axis_of(axis, len(shape))
    if len(shape_of(indices)) != len(shape):
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    ones = (1,) * len(shape)
    grid: list[Any] = [
        np.reshape(np.arange(n), (*ones[:i], -1, *ones[i + 1 :])) for i, n in enumerate(shape)
    ]
    grid[axis] = indices
    arr[tuple(grid)] = values


@composite("fill_diagonal")
def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    _writable("fill_diagonal", a)
    shape = shape_of(a)
    if len(shape) < 2:
        raise ValueError("array must be at least 2-d")
    if len(shape) == 2:
        rows, columns = shape
        end = rows * columns if wrap else min(rows, columns) * columns
        places = np.arange(0, end, columns + 1)
    else:
        if len(set(shape)) != 1:
            raise ValueError("All dimensions of input must be of equal length")
        places = np.arange(0, shape[0] ** len(shape), sum(shape[0] ** k for k in range(len(shape))))
    if len(places):
        a[np.unravel_index(places, shape)] = _repeated(val, len(places))
