"""Functions of `namespace` that move entries about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unigrad_mxnet.arrays import constant, public
from unigrad_mxnet.elementwise import array_of, cast_to
from unigrad_mxnet.framework import mx
from unigrad_mxnet.reductions import axes_of

_mn: Any = mx.np


@public
def reshape(x: Any, /, shape: int | Sequence[int], *, copy: bool | None = None) -> Any:
    asked = (shape,) if isinstance(shape, int) else tuple(shape)
    if -1 in asked:  # MXNet cannot infer it for an array without entries
        rest = int(np.prod([n for n in asked if n != -1], dtype=np.int64))
        asked = tuple(x.size // max(rest, 1) if n == -1 else n for n in asked)
    if int(np.prod(asked, dtype=np.int64)) != x.size:
        raise ValueError(f"an array of shape {x.shape} cannot have the shape {asked}")
    return x.reshape(asked)


@public
def permute_dims(x: Any, /, axes: Sequence[int]) -> Any:
    return _mn.transpose(x, tuple(a % x.ndim for a in axes)) if x.ndim > 1 else x.copy()


@public
def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int], /) -> Any:
    from_axes, to_axes = axes_of(x, _tuple(source)), axes_of(x, _tuple(destination))
    rest = iter(a for a in range(x.ndim) if a not in from_axes)
    placed = dict(zip(to_axes, from_axes, strict=True))
    return permute_dims(x, [placed[a] if a in placed else next(rest) for a in range(x.ndim)])


def _tuple(axis: int | Sequence[int]) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)


@public
def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Any:
    same = _same_dtype(arrays)
    if axis is None:
        same, axis = [x.reshape((-1,)) for x in same], 0
    return same[0].copy() if len(same) == 1 else _mn.concatenate(same, axis=axis)


@public
def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Any:
    return _mn.stack(_same_dtype(arrays), axis=axis)


def _same_dtype(arrays: Sequence[Any]) -> list[Any]:
    made = [array_of(x) for x in arrays]
    kind = np.result_type(*(np.dtype(x.dtype) for x in made))
    return [cast_to(x, kind) for x in made]


@public
def expand_dims(x: Any, /, *, axis: int = 0) -> Any:
    return _mn.expand_dims(x, axis=axis)


@public
def squeeze(x: Any, /, axis: int | tuple[int, ...]) -> Any:
    gone = axes_of(x, axis)
    if [a for a in gone if x.shape[a] != 1]:
        raise ValueError(f"axes {gone} of an array of shape {x.shape} are not all of length 1")
    return x.reshape(tuple(n for a, n in enumerate(x.shape) if a not in gone))


@public
def broadcast_to(x: Any, /, shape: Sequence[int]) -> Any:
    return _mn.broadcast_to(x, tuple(shape))


@public
def flip(x: Any, /, *, axis: int | tuple[int, ...] | None = None) -> Any:
    for a in axes_of(x, axis):
        n = x.shape[a]
        x = _mn.take(x, constant(np.arange(n - 1, -1, -1), x.ctx), axis=a) if n else x
    return x


@public
def roll(
    x: Any, /, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None
) -> Any:
    if axis is None:
        return roll(x.reshape((-1,)), shift, axis=0).reshape(x.shape)
    axes = axes_of(x, axis)
    shifts = shift if isinstance(shift, tuple) else (shift,) * len(axes)
    for s, a in zip(shifts, axes, strict=True):
        n = x.shape[a]
        x = _mn.take(x, constant((np.arange(n) - s) % max(n, 1), x.ctx), axis=a) if n else x
    return x


@public
def tile(x: Any, repetitions: Sequence[int], /) -> Any:
    return _mn.tile(x, tuple(repetitions))


@public
def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
    if axis is None:
        x, axis = x.reshape((-1,)), 0
    n = x.shape[axis]
    counts = np.asarray(repeats.asnumpy() if isinstance(repeats, mx.nd.NDArray) else repeats)
    index = np.repeat(np.arange(n), counts)
    return _mn.take(x, constant(index.astype(np.int64), x.ctx), axis=axis)
