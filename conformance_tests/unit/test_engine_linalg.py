"""The rules of numpy.linalg against differences, torch and closed forms, to second order.

Points where others fail are meant: singular matrices, zero vectors, repeated values, ranks that
are not full, the phases that LAPACK chooses.
"""

from __future__ import annotations

import warnings
import zlib
from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.engine_cases import drawn, gradient, real_inner, slope
from unigrad.engine import jvp, vjp
from unigrad.errors import TracingError

la = np.linalg
NEW = int(np.__version__.partition(".")[0]) >= 2

A = np.array([[1.2, 0.5, 0.3], [0.4, 1.5, -0.2], [0.1, 0.35, 2.0]])
R = np.array([[0.5, -1.2, 0.8], [1.7, 0.3, -0.4]])
LONG = np.array([[0.5, -1.2], [1.7, 0.3], [0.2, 0.9], [-0.6, 1.1]])
B = np.stack([A, A.T @ A + 1])
C = A + 1j * np.array([[0.2, -0.3, 0.1], [0.5, 0.4, -0.2], [-0.6, 0.3, 0.7]])
CLONG = LONG + 1j * LONG[::-1] * [[1.0, -0.4]]
SPIN = np.array([[0.3, -1.4, 0.2], [1.1, 0.5, -0.3], [0.4, 0.6, -0.8]])
SINGULAR = np.array([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]])
K = np.array([[0.0, 3.0, -4.0], [0.0, 0.0, 0.0], [1.0, -2.0, 2.0]])


def adj(a: Any) -> Any:
    return np.conj(np.swapaxes(a, -1, -2))


def herm(a: Any) -> Any:
    return a @ adj(a)


def symmetric(a: Any) -> Any:
    return 0.5 * (a + adj(a))


def low_rank(a: Any) -> Any:
    """A matrix of the rank of a thin ``a``, whatever ``a`` is."""
    return a @ adj(a) @ a @ adj(a[:3])


def joined(parts: Any) -> Any:
    return np.concatenate([np.ravel(p) for p in parts])


def lstsq(a: Any, b: Any) -> Any:
    x, residuals, _, s = la.lstsq(a, b, rcond=None)
    return joined([x, residuals, s])


