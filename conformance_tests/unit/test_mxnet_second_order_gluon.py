"""Second derivatives of Gluon networks on MXNet: hybridized or not, in both modes."""

from __future__ import annotations

import gc
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

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

# MXNet itself reads scipy.sparse.csr in mx.nd.array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")


def array(values: Any) -> Any:
    return B.asarray(np.asarray(values, dtype="float64")).as_nd_ndarray()


def numbers(x: Any) -> Any:
    return B.to_numpy(x)


# -------------------------------------------------------------------- nets


def _dense() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(7, activation="tanh"), nn.Dense(4, activation="sigmoid"), nn.Dense(2))
    return net


def _normalized() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(7), nn.BatchNorm(), nn.Activation("tanh"), nn.LayerNorm(), nn.Dense(2))
    return net


def _dropout() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(7, activation="tanh"), nn.Dropout(0.5), nn.Dense(2))
    return net


def _lenet() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(3, 3, activation="tanh"), nn.MaxPool2D(2), nn.Conv2D(4, 3))
    net.add(nn.AvgPool2D(2), nn.Flatten(), nn.Dense(5, activation="softrelu"), nn.Dense(2))
    return net


def _recurrent() -> Any:
    net = nn.HybridSequential()
    net.add(gluon.rnn.LSTM(4, input_size=6), nn.Dense(2))
    return net


