"""Rules of products: of vectors, matrices and tensors, and convolutions."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from unigrad.engine.core import Rule, apply
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.shaping import arrayed, axis_of, shape_of
from unigrad.engine.table import composite, refuse, ufunc

__all__ = ["adjoint"]


def adjoint(x: Any) -> Any:
    """The conjugate transpose of (a stack of) matrices."""
    return conjugate(np.swapaxes(x, -1, -2))


# ------------------------------------------------------------------------- matrix products


def _product(x: Any, y: Any) -> Any:
    """``x @ y`` where ``y`` is a matrix, or both are vectors or matrices."""
    if type(x) is not np.ndarray or type(y) is not np.ndarray:
        return x @ y
    if x.ndim <= 2:
        # Trap: `@` is slow by an order of magnitude for a cotangent that was only broadcast.
        return x.dot(y)
    rows = x.reshape(-1, x.shape[-1]).dot(y)
    return rows.reshape(*x.shape[:-1], y.shape[-1])


def _solid(g: Any) -> Any:
    """A cotangent that was only broadcast, in memory."""
    return g.copy() if type(g) is np.ndarray and 0 in g.strides else g


def _flat(x: Any) -> Any:
    """A stack of matrices as one tall matrix."""
    return x.reshape(-1, x.shape[-1])


def _pull_matmul_left(g: Any, ans: Any, x: Any, y: Any, **_: Any) -> Any:
    y = arrayed(y)
    if y.ndim == 2:
        return _product(g, y.T if y.dtype.kind != "c" else adjoint(y))
    if y.ndim == 1:
        return g * conjugate(y) if g.ndim == 0 else g[..., None] * conjugate(y)
    if g.ndim == y.ndim - 1:
        return (g[..., None, :] @ adjoint(y))[..., 0, :]
    return _solid(g) @ adjoint(y)


def _pull_matmul_right(g: Any, ans: Any, x: Any, y: Any, **_: Any) -> Any:
    x = arrayed(x)
    if x.ndim == 1:
        return conjugate(x) * g if g.ndim == 0 else conjugate(x)[:, None] * g[..., None, :]
    if y.ndim > 2:
        return adjoint(x) @ _solid(g)
    if x.ndim > 2:
        x, g = _flat(x), g.reshape(-1) if y.ndim == 1 else _flat(g)
    return _product(x.T if x.dtype.kind != "c" else adjoint(x), g)


ufunc("matmul", _pull_matmul_left, _pull_matmul_right, multilinear=True)
ufunc(
    "matvec",
    lambda g, ans, a, v, **_: g[..., None] * conjugate(v)[..., None, :],
    lambda g, ans, a, v, **_: (adjoint(a) @ g[..., None])[..., 0],
    multilinear=True,
)
ufunc(
    "vecmat",
    lambda g, ans, v, a, **_: (a @ conjugate(g)[..., None])[..., 0],
    lambda g, ans, v, a, **_: v[..., None] * g[..., None, :],
    multilinear=True,
)


def _along(g: Any, axis: int, keepdims: bool) -> Any:
    return g if keepdims else np.expand_dims(g, axis)


ufunc(
    "vecdot",
    lambda g, ans, x, y, axis=-1, keepdims=False, **_: conjugate(_along(g, axis, keepdims)) * y,
    lambda g, ans, x, y, axis=-1, keepdims=False, **_: _along(g, axis, keepdims) * x,
    multilinear=True,
)


@composite("linalg.vecdot")
def _linalg_vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.sum(conjugate(x1) * x2, axis=axis)


@composite("linalg.matmul")
def _linalg_matmul(x1: Any, x2: Any, /) -> Any:
    return np.matmul(x1, x2)


_DOT = Rule("dot", [_pull_matmul_left, _pull_matmul_right], multilinear=True)


def _scaled(a: Any, b: Any) -> Any:
    """``a * b`` in the dtype of products, which goes by types: 2.0 is a float64."""
    a, b = arrayed(a), arrayed(b)
    dtype = np.promote_types(a.dtype, b.dtype)
    return np.multiply(a.astype(dtype, copy=False), b.astype(dtype, copy=False))


@composite("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    refuse("dot", {"out": out})
    n, m = len(shape_of(a)), len(shape_of(b))
    if n == 0 or m == 0:
        return _scaled(a, b)
    if n == 1 or m <= 2:
        return apply(_DOT, np.dot, (a, b))
    return np.tensordot(a, b, axes=(-1, -2))


@composite("vdot")
def _vdot(a: Any, b: Any, /) -> Any:
    return apply(_DOT, np.dot, (conjugate(np.ravel(a)), np.ravel(b)))


@composite("inner")
def _inner(a: Any, b: Any, /) -> Any:
    n, m = len(shape_of(a)), len(shape_of(b))
    if n == 0 or m == 0:
        return _scaled(a, b)
    if m == 1:
        return apply(_DOT, np.dot, (a, b))
    return np.tensordot(a, b, axes=(-1, -1))


def _outer_of(a: Any, b: Any) -> Any:
    return np.outer(a, b)


_OUTER = Rule(
    "outer",
    [
        lambda g, ans, a, b: _product(g, conjugate(b)),
        lambda g, ans, a, b: _product(g.T, conjugate(a)),
    ],
    multilinear=True,
)


@composite("outer", "linalg.outer")
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    refuse("outer", {"out": out})
    return apply(_OUTER, _outer_of, (np.ravel(a), np.ravel(b)))


def _pull_tensordot(g: Any, other: Any, axes: Any, other_axes: Any, first: bool) -> Any:
    """The cotangent of one factor, whose axes are then brought back to their order."""
    kept = [i for i in range(other.ndim) if i not in other_axes]
    ndim = g.ndim - len(kept) + len(axes)
    shared = range(g.ndim - len(kept), g.ndim) if first else range(len(kept))
    c = np.tensordot(g, conjugate(other), (list(shared), kept))
    order = [i for i in range(ndim) if i not in axes]
    order += [axes[other_axes.index(i)] for i in sorted(other_axes)]
    return c.transpose(sorted(range(ndim), key=order.__getitem__))


_TENSORDOT = Rule(
    "tensordot",
    [
        lambda g, ans, a, b, axes: _pull_tensordot(g, b, axes[0], axes[1], True),
        lambda g, ans, a, b, axes: _pull_tensordot(g, a, axes[1], axes[0], False),
    ],
    multilinear=True,
)


def _contracted_pairs(a: Any, b: Any, axes: Any) -> Any:
    return np.tensordot(a, b, axes)


@composite("tensordot", "linalg.tensordot")
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = arrayed(a), arrayed(b)
    n, m = len(shape_of(a)), len(shape_of(b))
    if np.ndim(axes) == 0:
        count = operator.index(axes)
        pairs = list(range(n - count, n)), list(range(count))
    else:
        first, second = (np.atleast_1d(x) for x in axes)
        pairs = [axis_of(i, n) for i in first], [axis_of(i, m) for i in second]
    return apply(_TENSORDOT, _contracted_pairs, (a, b), {"axes": pairs})


@composite("kron")
def _kron(a: Any, b: Any) -> Any:
    n, m = shape_of(a), shape_of(b)
    ndim = max(len(n), len(m))
    n, m = (1,) * (ndim - len(n)) + n, (1,) * (ndim - len(m)) + m
    left = np.reshape(a, tuple(k for i in n for k in (i, 1)))
    right = np.reshape(b, tuple(k for i in m for k in (1, i)))
    return np.reshape(left * right, tuple(i * k for i, k in zip(n, m, strict=True)))


@composite("cross")
def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(arrayed(a), axisa, -1), np.moveaxis(arrayed(b), axisb, -1)
    sizes = shape_of(a)[-1], shape_of(b)[-1]
    if not {*sizes} <= {2, 3}:
        raise ValueError("incompatible dimensions for cross product (dimension must be 2 or 3)")

    def part(i: int, j: int) -> Any:
        # A vector of length 2 has 0 for its third entry.
        plus = a[..., i] * b[..., j] if i < sizes[0] and j < sizes[1] else None
        minus = a[..., j] * b[..., i] if j < sizes[0] and i < sizes[1] else None
        if plus is None or minus is None:
            return plus if minus is None else -minus
        return plus - minus

    if sizes == (2, 2):
        return part(0, 1)
    parts = np.broadcast_arrays(part(1, 2), part(2, 0), part(0, 1))
    return np.moveaxis(np.stack(parts, axis=-1), -1, axisc)


@composite("linalg.cross")
def _linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    if shape_of(x1)[axis] != 3 or shape_of(x2)[axis] != 3:
        raise ValueError("Both input arrays must be (arrays of) 3-dimensional vectors")
    return _cross(x1, x2, axis=axis)


# ------------------------------------------------------------------------- convolutions

_CONVOLVE = Rule(
    "convolve",
    [
        lambda g, ans, a, v: np.correlate(g, v, "valid"),
        lambda g, ans, a, v: np.correlate(g, a, "valid"),
    ],
    multilinear=True,
)
_MODES = {"v": "valid", "s": "same", "f": "full"}


def _fully_convolved(a: Any, v: Any) -> Any:
    return np.convolve(a, v)


def _cut(full: Any, n: int, m: int, mode: Any, spare: int) -> Any:
    """The part of a full convolution that a mode keeps."""
    short, long = min(n, m), max(n, m)
    if mode == "valid":
        return full[short - 1 : long]
    if mode == "same":
        start = (short - 1 + spare) // 2
        return full[start : start + long]
    if mode != "full":
        raise ValueError("mode must be one of 'valid', 'same', or 'full'")
    return full


@composite("convolve")
def _convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    a, v = np.atleast_1d(arrayed(a), arrayed(v))
    full = apply(_CONVOLVE, _fully_convolved, (a, v))
    return _cut(full, shape_of(a)[0], shape_of(v)[0], mode, 0)


@composite("correlate")
def _correlate(a: Any, v: Any, mode: Any = "valid") -> Any:
    a, v = np.atleast_1d(arrayed(a), arrayed(v))
    full = apply(_CONVOLVE, _fully_convolved, (a, conjugate(v)[::-1]))
    n, m = shape_of(a)[0], shape_of(v)[0]
    return _cut(full, n, m, mode, 1 if m > n else 0)
