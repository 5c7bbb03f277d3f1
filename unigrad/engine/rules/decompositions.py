"""Rules of factorisations: cholesky, eigh, eig, svd, qr.

A Hermitian matrix gets the Hermitian part of the gradient. Values alone are differentiated at
repeated ones too; vectors of values that are equal up to rounding have no derivative, and get
nan or inf, never the ratio of two rounding errors.
Gauge: eig follows LAPACK's (norm 1, largest entry real). Phases of complex vectors of eigh and
svd, and columns that complete a basis, are arbitrary: what depends on them is refused backwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply, primal
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.linear_algebra import as_diagonal, diagonal_of, hermitian_part
from unigrad.engine.rules.products import adjoint
from unigrad.engine.table import composite, function
from unigrad.errors import TracingError

__all__: list[str] = []


def _pull_cholesky(g: Any, ans: Any, a: Any, upper: bool = False) -> Any:
    factor, g = (adjoint(ans), adjoint(g)) if upper else (ans, g)
    inner = adjoint(factor) @ g
    halved = np.tril(inner) - 0.5 * as_diagonal(diagonal_of(inner))
    right = adjoint(np.linalg.solve(adjoint(factor), adjoint(halved)))
    return hermitian_part(np.linalg.solve(adjoint(factor), right))


function("linalg.cholesky", "a upper", _pull_cholesky)


# ------------------------------------------------------------------------- repeated values


def _gaps(w: Any) -> Any:
    """``w_j - w_i``."""
    return w[..., None, :] - w[..., :, None]


def _per_gap(w: Any, gaps: Any) -> Any:
    """``1 / gaps``, which vanish where ``w_i = w_j``: 0 for i = j, nan for equals, and inf where
    they differ by rounding only."""
    apart, plain_gaps, size = np.abs(primal(_gaps(w))), primal(gaps), np.abs(primal(w))
    near = apart <= np.finfo(size.dtype).eps * np.sum(size, axis=-1)[..., None, None]
    same = np.eye(size.shape[-1], dtype=bool)
    held = np.logical_or(near, plain_gaps == 0)
    special = np.where(same, 0.0, np.where(plain_gaps == 0, np.nan, np.inf)).astype(size.dtype)
    return np.where(held, special, 1.0 / np.where(held, 1.0, gaps))


def _scaled(x: Any, f: Any) -> Any:
    """``x * f``, for the factors of `_per_gap`: nothing times inf is nothing.

    Trap: the vectors of a null space, which nobody uses, have cotangent 0 and factor inf, but
    log(a) at the unit matrix has 0 / 0, and must not be 0: equals have factor nan.
    """
    if isinstance(x, Box) or isinstance(f, Box):
        return apply(_SCALED, _scaled, (x, f))
    return x * np.where(np.isinf(f), np.where(x == 0, 0.0, np.nan), f)


_SCALED = Rule(
    "a factor of repeated eigenvalues",
    [
        lambda g, ans, x, f: _scaled(g, conjugate(f)),
        lambda g, ans, x, f: g * conjugate(x),
    ],
)


# ------------------------------------------------------------------------- arbitrary choices

PHASES = (
    "depends on the phases of complex vectors of numpy.linalg.{name}, which are arbitrary; use "
    "what does not, such as numpy.abs(v) or v @ v.conj().T"
)
COMPLETION = (
    "depends on how numpy.linalg.{name} completes a basis, which is arbitrary; use the thin "
    "factors, by full_matrices=False or mode='reduced', or q @ q.conj().T of the added columns q"
)


def _invariant(g: Any, turning: Any, complaint: str) -> Any:
    """``g``, if what it comes from does not change with an arbitrary choice.

    The values are looked at here, in an operation of its own, where they are plain.

    Args:
        turning: the derivatives by the choice, 0 but for rounding.
    """
    if isinstance(g, Box) or isinstance(turning, Box):
        return apply(_INVARIANT, _invariant, (g, turning), {"complaint": complaint})
    eps = np.finfo(g.dtype).eps
    limit = max(eps**0.4 * np.max(np.abs(g), initial=0.0), 1e4 * eps)
    if np.max(np.abs(turning), initial=0.0) > limit:
        raise TracingError(f"the differentiated function {complaint}")
    return g


_INVARIANT = Rule("an arbitrary choice", [lambda g, ans, x, turning, complaint: g, None])


def _turning(v: Any, g: Any, axis: int) -> Any:
    """The derivatives by the phases of vectors along an axis."""
    return np.imag(np.sum(np.conj(primal(v)) * primal(g), axis=axis))


def _completion(basis: Any, rest: Any, name: str) -> Any:
    """``rest``: columns that complete ``basis``, and turn when it turns."""
    if isinstance(basis, Box):
        return apply(_COMPLETION, _completion, (basis, rest), {"name": name})
    return rest


def _pull_completion(g: Any, ans: Any, basis: Any, rest: Any, name: str) -> Any:
    within = adjoint(primal(ans)) @ primal(g)
    g = _invariant(g, within - adjoint(within), COMPLETION.format(name=name))
    return -(ans @ (adjoint(g) @ basis))


_COMPLETION = Rule("the completion of a basis", [_pull_completion, None])


# ------------------------------------------------------------------------- eigenvalues


def _pull_eigh(g: Any, ans: Any, a: Any, UPLO: str = "L") -> Any:
    to_w, to_v = g
    w, v = ans
    middle: Any = 0.0
    if to_v is not None:
        if np.iscomplexobj(v):
            to_v = _invariant(to_v, _turning(v, to_v, -2), PHASES.format(name="eigh"))
        middle = _scaled(adjoint(v) @ to_v, _per_gap(w, _gaps(w)))
    if to_w is not None:
        middle = middle + as_diagonal(to_w)
    return hermitian_part(v @ middle @ adjoint(v))


function("linalg.eigh", "a UPLO", _pull_eigh)


@composite("linalg.eigvalsh")
def _eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return np.linalg.eigh(a, UPLO)[0]  # type: ignore[call-overload]


def _normalised(to_v: Any, v: Any) -> Any:
    """A cotangent of vectors of norm 1, whose largest entries are real, before they were so."""
    along = np.sum(conjugate(v) * to_v, axis=-2, keepdims=True)
    out = to_v - np.real(along) * v
    if not np.iscomplexobj(v):
        return out
    size = np.abs(primal(v))
    rows = np.arange(size.shape[-2])[:, None]
    largest = rows == np.argmax(size, axis=-2)[..., None, :]
    entry = np.sum(np.where(largest, np.real(v), 0.0), axis=-2, keepdims=True)
    return out - np.where(largest, 1j * (np.imag(along) / entry), 0.0)


def _pull_eig(g: Any, ans: Any, a: Any) -> Any:
    to_w, to_v = g
    w, v = ans
    middle: Any = 0.0
    if to_v is not None:
        turned = adjoint(v) @ _normalised(to_v, v)
        middle = _scaled(turned, conjugate(_per_gap(w, _gaps(w))))
    if to_w is not None:
        middle = middle + as_diagonal(to_w)
    return np.linalg.solve(adjoint(v), middle @ adjoint(v))


function("linalg.eig", "a", _pull_eig)


@composite("linalg.eigvals")
def _eigvals(a: Any) -> Any:
    return np.linalg.eig(a)[0]


# ------------------------------------------------------------------------- singular values


def _of_no_phase(to_u: Any, to_vh: Any, u: Any, vh: Any) -> tuple[Any, Any]:
    """Cotangents of complex singular vectors; ``u_j`` and ``v_j`` may turn together only."""
    complaint = PHASES.format(name="svd")
    if to_vh is None:
        return to_u if to_u is None else _invariant(to_u, _turning(u, to_u, -2), complaint), None
    turning = -_turning(vh, to_vh, -1)
    if to_u is not None:
        turning = turning + _turning(u, to_u, -2)
    return to_u, _invariant(to_vh, turning, complaint)


def _pull_svd(g: Any, ans: Any, a: Any, **_: Any) -> Any:
    to_u, to_s, to_vh = g
    u, s, vh = ans
    n = s.shape[-1]
    if np.iscomplexobj(a):
        to_u, to_vh = _of_no_phase(to_u, to_vh, u, vh)
    middle: Any = 0.0 if to_s is None else as_diagonal(to_s)
    if to_u is not None or to_vh is not None:
        per_gap = _per_gap(s, _gaps(s) * (s[..., None, :] + s[..., :, None]))
    if to_u is not None:
        turned = adjoint(u) @ to_u
        skew = turned - adjoint(turned)
        middle = middle + _scaled(skew, per_gap) * s[..., None, :]
        if np.iscomplexobj(a):
            middle = middle + as_diagonal(1j * np.imag(diagonal_of(turned)) / s)
    if to_vh is not None:
        turned = vh @ adjoint(to_vh)
        middle = middle + s[..., :, None] * _scaled(turned - adjoint(turned), per_gap)
    out = u @ (middle @ vh)
    if to_u is not None and a.shape[-2] > n:
        rest = to_u / s[..., None, :]
        out = out + (rest - u @ (adjoint(u) @ rest)) @ vh
    if to_vh is not None and a.shape[-1] > n:
        rest = to_vh / s[..., :, None]
        out = out + u @ (rest - (rest @ adjoint(vh)) @ vh)
    return out


_SVD = Rule("linalg.svd", [_pull_svd])


@composite("linalg.svd")
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    if hermitian:
        return _svd_of_hermitian(a, compute_uv)
    factors = apply(_SVD, np.linalg.svd, (a,), {"full_matrices": False})
    u, s, vh = factors
    if not compute_uv:
        return s
    rows, columns = np.shape(a)[-2:]
    if not full_matrices or rows == columns:
        return factors
    whole = np.linalg.svd(primal(a))
    if rows > columns:
        rest = _completion(u, whole[0][..., :, columns:], "svd")
        u = np.concatenate([u, rest], axis=-1)
    else:
        rest = _completion(adjoint(vh), adjoint(whole[2][..., rows:, :]), "svd")
        vh = np.concatenate([vh, adjoint(rest)], axis=-2)
    return type(factors)(u, s, vh) if type(factors) is not tuple else (u, s, vh)


def _svd_of_hermitian(a: Any, compute_uv: bool) -> Any:
    w, v = np.linalg.eigh(a)
    order = np.argsort(np.abs(primal(w)), axis=-1)[..., ::-1]
    w = np.take_along_axis(w, order, axis=-1)
    if not compute_uv:
        return np.abs(w)
    u = np.take_along_axis(v, order[..., None, :], axis=-1)
    vh = adjoint(u * np.sign(w)[..., None, :])
    kind = type(np.linalg.svd(np.eye(1)))
    return (u, np.abs(w), vh) if kind is tuple else kind(u, np.abs(w), vh)


@composite("linalg.svdvals")
def _svdvals(x: Any, /) -> Any:
    return np.linalg.svd(x, full_matrices=False)[1]


# ------------------------------------------------------------------------- qr


def _pull_qr(g: Any, ans: Any, a: Any) -> Any:
    to_q, to_r = g
    q, r = ans
    middle: Any = 0.0
    if to_r is not None:
        middle = middle + r @ adjoint(to_r)
    if to_q is not None:
        middle = middle - adjoint(to_q) @ q
    lower = np.tril(middle, -1)
    diagonal = as_diagonal(np.real(diagonal_of(middle)))
    inner = q @ (lower + adjoint(lower) + diagonal)
    inner = inner if to_q is None else to_q + inner
    return adjoint(np.linalg.solve(r, adjoint(inner)))


_QR = Rule("linalg.qr", [_pull_qr])


@composite("linalg.qr")
def _qr(a: Any, mode: str = "reduced") -> Any:
    rows, columns = np.shape(a)[-2:]
    if mode == "r":
        return np.linalg.qr(a)[1]
    if mode not in ("reduced", "complete"):
        raise TracingError(
            f"numpy.linalg.qr(a, mode={mode!r}) has no derivative here; type: mode='reduced', "
            f"'complete' or 'r'"
        )
    result = apply(_QR, np.linalg.qr, (a[..., :rows],))
    q, r = result
    if rows < columns:
        r = np.concatenate([r, adjoint(q) @ a[..., rows:]], axis=-1)
    elif rows > columns and mode == "complete":
        whole = np.linalg.qr(primal(a), mode="complete")[0]
        q = np.concatenate([q, _completion(q, whole[..., columns:], "qr")], axis=-1)
        below = np.zeros_like(a, shape=(*np.shape(a)[:-2], rows - columns, columns))
        r = np.concatenate([r, below], axis=-2)
    return type(result)(q, r) if type(result) is not tuple else (q, r)
