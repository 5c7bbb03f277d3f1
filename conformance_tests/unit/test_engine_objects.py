"""What NumPy makes of traced values behind the engine's back: object arrays, and old buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unigrad.engine import vjp
from unigrad.errors import TracingError

X = np.array([1.0, 2.0, 3.0])


def grad(f: Any) -> Any:
    def gradient(x: Any) -> Any:
        (g,) = vjp(lambda y: (f(y),), [x])[1]([np.float64(1.0)])
        return np.zeros_like(x) if g is None else g

    return gradient


def augmented(x: Any) -> Any:
    s = np.zeros(3)
    s += x
    return s.sum()


SEEN_AS_OBJECTS = {
    "array": lambda x: np.sum(np.array([x[0] ** 2, x[1] * x[2]]) ** 2),
    "rows": lambda x: np.sum(np.array([x, x**2]) @ x),
    "mixed": lambda x: np.sum(np.array([[x[0], 1.0], [2.0, x[1]]]) @ x[:2]),
    "ufunc": lambda x: np.sum(np.tanh(np.array([x[0] / 2, x[1] * x[2] / 6]))),
    "sum_of_list": lambda x: np.sum([x, x**2]),
    "asarray": lambda x: np.asarray(x) @ x**2,
    "r_": lambda x: np.sum(np.r_[x, 1.0, x[0]] ** 3),
    "c_": lambda x: np.sum(np.c_[x, x**2] ** 2),
    "augmented": augmented,
    "out": lambda x: np.sum(np.multiply(x, x, out=np.zeros_like(x))),
}


@pytest.mark.parametrize("name", SEEN_AS_OBJECTS)
def test_arrays_that_numpy_makes_of_traced_scalars(name: str) -> None:
    f = SEEN_AS_OBJECTS[name]
    step = 1e-6
    exact = [(f(X + step * e) - f(X - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(grad(f)(X), exact, rtol=1e-8)


def test_an_object_array_is_returned_as_a_proper_one() -> None:
    outputs, pullback = vjp(lambda x: (np.array([x[0] * x[1], x[2]]),), [X])
    assert outputs[0].dtype == np.float64
    np.testing.assert_array_equal(outputs[0], [2.0, 3.0])
    np.testing.assert_array_equal(pullback([np.array([1.0, 10.0])])[0], [2.0, 1.0, 10.0])


def test_an_in_place_sum_leaves_nothing_to_be_read() -> None:
    def two_names(x: Any) -> Any:
        s = np.zeros(3)
        old = s
        s += x
        return np.sum(s) + np.sum(old)

    def in_a_list(x: Any) -> Any:
        sums = [np.zeros(3), np.zeros(3)]
        for s in sums:
            s += x
        return np.sum(sums[0] * sums[1])

    def of_an_entry(x: Any) -> Any:
        sums = [np.zeros(3)]
        sums[0] += x
        return np.sum(sums[0] ** 2)

    for f in (two_names, in_a_list):
        with pytest.raises(TracingError, match="second name"):
            grad(f)(X)
    np.testing.assert_array_equal(grad(of_an_entry)(X), 2 * X)


def test_writing_after_asarray_is_seen_or_refused() -> None:
    def stale_objects(x: Any) -> Any:
        y = x * 2
        z = np.asarray(y)
        y[0] = 0.0
        return np.sum(z)

    def through_objects(x: Any) -> Any:
        y = x * 2
        z = np.asarray(y)
        z[0] = 0.0
        return np.sum(y)

    with pytest.raises(TracingError, match="written in place after a view"):
        grad(stale_objects)(X)
    with pytest.raises(ValueError, match="read-only"):
        grad(through_objects)(X)


def test_views_of_views_show_what_is_written() -> None:
    def f(x: Any) -> Any:
        y = x * x
        t = y[:]
        a, b = t[:1], t[1:]
        y *= 2
        return np.sum(a) + 3 * np.sum(b) + np.sum(t)

    np.testing.assert_allclose(grad(f)(X), 2 * X * np.array([4.0, 8.0, 8.0]))


def test_a_long_chain_of_views() -> None:
    def f(x: Any) -> Any:
        y = x * 1.0
        for _ in range(3000):
            y = y[:]
        return np.sum(y)

    np.testing.assert_array_equal(grad(f)(X), np.ones(3))
