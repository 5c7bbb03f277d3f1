"""scipy.linalg, followed: solving, factorisations, functions of matrices, matrices of vectors.

Values come from SciPy; each rule is written with the functions of this module, so every order
follows. What reads one triangle of a symmetric matrix gets the symmetric part of the gradient.
Nothing is overwritten, so ``overwrite_a`` and ``overwrite_b`` are not among the parameters.
Giles (2008), "Collected matrix derivative results"; Mathias (1996), SIAM J. Matrix Anal. 17(3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg as sl

from unigrad.engine.core import Rule
from unigrad.engine.primitive import primitive
from unigrad.engine.rules.elementwise import conjugate
from unigrad.engine.rules.products import adjoint
from unigrad.errors import UnsupportedError
from unigrad.scipy.arrays import as_array

__all__ = [
    "block_diag",
    "cho_factor",
    "cho_solve",
    "cholesky",
    "circulant",
    "det",
    "expm",
    "inv",
    "logm",
    "lu_factor",
    "lu_solve",
    "solve",
    "solve_continuous_lyapunov",
    "solve_discrete_lyapunov",
    "solve_sylvester",
    "solve_triangular",
    "sqrtm",
    "toeplitz",
]


def _transposed(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _on_columns(solver: Any, a: Any, b: Any, **options: Any) -> Any:
    """``solver(a, b)`` for a vector ``b`` too, as a matrix of one column."""
    if np.ndim(b) == 1:
        return solver(a, np.reshape(b, (-1, 1)), **options)[..., 0]
    return solver(a, b, **options)


# ------------------------------------------------------------------------- solving

_STRUCTURES = (None, "gen", "general", "sym", "symmetric", "her", "hermitian", "pos")


def _solve_value(a: Any, b: Any, assume_a: str | None, lower: bool, check_finite: bool) -> Any:
    named = {} if assume_a is None else {"assume_a": assume_a}
    return sl.solve(a, b, lower=lower, check_finite=check_finite, **named)


def _pull_solve(g: Any, ans: Any, a: Any, b: Any, **options: Any) -> Any:
    structure = options["assume_a"]
    if structure in (None, "gen", "general"):
        to_b = _solved(adjoint(a), g, **options)
        return -(to_b @ adjoint(ans)), to_b
    symmetric = structure in ("sym", "symmetric")
    to_b = _solved(conjugate(a) if symmetric else a, g, **options)
    to_a = -(to_b @ adjoint(ans))
    return 0.5 * (to_a + (_transposed(to_a) if symmetric else adjoint(to_a))), to_b


_solved = primitive(Rule("scipy.linalg.solve", joint=_pull_solve), _solve_value)


def solve(
    a: Any,
    b: Any,
    lower: bool = False,
    check_finite: bool = True,
    assume_a: str | None = None,
    transposed: bool = False,
) -> Any:
    """``x`` with ``a @ x = b``, as `scipy.linalg.solve`.

    Args:
        a: ``(n, n)``. For ``assume_a`` "sym", "her", "pos", one triangle is read.
        b: ``(n,)`` or ``(n, k)``.
        transposed: solve ``a.T @ x = b``.

    Raises:
        UnsupportedError: for a structure other than those.

    >>> import numpy as np, unigrad as ug
    >>> a = np.array([[2.0, 0.0], [0.0, 4.0]])
    >>> ug.grad(lambda b: np.sum(solve(a, b)))(np.ones(2))
    array([0.5 , 0.25])
    """
    if assume_a not in _STRUCTURES:
        raise UnsupportedError(
            f"solve(..., assume_a={assume_a!r}) reads a part of the matrix that has no rule "
            f"here; type: assume_a='gen', or use solve_triangular"
        )
    a, b = as_array(a), as_array(b)
    if transposed:
        a, lower = _transposed(a), not lower
    options = {"assume_a": assume_a, "lower": lower, "check_finite": check_finite}
    return _on_columns(_solved, a, b, **options)


def _pull_triangular(g: Any, ans: Any, a: Any, b: Any, **options: Any) -> Any:
    lower, unit = options["lower"], options["unit_diagonal"]
    to_b = _triangular(adjoint(a), g, **{**options, "lower": not lower})
    full = -(to_b @ adjoint(ans))
    part = np.tril(full, -1 if unit else 0) if lower else np.triu(full, 1 if unit else 0)
    return part, to_b


_triangular = primitive(
    Rule("scipy.linalg.solve_triangular", joint=_pull_triangular), sl.solve_triangular
)


def solve_triangular(
    a: Any,
    b: Any,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    check_finite: bool = True,
) -> Any:
    """``x`` with ``a @ x = b`` for a triangular matrix, as `scipy.linalg.solve_triangular`.

    Args:
        a: ``(n, n)``, of which only one triangle is read, and gets a gradient.
        b: ``(n,)`` or ``(n, k)``.
        trans: 0 or "N": ``a``; 1 or "T": its transpose; 2 or "C": its conjugate transpose.

    >>> import numpy as np, unigrad as ug
    >>> a = np.array([[2.0, 0.0], [1.0, 4.0]])
    >>> ug.grad(lambda a: solve_triangular(a, np.ones(2), lower=True)[1])(a)
    array([[ 0.0625 ,  0.     ],
           [-0.125  , -0.03125]])
    """
    a, b = as_array(a), as_array(b)
    if trans in (1, "T"):
        a, lower = _transposed(a), not lower
    elif trans in (2, "C"):
        a, lower = adjoint(a), not lower
    elif trans not in (0, "N"):
        raise ValueError(f"trans is 0, 1, 2, 'N', 'T' or 'C', got {trans!r}")
    options = {"lower": lower, "unit_diagonal": unit_diagonal, "check_finite": check_finite}
    return _on_columns(_triangular, a, b, **options)


def _pull_inv(g: Any, ans: Any, a: Any, **_: Any) -> Any:
    return -(adjoint(ans) @ g @ adjoint(ans))


_inv = primitive(Rule("scipy.linalg.inv", [_pull_inv]), sl.inv)


def inv(a: Any, check_finite: bool = True) -> Any:
    """The inverse of a matrix, as `scipy.linalg.inv`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda a: np.sum(inv(a)))(np.array([[2.0]]))
    array([[-0.25]])
    """
    return _inv(as_array(a), check_finite=check_finite)


def det(a: Any) -> Any:
    """The determinant, as `scipy.linalg.det`; differentiable at singular matrices too.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(det)(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[4., 0.],
           [0., 2.]])
    """
    return np.linalg.det(as_array(a))


# ------------------------------------------------------------------------- factorisations


def _pull_cholesky(g: Any, ans: Any, a: Any, lower: bool, check_finite: bool) -> Any:
    factor, g = (ans, g) if lower else (adjoint(ans), adjoint(g))
    inner = adjoint(factor) @ g
    halved = np.tril(inner) - 0.5 * inner * np.eye(inner.shape[-1], dtype=inner.dtype)
    right = adjoint(solve_triangular(factor, adjoint(halved), 2, True, False, check_finite))
    out = solve_triangular(factor, right, 2, True, False, check_finite)
    return 0.5 * (out + adjoint(out))


_cholesky = primitive(Rule("scipy.linalg.cholesky", [_pull_cholesky]), sl.cholesky)


def cholesky(a: Any, lower: bool = False, check_finite: bool = True) -> Any:
    """``r`` with ``r^H r = a`` (``lower``: ``r r^H``), as `scipy.linalg.cholesky`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda a: np.sum(cholesky(a)))(np.array([[4.0]]))
    array([[0.25]])
    """
    return _cholesky(as_array(a), lower=lower, check_finite=check_finite)


def cho_factor(a: Any, lower: bool = False, check_finite: bool = True) -> tuple[Any, bool]:
    """The factor for `cho_solve`, as `scipy.linalg.cho_factor`; its other triangle is 0.

    >>> import numpy as np
    >>> cho_factor(np.array([[4.0]]))
    (array([[2.]]), False)
    """
    return cholesky(a, lower, check_finite), lower


def cho_solve(c_and_lower: tuple[Any, bool], b: Any, check_finite: bool = True) -> Any:
    """``x`` with ``a @ x = b``, given `cho_factor` of ``a``, as `scipy.linalg.cho_solve`.

    >>> import numpy as np, unigrad as ug
    >>> f = lambda a: np.sum(cho_solve(cho_factor(a), np.ones(1)))
    >>> ug.grad(f)(np.array([[4.0]]))
    array([[-0.0625]])
    """
    c, lower = c_and_lower
    first, second = (0, 2) if lower else (2, 0)
    y = solve_triangular(c, b, first, lower, check_finite=check_finite)
    return solve_triangular(c, y, second, lower, check_finite=check_finite)


def _permuted_value(x: Any, piv: Any, trans: int) -> Any:
    return sl.lu_solve((np.eye(x.shape[0]), piv), x, trans=trans)


def _pull_permuted(g: Any, ans: Any, x: Any, piv: Any, trans: int) -> Any:
    return _permuted(g, piv, trans=1 - trans)


# P x for the row swaps of `lu_factor`; P^T x with trans=1.
_permuted = primitive(Rule("scipy.linalg.lu_solve", [_pull_permuted, None]), _permuted_value)


def _pull_lu(g: Any, ans: Any, a: Any, check_finite: bool) -> Any:
    lu, piv = ans
    eye = np.eye(lu.shape[0], dtype=lu.dtype)
    low, up = np.tril(lu, -1) + eye, np.triu(lu)
    to_lu = g[0]
    middle = np.tril(adjoint(low) @ np.tril(to_lu, -1), -1)
    middle = middle + np.triu(np.triu(to_lu) @ adjoint(up))
    left = solve_triangular(low, middle, 2, lower=True, unit_diagonal=True)
    right = adjoint(solve_triangular(up, adjoint(left)))
    return _permuted(right, piv, trans=1)


_lu = primitive(Rule("scipy.linalg.lu_factor", [_pull_lu]), sl.lu_factor)


def lu_factor(a: Any, check_finite: bool = True) -> tuple[Any, Any]:
    """The packed factors and row swaps of a square matrix, as `scipy.linalg.lu_factor`.

    >>> import numpy as np
    >>> lu_factor(np.array([[4.0]]))[0]
    array([[4.]])
    """
    a = as_array(a)
    if np.shape(a)[-1] != np.shape(a)[-2] or np.ndim(a) != 2:
        raise UnsupportedError(
            f"lu_factor has a rule for one square matrix, got shape {np.shape(a)}; "
            f"use numpy.linalg.qr"
        )
    lu, piv = _lu(a, check_finite=check_finite)
    return lu, piv


def lu_solve(lu_and_piv: tuple[Any, Any], b: Any, trans: int = 0, check_finite: bool = True) -> Any:
    """``x`` with ``a @ x = b``, given `lu_factor` of ``a``, as `scipy.linalg.lu_solve`.

    >>> import numpy as np, unigrad as ug
    >>> f = lambda a: np.sum(lu_solve(lu_factor(a), np.ones(1)))
    >>> ug.grad(f)(np.array([[4.0]]))
    array([[-0.0625]])
    """
    lu, piv = lu_and_piv
    b = as_array(b)
    unit = {"lower": True, "unit_diagonal": True, "check_finite": check_finite}
    if trans == 0:
        y = solve_triangular(lu, _permuted(b, piv, trans=0), **unit)
        return solve_triangular(lu, y, check_finite=check_finite)
    y = solve_triangular(lu, b, trans, check_finite=check_finite)
    return _permuted(solve_triangular(lu, y, trans, **unit), piv, trans=1)


# ------------------------------------------------------------------------- functions of matrices


def _blocked(f: Any, a: Any, e: Any) -> Any:
    """The derivative of a matrix function along ``e``: ``f([[a, e], [0, a]])``, top right."""
    n = a.shape[-1]
    top = np.concatenate([a, e], axis=-1)
    low = np.concatenate([np.zeros_like(a), a], axis=-1)
    return f(np.concatenate([top, low], axis=-2))[..., :n, n:]


def _pull_expm(g: Any, ans: Any, a: Any) -> Any:
    return _blocked(expm, adjoint(a), g)


def _pull_logm(g: Any, ans: Any, a: Any) -> Any:
    return _blocked(logm, adjoint(a), g)


_expm = primitive(Rule("scipy.linalg.expm", [_pull_expm]), sl.expm)
_logm = primitive(Rule("scipy.linalg.logm", [_pull_logm]), sl.logm)


def expm(A: Any) -> Any:
    """The matrix exponential, as `scipy.linalg.expm`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda a: expm(a)[0, 1])(np.zeros((2, 2)))
    array([[0., 1.],
           [0., 0.]])
    """
    return _expm(as_array(A))


def logm(A: Any) -> Any:
    """The principal matrix logarithm, as `scipy.linalg.logm`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda a: np.sum(logm(a)))(np.array([[4.0]]))
    array([[0.25]])
    """
    return _logm(as_array(A))


def _pull_sqrtm(g: Any, ans: Any, a: Any) -> Any:
    root = adjoint(ans)
    return solve_sylvester(root, root, g)


_sqrtm = primitive(Rule("scipy.linalg.sqrtm", [_pull_sqrtm]), sl.sqrtm)


def sqrtm(A: Any) -> Any:
    """The principal matrix square root, as `scipy.linalg.sqrtm`.

    >>> import numpy as np, unigrad as ug
    >>> ug.grad(lambda a: np.sum(sqrtm(a)))(np.array([[4.0]]))
    array([[0.25]])
    """
    return _sqrtm(as_array(A))


def _pull_sylvester(g: Any, ans: Any, a: Any, b: Any, q: Any) -> Any:
    to_q = solve_sylvester(adjoint(a), adjoint(b), g)
    return -(to_q @ adjoint(ans)), -(adjoint(ans) @ to_q), to_q


_sylvester = primitive(
    Rule("scipy.linalg.solve_sylvester", joint=_pull_sylvester), sl.solve_sylvester
)


def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """``x`` with ``a @ x + x @ b = q``, as `scipy.linalg.solve_sylvester`.

    >>> import numpy as np, unigrad as ug
    >>> one = np.ones((1, 1))
    >>> ug.grad(lambda q: np.sum(solve_sylvester(one, one, q)))(one)
    array([[0.5]])
    """
    return _sylvester(as_array(a), as_array(b), as_array(q))


def solve_continuous_lyapunov(a: Any, q: Any) -> Any:
    """``x`` with ``a @ x + x @ a^H = q``, as `scipy.linalg.solve_continuous_lyapunov`.

    >>> import numpy as np, unigrad as ug
    >>> one = np.ones((1, 1))
    >>> ug.grad(lambda a: np.sum(solve_continuous_lyapunov(a, one)))(one)
    array([[-0.5]])
    """
    a = as_array(a)
    return solve_sylvester(a, adjoint(a), q)


def solve_discrete_lyapunov(a: Any, q: Any) -> Any:
    """``x`` with ``a @ x @ a^H - x + q = 0``, as `scipy.linalg.solve_discrete_lyapunov`.

    >>> import numpy as np, unigrad as ug
    >>> half, one = np.full((1, 1), 0.5), np.ones((1, 1))
    >>> print(ug.grad(lambda q: np.sum(solve_discrete_lyapunov(half, q)))(one).round(4))
    [[1.3333]]
    """
    a, q = as_array(a), as_array(q)
    system = np.eye(a.shape[0] ** 2, dtype=a.dtype) - np.kron(a, conjugate(a))
    return np.reshape(solve(system, np.reshape(q, (-1,))), q.shape)


# ------------------------------------------------------------------------- matrices of vectors


def block_diag(*arrs: Any) -> Any:
    """The matrix with these blocks on its diagonal, as `scipy.linalg.block_diag`.

    >>> import numpy as np
    >>> block_diag([[1.0]], [[2.0, 3.0]])
    array([[1., 0., 0.],
           [0., 2., 3.]])
    """
    blocks: Sequence[Any] = [np.atleast_2d(as_array(a)) for a in arrs]
    width = sum(b.shape[1] for b in blocks)
    rows, before = [], 0
    for b in blocks:
        height, n = b.shape
        left, right = (height, before), (height, width - before - n)
        # `zeros_like` of the block, so that the type of its array stays.
        parts = [np.zeros_like(b, shape=left), b, np.zeros_like(b, shape=right)]
        rows.append(np.concatenate(parts, axis=1))
        before += n
    return np.concatenate(rows, axis=0)


def toeplitz(c: Any, r: Any = None) -> Any:
    """The matrix with first column ``c`` and first row ``r``, as `scipy.linalg.toeplitz`.

    Args:
        c: ``(m,)``.
        r: ``(n,)``, of which the first entry is not used; ``None``: the conjugate of ``c``.

    >>> import numpy as np
    >>> toeplitz([1.0, 2.0], [1.0, 5.0])
    array([[1., 5.],
           [2., 1.]])
    """
    c = as_array(c)
    r = conjugate(c) if r is None else as_array(r)
    entries = np.concatenate([np.flip(c), r[1:]])
    m, n = c.shape[0], r.shape[0]
    return entries[np.arange(m - 1, -1, -1)[:, None] + np.arange(n)]


def circulant(c: Any) -> Any:
    """The matrix whose columns are ``c`` rolled, as `scipy.linalg.circulant`.

    >>> circulant([1.0, 2.0])
    array([[1., 2.],
           [2., 1.]])
    """
    c = as_array(c)
    n = c.shape[0]
    return c[(np.arange(n)[:, None] - np.arange(n)) % n]