CASES: dict[str, tuple[Any, Any]] = {
    # solving
    "solve_broadcast": (lambda a: la.solve(a[0], np.stack([a, a**2])), B),
    "solve_many_a": (lambda a: la.solve(a, a[:1, :, :2] ** 2), B),
    "solve_vectors": (lambda a: la.solve(a, a[..., :1])[..., 0], B),
    "solve_complex_real": (lambda a: la.solve(C, a), A),
    "solve_real_complex": (lambda z: la.solve(A, z[:, 0]), C),
    "inv_complex_batch": (lambda a: la.inv(np.stack([a, a @ a])), C),
    "tensorsolve": (lambda a: la.tensorsolve(np.reshape(a @ a.T, (3, 3, 1)), a[0] ** 2), A),
    "tensorsolve_axes": (
        lambda a: la.tensorsolve(np.moveaxis(np.reshape(a, (3, 1, 3)), 2, 0), a[0], (0, 2)),
        A,
    ),
    "tensorinv": (lambda a: la.tensorinv(np.reshape(a, (3, 1, 3)), ind=1), A),
    "tensorinv_complex": (lambda a: la.tensorinv(np.reshape(a, (1, 3, 3)), ind=2), C),
    "pinv_tall": (la.pinv, LONG),
    "pinv_wide": (la.pinv, R),
    "pinv_complex": (lambda a: la.pinv(np.stack([a, a[::-1] * 2])), CLONG),
    "pinv_low_rank": (lambda a: la.pinv(low_rank(a), 1e-10), LONG),
    "pinv_complex_low_rank": (lambda a: la.pinv(low_rank(a), 1e-10), CLONG),
    "pinv_hermitian": (lambda a: la.pinv(herm(a), 1e-10, hermitian=True), LONG),
    "pinv_complex_hermitian": (lambda a: la.pinv(herm(a), rcond=1e-10, hermitian=True), CLONG),
    "lstsq_tall": (lambda a: lstsq(a, a[:, :1] ** 2), LONG),
    "lstsq_vector": (lambda a: lstsq(a, a[:, 0] ** 2), LONG),
    "lstsq_wide": (lambda a: lstsq(a, a[:, :2] ** 2), R),
    "lstsq_square": (lambda a: lstsq(a, a[:, :2] ** 2), A),
    "lstsq_complex": (lambda a: lstsq(a, a[:, :1] ** 2), CLONG),
    "lstsq_b_only": (lambda b: lstsq(R.T, b), A),
    **{f"power_{n}": (lambda a, n=n: la.matrix_power(a, n), B) for n in (0, 1, 2, 3, 7, -1, -3)},
    "power_complex": (lambda a: la.matrix_power(a, -3), C),
    "multi_dot": (
        lambda a: la.multi_dot([a[0], a.T, LONG, LONG.T, a, a[:, 1] ** 2]),
        LONG[:, :1] * LONG.T[:1],
    ),
    "multi_dot_two": (lambda a: la.multi_dot([a, a.T]), C),
    # determinants
    "det_zero": (la.det, np.zeros((3, 3))),
    "det_one": (la.det, np.array([[[2.0]], [[0.0]]])),
    "det_two": (la.det, np.array([[0.0, 1.0], [0.0, 0.0]])),
    "det_batch": (la.det, np.stack([A, SINGULAR, np.eye(3), np.ones((3, 3))])),
    "det_complex_singular": (la.det, np.outer(C[0], C[1]) + np.outer(C[2], C[0])),
    "det_four": (la.det, np.vander([1.0, 2.0, 0.5, -1.0])),
    "slogdet_both": (lambda a: joined(la.slogdet(a)), C),
    "slogdet_negative": (lambda a: joined(la.slogdet(a)), -A),
    # factorisations
    "cholesky": (lambda a: la.cholesky(herm(a) + np.eye(3)), C),
    "cholesky_batch": (lambda a: la.cholesky(symmetric(a)), B),
    "eigh_upper": (lambda a: la.eigh(herm(a), "U")[1] ** 2, A),
    "eigvalsh_upper": (lambda a: la.eigvalsh(herm(a), UPLO="U"), C),
    "eigh_both": (
        lambda a: (lambda w, v: (v * np.exp(w)[..., None, :]) @ adj(v))(*la.eigh(symmetric(a))),
        np.stack([C, C + np.diag([1.0, -1.0, 3.0])]),
    ),
    "eig_spiral": (lambda a: joined(la.eig(a)), SPIN),
    "eig_real": (lambda a: la.eig(a)[1] ** 2 * la.eig(a)[0], A),
    "eig_complex": (lambda a: joined(la.eig(a)), C),
    "eig_batch": (lambda a: la.eig(np.stack([a, a @ a]))[1], SPIN),
    "eigvals": (la.eigvals, SPIN),
    "eigvals_complex": (la.eigvals, C),
    "svd_values": (lambda a: la.svd(a, compute_uv=False), np.stack([CLONG, 2 * CLONG[::-1]])),
    "svd_all": (
        lambda a: (lambda u, s, vh: (u * np.sin(s)) @ vh)(*la.svd(a, full_matrices=False)),
        R,
    ),
    "svd_complex_wide": (
        lambda a: (lambda u, s, vh: (u * np.sin(s)) @ vh)(*la.svd(adj(a), full_matrices=False)),
        CLONG,
    ),
    "svd_completed": (lambda a: (lambda u: u[:, 2:] @ adj(u[:, 2:]))(la.svd(a)[0]), CLONG),
    "svd_completed_wide": (lambda a: (lambda v: v[2:].T @ v[2:])(la.svd(a)[2]), R),
    "svd_unused_completion": (lambda a: np.abs(la.svd(a)[0][:, :2]) + la.svd(a)[1], LONG),
    "svd_hermitian": (
        lambda a: (lambda u, s, vh: (u * np.sin(s)) @ vh)(*la.svd(symmetric(a), hermitian=True)),
        C - 1.6 * np.eye(3),
    ),
    "svd_hermitian_values": (
        lambda a: la.svd(symmetric(a), compute_uv=False, hermitian=True),
        SPIN,
    ),
    "qr_r": (lambda a: la.qr(a, "r"), LONG),
    "qr_r_wide": (lambda a: la.qr(a, mode="r"), R),
    "qr_complete": (
        lambda a: (lambda q, r: (q[:, 2:] @ adj(q[:, 2:]))[:, :2] + q @ r)(*la.qr(a, "complete")),
        CLONG,
    ),
    "qr_complete_wide": (lambda a: la.qr(a, "complete")[1], R),
    "qr_complex": (lambda a: joined(la.qr(a)), CLONG),
    "qr_batch_tall": (lambda a: la.qr(np.stack([a, a[::-1]]))[0], LONG),
    # norms
    **{
        f"vector_{o}": (lambda a, o=o: la.norm(a, o, axis=-1), np.stack([A, 2.3 - A.T]))
        for o in (0, 0.5, 1, 1.5, 2, 3, 4.5, -1, -2, np.inf, -np.inf)
    },
    **{
        f"vector_complex_{o}": (lambda a, o=o: la.norm(a, o, axis=0, keepdims=True), C)
        for o in (1, 2, 3, -2, np.inf, -np.inf)
    },
    **{
        f"matrix_{o}": (lambda a, o=o: la.norm(a, o, axis=(2, 0), keepdims=True), B)
        for o in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    },
    **{
        f"matrix_complex_{o}": (lambda a, o=o: la.norm(a, o), CLONG)
        for o in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    },
    "norm_all": (lambda a: la.norm(a, keepdims=True) * la.norm(a), B),
    "nuclear_repeated": (lambda a: la.norm(a, "nuc"), np.diag([2.0, 2.0, 3.0])),
    "nuclear_turned": (
        lambda a: la.norm(a, "nuc"),
        la.qr(LONG)[0] @ (2 * la.qr(A[:2, :2])[0]),
    ),
    "nuclear_complex_repeated": (lambda a: la.norm(a, "nuc"), la.qr(C)[0] @ la.qr(C.T)[0] * 1.5),
    **{f"cond_{p}": (lambda a, p=p: la.cond(a, p), B) for p in (None, 2, -2, 1, "fro", np.inf)},
    "cond_tall": (la.cond, CLONG),
    # the same functions under other names
    "outer_trace": (lambda a: np.outer(a[0], a[1]) * np.trace(a, 1), R),
}
if NEW:
    CASES |= {
        "cholesky_upper": (lambda a: la.cholesky(herm(a), upper=True), C),
        "pinv_rtol": (lambda a: la.pinv(low_rank(a), rtol=1e-10), LONG),
        "vector_norm": (lambda a: la.vector_norm(a, ord=3, axis=(0, 2), keepdims=True), B),
        "vector_norm_all": (
            lambda a: la.vector_norm(a, keepdims=True) * la.vector_norm(a, ord=1),
            B,
        ),
        "matrix_norm": (
            lambda a: la.matrix_norm(a, ord="nuc") + la.matrix_norm(a, keepdims=True),
            B,
        ),
        "svdvals": (la.svdvals, CLONG),
        "linalg_trace": (lambda a: la.trace(a, offset=1) + la.diagonal(a, offset=-1)[:, 0], B),
        "linalg_matmul": (lambda a: la.matmul(a, la.matrix_transpose(a)) @ la.outer(a[0], a[1]), A),
        "linalg_cross": (lambda a: la.cross(a, a[::-1] ** 2, axis=0), A),
        "linalg_vecdot": (lambda a: la.vecdot(a, a[::-1] ** 2, axis=0), C),
        "linalg_tensordot": (lambda a: la.tensordot(a, a, axes=((0,), (1,))), C),
    }


