"""MXNet's products of matrices and its linear algebra: ``dot``, ``linalg_*``, ``np.linalg``."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine import stop_gradient
from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad_mxnet.arrays import constant, numpy_semantics
from unigrad_mxnet.framework import mx
from unigrad_mxnet.operators.reductions import euclidean
from unigrad_mxnet.operators.table import Attributes, elementwise, operator

__all__: list[str] = []


def _transposed(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _turned(x: Any, turn: bool) -> Any:
    return _transposed(x) if turn else x


# -------------------------------------------------------------------- products


@operator("dot")
def _dot(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """The last axis of the first with the first axis of the second, or the other ends."""
    x, y = xs
    axes = (0 if attrs.flag("transpose_a") else -1, -1 if attrs.flag("transpose_b") else 0)
    if x.ndim == y.ndim == 1:
        return [np.dot(x, y).reshape((1,))]
    if x.ndim == y.ndim == 2:
        return [(x.T if axes[0] == 0 else x) @ (y.T if axes[1] == -1 else y)]
    return [np.tensordot(x, y, axes=((axes[0],), (axes[1],)))]


elementwise("_np_dot", np.dot)
elementwise("_npi_matmul", np.matmul)


@operator("batch_dot", "_npx_batch_dot")
def _batch_dot(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, y = xs
    return [_turned(x, attrs.flag("transpose_a")) @ _turned(y, attrs.flag("transpose_b"))]


@operator("_npi_tensordot")
def _tensordot(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    axes = attrs.shape("a_axes_summed", ()), attrs.shape("b_axes_summed", ())
    return [np.tensordot(xs[0], xs[1], axes=axes)]


@operator("_npi_tensordot_int_axes")
def _tensordot_int(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.tensordot(xs[0], xs[1], axes=attrs.integer("axes"))]


@operator("_npi_einsum")
def _einsum(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.einsum(attrs["subscripts"], *xs)]


@operator("khatri_rao")
def _khatri_rao(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    y = xs[0]
    for x in xs[1:]:
        y = (y[:, None, :] * x[None, :, :]).reshape((-1, y.shape[1]))
    return [y]


@operator("_npi_polyval")
def _polyval(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    p, x = xs
    y = x * 0
    for k in range(p.shape[0]):
        y = y * x + p[k]
    return [y]


# -------------------------------------------------------------------- linalg_*


def _aside(xs: list[Any], attrs: Attributes) -> tuple[list[Any], int]:
    """The matrices' rows moved to the last axis but one."""
    axis = attrs.integer("axis", -2)
    return [x if axis in (-2, x.ndim - 2) else np.moveaxis(x, axis, -2) for x in xs], axis


def _back(y: Any, axis: int) -> Any:
    return y if axis in (-2, y.ndim - 2) else np.moveaxis(y, -2, axis)


def _product(x: Any, y: Any, attrs: Attributes) -> Any:
    x, y = _turned(x, attrs.flag("transpose_a")), _turned(y, attrs.flag("transpose_b"))
    return attrs.real("alpha", 1.0) * (x @ y)


@operator("_linalg_gemm", "linalg_gemm")
def _gemm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    (x, y, z), axis = _aside(xs, attrs)
    return [_back(_product(x, y, attrs) + attrs.real("beta", 1.0) * z, axis)]


