"""First derivatives at zeros, where MXNet's own is NaN and the derivative exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

from unigrad_mxnet.adapter import _Run
from unigrad_mxnet.framework import mx

nd, mnp = mx.nd, mx.np
Array = Any

LN2 = float(np.log(2.0))

CASES: dict[str, tuple[str, Callable[..., Any], list[Any], list[Any]]] = {
    # name: class, function, arguments, derivatives of the sum of its values
    "prod": ("nd", lambda x: nd.prod(x), [[0, 2, 3]], [[6, 0, 0]]),
    "prod, rows": (
        "nd",
        lambda x: nd.prod(x, axis=1),
        [[[0, 2, 3], [0, 0, 3], [1, 2, 4]]],
        [[[6, 0, 0], [0, 0, 0], [8, 4, 2]]],
    ),
    "nanprod": ("nd", lambda x: nd.nanprod(x), [[0, 2, 3]], [[6, 0, 0]]),
    "np.prod": ("np", lambda x: mnp.prod(x), [[0, 2, 3]], [[6, 0, 0]]),
    "x.prod()": ("np", lambda x: x.prod(axis=0), [[[0, 2], [4, 3]]], [[[4, 3], [0, 2]]]),
    "x**0": ("nd", lambda x: x**0, [[0, 2]], [[0, 0]]),
    "np x**0": ("np", lambda x: x**0.0, [[0, 2]], [[0, 0]]),
    "0**y": ("nd", lambda y: 0.0**y, [[1, 2.5]], [[0, 0]]),
    "np 0**y": ("np", lambda y: 0.0**y, [[1, 2.5]], [[0, 0]]),
    "power": ("nd", lambda x, y: x**y, [[0, 0, 2], [1, 3, 0]], [[1, 0, 0], [0, 0, LN2]]),
    "power, spread": (
        "nd",
        lambda x, y: nd.broadcast_power(x, y),
        [[[0, 2]], [[1], [2]]],
        [[[1, 5]], [[2 * LN2], [4 * LN2]]],
    ),
    "np.power": (
        "np",
        lambda x, y: mnp.power(x, y),
        [[0, 0, 2], [1, 3, 0]],
        [[1, 0, 0], [0, 0, LN2]],
    ),
    "the base of np.power": ("np", lambda x: mnp.power(x, mnp.zeros_like(x)), [[0, 2]], [[0, 0]]),
    "mod": ("nd", lambda x, y: nd.broadcast_mod(x, y), [[5, 5], [0, 3]], [[0, 1], [0, -1]]),
    "mod of a number": ("nd", lambda x: x % 0.0, [[5, 2]], [[0, 0]]),
    "np.mod": ("np", lambda x, y: mnp.mod(x, y), [[5, 5], [0, 3]], [[0, 1], [0, -1]]),
    "np.mod of a number": ("np", lambda x: mnp.mod(x, 0.0), [[5, 2]], [[0, 0]]),
    "arctan2, tiny": (
        "np",
        lambda y, x: mnp.arctan2(y, x) * 1e-30,
        [[1e-30, 3e-30], [1e-30, 4e-30]],
        [[0.5, 0.16], [-0.5, -0.12]],
    ),
    "arctan2, huge": (
        "np",
        lambda y, x: mnp.arctan2(y, x) * 1e30,
        [[1e30, 3e30], [1e30, 4e30]],
        [[0.5, 0.16], [-0.5, -0.12]],
    ),
    "arctan2 of a number, tiny": (
        "np",
        lambda y: mnp.arctan2(y, 1e-30) * 1e-30,
        [[1e-30, 2e-30]],
        [[0.5, 0.2]],
    ),
}


def array(values: Any, kind: str, dtype: str) -> Array:
    x = B.asarray(np.asarray(values, dtype=dtype))
    return x if kind == "np" else x.as_nd_ndarray()


def _checked(name: str, dtype: str, wrap: Callable[[Any], Any] = lambda f: f) -> None:
    kind, f, values, wanted = CASES[name]
    xs = [array(v, kind, dtype) for v in values]
    f = wrap(f)
    places = tuple(range(len(xs)))
    got = ug.grad(lambda *xs: f(*xs).sum(), argnums=places)(*xs)
    for g, w in zip(got, wanted, strict=True):
        tolerance = 1e-13 if dtype == "float64" else 1e-6
        np.testing.assert_allclose(B.to_numpy(g), np.array(w, float), rtol=tolerance, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_a_derivative_at_zeros(name: str, dtype: str) -> None:
    _checked(name, dtype)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case[0] == "nd"])
def test_a_derivative_at_zeros_in_a_hybridized_block(name: str) -> None:
    def wrap(f: Any) -> Any:
        class Block(mx.gluon.HybridBlock):
            def hybrid_forward(self, F: Any, *xs: Any) -> Any:
                return f(*xs) if F is nd else SYMBOLIC[name](F, *xs)

        block = Block()
        block.hybridize()
        return block

    _checked(name, "float64", wrap)


SYMBOLIC: dict[str, Callable[..., Any]] = {
    "prod": lambda F, x: F.prod(x),
    "prod, rows": lambda F, x: F.prod(x, axis=1),
    "nanprod": lambda F, x: F.nanprod(x),
    "x**0": lambda F, x: x**0,
    "0**y": lambda F, y: 0.0**y,
    "power": lambda F, x, y: x**y,
    "power, spread": lambda F, x, y: F.broadcast_power(x, y),
    "mod": lambda F, x, y: F.broadcast_mod(x, y),
    "mod of a number": lambda F, x: x % 0.0,
}


def test_mxnets_own_derivative_is_kept_where_it_is_right() -> None:
    def routed(f: Callable[..., Any], *values: Any) -> bool:
        xs = [array(v, "nd", "float64") for v in values]
        return _Run(lambda *xs: (f(*xs),), xs).record.exact

    assert routed(nd.prod, [0.0, 2.0])
    assert not routed(nd.prod, [1.0, 2.0])
    assert routed(lambda x: x**0, [1.0, 2.0])
    assert not routed(lambda x: x**2, [0.0, 2.0])
    assert routed(nd.broadcast_power, [0.0], [2.0])
    assert not routed(nd.broadcast_power, [1.0], [2.0])
    two, zero = (array([v], "nd", "float64") for v in (2.0, 0.0))
    assert not routed(lambda x: nd.broadcast_power(x, two), [0.0])  # its exponent is constant
    assert routed(lambda x: nd.broadcast_power(x, zero), [0.0])


def test_a_hybridized_square_stays_one_call() -> None:
    block = mx.gluon.nn.HybridLambda(lambda F, x: x**2)
    block.hybridize()
    x = array([0.0, 3.0], "nd", "float64")
    run = _Run(lambda x: (block(x),), [x])
    assert [call.name for call in run.record.notes._calls] == ["hybridized HybridLambda"]


def test_true_kinks_are_mxnets() -> None:
    """There is no derivative there: docs/kinks.md."""
    x = array([0.0, 0.0], "nd", "float64")
    assert np.isnan(B.to_numpy(ug.grad(lambda x: nd.norm(x).sum())(x))).all()
    y, z = array([0.0], "np", "float64"), array([0.0], "np", "float64")
    for f in (mnp.arctan2, mnp.hypot):
        for g in ug.grad(lambda y, z, f=f: f(y, z).sum(), argnums=(0, 1))(y, z):
            assert np.isnan(B.to_numpy(g)).all()
