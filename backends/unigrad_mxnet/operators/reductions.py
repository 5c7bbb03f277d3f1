"""MXNet's reductions: `nd`'s, with ``axis=()`` for all axes and ``exclude``, and `np`'s.

`nd` has no arrays without axes: the sum of all has shape (1,). Every entry equal to a maximum
gets the whole cotangent, as in MXNet.
"""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad_mxnet.operators.table import Attributes, Translation, operator

__all__ = ["axes_of", "euclidean"]


def axes_of(attrs: Attributes, ndim: int, name: str = "axis") -> tuple[int, ...]:
    """The axes to reduce, counted from the front; ``None`` and ``()`` are all of them."""
    found = ast.literal_eval(attrs.get(name, "None"))
    given = (found,) if isinstance(found, int) else tuple(found or ())
    axes = tuple(sorted(k % ndim for k in given)) if given else tuple(range(ndim))
    if attrs.flag("exclude"):
        return tuple(k for k in range(ndim) if k not in axes) if given else ()
    return axes


def _extreme(name: str, fn: Any) -> Any:
    def pull(g: Any, ans: Any, x: Any, axis: tuple[int, ...]) -> Any:
        shape = tuple(1 if k in axis else n for k, n in enumerate(x.shape))
        return np.where(x == ans.reshape(shape), g.reshape(shape), x.dtype.type(0))

    return primitive(Rule(name, [pull]), lambda x, axis: fn(x, axis=axis))


_maximum = _extreme("max", np.max)
_minimum = _extreme("min", np.min)


def _plain(fn: Any) -> Any:
    return lambda x, axis: fn(x, axis=axis)


_FUNCTIONS = {
    "sum": _plain(np.sum),
    "mean": _plain(np.mean),
    "prod": _plain(np.prod),
    "nansum": lambda x, axis: np.sum(np.where(np.isnan(x), x.dtype.type(0), x), axis=axis),
    "nanprod": lambda x, axis: np.prod(np.where(np.isnan(x), x.dtype.type(1), x), axis=axis),
    "max": lambda x, axis: _maximum(x, axis=axis),
    "min": lambda x, axis: _minimum(x, axis=axis),
}


