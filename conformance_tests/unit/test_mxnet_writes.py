"""Writes in place around MXNet's operators: paused, by optimizers, before a later pullback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError, HigherOrderError, UnsupportedError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

from conformance_tests.unit.mxnet_derivatives import TAKES, array, numbers, x

# -------------------------------------------------------------------- writes


def fill(y: Any) -> None:
    y[:] = 7


def multiply(y: Any) -> None:
    y *= 2


PAUSED: dict[str, Callable[[Any], None]] = {
    "all": fill,
    "in place": multiply,
    "entry": lambda y: y.__setitem__(0, 7),
    "of NumPy": lambda y: y.__setitem__(slice(None), np.full(2, 7.0)),
    "view": lambda y: fill(y[0:1]),
    "detached": lambda y: fill(y.detach()),
    "copyto": lambda y: array([7.0, 7.0]).copyto(y),
    "drawn": lambda y: mx.nd.random.uniform(shape=(2,), dtype="float64", out=y),
}
RECORDED: dict[str, Callable[[Any], None]] = {
    "of NumPy": PAUSED["of NumPy"],
    "detached": PAUSED["detached"],
    "detached of NumPy": lambda y: PAUSED["of NumPy"](y.detach()),
}


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("of", ["a result", "a used result", "the argument"])
@pytest.mark.parametrize("write", PAUSED)
def test_a_paused_write_into_what_is_differentiated(write: str, of: str, take: str) -> None:
    def f(x: Any) -> Any:
        y = x if of == "the argument" else x * x
        z = y * x if of == "a used result" else x
        with mx.autograd.pause():
            PAUSED[write](y)
        return (z * y).sum()

    with pytest.raises(UnsupportedError, match="written in place"):
        TAKES[take](f)


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("write", RECORDED)
def test_a_write_that_mxnet_does_not_see(write: str, take: str) -> None:
    def f(x: Any) -> Any:
        y = x * x
        z = y * x
        RECORDED[write](y)
        return z.sum()

    with pytest.raises(UnsupportedError, match="written in place"):
        TAKES[take](f)


def test_a_write_into_a_copy() -> None:
    def f(x: Any) -> Any:
        y = x * x
        with mx.autograd.pause():
            c = y.copy()
            c *= 2
        return (y * c).sum()

    assert numbers(ug.grad(f)(x())) == [4.0, 32.0]
    assert numbers(ug.hvp(f, x(), array([1.0, 1.0]))) == [4.0, 16.0]


# -------------------------------------------------------------------- optimizers


def state(count: int) -> list[Any]:
    return [array([1.0, 1.0]) for _ in range(count)]


UPDATES: dict[str, tuple[int, tuple[int, ...], dict[str, Any]]] = {
    "sgd_mom_update": (3, (2,), {"lr": 0.5, "momentum": 0.5}),
    "nag_mom_update": (3, (2,), {"lr": 0.5, "momentum": 0.5}),
    "adam_update": (4, (2, 3), {"lr": 0.5}),
    "ftml_update": (5, (2, 3, 4), {"lr": 0.5, "t": 1}),
    "ftrl_update": (4, (2, 3), {"lr": 0.5}),
    "rmsprop_update": (3, (2,), {"lr": 0.5}),
    "rmspropalex_update": (5, (2, 3, 4), {"lr": 0.5}),
    "signum_update": (3, (2,), {"lr": 0.5, "momentum": 0.5}),
    "lamb_update_phase1": (4, (2, 3), {"wd": 0.1, "t": 1}),
    "multi_sgd_mom_update": (
        3,
        (2,),
        {"lrs": (0.5,), "wds": (0.0,), "momentum": 0.5, "num_weights": 1},
    ),
}


@pytest.mark.parametrize("name", UPDATES)
def test_an_update_writes_into_constants(name: str) -> None:
    count, places, given = UPDATES[name]
    for k in places:

        def f(x: Any, k: int = k) -> Any:
            arrays = state(count)
            arrays[1] *= 3
            y = x * arrays[k]
            with mx.autograd.pause():
                getattr(mx.nd, name)(*arrays, out=arrays[0], **given)
            assert numbers(arrays[k]) != [1.0, 1.0]
            return (y * y).sum()

        assert numbers(ug.grad(f)(x())) == [2.0, 4.0]
        assert numbers(ug.hvp(f, x(), array([1.0, 1.0]))) == [2.0, 2.0]


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("name", UPDATES)
def test_an_update_has_no_derivative(name: str, take: str) -> None:
    count, _, given = UPDATES[name]

    def f(x: Any) -> Any:
        arrays = state(count)
        arrays[1] = x * x
        return (getattr(mx.nd, name)(*arrays, **given) * x).sum()

    with pytest.raises(UnsupportedError, match=f"{name}.*write the update out"):
        TAKES[take](f)


@pytest.mark.parametrize("name", UPDATES)
def test_a_paused_update_of_what_is_differentiated(name: str) -> None:
    count, places, given = UPDATES[name]
    for k in places:

        def f(x: Any, k: int = k) -> Any:
            arrays = state(count)
            arrays[k] = x * x
            with mx.autograd.pause():
                getattr(mx.nd, name)(*arrays, out=arrays[0], **given)
            return (arrays[k] * x).sum()

        with pytest.raises(UnsupportedError, match="written in place"):
            ug.grad(f)(x())


def test_a_paused_update_by_a_differentiated_gradient() -> None:
    def f(x: Any) -> Any:
        w, m = state(2)
        with mx.autograd.pause():
            mx.nd.sgd_mom_update(w, x * x, m, lr=0.5, momentum=0.5, out=w)
        return (w * x).sum()

    assert numbers(ug.grad(f)(x())) == [1.0, -0.5]


# -------------------------------------------------------------------- pullbacks that come later

LATER: dict[str, Callable[[Any], None]] = {
    "all": lambda c: fill(c),
    "view": lambda c: fill(c[1:2]),
    "of NumPy": lambda c: c.__setitem__(slice(None), np.full(2, 7.0)),
    "detached": lambda c: fill(c.detach()),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("write", LATER)
def test_a_pullback_uses_the_constants_of_the_call(write: str, dtype: str) -> None:
    c, weight = array([3.0, 4.0], dtype), mx.gluon.Parameter("w", shape=(2,), dtype=dtype)
    weight.initialize(init=mx.init.Constant(2.0))
    value, pull = ug.vjp(lambda x: x * x * c * weight.data(), array([1.0, 2.0], dtype))
    v = array([1.0, 1.0], dtype)
    assert numbers(pull(v)[0]) == [12.0, 32.0]
    LATER[write](c)
    assert numbers(pull(v)[0]) == [12.0, 32.0]
    weight.set_data(weight.data() * 5)
    assert numbers(pull(v)[0]) == [12.0, 32.0]
    assert numbers(value) == [6.0, 32.0]
    slope = ug.grad(lambda v: pull(v * v)[0].sum())(v)
    assert numbers(slope) == [24.0, 64.0]


def test_a_pushforward_uses_the_constants_of_the_call() -> None:
    c = array([3.0, 4.0])
    _, push = ug.linearize(lambda x: x * x * c, x())
    c[:] = 7
    assert numbers(push(array([1.0, 1.0]))) == [6.0, 16.0]


def test_a_pullback_without_a_translation_is_refused_after_a_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from unigrad_mxnet.operators import OPERATORS

    monkeypatch.delitem(OPERATORS, "sin")
    c, v = array([3.0, 4.0]), array([1.0, 1.0])
    _, pull = ug.vjp(lambda x: mx.nd.sin(x) * c, array([0.0, 0.0]))
    assert numbers(pull(v)[0]) == [3.0, 4.0]
    fill(c)
    with pytest.raises(HigherOrderError, match="'sin'"):
        pull(v)
