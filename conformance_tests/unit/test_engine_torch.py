"""The engine's rules against torch's, value, gradient and second derivative, where both have one.

Points include kinks: where torch has a rule there, so has the engine, and the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unigrad.engine import vjp

torch: Any = pytest.importorskip("torch")

X = np.array([[0.5, -1.2, 0.8], [1.7, 0.3, -0.4], [0.2, 0.9, 1.1]])
Z = X + 1j * X.T[::-1]
K = np.array([[0.0, 1.0, 1.0], [-1.0, 0.0, 2.0]])
S = X @ X.T + np.eye(3)
H = Z @ Z.conj().T + np.eye(3)


def both(name: str, of: str | None = None) -> tuple[Any, Any]:
    theirs: Any = torch
    for part in (of or name).split("."):
        theirs = getattr(theirs, part)
    ours: Any = np
    for part in name.split("."):
        ours = getattr(ours, part)
    return ours, theirs


def same(f: Any) -> tuple[Any, Any]:
    return f, f


def symmetric(xp: Any) -> Any:
    return lambda a: xp.linalg.cholesky(0.5 * (a + a.conj().swapaxes(0, 1)))


UNARY = "sin cos tanh sinh exp expm1 square floor sign abs sum mean prod ravel diag"

CASES: dict[str, tuple[tuple[Any, Any], Any]] = {
    **{n: (both(n), X) for n in UNARY.split()},
    **{f"complex_{n}": (both(n), Z) for n in ("exp", "tanh", "sqrt", "log", "abs", "angle")},
    "complex_sgn": ((lambda z: z / np.abs(z), torch.sgn), Z),
    "complex_conj": (same(lambda z: z * z.conj() * z.real + z.imag**2), Z),
    "complex_product": (same(lambda z: (z @ z).sum(0) / z[0]), Z),
    "complex_power": (same(lambda z: z**3 + z**1.5 + z**-1), Z),
    "complex_power_both": (same(lambda z: z ** z[0]), Z),
    "complex_norm": (both("linalg.norm"), Z),
    "complex_inv": (both("linalg.inv"), Z + 3 * np.eye(3)),
    "complex_det": (both("linalg.det"), Z),
    "complex_solve": (
        (lambda z: np.linalg.solve(z, z[0] ** 2), lambda z: torch.linalg.solve(z, z[0] ** 2)),
        Z,
    ),
    "complex_cholesky": ((symmetric(np), symmetric(torch)), H),
    "abs_kink": (both("abs"), K),
    "sign_kink": (both("sign"), K),
    "maximum_tie": ((lambda x: np.maximum(x, x.T), lambda x: torch.maximum(x, x.T)), X),
    "max_ties": ((lambda x: np.max(x, axis=1), lambda x: torch.amax(x, 1)), K),
    "min_ties": ((lambda x: np.min(x), lambda x: torch.amin(x)), K),
    "clip_bounds": ((lambda x: np.clip(x, 0, 1), lambda x: torch.clamp(x, 0, 1)), K),
    "power_zero": (same(lambda x: x**2 + x**1 + x**0 + x**3), K),
    "arctan2_origin": (
        (lambda x: np.arctan2(x[:, 0], x[:, 1]), lambda x: torch.arctan2(x[:, 0], x[:, 1])),
        X,
    ),
    "prod_zero": ((lambda x: np.prod(x, axis=1), lambda x: torch.prod(x, 1)), K),
    "prod_zeros": ((np.prod, torch.prod), K),
    "cumprod": ((lambda x: np.cumprod(x, axis=1), lambda x: torch.cumprod(x, 1)), X),
    "std": (
        (lambda x: np.std(x, axis=1, ddof=1), lambda x: torch.std(x, 1)),
        X,
    ),
    "logaddexp": (
        (lambda x: np.logaddexp(x, x.T * 2 + 1), lambda x: torch.logaddexp(x, x.T * 2 + 1)),
        X,
    ),
    "hypot": ((lambda x: np.hypot(x, x.T + 1), lambda x: torch.hypot(x, x.T + 1)), X),
    "inv": (both("linalg.inv"), X),
    "det": (both("linalg.det"), X),
    "slogdet": ((lambda a: np.linalg.slogdet(a)[1], lambda a: torch.linalg.slogdet(a)[1]), X),
    "cholesky": ((symmetric(np), symmetric(torch)), S),
    "eigvalsh": (
        (lambda a: np.linalg.eigh(a + a.T)[0], lambda a: torch.linalg.eigh(a + a.T)[0]),
        X,
    ),
    "svdvals": ((lambda a: np.linalg.svd(a)[1], lambda a: torch.linalg.svdvals(a)), X),
    "einsum": (
        (lambda a: np.einsum("ij,jk->i", a, a), lambda a: torch.einsum("ij,jk->i", a, a)),
        X,
    ),
    "index": (same(lambda x: x[[0, 0, 1]] * x[:, [2, 1, 0]]), X),
}


def ours_to_second_order(f: Any, x: Any, w: Any, v: Any) -> tuple[Any, Any, Any]:
    def loss(y: Any) -> Any:
        out = f(y)
        return np.sum(np.real(np.conj(w) * (out + out**2)))

    def gradient(y: Any) -> Any:
        g = vjp(lambda t: (loss(t),), [y])[1]([np.float64(1.0)])[0]
        return np.zeros_like(y) if g is None else g

    def along(y: Any) -> Any:
        return np.sum(np.real(np.conj(v) * gradient(y)))

    second = vjp(lambda t: (along(t),), [x])[1]([np.float64(1.0)])[0]
    return f(x), gradient(x), np.zeros_like(x) if second is None else second


def torch_to_second_order(f: Any, x: Any, w: Any, v: Any) -> tuple[Any, Any, Any]:
    y = torch.tensor(x, requires_grad=True)
    weight = torch.tensor(w)
    out = f(y)
    total = weight.conj() * (out + out**2)
    loss = (total.real if total.is_complex() else total).sum()
    (g,) = torch.autograd.grad(loss, y, create_graph=True)
    product = torch.tensor(v).conj() * g
    along = (product.real if product.is_complex() else product).sum()
    second = np.zeros_like(x)
    if along.requires_grad:
        (h,) = torch.autograd.grad(along, y, allow_unused=True)
        second = second if h is None else h.resolve_conj().numpy()
    return out.detach().numpy(), g.detach().resolve_conj().numpy(), second


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_torch(name: str) -> None:
    (ours, theirs), x = CASES[name]
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal(np.shape(ours(x))), rng.standard_normal(np.shape(x))
    if np.iscomplexobj(ours(x)):
        w = w + 1j * rng.standard_normal(w.shape)
    if np.iscomplexobj(x):
        v = v + 1j * rng.standard_normal(v.shape)
    w = np.asarray(w)
    got = ours_to_second_order(ours, x, w, v)
    expected = torch_to_second_order(theirs, x, w, v)
    for order, (a, b) in enumerate(zip(got, expected, strict=True)):
        scale = np.max(np.abs(b), initial=1.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * scale, err_msg=f"order {order}")
