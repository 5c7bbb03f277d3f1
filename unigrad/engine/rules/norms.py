"""Rules of norms and condition numbers.

At kinks: every norm of zero has derivative 0, ties share it evenly, and singular values that
are zero up to rounding have none in the nuclear norm. The nuclear norm is differentiated by the
polar factor, so that repeated singular values are points like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply
from unigrad.engine.rules.elementwise import quotient
from unigrad.engine.rules.products import adjoint
from unigrad.engine.rules.reductions import spread
from unigrad.engine.table import composite

__all__: list[str] = []


def _pull_norm(g: Any, ans: Any, x: Any, axis: Any = None, **_: Any) -> Any:
    return x * spread(quotient(g, ans), x, axis)


_EUCLIDEAN = Rule("linalg.norm", [_pull_norm])


def _axes(axis: Any) -> tuple[int, ...]:
    return (int(axis),) if isinstance(axis, (int, np.integer)) else tuple(int(i) for i in axis)


@composite("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    ndim = np.ndim(x)
    if axis is None and ord is None:
        return _over_all(x, 2, keepdims)
    if axis is None:
        if ndim not in (1, 2):
            raise ValueError("Improper number of dimensions to norm.")
        axis = range(ndim)
    axis = _axes(axis)
    if len(axis) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axis, keepdims)
    if len(axis) == 2:
        return _matrix_norm(x, "fro" if ord is None else ord, axis, keepdims)
    raise ValueError("Improper number of dimensions to norm.")


def _over_all(x: Any, ord: Any, keepdims: bool) -> Any:
    flat = np.ravel(x)
    if ord == 2:
        out = apply(_EUCLIDEAN, np.linalg.norm, (flat,))
    else:
        out = _vector_norm(flat, ord, (0,), False)
    return np.reshape(out, (1,) * np.ndim(x)) if keepdims else out


def _vector_norm(x: Any, ord: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    options: dict[str, Any] = {"axis": axis, "keepdims": keepdims}
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order {ord!r} for vectors")
    if len(axis) != 1:
        return _vector_norm(_flattened(x, axis, keepdims), ord, (-1,), False)
    if ord == 2:
        return apply(_EUCLIDEAN, np.linalg.norm, (x,), options)
    size = np.abs(x)
    if ord == np.inf:
        return np.max(size, **options)
    if ord == -np.inf:
        return np.min(size, **options)
    if ord == 0:
        return np.sum((x != 0).astype(size.dtype), **options)
    if ord == 1:
        return np.sum(size, **options)
    none = np.sum(size, axis=axis, keepdims=True) == 0
    base = np.where(none, 1.0, size)
    if 0 < ord < 1:  # Trap: the slope of |x|^ord at 0 is infinite, and its direction 0.
        gone = size == 0
        powers = np.where(gone, 0.0, np.where(gone, 1.0, base) ** ord)
    else:
        powers = base**ord
    total = np.sum(np.where(none, 1.0, powers), **options)
    out = total ** (1.0 / ord)
    found = np.where(none if keepdims else none.reshape(out.shape), 0.0, out)[()]
    return found.astype(total.dtype, copy=False)  # NumPy 1: float32 ** 0.5 is float64


def _flattened(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The axes made one, the last; behind those that stay, with ones for them if kept."""
    ndim = len(x.shape)
    last = [i % ndim for i in axis]
    order = [i for i in range(ndim) if i not in last] + last
    kept = [1 if i in last else n for i, n in enumerate(x.shape)]
    first = kept if keepdims else [n for i, n in enumerate(x.shape) if i not in last]
    size = int(np.prod([x.shape[i] for i in last], dtype=np.int64))
    return np.reshape(np.transpose(x, order), (*first, size))


# ------------------------------------------------------------------------- of matrices


def _polar(a: Any) -> Any:
    """``U V^H`` of ``a = U S V^H``: without the singular values that are zero up to rounding."""
    if isinstance(a, Box):
        return apply(_POLAR, _polar, (a,))
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    limit = np.finfo(s.dtype).eps * max(a.shape[-2:]) * s[..., :1]
    return (u * (s > limit)[..., None, :]) @ vh


def _lyapunov(h: Any, c: Any) -> Any:
    """The ``x`` of ``h x + x h = c``, for a Hermitian ``h``."""
    if isinstance(h, Box) or isinstance(c, Box):
        return apply(_LYAPUNOV, _lyapunov, (h, c))
    w, v = np.linalg.eigh(h)
    vh = adjoint(v)
    return v @ ((vh @ c @ v) / (w[..., None, :] + w[..., :, None])) @ vh


def _pull_lyapunov(g: Any, ans: Any, h: Any, c: Any) -> Any:
    to_c = _lyapunov(h, g)
    return -(to_c @ adjoint(ans) + adjoint(ans) @ to_c), to_c


_LYAPUNOV = Rule("linalg.norm(a, 'nuc')", joint=_pull_lyapunov)


def _pull_polar(g: Any, ans: Any, a: Any) -> Any:
    rows, columns = a.shape[-2:]
    if rows < columns:
        return adjoint(_pull_polar(adjoint(g), adjoint(ans), adjoint(a)))
    stretch, turned = adjoint(ans) @ a, adjoint(ans) @ g
    out = ans @ _lyapunov(stretch, turned - adjoint(turned))
    if rows == columns:
        return out
    return out + adjoint(np.linalg.solve(stretch, adjoint(g - ans @ turned)))


_POLAR = Rule("linalg.norm(a, 'nuc')", [_pull_polar])


def _nuclear(a: Any) -> Any:
    return np.linalg.norm(a, "nuc", axis=(-2, -1))


_NUCLEAR = Rule("linalg.norm(a, 'nuc')", [lambda g, ans, a: g[..., None, None] * _polar(a)])


def _matrix_norm(x: Any, ord: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    if ord in ("fro", "f"):
        return apply(_EUCLIDEAN, np.linalg.norm, (x,), {"axis": axis, "keepdims": keepdims})
    matrices = np.moveaxis(x, axis, (-2, -1))
    if ord == "nuc":
        out = apply(_NUCLEAR, _nuclear, (matrices,))
    elif ord in (2, -2):
        s = np.linalg.svd(matrices, full_matrices=False)[1]
        s = np.where(s == 0, 0.0, s)  # no slope, rather than that of some vectors
        out = np.max(s, axis=-1) if ord == 2 else np.min(s, axis=-1)
    elif ord in (1, -1, np.inf, -np.inf):
        sums = np.sum(np.abs(matrices), axis=-2 if ord in (1, -1) else -1)
        out = np.max(sums, axis=-1) if ord > 0 else np.min(sums, axis=-1)
    else:
        raise ValueError("Invalid norm order for matrices.")
    if keepdims:
        kept = [1 if i in {a % np.ndim(x) for a in axis} else n for i, n in enumerate(x.shape)]
        out = np.reshape(out, kept)
    return out


@composite("linalg.vector_norm")
def _standard_vector_norm(
    x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2
) -> Any:
    if axis is None:
        return _over_all(x, ord, keepdims)
    return _vector_norm(x, ord, _axes(axis), keepdims)


@composite("linalg.matrix_norm")
def _standard_matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return _matrix_norm(x, ord, (-2, -1), keepdims)


@composite("linalg.cond")
def _cond(x: Any, p: Any = None) -> Any:
    if p in (None, 2, -2):
        s = np.linalg.svd(x, full_matrices=False)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    axes = (-2, -1)
    return np.linalg.norm(x, p, axis=axes) * np.linalg.norm(np.linalg.inv(x), p, axis=axes)
