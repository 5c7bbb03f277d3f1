"""Gluon blocks as functions of their parameters: MXNet's own gradient, nothing touched (S16)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ArgumentError, BackendNotAvailableError, UnsupportedError

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

# MXNet itself reads scipy.sparse.csr in mx.nd.array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")


def net(hybrid: bool) -> Any:
    mx.random.seed(1)
    model = mx.gluon.nn.HybridSequential()
    model.add(
        mx.gluon.nn.Conv2D(2, 3),
        mx.gluon.nn.BatchNorm(),
        mx.gluon.nn.MaxPool2D(),
        mx.gluon.nn.Dense(3, activation="tanh"),
        mx.gluon.nn.Dense(1),
    )
    model.initialize(mx.init.Xavier())
    if hybrid:
        model.hybridize()
    return model


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_functional_gives_the_native_gradient_and_touches_nothing(
    hybrid: bool, training: bool
) -> None:
    x = mx.nd.array(np.random.default_rng(0).standard_normal((4, 1, 8, 8)), dtype="float32")
    model = net(hybrid)
    model(x)
    pair = B.functional(model)
    assert pair is not None
    apply, params = pair
    assert not [name for name in params if "running" in name]
    before = {n: p.data().asnumpy() for n, p in model.collect_params().items()}
    buffers = {n: p.grad().asnumpy() for n, p in model.collect_params().items() if n in params}
    names = list(params)

    def loss(*values: Any) -> Any:
        return (apply(dict(zip(names, values, strict=True)), x) ** 2).sum()

    scope = mx.autograd.train_mode() if training else mx.autograd.predict_mode()
    with scope:
        _, pull = B.vjp(lambda *v: (loss(*v),), [params[n] for n in names])
        pull([mx.nd.ones((1,))])
        grads = pull([mx.nd.ones((1,))])
    for n, p in model.collect_params().items():
        assert np.array_equal(p.data().asnumpy(), before[n]), n
        assert n not in params or np.array_equal(p.grad().asnumpy(), buffers[n])
    if training:
        with mx.autograd.record():
            y = (model(x) ** 2).sum()
        y.backward()
        for n, g in zip(names, grads, strict=True):
            assert B.to_numpy(g) == pytest.approx(
                model.collect_params()[n].grad().asnumpy(), rel=1e-4, abs=1e-5
            )


def test_functional_shares_memory_and_names_its_parameters() -> None:
    model = mx.gluon.nn.Dense(1, in_units=2, use_bias=False)
    model.initialize()
    pair = B.functional(model)
    assert pair is not None
    apply, params = pair
    ((name, w),) = params.items()
    w[:] = 3.0
    assert model.weight.data().asnumpy().tolist() == [[3.0, 3.0]]
    x = mx.nd.ones((1, 2))
    assert apply({name: mx.nd.ones((1, 2))}, x).asnumpy().tolist() == [[2.0]]
    assert model(x).asnumpy().tolist() == [[6.0]]
    with pytest.raises(ArgumentError, match="takes the parameters"):
        apply({}, x)
    assert B.functional(lambda x: x) is None
    late = mx.gluon.nn.Dense(1)
    late.initialize()
    with pytest.raises(UnsupportedError, match="call model"):
        B.functional(late)
