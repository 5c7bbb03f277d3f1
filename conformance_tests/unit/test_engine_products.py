"""Rules of products, einsum, calculus, polynomials and statistics: both modes, second order.

The oracle is NumPy itself for values, and central differences of it for derivatives.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.engine_cases import check_dtype_is_kept, check_to_second_order
from unigrad.engine import vjp
from unigrad.errors import TracingError

U = np.array([0.3, 0.2, 0.65])
V = np.array([1.3, -0.7, 2.1, 0.4])
W = np.array([0.1, 0.4, 0.9, 1.7, 2.0])
R = np.array([[0.5, -1.2, 0.8], [1.7, 0.3, -0.4]])
A = np.array([[1.2, 0.5, 0.3], [0.4, 1.5, -0.2], [0.1, 0.35, 2.0]])
T = np.arange(1.0, 13.0).reshape(2, 3, 2) ** 0.5
Q = np.arange(1.0, 25.0).reshape(2, 3, 2, 2) ** 0.5
B = np.stack([A, A.T @ A + 1])
S = np.sin(np.arange(20.0)).reshape(4, 5)
Z = np.array([0.3 + 0.4j, -0.2 + 0.9j, 0.65 - 0.3j])
C = A + 1j * np.array([[0.2, -0.3, 0.1], [0.5, 0.4, -0.2], [-0.6, 0.3, 0.7]])
NUMPY_2 = int(np.__version__.partition(".")[0]) >= 2
trapezoid: Any = np.trapezoid if NUMPY_2 else np.trapz


def series(kind: str, name: str) -> Any:
    return getattr(getattr(np.polynomial, kind), f"{name}val")


PARTS: dict[str, Any] = {
    "0": lambda x: x[0, 0],
    "1": lambda x: x[0],
    "2": lambda x: x,
    "3": lambda x: np.stack([x, x**2]),
    "4": lambda x: np.stack([x, 2 * x])[:, None] * np.ones((1, 2, 1, 1)),
    "p": lambda x: x[:1],
}
MATMULS = ["".join(p) for p in itertools.product("1234", "1234")]
EINSUMS = """
    ij,jk->ik  ij,jk  ii  ii->i  ij->ji  ij->  ij,ij->i  ij,kl->ijkl  ij,jk,kl  ij,jk,kl->il
    i...->...  ij,ik->i  ii,jj->ij  ...  ba  ij,ii->j  ii,ij->ij  ij->j  ij,ij  ab,cd->  ij,jj
    ...j,j...->...  ...j,j...  i...,...j->...  ...i->...  i...->i...  ij...,jk...->ik...
    ji,jk,jl->ikl  Za,ab  ij,kj->ki  ...ii->...i  ii...->...  ij,ij,ij->ij  i...i->...
"""
EINSUMS_3 = """
    bij,bjk->bik  bii->b  bii->bi  iij->ij  bij,bij->  bij->jib  ...ij,...jk  b...->...
    ijj,jjk->ik  bij,bij->bi  ...ii  a...c,cd...->...  bij,kij->bk
