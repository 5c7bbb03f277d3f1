"""`numpy.pad` in every mode.

Zeros and copies of entries are one rule; ends, ramps and statistics are joined to the array, axis
by axis as NumPy does it.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, gathered
from unigrad.engine.rules.shaping import axis_of, shape_of, sliced
from unigrad.engine.table import composite
from unigrad.errors import TracingError

__all__: list[str] = []

_OPTIONS = {
    "constant": {"constant_values"},
    "edge": set(),
    "linear_ramp": {"end_values"},
    "maximum": {"stat_length"},
    "mean": {"stat_length"},
    "median": {"stat_length"},
    "minimum": {"stat_length"},
    "reflect": {"reflect_type"},
    "symmetric": {"reflect_type"},
    "wrap": set(),
}
_DEFAULTS = {**dict.fromkeys(_OPTIONS), "constant": 0, "linear_ramp": 0}
_MIRRORING = ("edge", "reflect", "symmetric", "wrap")
_STATISTICS: dict[str, Any] = {
    "maximum": np.max,
    "minimum": np.min,
    "mean": np.mean,
    "median": np.median,
}


def _inner(g: Any, shape: tuple[int, ...], widths: Any) -> Any:
    return g[tuple(slice(low, low + n) for (low, _), n in zip(widths, shape, strict=True))]


def _padded(x: Any, shape: tuple[int, ...], widths: Any, mode: Any) -> Any:
    return np.pad(x, widths, mode=mode)


def _folded(g: Any, shape: tuple[int, ...], widths: Any, mode: Any) -> Any:
    """What padding put outside, added up where it came from: the transpose of ``numpy.pad``."""
    if mode == "constant":
        return _inner(g, shape, widths)
    if isinstance(g, Box):
        return apply(_FOLDED, _folded, (g,), {"shape": shape, "widths": widths, "mode": mode})
    for axis, (low, high) in reversed(list(enumerate(widths))):
        n = shape[axis]
        before, after = sliced(g, axis, 0, low), sliced(g, axis, low + n)
        g = sliced(g, axis, low, low + n).copy()
        fits = max(low, high) <= n - (mode == "reflect")
        if mode == "edge":
            g[(slice(None),) * axis + (slice(0, 1),)] += before.sum(axis, keepdims=True)
            g[(slice(None),) * axis + (slice(n - 1, n),)] += after.sum(axis, keepdims=True)
        elif fits:
            skip = 1 if mode == "reflect" else 0
            start, stop = (n - low, high) if mode == "wrap" else (skip, n - skip)
            if mode != "wrap":
                before, after = np.flip(before, axis), np.flip(after, axis)
            g[(slice(None),) * axis + (slice(start, start + low),)] += before
            g[(slice(None),) * axis + (slice(stop - high, stop),)] += after
        else:
            sources = np.pad(np.arange(n), (low, high), mode=mode)
            np.add.at(g, (slice(None),) * axis + (sources[:low],), before)
            np.add.at(g, (slice(None),) * axis + (sources[low + n :],), after)
    return g


_PADDED = Rule("pad", [lambda g, ans, x, **options: _folded(g, **options)], linear=True)
_FOLDED = Rule("pad", [lambda g, ans, x, **options: _padded(g, **options)], linear=True)


def _pairs(values: Any, ndim: int) -> Any:
    """What was given for both ends of every axis, as an array of shape (ndim, 2)."""
    if not isinstance(values, Box):
        values = gathered(np.asarray(values))
    return np.broadcast_to(values, (ndim, 2))


def _widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    if isinstance(pad_width, dict):
        each = [(0, 0)] * ndim
        for axis, width in pad_width.items():
            each[axis_of(axis, ndim)] = width if isinstance(width, tuple) else (width, width)
        pad_width = each
    pairs = np.broadcast_to(np.asarray(pad_width), (ndim, 2))
    if pairs.dtype.kind not in "iu":
        raise TypeError("`pad_width` must be of integral type.")
    if (pairs < 0).any():
        raise ValueError("index can't contain negative values")
    return tuple((operator.index(low), operator.index(high)) for low, high in pairs)


def _spread(x: Any, like: Any, axis: int, width: int) -> Any:
    """An end: ``x``, of length 1 along an axis or a number, filled in there."""
    shape = list(shape_of(like))
    shape[axis] = width
    return np.broadcast_to(x, tuple(shape))


def _ramp(end: Any, edge: Any, axis: int, width: int) -> Any:
    """From the end value towards the edge, which is not reached."""
    shape = [1] * len(shape_of(edge))
    shape[axis] = width
    along = np.reshape(np.arange(width) / max(width, 1), shape).astype(edge.real.dtype)
    return end * (1 - along) + edge * along


def _statistic(x: Any, axis: int, mode: Any, length: Any, from_end: bool) -> Any:
    n = shape_of(x)[axis]
    length = n if length is None else min(operator.index(length), n)
    if length <= 0:
        raise ValueError("stat_length of 0 yields no value for padding")
    chunk = sliced(x, axis, n - length) if from_end else sliced(x, axis, 0, length)
    return _STATISTICS[mode](chunk, axis=axis, keepdims=True)


def _by_matrix(x: Any, axis: int, width: tuple[int, int], mode: Any) -> Any:
    """Odd reflections, which are linear, by what they make of unit vectors."""
    units = np.eye(shape_of(x)[axis], dtype=x.real.dtype)
    matrix = np.pad(units, (width, (0, 0)), mode=mode, reflect_type="odd")
    return np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)


def _framed(x: Any, axis: int, width: tuple[int, int], mode: Any, values: Any) -> Any:
    """Padded by an end value, a ramp to it, the edge, or a statistic."""
    n, (low, high) = shape_of(x)[axis], width
    if mode in _STATISTICS:
        first, last = (_statistic(x, axis, mode, values[axis, i], i == 1) for i in (0, 1))
    elif mode == "constant":
        first, last = values[axis, 0], values[axis, 1]
    else:
        first, last = sliced(x, axis, 0, 1), sliced(x, axis, n - 1, n)
    if mode == "linear_ramp":
        before = _ramp(values[axis, 0], first, axis, low)
        after = np.flip(_ramp(values[axis, 1], last, axis, high), axis)
    else:
        before, after = _spread(first, x, axis, low), _spread(last, x, axis, high)
    return np.concatenate([before, x, after], axis=axis).astype(x.dtype, copy=False)


@composite("pad")
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    if mode not in _OPTIONS:
        raise TracingError(
            f"numpy.pad(..., mode={mode!r}) has no derivative rule; use one of "
            f"{', '.join(sorted(_OPTIONS))}, or numpy.concatenate"
        )
    if unknown := set(options) - _OPTIONS[mode]:
        raise ValueError(f"unsupported keyword arguments for mode '{mode}': {unknown}")
    ndim = len(shape_of(array))
    if ndim == 0:
        return array.copy()
    widths = _widths(pad_width, ndim)
    plain = type(options.get("constant_values", 0)) in (int, float)
    if (mode in _MIRRORING and options.get("reflect_type", "even") == "even") or (
        mode == "constant" and plain
    ):
        fixed = {"shape": shape_of(array), "widths": widths, "mode": mode}
        out = apply(_PADDED, _padded, (array,), fixed)
        if options.get("constant_values", 0) == 0:
            return out
        return out + np.pad(np.zeros(shape_of(array), dtype=array.dtype), widths, **options)
    odd = options.get("reflect_type") == "odd"
    values = None if odd else _pairs(next(iter(options.values()), _DEFAULTS[mode]), ndim)
    array = array.copy()
    for axis, width in enumerate(widths):
        if width != (0, 0) and odd:
            array = _by_matrix(array, axis, width, mode)
        elif width != (0, 0):
            array = _framed(array, axis, width, mode, values)
    return array
