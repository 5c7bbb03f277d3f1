"""Rules of numerical calculus: grids, differences, gradients, integrals, interpolation.

All are composed of slices and arithmetic. Coordinates are always treated as unevenly spaced, so
that derivatives with respect to them are right where they happen to be even.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from unigrad.engine.indexing import taken
from unigrad.engine.rules.shaping import arrayed, axis_of, several, shape_of, sliced
from unigrad.engine.table import NO_VALUE, composite
from unigrad.errors import TracingError

__all__: list[str] = []


# ------------------------------------------------------------------------- differences


@composite("diff")
def _diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = NO_VALUE, append: Any = NO_VALUE
) -> Any:
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n}")
    a = arrayed(a)
    if n == 0:
        return a
    shape = shape_of(a)
    axis = axis_of(axis, len(shape))

    def edge(value: Any) -> Any:
        value = arrayed(value)
        if len(shape_of(value)) > 0:
            return value
        return np.broadcast_to(value, (*shape[:axis], 1, *shape[axis + 1 :]))

    ends = [prepend is not NO_VALUE, append is not NO_VALUE]
    if any(ends):
        before, after = [edge(prepend)] * ends[0], [edge(append)] * ends[1]
        a = np.concatenate([*before, a, *after], axis=axis)
    for _ in range(n):
        a = sliced(a, axis, 1) - sliced(a, axis, None, -1)
    return a


@composite("ediff1d")
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    flat = np.ravel(ary)
    parts = [] if to_begin is None else [np.ravel(arrayed(to_begin))]
    parts.append(flat[1:] - flat[:-1])
    if to_end is not None:
        parts.append(np.ravel(arrayed(to_end)))
    return np.concatenate(parts).astype(flat.dtype, copy=False)


def _quotients(f: Any, axis: int, h: Any, start: Any, stop: Any) -> Any:
    """Differences of neighbours from ``start`` to ``stop``, divided by their distances."""
    step = h if shape_of(h)[axis] == 1 else sliced(h, axis, start, stop)
    n = shape_of(f)[axis]
    first, last, _ = slice(start, stop).indices(n - 1)
    return (sliced(f, axis, first + 1, last + 1) - sliced(f, axis, first, last)) / step


def _slope(f: Any, axis: int, h: Any, edge_order: int) -> Any:
    """The derivative along one axis; the distances ``h`` have length 1 there if all are equal."""
    n, even = shape_of(f)[axis], shape_of(h)[axis] == 1
    first = _quotients(f, axis, h, 0, 1)
    last = _quotients(f, axis, h, n - 2, n - 1)
    if edge_order == 2:
        second, previous = _quotients(f, axis, h, 1, 2), _quotients(f, axis, h, n - 3, n - 2)
        start, end = 0.5, 0.5
        if not even:
            start = sliced(h, axis, 0, 1) / (sliced(h, axis, 0, 1) + sliced(h, axis, 1, 2))
            end = sliced(h, axis, -1) / (sliced(h, axis, -1) + sliced(h, axis, -2, -1))
        first = first + (first - second) * start
        last = last + (last - previous) * end
    if even:
        inner = (sliced(f, axis, 2) - sliced(f, axis, None, -2)) * (0.5 / h)
    else:
        slopes = _quotients(f, axis, h, 0, n - 1)
        left, right = sliced(h, axis, None, -1), sliced(h, axis, 1)
        weight = left / (left + right)
        inner = sliced(slopes, axis, 1) * weight + sliced(slopes, axis, None, -1) * (1 - weight)
    return np.concatenate([first, inner, last], axis=axis).astype(f.dtype, copy=False)


@composite("gradient")
def _gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    f = arrayed(f)
    shape = shape_of(f)
    given = range(len(shape)) if axis is None else np.atleast_1d(axis)
    axes = [axis_of(a, len(shape)) for a in given]
    if len(varargs) not in (0, 1, len(axes)) or (
        len(varargs) == 1 and len(axes) > 1 and len(shape_of(arrayed(varargs[0]))) > 0
    ):
        raise TypeError("invalid number of arguments")
    spacings = list(varargs) or [1.0]
    if len(spacings) == 1:
        spacings *= len(axes)
    if edge_order not in (1, 2):
        raise ValueError("'edge_order' greater than 2 not supported")
    if f.dtype.kind not in "fc":
        f = f.astype(np.float64)
    slopes = []
    for a, spacing in zip(axes, spacings, strict=True):
        if shape[a] < edge_order + 1:
            raise ValueError(
                "Shape of array too small to calculate a numerical gradient, "
                "at least (edge_order + 1) elements are required."
            )
        h = arrayed(spacing)
        if h.dtype.kind in "iu":  # Trap: differences of unsigned integers wrap.
            h = h.astype(np.float64)
        if len(shape_of(h)) > 1:
            raise ValueError("distances must be either scalars or 1d")
        if len(shape_of(h)) == 1:
            if shape_of(h)[0] != shape[a]:
                raise ValueError(
                    "when 1d, distances must match the length of the corresponding dimension"
                )
            h = h[1:] - h[:-1]
        h = np.reshape(h, (1,) * a + (-1,) + (1,) * (len(shape) - 1 - a))
        slopes.append(_slope(f, a, h, edge_order))
    return slopes[0] if len(slopes) == 1 else several(slopes)


@composite("trapezoid", "trapz")
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = arrayed(y)
    ndim = len(shape_of(y))
    axis = axis_of(axis, ndim)
    widths = dx
    if x is not None:
        x = arrayed(x)
        widths = np.diff(x, axis=axis if len(shape_of(x)) > 1 else 0)
        if len(shape_of(x)) == 1:
            widths = np.reshape(widths, (1,) * axis + (-1,) + (1,) * (ndim - 1 - axis))
    sums = sliced(y, axis, 1) + sliced(y, axis, None, -1)
    return np.sum(widths * sums * 0.5, axis=axis)


# ------------------------------------------------------------------------- interpolation


def _double(x: Any) -> Any:
    x = arrayed(x)
    return x if x.dtype == np.float64 else x.astype(np.float64)


@composite("interp")
def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    x, xp, fp = _double(x), _double(xp), arrayed(fp)
    if fp.dtype.kind != "c":
        fp = _double(fp)
    if len(shape_of(xp)) != 1 or shape_of(xp) != shape_of(fp) or shape_of(xp)[0] == 0:
        raise ValueError("fp and xp are not of the same length, or not 1-D, or empty")
    if period is not None:
        if period == 0:
            raise ValueError("period must be a non-zero value")
        period, left, right = abs(period), None, None
        x, xp = x % period, xp % period
        order = np.argsort(xp)
        xp, fp = taken(xp, order), taken(fp, order)
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    n = shape_of(xp)[0]
    below, above = x < xp[0], x > xp[n - 1]
    left, right = fp[0] if left is None else left, fp[n - 1] if right is None else right
    if n == 1:
        return np.where(below, left, np.where(above, right, fp[0] + 0.0 * x))
    # Trap: the branches that `where` leaves out must be finite, or their derivatives are nan.
    x = np.where(below | above, xp[0], x)
    place = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, n - 2)
    start, end = taken(xp, place), taken(xp, place + 1)
    low, high = taken(fp, place), taken(fp, place + 1)
    width = np.where(end == start, 1.0, end - start)
    inside = low + (high - low) * ((x - start) / width)
    inside = np.where((x == xp[n - 1]) & (end == start), fp[n - 1], inside)
    return np.where(below, left, np.where(above, right, inside))[()]


# ------------------------------------------------------------------------- grids


def _floating(name: str, dtype: Any) -> Any:
    """The dtype of a grid.

    Raises:
        TracingError: if the grid would be rounded to it.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "fc":
        raise TracingError(
            f"numpy.{name}(..., dtype={dtype}) rounds, and has no derivative; leave out dtype="
        )
    return dtype


