"""MXNet's operators that choose entries, by places or by order.

Places have no derivative. `nd` keeps them in floats; beyond an end they are clipped, or wrapped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad_mxnet.operators.shaping import writable
from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []


def _places(indices: Any, length: int, mode: str | None) -> Any:
    found = stop_gradient(indices).astype(np.int64)
    if mode == "wrap":
        return np.mod(found, length)
    if mode == "raise":
        return found
    return np.minimum(np.maximum(found, 0), length - 1)


@operator("take", "_npi_take")
def _take(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, indices = xs
    axis = attrs.integer("axis", 0) % x.ndim
    places = _places(indices, x.shape[axis], attrs.text("mode", "clip"))
    return [x[(slice(None),) * axis + (places,)]]


@operator("Embedding", "_contrib_SparseEmbedding", "_npx_embedding")
def _embedding(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    indices, weight = xs
    return [weight[_places(indices, weight.shape[0], "clip")]]


@operator("batch_take")
def _batch_take(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, indices = xs
    places = _places(indices, x.shape[-1], "clip")
    rows = np.arange(places.size)
    return [x.reshape((-1, x.shape[-1]))[rows, places.reshape(-1)].reshape(indices.shape)]


@operator("pick", "_npx_pick", "choose_element_0index")
def _pick(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, indices = xs
    axis = attrs.optional_integer("axis", -1)
    keepdims = attrs.flag("keepdims")
    if axis is None:
        x, indices, axis = x.reshape(-1), indices.reshape(-1), 0
    axis %= x.ndim
    places = _places(indices, x.shape[axis], attrs.text("mode", "clip"))
    ones = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    y = np.take_along_axis(x, places.reshape(ones), axis)
    y = y if keepdims else y.reshape(ones[:axis] + ones[axis + 1 :])
    return [y if y.ndim else y.reshape((1,))]


@operator("fill_element_0index")
def _fill_element(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, values, indices = xs
    out = writable(x, values)
    out[np.arange(x.shape[0]), stop_gradient(indices).astype(np.int64)] = values
    return [out]


def _tuple(indices: Any) -> tuple[Any, ...]:
    return tuple(stop_gradient(indices).astype(np.int64))


@operator("gather_nd", "_npx_gather_nd", "_npi_gather_nd")
def _gather_nd(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [xs[0][_tuple(xs[1])]]


@operator("scatter_nd")
def _scatter_nd(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    values, indices = xs
    out = np.zeros_like(values, shape=attrs.shape("shape"))
    out[_tuple(indices)] = values
    return [out]


@operator("_scatter_set_nd", "_npi_scatter_set_nd")
def _scatter_set_nd(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, values, indices = xs
    out = writable(x, values)
    out[_tuple(indices)] = values
    return [out]


@operator("_contrib_index_copy")
def _index_copy(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, indices, values = xs
    out = writable(x, values)
    out[stop_gradient(indices).astype(np.int64)] = values
    return [out]


@operator("one_hot", "_npx_one_hot")
def _one_hot(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    indices = stop_gradient(xs[0]).astype(np.int64)
    on, off = attrs.real("on_value", 1.0), attrs.real("off_value", 0.0)
    hit = indices[..., None] == np.arange(attrs.integer("depth"))
    return [np.where(hit, on, off).astype(attrs.text("dtype", "float32"))]


# -------------------------------------------------------------------- conditions


@operator("where")
def _nd_where(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """A condition of one axis chooses whole rows."""
    condition, x, y = xs
    chosen = stop_gradient(condition) != 0
    return [np.where(chosen.reshape(chosen.shape + (1,) * (x.ndim - condition.ndim)), x, y)]


@operator("_npi_where")
def _np_where(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    condition, x, y = xs
    return [np.where(stop_gradient(condition) != 0, x, y)]


@operator("_npi_where_lscalar")
def _where_lscalar(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    condition, x = xs
    return [np.where(stop_gradient(condition) != 0, x.dtype.type(attrs.real("scalar", 0.0)), x)]


@operator("_npi_where_rscalar")
def _where_rscalar(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    condition, x = xs
    return [np.where(stop_gradient(condition) != 0, x, x.dtype.type(attrs.real("scalar", 0.0)))]


@operator("_npi_where_scalar2")
def _where_scalar2(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    chosen = stop_gradient(xs[0]) != 0
    return [np.where(chosen, attrs.real("x", 0.0), attrs.real("y", 0.0)).astype(np.float32)]


@operator("_contrib_boolean_mask", "_npi_boolean_mask")
def _boolean_mask(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """The shape of the result is in the values of the mask, in MXNet too."""
    x, mask = xs
    axis = attrs.integer("axis", 0)
    (places,) = np.nonzero(np.asarray(stop_gradient(mask)).reshape(-1))
    rest = x.shape[axis + mask.ndim :]
    flat = x.reshape((*x.shape[:axis], -1, *rest))
    return [flat[(slice(None),) * axis + (places,)]]


@operator("_npi_boolean_mask_assign_scalar")
def _mask_assign_scalar(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, mask = xs
    chosen = _aligned(x, mask, attrs.integer("start_axis", 0))
    return [np.where(chosen, x.dtype.type(attrs.real("value", 0.0)), x)]


@operator("_npi_boolean_mask_assign_tensor")
def _mask_assign(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, mask, values = xs
    axis = attrs.integer("start_axis", 0)
    if values.ndim == 0 or values.size == 1:
        return [np.where(_aligned(x, mask, axis), values.reshape(()), x)]
    out = writable(x, values)
    out[(slice(None),) * axis + np.nonzero(np.asarray(stop_gradient(mask)))] = values
    return [out]


def _aligned(x: Any, mask: Any, axis: int) -> Any:
    shape = (1,) * axis + tuple(mask.shape) + (1,) * (x.ndim - axis - mask.ndim)
    return (stop_gradient(mask) != 0).reshape(shape)


# -------------------------------------------------------------------- sequences


def _lengths(x: Any, lengths: Any, axis: int) -> tuple[Any, Any]:
    """Positions along the time axis (0 or 1) and lengths, both against ``(T, N, ...)``."""
    steps = np.arange(x.shape[axis])
    found = stop_gradient(lengths).astype(np.int64)
    if axis == 0:
        return steps[:, None], found[None, :]
    return steps[None, :], found[:, None]


def _with_lengths(xs: list[Any], attrs: Attributes) -> bool:
    return attrs.flag("use_sequence_length") and len(xs) > 1


@operator("SequenceMask", "_npx_sequence_mask")
def _sequence_mask(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    if not _with_lengths(xs, attrs):
        return [x]
    steps, lengths = _lengths(x, xs[1], attrs.integer("axis", 0))
    kept = (steps < lengths).reshape((*x.shape[:2], *(1,) * (x.ndim - 2)))
    return [np.where(kept, x, x.dtype.type(np.float32(attrs.real("value", 0.0))))]


@operator("SequenceLast")
def _sequence_last(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, axis = xs[0], attrs.integer("axis", 0)
    if not _with_lengths(xs, attrs):
        return [x[(slice(None),) * axis + (-1,)]]
    last = stop_gradient(xs[1]).astype(np.int64) - 1
    batch = np.arange(x.shape[1 - axis])
    return [x[last, batch] if axis == 0 else x[batch, last]]


@operator("SequenceReverse")
def _sequence_reverse(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    if not _with_lengths(xs, attrs):
        return [np.flip(x, 0)]
    steps, lengths = _lengths(x, xs[1], 0)
    places = np.where(steps < lengths, lengths - 1 - steps, steps)
    return [x[places, np.arange(x.shape[1])[None, :]]]


# -------------------------------------------------------------------- order


def _order(x: Any, axis: int, ascending: bool) -> Any:
    values = stop_gradient(x)
    return np.argsort(values if ascending else -values, axis=axis, kind="stable")


@operator("sort", "_npi_sort")
def _sort(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, axis = xs[0], attrs.optional_integer("axis", -1)
    if axis is None:
        x, axis = x.reshape(-1), 0
    return [np.take_along_axis(x, _order(x, axis, attrs.flag("is_ascend", True)), axis)]


@operator("argsort", "_npi_argsort")
def _argsort(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, axis = xs[0], attrs.optional_integer("axis", -1)
    if axis is None:
        x, axis = x.reshape(-1), 0
    order = _order(x, axis, attrs.flag("is_ascend", True))
    return [order.astype(attrs.text("dtype", "float32"))]


@operator("topk", "_npx_topk")
def _topk(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, axis = xs[0], attrs.optional_integer("axis", -1)
    shape = x.shape
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis %= x.ndim
    k = attrs.integer("k", 1)
    order = _order(x, axis, attrs.flag("is_ascend", False))
    chosen = order[(slice(None),) * axis + (slice(0, k if k > 0 else None),)]
    kind = attrs.text("ret_typ", "indices")
    if kind == "mask":
        ranks = np.argsort(order, axis=axis)
        return [(ranks < chosen.shape[axis]).astype(x.dtype).reshape(shape)]
    indices = chosen.astype(attrs.text("dtype", "float32"))
    values = np.take_along_axis(x, chosen, axis)
    return {"value": [values], "indices": [indices], "both": [values, indices]}[str(kind)]