@operator("_linalg_gemm2", "linalg_gemm2")
def _gemm2(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    (x, y), axis = _aside(xs, attrs)
    return [_back(_product(x, y, attrs), axis)]


def _triangle(x: Any, attrs: Attributes) -> Any:
    return np.tril(x) if attrs.flag("lower", True) else np.triu(x)


@operator("_linalg_potrf", "linalg_potrf")
def _potrf(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    factor = np.linalg.cholesky(xs[0])
    return [factor if attrs.flag("lower", True) else _transposed(factor)]


@operator("_npi_cholesky")
def _cholesky(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return _potrf(xs, attrs, training)


@operator("_linalg_potri", "linalg_potri")
def _potri(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    t = _triangle(xs[0], attrs)
    lower = attrs.flag("lower", True)
    return [np.linalg.inv(t @ _transposed(t) if lower else _transposed(t) @ t)]


@operator("_linalg_trsm", "linalg_trsm")
def _trsm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    a = _turned(_triangle(xs[0], attrs), attrs.flag("transpose"))
    b = attrs.real("alpha", 1.0) * xs[1]
    if attrs.flag("rightside"):
        return [_transposed(np.linalg.solve(_transposed(a), _transposed(b)))]
    return [np.linalg.solve(a, b)]


@operator("_linalg_trmm", "linalg_trmm")
def _trmm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    a = _turned(_triangle(xs[0], attrs), attrs.flag("transpose"))
    b = attrs.real("alpha", 1.0) * xs[1]
    return [b @ a if attrs.flag("rightside") else a @ b]


@operator("_linalg_syrk", "linalg_syrk")
def _syrk(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    a = _turned(xs[0], attrs.flag("transpose"))
    return [attrs.real("alpha", 1.0) * (a @ _transposed(a))]


@operator("_linalg_gelqf", "linalg_gelqf")
def _gelqf(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    q, r = np.linalg.qr(_transposed(xs[0]))
    return [_transposed(q), _transposed(r)]


@operator("_linalg_syevd", "linalg_syevd")
def _syevd(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """Eigenvectors in rows."""
    w, v = np.linalg.eigh(xs[0])
    return [_transposed(v * _signs(v, xs[0], uplo="L")), w]


def _diagonals(x: Any, offset: int = 0) -> Any:
    return np.diagonal(x, offset, -2, -1)


@operator("_linalg_sumlogdiag", "linalg_sumlogdiag")
def _sumlogdiag(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    y = np.sum(np.log(_diagonals(xs[0])), axis=-1)
    return [y.reshape((1,)) if y.ndim == 0 else y]


@operator("_linalg_extractdiag", "linalg_extractdiag")
def _extractdiag(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_diagonals(xs[0], attrs.integer("offset", 0))]


def _placed(x: Any, rows: Any, columns: Any, n: int) -> Any:
    """Zeros (n, n) with the entries of the last axis at these places."""
    out = np.zeros_like(x, shape=(*x.shape[:-1], n, n))
    out[..., rows, columns] = x
    return out


@operator("_linalg_makediag", "linalg_makediag")
def _makediag(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, offset = xs[0], attrs.integer("offset", 0)
    places = np.arange(x.shape[-1])
    rows, columns = places + max(-offset, 0), places + max(offset, 0)
    return [_placed(x, rows, columns, x.shape[-1] + abs(offset))]


def _trian_places(n: int, attrs: Attributes) -> tuple[Any, Any]:
    """A lower triangle by rows, an upper one by columns."""
    offset = attrs.integer("offset", 0)
    if offset < 0 or (offset == 0 and attrs.flag("lower", True)):
        return np.tril_indices(n, offset)
    columns, rows = np.tril_indices(n, -offset)
    return rows, columns


@operator("_linalg_extracttrian", "linalg_extracttrian")
def _extracttrian(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    rows, columns = _trian_places(xs[0].shape[-1], attrs)
    return [xs[0][..., rows, columns]]


@operator("_linalg_maketrian", "linalg_maketrian")
def _maketrian(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x = xs[0]
    n = abs(attrs.integer("offset", 0))
    side = next(k for k in range(x.shape[-1] + 1) if k * (k + 1) // 2 == x.shape[-1])
    rows, columns = _trian_places(side + n, attrs)
    return [_placed(x, rows, columns, side + n)]


@operator("_linalg_inverse", "linalg_inverse", "_npi_inv")
def _inverse(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.linalg.inv(xs[0])]


@operator("_linalg_det", "linalg_det")
def _det(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    y = np.linalg.det(xs[0])
    return [y.reshape((1,)) if y.ndim == 0 else y]


@operator("_linalg_slogdet", "linalg_slogdet")
def _slogdet(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [y.reshape((1,)) if y.ndim == 0 else y for y in np.linalg.slogdet(xs[0])]


# -------------------------------------------------------------------- np.linalg

elementwise("_npi_det", np.linalg.det)
elementwise("_npi_pinv", lambda a, rcond: np.linalg.pinv(a, rcond))


@operator("_npi_slogdet")
def _np_slogdet(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return list(np.linalg.slogdet(xs[0]))


@operator("_npi_pinv_scalar_rcond")
def _pinv(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.linalg.pinv(xs[0], attrs.real("rcond", 1e-15))]


@operator("_npi_solve")
def _solve(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    a, b = xs
    if b.ndim == a.ndim - 1:
        return [np.linalg.solve(a, b[..., None])[..., 0]]
    return [np.linalg.solve(a, b)]


def _mxnet_signs(vectors: Any, x: Any, uplo: str | None) -> Any:
    """1 or -1 for each column of ``vectors``, so that it is the one that MXNet gives for ``x``."""
    with mx.autograd.pause(), numpy_semantics():
        linalg, a = mx.np.linalg, constant(np.asarray(x))
        found = (linalg.svd(a)[0] if uplo is None else linalg.eigh(a, uplo)[1]).asnumpy()
    return np.where(np.sum(found * vectors, axis=-2, keepdims=True) < 0, -1, 1).astype(x.dtype)


_constant_signs = primitive(Rule("signs of MXNet's vectors", [None, None]), _mxnet_signs)


def _signs(vectors: Any, x: Any, uplo: str | None) -> Any:
    return _constant_signs(stop_gradient(vectors), stop_gradient(x), uplo=uplo)


@operator("_npi_svd")
def _svd(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    u, s, v = np.linalg.svd(xs[0], full_matrices=False)
    signs = _signs(u, xs[0], uplo=None)
    return [u * signs, s, v * _transposed(signs)]


@operator("_npi_eigh")
def _eigh(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    uplo: Any = attrs.text("UPLO", "L")
    w, v = np.linalg.eigh(xs[0], uplo)
    return [w, v * _signs(v, xs[0], uplo=uplo)]


@operator("_npi_eigvalsh")
def _eigvalsh(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    uplo: Any = attrs.text("UPLO", "L")
    return [np.linalg.eigvalsh(xs[0], uplo)]


@operator("_npi_tensorinv")
def _tensorinv(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.linalg.tensorinv(xs[0], attrs.integer("ind", 2))]


@operator("_npi_tensorsolve")
def _tensorsolve(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.linalg.tensorsolve(xs[0], xs[1], attrs.shape("a_axes", ()) or None)]


@operator("_npi_norm")
def _np_norm(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """By MXNet's flag: -2 and 1 the root of the sum of squares, 2 nuclear, 0 spectral."""
    x, order, flag = xs[0], attrs.real("ord", 2.0), attrs.integer("flag", -1)
    axis, keepdims = attrs.shape("axis"), attrs.flag("keepdims")
    axes = tuple(range(x.ndim)) if axis is None else tuple(k % x.ndim for k in axis)
    if flag in (-2, 1):
        y = euclidean(x, axes)
    elif flag == 2:
        y = np.linalg.norm(x, "nuc", axis=axes)
    else:
        y = np.linalg.norm(x, order, axis=axes if len(axes) > 1 else axes[0])
    if keepdims:
        y = y.reshape(tuple(1 if k in axes else n for k, n in enumerate(x.shape)))
    return [y]
