"""Products, and ``xp.linalg``: MXNet's factorizations with derivatives that are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from unigrad.errors import UnsupportedError
from unigrad_mxnet.arrays import constant, peek, public
from unigrad_mxnet.elementwise import cast_to, floating, where
from unigrad_mxnet.framework import mx
from unigrad_mxnet.reductions import axes_of, root
from unigrad_mxnet.rules import apply_rule

_mn: Any = mx.np


class EighResult(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """Left vectors as columns, singular values in descending order, right vectors as rows."""

    U: Any
    S: Any
    Vh: Any


class QRResult(NamedTuple):
    """Orthogonal and upper triangular factor."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Any
    logabsdet: Any


# -------------------------------------------------------------------- products


def _alike(x: Any, y: Any) -> tuple[Any, Any]:
    kind = np.promote_types(x.dtype, y.dtype)
    if kind.kind in "biu":
        kind = np.dtype("float64")
    return cast_to(x, kind), cast_to(y, kind)


def _back(y: Any, *arrays: Any) -> Any:
    kind = np.result_type(*(np.dtype(x.dtype) for x in arrays))
    return cast_to(y, kind)


@public
def matmul(x1: Any, x2: Any, /) -> Any:
    x, y = _alike(x1, x2)
    left, right = x.ndim == 1, y.ndim == 1
    a = x.reshape((1, -1)) if left else x
    b = y.reshape((-1, 1)) if right else y
    if a.ndim > 2 or b.ndim > 2:  # MXNet's own gradient is wrong where batches are broadcast
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (_mn.broadcast_to(c, (*batch, *c.shape[-2:])) for c in (a, b))
    z = _mn.matmul(a, b)
    shape = z.shape
    if right:
        shape = shape[:-1]
    if left:
        shape = shape[: len(shape) - 1 - (not right)] + shape[len(shape) - (not right) :]
    return _back(z.reshape(shape) if left or right else z, x1, x2)


@public
def matrix_transpose(x: Any, /) -> Any:
    return _mn.swapaxes(x, -1, -2)


@public
def tensordot(x1: Any, x2: Any, /, *, axes: int | Sequence[Sequence[int]] = 2) -> Any:
    x, y = _alike(x1, x2)
    if isinstance(axes, int):
        left, right = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    else:
        left, right = axes_of(x, tuple(axes[0])), axes_of(y, tuple(axes[1]))
    rows = [a for a in range(x.ndim) if a not in left]
    columns = [a for a in range(y.ndim) if a not in right]
    inner = int(np.prod([x.shape[a] for a in left], dtype=np.int64))
    shape = (*(x.shape[a] for a in rows), *(y.shape[a] for a in columns))
    a = _permuted(x, (*rows, *left)).reshape((_size(x, rows), inner))
    b = _permuted(y, (*right, *columns)).reshape((inner, _size(y, columns)))
    return _back(_mn.matmul(a, b).reshape(shape), x1, x2)


def _permuted(x: Any, order: tuple[int, ...]) -> Any:
    return _mn.transpose(x, order) if x.ndim > 1 else x


def _size(x: Any, axes: Sequence[int]) -> int:
    return int(np.prod([x.shape[a] for a in axes], dtype=np.int64))


@public
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return _mn.sum(x1 * x2, axis=axis)


@public
def einsum(subscripts: str, /, *operands: Any) -> Any:
    """Repeated letters in one operand are taken out first: MXNet's own gradient is wrong there."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    kind = np.result_type(*(np.dtype(x.dtype) for x in operands))
    terms, arrays = [], []
    for term, x in zip(left.split(","), operands, strict=True):
        term, x = _without_repeats(term, cast_to(x, kind))
        terms.append(term)
        arrays.append(x)
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        right = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
        right = "..." * ("..." in left) + right
    return _mn.einsum(",".join(terms) + "->" + right, *_evened(terms, arrays))


def _evened(terms: Sequence[str], arrays: Sequence[Any]) -> list[Any]:
    """Axes of length 1 broadcast and ellipses filled up: MXNet's gradient is wrong there too."""
    hidden = [x.ndim - len(t.replace("...", "")) for t, x in zip(terms, arrays, strict=True)]
    lengths: dict[object, int] = {}
    keys: list[list[object]] = []
    for term, x, h in zip(terms, arrays, hidden, strict=True):
        before, dots, after = term.partition("...")
        keys.append([*before, *(range(-h, 0) if dots else ()), *after])
        for key, n in zip(keys[-1], x.shape, strict=True):
            lengths[key] = max(n, lengths.get(key, n)) if n != 0 else 0
    most = max(hidden, default=0)
    evened = []
    for term, x, key, h in zip(terms, arrays, keys, hidden, strict=True):
        if "..." in term and h < most:
            at = term.index("...")
            key = [*key[:at], *range(-most, -h), *key[at:]]
            x = x.reshape((*x.shape[:at], *(1,) * (most - h), *x.shape[at:]))
        shape = tuple(lengths[k] for k in key)
        evened.append(x if tuple(x.shape) == shape else _mn.broadcast_to(x, shape))
    return evened


