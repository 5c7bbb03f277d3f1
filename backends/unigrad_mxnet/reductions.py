"""Reductions and orderings of `namespace`."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad_mxnet.arrays import constant, peek, public
from unigrad_mxnet.elementwise import cast_to, floating, where
from unigrad_mxnet.framework import mx

_mn: Any = mx.np

Axis = int | tuple[int, ...] | None


def axes_of(x: Any, axis: Axis) -> tuple[int, ...]:
    """The axes as non-negative ints."""
    if axis is None:
        return tuple(range(x.ndim))
    listed = (axis,) if isinstance(axis, int) else tuple(axis)
    for a in listed:
        if not -x.ndim <= a < x.ndim:
            raise IndexError(f"axis {a} was asked for, but the array has {x.ndim} axes")
    return tuple(a % x.ndim for a in listed)


def count_along(x: Any, axis: Axis) -> int:
    """How many entries one result is made of."""
    return int(np.prod([x.shape[a] for a in axes_of(x, axis)], dtype=np.int64))


@public
def sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    if dtype is not None:
        x = cast_to(x, dtype)
    elif np.dtype(x.dtype).kind in "biu":
        x = cast_to(x, "int64")
    return total(x, axis, keepdims)


def total(x: Any, axis: Axis, keepdims: bool) -> Any:
    """The sum. MXNet's own is NaN where infinities of one sign meet other entries."""
    native = _mn.sum(x, axis=axis, keepdims=keepdims)
    if x.size == 0 or np.dtype(x.dtype).kind != "f":
        return native
    y, shape = _last(x, axis)
    with mx.autograd.pause(train_mode=mx.autograd.is_training()):
        ones = _mn.ones((y.shape[-1], 1), dtype=y.dtype, ctx=y.ctx)
        broken = native != native
    exact = _mn.dot(y.reshape((-1, y.shape[-1])), ones).reshape((*y.shape[:-1], 1))
    return where(broken, _shaped(exact, shape, axis, keepdims, x), native)


@public
def mean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    x = floating(x)
    return total(x, axis, keepdims) / count_along(x, axis)


