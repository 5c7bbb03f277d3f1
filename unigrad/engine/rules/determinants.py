"""Rules of determinants, which need no inverse: singular matrices are points like any other.

With ``a = U S V^H``, the adjugate is ``det(U V^H) V adj(S) U^H``, and its slope along ``e`` in
these frames has the entries ``sum_j p_ij e_jj`` on the diagonal and ``-p_ij e_ij`` off it,
where ``p_ij`` is the product of all singular values but the i-th and the j-th.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply
from unigrad.engine.derivatives import jvp, vjp
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.linear_algebra import as_diagonal, diagonal_of
from unigrad.engine.rules.products import adjoint
from unigrad.engine.table import function

__all__: list[str] = []

SMALL = 8
"""Up to this size, derivatives after the second come from a polynomial; beyond it, from inverses,
which are infinite or nan at a singular matrix."""


def _others(s: Any) -> Any:
    """The products of all entries but one, along the last axis, without division."""
    ones = np.ones_like(s[..., :1])
    before = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)
    after = np.cumprod(np.concatenate([ones, s[..., :0:-1]], -1), -1)[..., ::-1]
    return before * after


def _factors(a: Any) -> tuple[Any, Any, Any, Any]:
    u, s, vh = np.linalg.svd(a)
    return u, s, vh, (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]


def _adjugate(a: Any) -> Any:
    """The transposed matrix of cofactors: ``adj(a) a = det(a) I``."""
    if isinstance(a, Box):
        return apply(_ADJUGATE, _adjugate, (a,))
    u, s, vh, phase = _factors(a)
    return phase * (adjoint(vh) @ (_others(s)[..., None] * adjoint(u)))


def _slope(a: Any, e: Any) -> Any:
    """The derivative of the adjugate of ``a`` along ``e``."""
    if isinstance(a, Box) or isinstance(e, Box):
        return apply(_SLOPE, _slope, (a, e))
    u, s, vh, phase = _factors(a)
    same = np.eye(s.shape[-1], dtype=bool)
    p = np.where(same, 0.0, _others(np.where(same, 1.0, s[..., None, :])))
    turned = adjoint(u) @ e @ adjoint(vh)
    on_diagonal = (p @ diagonal_of(turned)[..., None])[..., 0]
    return phase * (adjoint(vh) @ (as_diagonal(on_diagonal) - p * turned) @ adjoint(u))


def _polynomial(a: Any) -> Any:
    """The adjugate by Faddeev and LeVerrier; exact to any order, for small matrices."""
    n = a.shape[-1]
    eye = np.eye(n, dtype=a.dtype)
    m = np.zeros_like(a) + eye
    for k in range(1, n):
        am = a @ m
        m = am - eye * (np.sum(diagonal_of(am), axis=-1) / k)[..., None, None]
    return m if n % 2 else -m


def _slope_by_parts(a: Any, e: Any) -> Any:
    if a.shape[-1] <= SMALL:
        moved = jvp(lambda m: (_polynomial(m),), [a], [e])[1][0]
        return np.zeros_like(a) if moved is None else moved
    inverse = np.linalg.inv(a)
    turned = inverse @ e
    trace = np.sum(diagonal_of(turned), axis=-1)[..., None, None]
    return (trace * inverse - turned @ inverse) * np.linalg.det(a)[..., None, None]


def _pull_slope(g: Any, ans: Any, a: Any, e: Any) -> Any:
    return vjp(lambda m: (_slope_by_parts(m, e),), [a])[1]([g])[0]


_ADJUGATE = Rule("linalg.det", [lambda g, ans, a: adjoint(_slope(a, adjoint(g)))])
_SLOPE = Rule("linalg.det", [_pull_slope, lambda g, ans, a, e: adjoint(_slope(a, adjoint(g)))])

function("linalg.det", "a", lambda g, ans, a: g[..., None, None] * adjoint(_adjugate(a)))


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
