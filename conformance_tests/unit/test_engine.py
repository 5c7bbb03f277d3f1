"""The engine as a function meets it: nesting, purity, in-place writes, kinks, and refusals."""

from __future__ import annotations

import math
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.engine import TracedArray, custom_vjp, stop_gradient, vjp
from unigrad.errors import TracingError

X = np.array([1.0, 2.0, 3.0])


def grad(f: Any) -> Any:
    def gradient(*xs: Any) -> Any:
        grads = vjp(lambda *ys: (f(*ys),), xs)[1]([np.float64(1.0)])
        filled = [np.zeros_like(x) if g is None else g for g, x in zip(grads, xs, strict=True)]
        return filled[0] if len(filled) == 1 else tuple(filled)

    return gradient


# ------------------------------------------------------------------------- nesting (S6, S7, S8)


def test_perturbations_are_not_confused() -> None:
    one = np.float64(1.0)
    assert grad(lambda x: x * grad(lambda y: x + y)(one))(one) == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y)(x))(np.float64(3.0)) == 6.0
    assert grad(lambda x: grad(lambda y: x**2 * y**3)(x) * x)(np.float64(2.0)) == 15 * 2.0**4


def test_fifth_derivative() -> None:
    f: Any = np.tanh
    for _ in range(5):
        f = grad(f)
    t = math.tanh(0.7)
    exact = 16 - 136 * t**2 + 240 * t**4 - 120 * t**6
    assert f(np.float64(0.7)) == pytest.approx(exact, rel=1e-12)


def test_mixed_fourth_derivative_over_closures() -> None:
    def inner(x: Any, y: Any) -> Any:
        return np.sin(x * y)

    def second_y(x: Any, y: Any) -> Any:
        return grad(grad(lambda t: inner(x, t)))(y)

    got = grad(grad(lambda s: second_y(s, np.float64(0.5))))(np.float64(0.3))
    p = 0.15
    exact = -2 * math.sin(p) - 4 * p * math.cos(p) + p * p * math.sin(p)
    assert got == pytest.approx(exact, rel=1e-12)


def test_pullback_is_reusable_and_linear() -> None:
    outputs, pullback = vjp(lambda x, y: (x * y, np.exp(x), 7.0), [X, X[::-1]])
    assert outputs[2] == 7.0
    first = pullback([X, None, None])
    both = pullback([X, X, None])
    np.testing.assert_array_equal(pullback([X, None, None])[0], first[0])
    np.testing.assert_allclose(both[0], X * X[::-1] + X * np.exp(X))
    assert pullback([None, X, None])[1] is None


def test_pullback_is_differentiable_in_its_cotangent() -> None:
    pullback = vjp(lambda x: (np.sin(x) * x,), [X])[1]
    jacobian = vjp(lambda c: pullback([c]), [X])[1]
    np.testing.assert_allclose(jacobian([X])[0], (np.cos(X) * X + np.sin(X)) * X)


def test_an_exception_leaves_nothing_behind() -> None:
    def broken(x: Any) -> Any:
        grad(lambda y: x * y)(x)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        grad(broken)(np.float64(2.0))
    assert grad(lambda x: x**2)(np.float64(2.0)) == 4.0