def _without_repeats(term: str, x: Any) -> tuple[str, Any]:
    for letter in dict.fromkeys(term.replace("...", "")):
        while term.count(letter) > 1:
            hidden = x.ndim - len(term.replace("...", ""))
            i, j, *_ = (k for k, c in enumerate(_axes(term, hidden)) if c == letter)
            rest = tuple(a for a in range(x.ndim) if a not in (i, j))
            x = diagonal(_permuted(x, (*rest, i, j)))
            places = [p for p, c in enumerate(term) if c == letter]
            kept = "".join(c for p, c in enumerate(term) if p not in places[:2])
            term = kept + letter
    return term, x


def _axes(term: str, hidden: int) -> list[str]:
    """What each axis is called; those of an ellipsis have no letter."""
    before, dots, after = term.partition("...")
    return [*before, *([""] * hidden if dots else []), *after]


@public
def outer(x1: Any, x2: Any, /) -> Any:
    return x1.reshape((-1, 1)) * x2.reshape((1, -1))


# -------------------------------------------------------------------- parts of a matrix


@public
def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    rows, columns = x.shape[-2:]
    index = np.arange(max(rows, columns))
    i, j = (index, index + offset) if offset >= 0 else (index - offset, index)
    inside = (i < rows) & (j < columns)
    flat = (i * columns + j)[inside]
    return _mn.take(x.reshape((*x.shape[:-2], rows * columns)), constant(flat, x.ctx), axis=-1)


@public
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    d = diagonal(x, offset=offset)
    return _mn.sum(d if dtype is None else cast_to(d, dtype), axis=-1)