def _fractions(num: Any, endpoint: bool, start: Any, stop: Any, dtype: Any) -> Any:
    """Numbers from 0 to 1 along a first axis, beside the axes of both ends."""
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    along = np.arange(num) / max(num - 1 if endpoint else num, 1)
    ndim = max(len(shape_of(start)), len(shape_of(stop)))
    return along.reshape((-1,) + (1,) * ndim).astype(np.zeros(0, dtype).real.dtype)


@composite("linspace")
def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    natural = np.result_type(start, stop, float(num))
    dtype = _floating("linspace", natural if dtype is None else dtype)
    start, stop = arrayed(start), arrayed(stop)
    along = _fractions(num, endpoint, start, stop, natural)
    points = (start * (1 - along) + stop * along).astype(dtype, copy=False)
    points = points if axis == 0 else np.moveaxis(points, 0, axis)
    if not retstep:
        return points
    intervals = num - 1 if endpoint else num
    return points, (stop - start) / intervals if intervals > 0 else np.nan


@composite("logspace")
def _logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    if np.ndim(base) > 0:
        start, stop = arrayed(start), arrayed(stop)
        ndim = max(len(shape_of(a)) for a in (start, stop, base))
        start, stop, base = (
            np.reshape(a, (1,) * (ndim - len(shape_of(a))) + shape_of(a))
            for a in (start, stop, base)
        )
        base = np.expand_dims(base, axis)
    points = np.power(base, np.linspace(start, stop, num, endpoint, axis=axis))
    return points if dtype is None else points.astype(_floating("logspace", dtype))


@composite("geomspace")
def _geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    natural = np.result_type(start, stop, float(num), np.zeros(()))
    dtype = _floating("geomspace", natural if dtype is None else dtype)
    start, stop = arrayed(start), arrayed(stop)
    along = _fractions(num, endpoint, start, stop, natural)
    points = (start * (stop / start) ** along).astype(dtype, copy=False)
    return points if axis == 0 else np.moveaxis(points, 0, axis)
