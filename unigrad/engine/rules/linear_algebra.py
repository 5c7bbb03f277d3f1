"""Rules of numpy.linalg that solve, invert and multiply, and what its neighbours share.

A pseudo-inverse is differentiated among matrices of the same rank (Golub and Pereyra 1973);
least squares ask for full rank, and are refused without it.
Giles (2008), "Collected matrix derivative results".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.products import adjoint
from unigrad.engine.table import composite, forbid_boxes, function, refuse
from unigrad.errors import TracingError

__all__ = ["as_diagonal", "diagonal_of", "hermitian_part"]

_NEW_NUMPY = int(np.__version__.partition(".")[0]) >= 2


def hermitian_part(x: Any) -> Any:
    """``(x + x^H) / 2``."""
    return 0.5 * (x + adjoint(x))


def diagonal_of(x: Any) -> Any:
    """The diagonals of a stack of square matrices."""
    return np.diagonal(x, 0, -2, -1)


def as_diagonal(x: Any) -> Any:
    """Diagonal matrices with these diagonals."""
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


@composite("linalg.tensorsolve")
def _tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    if axes is not None:
        ndim = np.ndim(a)
        last = [int(i) % ndim for i in axes]
        a = np.transpose(a, [i for i in range(ndim) if i not in last] + last)
    shape = np.shape(a)[np.ndim(b) - np.ndim(a) :] if np.ndim(a) > np.ndim(b) else ()
    n = math.prod(shape)
    if math.prod(np.shape(a)) != n * n:
        raise np.linalg.LinAlgError(
            f"numpy.linalg.tensorsolve: input arrays must satisfy prod(a.shape[b.ndim:]) == "
            f"prod(a.shape[:b.ndim]), got shapes {np.shape(a)} and {np.shape(b)}"
        )
    return np.reshape(np.linalg.solve(np.reshape(a, (n, n)), np.reshape(b, (n,))), shape)


@composite("linalg.tensorinv")
def _tensorinv(a: Any, ind: int = 2) -> Any:
    if ind <= 0:
        raise ValueError("Invalid ind argument.")
    rows, columns = np.shape(a)[:ind], np.shape(a)[ind:]
    inverse = np.linalg.inv(np.reshape(a, (math.prod(columns), -1)))
    return np.reshape(inverse, (*columns, *rows))


# ------------------------------------------------------------------------- without full rank


def _pull_pinv(g: Any, ans: Any, a: Any, *_: Any, hermitian: bool = False, **__: Any) -> Any:
    p, ph, gh = ans, adjoint(ans), adjoint(g)
    left, right = gh @ (p @ ph), (ph @ p) @ gh
    c = left - a @ (p @ left) + right - (right @ p) @ a - ph @ g @ ph
    return hermitian_part(c) if hermitian else c


function("linalg.pinv", "a rcond hermitian", _pull_pinv)


def _solution(a: Any, b: Any, options: Any) -> Any:
    """The least-squares solution.

    The rank is looked at here, in the operation itself, where values are plain: a replay of a
    recorded function looks again.
    """
    if isinstance(a, Box) or isinstance(b, Box):
        return apply(_LEAST_SQUARES, _solution, (a, b, options))
    x, _, rank, _ = np.linalg.lstsq(a, b, **options)
    if rank < min(a.shape):
        raise TracingError(
            f"numpy.linalg.lstsq of a matrix of shape {a.shape} and rank {rank} has no "
            f"derivative: its solution jumps; type: numpy.linalg.solve(a.T @ a + c * "
            f"numpy.eye({a.shape[1]}), a.T @ b), or numpy.linalg.pinv(a) @ b for the derivative "
            f"among matrices of the same rank"
        )
    return x


def _pull_solution(g: Any, ans: Any, a: Any, b: Any, options: Any) -> Any:
    p = np.linalg.pinv(a)
    ph, gh = adjoint(p), adjoint(g)
    to_b = ph @ g
    if a.shape[0] >= a.shape[1]:
        to_a = (b - a @ ans) @ (adjoint(to_b) @ ph) - to_b @ adjoint(ans)
    else:
        to_a = (ph @ ans) @ (gh - (gh @ p) @ a) - to_b @ adjoint(ans)
    return to_a, to_b, None


_LEAST_SQUARES = Rule("linalg.lstsq", joint=_pull_solution)


@composite("linalg.lstsq")
def _lstsq(a: Any, b: Any, rcond: Any = "default") -> Any:
    options = {} if rcond == "default" else {"rcond": rcond}
    forbid_boxes("linalg.lstsq", options)
    vector = np.ndim(b) == 1
    columns = np.reshape(b, (-1, 1)) if vector else b
    x = _solution(a, columns, options)
    rows, n = np.shape(a)
    difference = columns - a @ x
    squares = np.sum(np.real(difference * conjugate(difference)), axis=0)
    residuals = squares if rows > n else squares[:0]
    s = np.linalg.svd(a, full_matrices=False)[1]
    return x[:, 0] if vector else x, residuals, min(rows, n), s


@composite("linalg.matrix_rank")
def _matrix_rank(A: Any, *_: Any, **__: Any) -> Any:
    raise TracingError(
        "numpy.linalg.matrix_rank is a whole number, which has no derivative; for a plain one "
        "type: numpy.linalg.matrix_rank(ug.stop_gradient(a))"
    )


# ------------------------------------------------------------------------- products


@composite("linalg.matrix_power")
def _matrix_power(a: Any, n: int) -> Any:
    if n < 0:
        return np.linalg.matrix_power(np.linalg.inv(a), -n)
    if n == 0:
        return np.zeros_like(a) + np.eye(np.shape(a)[-1], dtype=a.dtype)
    if n == 1:
        return a.copy()
    half = np.linalg.matrix_power(a, n // 2) if n > 3 else a
    return half @ half @ a if n % 2 else half @ half


def _cheapest_splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split each product of neighbouring matrices; matrix i is sizes[i] by sizes[i+1]."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    splits: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j], splits[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return splits


@composite("linalg.multi_dot")
def _multi_dot(arrays: Any, *, out: Any = None) -> Any:
    refuse("linalg.multi_dot", {"out": out})
    arrays = list(arrays)
    if len(arrays) < 2:
        raise ValueError("Expecting at least two arrays.")
    first, last = arrays[0], arrays[-1]
    rows = 1 if np.ndim(first) == 1 else np.shape(first)[0]
    columns = 1 if np.ndim(last) == 1 else np.shape(last)[1]
    splits = _cheapest_splits([rows, *[np.shape(a)[0] for a in arrays[1:]], columns])

    def product(i: int, j: int) -> Any:
        if i == j:
            return arrays[i]
        k = splits[i, j]
        return np.matmul(product(i, k), product(k + 1, j))

    return product(0, len(arrays) - 1)