def test_threads() -> None:
    def work(k: int) -> bool:
        a = np.float64(0.1 * k)
        third = grad(grad(grad(lambda x: np.exp(a * x) * x)))
        exact = (a**3 * 0.5 + 3 * a**2) * math.exp(a * 0.5)
        return all(abs(third(np.float64(0.5)) - exact) < 1e-9 for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_escaped_value_is_refused() -> None:
    def escaping(x: Any) -> Any:
        kept = np.zeros_like(x)

        def inner(y: Any) -> Any:
            kept[0] = y
            return y * x[0]

        return grad(inner)(np.float64(2.0)) + kept.sum()

    with pytest.raises(TracingError, match="was over"):
        grad(escaping)(X)


# ------------------------------------------------------------------------- constants and rules


def test_stop_gradient_at_every_level() -> None:
    f = grad(lambda x: grad(lambda y: stop_gradient(x * y) * y)(x) * x)
    assert f(np.float64(3.0)) == 9.0


def straight_through(x: Any) -> Any:
    return custom_vjp(lambda x: ((np.round(x),), ()), lambda _, g: (g[0],), (x,))[0]


def exponential(x: Any) -> Any:
    def forward(x: Any) -> Any:
        y = np.exp(x)
        return (y,), (y,)

    return custom_vjp(forward, lambda r, g: (r[0] * g[0],), (x,))[0]


def product(x: Any, y: Any) -> Any:
    def backward(r: Any, g: Any) -> Any:
        return r[1] * g[0], r[0] * g[0]

    return custom_vjp(lambda x, y: ((x * y,), (x, y)), backward, (x, y))[0]


def test_custom_rules_survive_double_differentiation() -> None:
    x = np.float64(2.3)
    assert grad(lambda x: straight_through(x) ** 2)(x) == 4.0
    assert grad(grad(lambda x: straight_through(x) ** 2))(x) == 2.0
    assert grad(grad(grad(exponential)))(x) == pytest.approx(math.exp(2.3), rel=1e-14)
    cube = grad(grad(lambda x: product(product(x, x), x)))
    assert cube(x) == pytest.approx(6 * 2.3, rel=1e-14)
    assert grad(lambda x: grad(lambda y: product(x, y))(x))(x) == 1.0


def test_custom_rule_refuses_closures() -> None:
    def closing(x: Any) -> Any:
        return custom_vjp(lambda y: ((x * y,), ()), lambda _, g: (g[0],), (x,))[0]

    with pytest.raises(TracingError, match="pass it as an argument"):
        grad(closing)(np.float64(1.0))


# ------------------------------------------------------------------------- writing in place


def views(x: Any, out: Any) -> Any:
    row = out[0]
    row[:] = x
    row *= 2
    out[1][0] = x[1]
    out[1][1:] += out[0][1:] * x[1:]
    alias = out
    alias += 1.0
    for r in out:
        r += x
    return np.sum(out * np.arange(6.0).reshape(2, 3) ** 2 * row)


def test_writes_through_views() -> None:
    step = 1e-30
    exact = [views(X + step * 1j * e, np.zeros((2, 3), complex)).imag / step for e in np.eye(3)]
    got = grad(lambda x: views(x, np.zeros_like(x, shape=(2, 3))))(X)
    np.testing.assert_allclose(got, exact, rtol=1e-14)


def test_in_place_operators_on_numbers_bind_anew() -> None:
    def f(x: Any) -> Any:
        y = x
        x += 1
        s = 0.0
        s += x
        s *= y
        return s

    assert grad(f)(np.float64(2.0)) == 5.0


def test_constants_may_be_reused_by_the_function() -> None:
    def f(x: Any) -> Any:
        mask, total = np.zeros(3), 0.0
        for i in range(3):
            mask[:] = 0
            mask[i] = i + 1
            index = np.array([i])
            total = total + np.sum(x * x * mask) * x[index][0]
            index[:] = 0
        return total

    np.testing.assert_allclose(grad(f)(X), 3 * X**2 * np.arange(1, 4))


def test_a_written_buffer_keeps_its_dtype() -> None:
    def f(x: Any) -> Any:
        out = np.empty_like(x)
        out[...] = np.float64(2.0) * x.astype(np.float64)
        assert out.dtype == np.float32
        return out.sum()

    assert grad(f)(np.ones(3, np.float32)).dtype == np.float32


# ------------------------------------------------------------------------- kinks (S18)

ZERO = np.float64(0.0)

KINKS = {
    "abs": (np.abs, (ZERO,), 0.0),
    "max": (np.max, (np.array([1.0, 1.0, 0.0]),), [0.5, 0.5, 0.0]),
    "clip": (lambda x: np.sum(np.clip(x, 0, 1)), (np.array([0.0, 1.0]),), [1.0, 1.0]),
    "norm": (np.linalg.norm, (np.zeros(2),), [0.0, 0.0]),
    "std": (np.std, (np.ones(2),), [0.0, 0.0]),
    "pow00": (lambda x, y: x**y, (ZERO, ZERO), (0.0, 0.0)),
    "pow02": (lambda x, y: x**y, (ZERO, np.float64(2.0)), (0.0, 0.0)),
    "prod": (np.prod, (np.array([0.0, 2.0, 3.0]),), [6.0, 0.0, 0.0]),
    "prod_two": (np.prod, (np.array([0.0, 0.0, 3.0]),), [0.0, 0.0, 0.0]),
    "arctan2": (np.arctan2, (ZERO, ZERO), (0.0, 0.0)),
    "hypot": (np.hypot, (ZERO, ZERO), (0.0, 0.0)),
    "complex_abs": (np.abs, (np.complex128(0),), 0.0),
    "maximum": (np.maximum, (ZERO, ZERO), (0.5, 0.5)),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks(name: str) -> None:
    f, xs, expected = KINKS[name]
    np.testing.assert_array_equal(grad(f)(*xs), expected)


def test_power_at_zero_to_any_order() -> None:
    for exponent in (2, 2.0, np.array(2.0)):
        second = grad(grad(lambda x, p=exponent: x**p))
        third = grad(second)
        assert (second(ZERO), third(ZERO)) == (2.0, 0.0)
    mixed = grad(lambda y: grad(lambda x: x**y)(np.float64(2.0)))
    assert mixed(ZERO) == 0.5


# ------------------------------------------------------------------------- refusals


def assigned(n: Any, index: Any, value: Any) -> Any:
    out = np.zeros(n)
    out[index] = value
    return out.sum()


def scipy_linalg() -> Any:
    return pytest.importorskip("scipy.linalg")


def frompyfunc(x: Any) -> Any:
    return np.frompyfunc(lambda t: t, 1, 1)(x)


def argument_written(x: Any) -> Any:
    x[0] = 1.0
    return x.sum()


def argument_view_written(x: Any) -> Any:
    x[:2][0] = 1.0
    return x.sum()


def argument_augmented(x: Any) -> Any:
    x += 1.0
    return x.sum()


def stale(x: Any) -> Any:
    y = x * np.ones((3, 3))
    t = y.T
    y[0] = 0.0
    return t.sum()


REFUSED = {
    "entry": (lambda x: assigned(3, 0, x[0]), "zeros_like"),
    "slice": (lambda x: assigned(3, slice(None), x), "zeros_like"),
    "row": (lambda x: assigned((2, 3), 0, x), "zeros_like"),
    "typed_array": (lambda x: np.array([x[0], x[1]], dtype=float).sum(), "numpy.stack"),
    "mixed_array": (lambda x: np.tanh(np.array([x[0], 1.0])).sum(), "numpy.stack"),
    "scipy": (lambda x: scipy_linalg().norm(x), "unigrad.scipy"),
    "math": (lambda x: math.sin(x[0]), "numpy.sin"),
    "float": (lambda x: float(x[0]) * x[0], "numpy.sin"),
    "int": (lambda x: int(x[0]) * x[0], "stop_gradient"),
    "range": (lambda x: range(x[0]), "plain number"),
    "item": (lambda x: x[0].item(), "stop_gradient"),
    "index": (lambda x: np.ones(3)[x[0]], "stop_gradient"),
    "traced_index": (lambda x: x[x], "astype"),
    "out": (lambda x: np.add(x, x, out=np.zeros(3)).sum(), "y = ..."),
    "where": (lambda x: np.add(x, x, where=np.array([True, False, True])).sum(), "np.where"),
    "sum_out": (lambda x: np.sum(x, out=np.zeros(())), "y = ..."),
    "out_iadd": (lambda x: np.add(X, x, out=np.zeros(3)).sum(), "y = ..."),
    "unknown": (lambda x: np.histogram(x)[0].sum(), "numpy.histogram"),
    "unknown_ufunc": (lambda x: frompyfunc(x).sum(), "no derivative rule"),
    "reduceat": (lambda x: np.add.reduceat(x, [0, 2]).sum(), "reduceat"),
    "matmul_axes": (lambda x: np.matmul(x, x, axes=[0, 0, ()]), "moveaxis"),
    "argument": (argument_written, "x.copy()"),
    "argument_view": (argument_view_written, "x.copy()"),
    "argument_augmented": (argument_augmented, "x.copy()"),
    "stale_view": (stale, "view"),
    "svd_full": (lambda x: np.sum(np.linalg.svd(x[None])[2] ** 3), "full_matrices=False"),
    "flat": (lambda x: sum(x.flat), "ravel"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_to_write(name: str) -> None:
    f, advice = REFUSED[name]
    with pytest.raises(TracingError, match=advice.replace("()", r"\(\)").replace("...", r"\.\.\.")):
        grad(f)(X.copy())


# ------------------------------------------------------------------------- how it looks


def test_plain_answers() -> None:
    def f(x: Any) -> Any:
        assert isinstance(x, TracedArray)
        assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((3,), 1, 3, np.float64, 3)
        assert (x > 1.5).tolist() == [False, True, True]
        assert np.argmax(x) == 2
        assert x.argsort().tolist() == [0, 1, 2]
        assert np.any(x > 2)
        assert np.isfinite(x).all()
        assert bool(x[0] == 1.0)
        assert 2.0 in x
        assert repr(x) == f"TracedArray({X!r})"
        assert f"{x[0]:.2f}" == "1.00"
        assert x.astype(int).tolist() == [1, 2, 3]
        return x[0] if x[1] > 0 else x[2]

    np.testing.assert_array_equal(grad(f)(X), [1.0, 0.0, 0.0])


def test_zero_size_and_noncontiguous() -> None:
    assert grad(lambda x: np.sum(x**2) + np.prod(x))(np.zeros((0, 3))).shape == (0, 3)
    big = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(grad(lambda x: np.sum(x**2))(big[::-1, ::2]), 2 * big[::-1, ::2])


def test_scipy_special() -> None:
    special: Any = pytest.importorskip("scipy.special")
    x, h = np.array([0.3, 0.7]), 1e-4
    unary = """
        gammaln gamma digamma erf erfc erfinv ndtr log_ndtr ndtri expit log_expit logit entr
        j0 j1 i0 i1
    """
    cases = [getattr(special, n) for n in unary.split()]
    cases += [lambda x, n=n: getattr(special, n)(x, x**2 + 1) for n in ("xlogy", "betaln", "beta")]
    cases += [lambda x: special.jv(2, x), lambda x: special.iv(1.5, x)]
    for f in cases:
        first = grad(lambda t, f=f: np.sum(f(t)))
        np.testing.assert_allclose(first(x), (f(x + h) - f(x - h)) / (2 * h), rtol=1e-5)
        second = grad(lambda t, first=first: np.sum(first(t)))(x)
        np.testing.assert_allclose(second, (first(x + h) - first(x - h)) / (2 * h), rtol=1e-4)


def test_rules_are_planted_wrong_and_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from unigrad.engine.core import Rule
    from unigrad.engine.table import UFUNCS

    wrong = Rule("sin", [lambda g, ans, x, **_: g * np.sin(x)])
    monkeypatch.setitem(UFUNCS, np.sin, wrong)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(grad(lambda x: np.sum(np.sin(x)))(X), np.cos(X))


def test_a_large_constant_written_before_the_pullback_is_refused():
    data = np.random.default_rng(0).normal(size=(400, 500))
    weights = np.ones(500)
    _, pullback = ug.vjp(lambda w: np.sum(np.tanh(data @ w)), weights)
    expected = data.T @ (1 - np.tanh(data @ weights) ** 2)
    np.testing.assert_allclose(pullback(1.0)[0], expected, rtol=1e-12)
    data[:] = data[::-1].copy()
    with pytest.raises(TracingError, match=r"shape \(400, 500\).*written in place"):
        pullback(1.0)


def test_a_tape_keeps_only_what_rules_will_read() -> None:
    def layers(x: Any) -> list[Any]:
        for _ in range(10):
            x = np.tanh(x * 2.0 + 1.0)
        return [np.sum(x)]

    x = np.ones(10_000)
    tracemalloc.start()
    _, pullback = vjp(layers, [x])
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10.5 * x.nbytes  # one array for each layer: the answers of tanh
    assert peak < 14 * x.nbytes
    assert pullback([np.float64(1.0)])[0].shape == x.shape


def test_a_small_constant_may_be_reused_as_a_buffer():
    def f(x):
        mask, total = np.zeros(3), 0.0
        for i in range(3):
            mask[:] = 0
            mask[i] = i + 1.0
            total = total + x @ mask
        return total

    np.testing.assert_array_equal(ug.grad(f)(np.ones(3)), [1.0, 2.0, 3.0])
