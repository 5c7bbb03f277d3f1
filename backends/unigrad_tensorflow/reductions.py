"""Reductions, searching and sorting of the array API standard on tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unigrad.backend import Array
from unigrad_tensorflow.promotion import as_dtype, operands, tensor
from unigrad_tensorflow.shaping import moveaxis, take_along_axis

__all__ = [
    "all", "any", "argmax", "argmin", "argsort", "cumulative_sum", "max", "mean", "min", "prod",
    "sort", "std", "sum", "var", "vecdot",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


def _summable(x: Any, dtype: Any) -> Array:
    x = tensor(x, as_dtype(dtype))
    small = dtype is None and (x.dtype.is_bool or (x.dtype.is_integer and x.dtype.size < 8))
    return tf.cast(x, tf.int64) if small else x


def sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Sum over ``axis``; integers are summed in 64 bits."""
    return tf.reduce_sum(_summable(x, dtype), axis=axis, keepdims=keepdims)


def mean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Mean over ``axis``."""
    return tf.reduce_mean(_averageable(x), axis=axis, keepdims=keepdims)


def _averageable(x: Any) -> Array:
    # tf.reduce_mean of integers is an integer, rounded down.
    x = tensor(x)
    return tf.cast(x, tf.float64) if x.dtype.is_integer or x.dtype.is_bool else x


def prod(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Product over ``axis``, by halves: every derivative is exact where entries are zero."""
    # The second derivative of tf.reduce_prod divides by the entries: nan at a zero.
    x = _summable(x, dtype)
    whole = x
    axes = _axes(x, axis)
    for k in axes:
        x = _product_along(x, k)
    shape = tf.reduce_sum(tf.zeros_like(whole), axis=axes, keepdims=keepdims)
    return tf.reshape(x, tf.shape(shape)) if axes else tf.identity(x)


def _product_along(x: Array, axis: int) -> Array:
    size = x.shape[axis]
    if size is None:
        return tf.reduce_prod(x, axis=axis, keepdims=True)
    if size == 0:
        return tf.reduce_prod(x, axis=axis, keepdims=True)
    while size > 1:
        half = size // 2
        parts = tf.split(x, [half, half, size - 2 * half], axis=axis)
        x = parts[0] * parts[1]
        if size % 2:
            x = tf.concat([x, parts[2]], axis=axis)
        size = half + size % 2
    return x


def _axes(x: Array, axis: Axis) -> list[int]:
    rank = x.shape.rank
    listed = range(rank) if axis is None else (axis,) if isinstance(axis, int) else axis
    return [k % rank for k in listed]


def var(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Mean squared distance from the mean; ``correction`` is subtracted from the divisor."""
    x = _averageable(x)
    centred = x - tf.reduce_mean(x, axis=axis, keepdims=True)
    squares = tf.math.real(centred * tf.math.conj(centred))
    total = tf.reduce_sum(squares, axis=axis, keepdims=keepdims)
    count = tf.reduce_prod(tf.gather(tf.shape(x), tf.constant(_axes(x, axis), tf.int32)))
    return total / (tf.cast(count, total.dtype) - tf.cast(correction, total.dtype))


def std(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Square root of `var`."""
    return tf.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Largest entry over ``axis``."""
    return tf.reduce_max(tensor(x), axis=axis, keepdims=keepdims)


def min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Smallest entry over ``axis``."""
    return tf.reduce_min(tensor(x), axis=axis, keepdims=keepdims)


def any(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether some entry is true."""
    return tf.reduce_any(_truth(x), axis=axis, keepdims=keepdims)


def all(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether every entry is true."""
    return tf.reduce_all(_truth(x), axis=axis, keepdims=keepdims)


def _truth(x: Any) -> Array:
    x = tensor(x)
    return x if x.dtype.is_bool else tf.not_equal(x, tf.zeros((), x.dtype))


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the largest entry, the first of equal ones."""
    return _position(tf.argmax, x, axis, keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the smallest entry, the first of equal ones."""
    return _position(tf.argmin, x, axis, keepdims)


def _position(find: Callable[..., Array], x: Any, axis: int | None, keepdims: bool) -> Array:
    x = tensor(x)
    if axis is None:
        index = find(tf.reshape(x, [-1]), axis=0, output_type=tf.int64)
        return tf.reshape(index, [1] * x.shape.rank) if keepdims else index
    index = find(x, axis=axis, output_type=tf.int64)
    return tf.expand_dims(index, axis) if keepdims else index


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Running sums along ``axis``, from a leading zero where ``include_initial`` is set."""
    x = _summable(x, dtype)
    axis = 0 if axis is None else axis
    total = tf.cumsum(x, axis=axis)
    if not include_initial:
        return total
    start = tf.zeros_like(tf.gather(x, [0], axis=axis)) if x.shape[axis] else None
    if start is None:
        shape = x.shape.as_list()
        shape[axis] = 1
        return tf.zeros(shape, x.dtype)
    return tf.concat([start, total], axis=axis)


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Indices that sort ``x``; equal entries keep their order."""
    direction = "DESCENDING" if descending else "ASCENDING"
    order = tf.argsort(tf.stop_gradient(tensor(x)), axis=axis, direction=direction, stable=True)
    return tf.cast(order, tf.int64)


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """``x`` in order along ``axis``."""
    x = tensor(x)
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """Sum of ``conj(x1) * x2`` along ``axis``."""
    a, b = operands(x1, x2)
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    return tf.reduce_sum(tf.math.conj(a) * b, axis=-1)