@pytest.mark.parametrize("name", CASES)
def test_rule_to_second_order(name: str) -> None:
    f, x = CASES[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    expected = f(x)
    (value,), _ = vjp(lambda y: (f(y),), [x])
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)
    assert np.shape(value) == np.shape(expected)
    assert np.asarray(value).dtype == np.asarray(expected).dtype
    w, v, u = drawn(rng, expected), drawn(rng, x), drawn(rng, x)

    def scalar(y: Any) -> Any:
        out = f(y)
        return real_inner(w, out) + 0.5 * real_inner(out, out)

    def along_v(y: Any) -> Any:
        return real_inner(v, gradient(scalar, y))

    (moved,) = jvp(lambda y: (f(y),), [x], [v])[1]
    moved = np.zeros_like(expected) if moved is None else moved
    difference = slope(f, x, v)
    np.testing.assert_allclose(moved, difference, atol=1e-6 * max(1, np.max(np.abs(difference))))
    g = gradient(scalar, x)
    assert abs(real_inner(g, v) - slope(scalar, x, v)) < 1e-6 * max(1.0, np.max(np.abs(g)))
    h = gradient(along_v, x)
    assert abs(real_inner(h, u) - slope(along_v, x, u)) < 2e-6 * max(1.0, np.max(np.abs(h)))
    (over,) = jvp(lambda y: (gradient(scalar, y),), [x], [u])[1]
    over = np.zeros_like(x) if over is None else over
    assert abs(real_inner(h, u) - real_inner(over, v)) < 1e-9 * max(1.0, np.max(np.abs(h)))


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][1].dtype == np.float64])
def test_float32_is_kept(name: str) -> None:
    f, x = CASES[name]
    x = x.astype(np.float32)
    g = gradient(lambda y: np.sum(np.abs(f(y))), x)
    assert g.dtype == np.float32
    assert g.shape == x.shape


