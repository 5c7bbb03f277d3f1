"""Rules of functions that move entries about: shapes, orders of axes, diagonals, paddings.

All are linear; each pull is the transpose, so most look at the shape of their argument only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Rule, apply
from unigrad.engine.indexing import scatter
from unigrad.engine.table import NO_VALUE, composite, function, refuse
from unigrad.errors import TracingError

__all__: list[str] = []


def _inverse(order: Any, ndim: int) -> Any:
    """The permutation of axes that undoes ``order``; negative axes count from the end."""
    if order is None:
        return None
    return tuple(int(i) for i in np.argsort([int(a) % ndim for a in order]))


_RESHAPE = Rule(
    "reshape",
    [lambda g, ans, x, shape, order: np.reshape(g, x.shape, order=order)],
    linear=True,
    view=True,
)


def _reshaped(x: Any, shape: Any, order: Any) -> Any:
    return np.reshape(x, shape, order=order)


@composite("reshape")
def _reshape(
    a: Any, shape: Any = None, order: Any = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    if order not in ("C", "F"):
        raise TracingError(
            f"a reshape with order={order!r} depends on how the array lies in memory, which is "
            f"not followed; type: order='C' or order='F'"
        )
    options = {"shape": newshape if shape is None else shape, "order": order}
    out = apply(_RESHAPE, _reshaped, (a,), options)
    return out.copy() if copy else out


@composite("ravel")
def _ravel(a: Any, order: Any = "C") -> Any:
    return np.reshape(a, (-1,), order=order)


function(
    "transpose",
    "a axes",
    lambda g, ans, x, axes=None: np.transpose(g, _inverse(axes, len(x.shape))),
    linear=True,
    view=True,
)
function(
    "swapaxes",
    "a axis1 axis2",
    lambda g, ans, x, axis1, axis2: np.swapaxes(g, axis1, axis2),
    linear=True,
    view=True,
)
function(
    "moveaxis",
    "a source destination",
    lambda g, ans, x, source, destination: np.moveaxis(g, destination, source),
    linear=True,
    view=True,
)
for _name, _signature in (("squeeze", "a axis"), ("expand_dims", "a axis")):
    function(
        _name,
        _signature,
        lambda g, ans, x, **_: np.reshape(g, x.shape),
        linear=True,
        view=True,
    )
function("broadcast_to", "array shape subok", lambda g, ans, x, *_, **__: g, linear=True, view=True)
function("flip", "m axis", lambda g, ans, x, axis=None: np.flip(g, axis), linear=True, view=True)
function(
    "roll",
    "a shift axis",
    lambda g, ans, x, shift, axis=None: np.roll(g, _negated(shift), axis),
    linear=True,
)
function("tril", "m k", lambda g, ans, x, k=0: np.tril(g, k), linear=True)
function("triu", "m k", lambda g, ans, x, k=0: np.triu(g, k), linear=True)


def _negated(shift: Any) -> Any:
    return tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift


@composite("matrix_transpose", "linalg.matrix_transpose")
def _matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


@composite("rollaxis")
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    axis, start = axis % np.ndim(a), start % (np.ndim(a) + 1) if start >= 0 else start + np.ndim(a)
    return np.moveaxis(a, axis, start - 1 if start > axis else start)


@composite("flipud")
def _flipud(m: Any) -> Any:
    return np.flip(m, 0)


@composite("fliplr")
def _fliplr(m: Any) -> Any:
    return np.flip(m, 1)


@composite("rot90")
def _rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    first, second = axes
    if k % 4 == 0:
        return m[...]
    if k % 4 == 2:
        return np.flip(m, (first, second))
    if k % 4 == 1:
        return np.swapaxes(np.flip(m, second), first, second)
    return np.flip(np.swapaxes(m, first, second), second)


def _at_least(name: str, shape_of: Any) -> None:
    @composite(name)
    def handler(*arrays: Any) -> Any:
        shaped = [np.reshape(a, shape_of(np.shape(a))) for a in arrays]
        return shaped[0] if len(shaped) == 1 else shaped


_at_least("atleast_1d", lambda s: s or (1,))
_at_least("atleast_2d", lambda s: s if len(s) > 1 else (1, *(s or (1,))))
_at_least(
    "atleast_3d",
    lambda s: s if len(s) > 2 else ((1, *(s or (1,)), 1) if len(s) < 2 else (*s, 1)),
)


@composite("broadcast_arrays")
def _broadcast_arrays(*arrays: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*[np.shape(a) for a in arrays])
    return tuple(np.broadcast_to(a, shape) for a in arrays)


@composite("meshgrid")
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    n = len(xi)
    arrays = [np.reshape(x, (1,) * i + (-1,) + (1,) * (n - 1 - i)) for i, x in enumerate(xi)]
    if indexing == "xy" and n > 1:
        arrays = [np.swapaxes(a, 0, 1) for a in arrays]
    return arrays if sparse else [a.copy() for a in np.broadcast_arrays(*arrays)]


# ------------------------------------------------------------------------- repetition


@composite("repeat")
def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    chosen = np.repeat(np.arange(a.shape[axis]), repeats)
    return np.take(a, chosen, axis=axis)


@composite("tile")
def _tile(A: Any, reps: Any) -> Any:
    reps = (reps,) if isinstance(reps, (int, np.integer)) else tuple(reps)
    ndim = max(len(reps), np.ndim(A))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - np.ndim(A)) + np.shape(A)
    interleaved = [m for n in shape for m in (1, n)]
    repeated = [m for r, n in zip(reps, shape, strict=True) for m in (r, n)]
    spread = np.broadcast_to(np.reshape(A, interleaved), repeated)
    return np.reshape(spread, [r * n for r, n in zip(reps, shape, strict=True)]).copy()


@composite("resize")
def _resize(a: Any, new_shape: Any) -> Any:
    size = int(np.prod(new_shape))
    return np.reshape(np.ravel(a)[np.arange(size) % np.size(a)], new_shape)


# ------------------------------------------------------------------------- diagonals


def _diagonal_index(shape: tuple[int, ...], offset: int) -> tuple[Any, Any]:
    """Rows and columns of a diagonal of a matrix of this shape."""
    n, m = shape
    length = max(0, min(n, m - offset) if offset >= 0 else min(n + offset, m))
    along = np.arange(length)
    return along + max(-offset, 0), along + max(offset, 0)


@composite("diagonal")
def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    matrices = np.moveaxis(a, (axis1, axis2), (-2, -1))
    return matrices[(..., *_diagonal_index(matrices.shape[-2:], offset))]


@composite("linalg.diagonal")
def _linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.diagonal(x, offset, -2, -1)


@composite("trace")
def _trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    refuse("trace", {"out": out})
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@composite("linalg.trace")
def _linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.trace(x, offset, -2, -1, dtype=dtype)


@composite("diag")
def _diag(v: Any, k: int = 0) -> Any:
    if np.ndim(v) == 2:
        return np.diagonal(v, k)
    size = v.shape[0] + abs(k)
    return scatter(v, _diagonal_index((size, size), k), (size, size))


@composite("diagflat")
def _diagflat(v: Any, k: int = 0) -> Any:
    return np.diag(np.ravel(v), k)


# ------------------------------------------------------------------------- padding, differences


@composite("pad")
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    ndim = np.ndim(array)
    widths = np.broadcast_to(np.asarray(pad_width, dtype=np.intp), (ndim, 2))
    if mode == "constant":
        values = np.broadcast_to(np.asarray(options.get("constant_values", 0)), (ndim, 2))
        framed = np.pad(np.zeros(array.shape, array.dtype), widths, constant_values=values)
        inside = tuple(
            slice(int(low), int(low) + n) for (low, _), n in zip(widths, array.shape, strict=True)
        )
        out = np.zeros_like(array, shape=framed.shape)
        out[...] = framed
        out[inside] = array
        return out
    if mode in ("edge", "reflect", "symmetric", "wrap") and not options:
        for axis, width in enumerate(widths):
            chosen = np.pad(np.arange(array.shape[axis]), tuple(width), mode=mode)
            array = np.take(array, chosen, axis=axis)
        return array
    raise TracingError(
        f"numpy.pad(..., mode={mode!r}) with {sorted(options)} has no derivative rule; "
        f"use mode='constant', 'edge', 'reflect', 'symmetric' or 'wrap', or numpy.concatenate"
    )


@composite("diff")
def _diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = NO_VALUE, append: Any = NO_VALUE
) -> Any:
    def edge(value: Any) -> Any:
        shape = list(np.shape(a))
        shape[axis] = 1
        return np.broadcast_to(value, shape) if np.ndim(value) == 0 else value

    parts = [a]
    if prepend is not NO_VALUE:
        parts.insert(0, edge(prepend))
    if append is not NO_VALUE:
        parts.append(edge(append))
    if len(parts) > 1:
        a = np.concatenate(parts, axis=axis)
    along: list[Any] = [slice(None)] * np.ndim(a)
    later, earlier = list(along), list(along)
    later[axis], earlier[axis] = slice(1, None), slice(None, -1)
    for _ in range(n):
        a = a[tuple(later)] - a[tuple(earlier)]
    return a


@composite("ediff1d")
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    flat = np.ravel(ary)
    parts = [flat[1:] - flat[:-1]]
    if to_begin is not None:
        parts.insert(0, np.ravel(to_begin))
    if to_end is not None:
        parts.append(np.ravel(to_end))
    return np.concatenate(parts)
