"""``ug.jit`` on MXNet: the numbers of the plain function, at other values."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
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

V = array(3, 4, seed=9)
DERIVATIVES: dict[str, Callable[..., Any]] = {
    "value": product,
    "grad": ug.grad(product),
    "value_and_grad": ug.value_and_grad(product),
    "grad of grad": ug.grad(lambda x: (ug.grad(product)(x) ** 2).sum()),
    "hvp": lambda x: ug.hvp(product, x, V),
    "hessian": ug.hessian(product),
    "jvp": lambda x: ug.jvp(nd.tanh, x, V),
    "vjp": lambda x: ug.vjp(nd.tanh, x)[1](V),
    "linearize": lambda x: ug.linearize(nd.tanh, x)[1](V),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name: str) -> None:
    f = DERIVATIVES[name]
    jitted = ug.jit(f)
    for seed in range(3):
        assert_same(jitted, f, array(3, 4, seed=seed))
    assert replayed(jitted)


@pytest.mark.parametrize("order", [1, 2])
def test_numpy_class(order: int) -> None:
    def f(x: Any) -> Any:
        return mx.np.sum(mx.np.tanh(x) * mx.np.where(x > 0, x, 2 * x) * x)

    d = ug.grad(f) if order == 1 else lambda x: ug.hvp(f, x, x)
    jitted = ug.jit(d)
    for seed in range(3):
        assert_same(jitted, d, array(3, 4, seed=seed, np_class=True))
    assert replayed(jitted)


def test_runs_once_for_each_shape() -> None:
    calls: list[tuple[int, ...]] = []

    def f(x: Any) -> Any:
        return product(x)

    def seen(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is f.__code__:
            calls.append(frame.f_locals["x"].shape)

    jitted = ug.jit(ug.grad(f))
    sys.setprofile(seen)
    try:
        for shape in [(2,), (2,), (3, 4), (2,), (3, 4)]:
            jitted(array(*shape))
    finally:
        sys.setprofile(None)
    assert calls == [(2,), (3, 4)]


@pytest.mark.parametrize("hybrid", [False, True])
def test_gluon_parameters(hybrid: bool) -> None:
    x, y = array(8, 1, 10, 10), nd.array(np.arange(8) % 3)
    net = network(
        gluon.nn.Conv2D(4, 3, activation="relu"),
        gluon.nn.MaxPool2D(2),
        gluon.nn.Dense(3),
        inputs=x,
    )
    if hybrid:
        net.hybridize()
    ce = gluon.loss.SoftmaxCrossEntropyLoss()
    apply, params = ug.functional(net)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return ce(apply(params, x), y).mean()

    direction = {k: p * 0.5 for k, p in params.items()}
    for f in (
        ug.value_and_grad(loss),
        lambda p, x, y: ug.hvp(lambda p: loss(p, x, y), p, direction),
    ):
        jitted = ug.jit(f)
        for k in range(3):
            moved = {name: p * (1 + 0.1 * k) for name, p in params.items()}
            assert_same(jitted, f, moved, x * (1 + k), (y + k) % 3)
        assert replayed(jitted)


@pytest.mark.parametrize(
    "stop",
    [
        lambda x: x.detach(),
        ug.stop_gradient,
        nd.BlockGrad,
        lambda x: paused(lambda: x * 1),
        lambda x: paused(lambda: nd.tanh(x)),
        lambda x: x > 0,
        lambda x: nd.round(3 * x),
        lambda x: nd.one_hot(nd.argmax(x, axis=0), 3, dtype="float64").reshape((3,)),
        lambda x: nd.ones_like(x) + nd.zeros((3,), dtype="float64"),
        lambda x: nd.array(np.array([1.0, 2.0, 4.0]), dtype="float64"),
        lambda x: nd.array([x.detach().asnumpy()[0]] * 3, dtype="float64"),
        lambda x: nd.array(x.detach().asnumpy() > 0, dtype="float64"),
    ],
)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_what_is_constant_for_a_derivative_is_none_for_a_replay(stop: Any, order: int) -> None:
    def f(x: Any) -> Any:
        return (stop(x) * x**3).sum()

    d = [f, ug.grad(f), lambda x: ug.hvp(f, x, V[0][:3])][order]
    jitted = ug.jit(d)
    for seed in range(3):
        assert_same(jitted, d, array(3, seed=seed))


def paused(f: Callable[[], Any]) -> Any:
    with mx.autograd.pause():
        return f()


def test_what_escapes_from_a_derivative() -> None:
    def f(x: Any) -> Any:
        seen = []

        def g(x: Any) -> Any:
            seen.append(nd.exp(x).detach())
            return (x**2).sum()

        return ug.grad(g)(x) * seen[0]

    jitted = ug.jit(f)
    for seed in range(3):
        assert_same(jitted, f, array(3, seed=seed))


def test_aux() -> None:
    d = ug.value_and_grad(lambda x: ((x**2).sum(), {"e": nd.exp(x), "n": 3}), has_aux=True)
    jitted = ug.jit(d)
    for seed in range(3):
        found, _ = ug.trees.flatten(jitted(array(3, seed=seed)))
        wanted, _ = ug.trees.flatten(d(array(3, seed=seed)))
        for y, z in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ug.to_numpy(y), ug.to_numpy(z), rtol=1e-12)


@pytest.mark.parametrize(
    "positive",
    [lambda s: s.asscalar() > 0, lambda s: bool(s > 0), lambda s: float(s.asnumpy()[0]) > 0],
)
def test_branches_on_values(positive: Any) -> None:
    def f(x: Any) -> Any:
        return (x**2).sum() if positive(x.sum().detach()) else (x**3).sum()

    d = ug.grad(f)
    jitted, x = ug.jit(d), array(3)
    for y in (x, -x, x, -x):
        assert_same(jitted, d, y)
    assert not replayed(jitted)


def test_loops_of_contrib() -> None:
    def f(x: Any) -> Any:
        out, _ = nd.contrib.while_loop(
            lambda x: x.sum() < 20, lambda x: (x, [x * 2]), [x], max_iterations=6
        )
        return (out[0] ** 2).sum()

    jitted = ug.jit(f)
    for scale in (1, 3, 0.5):
        assert_same(jitted, f, nd.ones((3,), dtype="float64") * scale)


def test_writes_into_own_arrays() -> None:
    def f(x: Any) -> Any:
        y = nd.zeros((4,), dtype="float64")
        y[:] = x * 2
        y += x
        part = y[1:3]
        y[:] = y * y
        return y.sum() + part.sum() * x

    jitted = ug.jit(f)
    for seed in range(3):
        assert_same(jitted, f, array(4, seed=seed))


def marked(x: Any) -> Any:
    x = x.copy()
    x.attach_grad()
    return x


def test_errors_come_through() -> None:
    fails = [True]

    def f(x: Any) -> Any:
        if fails[0]:
            raise KeyError("mine")
        return product(x)

    jitted, x = ug.jit(ug.grad(f)), array(3)
    with pytest.raises(KeyError, match="mine"):
        jitted(x)
    fails[0] = False
    assert_same(jitted, ug.grad(f), x)
    fails[0] = True
    with pytest.raises(KeyError, match="mine"):
        jitted(x)
    assert mx.nd.NDArray.asnumpy.__module__.startswith("mxnet")


def test_inside_other_derivatives() -> None:
    jitted, x = ug.jit(ug.grad(product)), array(3)
    jitted(x)
    inner = ug.grad(lambda x: (jitted(x) ** 2).sum())
    assert_same(inner, ug.grad(lambda x: (ug.grad(product)(x) ** 2).sum()), x)
    assert_same(ug.jit(inner), inner, x)
    with mx.autograd.record():
        y = ug.jit(product)(marked(x))
    assert mx.autograd.get_symbol(y) is not None


def test_mxnet_backward_inside() -> None:
    def f(x: Any) -> Any:
        x = marked(x)
        with mx.autograd.record():
            y = (x**3).sum()
        y.backward()
        return x.grad

    jitted = ug.jit(f)
    for seed in range(3):
        assert_same(jitted, f, array(3, seed=seed))


def test_numpy_arrays_among_the_arguments() -> None:
    def f(x: Any, w: Any) -> Any:
        return (x * nd.array(w, dtype="float64")).sum()

    jitted = ug.jit(f)
    for seed in range(3):
        w = np.random.default_rng(seed).normal(size=3)
        assert_same(jitted, f, array(3), w)


def test_same_array_twice_and_results_are_copies() -> None:
    jitted = ug.jit(lambda x, y: (x, x * y))
    x, y = array(3), array(3, seed=1)
    jitted(x, x)
    same, _ = jitted(x, y)
    _, found = jitted(x, y)
    np.testing.assert_allclose(found.asnumpy(), (x * y).asnumpy())
    same[:] = 0
    assert x.asnumpy().any()


def test_two_threads() -> None:
    d = ug.grad(product)
    jitted = ug.jit(d)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for k in range(30):
            x = array(3, 2 + k % 2, seed=100 * seed + k)
            if not np.allclose(jitted(x).asnumpy(), d(x).asnumpy(), rtol=1e-12):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert mx.nd.NDArray.asnumpy.__module__.startswith("mxnet")


def test_memory_is_flat() -> None:
    x = array(64, 64)
    jitted = ug.jit(ug.grad(product))
    jitted(x), jitted(x)
    gc.collect()
    count = len(gc.get_objects())
    size = _resident()
    for _ in range(1000):
        jitted(x)
    nd.waitall()
    gc.collect()
    assert len(gc.get_objects()) - count < 100
    assert _resident() - size < 8 * 1024


def _resident() -> int:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
