"""Manipulation and indexing functions of the array API standard on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from unigrad.backend import Array
from unigrad_tensorflow.promotion import operands, tensor

__all__ = [
    "broadcast_arrays", "broadcast_to", "concat", "expand_dims", "flip", "matrix_transpose",
    "moveaxis", "permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "take",
    "take_along_axis", "tile", "tril", "triu", "unstack",
]  # fmt: skip

Axes = int | tuple[int, ...]


def _tuple(axis: Axes | Sequence[int]) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)


def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Array:
    """The same entries in row-major order in another shape; one entry may be -1."""
    return tf.reshape(tensor(x), (shape,) if isinstance(shape, int) else shape)


def permute_dims(x: Any, /, axes: Sequence[int]) -> Array:
    """Axes in another order."""
    x = tensor(x)
    return tf.transpose(x, [a % x.shape.rank for a in axes])


def matrix_transpose(x: Any, /) -> Array:
    """The last two axes exchanged."""
    return tf.linalg.matrix_transpose(tensor(x))


def moveaxis(x: Any, source: Axes, destination: Axes, /) -> Array:
    """Axes moved to other places, the rest in order."""
    x = tensor(x)
    rank = x.shape.rank
    sources = [a % rank for a in _tuple(source)]
    destinations = [a % rank for a in _tuple(destination)]
    order = [a for a in range(rank) if a not in sources]
    for place, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(place, axis)
    return x if order == list(range(rank)) else tf.transpose(x, order)


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Array:
    """Arrays joined along an axis; flattened first where it is ``None``."""
    parts = operands(*arrays)
    if axis is None:
        return tf.concat([tf.reshape(p, [-1]) for p in parts], axis=0)
    return tf.concat(parts, axis=axis)


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Array:
    """Arrays joined along a new axis."""
    return tf.stack(operands(*arrays), axis=axis)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The arrays along ``axis``."""
    return tuple(tf.unstack(tensor(x), axis=axis))


def expand_dims(x: Any, /, *, axis: Axes = 0) -> Array:
    """New axes of length 1."""
    x = tensor(x)
    axes = _tuple(axis)
    rank = x.shape.rank + len(axes)
    for a in sorted(a % rank for a in axes):
        x = tf.expand_dims(x, a)
    return x


def squeeze(x: Any, /, axis: Axes) -> Array:
    """Axes of length 1 removed."""
    return tf.squeeze(tensor(x), axis=list(_tuple(axis)))


def broadcast_to(x: Any, /, shape: Any) -> Array:
    """``x`` repeated to a larger shape."""
    return tf.broadcast_to(tensor(x), shape)


def broadcast_arrays(*arrays: Any) -> list[Array]:
    """Arrays repeated to their common shape."""
    xs = [tensor(x) for x in arrays]
    shape = tf.shape(xs[0])
    for x in xs[1:]:
        shape = tf.broadcast_dynamic_shape(shape, tf.shape(x))
    return [tf.broadcast_to(x, shape) for x in xs]


def flip(x: Any, /, *, axis: Axes | None = None) -> Array:
    """Entries in reverse order along ``axis``."""
    x = tensor(x)
    axes = range(x.shape.rank) if axis is None else _tuple(axis)
    return tf.reverse(x, list(axes))


def roll(x: Any, /, shift: Axes, *, axis: Axes | None = None) -> Array:
    """Entries moved on by ``shift``, those beyond the end to the front."""
    x = tensor(x)
    if axis is None:
        return tf.reshape(tf.roll(tf.reshape(x, [-1]), shift, 0), tf.shape(x))
    axes = _tuple(axis)
    shifts = _tuple(shift) * len(axes) if isinstance(shift, int) else shift
    return tf.roll(x, list(shifts), list(axes))


def tile(x: Any, repetitions: Any, /) -> Array:
    """``x`` laid out ``repetitions`` times along each axis."""
    x = tensor(x)
    times = _tuple(repetitions)
    rank = x.shape.rank
    times = (1,) * (rank - len(times)) + times
    for _ in range(len(times) - rank):
        x = tf.expand_dims(x, 0)
    return tf.tile(x, list(times))


def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Each entry ``repeats`` times in a row."""
    x = tensor(x)
    if axis is None:
        x, axis = tf.reshape(x, [-1]), 0
    return tf.repeat(x, repeats, axis=axis)


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Array:
    """The entries at ``indices`` along ``axis``; negative ones count from the end."""
    x = tensor(x)
    if axis is None:
        x, axis = tf.reshape(x, [-1]), 0
    return tf.gather(x, _from_the_start(x, indices, axis), axis=axis)


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Array:
    """At each place the entry of ``x`` that ``indices`` names along ``axis``."""
    x = tensor(x)
    rank = x.shape.rank
    axis = axis % rank
    index = _from_the_start(x, indices, axis)
    x, index = moveaxis(x, axis, -1), moveaxis(index, axis, -1)
    if x.shape[:-1] != index.shape[:-1]:
        lead = tf.broadcast_dynamic_shape(tf.shape(x)[:-1], tf.shape(index)[:-1])
        x = tf.broadcast_to(x, tf.concat([lead, tf.shape(x)[-1:]], 0))
        index = tf.broadcast_to(index, tf.concat([lead, tf.shape(index)[-1:]], 0))
    return moveaxis(tf.gather(x, index, batch_dims=rank - 1), -1, axis)


def _from_the_start(x: Array, indices: Any, axis: int) -> Array:
    # tf.gather refuses negative indices on CPU and reads zeros for them on GPU.
    index = tensor(indices)
    size = tf.cast(tf.shape(x)[axis], index.dtype)
    return tf.where(index < 0, index + size, index)


def tril(x: Any, /, *, k: int = 0) -> Array:
    """Zeros above the ``k``-th diagonal."""
    return _triangle(x, lambda i, j: j - i <= k)


def triu(x: Any, /, *, k: int = 0) -> Array:
    """Zeros below the ``k``-th diagonal."""
    return _triangle(x, lambda i, j: j - i >= k)


def _triangle(x: Any, keep: Any) -> Array:
    x = tensor(x)
    shape = tf.shape(x)
    rows, columns = tf.range(shape[-2])[:, None], tf.range(shape[-1])[None, :]
    return tf.where(keep(rows, columns), x, tf.zeros((), x.dtype))