# ------------------------------------------------------------------------- determinants


def third(f: Any, x: Any, v: Any) -> Any:
    """The third derivative along ``v``, and its differences."""

    def second(y: Any) -> Any:
        return gradient(lambda t: real_inner(v, gradient(f, t)), y)

    return gradient(lambda t: real_inner(v, second(t)), x), slope(second, x, v)


@pytest.mark.parametrize("a", [A, SINGULAR, np.ones((3, 3)), np.zeros((3, 3)), np.eye(4)])
def test_third_derivative_of_a_determinant(a: Any) -> None:
    got, expected = third(la.det, a, drawn(np.random.default_rng(1), a))
    np.testing.assert_allclose(got, expected, atol=1e-8)


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("nuclear", "solve", "qr_"))])
def test_third_derivative(name: str) -> None:
    f, x = CASES[name]
    rng = np.random.default_rng(5)
    w, v = drawn(rng, f(x)), drawn(rng, x)
    got, expected = third(lambda y: real_inner(w, f(y)) + real_inner(f(y), f(y)), x, v)
    np.testing.assert_allclose(got, expected, atol=1e-6 * max(1.0, np.max(np.abs(expected))))


def test_third_derivative_of_a_large_determinant() -> None:
    rng = np.random.default_rng(2)
    a = np.eye(12) + 0.1 * rng.standard_normal((12, 12))
    got, expected = third(la.det, a, drawn(rng, a))
    np.testing.assert_allclose(got, expected, atol=1e-7)


def test_large_singular_determinant_is_accurate() -> None:
    q = la.qr(np.random.default_rng(0).standard_normal((60, 60)))[0]
    d = np.ones(60)
    d[7] = 0.0
    g = gradient(la.det, (q * d) @ q.T)
    np.testing.assert_allclose(g, np.outer(q[:, 7], q[:, 7]), atol=1e-13)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3), (2, 0, 0)])
