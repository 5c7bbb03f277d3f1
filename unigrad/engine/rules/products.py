"""Rules of products: of matrices, of tensors (einsum), of the entries of an array.

Products of entries are differentiated as a tree of multiplications, which needs no division and
so is right at zeros, to any order.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from unigrad.engine.array import vjp
from unigrad.engine.core import Rule, apply, unbroadcast
from unigrad.engine.indexing import scatter
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.reductions import kept_dims
from unigrad.engine.table import composite, function, refuse, sequence_rule, ufunc

__all__ = ["adjoint"]


def adjoint(x: Any) -> Any:
    """The conjugate transpose of (a stack of) matrices."""
    return conjugate(np.swapaxes(x, -1, -2))


# ------------------------------------------------------------------------- matrix products


def _pull_matmul_left(g: Any, ans: Any, x: Any, y: Any, **_: Any) -> Any:
    if len(np.shape(y)) == 1:
        return g * conjugate(y) if len(x.shape) == 1 else g[..., None] * conjugate(y)
    if len(x.shape) == 1:
        return (g[..., None, :] @ adjoint(y))[..., 0, :]
    return g @ adjoint(y)


def _pull_matmul_right(g: Any, ans: Any, x: Any, y: Any, **_: Any) -> Any:
    if len(np.shape(x)) == 1:
        if len(y.shape) == 1:
            return g * conjugate(x)
        return conjugate(x)[:, None] * g[..., None, :]
    if len(y.shape) == 1:
        return (adjoint(x) @ g[..., None])[..., 0]
    return adjoint(x) @ g


ufunc("matmul", _pull_matmul_left, _pull_matmul_right)
ufunc(
    "matvec",
    lambda g, ans, a, v, **_: g[..., None] * conjugate(v)[..., None, :],
    lambda g, ans, a, v, **_: (adjoint(a) @ g[..., None])[..., 0],
)
ufunc(
    "vecmat",
    lambda g, ans, v, a, **_: (a @ conjugate(g)[..., None])[..., 0],
    lambda g, ans, v, a, **_: v[..., None] * g[..., None, :],
)


def _along(g: Any, axis: int, keepdims: bool) -> Any:
    return g if keepdims else np.expand_dims(g, axis)


ufunc(
    "vecdot",
    lambda g, ans, x, y, axis=-1, keepdims=False, **_: conjugate(_along(g, axis, keepdims)) * y,
    lambda g, ans, x, y, axis=-1, keepdims=False, **_: _along(g, axis, keepdims) * x,
)


@composite("linalg.vecdot")
def _linalg_vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return np.sum(conjugate(x1) * x2, axis=axis)


@composite("linalg.matmul")
def _linalg_matmul(x1: Any, x2: Any, /) -> Any:
    return np.matmul(x1, x2)


@composite("dot")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    refuse("dot", {"out": out})
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    if np.ndim(b) == 1 or (np.ndim(a) <= 2 and np.ndim(b) == 2):
        return np.matmul(a, b)
    return np.tensordot(a, b, axes=(-1, -2))


@composite("vdot")
def _vdot(a: Any, b: Any, /) -> Any:
    return np.matmul(conjugate(np.ravel(a)), np.ravel(b))


@composite("inner")
def _inner(a: Any, b: Any, /) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return np.tensordot(a, b, axes=(-1, -1))


@composite("outer", "linalg.outer")
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    refuse("outer", {"out": out})
    return np.multiply(np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)))


@composite("tensordot", "linalg.tensordot")
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a_shape, b_shape = np.shape(a), np.shape(b)
    if isinstance(axes, (int, np.integer)):
        a_axes = list(range(len(a_shape) - int(axes), len(a_shape)))
        b_axes = list(range(int(axes)))
    else:
        a_axes, b_axes = (np.atleast_1d(x).astype(int).tolist() for x in axes)
    a_axes = [i % len(a_shape) for i in a_axes]
    b_axes = [i % len(b_shape) for i in b_axes]
    if [a_shape[i] for i in a_axes] != [b_shape[i] for i in b_axes]:
        raise ValueError(f"shape-mismatch for tensordot: {a_shape} and {b_shape} over {axes}")
    a_kept = [i for i in range(len(a_shape)) if i not in a_axes]
    b_kept = [i for i in range(len(b_shape)) if i not in b_axes]
    inner = int(np.prod([a_shape[i] for i in a_axes], dtype=np.int64))
    rows, columns = [a_shape[i] for i in a_kept], [b_shape[i] for i in b_kept]
    left = np.reshape(np.transpose(a, a_kept + a_axes), (_size(rows), inner))
    right = np.reshape(np.transpose(b, b_axes + b_kept), (inner, _size(columns)))
    out = np.reshape(np.matmul(left, right), (*rows, *columns))
    return out if out.shape else out[()]


def _size(shape: list[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


@composite("kron")
def _kron(a: Any, b: Any) -> Any:
    ndim = max(np.ndim(a), np.ndim(b))
    a_shape = (1,) * (ndim - np.ndim(a)) + np.shape(a)
    b_shape = (1,) * (ndim - np.ndim(b)) + np.shape(b)
    left = np.reshape(a, [n for m in a_shape for n in (m, 1)])
    right = np.reshape(b, [n for m in b_shape for n in (1, m)])
    return np.reshape(left * right, [m * n for m, n in zip(a_shape, b_shape, strict=True)])


@composite("cross", "linalg.cross")
def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        if a.shape[-1] == b.shape[-1] == 2:
            return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
        raise ValueError("numpy.cross takes vectors of the same length, 2 or 3, here")
    parts = [a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.moveaxis(np.stack(parts, axis=-1), -1, axisc)


@composite("convolve")
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    n, m = np.size(a), np.size(v)
    places = np.arange(n)[:, None] + np.arange(m)
    full = scatter(np.multiply(np.reshape(a, (n, 1)), v), (places,), (n + m - 1,))
    short, long = min(n, m), max(n, m)
    if mode == "valid":
        return full[short - 1 : long]
    return full if mode == "full" else full[(short - 1) // 2 : (short - 1) // 2 + long]


# ------------------------------------------------------------------------- einsum


def _letters(args: Any) -> tuple[str, list[Any]]:
    """The subscripts as one string, whichever way they were given, and the operands."""
    if isinstance(args[0], str):
        return args[0].replace(" ", ""), list(args[1:])
    names = string.ascii_uppercase + string.ascii_lowercase  # in the order that einsum sorts by

    def spelled(labels: Any) -> str:
        return "".join("..." if i is Ellipsis else names[i] for i in labels)

    pairs, rest = args[: len(args) // 2 * 2], args[len(args) // 2 * 2 :]
    subscripts = ",".join(spelled(labels) for labels in pairs[1::2])
    return subscripts + ("->" + spelled(rest[0]) if rest else ""), list(pairs[::2])


def _expanded(subscripts: str, operands: list[Any]) -> tuple[list[str], str]:
    """Labels of each operand and of the result, without dots and with the result spelled out."""
    left, arrow, result = subscripts.partition("->")
    labels = left.split(",")
    if not arrow:
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        result = "..." + "".join(once)
    free = [c for c in string.ascii_letters if c not in subscripts]
    ranks = [
        len(np.shape(x)) - len(l.replace("...", ""))
        for x, l in zip(operands, labels, strict=True)
        if "..." in l
    ]
    dots = free[: max(ranks, default=0)]
    counts = iter(ranks)
    labels = [
        l.replace("...", "".join(dots[len(dots) - next(counts) :])) if "..." in l else l
        for l in labels
    ]
    return labels, result.replace("...", "".join(dots))


def _contracted(*operands: Any, labels: Any, result: str, **options: Any) -> Any:
    return np.einsum(",".join(labels) + "->" + result, *operands, **options)


def _pull_einsum(
    i: int, g: Any, ans: Any, *operands: Any, labels: Any, result: str, **options: Any
) -> Any:
    own, shape = labels[i], operands[i].shape
    others = [
        (l, conjugate(x)) for j, (l, x) in enumerate(zip(labels, operands, strict=True)) if j != i
    ]
    unique = "".join(dict.fromkeys(own))
    met = set(result).union(*[l for l, _ in others])
    target = "".join(c for c in unique if c in met)
    spelled = ",".join([result, *[l for l, _ in others]]) + "->" + target
    c = np.einsum(spelled, g, *[x for _, x in others])
    sizes = dict(zip(own, shape, strict=True))
    found = dict(zip(target, c.shape, strict=True))
    c = np.reshape(c, [found.get(l, 1) for l in unique])
    c = unbroadcast(c, tuple(sizes[l] for l in unique))
    if len(unique) == len(own):
        return c
    along = {
        l: np.reshape(np.arange(sizes[l]), [-1 if m == l else 1 for m in unique]) for l in unique
    }
    return scatter(c, tuple(along[l] for l in own), shape)


_EINSUM = sequence_rule("einsum", _pull_einsum)


@composite("einsum")
def _einsum(*args: Any, out: Any = None, **options: Any) -> Any:
    refuse("einsum", {"out": out})
    subscripts, operands = _letters(args)
    labels, result = _expanded(subscripts, operands)
    return apply(_EINSUM, _contracted, operands, {"labels": labels, "result": result, **options})


# ------------------------------------------------------------------------- products of entries


def _tree_product(x: Any, axis: Any) -> Any:
    """The product over axes, kept with length 1, as a tree of multiplications."""
    ndim = len(x.shape)
    kept = kept_dims(x.shape, axis)
    axes = range(ndim) if axis is None else np.atleast_1d(axis)
    reduced = sorted(int(i) % ndim for i in axes)
    others = [i for i in range(ndim) if i not in reduced]
    x = np.reshape(
        np.transpose(x, others + reduced),
        (*[x.shape[i] for i in others], _size([x.shape[i] for i in reduced])),
    )
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        pairs = x[..., :half] * x[..., half : 2 * half]
        x = np.concatenate([pairs, x[..., 2 * half :]], -1) if x.shape[-1] % 2 else pairs
    return np.reshape(x, kept)


def _scan_product(x: Any, axis: int) -> Any:
    """All partial products, by doubling."""
    x = np.moveaxis(x, axis, -1)
    step = 1
    while step < x.shape[-1]:
        x = np.concatenate([x[..., :step], x[..., step:] * x[..., :-step]], -1)
        step *= 2
    return np.moveaxis(x, -1, axis)


def _pull_prod(g: Any, ans: Any, x: Any, axis: Any = None, **_: Any) -> Any:
    if x.size == 0 or len(x.shape) == 0:
        return g if len(x.shape) == 0 else np.zeros_like(x)
    pullback = vjp(lambda x: (_tree_product(x, axis),), [x])[1]
    return pullback([np.reshape(g, kept_dims(x.shape, axis))])[0]


def _pull_cumprod(g: Any, ans: Any, x: Any, axis: int, **_: Any) -> Any:
    pullback = vjp(lambda x: (_scan_product(x, axis),), [x])[1]
    return pullback([g])[0]


function("prod", "a axis dtype out keepdims initial where", _pull_prod)

_CUMSUM = Rule(
    "cumsum",
    [lambda g, ans, x, axis, **_: np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)],
    linear=True,
)
_CUMPROD = Rule("cumprod", [_pull_cumprod])


def _cumulation(name: str, rule: Rule) -> None:
    fn = getattr(np, name)

    @composite(name)
    def handler(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        refuse(name, {"out": out})
        if axis is None:
            a, axis = np.ravel(a), 0
        return apply(rule, fn, (a,), {"axis": axis, "dtype": dtype})


_cumulation("cumsum", _CUMSUM)
_cumulation("cumprod", _CUMPROD)


def _standard_cumulation(name: str, fn: Any, first: float) -> None:
    @composite(name)
    def handler(
        x: Any,
        /,
        *,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        refuse(name, {"out": out})
        axis = 0 if axis is None and np.ndim(x) == 1 else axis
        result = fn(x, axis=axis, dtype=dtype)
        if not include_initial:
            return result
        shape = list(np.shape(x))
        shape[axis] = 1
        return np.concatenate([np.full(shape, first, dtype=result.dtype), result], axis=axis)


_standard_cumulation("cumulative_sum", np.cumsum, 0.0)
_standard_cumulation("cumulative_prod", np.cumprod, 1.0)