class _Loop(nn.HybridBlock):
    """Unrolled by Python where it is not hybridized, a single operator where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(6, in_units=6)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        def step(a: Any, state: Any) -> Any:
            y = F.tanh(self.dense(a) + state)
            return y * y, y

        ys, last = F.contrib.foreach(step, x, F.zeros_like(F.reshape(F.slice(x, 0, 1), (2, 6))))
        return F.concat(ys, F.expand_dims(last, 0), dim=0)


NETS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "dense": (_dense, (5, 6)),
    "normalized": (_normalized, (5, 6)),
    "dropout": (_dropout, (5, 6)),
    "lenet": (_lenet, (2, 1, 12, 12)),
    "recurrent": (_recurrent, (3, 2, 6)),
    "loop": (_Loop, (3, 2, 6)),
}


def prepared(name: str, hybrid: bool) -> tuple[Any, Any]:
    make, shape = NETS[name]
    mx.random.seed(3)
    net = make()
    net.initialize(mx.init.Xavier())
    net.cast("float64")
    if hybrid:
        net.hybridize()
    x = array(np.random.default_rng(0).normal(size=shape))
    net(x)
    return net, x


def scope(training: bool) -> Any:
    return mx.autograd.train_mode() if training else mx.autograd.predict_mode()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_a_net_against_differences_of_gradients(name: str, training: bool) -> None:
    products = []
    for hybrid in (False, True):
        net, x = prepared(name, hybrid)
        apply, params = ug.functional(net, mode=None)
        before = {k: p.data().asnumpy() for k, p in net.collect_params().items()}
        rng = np.random.default_rng(1)
        v = {k: array(rng.normal(size=p.shape)) for k, p in params.items()}

        def loss(p: Any, x: Any = x, apply: Any = apply) -> Any:
            mx.random.seed(5)  # the same mask
            return (apply(p, x) ** 2).mean()

        def gradient(t: float, p: Any = params, v: Any = v, loss: Any = loss) -> Any:
            return ug.grad(loss)({k: p[k] + t * v[k] for k in p})

        with scope(training):
            product = ug.hvp(loss, params, v)
            up, down = gradient(1e-5), gradient(-1e-5)
        for k in params:
            expected = (numbers(up[k]) - numbers(down[k])) / 2e-5
            assert numbers(product[k]) == pytest.approx(expected, rel=1e-5, abs=1e-7)
        for k, p in net.collect_params().items():
            assert (p.data().asnumpy() == before[k]).all()
        products.append(product.values())
    for plain, hybrid in zip(*products, strict=True):
        assert numbers(plain) == pytest.approx(numbers(hybrid), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_gradient_penalty_trains(hybrid: bool) -> None:
    """WGAN-GP: gradients of gradients in a training loop."""
    net, x = prepared("dense", hybrid)
    apply, params = ug.functional(net, mode=None)

    def loss(p: Any) -> Any:
        slope = ug.grad(lambda x: apply(p, x).sum())(x)
        norm = (slope**2).sum(axis=1).sqrt()
        return ((norm - 1) ** 2).mean() + 0.1 * (apply(p, x) ** 2).mean()

    losses = []
    for _ in range(30):
        value, grads = ug.value_and_grad(loss)(params)
        losses.append(float(numbers(value)[0]))
        params = {k: p - 0.5 * grads[k] for k, p in params.items()}
    assert losses[-1] < 0.2 * losses[0]
    slope = sum(numbers(g).sum() for g in ug.grad(loss)(params).values())
    up, down = (loss({k: p + t for k, p in params.items()}) for t in (1e-5, -1e-5))
    assert (numbers(up) - numbers(down))[0] / 2e-5 == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_a_hybridized_net_is_looked_into_when_the_derivative_around_it_needs_it() -> None:
    """A first derivative takes it as it is; only then does an inner derivative turn up."""
    net, x = prepared("dense", True)

    def f(x: Any) -> Any:
        return (net(x) ** 2).sum() + (ug.grad(lambda y: (y**3).sum())(x)).sum()

    plain, _ = prepared("dense", False)
    first = ug.grad(lambda x: (plain(x) ** 2).sum())(x)
    assert numbers(ug.grad(f)(x)) == pytest.approx(numbers(first) + 6 * numbers(x), rel=1e-10)


def test_dropout_has_one_mask() -> None:
    """Value, gradient and product are those of one draw."""
    x = array(np.full(50, 2.0))
    with mx.autograd.train_mode():
        value, grad, product = ug.value_grad_and_hvp(
            lambda x: (mx.nd.Dropout(x, p=0.5) ** 3).sum(), x, mx.nd.ones_like(x)
        )
    kept = numbers(grad) != 0
    assert 0 < kept.sum() < 50
    assert numbers(value)[0] == pytest.approx(kept.sum() * 4.0**3)
    assert numbers(grad) == pytest.approx(np.where(kept, 6 * 4.0**2, 0))
    assert numbers(product) == pytest.approx(np.where(kept, 24 * 4.0, 0))


def test_against_torch() -> None:
    torch = pytest.importorskip("torch")
    net, x = prepared("dense", True)
    apply, params = ug.functional(net, mode=None)
    rng = np.random.default_rng(2)
    v = {k: array(rng.normal(size=p.shape)) for k, p in params.items()}
    found = ug.hvp(lambda p: (apply(p, x) ** 2).mean(), params, v)

    def port(*p: Any) -> Any:
        y = torch.tanh(torch.tensor(numbers(x)) @ p[0].T + p[1])
        y = torch.sigmoid(y @ p[2].T + p[3])
        return ((y @ p[4].T + p[5]) ** 2).mean()

    given = tuple(torch.tensor(numbers(p)) for p in params.values())
    along = tuple(torch.tensor(numbers(t)) for t in v.values())
    expected = torch.autograd.functional.hvp(port, given, along)[1]
    for y, z in zip(found.values(), expected, strict=True):
        assert numbers(y) == pytest.approx(z.numpy(), rel=1e-10, abs=1e-14)


def test_nothing_is_left_behind() -> None:
    net, x = prepared("dense", True)
    apply, params = ug.functional(net, mode=None)

    def loss(p: Any) -> Any:
        return (apply(p, x) ** 2).mean()

    def arrays() -> int:
        gc.collect()
        return sum(issubclass(type(o), mx.nd.NDArray) for o in gc.get_objects())

    original = mx.nd.NDArray.asnumpy
    ug.hvp(loss, params, params)
    before = arrays()
    for _ in range(20):
        ug.hvp(loss, params, params)
    assert arrays() <= before
    assert mx.nd.NDArray.asnumpy is original
    assert all(p.grad_req == "write" for p in net.collect_params().values())