@public
def vector_norm(
    x: Any, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Any:
    """Norm along an axis; the derivative of the 2-norm is 0 at 0."""
    from unigrad_mxnet import reductions

    x = floating(x)
    if ord == 2:
        return root(_mn.sum(x * x, axis=axis, keepdims=keepdims))
    size = _mn.abs(x)
    if ord == 1:
        return _mn.sum(size, axis=axis, keepdims=keepdims)
    if ord == np.inf:
        return reductions.max(size, axis=axis, keepdims=keepdims)
    if ord == -np.inf:
        return reductions.min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return _mn.sum(cast_to(x != 0, x.dtype), axis=axis, keepdims=keepdims)
    return _mn.sum(size**ord, axis=axis, keepdims=keepdims) ** (1.0 / ord)


@public
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Norm of the last two axes; the derivative of the Frobenius norm is 0 at 0."""
    from unigrad_mxnet import reductions

    x = floating(x)
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in (1, -1, np.inf, -np.inf):
        axis = -2 if abs(ord) == 1 else -1
        sums = _mn.sum(_mn.abs(x), axis=axis, keepdims=True)
        f = reductions.max if ord > 0 else reductions.min
        return f(sums, axis=(-2, -1), keepdims=keepdims)
    if ord in (2, -2, "nuc"):
        s = svdvals(x)
        y = _mn.sum(s, axis=-1) if ord == "nuc" else s[..., 0 if ord == 2 else s.shape[-1] - 1]
        return y.reshape((*x.shape[:-2], 1, 1)) if keepdims else y
    raise ValueError(f"a matrix norm of order {ord!r} was asked for; there is none")


# -------------------------------------------------------------------- factorizations

_NumPy = np.ndarray[Any, Any]


def _factorized(
    compute: Callable[[_NumPy], tuple[_NumPy, ...]],
    backward: Callable[[Any, Sequence[Any], Sequence[Any]], Any],
    x: Any,
) -> tuple[Any, ...]:
    """``compute(x)`` in NumPy, whose rule ``backward(x, outputs, cotangents)`` is MXNet's."""

    def forward(x: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values = peek(x)
        outputs = tuple(constant(np.asarray(y), x.ctx, values.dtype) for y in compute(values))
        return outputs, (x, *outputs)

    def rule(residuals: Sequence[Any], cotangents: Sequence[Any]) -> Sequence[Any]:
        x, *outputs = residuals
        return [backward(x, outputs, cotangents)]

    return apply_rule(forward, rule, [x], compute)


def _t(x: Any) -> Any:
    return _mn.swapaxes(x, -1, -2)


def _wide(x: Any) -> Any:
    """A number for each matrix, shaped to stand beside the matrices."""
    return x.reshape((*x.shape, 1, 1))


def _square(x: Any, what: str) -> Any:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{what} takes square matrices, got an array of shape {x.shape}")
    return floating(x)


@public
def inv(x: Any, /) -> Any:
    (y,) = _factorized(
        lambda a: (np.linalg.inv(a),),
        lambda x, out, g: -_mn.matmul(_mn.matmul(_t(out[0]), g[0]), _t(out[0])),
        _square(x, "inv"),
    )
    return y


@public
def solve(x1: Any, x2: Any, /) -> Any:
    a, b = _alike(_square(x1, "solve"), x2)
    vector = b.ndim == 1
    columns = b.reshape((-1, 1)) if vector else b

    def forward(a: Any, b: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        x = constant(np.linalg.solve(peek(a), peek(b)), a.ctx)
        return (x,), (a, b, x)

    def rule(residuals: Sequence[Any], cotangents: Sequence[Any]) -> Sequence[Any]:
        a, b, x = residuals
        w = solve(_t(a), cotangents[0])
        return [_summed_to(-_mn.matmul(w, _t(x)), a.shape), _summed_to(w, b.shape)]

    (y,) = apply_rule(forward, rule, [a, columns], lambda a, b: (np.linalg.solve(a, b),))
    return y.reshape(y.shape[:-1]) if vector else y


def _summed_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Undo a broadcast of the leading axes."""
    while x.ndim > len(shape):
        x = _mn.sum(x, axis=0)
    for a, n in enumerate(shape):
        if n == 1 and x.shape[a] != 1:
            x = _mn.sum(x, axis=a, keepdims=True)
    return x


@public
def slogdet(x: Any, /) -> SlogdetResult:
    x = _square(x, "slogdet")
    sign, logabsdet = _factorized(
        lambda a: tuple(np.linalg.slogdet(a)), lambda x, out, g: _wide(g[1]) * _t(inv(x)), x
    )
    return SlogdetResult(sign, logabsdet)


@public
def det(x: Any, /) -> Any:
    """The derivative is the matrix of cofactors, right for singular matrices too."""

    def rule(x: Any, out: Sequence[Any], g: Sequence[Any]) -> Any:
        return _wide(g[0]) * _cofactors(x)

    (y,) = _factorized(lambda a: (np.linalg.det(a),), rule, _square(x, "det"))
    return y


def _cofactors(x: Any) -> Any:
    u, s, vh = np.linalg.svd(peek(x))
    n = s.shape[-1]
    others = np.stack([np.prod(np.delete(s, i, -1), axis=-1) for i in range(n)], axis=-1)
    turn = np.linalg.det(u) * np.linalg.det(vh)
    return constant(turn[..., None, None] * ((u * others[..., None, :]) @ vh), x.ctx)


@public
def cholesky(x: Any, /, *, upper: bool = False) -> Any:
    def rule(x: Any, out: Sequence[Any], g: Sequence[Any]) -> Any:
        lower = out[0]
        p = _mn.matmul(_t(lower), g[0])
        half = np.tril(np.ones(x.shape[-2:])) - 0.5 * np.eye(x.shape[-1])
        p = p * constant(half, x.ctx, x.dtype)
        s = _t(solve(_t(lower), _t(solve(_t(lower), p))))
        return (s + _t(s)) * 0.5

    (lower,) = _factorized(lambda a: (np.linalg.cholesky(a),), rule, _square(x, "cholesky"))
    return _t(lower) if upper else lower


def _gaps(values: Any) -> Any:
    """1 / (λ_j − λ_i) off the diagonal, 0 on it."""
    n = values.shape[-1]
    differences = values.reshape((*values.shape[:-1], 1, n)) - values.reshape((*values.shape, 1))
    diagonal_ = constant(np.eye(n, dtype=np.bool_), values.ctx)
    return where(diagonal_, 0.0, 1.0 / where(diagonal_, 1.0, differences))


@public
def eigh(x: Any, /) -> EighResult:
    """Of the symmetric part of ``x``, which is what NumPy and PyTorch differentiate."""

    def rule(x: Any, out: Sequence[Any], g: Sequence[Any]) -> Any:
        values, vectors = out
        n = values.shape[-1]
        inside = _mn.matmul(_t(vectors), g[1]) * _gaps(values)
        eye = constant(np.eye(n), x.ctx, x.dtype)
        inside = inside + g[0].reshape((*g[0].shape, 1)) * eye
        s = _mn.matmul(_mn.matmul(vectors, inside), _t(vectors))
        return (s + _t(s)) * 0.5

    return EighResult(*_factorized(lambda a: tuple(np.linalg.eigh(a)), rule, _square(x, "eigh")))


@public
def svd(x: Any, /, *, full_matrices: bool = False) -> SVDResult:
    """The reduced decomposition; one with full matrices has no derivative."""
    if full_matrices and x.shape[-1] != x.shape[-2]:
        raise UnsupportedError(
            "xp.linalg.svd with full_matrices=True was asked for, but the added vectors have no "
            "derivative; type: xp.linalg.svd(x, full_matrices=False)"
        )
    return SVDResult(
        *_factorized(lambda a: tuple(np.linalg.svd(a, full_matrices=False)), _svd_rule, floating(x))
    )


def _svd_rule(x: Any, out: Sequence[Any], g: Sequence[Any]) -> Any:
    u, s, vh = out
    gu, gs, gvh = g
    n = s.shape[-1]
    eye = constant(np.eye(n), x.ctx, x.dtype)
    column, row = s.reshape((*s.shape, 1)), s.reshape((*s.shape[:-1], 1, n))
    gaps = _gaps(s * s)
    left, right = _mn.matmul(_t(u), gu), _mn.matmul(vh, _t(gvh))
    inside = ((left - _t(left)) * gaps) * row + column * ((right - _t(right)) * gaps)
    inside = inside + gs.reshape((*gs.shape, 1)) * eye
    y = _mn.matmul(_mn.matmul(u, inside), vh)
    if x.shape[-2] > n:
        rest = gu / row
        y = y + _mn.matmul(rest - _mn.matmul(u, _mn.matmul(_t(u), rest)), vh)
    if x.shape[-1] > n:
        rest = gvh / column
        y = y + _mn.matmul(u, rest - _mn.matmul(_mn.matmul(rest, _t(vh)), vh))
    return y


@public
def svdvals(x: Any, /) -> Any:
    def rule(x: Any, out: Sequence[Any], g: Sequence[Any]) -> Any:
        u, s, vh = np.linalg.svd(peek(x), full_matrices=False)
        left = constant(u, x.ctx) * g[0].reshape((*s.shape[:-1], 1, s.shape[-1]))
        return _mn.matmul(left, constant(vh, x.ctx))

    return _factorized(lambda a: (np.linalg.svd(a, compute_uv=False),), rule, floating(x))[0]


@public
def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """Reduced decomposition of matrices with at least as many rows as columns."""
    if mode != "reduced" or x.shape[-2] < x.shape[-1]:
        raise UnsupportedError(
            f"xp.linalg.qr of an array of shape {x.shape} with mode={mode!r} was asked for, but "
            f"only the reduced decomposition of tall or square matrices has a derivative here; "
            f"type: ug.asarray(tree, backend='torch')"
        )

    def rule(x: Any, out: Sequence[Any], g: Sequence[Any]) -> Any:
        q, r = out
        m = _mn.matmul(r, _t(g[1])) - _mn.matmul(_t(g[0]), q)
        low = constant(np.tril(np.ones(m.shape[-2:]), -1), x.ctx, x.dtype)
        half = constant(np.tril(np.ones(m.shape[-2:])), x.ctx, x.dtype)
        symmetric = m * half + _t(m * low)
        return _t(solve(r, _t(g[0] + _mn.matmul(q, symmetric))))

    return QRResult(*_factorized(lambda a: tuple(np.linalg.qr(a)), rule, floating(x)))
