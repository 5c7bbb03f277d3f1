"""Linear algebra on well-conditioned matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_M = draw(71, 3, 3) + 3 * np.eye(3)
_B = draw(72, 3, 2)
_inv = np.linalg.inv


def _lower(a: Any) -> Any:
    """The matrix whose strict lower part is that of ``a``, with half its diagonal."""
    return np.tril(a, -1) + np.diag(np.diag(a)) / 2


def _symmetric(xp: Any, x: Any) -> Any:
    """A symmetric positive definite matrix of any square one."""
    return x @ xp.matrix_transpose(x) + 2 * xp.eye(3, dtype=x.dtype)


def _gram(x: Any) -> Any:
    return x @ x.T + 2 * np.eye(3)


def _solve_gradient(u: Any, a: Any, b: Any) -> Any:
    w = _inv(a).T @ u
    return -w @ (_inv(a) @ b).T, w


def _solve_second(u: Any, v: Any, a: Any, b: Any) -> Any:
    y, w = _inv(a) @ b, _inv(a).T @ u
    moved_y, moved_w = _inv(a) @ (v[1] - v[0] @ y), -_inv(a).T @ (v[0].T @ w)
    return -moved_w @ y.T - w @ moved_y.T, moved_w


def _inverse_second(u: Any, v: Any, a: Any) -> Any:
    y = _inv(a)
    moved = -y @ v @ y
    return -(moved.T @ u @ y.T + y.T @ u @ moved.T)


def _cholesky_gradient(u: Any, x: Any) -> Any:
    # Murray (2016), arXiv:1602.07527.
    low = np.linalg.cholesky(_gram(x))
    u = np.tril(u)
    inner = _inv(low).T @ _lower(low.T @ u) @ _inv(low)
    return (inner + inner.T) @ x


def _orthogonal(u: Any, x: Any, weights: Any) -> Any:
    """Gradient of ``weights · eigenvalues(x xᵀ + 2)``."""
    _, q = np.linalg.eigh(_gram(x))
    return 2 * u * q @ np.diag(weights) @ q.T @ x


def _eigenvalue_second(u: Any, v: Any, x: Any, weights: Any) -> Any:
    lam, q = np.linalg.eigh(_gram(x))
    moved = q.T @ (v @ x.T + x @ v.T) @ q
    gaps = lam[None, :] - lam[:, None] + np.eye(3)
    turn = moved / gaps * (1 - np.eye(3))
    outer = q @ (turn @ np.diag(weights) + np.diag(weights) @ turn.T) @ q.T
    return 2 * u * (outer @ x + q @ np.diag(weights) @ q.T @ v)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "solve",
        "linalg",
        lambda xp, a, b: xp.linalg.solve(a, b),
        (_M, _B),
        output="array",
        gradient=_solve_gradient,
        hvp=_solve_second,
        tags=frozenset({"core", "third"}),
    ),
    Scenario(
        "solve for a vector",
        "linalg",
        lambda xp, a, b: xp.linalg.solve(a, b),
        (_M, draw(73, 3)),
        output="array",
        gradient=lambda u, a, b: (
            -np.outer(_inv(a).T @ u, _inv(a) @ b),
            _inv(a).T @ u,
        ),
        hvp=lambda u, v, a, b: tuple(
            part.reshape(shape)
            for part, shape in zip(
                _solve_second(u[:, None], (v[0], v[1][:, None]), a, b[:, None]),
                ((3, 3), (3,)),
                strict=True,
            )
        ),
    ),
    Scenario(
        "inv",
        "linalg",
        lambda xp, a: xp.linalg.inv(a),
        (_M,),
        output="array",
        gradient=lambda u, a: -_inv(a).T @ u @ _inv(a).T,
        hvp=_inverse_second,
    ),
    Scenario(
        "det",
        "linalg",
        lambda xp, a: xp.linalg.det(a),
        (_M,),
        gradient=lambda u, a: u * np.linalg.det(a) * _inv(a).T,
        hvp=lambda u, v, a: (
            u * np.linalg.det(a) * (np.trace(_inv(a) @ v) * _inv(a).T - (_inv(a) @ v @ _inv(a)).T)
        ),
    ),
    Scenario(
        "slogdet",
        "linalg",
        lambda xp, a: xp.linalg.slogdet(a)[1],
        (_M,),
        gradient=lambda u, a: u * _inv(a).T,
        hvp=lambda u, v, a: -u * (_inv(a) @ v @ _inv(a)).T,
    ),
    Scenario(
        "cholesky",
        "linalg",
        lambda xp, x: xp.linalg.cholesky(_symmetric(xp, x)),
        (draw(74, 3, 3),),
        output="array",
        gradient=_cholesky_gradient,
    ),
    Scenario(
        "eigenvalues",
        "linalg",
        lambda xp, x, w: xp.sum(w * xp.linalg.eigh(_symmetric(xp, x))[0]),
        (draw(75, 3, 3),),
        (np.array([1.0, -2.0, 0.5]),),
        gradient=_orthogonal,
        hvp=_eigenvalue_second,
    ),
    # Projectors do not depend on the signs of the eigenvectors.
    Scenario(
        "projector on an eigenvector",
        "linalg",
        lambda xp, x: (
            xp.linalg.eigh(_symmetric(xp, x))[1][:, 2:]
            @ xp.matrix_transpose(xp.linalg.eigh(_symmetric(xp, x))[1][:, 2:])
        ),
        (draw(75, 3, 3),),
        output="array",
        oracle="differences",
    ),
    Scenario(
        "trace and diagonal",
        "linalg",
        lambda xp, a: xp.linalg.trace(a @ a) + xp.sum(xp.linalg.diagonal(a) ** 3),
        (_M,),
        gradient=lambda u, a: u * (2 * a.T + np.diag(3 * np.diag(a) ** 2)),
        hvp=lambda u, v, a: u * (2 * v.T + np.diag(6 * np.diag(a) * np.diag(v))),
    ),
    Scenario(
        "outer and matrix norm",
        "linalg",
        lambda xp, x, y: xp.linalg.matrix_norm(xp.linalg.outer(x, y)),
        (draw(76, 3), draw(77, 2)),
        gradient=lambda u, x, y: (
            u * x / np.linalg.norm(x) * np.linalg.norm(y),
            u * y / np.linalg.norm(y) * np.linalg.norm(x),
        ),
    ),
)
