"""``xp.linalg`` of the array API standard on tensors, and matmul, tensordot, einsum, outer.

Functions of symmetric matrices symmetrise first: their gradients are then symmetric, as in
torch and JAX; TensorFlow's own are those of the lower triangle.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from unigrad.backend import Array
from unigrad.errors import ArgumentError
from unigrad_tensorflow.promotion import operands, tensor
from unigrad_tensorflow.reductions import vecdot
from unigrad_tensorflow.shaping import matrix_transpose

__all__ = [
    "cholesky", "det", "diagonal", "eigh", "eigvalsh", "einsum", "inv", "matmul", "matrix_norm",
    "matrix_transpose", "outer", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot", "trace",
    "vecdot", "vector_norm",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


class EighResult(NamedTuple):
    """Eigenvalues in ascending order, eigenvectors in columns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Orthonormal columns, upper triangle."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """Sign of the determinant, logarithm of its absolute value."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """``x = U @ diag(S) @ Vh``."""

    U: Array
    S: Array
    Vh: Array


def matmul(x1: Any, x2: Any, /) -> Array:
    """Matrix product; one-dimensional operands are rows and columns, as in NumPy."""
    a, b = operands(x1, x2)
    row, column = a.shape.rank == 1, b.shape.rank == 1
    if row and column:
        return tf.reduce_sum(a * b)
    if column:
        return tf.linalg.matvec(a, b)
    if row:
        return tf.squeeze(tf.matmul(a[None, :], b), axis=-2)
    return tf.matmul(a, b)


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Array:
    """Sum of products over pairs of axes."""
    a, b = operands(x1, x2)
    return tf.tensordot(a, b, axes)


def einsum(subscripts: str, /, *arrays: Any) -> Array:
    """Einstein summation; an extra beyond the standard."""
    return tf.einsum(subscripts, *operands(*arrays))


def outer(x1: Any, x2: Any, /) -> Array:
    """``x1[i] * x2[j]``."""
    a, b = operands(x1, x2)
    return a[:, None] * b[None, :]


def solve(x1: Any, x2: Any, /) -> Array:
    """``x`` of ``x1 @ x = x2``; a one-dimensional ``x2`` is one right-hand side."""
    a, b = operands(x1, x2)
    if b.shape.rank == 1:
        return tf.squeeze(solve(a, b[:, None]), axis=-1)
    lead = tf.broadcast_dynamic_shape(tf.shape(a)[:-2], tf.shape(b)[:-2])
    if a.shape[:-2] != b.shape[:-2]:
        a = tf.broadcast_to(a, tf.concat([lead, tf.shape(a)[-2:]], 0))
        b = tf.broadcast_to(b, tf.concat([lead, tf.shape(b)[-2:]], 0))
    return tf.linalg.solve(a, b)


def inv(x: Any, /) -> Array:
    """Inverse matrix."""
    return tf.linalg.inv(tensor(x))


def det(x: Any, /) -> Array:
    """Determinant."""
    return tf.linalg.det(tensor(x))


def slogdet(x: Any, /) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant."""
    return SlogdetResult(*tf.linalg.slogdet(tensor(x)))


def _symmetric(x: Any) -> Array:
    x = tensor(x)
    return (x + tf.linalg.adjoint(x)) / 2


def cholesky(x: Any, /, *, upper: bool = False) -> Array:
    """Lower triangle ``L`` of ``x = L @ L^H``; its adjoint where ``upper`` is set."""
    lower = tf.linalg.cholesky(_symmetric(x))
    return tf.linalg.adjoint(lower) if upper else lower


def eigh(x: Any, /) -> EighResult:
    """Eigenvalues and eigenvectors of a symmetric or Hermitian matrix."""
    values, vectors = tf.linalg.eigh(_symmetric(x))
    return EighResult(_real(values), vectors)


def eigvalsh(x: Any, /) -> Array:
    """Eigenvalues of a symmetric or Hermitian matrix."""
    return _real(tf.linalg.eigvalsh(_symmetric(x)))


def _real(x: Array) -> Array:
    return tf.math.real(x) if x.dtype.is_complex else x


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular value decomposition."""
    s, u, v = tf.linalg.svd(tensor(x), full_matrices=full_matrices)
    return SVDResult(u, s, tf.linalg.adjoint(v))


def svdvals(x: Any, /) -> Array:
    """Singular values, largest first."""
    return tf.linalg.svd(tensor(x), full_matrices=False)[0]


def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """QR decomposition."""
    q, r = tf.linalg.qr(tensor(x), full_matrices=mode == "complete")
    return QRResult(q, r)


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """Entries of the ``offset``-th diagonal of the last two axes."""
    return tf.linalg.diag_part(tensor(x), k=offset)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """Sum of `diagonal`."""
    return tf.reduce_sum(diagonal(tensor(x, dtype), offset=offset), axis=-1)


def vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Array:
    """``(sum |x|^ord)^(1/ord)`` over ``axis``; the derivative of the 2-norm at 0 is 0."""
    x = tensor(x)
    size = tf.abs(x)
    if ord == 2:
        squares = tf.square(x) if not x.dtype.is_complex else _real(x * tf.math.conj(x))
        return _root(tf.reduce_sum(squares, axis=axis, keepdims=keepdims))
    if ord == 1:
        return tf.reduce_sum(size, axis=axis, keepdims=keepdims)
    if ord == float("inf"):
        return tf.reduce_max(size, axis=axis, keepdims=keepdims)
    if ord == float("-inf"):
        return tf.reduce_min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        counted = tf.cast(tf.not_equal(size, 0), size.dtype)
        return tf.reduce_sum(counted, axis=axis, keepdims=keepdims)
    power = tf.reduce_sum(size**ord, axis=axis, keepdims=keepdims)
    return power ** (1.0 / ord)


def _root(x: Array) -> Array:
    # The slope of sqrt at 0 is infinite, and infinity times the zero behind it is nan.
    zero = tf.equal(x, 0)
    return tf.where(zero, tf.zeros_like(x), tf.sqrt(tf.where(zero, tf.ones_like(x), x)))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """Norm of the last two axes: ``"fro"``, ``"nuc"``, ±1, ±2 or ±inf."""
    x = tensor(x)
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        s = svdvals(x)
        norm = {"nuc": tf.reduce_sum, 2: tf.reduce_max, -2: tf.reduce_min}[ord](s, axis=-1)
    elif ord in (1, -1, float("inf"), float("-inf")):
        sums = tf.reduce_sum(tf.abs(x), axis=-2 if ord in (1, -1) else -1)
        norm = tf.reduce_max(sums, axis=-1) if ord > 0 else tf.reduce_min(sums, axis=-1)
    else:
        raise ArgumentError(
            f"matrix_norm was asked for ord={ord!r}; type one of 'fro', 'nuc', 1, -1, 2, -2, "
            f"inf, -inf"
        )
    return norm[..., None, None] if keepdims else norm
