"""Training mode inside the function: MXNet's backward pass has one mode for all operators."""

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

pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")

X = np.random.default_rng(0).standard_normal((4, 3))


def normalized(x: Any, training: bool) -> Any:
    scope = mx.autograd.train_mode() if training else mx.autograd.predict_mode()
    ones, zeros = mx.nd.ones(3, dtype="float64"), mx.nd.zeros(3, dtype="float64")
    weight = mx.nd.array([1.0, 2.0, 3.0], dtype="float64")
    with scope:
        y = mx.nd.BatchNorm(x, weight, zeros, zeros + 0.5, 2.0 * ones, fix_gamma=False)
    return y * y * y


def differences(f: Any) -> Any:
    g = np.zeros(X.shape)
    for place in np.ndindex(*X.shape):
        step = np.zeros(X.shape)
        step[place] = 1e-5
        ahead, behind = (f(mx.nd.array(X + s * step, dtype="float64")) for s in (1, -1))
        g[place] = (ahead.asscalar() - behind.asscalar()) / 2e-5
    return g


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [(True,), (False,), (True, False)], ids=str)
def test_modes_inside_the_function(outer: bool, inner: tuple[bool, ...]) -> None:
    def f(x: Any) -> Any:
        return sum(normalized(x, training).sum() for training in inner)

    with mx.autograd.train_mode() if outer else mx.autograd.predict_mode():
        got = ug.grad(f)(mx.nd.array(X, dtype="float64")).asnumpy()
    np.testing.assert_allclose(got, differences(f), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("hybrid", [False, True])
def test_dropout_and_a_recurrent_layer_in_their_own_mode(hybrid: bool) -> None:
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(64, in_units=3), mx.gluon.nn.Dropout(0.5))
    net.initialize()
    if hybrid:
        net.hybridize()
    x = mx.nd.array(X)

    def f(x: Any) -> Any:
        with mx.autograd.train_mode():
            y = net(x)
        return y.sum(), y

    g, y = ug.grad(f, has_aux=True)(x)
    weight = net[0].weight.data().asnumpy()
    kept = y.asnumpy() != 0
    assert not kept.all()
    np.testing.assert_allclose(g.asnumpy(), 2.0 * kept @ weight, rtol=1e-5)