def _shaped(y: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """The result of a reduction in the shape that ``nd`` gives it."""
    if keepdims:
        return y.reshape(tuple(1 if k in axes else n for k, n in enumerate(x.shape)))
    return y.reshape((1,)) if len(axes) == x.ndim else y


def _nd(fn: Any) -> Translation:
    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        x = xs[0]
        axes = axes_of(attrs, x.ndim)
        y = fn(x, axes) if axes else x
        return [_shaped(y, x, axes, attrs.flag("keepdims"))]

    return translation


def _np(fn: Any) -> Translation:
    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        x = xs[0]
        dtype = attrs.text("dtype")
        if dtype is not None:
            x = x.astype(dtype)
        if attrs.text("axis") == "()":
            return [x]
        axes = axes_of(attrs, x.ndim)
        y = fn(x, axes)
        initial = attrs.real("initial")
        if initial is not None:
            y = y * initial if fn is _FUNCTIONS["prod"] else y + initial
        if attrs.flag("keepdims"):
            y = y.reshape(tuple(1 if k in axes else n for k, n in enumerate(x.shape)))
        return [y]

    return translation


_ND_NAMES = {"sum": ("sum_axis",), "max": ("max_axis",), "min": ("min_axis",)}
for _name, _fn in _FUNCTIONS.items():
    operator(_name, *_ND_NAMES.get(_name, ()))(_nd(_fn))
_NP_NAMES = {
    "sum": ("_np_sum",),
    "mean": ("_npi_mean",),
    "prod": ("_np_prod", "_np_product"),
    "max": ("_np_max", "_np_amax"),
    "min": ("_np_min", "_np_amin"),
}
for _name, _names in _NP_NAMES.items():
    operator(*_names)(_np(_FUNCTIONS[_name]))


@operator("_np_any", "_np_sometrue")
def _any(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = stop_gradient(xs[0])
    return [np.any(x, axis=axes_of(attrs, x.ndim), keepdims=attrs.flag("keepdims"))]


@operator("_np_all")
def _all(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = stop_gradient(xs[0])
    return [np.all(x, axis=axes_of(attrs, x.ndim), keepdims=attrs.flag("keepdims"))]


@operator("norm")
def _nd_norm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    axes = axes_of(attrs, x.ndim)
    dtype = attrs.text("out_dtype")
    y = np.sum(np.abs(x), axis=axes) if attrs.integer("ord", 2) == 1 else euclidean(x, axes)
    y = _shaped(y, x, axes, attrs.flag("keepdims"))
    return [y if dtype is None else y.astype(dtype)]


def euclidean(x: Any, axes: tuple[int, ...]) -> Any:
    """The root of the sum of squares, with derivative 0 at 0."""
    rest = tuple(k for k in range(x.ndim) if k not in axes)
    last = x.transpose(rest + axes).reshape((*(x.shape[k] for k in rest), -1))
    return np.linalg.norm(last, axis=-1)


@operator("_square_sum")
def _square_sum(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _nd(lambda x, axis: np.sum(x * x, axis=axis))(xs, attrs, training)


@operator("moments")
def _moments(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    axes = axes_of(attrs, x.ndim, "axes")
    mean = np.mean(x, axis=axes, keepdims=True)
    variance = np.mean(np.square(x - mean), axis=axes, keepdims=True)
    keepdims = attrs.flag("keepdims")
    return [_kept(y, x, axes, keepdims) for y in (mean, variance)]


def _kept(y: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if keepdims:
        return y
    return y.reshape(tuple(n for k, n in enumerate(x.shape) if k not in axes) or (1,))


# -------------------------------------------------------------------- np's statistics


@operator("_npi_var")
def _var(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _spread(np.var, xs[0], attrs)


@operator("_npi_std")
def _std(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _spread(np.std, xs[0], attrs)


def _spread(fn: Any, x: Any, attrs: Attributes) -> list[Any]:
    """The statistic, and MXNet's hidden outputs beside it: the mean."""
    dtype = attrs.text("dtype")
    if dtype is not None:
        x = x.astype(dtype)
    axes, keepdims = axes_of(attrs, x.ndim), attrs.flag("keepdims")
    found = fn(x, axis=axes, ddof=attrs.integer("ddof", 0), keepdims=keepdims)
    return [found, np.mean(x, axis=axes, keepdims=keepdims)]


@operator("_npi_average")
def _average(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """The average and the sum of the weights."""
    x = xs[0]
    axes = axes_of(attrs, x.ndim)
    if not attrs.flag("weighted", True):
        y = np.mean(x, axis=axes)
        count = 1
        for k in axes:
            count *= x.shape[k]
        return [y, np.full_like(stop_gradient(y), count)]
    w = xs[1]
    if w.ndim != x.ndim:
        w = w.reshape(tuple(n if k in axes else 1 for k, n in enumerate(x.shape)))
    total = np.sum(np.broadcast_to(w, x.shape), axis=axes)
    return [np.sum(x * w, axis=axes) / total, total]


@operator("_npi_percentile")
def _percentile(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    q = stop_gradient(xs[1]) if len(xs) > 1 else attrs.real("q_scalar")
    axes = axes_of(attrs, x.ndim)
    method: Any = attrs.text("interpolation", "linear")
    found = np.percentile(x, q, axis=axes, method=method, keepdims=attrs.flag("keepdims"))
    return [found]


@operator("cumsum", "_np_cumsum")
def _cumsum(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    axis, dtype = attrs.integer("axis"), attrs.text("dtype")
    if dtype is not None:
        x = x.astype(dtype)
    return [np.cumsum(x.reshape(-1) if axis is None else x, axis=0 if axis is None else axis)]


@operator("_npi_bincount")
def _bincount(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """How often each whole number occurs; with weights, their sum where it does."""
    x = stop_gradient(xs[0]).astype(np.int64)
    if len(xs) == 1:
        return [np.bincount(x, minlength=attrs.integer("minlength", 0))]
    count = max(attrs.integer("minlength", 0), int(np.max(x, initial=-1)) + 1)
    places = np.arange(count)[:, None] == x
    return [np.sum(np.where(places, xs[1], xs[1].dtype.type(0)), axis=1)]


@operator("_npi_diff")
def _diff(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.diff(xs[0], n=attrs.integer("n", 1), axis=attrs.integer("axis", -1))]


@operator("_npi_ediff1d")
def _ediff1d(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    rest = list(xs[1:])
    parts = [np.diff(xs[0].reshape(-1))]
    for side in ("begin", "end"):
        value = attrs.real(f"to_{side}_scalar")
        end = None if value is None else np.full((1,), value, dtype=xs[0].dtype)
        if attrs.flag(f"to_{side}_arr_given"):
            end = rest.pop(0).reshape(-1)
        if end is not None:
            parts.insert(0 if side == "begin" else len(parts), end)
    return [np.concatenate(parts)]


# -------------------------------------------------------------------- positions, without derivative


def _position(fn: Any) -> Translation:
    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        x = stop_gradient(xs[0])
        axis = attrs.optional_integer("axis")
        y = fn(x.reshape(-1) if axis is None else x, axis=0 if axis is None else axis)
        y = y.astype(x.dtype)
        if attrs.flag("keepdims"):
            y = y.reshape((1,) * x.ndim) if axis is None else np.expand_dims(y, axis)
        return [y if y.ndim else y.reshape((1,))]

    return translation


def _np_position(fn: Any) -> Translation:
    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        x = stop_gradient(xs[0])
        axis, keepdims = attrs.optional_integer("axis"), attrs.flag("keepdims")
        return [fn(x, axis=axis, keepdims=keepdims).astype(np.int64)]

    return translation


operator("argmax")(_position(np.argmax))
operator("argmin")(_position(np.argmin))
operator("_npi_argmax")(_np_position(np.argmax))
operator("_npi_argmin")(_np_position(np.argmin))


@operator("argmax_channel")
def _argmax_channel(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = stop_gradient(xs[0])
    return [np.argmax(x, axis=1).astype(x.dtype)]
