"""What a function reads and writes beside its arguments, and what outlives it: found by readers."""

from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ArgumentError, TracingError

X = np.array([1.0, 2.0, 3.0])


# ------------------------------------------------------------------------- recordings


def test_numbers_of_a_recording_are_immutable() -> None:
    def f(x: Any) -> Any:
        s = x[0]
        t = s
        t += 5
        return s * t

    assert ug.jit(f)(X) == 6.0
    np.testing.assert_array_equal(ug.jit(ug.grad(f))(X), [7.0, 0.0, 0.0])


CAPTURED = {
    "operator": lambda x, c: x * c,
    "reflected": lambda x, c: c * x,
    "power": lambda x, c: x**c,
    "function": lambda x, c: np.linalg.solve(np.diag(c), x),
    "computed": lambda x, c: x * np.exp(c),
    "reduced": lambda x, c: x * c.sum(),
    "entry": lambda x, c: x * c[0],
    "column": lambda x, c: x * c[:2].sum(),
    "index": lambda x, c: x[c.astype(int) % 3] * x,
}


@pytest.mark.parametrize("name", CAPTURED)
@pytest.mark.parametrize("size", [1, 400])
def test_a_captured_array_that_was_written_is_noticed(name: str, size: int) -> None:
    c = np.linspace(1.0, 2.0, 3)
    x = X if size == 1 else np.tile(X, size)
    c = c if size == 1 or name == "function" else np.tile(c, size)
    if name == "function":
        x = X

    def f(x: Any) -> Any:
        return CAPTURED[name](x, c)

    value = ug.jit(f)
    gradient = ug.jit(ug.grad(f, reduce="sum"))
    value(x), gradient(x)
    c[0], c[-1] = 5.0, c[0]
    np.testing.assert_array_equal(value(x), f(x))
    np.testing.assert_allclose(gradient(x), ug.grad(f, reduce="sum")(x), rtol=1e-13)


def test_numbers_lists_and_rebound_names_are_noticed() -> None:
    k, entries, table = 2.0, [1.0, 2.0, 3.0], {"w": X.copy()}

    def f(x: Any) -> Any:
        return k * x * entries[0] * table["w"][0]

    run = ug.jit(f)
    run(X)
    for change in range(3):
        if change == 0:
            k = 3.0
        elif change == 1:
            entries[0] = 7.0
        else:
            table["w"] = X + 1
        np.testing.assert_array_equal(run(X), f(X))


def test_a_method_may_be_compiled() -> None:
    class Scaled:
        def __init__(self) -> None:
            self.k = 2.0

        @ug.jit
        def times(self, x: Any) -> Any:
            return self.k * x

    np.testing.assert_array_equal(Scaled().times(X), 2 * X)


def test_draws_from_a_captured_generator_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(TracingError, match="random numbers"):
        ug.jit(lambda x: x + rng.normal())(X)
    value, push = ug.linearize(lambda x: x * rng.normal(), X)
    np.testing.assert_allclose(push(X), value)


def mask(w: Any) -> Any:
    m = (w > 1.5) * 1.0
    y = w * m
    m[:] = 7
    return np.sum(y * w)


def order(x: Any) -> Any:
    i = np.argsort(-x)
    y = x[i] * x
    i[:] = 0
    return np.sum(y * np.array([1.0, 10.0, 100.0]))


def written_mask(x: Any) -> Any:
    m = x > 1.5
    y = x.copy()
    y[m] = 0.5
    m[:] = True
    return np.sum(y)


def stopped(w: Any) -> Any:
    h = ug.stop_gradient(w).copy()
    z = h * w
    h[:] = 0
    return np.sum(z)


@pytest.mark.parametrize("f", [mask, order, written_mask, stopped])
def test_recorded_constants_may_be_written_later(f: Any) -> None:
    np.testing.assert_array_equal(ug.jit(ug.grad(f))(X), ug.grad(f)(X))


def test_a_jitted_function_in_a_derivative_in_jit() -> None:
    cube = ug.jit(lambda x: np.sum(x**3))
    np.testing.assert_array_equal(ug.jit(ug.grad(cube))(X), 3 * X**2)

    def f(x: Any) -> Any:
        return 2.0 * x

    f.f = lambda x: 999.0  # type: ignore[attr-defined]
    np.testing.assert_array_equal(ug.jit(f)(X), 2 * X)


def test_checkpoint_and_custom_rules_under_jit() -> None:
    saved = ug.checkpoint(np.sin)
    np.testing.assert_array_equal(ug.jit(lambda x: saved(x))(X), np.sin(X))
    got = ug.jit(ug.grad(lambda x: np.sum(saved(saved(x)))))(X)
    np.testing.assert_allclose(got, np.cos(np.sin(X)) * np.cos(X), rtol=1e-14)


def test_a_number_out_of_a_recording_is_refused_with_its_line() -> None:
    for f in (lambda x: float(x[0]) * x, lambda x: x[0].item() * x, lambda x: x * int(x[0])):
        with pytest.raises(TracingError, match=r"test_engine_surroundings\.py"):
            ug.jit(f)(X)


# ------------------------------------------------------------------------- buffers


def diagonals(x: Any) -> Any:
    b, s = np.zeros((3, 3)), 0.0
    for k in (1.0, 2.0, 3.0):
        b[:] = k
        s = s + np.sum(x * np.diag(b))
    return s


def outer_buffer(x: Any) -> Any:
    b = np.zeros_like(x)

    def inner(z: Any) -> Any:
        s = 0.0
        for k in (1, 2, 3):
            b[:] = x * k
            s = s + np.sum(z * z * b)
        return s

    return np.sum(ug.grad(inner)(x))