def test_empty_matrices(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    for f in (la.det, la.inv, lambda a: la.slogdet(a)[1], lambda a: la.eigh(a)[1], la.eigvalsh):
        g = gradient(lambda a, f=f: np.sum(f(a)), x)
        assert g.shape == shape


# ------------------------------------------------------------------------- kinks, repeated values


@pytest.mark.parametrize("ord", [None, 0, 0.5, 1, 1.5, 2, 3, np.inf, -np.inf])
def test_vector_norms_of_zero_have_derivative_zero(ord: Any) -> None:
    g = gradient(lambda x: la.norm(x, ord), np.zeros(3))
    assert np.array_equal(g, np.zeros(3))
    h = gradient(lambda x: np.sum(gradient(lambda y: la.norm(y, ord), x)), np.zeros(3))
    assert np.array_equal(h, np.zeros(3))


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_matrix_norms_of_zero_have_derivative_zero(ord: Any) -> None:
    g = gradient(lambda x: la.norm(x, ord, axis=(0, 1)), np.zeros((3, 2)))
    assert np.array_equal(g, np.zeros((3, 2)))


@pytest.mark.parametrize("ord", [0.5, 1, 3, 4.5])
def test_zero_entries_of_a_norm(ord: float) -> None:
    x = np.array([0.0, 3.0, -4.0])
    g = gradient(lambda x: la.norm(x, ord), x)
    expected = np.sign(x) * np.where(x == 0, 1, np.abs(x)) ** (ord - 1)
    expected = np.where(x == 0, 0.0, expected) * la.norm(x, ord) ** (1 - ord)
    np.testing.assert_allclose(g, expected, rtol=1e-13)


SPECTRA = [
    np.eye(3),
    np.diag([2.0, 2.0, 3.0]),
    np.ones((3, 3)),
    la.qr(A)[0] * [1, 1, 2] @ la.qr(A)[0].T,
]


@pytest.mark.parametrize("a", SPECTRA)
def test_symmetric_functions_of_repeated_eigenvalues(a: Any) -> None:
    g = gradient(lambda a: np.sum(np.exp(la.eigvalsh(a))), a)
    w, v = la.eigh(a)
    np.testing.assert_allclose(g, (v * np.exp(w)) @ v.T, atol=1e-12)
    g = gradient(lambda a: np.sum(la.svd(a, compute_uv=False) ** 2), a)
    np.testing.assert_allclose(g, 2 * a, atol=1e-12)


@pytest.mark.parametrize("a", [np.eye(3), la.qr(A)[0] * [1, 1, 2] @ la.qr(A)[0].T])
def test_vectors_of_repeated_eigenvalues_are_not_a_number(a: Any) -> None:
    def logarithm(a: Any) -> Any:
        w, v = la.eigh(a)
        return np.sum((v * np.log(w)) @ v.T * A)

    assert not np.all(np.isfinite(gradient(logarithm, a)))

    def second(a: Any) -> Any:
        return gradient(
            lambda a: real_inner(R.T @ R, gradient(lambda a: np.sum(np.exp(la.eigvalsh(a))), a)), a
        )

    assert not np.all(np.isfinite(second(a)))


def test_unused_vectors_of_a_null_space_do_no_harm() -> None:
    x = np.random.default_rng(3).standard_normal((4, 7))  # seven eigenvalues, four not zero

    def explained(x: Any) -> Any:
        v = la.eigh(x.T @ x)[1][:, -2:]
        return np.sum((x @ v @ v.T) ** 4)

    v = drawn(np.random.default_rng(4), x)
    assert real_inner(gradient(explained, x), v) == pytest.approx(slope(explained, x, v), rel=1e-7)


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("f", "x", "message"),
    [
        (lambda a: la.matrix_rank(a) * a, A, "ug.stop_gradient"),
        (lambda a: la.lstsq(a, A[:, :1], rcond=None)[0], SINGULAR, "rank 2 has no derivative"),
        (lambda a: la.qr(a, "raw")[0], A, "mode='reduced'"),
        (lambda a: np.real(la.eigh(symmetric(a))[1] ** 2), C, "phases"),
        (lambda a: np.real(la.svd(a)[0] ** 3), C, "phases"),
        (lambda a: np.imag(la.svd(a)[2]), C, "phases"),
        (lambda a: la.svd(a)[0] ** 3, LONG, "full_matrices=False"),
        (lambda a: la.svd(a)[2][1:] ** 3, R[:1], "full_matrices=False"),
        (lambda a: la.qr(a, "complete")[0] ** 3, LONG, "mode='reduced'"),
        (lambda a: la.multi_dot([a, a], out=np.zeros((3, 3))), A, "out="),
    ],
)
def test_refused(f: Any, x: Any, message: str) -> None:
    with pytest.raises(TracingError, match=message):
        gradient(lambda a: np.sum(f(a)), x)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda a: la.norm(a, "nuc", axis=0), "order"),
        (lambda a: la.norm(a, 3), "norm order"),
        (lambda a: la.norm(np.stack([a, a]), 2), "dimensions"),
        (lambda a: la.multi_dot([a]), "two arrays"),
        (lambda a: la.tensorinv(a, 0), "ind"),
        (lambda a: la.tensorsolve(a, a[0, 0]), "must satisfy"),
    ],
)
def test_errors_are_numpys(f: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):  # LinAlgError is one
        f(A)
    with pytest.raises(ValueError, match=message):
        gradient(lambda a: np.sum(f(a)), A)


def test_lstsq_gives_what_numpy_gives() -> None:
    for a, b in ((LONG, LONG[:, 0]), (LONG, LONG**2), (R, R), (A, A[0])):
        expected = la.lstsq(a, b, rcond=None)
        found: list[Any] = []
        vjp(lambda a, b=b, found=found: (found.append(la.lstsq(a, b, rcond=None)), a)[1:], [a])
        for got, want in zip(found[0], expected, strict=True):
            want = np.asarray(want)
            (value,), _ = (
                vjp(lambda _, got=got: (got,), [A]) if isinstance(got, int) else ((got.value,), 0)
            )
            np.testing.assert_allclose(value, want, atol=1e-12)
            assert np.shape(value) == want.shape


def test_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient(lambda a: np.sum(la.eigh(a)[1] ** 3), np.eye(3))
        gradient(lambda a: np.sum(la.norm(a, 3, axis=0)), K)
