"""S18: at every kink, the pinned value, first and second derivative, on every backend.

A row is a function of one vector, so that forward, reverse and second order are each one call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad import ops

BACKENDS = sorted(name for name, info in ug.backends().items() if info.installed)
INF = float("inf")


@dataclass(frozen=True)
class Row:
    """``f(xp, v)`` at ``point``: a scalar, its gradient, and its Hessian (``None``: zeros)."""

    name: str
    f: Callable[[Any, Any], Any]
    point: list[float]
    value: float
    gradient: list[float]
    hessian: list[list[float]] | None = None


def first_of(op: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda xp, v: op(v[0])


def both_of(op: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda xp, v: op(v[0], v[1])


def whole(op: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda xp, v: op(v)


def image(op: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda xp, v: xp.sum(op(xp.reshape(v, (1, 1, 2, 2))))


KINKS = [
    Row("abs(0)", first_of(ops.abs), [0.0], 0.0, [0.0]),
    Row("abs(-0)", first_of(ops.abs), [-0.0], 0.0, [0.0]),
    Row("relu(0)", first_of(ops.relu), [0.0], 0.0, [0.0]),
    Row("leaky_relu(0)", first_of(lambda x: ops.leaky_relu(x, 0.1)), [0.0], 0.0, [0.1]),
    Row("leaky_relu(0, slope)", both_of(ops.leaky_relu), [0.0, 0.1], 0.0, [0.1, 0.0],
        [[0.0, 1.0], [1.0, 0.0]]),
    Row("maximum, tie", both_of(ops.maximum), [2.0, 2.0], 2.0, [1.0, 0.0]),
    Row("minimum, tie", both_of(ops.minimum), [2.0, 2.0], 2.0, [1.0, 0.0]),
    Row("max, tie", whole(ops.max), [1.0, 1.0, 0.0], 1.0, [1.0, 0.0, 0.0]),
    Row("max, all -inf", whole(ops.max), [-INF, -INF], -INF, [1.0, 0.0]),
    Row("min, tie", whole(ops.min), [2.0, 1.0, 1.0], 1.0, [0.0, 1.0, 0.0]),
    Row("max, tie split", whole(lambda v: ops.max(v, ties="split")),
        [1.0, 1.0, 0.0], 1.0, [0.5, 0.5, 0.0]),
    Row("max, tie of 3 split", whole(lambda v: ops.max(v, ties="split")),
        [0.1, 0.1, 0.1], 0.1, [1 / 3, 1 / 3, 1 / 3]),
    Row("max, two axes", lambda xp, v: ops.max(xp.reshape(v, (2, 2)), axis=(0, 1)),
        [0.0, 3.0, 3.0, 3.0], 3.0, [0.0, 1.0, 0.0, 0.0]),
    Row("clip at low", first_of(lambda x: ops.clip(x, 0.0, 1.0)), [0.0], 0.0, [1.0]),
    Row("clip at high", first_of(lambda x: ops.clip(x, 0.0, 1.0)), [1.0], 1.0, [1.0]),
    Row("clip by bounds", lambda xp, v: ops.clip(v[0], v[1], v[2]),
        [3.0, 0.0, 2.0], 2.0, [0.0, 0.0, 1.0]),
    Row("norm(0)", whole(ops.norm), [0.0, 0.0], 0.0, [0.0, 0.0]),
    Row("std of equal entries", whole(ops.std), [1.0, 1.0], 0.0, [0.0, 0.0]),
    Row("std, mean inexact", whole(ops.std), [0.1, 0.1, 0.1], 0.0, [0.0, 0.0, 0.0]),
    Row("var of equal entries", whole(ops.var), [1.0, 1.0], 0.0, [0.0, 0.0],
        [[0.5, -0.5], [-0.5, 0.5]]),
    Row("power(0, 0)", both_of(ops.power), [0.0, 0.0], 1.0, [0.0, 0.0]),
    Row("power(0, 1)", both_of(ops.power), [0.0, 1.0], 0.0, [1.0, 0.0]),
    Row("power(0, 2)", both_of(ops.power), [0.0, 2.0], 0.0, [0.0, 0.0], [[2.0, 0.0], [0.0, 0.0]]),
    Row("power(0, 5)", both_of(ops.power), [0.0, 5.0], 0.0, [0.0, 0.0]),
    Row("power(0, 2.5)", both_of(ops.power), [0.0, 2.5], 0.0, [0.0, 0.0]),
    Row("power(-2, 3)", both_of(ops.power), [-2.0, 3.0], -8.0, [12.0, 0.0],
        [[-12.0, 0.0], [0.0, 0.0]]),
    Row("power(-2, 5)", both_of(ops.power), [-2.0, 5.0], -32.0, [80.0, 0.0],
        [[-160.0, 0.0], [0.0, 0.0]]),
    # PyTorch's own power loses the mixed derivative 1/x here (one of the two).
    Row("power(2, 0)", both_of(ops.power), [2.0, 0.0], 1.0, [0.0, np.log(2.0)],
        [[0.0, 0.5], [0.5, np.log(2.0) ** 2]]),
    Row("power(0, number 2)", first_of(lambda x: ops.power(x, 2)), [0.0], 0.0, [0.0], [[2.0]]),
    Row("power(0, number 1)", first_of(lambda x: ops.power(x, 1)), [0.0], 0.0, [1.0]),
    Row("power(0, number 0)", first_of(lambda x: ops.power(x, 0)), [0.0], 1.0, [0.0]),
    Row("power(0, number 2.5)", first_of(lambda x: ops.power(x, 2.5)), [0.0], 0.0, [0.0]),
    Row("power(number 0, y)", first_of(lambda y: ops.power(0.0, y)), [0.0], 1.0, [0.0]),
    Row("prod, one zero", whole(ops.prod), [0.0, 2.0, 3.0], 0.0, [6.0, 0.0, 0.0],
        [[0.0, 3.0, 2.0], [3.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
    Row("prod, two zeros", whole(ops.prod), [0.0, 0.0, 3.0], 0.0, [0.0, 0.0, 0.0],
        [[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    Row("atan2(0, 0)", both_of(ops.atan2), [0.0, 0.0], 0.0, [0.0, 0.0]),
    Row("sqrt(0)", first_of(ops.sqrt), [0.0], 0.0, [INF], [[-INF]]),
    Row("where(x > 0, log, 0)", first_of(lambda x: ug_where_log(x)), [0.0], 0.0, [0.0]),
    Row("where(x > 0, log, 0) at 2", first_of(lambda x: ug_where_log(x)), [2.0], np.log(2.0),
        [0.5], [[-0.25]]),
    Row("softplus(0)", first_of(ops.softplus), [0.0], np.log(2.0), [0.5], [[0.25]]),
    Row("sigmoid(0)", first_of(ops.sigmoid), [0.0], 0.5, [0.25]),
    Row("silu(0)", first_of(ops.silu), [0.0], 0.0, [0.5], [[0.5]]),
    Row("gelu(0)", first_of(ops.gelu), [0.0], 0.0, [0.5], [[np.sqrt(2 / np.pi)]]),
    Row("logsumexp, all -inf", whole(ops.logsumexp), [-INF, -INF], -INF, [0.0, 0.0]),
    Row("logsumexp, one -inf", whole(ops.logsumexp), [-INF, 2.0], 2.0, [0.0, 1.0]),
    Row("maxout, tie", lambda xp, v: xp.sum(ops.maxout(v, 2)), [1.0, 1.0, 0.0, 2.0], 3.0,
        [1.0, 0.0, 0.0, 1.0]),
    Row("max_pool2d, tie", image(lambda x: ops.max_pool2d(x, 2)), [0.0, 1.0, 1.0, 1.0], 1.0,
        [0.0, 1.0, 0.0, 0.0]),
    Row("cross_entropy, -inf logit",
        lambda xp, v: ops.cross_entropy(v, np.array(0)), [1.0, -INF], 0.0, [0.0, 0.0]),
    Row("binary_cross_entropy(0)", first_of(lambda x: ops.binary_cross_entropy(x, 1.0)),
        [0.0], np.log(2.0), [-0.5], [[0.25]]),
]  # fmt: skip


def ug_where_log(x: Any) -> Any:
    return ops.where(x > 0, ug.array_namespace(x).log, 0.0, x)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[ug.Backend]:
    # NumPy warns of 1 / 0, as it does for the same code without unigrad.
    with np.errstate(all="ignore"):
        yield ug.get_backend(request.param)


def on(backend: ug.Backend, row: Row, dtype: str = "float64") -> tuple[Any, Any]:
    return (lambda v: row.f(backend.xp, v)), backend.asarray(np.array(row.point, dtype=dtype))


def close(backend: ug.Backend, got: Any, expected: Any, dtype: str = "float64") -> None:
    assert backend.dtype(got) == dtype
    tolerance = {"float64": 1e-14, "float32": 1e-6}[dtype]
    np.testing.assert_allclose(
        backend.to_numpy(got), np.array(expected, dtype=dtype), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("row", KINKS, ids=lambda row: row.name)
def test_value_and_gradient(backend: ug.Backend, row: Row) -> None:
    """S18: the pinned value and first derivative."""
    f, v = on(backend, row)
    value, gradient = ug.value_and_grad(f)(v)
    close(backend, value, row.value)
    close(backend, gradient, row.gradient)
    with backend.scope([v]) or contextlib.nullcontext():
        assert np.array_equal(backend.to_numpy(f(v)), backend.to_numpy(value))


@pytest.mark.parametrize("row", KINKS, ids=lambda row: row.name)
def test_float32(backend: ug.Backend, row: Row) -> None:
    """S1, S18: the same in single precision, which stays single precision."""
    f, v = on(backend, row, "float32")
    value, gradient = ug.value_and_grad(f)(v)
    close(backend, value, row.value, "float32")
    close(backend, gradient, row.gradient, "float32")


@pytest.mark.parametrize("row", KINKS, ids=lambda row: row.name)
def test_forward_mode(backend: ug.Backend, row: Row) -> None:
    """S18: forward mode has the rule of reverse mode."""
    f, v = on(backend, row)
    for i, slope in enumerate(row.gradient):
        unit = np.zeros(len(row.point))
        unit[i] = 1.0
        _, tangent = ug.jvp(f, (v,), (backend.asarray(unit),))
        close(backend, tangent, slope)


@pytest.mark.parametrize("row", KINKS, ids=lambda row: row.name)
def test_second_derivative(backend: ug.Backend, row: Row) -> None:
    """S18: the pinned second derivative, by `hvp` and by differentiating the gradient."""
    if not backend.capabilities.second_order:
        pytest.skip(f"{backend.name} declares first order only")
    f, v = on(backend, row)
    n = len(row.point)
    expected = np.zeros((n, n)) if row.hessian is None else np.array(row.hessian)
    for i in range(n):
        unit = np.zeros(n)
        unit[i] = 1.0
        for method in ("forward_over_reverse", "reverse_over_reverse"):
            product = ug.hvp(f, v, backend.asarray(unit), method=method)
            close(backend, product, expected[i])
        close(backend, ug.grad(lambda v, i=i: ug.grad(f)(v)[i])(v), expected[i])


def test_take_along_axis_adds_repeated_indices_up(backend: ug.Backend) -> None:
    """S18: a position that is looked up twice has both cotangents."""
    x = backend.asarray(np.array([1.0, 2.0, 3.0]))
    index = np.array([2, 2, -3])
    gradient = ug.grad(lambda x: backend.xp.sum(ops.take_along_axis(x, index) ** 2))(x)
    close(backend, gradient, [2.0, 0.0, 12.0])


def test_third_order_of_the_step_functions_is_zero(backend: ug.Backend) -> None:
    """S8, S18: no NaN appears at higher orders."""
    if not backend.capabilities.second_order:
        pytest.skip(f"{backend.name} declares first order only")
    zero = backend.asarray(np.array(0.0))
    for op in (ops.abs, ops.relu, ops.norm, ug_where_log):
        third = ug.grad(ug.grad(ug.grad(lambda x, op=op: op(x) * x)))(zero)
        close(backend, third, 0.0)
