"""``ug.jit`` on MXNet, where what a function closes over, draws or writes changes between calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx
from mxnet import gluon, nd

from conformance_tests.unit.mxnet_jitted import array, assert_same, network, product, replayed

pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")


def test_side_effects_that_are_seen_are_repeated() -> None:
    calls: list[int] = []

    def f(x: Any) -> Any:
        calls.append(len(calls))
        return product(x) * len(calls)

    jitted = ug.jit(f)
    for k in range(1, 6):
        assert jitted(array(3)).asscalar() == pytest.approx(product(array(3)).asscalar() * k)
    assert calls == list(range(5))


def test_surroundings_that_change_at_each_call_are_not_captured_for_ever() -> None:
    rate = 0.0
    jitted = ug.jit(lambda x: x * rate)
    for k in range(10):
        rate = float(k)
        np.testing.assert_array_equal(jitted(array(3)).asnumpy(), array(3).asnumpy() * k)
    assert not replayed(jitted)


def test_parameters_closed_over_are_read_again() -> None:
    x = array(4, 5)
    net = network(gluon.nn.Dense(6, activation="tanh"), gluon.nn.Dense(1), inputs=x)
    f = ug.grad(lambda x: (net(x) ** 2).sum())
    jitted = ug.jit(f)
    assert_same(jitted, f, x)
    weight = net[0].weight
    weight.set_data(weight.data() * 3)
    assert_same(jitted, f, x)
    assert replayed(jitted)
    weight.initialize(mx.init.One(), force_reinit=True)  # new arrays
    assert_same(jitted, f, x)


def test_layers_and_attributes_that_change() -> None:
    class Scaled(gluon.Block):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.mask = 2.0, array(3, seed=1)

        def forward(self, x: Any) -> Any:
            return self.scale * self.mask * x**3

    net = gluon.nn.Sequential()
    net.add(Scaled())
    f = ug.grad(lambda x: net(x).sum())
    jitted, x = ug.jit(f), array(3)
    for change in (
        lambda: setattr(net[0], "scale", 5.0),
        lambda: net[0].mask.__setitem__(slice(None), 7.0),
        lambda: setattr(net[0], "mask", array(3, seed=2)),
        lambda: net.add(Scaled()),
    ):
        assert_same(jitted, f, x)
        assert replayed(jitted)
        change()
        assert_same(jitted, f, x)


def test_captured_arrays_are_read_again() -> None:
    w, box, view = array(3, seed=1), {"scale": 2.0, "w": array(3, seed=2)}, array(5, seed=3)

    def f(x: Any) -> Any:
        return (box["scale"] * nd.exp(w) * box["w"] * view[1:4] * x**3).sum()

    d = ug.grad(f)
    jitted, x = ug.jit(d), array(3)
    assert_same(jitted, d, x)
    assert replayed(jitted)
    w[:] = w * 2
    assert_same(jitted, d, x)
    w[1] = 0.25
    assert_same(jitted, d, x)
    view[2] = -3
    assert_same(jitted, d, x)
    box["w"] = array(3, seed=4)
    assert_same(jitted, d, x)
    box["scale"] = 3.0
    assert_same(jitted, d, x)
    w = array(3, seed=5)
    assert_same(jitted, d, x)
    assert replayed(jitted)


def test_arrays_of_an_object_outside_are_not_frozen() -> None:
    class Holder:
        w = array(3, seed=1)

    holder = Holder()
    d = ug.grad(lambda x: (holder.w * x**2).sum())
    jitted, x = ug.jit(d), array(3)
    assert_same(jitted, d, x)
    holder.w = array(3, seed=2)
    assert_same(jitted, d, x)


def test_indices_from_outside() -> None:
    index, table = nd.array([0, 2, 2]), array(4, 3)
    d = ug.grad(lambda x: (nd.take(x, index) ** 2).sum())
    jitted = ug.jit(d)
    assert_same(jitted, d, table)
    index[:] = nd.array([3, 1, 0])
    assert_same(jitted, d, table)


def test_custom_rules() -> None:
    w = array(3, seed=3)

    @ug.custom_vjp
    def square(x: Any) -> Any:
        return w * x**2

    square.defvjp(lambda x: (w * x**2, x), lambda x, u: (u * 5 * w * x,))
    d = ug.grad(lambda x: square(x).sum())
    jitted, x = ug.jit(d), array(3)
    assert_same(jitted, d, x)
    w[:] = w * 2
    assert_same(jitted, d, x)


def test_dropout_is_drawn_again() -> None:
    d = ug.grad(lambda x: (nd.Dropout(x, p=0.5, mode="always") * x).sum())
    jitted, x = ug.jit(d), nd.ones((200,), dtype="float64")
    draws = {tuple(jitted(x).asnumpy()) for _ in range(4)}
    assert len(draws) == 4
    assert not replayed(jitted)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: nd.random.normal(shape=(3,), dtype="float64"),
        lambda: nd.array(np.random.normal(size=3), dtype="float64"),
        lambda: nd.shuffle(nd.arange(50, dtype="float64"))[:3],
    ],
)
def test_random_numbers_are_drawn_again(draw: Any) -> None:
    jitted = ug.jit(ug.grad(lambda x: (draw() * x).sum()))
    x = array(3)
    assert len({tuple(jitted(x).asnumpy()) for _ in range(3)}) == 3


def test_generators_that_are_not_seen() -> None:
    class Source:
        rng = np.random.default_rng(0)

    d = ug.grad(lambda x: (nd.array(Source.rng.normal(size=3), dtype="float64") * x).sum())
    jitted, x = ug.jit(d), array(3)
    assert len({tuple(jitted(x).asnumpy()) for _ in range(5)}) == 5


def test_modes_and_running_statistics() -> None:
    x = array(6, 4)
    net = network(gluon.nn.Dense(5), gluon.nn.BatchNorm(), gluon.nn.Dropout(0.5), inputs=x)
    net.add(gluon.nn.Dense(1))
    net[3].initialize()
    net.cast("float64")
    net(x)
    d = ug.grad(lambda x: (net[1](net[0](x)) ** 3).sum())
    jitted = ug.jit(d)
    statistics = net[1].running_mean, net[1].running_var
    before = [p.data().asnumpy() for p in statistics]
    for _ in range(2):
        for training in (False, True, True, False):
            with mx.autograd.pause(train_mode=training):
                assert_same(jitted, d, x)
                assert replayed(jitted)
    for p, value in zip(statistics, before, strict=True):
        np.testing.assert_array_equal(p.data().asnumpy(), value)
    net[1].running_mean.set_data(net[1].running_mean.data() + 1)
    assert_same(jitted, d, x)


def test_written_arrays_from_outside() -> None:
    count = nd.zeros((1,))

    def f(x: Any) -> Any:
        with mx.autograd.pause():
            count[:] = count + 1
        return (x**2).sum()

    jitted = ug.jit(ug.grad(f))
    for _ in range(4):
        jitted(array(3))
    before = count.asscalar()
    jitted(array(3))
    assert count.asscalar() == before + 1  # it runs
