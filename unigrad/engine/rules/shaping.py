"""Rules of functions that move entries about: shapes, orders of axes, diagonals, repetition.

All are linear; each pull is the transpose, so it looks at the shape of its argument only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, gathered
from unigrad.engine.table import composite, constant, function, refuse
from unigrad.errors import TracingError

__all__ = ["NUMPY_2", "arrayed", "axis_of", "several", "shape_of", "sliced"]

NUMPY_2 = int(np.__version__.partition(".")[0]) >= 2


def shape_of(x: Any) -> tuple[int, ...]:
    """``numpy.shape(x)``, without asking the engine about its own arrays."""
    return x.shape if isinstance(x, Box) else tuple(np.shape(x))  # type: ignore[attr-defined]


def arrayed(x: Any) -> Any:
    """Numbers and lists, perhaps of traced numbers, as arrays; arrays as they are."""
    return gathered(np.asarray(x)) if isinstance(x, (list, tuple, int, float, complex)) else x


def axis_of(axis: Any, ndim: int) -> int:
    """An axis counted from the front.

    Raises:
        AxisError: if there is no such axis.
    """
    place = operator.index(axis)
    if not -ndim <= place < ndim:
        raise np.exceptions.AxisError(place, ndim)
    return place % ndim


def sliced(x: Any, axis: int, start: Any, stop: Any = None, step: Any = None) -> Any:
    """``x[start:stop:step]`` along an axis that is counted from the front."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def several(arrays: Sequence[Any]) -> Any:
    """Several results, in the kind of sequence that this NumPy gives them in."""
    return tuple(arrays) if NUMPY_2 else list(arrays)


# ------------------------------------------------------------------------- shapes


def _reshaped(x: Any, shape: Any, order: str) -> Any:
    return x.reshape(shape) if order == "C" else x.reshape(shape, order=order)


_RESHAPE = Rule(
    "reshape",
    [lambda g, ans, x, shape, order: _reshaped(g, x.shape, order)],
    linear=True,
    view=True,
)


@composite("reshape")
def _reshape(
    a: Any, shape: Any = None, order: Any = "C", *, newshape: Any = None, copy: Any = None
) -> Any:
    if order not in ("C", "F"):
        raise TracingError(
            f"a reshape or ravel with order={order!r} depends on how the array lies in memory, "
            f"which is not followed; type: order='C' or order='F'"
        )
    shape = newshape if shape is None else shape
    out = apply(_RESHAPE, _reshaped, (a,), {"shape": shape, "order": order})
    return out.copy() if copy else out


@composite("ravel")
def _ravel(a: Any, order: Any = "C") -> Any:
    return np.reshape(a, (-1,), order=order)


for _name in ("squeeze", "expand_dims"):
    function(_name, "a axis", lambda g, ans, x, **_: g.reshape(x.shape), linear=True, view=True)
function("broadcast_to", "array shape subok", lambda g, ans, x, *_, **__: g, linear=True, view=True)


def _at_least(name: str, reached: Callable[[tuple[int, ...]], tuple[int, ...]]) -> None:
    @composite(name)
    def handler(*arrays: Any) -> Any:
        shaped = [np.reshape(a, reached(shape_of(a))) for a in arrays]
        return shaped[0] if len(shaped) == 1 else several(shaped)


_at_least("atleast_1d", lambda s: s or (1,))
_at_least("atleast_2d", lambda s: s if len(s) > 1 else (1, *(s or (1,))))
_at_least(
    "atleast_3d",
    lambda s: s if len(s) > 2 else ((1, *(s or (1,)), 1) if len(s) < 2 else (*s, 1)),
)


@composite("broadcast_arrays")
def _broadcast_arrays(*arrays: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*[shape_of(a) for a in arrays])
    return several([np.broadcast_to(a, shape) for a in arrays])


@composite("meshgrid")
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    n = len(xi)
    arrays: Any = [np.reshape(x, (1,) * i + (-1,) + (1,) * (n - 1 - i)) for i, x in enumerate(xi)]
    if indexing == "xy" and n > 1:
        arrays = [np.swapaxes(a, 0, 1) for a in arrays]
    if not sparse:
        arrays = np.broadcast_arrays(*arrays)
    return several([a.copy() for a in arrays] if copy else arrays)


@composite("ix_")
def _ix(*args: Any) -> Any:
    shapes = [shape_of(a) for a in args]
    if any(len(shape) != 1 for shape in shapes):
        raise ValueError("Cross index must be 1 dimensional")
    n = len(args)
    return tuple(np.reshape(a, (1,) * i + (-1,) + (1,) * (n - 1 - i)) for i, a in enumerate(args))


# ------------------------------------------------------------------------- orders of axes


def _inverse(order: Any, ndim: int) -> Any:
    """The permutation of axes that undoes ``order``; negative axes count from the end."""
    axes = [operator.index(a) % ndim for a in np.atleast_1d(order)]
    return tuple(sorted(range(ndim), key=axes.__getitem__))


