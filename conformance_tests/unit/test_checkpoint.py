"""ug.checkpoint: the same derivatives, from values computed twice."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ArgumentError, TracingError

X = np.linspace(-1.0, 1.0, 5)
V = np.array([0.3, -1.0, 0.5, 2.0, -0.7])


def block(x: Any, scale: Any) -> Any:
    for _ in range(3):
        x = np.sin(x) * scale["s"] + x
    return x


def loss(step: Any) -> Any:
    def f(x: Any, scale: Any) -> Any:
        return np.sum(step(step(x, scale), scale) ** 2)

    return f


def test_derivatives_are_the_same() -> None:
    plain, saved = loss(block), loss(ug.checkpoint(block))
    scale = {"s": np.float64(0.7)}
    assert plain(X, scale) == saved(X, scale)
    want = ug.grad(plain, argnums=(0, 1))(X, scale)
    got = ug.grad(saved, argnums=(0, 1))(X, scale)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1]["s"], want[1]["s"])
    for method in ("forward_over_reverse", "reverse_over_reverse"):
        want = ug.hvp(lambda x: plain(x, scale), X, V, method=method)
        got = ug.hvp(lambda x: saved(x, scale), X, V, method=method)
        np.testing.assert_allclose(got, want, rtol=1e-13)
    third = [
        ug.grad(lambda x, f=f: ug.hvp(lambda y: f(y, scale), x, V) @ V)(X) for f in (plain, saved)
    ]
    np.testing.assert_allclose(third[1], third[0], rtol=1e-12)


def test_integers_and_keywords_pass() -> None:
    @ug.checkpoint
    def power(x: Any, n: int, *, shift: float = 0.0) -> Any:
        return (x + shift) ** n

    assert ug.grad(lambda x: power(x, 3))(2.0) == 12.0
    assert ug.grad(lambda x: power(x, 3, shift=1.0))(2.0) == 27.0


def test_the_function_runs_once_more_for_each_pullback() -> None:
    calls = []

    @ug.checkpoint
    def f(x: Any) -> Any:
        calls.append(1)
        return np.tanh(x)

    ug.grad(lambda x: np.sum(f(x)))(X)
    assert len(calls) == 2


def test_inner_values_are_not_kept() -> None:
    def deep(x: Any) -> Any:
        for _ in range(20):
            x = np.sin(x)
        return x

    def peak(step: Any) -> int:
        def f(x: Any) -> Any:
            for _ in range(5):
                x = step(x)
            return np.sum(x)

        x = np.ones(50_000)
        tracemalloc.start()
        ug.grad(f)(x)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(ug.checkpoint(deep)) < 0.4 * peak(deep)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"ug\.checkpoint needs a function, got int"):
        ug.checkpoint(3)  # type: ignore[arg-type]

    def closing(x: Any) -> Any:
        return ug.checkpoint(lambda y: x * y)(x)

    with pytest.raises(TracingError, match="pass it as an argument"):
        ug.grad(closing)(2.0)


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_on_other_frameworks(name: str) -> None:
    pytest.importorskip(name)

    def f(x: Any) -> Any:
        xp = ug.array_namespace(x)
        return xp.sin(x) * x

    def twice(step: Any) -> Any:
        return lambda x: ug.array_namespace(x).sum(step(step(x)))

    x, v = ug.asarray(X, backend=name), ug.asarray(V, backend=name)
    for derive in (lambda g: ug.grad(g)(x), lambda g: ug.hvp(g, x, v)):
        want, got = (ug.to_numpy(derive(twice(s))) for s in (f, ug.checkpoint(f)))
        np.testing.assert_allclose(got, want, rtol=1e-13)
