"""Matrix products, tensor contractions, einsum.

Vectors go through ``xp.matmul``: TensorFlow's own ``@`` takes matrices only.
"""

from __future__ import annotations

import numpy as np

from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_A, _B, _X = draw(21, 3, 4), draw(22, 4, 2), draw(23, 4)
_BATCH = draw(24, 2, 3, 3)
_T = draw(25, 2, 3, 2)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "matrix times matrix",
        "products",
        lambda xp, a, b: xp.matmul(a, b),
        (_A, _B),
        output="array",
        gradient=lambda u, a, b: (u @ b.T, a.T @ u),
        hvp=lambda u, v, a, b: (u @ v[1].T, v[0].T @ u),
        tags=frozenset({"core"}),
    ),
    Scenario(
        "matrix times vector",
        "products",
        lambda xp, a, x: xp.matmul(a, x),
        (_A, _X),
        output="array",
        gradient=lambda u, a, x: (np.outer(u, x), a.T @ u),
        hvp=lambda u, v, a, x: (np.outer(u, v[1]), v[0].T @ u),
    ),
    Scenario(
        "vector times vector",
        "products",
        lambda xp, x, y: xp.matmul(x, y) ** 2,
        (_X, draw(26, 4)),
        gradient=lambda u, x, y: (2 * u * (x @ y) * y, 2 * u * (x @ y) * x),
        hvp=lambda u, v, x, y: (
            2 * u * ((v[0] @ y + x @ v[1]) * y + (x @ y) * v[1]),
            2 * u * ((v[0] @ y + x @ v[1]) * x + (x @ y) * v[0]),
        ),
    ),
    Scenario(
        "batched matmul with broadcasting",
        "products",
        lambda xp, a, b: a @ b,
        (_BATCH, draw(27, 3, 2)),
        output="array",
        gradient=lambda u, a, b: (u @ b.T, np.einsum("bij,bik->jk", a, u)),
        hvp=lambda u, v, a, b: (u @ v[1].T, np.einsum("bij,bik->jk", v[0], u)),
    ),
    Scenario(
        "quadratic form",
        "products",
        lambda xp, x, a: xp.matmul(x, xp.matmul(a, x)),
        (draw(28, 3), draw(29, 3, 3)),
        gradient=lambda u, x, a: (u * (a + a.T) @ x, u * np.outer(x, x)),
        hvp=lambda u, v, x, a: (
            u * ((a + a.T) @ v[0] + (v[1] + v[1].T) @ x),
            u * (np.outer(v[0], x) + np.outer(x, v[0])),
        ),
        tags=frozenset({"core"}),
    ),
    Scenario(
        "tensordot",
        "products",
        lambda xp, a, b: xp.tensordot(a, b, axes=((0, 2), (0, 1))),
        (_T, draw(30, 2, 2, 2)),
        output="array",
        gradient=lambda u, a, b: (
            np.einsum("jm,ikm->ijk", u, b),
            np.einsum("jm,ijk->ikm", u, a),
        ),
        hvp=lambda u, v, a, b: (
            np.einsum("jm,ikm->ijk", u, v[1]),
            np.einsum("jm,ijk->ikm", u, v[0]),
        ),
    ),
    Scenario(
        "einsum of three operands",
        "products",
        lambda xp, a, b, c: xp.einsum("ij,jk,k->i", a, b, c),
        (draw(31, 2, 3), draw(32, 3, 2), draw(33, 2)),
        output="array",
        gradient=lambda u, a, b, c: (
            np.outer(u, b @ c),
            np.outer(a.T @ u, c),
            b.T @ (a.T @ u),
        ),
        hvp=lambda u, v, a, b, c: (
            np.outer(u, v[1] @ c + b @ v[2]),
            np.outer(v[0].T @ u, c) + np.outer(a.T @ u, v[2]),
            v[1].T @ (a.T @ u) + b.T @ (v[0].T @ u),
        ),
    ),
    Scenario(
        "vecdot",
        "products",
        lambda xp, x, y: xp.vecdot(x, y),
        (draw(34, 2, 3), draw(35, 2, 3)),
        output="array",
        gradient=lambda u, x, y: (u[:, None] * y, u[:, None] * x),
        hvp=lambda u, v, x, y: (u[:, None] * v[1], u[:, None] * v[0]),
    ),
    Scenario(
        "matrix power by loop",
        "products",
        lambda xp, a: xp.sum((a @ a) @ a * 0.5),
        (draw(36, 3, 3),),
        oracle="complex step",
        tags=frozenset({"third"}),
    ),
)
