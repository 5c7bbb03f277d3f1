"""Rules of functions that look at an array part by part: windows, rows given to a function."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply
from unigrad.engine.rules.shaping import axis_of, shape_of
from unigrad.engine.table import composite, refuse
from unigrad.errors import TracingError

__all__: list[str] = []

_VIEW: Any = np.lib.stride_tricks.sliding_window_view


def _windows(x: Any, shape: Any, window: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    return _VIEW(x, window, axes)


def _overlapped(
    g: Any, shape: tuple[int, ...], window: tuple[int, ...], axes: tuple[int, ...]
) -> Any:
    """Windows added up where they lie: the transpose of a sliding window view."""
    if isinstance(g, Box):
        options = {"shape": shape, "window": window, "axes": axes}
        return apply(_OVERLAPPED, _overlapped, (g,), options)
    out = np.zeros_like(g, shape=shape)
    for offsets in itertools.product(*map(range, window)):
        along = [slice(None)] * len(shape)
        for axis, offset in zip(axes, offsets, strict=True):
            along[axis] = slice((along[axis].start or 0) + offset, None)
        for axis in set(axes):
            along[axis] = slice(along[axis].start, along[axis].start + g.shape[axis])
        out[tuple(along)] += g[(..., *offsets)]
    return out


_WINDOWS = Rule(
    "sliding_window_view",
    [lambda g, ans, x, **options: _overlapped(g, **options)],
    linear=True,
    view=True,
)
_OVERLAPPED = Rule(
    "overlap and add", [lambda g, ans, x, **options: _windows(g, **options)], linear=True
)


@composite("lib.stride_tricks.sliding_window_view")
def _sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    if writeable:
        raise TracingError(
            "a write into overlapping windows of a traced array is not followed; "
            "leave out writeable=True, or write into the array itself"
        )
    window = tuple(operator.index(w) for w in np.atleast_1d(window_shape))
    shape = shape_of(x)
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis)
    options = {
        "shape": shape,
        "window": window,
        "axes": tuple(axis_of(a, len(shape)) for a in axes),
    }
    return apply(_WINDOWS, _windows, (x,), options)


@composite("apply_along_axis")
def _apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    shape = shape_of(arr)
    axis = axis_of(axis, len(shape))
    rows = np.moveaxis(arr, axis, -1)
    others = shape_of(rows)[:-1]
    if 0 in others:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [func1d(rows[place], *args, **kwargs) for place in np.ndindex(*others)]
    stacked = np.stack(results)
    inner = shape_of(stacked)[1:]
    whole = np.reshape(stacked, (*others, *inner))
    ends = range(len(others), len(others) + len(inner))
    return np.moveaxis(whole, tuple(ends), tuple(range(axis, axis + len(inner))))


@composite("apply_over_axes")
def _apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    for axis in np.atleast_1d(axes):
        ndim = len(shape_of(a))
        result = func(a, axis_of(axis, ndim))
        if len(shape_of(result)) == ndim - 1:
            result = np.expand_dims(result, axis_of(axis, ndim))
        if len(shape_of(result)) != ndim:
            raise ValueError("function is not returning an array of the correct shape")
        a = result
    return a


@composite("choose")
def _choose(a: Any, choices: Any, out: Any = None, mode: Any = "raise") -> Any:
    refuse("choose", {"out": out})
    if isinstance(a, Box) and a.dtype.kind == "f":  # type: ignore[attr-defined]
        raise TracingError(
            "numpy.choose was asked to choose by traced values; "
            "type: numpy.choose(ug.stop_gradient(a).astype(int), choices)"
        )
    chosen = np.choose(a, list(range(len(choices))), mode=mode)
    result = choices[0]
    for i, choice in enumerate(choices[1:], 1):
        result = np.where(chosen == i, choice, result)
    return np.where(chosen == 0, choices[0], result)