function(
    "transpose",
    "a axes",
    lambda g, ans, x, axes=None: g.T if axes is None else g.transpose(_inverse(axes, x.ndim)),
    linear=True,
    view=True,
)
function(
    "swapaxes",
    "a axis1 axis2",
    lambda g, ans, x, axis1, axis2: g.swapaxes(axis1, axis2),
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
function("flip", "m axis", lambda g, ans, x, axis=None: np.flip(g, axis), linear=True, view=True)
function(
    "roll",
    "a shift axis",
    lambda g, ans, x, shift, axis=None: np.roll(g, _negated(shift), axis),
    linear=True,
)


def _negated(shift: Any) -> Any:
    return tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift


@composite("matrix_transpose", "linalg.matrix_transpose")
def _matrix_transpose(x: Any, /) -> Any:
    return np.swapaxes(x, -1, -2)


@composite("rollaxis")
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    ndim = len(shape_of(a))
    axis, start = axis_of(axis, ndim), start + ndim if start < 0 else start
    if not 0 <= start <= ndim:
        raise np.exceptions.AxisError(start, ndim + 1)
    return np.moveaxis(a, axis, start - 1 if start > axis else start)


@composite("flipud")
def _flipud(m: Any) -> Any:
    return np.flip(m, 0)


@composite("fliplr")
def _fliplr(m: Any) -> Any:
    return np.flip(m, 1)


@composite("rot90")
def _rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    ndim = len(shape_of(m))
    first, second = (axis_of(a, ndim) for a in axes)
    if first == second:
        raise ValueError("Axes must be different.")
    if k % 4 == 0:
        return m[...]
    if k % 4 == 2:
        return np.flip(m, (first, second))
    if k % 4 == 1:
        return np.swapaxes(np.flip(m, second), first, second)
    return np.flip(np.swapaxes(m, first, second), second)


# ------------------------------------------------------------------------- repetition


@composite("repeat")
def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    if axis is None:
        a, axis = np.ravel(a), 0
    shape = shape_of(a)
    axis = axis_of(axis, len(shape))
    if np.ndim(repeats) > 0:
        return np.take(a, np.repeat(np.arange(shape[axis]), repeats), axis=axis)
    count = operator.index(repeats)
    before, n, after = shape[:axis], shape[axis], shape[axis + 1 :]
    spread = np.broadcast_to(np.expand_dims(a, axis + 1), (*before, n, count, *after))
    return np.reshape(spread, (*before, n * count, *after)).copy()


@composite("tile")
def _tile(A: Any, reps: Any) -> Any:
    reps = tuple(operator.index(r) for r in np.atleast_1d(reps))
    shape = shape_of(A)
    ndim = max(len(reps), len(shape))
    reps = (1,) * (ndim - len(reps)) + reps
    shape = (1,) * (ndim - len(shape)) + shape
    interleaved = tuple(m for n in shape for m in (1, n))
    repeated = tuple(m for r, n in zip(reps, shape, strict=True) for m in (r, n))
    spread = np.broadcast_to(np.reshape(A, interleaved), repeated)
    return np.reshape(spread, tuple(r * n for r, n in zip(reps, shape, strict=True))).copy()


@composite("resize")
def _resize(a: Any, new_shape: Any) -> Any:
    flat = np.ravel(a)
    size = int(np.prod(new_shape, dtype=np.int64))
    if flat.shape[0] == 0:
        return np.zeros_like(flat, shape=new_shape)
    copies = -(-size // flat.shape[0])
    return np.reshape(np.tile(flat, copies)[:size], new_shape)


@composite("trim_zeros")
def _trim_zeros(filt: Any, trim: str = "fb", **_: Any) -> Any:
    raise TracingError(
        "numpy.trim_zeros of a traced array cuts it at a length that depends on its values; "
        "type: x[start:stop] with plain numbers"
    )


# ------------------------------------------------------------------------- diagonals


def _places(n: int, m: int, offset: int) -> tuple[Any, Any]:
    """Rows and columns of a diagonal of an n by m matrix."""
    along = np.arange(max(0, min(n, m - offset) if offset >= 0 else min(n + offset, m)))
    return along + max(-offset, 0), along + max(offset, 0)


def _on_diagonal(g: Any, shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    """Zeros of this shape with ``g`` on a diagonal: the transpose of ``numpy.diagonal``."""
    if isinstance(g, Box):
        options = {"shape": shape, "offset": offset, "axis1": axis1, "axis2": axis2}
        return apply(_ON_DIAGONAL, _on_diagonal, (g,), options)
    n, m = shape[axis1], shape[axis2]
    others = [k for i, k in enumerate(shape) if i not in (axis1 % len(shape), axis2 % len(shape))]
    out = np.zeros_like(g, shape=(*others, n, m))
    rows, columns = _places(n, m, offset)
    out[..., rows, columns] = g
    return np.moveaxis(out, (-2, -1), (axis1, axis2)) if others or axis1 > axis2 else out


def _diagonal_of(x: Any, shape: Any, offset: int, axis1: int, axis2: int) -> Any:
    return np.diagonal(x, offset, axis1, axis2)


_DIAGONAL = Rule(
    "diagonal",
    [lambda g, ans, x, **options: _on_diagonal(g, **options)],
    linear=True,
    view=True,
)
_ON_DIAGONAL = Rule("diag", [lambda g, ans, x, **options: _diagonal_of(g, **options)], linear=True)


@composite("diagonal")
def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    shape = shape_of(a)
    options = {"shape": shape, "offset": offset, "axis1": axis1, "axis2": axis2}
    return apply(_DIAGONAL, _diagonal_of, (a,), options)


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
    shape = shape_of(v)
    if len(shape) == 2:
        return np.diagonal(v, k)
    if len(shape) != 1:
        raise ValueError("Input must be 1- or 2-d.")
    size = shape[0] + abs(k)
    return _on_diagonal(v, (size, size), k, 0, 1)


@composite("diagflat")
def _diagflat(v: Any, k: int = 0) -> Any:
    return np.diag(np.ravel(v), k)


function("tril", "m k", lambda g, ans, x, k=0: np.tril(g, k), linear=True)
function("triu", "m k", lambda g, ans, x, k=0: np.triu(g, k), linear=True)
constant("tril_indices_from triu_indices_from diag_indices_from unravel_index ravel_multi_index")
