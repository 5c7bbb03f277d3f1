"""The NumPy adapter: its declaration agrees with its code, and results share no memory (S5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unigrad.backend import Backend
from unigrad_numpy import spec
from unigrad_numpy.adapter import NumpyBackend

BACKEND = NumpyBackend()
X = np.array([[1.2, 0.5, 0.3], [0.4, 1.5, -0.2], [0.1, 0.3, 2.0]])


def test_native_is_what_is_overridden() -> None:
    optional = {"value_and_grad", "jvp", "linearize", "hvp", "batched_pullback", "custom_vjp"}
    optional |= {"functional", "jit"}
    overridden = {n for n in optional if getattr(NumpyBackend, n) is not getattr(Backend, n)}
    assert spec.capabilities.native == overridden
    assert BACKEND.capabilities is spec.capabilities


def test_results_own_their_memory() -> None:
    x = np.ones(3)
    _, grads = BACKEND.value_and_grad(lambda a, b: (np.sum(a + b), a), [x, x])
    released = BACKEND.release([*grads, x, x[:2]], [x])
    for i, a in enumerate(released):
        assert a.flags.writeable
        assert a.base is None
        assert not any(np.may_share_memory(a, b) for b in [x, *released[:i]])


def test_results_have_the_kind_of_their_leaf() -> None:
    leaves = [2.0, np.float64(2.0), np.array(2.0)]
    for result in (np.float64(1.0), np.array(1.0)):
        kinds = [type(r) for r in BACKEND.release([result] * 3, [], leaves)]
        assert kinds == [np.float64, np.float64, np.ndarray]


def test_pullback_survives_writes_to_its_surroundings() -> None:
    x = np.array([1.0, 2.0])
    outputs, pullback = BACKEND.vjp(lambda x: (np.exp(x), x * x), [x])
    expected = np.exp(x) + 2 * x
    outputs[0][:] = 0
    x[:] = 7
    np.testing.assert_allclose(pullback([np.ones(2), np.ones(2)])[0], expected)


XP = {
    "abs": lambda xp, x: xp.abs(x),
    "clip": lambda xp, x: xp.clip(x, min=0.45) + xp.clip(x, 0.5 * x, 1.1),
    "asarray": lambda xp, x: xp.asarray(x, dtype=xp.float64, copy=True) * xp.asarray(x),
    "cumulative_sum": lambda xp, x: xp.cumulative_sum(x, axis=1, include_initial=True),
    "std": lambda xp, x: xp.std(x, axis=1, correction=1),
    "sort": lambda xp, x: xp.sort(x, axis=0, descending=True),
    "take_along_axis": lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1), axis=1),
    "vecdot": lambda xp, x: xp.vecdot(x, x[::-1], axis=0),
    "einsum": lambda xp, x: xp.einsum("ij,jk->ki", x, x),
    "unstack": lambda xp, x: xp.unstack(x, axis=1)[1],
    "permute_dims": lambda xp, x: xp.permute_dims(xp.expand_dims(x, axis=0), (2, 0, 1)),
    "solve": lambda xp, x: xp.linalg.solve(x, x[0]) + xp.linalg.solve(x, x.T)[0],
    "cholesky": lambda xp, x: xp.linalg.cholesky(x @ x.T, upper=True),
    "slogdet": lambda xp, x: xp.linalg.slogdet(x).logabsdet,
    "svd": lambda xp, x: xp.linalg.svd(x[:2]).S + xp.linalg.svdvals(x)[1:],
    "eigh": lambda xp, x: xp.linalg.eigh(x @ x.T).eigenvalues,
    "qr": lambda xp, x: xp.abs(xp.linalg.qr(x).Q),
    "matrix_norm": lambda xp, x: xp.linalg.matrix_norm(x, ord="nuc", keepdims=True),
    "vector_norm": lambda xp, x: xp.linalg.vector_norm(x, axis=(0, 1), ord=3),
    "trace": lambda xp, x: xp.linalg.trace(x, offset=1) * xp.linalg.diagonal(x),
    "outer": lambda xp, x: xp.linalg.outer(x[0], x[1]),
}


@pytest.mark.parametrize("name", XP)
def test_namespace_on_traced_arrays(name: str) -> None:
    xp = BACKEND.xp
    rng = np.random.default_rng(0)
    v, w = rng.standard_normal(X.shape), rng.standard_normal(np.shape(XP[name](xp, X)))

    def f(x: Any) -> tuple[Any, ...]:
        return (xp.sum(w * XP[name](xp, x) ** 2),)

    def gradient(x: Any) -> tuple[Any, ...]:
        return (xp.sum(v * BACKEND.value_and_grad(f, [x])[1][0]),)

    step = 1e-5
    for h in (f, gradient):
        slope = (h(X + step * v)[0] - h(X - step * v)[0]) / (2 * step)
        g = BACKEND.value_and_grad(h, [X])[1][0]
        assert g is not None
        assert np.sum(g * v) == pytest.approx(slope, rel=1e-6, abs=1e-7)
