"""Rules of numpy.linalg: solving, determinants, factorisations, norms.

Functions of a Hermitian matrix (cholesky, eigh) get the Hermitian part of the gradient.
Determinants are differentiated at singular matrices too; factors at repeated eigenvalues are
infinite or nan, since the derivative does not exist there.
Giles (2008), "Collected matrix derivative results"; Seeger et al. (2017), arXiv:1710.08717.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Rule, apply
from unigrad.engine.rules.elementwise import conjugate, quotient
from unigrad.engine.rules.products import adjoint
from unigrad.engine.rules.reductions import spread
from unigrad.engine.table import composite, function
from unigrad.errors import TracingError

__all__: list[str] = []

_NEW_NUMPY = int(np.__version__.partition(".")[0]) >= 2


def _hermitian(x: Any) -> Any:
    return 0.5 * (x + adjoint(x))


def _diagonal_of(x: Any) -> Any:
    return np.diagonal(x, 0, -2, -1)


def _as_diagonal(x: Any) -> Any:
    return x[..., None] * np.eye(x.shape[-1], dtype=x.dtype)


# ------------------------------------------------------------------------- solving


def _pull_solve(g: Any, ans: Any, a: Any, b: Any) -> Any:
    to_b = np.linalg.solve(adjoint(a), g)
    return -(to_b @ adjoint(ans)), to_b


_SOLVE = Rule("linalg.solve", joint=_pull_solve)


@composite("linalg.solve")
def _solve(a: Any, b: Any) -> Any:
    vector = np.ndim(b) == 1 if _NEW_NUMPY else np.ndim(b) == np.ndim(a) - 1
    columns = np.reshape(b, (*np.shape(b), 1)) if vector else b
    x = apply(_SOLVE, np.linalg.solve, (a, columns))
    return x[..., 0] if vector else x


function("linalg.inv", "a", lambda g, ans, a: -(adjoint(ans) @ g @ adjoint(ans)))


@composite("linalg.pinv")
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    s = np.linalg.svd(a, full_matrices=False)[1]
    limit = 1e-15 if rcond is None and rtol is None else (rcond if rtol is None else rtol)
    large = s > np.asarray(limit)[..., None] * np.max(s, axis=-1, keepdims=True)
    if not np.all(large):
        raise TracingError(
            "numpy.linalg.pinv of a matrix without full rank has no derivative; "
            "cut off small singular values by hand, or use numpy.linalg.solve"
        )
    if np.shape(a)[-2] >= np.shape(a)[-1]:
        return np.linalg.solve(adjoint(a) @ a, adjoint(a))
    return adjoint(np.linalg.solve(a @ adjoint(a), a))


@composite("linalg.matrix_power")
def _matrix_power(a: Any, n: int) -> Any:
    if n < 0:
        return np.linalg.matrix_power(np.linalg.inv(a), -n)
    if n == 0:
        return np.zeros_like(a) + np.eye(np.shape(a)[-1], dtype=a.dtype)
    half = np.linalg.matrix_power(a, n // 2) if n > 1 else None
    if half is None:
        return a
    return half @ half @ a if n % 2 else half @ half


@composite("linalg.multi_dot")
def _multi_dot(arrays: Any, *, out: Any = None) -> Any:
    product = arrays[0]
    for a in arrays[1:]:
        product = np.matmul(product, a)
    return product


# ------------------------------------------------------------------------- determinants


def _adjugate(a: Any) -> Any:
    """The matrix of cofactors, transposed, by Faddeev and LeVerrier: a polynomial in ``a``."""
    n = a.shape[-1]
    eye = np.eye(n, dtype=a.dtype)
    m = np.zeros_like(a) + eye
    for k in range(1, n):
        am = a @ m
        m = am - eye * (np.sum(_diagonal_of(am), axis=-1) / k)[..., None, None]
    return m if n % 2 else -m


def _pull_det(g: Any, ans: Any, a: Any) -> Any:
    if np.any(ans == 0):
        return g[..., None, None] * adjoint(_adjugate(a))
    return (g * conjugate(ans))[..., None, None] * adjoint(np.linalg.inv(a))


function("linalg.det", "a", _pull_det)


def _pull_slogdet(g: Any, ans: Any, a: Any) -> Any:
    to_sign, to_log = g
    slope: Any = 0.0
    if to_log is not None:
        slope = slope + to_log
    if to_sign is not None and np.iscomplexobj(a):
        slope = slope - np.imag(conjugate(to_sign) * ans[0]) * 1j
    slope = np.zeros(a.shape[:-2]) + slope
    return slope[..., None, None] * adjoint(np.linalg.inv(a))


function("linalg.slogdet", "a", _pull_slogdet)

# ------------------------------------------------------------------------- factorisations


def _pull_cholesky(g: Any, ans: Any, a: Any, upper: bool = False) -> Any:
    factor, g = (adjoint(ans), adjoint(g)) if upper else (ans, g)
    inner = adjoint(factor) @ g
    halved = np.tril(inner) - 0.5 * _as_diagonal(_diagonal_of(inner))
    right = adjoint(np.linalg.solve(adjoint(factor), adjoint(halved)))
    return _hermitian(np.linalg.solve(adjoint(factor), right))


function("linalg.cholesky", "a upper", _pull_cholesky)


def _gaps(w: Any) -> Any:
    """``w_j - w_i`` off the diagonal, and 1 on it."""
    return w[..., None, :] - w[..., :, None] + np.eye(w.shape[-1], dtype=w.dtype)


def _off_diagonal(n: int) -> Any:
    return 1.0 - np.eye(n)


def _pull_eigh(g: Any, ans: Any, a: Any, UPLO: str = "L") -> Any:
    to_w, to_v = g
    w, v = ans
    middle: Any = 0.0
    if to_v is not None:
        turned = adjoint(v) @ to_v
        middle = turned / _gaps(w) * _off_diagonal(w.shape[-1])
    if to_w is not None:
        middle = middle + _as_diagonal(to_w)
    return _hermitian(v @ middle @ adjoint(v))


function("linalg.eigh", "a UPLO", _pull_eigh)


@composite("linalg.eigvalsh")
def _eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return np.linalg.eigh(a, UPLO)[0]  # type: ignore[call-overload]


def _skew(x: Any) -> Any:
    return x - adjoint(x)


def _pull_svd(g: Any, ans: Any, a: Any, **_: Any) -> Any:
    to_u, to_s, to_vh = g
    u, s, vh = ans
    n = s.shape[-1]
    middle: Any = 0.0 if to_s is None else _as_diagonal(to_s)
    off = _off_diagonal(n)
    gaps = (s[..., None, :] - s[..., :, None]) * (s[..., None, :] + s[..., :, None]) + np.eye(
        n, dtype=s.dtype
    )
    if to_u is not None:
        turned = _skew(adjoint(u) @ to_u)
        middle = middle + turned / gaps * off * s[..., None, :]
        if np.iscomplexobj(a):
            phases = 1j * np.imag(_diagonal_of(adjoint(u) @ to_u)) / s
            middle = middle + _as_diagonal(phases)
    if to_vh is not None:
        turned = _skew(vh @ adjoint(to_vh))
        middle = middle + s[..., :, None] * (turned / gaps * off)
    out = u @ (middle @ vh)
    if to_u is not None and a.shape[-2] > n:
        rest = to_u / s[..., None, :]
        out = out + (rest - u @ (adjoint(u) @ rest)) @ vh
    if to_vh is not None and a.shape[-1] > n:
        rest = to_vh / s[..., :, None]
        out = out + u @ (rest - (rest @ adjoint(vh)) @ vh)
    return out


def _pull_completion(g: Any, ans: Any, a: Any, **_: Any) -> Any:
    if np.any(g != 0):
        raise TracingError(
            "numpy.linalg.svd(a, full_matrices=True) of a matrix that is not square has columns "
            "without a derivative; type: numpy.linalg.svd(a, full_matrices=False)"
        )


_SVD = Rule("linalg.svd", [_pull_svd])
_COMPLETION = Rule("linalg.svd", [_pull_completion])


def _completion(a: Any, left: bool) -> Any:
    """The singular vectors that a thin factorisation lacks."""
    u, s, vh = np.linalg.svd(a)
    n = s.shape[-1]
    return u[..., :, n:] if left else vh[..., n:, :]


@composite("linalg.svd")
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    if not compute_uv:
        return np.linalg.svd(a, full_matrices=False)[1]
    factors = apply(_SVD, np.linalg.svd, (a,), {"full_matrices": False})
    rows, columns = np.shape(a)[-2:]
    if not full_matrices or rows == columns:
        return factors
    u, s, vh = factors
    rest = apply(_COMPLETION, _completion, (a,), {"left": rows > columns})
    if rows > columns:
        u = np.concatenate([u, rest], axis=-1)
    else:
        vh = np.concatenate([vh, rest], axis=-2)
    return (u, s, vh) if type(factors) is tuple else type(factors)(u, s, vh)


@composite("linalg.svdvals")
def _svdvals(x: Any, /) -> Any:
    return np.linalg.svd(x, full_matrices=False)[1]


def _pull_qr(g: Any, ans: Any, a: Any, mode: str = "reduced") -> Any:
    to_q, to_r = g
    q, r = ans
    middle: Any = 0.0
    if to_r is not None:
        middle = middle + r @ adjoint(to_r)
    if to_q is not None:
        middle = middle - adjoint(to_q) @ q
    lower = np.tril(middle, -1)
    diagonal = _as_diagonal(np.real(_diagonal_of(middle)))
    inner = q @ (lower + adjoint(lower) + diagonal)
    inner = inner if to_q is None else to_q + inner
    return adjoint(np.linalg.solve(r, adjoint(inner)))


_QR = Rule("linalg.qr", [_pull_qr])


@composite("linalg.qr")
def _qr(a: Any, mode: str = "reduced") -> Any:
    rows, columns = np.shape(a)[-2:]
    if mode == "r":
        return np.linalg.qr(a)[1]
    if mode not in ("reduced", "complete") or (mode == "complete" and rows > columns):
        raise TracingError(
            f"numpy.linalg.qr(a, mode={mode!r}) has no derivative here; type: mode='reduced'"
        )
    if rows >= columns:
        return apply(_QR, np.linalg.qr, (a,), {"mode": mode})
    result = apply(_QR, np.linalg.qr, (a[..., :rows],), {"mode": "reduced"})
    q, r = result
    wide = np.concatenate([r, adjoint(q) @ a[..., rows:]], axis=-1)
    return (q, wide) if type(result) is tuple else type(result)(q, wide)


# ------------------------------------------------------------------------- norms


def _pull_norm(g: Any, ans: Any, x: Any, axis: Any = None, **_: Any) -> Any:
    return x * spread(quotient(g, ans), x, axis)


_EUCLIDEAN = Rule("linalg.norm", [_pull_norm])


@composite("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if axis is None and ord is None:
        out = apply(_EUCLIDEAN, np.linalg.norm, (np.ravel(x),))
        return np.reshape(out, (1,) * np.ndim(x)) if keepdims else out
    if axis is None:
        axis = (0,) if np.ndim(x) == 1 else (0, 1)
        if np.ndim(x) > 2:
            raise ValueError("Improper number of dimensions to norm.")
    axis = (int(axis),) if isinstance(axis, (int, np.integer)) else tuple(axis)
    if len(axis) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axis, keepdims)
    return _matrix_norm(x, "fro" if ord is None else ord, axis, keepdims)


def _vector_norm(x: Any, ord: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    options: dict[str, Any] = {"axis": axis, "keepdims": keepdims}
    if ord == 2:
        if len(axis) > 2:
            return np.linalg.norm(_flattened(x, axis, keepdims), axis=-1)
        return apply(_EUCLIDEAN, np.linalg.norm, (x,), options)
    if ord == np.inf:
        return np.max(np.abs(x), **options)
    if ord == -np.inf:
        return np.min(np.abs(x), **options)
    if ord == 0:
        return np.sum((x != 0).astype(np.abs(x).dtype), **options)
    if ord == 1:
        return np.sum(np.abs(x), **options)
    return np.sum(np.abs(x) ** ord, **options) ** (1.0 / ord)


def _flattened(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    ndim = len(x.shape)
    last = [i % ndim for i in axis]
    order = [i for i in range(ndim) if i not in last] + last
    kept = [1 if i in last else n for i, n in enumerate(x.shape)]
    first = kept if keepdims else [n for i, n in enumerate(x.shape) if i not in last]
    return np.reshape(np.transpose(x, order), (*first, -1))


def _matrix_norm(x: Any, ord: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    if ord == "fro":
        return apply(_EUCLIDEAN, np.linalg.norm, (x,), {"axis": axis, "keepdims": keepdims})
    matrices = np.moveaxis(x, axis, (-2, -1))
    if ord in ("nuc", 2, -2):
        s = np.linalg.svd(matrices, full_matrices=False)[1]
        by_ord: dict[Any, Any] = {"nuc": np.sum, 2: np.max, -2: np.min}
        out = by_ord[ord](s, axis=-1)
    elif ord in (1, -1, np.inf, -np.inf):
        sums = np.sum(np.abs(matrices), axis=-2 if ord in (1, -1) else -1)
        out = np.max(sums, axis=-1) if ord > 0 else np.min(sums, axis=-1)
    else:
        raise ValueError(f"Invalid norm order {ord!r} for matrices.")
    if keepdims:
        kept = [1 if i in {a % np.ndim(x) for a in axis} else n for i, n in enumerate(x.shape)]
        out = np.reshape(out, kept)
    return out


@composite("linalg.vector_norm")
def _standard_vector_norm(
    x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2
) -> Any:
    axis = tuple(range(np.ndim(x))) if axis is None else axis
    axis = (int(axis),) if isinstance(axis, (int, np.integer)) else tuple(axis)
    return _vector_norm(x, ord, axis, keepdims)


@composite("linalg.matrix_norm")
def _standard_matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return _matrix_norm(x, ord, (-2, -1), keepdims)