"""

CASES: dict[str, tuple[Any, Any]] = {
    # vectors and matrices
    **{f"matmul_{p}": (lambda x, p=p: PARTS[p[0]](x) @ PARTS[p[1]](x**2), A) for p in MATMULS},
    **{
        f"dot_{p}": (lambda x, p=p: np.dot(PARTS[p[0]](x), PARTS[p[1]](x**2)), A)
        for p in [*MATMULS, "00", "02", "30"]
    },
    **{
        f"inner_{p}": (lambda x, p=p: np.inner(PARTS[p[0]](x), PARTS[p[1]](x**2)), A)
        for p in ("11", "12", "21", "22", "31", "13", "23", "33", "02", "20")
    },
    **{
        f"complex_{n}_{p}": (
            lambda x, n=n, p=p: getattr(np, n)(PARTS[p[0]](x), PARTS[p[1]](x * 1j)),
            C,
        )
        for n in ("matmul", "dot", "inner")
        for p in ("11", "12", "21", "22", "23", "32", "33")
    },
    **{
        f"real_complex_{p}": (lambda x, p=p: np.real(PARTS[p[0]](x) @ PARTS[p[1]](C)), A)
        for p in ("11", "12", "21", "22", "32")
    },
    "matmul_broadcast": (lambda x: x[:, None] @ (x[:1] ** 2) + x @ (x[0] * 2), B),
    "matmul_broadcast_ones": (lambda x: x[:1] @ np.stack([x, x])[:, 1:], B),
    "matmul_tall": (lambda x: x @ x.T @ x, R),
    "matmul_lists": (lambda x: [1.0, 2.0, 3.0] @ (x @ [0.5, 1.0, 2.0]) * x, A),
    "matmul_list_of_rows": (lambda x: [[1, 2, 3], [4, 5, 6]] @ x, A),
    "matmul_empty": (lambda x: x[:, :0] @ x[:0] + x, A),
    "dot_methods": (lambda x: x.dot(x[0]) * x[0].dot(x).dot(x), A),
    "dot_summed": (lambda x: np.sum(x @ x, axis=1) * np.sum(x.dot(x), 0), A),
    "vdot": (lambda x: np.vdot(x, x**2), R),
    "complex_vdot": (lambda x: np.vdot(x, 1j * x**2) * np.vdot(Z, x), Z),
    "outer": (lambda x: np.outer(x, x**2) + np.outer(x[0], V[:2]).sum(), R),
    "complex_outer": (lambda x: np.outer(x, 1j * x), Z),
    "outer_scalar": (lambda x: np.outer(x[0], x) * np.outer(2.0, x), U),
    **{
        f"tensordot_{k}": (lambda x, a=a: np.tensordot(x, x**2, a), Q[:, :2])
        for k, a in enumerate(
            (
                0,
                1,
                2,
                3,
                (0, 1),
                (-1, -2),
                ([0, 1], [3, 0]),
                ((2, 0), (-1, 1)),
                ([1], [-4]),
                ([0, 1, 2, 3], [1, 3, 0, 2]),
                ([], []),
            )
        )
    },
    "tensordot_unequal": (lambda x: np.tensordot(x, x[0] ** 2, ([1, 2], [0, 1])), T),
    "complex_tensordot": (lambda x: np.tensordot(x, x * 1j, ([0], [1])), C),
    **{
        f"kron_{p}": (lambda x, p=p: np.kron(PARTS[p[0]](x), PARTS[p[1]](x**2)), A)
        for p in ("00", "01", "11", "12", "21", "22", "23", "32", "02")
    },
    "cross": (lambda x: np.cross(x, R**2 + x[0]) ** 2, R),
    "cross_axes": (lambda x: np.cross(x, R.T, axisa=-1, axisb=0, axisc=0) * x.T, R),
    "cross_axis": (lambda x: np.cross(x.T, x.T**2, axis=0) ** 2, R),
    "cross_broadcast": (lambda x: np.cross(x[0], x) ** 2 + np.cross(x[:, None], x)[0], R),
    "cross_list": (lambda x: np.cross(x, [1.0, 2.0, 3.0]), U),
    "complex_cross": (lambda x: np.cross(x, np.conj(x) * 1j), Z),
    # convolutions
    **{
        f"{n}_{m}_{i}{j}": (lambda x, n=n, m=m, i=i, j=j: getattr(np, n)(x[:i], x[:j] ** 2, m), W)
        for n in ("convolve", "correlate")
        for m in ("full", "same", "valid")
        for i, j in ((5, 3), (5, 2), (3, 5), (2, 5), (4, 4), (1, 5), (3, 1), (2, 3), (4, 2), (2, 4))
    },
    **{
        f"complex_{n}_{m}": (lambda x, n=n, m=m: getattr(np, n)(x, x[1:] * 1j, m), Z)
        for n in ("convolve", "correlate")
        for m in ("full", "same", "valid")
    },
    "convolve_constant": (lambda x: np.convolve(V, x) * np.convolve(x, [1.0, 2, 3, 4]), U),
    # einsum
    **{
        f"einsum_{s}": (lambda x, s=s: np.einsum(s, *[x, x**2, x + 1][: s.count(",") + 1]), A)
        for s in EINSUMS.split()
    },
    **{
        f"einsum3_{s}": (
            lambda x, s=s: np.einsum(s, *[x, x**2, x + 1][: s.count(",") + 1]),
            B[:, :2, :2],
        )
        for s in EINSUMS_3.split()
    },
    **{
        f"einsum_path_{o}": (
            lambda x, o=o: np.einsum("ij,jk,kl->il", x, x**2, x + 1, optimize=o),
            A,
        )
        for o in (True, "optimal", ["einsum_path", (0, 1), (0, 1)])
    },
    "einsum_diagonal_of_three": (lambda x: np.einsum("iii->i", x) ** 2, B[:, :2, :2]),
    "einsum_spaces": (lambda x: np.einsum(" ij , jk -> ki ", x, x), A),
    "einsum_dots": (lambda x: np.einsum("...ij,...j->...i", x, x[0, 0]), B),
    "einsum_dots_lower": (lambda x: np.einsum("...ij,...jk->...ik", x, x[0]) ** 2, B),
    "einsum_lists": (lambda x: np.einsum(x, [0, 1], x, [1, 2], [0, 2]), A),
    "einsum_lists_implicit": (lambda x: np.einsum(x, [1, 0], x, [1, 30]), A),
    "einsum_lists_dots": (lambda x: np.einsum(x, [..., 0], x[0], [..., 0, 1], [..., 1]), B),
    "einsum_ones": (lambda x: np.einsum("ij,kj->ik", x[:, :1], x), A),
    "einsum_ones_kept": (lambda x: np.einsum("ij,ij->ij", x[:1], x[:, :1] ** 2) * x, A),
    "einsum_ones_summed": (lambda x: np.einsum("ij,ij->", x[:1], x) * x, A),
    "einsum_constant": (lambda x: np.einsum("ij,jk", R, x) ** 2, A),
    "einsum_list_operand": (lambda x: np.einsum("i,ij", [1.0, 2.0, 3.0], x), A),
    "einsum_scalar": (lambda x: np.einsum(",ij", x[0, 0], x), A),
    "complex_einsum": (lambda x: np.einsum("ij,jk->ki", x, x * 1j), C),
    "complex_einsum_diagonal": (lambda x: np.einsum("ii,ij->j", x, 1j * x), C),
    # differences and integrals
    **{f"diff_{n}": (lambda x, n=n: np.diff(x, n) ** 2, S) for n in (0, 1, 2, 3)},
    "diff_axis": (lambda x: np.diff(x, axis=0) ** 2, S),
    "diff_ends": (lambda x: np.diff(x, axis=-1, prepend=x[0, 0] ** 2, append=x[:, :2]) ** 2, S),
    "diff_plain": (lambda x: np.diff(V, prepend=x, append=2.0) ** 2, U),
    "diff_list": (lambda x: np.diff(x, n=2, prepend=[0.0, x[1]]) ** 2, U),
    "ediff1d": (lambda x: np.ediff1d(x, to_end=x[0] ** 2, to_begin=[1.0, 2.0]) ** 2, R),
    "ediff1d_plain": (lambda x: np.ediff1d(x) ** 2, R),
    **{
        f"gradient_{o}": (lambda x, o=o: sum(g**2 for g in np.gradient(x, edge_order=o)), S)
        for o in (1, 2)
    },
    **{
        f"gradient_scalars_{o}": (
            lambda x, o=o: np.multiply(*np.gradient(x, 0.5, x[1, 1] ** 2 + 1, edge_order=o)),
            S,
        )
        for o in (1, 2)
    },
    **{
        f"gradient_places_{o}": (
            lambda x, o=o: np.multiply(*np.gradient(S, x[:4], x**2 + x, edge_order=o)),
            W,
        )
        for o in (1, 2)
    },
    "gradient_even_places": (lambda x: np.gradient(np.sin(x), x, edge_order=2), np.arange(5.0)),
    "gradient_axis": (lambda x: np.gradient(x, 2.0, axis=-1) * np.gradient(x, W, axis=1), S),
    "gradient_axes": (lambda x: np.multiply(*np.gradient(x, 0.3, axis=(1, -2))), S),
    "gradient_two": (lambda x: np.gradient(x[:2]) * np.gradient(x[:2], x[1] + 1), U),
    "gradient_integers": (lambda x: np.gradient(np.array([1, 2, 4, 7]), x), V),
    "complex_gradient": (lambda x: np.gradient(x, edge_order=2) ** 2, Z),
    "trapezoid": (lambda x: trapezoid(x) * trapezoid(x, dx=0.5, axis=1)[0], S),
    "trapezoid_places": (lambda x: trapezoid(np.sin(x), x**2), W),
    "trapezoid_rows": (lambda x: trapezoid(x, W, axis=-1) + trapezoid(x**2, x, axis=1), S),
    "trapezoid_columns": (lambda x: trapezoid(x, x[:, 0] ** 2, axis=0) ** 2, S),
    "trapezoid_width": (lambda x: trapezoid(V, dx=x[0] ** 2) + x, U),
    # interpolation
    "interp": (lambda x: np.interp(x, W, W**2) ** 2, np.array([[-1.0, 0.15], [1.2, 5.0]])),
    "interp_scalar": (lambda x: np.interp(x[0], W, x**2), W + 0.05),
    "interp_places": (lambda x: np.interp([0.2, 0.3, 1.0, 1.9, -3, 9], x, W**2) ** 2, W),
    "interp_values": (lambda x: np.interp([0.2, 0.4, 1.0, -3, 9], W, x) ** 2, W),
    "interp_all": (lambda x: np.interp(x * 1.1, x, np.sin(x)) ** 2, W),
    "interp_ends": (lambda x: np.interp(x - 1, W, x, left=7.0, right=-2.0) ** 2, W),
    "interp_traced_ends": (lambda x: np.interp(x - 1, W, x, left=x[0], right=x[1] ** 2), W),
    "interp_one": (lambda x: np.interp(x, x[1:2], x[:1] ** 2, left=2.0), U),
    "interp_period": (lambda x: np.interp(x * 7, W, x**2, period=2.5) ** 2, W),
    "interp_period_places": (lambda x: np.interp([0.3, 4.0, -1.0], x[::-1], W, period=1.93), W),
    "interp_infinite": (lambda x: np.interp([-np.inf, 0.3, np.inf], x, x**2), W),
    "interp_complex": (lambda x: np.interp([0.2, 1.0, 9], U * 3, x) ** 2, Z),
    # grids
    "linspace": (lambda x: np.linspace(x[0], x[1] ** 2, 7) ** 2, U),
    "linspace_rows": (lambda x: np.linspace(x[0], x[1] ** 2, 4, endpoint=False, axis=-1), R),
    "linspace_plain": (lambda x: np.linspace(0, x[1], 5) * np.linspace(x[0], 2.0, 5), U),
    "linspace_step": (lambda x: np.multiply(*np.linspace(x[0], x[1], 5, retstep=True)), U),
    "linspace_one": (lambda x: np.linspace(x[0], x[1], 1) ** 2 + np.linspace(x, 1, 0).sum(), U),
    "logspace": (lambda x: np.logspace(x[0], x[1], 5) ** 2, U),
    "logspace_base": (lambda x: np.logspace(x[0], 1.0, 4, base=x[1] ** 2 + 1), U),
    "geomspace": (lambda x: np.geomspace(x[0], 7.0, 5) * np.geomspace(1, x[1], 5), U),
    "geomspace_rows": (lambda x: np.geomspace(-x, -2 * x, 4, endpoint=False, axis=1), U),
    # polynomials
    "logspace_bases": (lambda x: np.logspace(x[0], 1.0, 4, base=x + 1, axis=-1), U),
    "logspace_rows": (lambda x: np.logspace(x, -x, 3, base=x + 1, axis=1), U),
    "polyval": (lambda x: np.polyval(x, 0.7) * np.polyval(V, x) * np.polyval(x, x), U),
    "polyval_matrix": (lambda x: np.polyval([1.0, 2, x[0, 0]], x), R),
    "complex_polyval": (lambda x: np.polyval(x, x * 1j), Z),
    "polyadd": (lambda x: np.polyadd(x, V) ** 2 * np.polysub(V, x) + np.polyadd(x, x)[0], U),
    "polymul": (lambda x: np.polymul(x, V) ** 2, U),
    "polyder": (lambda x: np.polyder(x)[1:] * np.polyder(x, 2), V),
    "polyint": (lambda x: np.polyint(x) * np.polyint(x, k=3.0), V),
    "polyint_twice": (lambda x: np.polyint(x, 2, k=[1.0, x[0]]) ** 2, V),
    "poly": (lambda x: np.poly(x) ** 2, U),
    "polyfit": (lambda x: np.polyfit(W, np.sin(x), 2), W),
    "polyfit_places": (lambda x: np.polyfit(x, S.T, 3), W),
    "polyfit_weights": (lambda x: np.polyfit(x, np.sin(W), 2, w=1 + x**2), W),
    **{
        f"vander_{n}_{i}": (lambda x, n=n, i=i: np.vander(x, n, i) ** 2, np.array([0.0, 0.2, -1.3]))
        for n in (None, 1, 2, 5)
        for i in (False, True)
    },
    "poly1d": (lambda x: np.poly1d([1.0, 2.0, 3.0])(x) ** 2, U),
    **{
        f"series_{k}": (
            lambda x, k=k, n=n: series(k, n)(x[0], x) * series(k, n)(x, V) * series(k, n)(x, x),
            U,
        )
        for k, n in (
            ("polynomial", "poly"),
            ("chebyshev", "cheb"),
            ("legendre", "leg"),
            ("hermite", "herm"),
            ("hermite_e", "herme"),
            ("laguerre", "lag"),
        )
    },
    "series_class": (
        lambda x: np.polynomial.Polynomial([1.0, 2, 3])(x) * np.polynomial.Chebyshev(V)(x),
        U,
    ),
    # statistics
    "cov": (lambda x: np.cov(x) ** 2, S),
    "cov_columns": (lambda x: np.cov(x, rowvar=False, bias=True) ** 2, S),
    "cov_two": (lambda x: np.cov(x[0], x[1] ** 2, ddof=0) * np.cov(x[:1], x[:1])[0, 0], S),
    "cov_vector": (lambda x: np.cov(x) ** 2, W),
    "cov_constant": (lambda x: np.cov(S, x) ** 2, W),
    "cov_fweights": (lambda x: np.cov(x, fweights=[1, 2, 1, 3, 1]) ** 2, S),
    "cov_aweights": (lambda x: np.cov(S, aweights=x, ddof=1) ** 2, W),
    "cov_weights": (lambda x: np.cov(x, x[0], fweights=[1, 2, 1, 3, 1], aweights=W, ddof=2), S),
    "complex_cov": (lambda x: np.cov(x, rowvar=False), C),
    "corrcoef": (lambda x: np.corrcoef(x[:2] ** 2)[0, 1] * np.corrcoef(x[0], x[1]), S),
    "corrcoef_columns": (lambda x: np.corrcoef(x, rowvar=False)[:2, 2:], S),
    "bincount": (lambda x: np.bincount([0, 2, 2, 4, 0], x**2, 7) ** 2, W),
}
for _name in ("matvec", "vecmat", "vecdot"):
    if hasattr(np, _name):
        _f: Any = getattr(np, _name)
        _p = {"matvec": "ij", "vecmat": "ji", "vecdot": "jj"}[_name]
        _pick = {"i": lambda x: np.stack([x, x**2, 2 * x]), "j": lambda x: x}
        CASES[_name] = (lambda x, f=_f, p=_p, k=_pick: f(k[p[0]](x), k[p[1]](x)), A)
        CASES[f"complex_{_name}"] = (
            lambda x, f=_f, p=_p, k=_pick: f(k[p[0]](x), 1j * k[p[1]](x)),
            C,
        )
        CASES[f"{_name}_vectors"] = (
            lambda x, f=_f, p=_p: f(*(x if i == "i" else x[0] for i in p)),
            A,
        )
if hasattr(np, "vecdot"):
    CASES["vecdot_axis"] = (lambda x: np.vecdot(x, x**2, axis=0), A)
    CASES["linalg_products"] = (
        lambda x: (
            np.linalg.vecdot(x, x**2) * np.linalg.cross(x, x**2)[0]
            + np.linalg.outer(x[0], x[1])
            + np.linalg.tensordot(x, x)
            + np.linalg.matmul(x, x)
        ),
        A,
    )
if not NUMPY_2:
    CASES["cross_2"] = (lambda x: np.cross(x[:, :2], x[:, 1:]) * np.cross(x[:, :2], x)[:, 0], R)
    CASES["cross_23"] = (lambda x: np.cross(x[:, :2], x) * np.cross(x, x[:, 1:] ** 2), R)


@pytest.mark.parametrize("name", CASES)
def test_rule_to_second_order_and_both_modes(name: str) -> None:
    check_to_second_order(name, *CASES[name])


SINGLE = [n for n in CASES if CASES[n][1].dtype == np.float64 and not n.startswith("series")]


@pytest.mark.parametrize("name", SINGLE)
def test_dtype_is_kept(name: str) -> None:
    check_dtype_is_kept(*CASES[name])


REFUSED: dict[str, tuple[Any, str]] = {
    "dot_out": (lambda x: np.dot(x, x, out=np.zeros((3, 3))), "out="),
    "einsum_out": (lambda x: np.einsum("ij->i", x, out=np.zeros(3)), "out="),
    "histogram": (lambda x: np.histogram(x), "ug.stop_gradient"),
    "histogram_weights": (lambda x: np.histogram(V[:3], weights=x[0])[0], "numpy.bincount"),
    "bincount": (lambda x: np.bincount(x[0]), "ug.stop_gradient"),
    "polydiv": (lambda x: np.polydiv(x[0], x[1]), "polydiv"),
    "polyfit_cov": (lambda x: np.polyfit(x[0], x[1], 1, cov=True)[0], "leave out"),
    "poly_matrix": (lambda x: np.poly(x), "numpy.convolve"),
    "polyval_poly1d": (lambda x: np.polyval(x[0], np.poly1d([1, 2])), "poly1d"),
    "linspace_rounded": (lambda x: np.linspace(x[0], x[1], 3, dtype=int), "rounds"),
    "arange": (lambda x: np.arange(0, x[0, 0]), "traced"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_to_type(name: str) -> None:
    f, advice = REFUSED[name]
    with pytest.raises(TracingError, match=advice):
        vjp(lambda x: (f(x),), [A])


INVALID: dict[str, Any] = {
    "matmul_shapes": lambda x: x @ np.ones((2, 2)),
    "tensordot_axes": lambda x: np.tensordot(x, x, ([0], [5])),
    "tensordot_shapes": lambda x: np.tensordot(x, np.ones((2, 2)), 1),
    "einsum_labels": lambda x: np.einsum("ijk->i", x),
    "einsum_result": lambda x: np.einsum("ij->ik", x),
    "einsum_operands": lambda x: np.einsum("ij,jk", x),
    "einsum_hidden_sum": lambda x: np.einsum("i...->i", x),
    "einsum_collapsed_ones": lambda x: np.einsum("ii->i", x[:2]),
    "convolve_mode": lambda x: np.convolve(x[0], x[1], "most"),
    "convolve_empty": lambda x: np.convolve(x[0], x[0, :0]),
    "convolve_matrix": lambda x: np.convolve(x, x),
    "cross_four": lambda x: np.cross(np.ones((3, 4)), np.concatenate([x, x[:, :1]], 1)),
    "diff_order": lambda x: np.diff(x, -1),
    "diff_axis": lambda x: np.diff(x, axis=2),
    "gradient_short": lambda x: np.gradient(x[:2], axis=0, edge_order=2),
    "gradient_places": lambda x: np.gradient(x[0], [1.0, 2.0]),
    "gradient_counts": lambda x: np.gradient(x, 1.0, 2.0, 3.0),
    "interp_lengths": lambda x: np.interp(0.5, x[0], x[1, :2]),
    "linspace_number": lambda x: np.linspace(x[0], x[1], -1),
    "vander_matrix": lambda x: np.vander(x),
    "polyder_order": lambda x: np.polyder(x[0], -1),
    "cov_rank": lambda x: np.cov(x[None]),
    "cov_weights": lambda x: np.cov(x, aweights=[1.0, 2.0]),
    "bincount_lengths": lambda x: np.bincount([1, 2], x[0]),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_numpy_rejects_is_rejected(name: str) -> None:
    f = INVALID[name]
    with pytest.raises((ValueError, TypeError, RuntimeError, IndexError)):
        f(A)
    with pytest.raises((ValueError, TypeError, RuntimeError, IndexError)):
        vjp(lambda x: (f(x),), [A])


def test_a_write_into_a_view_by_einsum_is_not_lost() -> None:
    def f(x: Any) -> Any:
        y = x * 1.0
        np.einsum("ii->i", y)[:] = 0.0
        return np.sum(y)

    with pytest.raises(TracingError, match="view"):
        vjp(lambda x: (f(x),), [A])


def test_einsum_pulls_of_large_operands() -> None:
    x = np.sin(np.arange(80.0 * 80)).reshape(80, 80)
    (value,), pullback = vjp(lambda y: (np.einsum("ij,jk,kl->il", y, x, y),), [x])
    np.testing.assert_allclose(value, x @ x @ x)
    (g,) = pullback([x])
    np.testing.assert_allclose(g, x @ (x @ x).T + (x @ x).T @ x, atol=1e-9)


def test_products_broadcast_over_a_stack_of_activations() -> None:
    x, w = np.sin(np.arange(60.0)).reshape(3, 5, 4), np.cos(np.arange(8.0)).reshape(4, 2)
    _, pullback = vjp(lambda x, w: (np.sum(x @ w),), [x, w])
    gx, gw = pullback([np.float64(1.0)])
    np.testing.assert_allclose(gx, np.broadcast_to(w.sum(1), x.shape))
    np.testing.assert_allclose(gw, np.broadcast_to(x.sum((0, 1))[:, None], w.shape))
