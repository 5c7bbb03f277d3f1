"""MXNet's operators that move entries about: shapes, axes, joining, cutting, padding."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.reductions import axes_of
from unigrad_mxnet.operators.table import Attributes, elementwise, operator

__all__ = ["sliced", "writable"]


# -------------------------------------------------------------------- reshape


def _filled(shape: list[int], size: int) -> tuple[int, ...]:
    """The shape with its one -1 worked out."""
    known = math.prod(n for n in shape if n != -1)
    return tuple(size // known if n == -1 else n for n in shape)


def _split(length: int, first: int, second: int) -> list[int]:
    if first == -1:
        return [length // second, second]
    return [first, length // first if second == -1 else second]


def _nd_shape(old: Sequence[int], codes: Sequence[int]) -> tuple[int, ...]:
    """By `nd`'s codes: 0 keeps, -1 infers, -2 keeps the rest, -3 merges two, -4 splits one."""
    new: list[int] = []
    at, i = 0, 0
    while i < len(codes):
        code = codes[i]
        if code == -2:
            new.extend(old[at:])
            at = len(old)
        elif code == -3:
            new.append(old[at] * old[at + 1])
            at += 2
        elif code == -4:
            new.extend(_split(old[at], codes[i + 1], codes[i + 2]))
            at, i = at + 1, i + 2
        else:
            new.append(old[at] if code == 0 else code)
            at += 1
        i += 1
    return _filled(new, math.prod(old))


def _npx_shape(old: Sequence[int], codes: Sequence[int]) -> tuple[int, ...]:
    """By `npx`'s codes: -1 infers, -2 keeps, -3 drops a 1, -4 keeps the rest, -5 merges two,
    -6 splits one."""
    new: list[int] = []
    at, i = 0, 0
    while i < len(codes):
        code = codes[i]
        if code == -4:
            new.extend(old[at:])
            at = len(old)
        elif code == -5:
            new.append(old[at] * old[at + 1])
            at += 2
        elif code == -6:
            new.extend(_split(old[at], codes[i + 1], codes[i + 2]))
            at, i = at + 1, i + 2
        else:
            if code != -3:
                new.append(old[at] if code == -2 else code)
            at += 1
        i += 1
    return _filled(new, math.prod(old))


def _coded(rule: Callable[..., tuple[int, ...]], x: Any, attrs: Attributes, name: str) -> Any:
    """``x`` in the shape that codes stand for; read from the right with ``reverse``."""
    codes = attrs.shape(name)
    if attrs.flag("reverse"):
        return x.reshape(rule(x.shape[::-1], codes[::-1])[::-1])
    return x.reshape(rule(x.shape, codes))


@operator("Reshape", "reshape")
def _nd_reshape(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_coded(_nd_shape, xs[0], attrs, "shape")]


@operator("_npx_reshape", "_npi_reshape")
def _npx_reshape(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_coded(_npx_shape, xs[0], attrs, "newshape")]


