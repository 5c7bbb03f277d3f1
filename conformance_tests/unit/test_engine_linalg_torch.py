"""The rules of numpy.linalg against torch.linalg: value, gradient, second derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unigrad.engine import vjp

torch: Any = pytest.importorskip("torch")
la = np.linalg

A = np.array([[1.2, 0.5, 0.3], [0.4, 1.5, -0.2], [0.1, 0.35, 2.0]])
LONG = np.array([[0.5, -1.2], [1.7, 0.3], [0.2, 0.9], [-0.6, 1.1]])
C = A + 1j * np.array([[0.2, -0.3, 0.1], [0.5, 0.4, -0.2], [-0.6, 0.3, 0.7]])
CLONG = LONG + 1j * LONG[::-1] * [[1.0, -0.4]]
SPIN = np.array([[0.3, -1.4, 0.2], [1.1, 0.5, -0.3], [0.4, 0.6, -0.8]])
K = np.array([[0.0, 3.0, -4.0], [0.0, 0.0, 0.0], [1.0, -2.0, 2.0]])


def low_rank(a: Any) -> Any:
    """A matrix of the rank of a thin ``a``, whatever ``a`` is."""
    return a @ adj(a) @ a @ adj(a[:3])


def adj(a: Any) -> Any:
    return a.conj().swapaxes(-1, -2)


def herm(a: Any) -> Any:
    return a @ adj(a)


def symmetric(a: Any) -> Any:
    return 0.5 * (a + adj(a))


def inner(a: Any, b: Any) -> Any:
    return np.real(np.sum(np.conj(a) * b))


def gradient(f: Any, x: Any) -> Any:
    (g,) = vjp(lambda y: (f(y),), [x])[1]([np.float64(1.0)])
    return np.zeros_like(x) if g is None else g


def direction(rng: Any, like: Any) -> Any:
    v = rng.uniform(-0.5, 0.5, np.shape(like))
    return v + 1j * rng.uniform(-0.5, 0.5, np.shape(like)) if np.iscomplexobj(like) else v


def same(name: str, **options: Any) -> tuple[Any, Any]:
    return (
        lambda a: getattr(la, name)(a, **options),
        lambda t, a: getattr(t.linalg, name)(a, **options),
    )


def norm(ord: Any) -> tuple[Any, Any]:
    return lambda a: la.norm(a, ord, axis=1), lambda t, a: t.linalg.vector_norm(a, ord, dim=1)


def matrix_norm(ord: Any) -> tuple[Any, Any]:
    return lambda a: la.norm(a, ord), lambda t, a: t.linalg.matrix_norm(a, ord)


CASES: dict[str, tuple[tuple[Any, Any], Any]] = {
    "inv": (same("inv"), C),
    "pinv": (same("pinv"), CLONG),
    "pinv_low_rank": (
        (
            lambda a: la.pinv(low_rank(a), 1e-10),
            lambda t, a: t.linalg.pinv(low_rank(a), rtol=1e-10),
        ),
        CLONG,
    ),
    "det": (same("det"), C),
    "slogdet": ((lambda a: la.slogdet(a)[1], lambda t, a: t.linalg.slogdet(a)[1]), C),
    "eigvals": (same("eigvals"), SPIN),
    "eigvals_complex": (same("eigvals"), C),
    "eig": ((lambda a: np.abs(la.eig(a)[1]), lambda t, a: t.linalg.eig(a)[1].abs()), SPIN),
    "eigh": ((lambda a: np.abs(la.eigh(a)[1]), lambda t, a: t.linalg.eigh(a)[1].abs()), herm(C)),
    "cholesky": (
        (lambda a: la.cholesky(symmetric(a)), lambda t, a: t.linalg.cholesky(symmetric(a))),
        herm(C),
    ),
    "svdvals": (
        (lambda a: la.svd(a, compute_uv=False), lambda t, a: t.linalg.svdvals(a)),
        CLONG,
    ),
    "svd": (
        (
            lambda a: np.abs(la.svd(a, full_matrices=False)[0]),
            lambda t, a: t.linalg.svd(a, full_matrices=False)[0].abs(),
        ),
        CLONG,
    ),
    "qr": ((lambda a: la.qr(a)[0], lambda t, a: t.linalg.qr(a)[0]), CLONG),
    "qr_r": ((lambda a: la.qr(a)[1], lambda t, a: t.linalg.qr(a)[1]), LONG),
    "lstsq": (
        (
            lambda a: la.lstsq(a, CLONG, rcond=None)[0],
            lambda t, a: t.linalg.lstsq(a, t.tensor(CLONG)).solution,
        ),
        CLONG[::-1] * 2 + 1,
    ),
    "matrix_power": (
        (lambda a: la.matrix_power(a, -3), lambda t, a: t.linalg.matrix_power(a, -3)),
        C,
    ),
    "tensorinv": (
        (
            lambda a: la.tensorinv(a.reshape(3, 1, 3), ind=1),
            lambda t, a: t.linalg.tensorinv(a.reshape(3, 1, 3), ind=1),
        ),
        A,
    ),
    **{f"vector_{o}": (norm(o), A) for o in (0.5, 1, 2, 3, np.inf, -np.inf)},
    **{f"vector_kink_{o}": (norm(o), K) for o in (0.5, 1, 2, 3, 4, np.inf, -np.inf)},
    **{f"vector_complex_{o}": (norm(o), C) for o in (1, 2, 3, np.inf, -np.inf)},
    **{f"matrix_{o}": (matrix_norm(o), C) for o in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)},
    **{
        f"cond_{p}": ((lambda a, p=p: la.cond(a, p), lambda t, a, p=p: t.linalg.cond(a, p)), A)
        for p in (None, -2)
    },
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_torch(name: str) -> None:
    (ours, theirs), x = CASES[name]
    rng = np.random.default_rng(0)
    w, v = direction(rng, ours(x)), direction(rng, x)

    def loss(y: Any) -> Any:
        out = ours(y)
        return inner(w, out) + 0.5 * inner(out, out)

    y = torch.tensor(x, requires_grad=True)
    out = theirs(torch, y)
    total = torch.as_tensor(w).conj() * out + 0.5 * out * out.conj()
    (g,) = torch.autograd.grad(
        (total.real if total.is_complex() else total).sum(), y, create_graph=True
    )
    product = torch.tensor(v).conj() * g
    along = (product.real if product.is_complex() else product).sum()
    (h,) = torch.autograd.grad(along, y)
    mine = gradient(loss, x)
    for got, want in (
        (ours(x), out.detach()),
        (mine, g.detach()),
        (gradient(lambda y: inner(v, gradient(loss, y)), x), h),
    ):
        want = want.resolve_conj().numpy()
        known = np.isfinite(want)  # torch's second derivatives are nan at some kinks
        scale = np.max(np.abs(want), where=known, initial=1.0)
        assert np.all(np.isfinite(got))
        np.testing.assert_allclose(got[known], want[known], rtol=0, atol=1e-10 * scale)