@public
def var(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """Sum of squared distances from the mean over n − correction (MXNet's gradient is zero)."""
    x = floating(x)
    n = count_along(x, axis)
    centred = x - _mn.sum(x, axis=axis, keepdims=True) / n
    return _mn.sum(centred * centred, axis=axis, keepdims=keepdims) / (n - correction)


@public
def std(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    """Root of `var`; its derivative is 0 where the variance is."""
    return root(var(x, axis=axis, correction=correction, keepdims=keepdims))


def root(x: Any) -> Any:
    """Square root with derivative 0 at 0."""
    zero = x == 0
    return where(zero, x * 0, _mn.sqrt(where(zero, 1.0, x)))


def _last(x: Any, axis: Axis) -> tuple[Any, tuple[int, ...]]:
    """``x`` with the reduced axes as one last axis, and the shape that ``keepdims`` asks."""
    reduced = axes_of(x, axis)
    kept = [a for a in range(x.ndim) if a not in reduced]
    shape = tuple(1 if a in reduced else x.shape[a] for a in range(x.ndim))
    moved = _mn.transpose(x, (*kept, *reduced)) if x.ndim > 1 else x
    return moved.reshape((*(x.shape[a] for a in kept), count_along(x, axis))), shape


def _shaped(y: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool, x: Any) -> Any:
    if keepdims:
        return y.reshape(shape)
    reduced = axes_of(x, axis)
    return y.reshape(tuple(n for a, n in enumerate(shape) if a not in reduced))


@public
def prod(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """By halves, so that the derivative is right where factors are 0 (MXNet divides by them)."""
    if dtype is not None:
        x = cast_to(x, dtype)
    elif np.dtype(x.dtype).kind in "biu":
        return _mn.prod(cast_to(x, "int64"), axis=axis, keepdims=keepdims)
    y, shape = _last(x, axis)
    if y.shape[-1] == 0:
        y = _mn.ones((*y.shape[:-1], 1), dtype=y.dtype, ctx=y.ctx)
    while y.shape[-1] > 1:
        half = y.shape[-1] // 2
        folded = y[..., :half] * y[..., half : 2 * half]
        rest = y[..., 2 * half :]
        y = _mn.concatenate([folded, rest], axis=-1) if rest.shape[-1] else folded
    return _shaped(y, shape, axis, keepdims, x)


def _extreme(x: Any, axis: Axis, keepdims: bool, largest: bool) -> Any:
    f = _mn.max if largest else _mn.min
    if np.dtype(x.dtype).kind != "f":
        return f(x, axis=axis, keepdims=keepdims)
    y, shape = _last(x, axis)
    with mx.autograd.pause(train_mode=mx.autograd.is_training()):
        best = f(y, axis=-1, keepdims=True)
        chosen = y == best
        weight = cast_to(chosen, y.dtype)
        weight = weight / _mn.sum(weight, axis=-1, keepdims=True)
        finite = _mn.abs(best) < np.inf
    near = _mn.sum(where(chosen, y - best, 0.0) * weight, axis=-1, keepdims=True)
    far = total(where(chosen, y, 0.0) * weight, -1, True)
    return _shaped(where(finite, best + near, far), shape, axis, keepdims, x)


@public
def max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Largest entry; equal ones share its derivative (MXNet gives each of them all of it)."""
    return _extreme(x, axis, keepdims, largest=True)


@public
def min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Smallest entry; equal ones share its derivative (MXNet gives each of them all of it)."""
    return _extreme(x, axis, keepdims, largest=False)


@public
def any(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return _mn.sum(cast_to(x != 0, "int64"), axis=axis, keepdims=keepdims) > 0


@public
def all(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return _mn.sum(cast_to(x == 0, "int64"), axis=axis, keepdims=keepdims) == 0


@public
def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Any:
    return constant(np.asarray(np.argmax(peek(x), axis=axis, keepdims=keepdims)), x.ctx)


@public
def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Any:
    return constant(np.asarray(np.argmin(peek(x), axis=axis, keepdims=keepdims)), x.ctx)


@public
def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    values = peek(x)
    if not descending:
        return constant(np.argsort(values, axis=axis, kind="stable"), x.ctx)
    backwards = np.argsort(np.flip(values, axis), axis=axis, kind="stable")
    return constant(values.shape[axis] - 1 - np.flip(backwards, axis), x.ctx)


@public
def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


@public
def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
    if axis is None:
        x, axis = x.reshape((-1,)), 0
    n = x.shape[axis]
    where_from = _indices(indices, n)
    return _mn.take(x, where_from, axis=axis)


def _indices(indices: Any, n: int) -> Any:
    values = np.asarray(peek(indices) if isinstance(indices, mx.nd.NDArray) else indices)
    if values.size and (values.min() < -n or values.max() >= n):
        raise IndexError(f"an index is outside of an axis of length {n}")
    return constant(np.where(values < 0, values + n, values).astype(np.int64))


@public
def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
    (axis,) = axes_of(x, axis)
    rows = peek(_indices(indices, x.shape[axis]))
    grids = list(np.ogrid[tuple(slice(n) for n in x.shape)])
    grids[axis] = rows
    flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*grids)), x.shape)
    return _mn.take(x.reshape((-1,)), constant(flat.astype(np.int64)), axis=0)


@public
def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    if dtype is not None:
        x = cast_to(x, dtype)
    elif np.dtype(x.dtype).kind in "biu":
        x = cast_to(x, "int64")
    if axis is None:
        axis = 0
    (axis,) = axes_of(x, axis)
    y = _mn.cumsum(x, axis=axis)
    if not include_initial:
        return y
    first = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    return _mn.concatenate([_mn.zeros(first, dtype=y.dtype, ctx=y.ctx), y], axis=axis)