@operator("_np_reshape")
def _np_reshape(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [xs[0].reshape(attrs.shape("newshape", ()))]


@operator("reshape_like", "_npx_reshape_like")
def _reshape_like(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, other = xs[0].shape, xs[1].shape
    begins, ends = [], []
    for side, shape in (("lhs", x), ("rhs", other)):
        begin, end = attrs.optional_integer(side + "_begin"), attrs.optional_integer(side + "_end")
        begins.append(
            0 if begin is None else begin % (len(shape) + 1) if begin >= 0 else begin + len(shape)
        )
        ends.append(len(shape) if end is None else end if end >= 0 else end + len(shape))
    return [xs[0].reshape((*x[: begins[0]], *other[begins[1] : ends[1]], *x[ends[0] :]))]


@operator("Flatten", "flatten", "_npx_batch_flatten")
def _flatten(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    return [x.reshape((x.shape[0], math.prod(x.shape[1:])))]


@operator("expand_dims", "_npi_expand_dims")
def _expand_dims(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.expand_dims(xs[0], attrs.integer("axis"))]


@operator("squeeze")
def _squeeze(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    y = np.squeeze(xs[0], attrs.shape("axis"))
    return [y.reshape((1,)) if y.ndim == 0 else y]


@operator("_np_squeeze")
def _np_squeeze(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.squeeze(xs[0], attrs.shape("axis"))]


def _at_least(n: int) -> Any:
    fn = (np.atleast_1d, np.atleast_2d, np.atleast_3d)[n - 1]
    return lambda xs, attrs, training: [fn(x) for x in xs]


for _n in (1, 2, 3):
    operator(f"_np_atleast_{_n}d")(_at_least(_n))

# -------------------------------------------------------------------- axes


@operator("transpose", "_np_transpose")
def _transpose(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.transpose(xs[0], attrs.shape("axes", ()) or None)]


@operator("SwapAxis", "swapaxes", "_npi_swapaxes")
def _swapaxes(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.swapaxes(xs[0], attrs.integer("dim1", 0), attrs.integer("dim2", 0))]


@operator("_np_moveaxis")
def _moveaxis(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.moveaxis(xs[0], attrs.shape("source"), attrs.shape("destination"))]


@operator("reverse", "flip", "_npi_flip")
def _flip(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.flip(xs[0], attrs.shape("axis"))]


@operator("_np_roll")
def _roll(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    shift, axis = attrs.shape("shift"), attrs.shape("axis")
    return [np.roll(xs[0], shift if len(shift) > 1 else shift[0], axis)]


@operator("_npi_rot90")
def _rot90(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.rot90(xs[0], attrs.integer("k", 1), attrs.shape("axes", (0, 1)))]


def _blocks(x: Any, attrs: Attributes) -> tuple[int, ...]:
    return (attrs.integer("block_size"), *x.shape)


@operator("depth_to_space")
def _depth_to_space(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    b, n, c, h, w = _blocks(xs[0], attrs)
    x = xs[0].reshape((n, b, b, c // b**2, h, w)).transpose((0, 3, 4, 1, 5, 2))
    return [x.reshape((n, c // b**2, h * b, w * b))]


@operator("space_to_depth")
def _space_to_depth(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    b, n, c, h, w = _blocks(xs[0], attrs)
    x = xs[0].reshape((n, c, h // b, b, w // b, b)).transpose((0, 3, 5, 1, 2, 4))
    return [x.reshape((n, c * b**2, h // b, w // b))]


# -------------------------------------------------------------------- diagonals


@operator("diag")
def _diag(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, k = xs[0], attrs.integer("k", 0)
    if x.ndim == 1:
        return [np.diag(x, k)]
    return [np.diagonal(x, k, attrs.integer("axis1", 0), attrs.integer("axis2", 1))]


@operator("_np_diag")
def _np_diag(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.diag(xs[0], attrs.integer("k", 0))]


@operator("_np_diagflat")
def _diagflat(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.diagflat(xs[0], attrs.integer("k", 0))]


def _places(attrs: Attributes) -> tuple[int, int, int]:
    return attrs.integer("offset", 0), attrs.integer("axis1", 0), attrs.integer("axis2", 1)


@operator("_np_diagonal")
def _diagonal(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.diagonal(xs[0], *_places(attrs))]


@operator("_np_trace")
def _trace(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.trace(xs[0], *_places(attrs))]


@operator("_npi_tril")
def _tril(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, k = xs[0], attrs.integer("k", 0)
    if x.ndim == 1:
        x = np.broadcast_to(x, (x.shape[0], x.shape[0]))
    return [np.tril(x, k)]


# -------------------------------------------------------------------- broadcasting, repeating


@operator("broadcast_to", "_npi_broadcast_to")
def _broadcast_to(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, shape = xs[0], attrs.shape("shape")
    old = (1,) * (len(shape) - x.ndim) + tuple(x.shape)
    return [np.broadcast_to(x, tuple(n or m for n, m in zip(shape, old, strict=True)))]


@operator("broadcast_axis", "broadcast_axes")
def _broadcast_axis(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    shape = list(xs[0].shape)
    for axis, size in zip(attrs.shape("axis", ()), attrs.shape("size", ()), strict=True):
        shape[axis] = size
    return [np.broadcast_to(xs[0], tuple(shape))]


@operator("broadcast_like")
def _broadcast_like(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, other = xs
    left, right = attrs.shape("lhs_axes"), attrs.shape("rhs_axes")
    if left is None:
        return [np.broadcast_to(x, other.shape)]
    shape = list(x.shape)
    for i, j in zip(left, right, strict=True):
        shape[i] = other.shape[j]
    return [np.broadcast_to(x, tuple(shape))]


@operator("tile", "_npi_tile")
def _tile(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.tile(xs[0], attrs.shape("reps"))]


@operator("repeat", "_np_repeat")
def _repeat(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.repeat(xs[0], attrs.integer("repeats"), attrs.optional_integer("axis"))]


@operator("Pad", "pad")
def _nd_pad(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_padded(xs[0], attrs, attrs.shape("pad_width"), "constant_value")]


@operator("_npi_pad")
def _np_pad(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    widths = np.broadcast_to(ast.literal_eval(attrs["pad_width"]), (xs[0].ndim, 2))
    return [_padded(xs[0], attrs, tuple(int(n) for n in widths.reshape(-1)), "constant_values")]


def _padded(x: Any, attrs: Attributes, flat: Sequence[int], value: str) -> Any:
    widths = list(zip(flat[::2], flat[1::2], strict=True))
    mode = attrs.text("mode", "constant") or "constant"
    if mode == "constant":
        return np.pad(x, widths, mode="constant", constant_values=attrs.real(value, 0.0))
    if mode in ("reflect", "symmetric") and attrs.text("reflect_type", "even") != "even":
        raise HigherOrderError(
            "the second derivative of mx.np.pad with reflect_type='odd' was asked for; "
            "type: 2 * edge - reflected, with reflect_type='even'"
        )
    return np.pad(x, widths, mode=mode)  # type: ignore[call-overload]


# -------------------------------------------------------------------- joining, cutting


@operator("Concat", "concat")
def _concat(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.concatenate(xs, axis=attrs.integer("dim", 1))]


@operator("_npi_concatenate")
def _concatenate(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    axis = attrs.optional_integer("axis", attrs.integer("dim", 0))
    return [np.concatenate([x.reshape(-1) for x in xs] if axis is None else xs, axis=axis or 0)]


@operator("stack", "_npi_stack")
def _stack(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.stack(xs, axis=attrs.integer("axis", 0))]


for _name, _fn in {
    "_npi_hstack": np.hstack,
    "_npi_vstack": np.vstack,
    "_npi_dstack": np.dstack,
    "_npi_column_stack": np.column_stack,
}.items():
    operator(_name)(lambda xs, attrs, training, fn=_fn: [fn(xs)])  # type: ignore[misc]


def _where(attrs: Attributes, indices: Any) -> Any:
    """What `np.insert` and `np.delete` take: an int, a slice, or an array of places."""
    whole = attrs.optional_integer("int_ind")
    if whole is not None:
        return whole
    if indices is not None:
        return stop_gradient(indices).astype(np.int64)
    return slice(*(attrs.optional_integer(name) for name in ("start", "stop", "step")))


@operator("_npi_delete")
def _delete(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    places = _where(attrs, xs[1] if len(xs) > 1 else None)
    return [np.delete(xs[0], places, axis=attrs.optional_integer("axis"))]


@operator("_npi_insert_scalar", "_npi_insert_slice", "_npi_insert_tensor")
def _insert(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, rest = xs[0], xs[1:]
    value = attrs.real("val")
    values = rest.pop(0) if value is None else x.dtype.type(value)
    places = _where(attrs, rest[0] if rest else None)
    return [np.insert(x, places, values, axis=attrs.optional_integer("axis"))]


@operator("SliceChannel", "split")
def _slice_channel(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    axis = attrs.integer("axis", 1)
    parts = np.split(xs[0], attrs.integer("num_outputs"), axis=axis)
    return _squeezed(parts, axis, attrs)


@operator("_split_v2", "_npi_split", "_npi_array_split")
def _split_v2(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _squeezed(*_parts(xs[0], attrs, attrs.integer("axis", 0)), attrs)


@operator("_npi_hsplit")
def _hsplit(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _parts(xs[0], attrs, 0 if xs[0].ndim == 1 else 1)[0]


@operator("_npi_dsplit")
def _dsplit(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _parts(xs[0], attrs, 2)[0]


def _parts(x: Any, attrs: Attributes, axis: int) -> tuple[list[Any], int]:
    """The parts between the places that MXNet lists, of which the first is 0."""
    sections = attrs.integer("sections", 0)
    places = attrs.shape("indices", ())
    if sections > 0:
        return list(np.array_split(x, sections, axis=axis)), axis
    ends = (*places[1:], x.shape[axis])
    return [
        sliced(x, axis, begin, max(begin, end)) for begin, end in zip(places, ends, strict=True)
    ], axis


def _squeezed(parts: Sequence[Any], axis: int, attrs: Attributes) -> list[Any]:
    if attrs.flag("squeeze_axis"):
        return [np.squeeze(p, axis) for p in parts]
    return list(parts)


def sliced(x: Any, axis: int, begin: int | None, end: int | None) -> Any:
    """``x[begin:end]`` along an axis."""
    return x[(slice(None),) * (axis % x.ndim) + (slice(begin, end),)]


def writable(x: Any, values: Any) -> Any:
    """A copy of ``x`` to write ``values`` into; traced where either is."""
    return np.zeros_like(values, shape=x.shape, dtype=x.dtype) + x


def _basic(attrs: Attributes) -> tuple[slice, ...]:
    begin, end = attrs.shape("begin", ()), attrs.shape("end", ())
    step = attrs.shape("step", ()) or (None,) * len(begin)
    return tuple(slice(*bounds) for bounds in zip(begin, end, step, strict=True))


@operator("slice", "crop", "_npx_slice", "_npi_slice")
def _slice(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [xs[0][_basic(attrs)]]


@operator("_slice_assign", "_crop_assign", "_npi_slice_assign")
def _slice_assign(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    out = writable(*xs)
    out[_basic(attrs)] = xs[1]
    return [out]


@operator("_slice_assign_scalar", "_crop_assign_scalar", "_npi_slice_assign_scalar")
def _slice_assign_scalar(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    out = xs[0].copy()
    out[_basic(attrs)] = attrs.real("scalar", 0.0)
    return [out]


@operator("slice_axis")
def _slice_axis(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    begin, end = attrs.integer("begin"), attrs.optional_integer("end")
    return [sliced(xs[0], attrs.integer("axis"), begin, end)]


@operator("slice_like")
def _slice_like(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, other = xs
    for axis in axes_of(attrs, x.ndim, "axes"):
        x = sliced(x, axis, 0, other.shape[axis])
    return [x]


# -------------------------------------------------------------------- constants of a shape

elementwise("zeros_like", lambda x: np.zeros_like(stop_gradient(x)))
elementwise("ones_like", lambda x: np.ones_like(stop_gradient(x)))


@operator("_npi_full_like")
def _full_like(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    dtype = attrs.text("dtype")
    return [np.full_like(stop_gradient(xs[0]), attrs.real("fill_value"), dtype=dtype)]


@operator("shape_array", "_npx_shape_array")
def _shape_array(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.array(xs[0].shape, dtype=np.int64)]


@operator("size_array")
def _size_array(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.array([math.prod(xs[0].shape)], dtype=np.int64)]


@operator("_contrib_arange_like", "_npx_arange_like")
def _arange_like(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, axis, repeat = xs[0], attrs.optional_integer("axis"), attrs.integer("repeat", 1)
    start, step = attrs.real("start", 0.0), attrs.real("step", 1.0)
    size = math.prod(x.shape) if axis is None else x.shape[axis]
    values = (start + step * (np.arange(size) // repeat)).astype(x.dtype)
    return [values.reshape(x.shape) if axis is None else values]