def outer_written_before_the_pullback(x: Any) -> Any:
    y = x.copy()
    _, pullback = ug.vjp(lambda z: z * y, x)
    y[:] = 0
    return np.sum(pullback(np.ones(3))[0])


def outer_primal_written(x: Any) -> Any:
    y = x.copy()
    _, pullback = ug.vjp(lambda z: z**2, y)
    y[:] = 0
    return np.sum(pullback(np.ones(3))[0])


def result_written(x: Any) -> Any:
    y = x.copy()
    _, t = ug.jvp(lambda z: z, y, y)
    t[0] = 5
    return np.sum(y * x)


def stop_gradient_written(x: Any) -> Any:
    y = x.copy()
    h = ug.stop_gradient(y)
    y[0] = 100.0
    return np.sum(h * x)


def checkpoint_of_a_view(x: Any) -> Any:
    y = x.copy()
    z = ug.checkpoint(lambda y: y[1:])(y)
    y[1] = 5.0
    return np.sum(z * z)


BUFFERS = [
    (diagonals, [6.0, 6.0, 6.0]),
    (outer_buffer, [24.0, 48.0, 72.0]),
    (outer_written_before_the_pullback, [1.0, 1.0, 1.0]),
    (outer_primal_written, [2.0, 2.0, 2.0]),
    (result_written, [2.0, 4.0, 6.0]),
    (stop_gradient_written, [1.0, 2.0, 3.0]),
    (checkpoint_of_a_view, [0.0, 4.0, 6.0]),
]


@pytest.mark.parametrize(("f", "expected"), BUFFERS)
def test_buffers_written_later(f: Any, expected: list[float]) -> None:
    value, gradient = ug.value_and_grad(f)(X)
    assert value == f(X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


def test_a_constant_seen_through_a_read_only_view() -> None:
    c = np.ones(1)
    _, pullback = ug.vjp(lambda x: x * np.broadcast_to(c, (3,)), X)
    c[:] = 7
    np.testing.assert_array_equal(pullback(np.ones(3))[0], np.ones(3))


def test_a_rule_may_write_into_its_cotangent() -> None:
    def backward(r: Any, u: Any) -> Any:
        u *= 2
        return (u * r,)

    square = ug.custom_vjp(lambda x: x**2)
    square.defvjp(lambda x: (x**2, x), backward)
    np.testing.assert_array_equal(ug.grad(lambda x: np.sum(square(x) + square(x)))(X), 4 * X)
    u = np.ones(3)
    ug.vjp(square, X)[1](u)
    np.testing.assert_array_equal(u, np.ones(3))


def test_checkpoint_notices_what_changed() -> None:
    def late(x: Any) -> Any:
        for k in (1.0, 2.0, 3.0):
            x = ug.checkpoint(lambda y: y * k)(x)  # noqa: B023
        return np.sum(x)

    with pytest.raises(ArgumentError, match="k=k"):
        ug.grad(late)(X)


# ------------------------------------------------------------------------- what outlives a trace


def test_values_kept_by_the_function_are_refused_later() -> None:
    cache: list[Any] = []

    def keeping(x: Any) -> Any:
        cache.append(np.exp(x))
        return np.sum(cache[0] * x)

    ug.grad(keeping)(X)
    for f in (keeping, lambda x: cache[0], lambda x: x * cache[0]):
        with pytest.raises(TracingError, match="was over"):
            ug.grad(f, reduce="sum")(X)
    with pytest.raises(TracingError, match="was over"):
        ug.jvp(lambda x: x * cache[0], X, X)


def test_pickling_is_refused() -> None:
    with pytest.raises(TracingError, match="pickled"):
        ug.grad(lambda x: np.sum(pickle.loads(pickle.dumps(x)) ** 2))(X)


def test_linearize_inside_a_derivative() -> None:
    by_closure = ug.grad(lambda w: ug.linearize(lambda x: w * x**2, 1.0)[1](1.0))
    assert by_closure(3.0) == 2.0
    by_tangent = ug.grad(lambda a: np.sum(ug.linearize(lambda z: z**3, X)[1](a)))
    np.testing.assert_array_equal(by_tangent(X), 3 * X**2)


# ------------------------------------------------------------------------- constants of other kinds


def test_integers_and_half_precision_beside_floats() -> None:
    unsigned = np.array([1, 2, 3], np.uint8)
    got = ug.grad(lambda x: np.sum(np.arctan2(unsigned, x)))(X)
    np.testing.assert_allclose(
        got, -1.0 * unsigned / (X**2 + unsigned.astype(float) ** 2), rtol=1e-14
    )
    for kind in (np.float32, np.float16):
        c = np.array([0.1, 0.3, 0.7], kind)
        exact = c.astype(float)
        for f, slope in (
            (lambda w, c=c: np.sum(w / c), 1 / exact),
            (lambda w, c=c: np.sum(c**w), exact**X * np.log(exact)),
            (lambda w, c=c: c @ w, exact),
        ):
            np.testing.assert_allclose(ug.grad(f)(X), slope, rtol=1e-14)
    places = np.array([200, 150, 90], np.uint8)
    value, _ = ug.vjp(lambda x: np.gradient(x, places), X)
    np.testing.assert_allclose(value, np.gradient(X, places), rtol=1e-14)


def test_lists_and_fractions_as_operands() -> None:
    got = ug.grad(lambda x: np.sum(np.power(x, [2.0, 3.0, 1.0])))(X)
    np.testing.assert_allclose(got, [2.0, 12.0, 1.0])
    with pytest.raises(TracingError, match=r"float\(it\)"):
        ug.grad(lambda x: np.sum(x * Fraction(1, 2)))(X)
