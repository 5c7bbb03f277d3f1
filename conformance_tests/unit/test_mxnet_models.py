"""Gluon blocks as functions of their parameters: MXNet's own gradient, nothing touched (S16)."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import (
    ArgumentError,
    BackendNotAvailableError,
    ShapeError,
    StructureError,
    UnsupportedError,
)
from unigrad.stateless import ModelOptions

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

# MXNet itself reads scipy.sparse.csr in mx.nd.array.
pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")

X = np.random.default_rng(0).standard_normal((4, 1, 8, 8))


def net(hybrid: bool = False, dropout: bool = False) -> Any:
    mx.random.seed(1)
    model = mx.gluon.nn.HybridSequential()
    model.add(
        mx.gluon.nn.Conv2D(2, 3),
        mx.gluon.nn.BatchNorm(momentum=0.75),
        mx.gluon.nn.MaxPool2D(),
        mx.gluon.nn.Dense(3, activation="tanh"),
        *([mx.gluon.nn.Dropout(0.5)] if dropout else []),
        mx.gluon.nn.Dense(1),
    )
    model.initialize(mx.init.Xavier())
    model.cast("float64")
    model(mx.nd.array(X, dtype="float64"))
    if hybrid:
        model.hybridize()
    return model


def x() -> Any:
    return mx.nd.array(X, dtype="float64")


def snapshot(model: Any) -> dict[str, Any]:
    return {
        name: (
            p.data().asnumpy().tobytes(),
            p.grad_req,
            p.grad().asnumpy().tobytes() if p.grad_req != "null" else None,
            p.data().handle.value,
        )
        for name, p in model.collect_params().items()
    }


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_native_gradient_and_nothing_touched(hybrid: bool, mode: Any) -> None:
    model = net(hybrid)
    apply, params = ug.functional(model, mode=mode)
    assert not [name for name in params if "running" in name]
    before = snapshot(model)

    def loss(params: Any) -> Any:
        return (apply(params, x()) ** 2).sum()

    value, got = ug.value_and_grad(loss)(params)
    ug.hvp(loss, params, got)
    assert snapshot(model) == before
    with mx.autograd.record(train_mode=mode == "train"):
        expected = (model(x()) ** 2).sum()
    expected.backward(train_mode=mode == "train")
    np.testing.assert_allclose(value.asnumpy(), expected.asnumpy(), rtol=1e-13)
    for name, g in got.items():
        wanted = model.collect_params()[name].grad().asnumpy()
        np.testing.assert_allclose(g.asnumpy(), wanted, rtol=1e-9, atol=1e-12)


def test_the_mode_is_the_functions_own() -> None:
    model = net(dropout=True)
    evaluated, params = ug.functional(model)
    trained, _ = ug.functional(model, mode="train")
    as_it_is, _ = ug.functional(model, mode=None)
    with mx.autograd.train_mode():
        np.testing.assert_array_equal(
            evaluated(params, x()).asnumpy(), evaluated(params, x()).asnumpy()
        )
        assert np.any(as_it_is(params, x()).asnumpy() != evaluated(params, x()).asnumpy())
    np.testing.assert_array_equal(as_it_is(params, x()).asnumpy(), model(x()).asnumpy())
    assert np.any(trained(params, x()).asnumpy() != trained(params, x()).asnumpy())
    assert not mx.autograd.is_training()


@pytest.mark.parametrize("hybrid", [False, True])
def test_the_state_after_a_call_is_what_backward_would_write(hybrid: bool) -> None:
    model = net(hybrid)
    apply, params = ug.functional(model, mode="train", state="return")
    before = snapshot(model)

    def loss(params: Any) -> Any:
        out, state = apply(params, x())
        return (out**2).sum(), state

    (_, state), _ = ug.value_and_grad(loss, has_aux=True)(params)
    plain = apply(params, x())[1]
    assert snapshot(model) == before
    assert state.keys() == plain.keys() == apply.state.keys()
    twice = apply(params, x(), state=state)[1]
    with mx.autograd.record():
        out = (model(x()) ** 2).sum()
    out.backward()
    for name in state:
        once = model.collect_params()[name].data().asnumpy()
        np.testing.assert_allclose(state[name].asnumpy(), once, rtol=1e-6)
        np.testing.assert_array_equal(state[name].asnumpy(), plain[name].asnumpy())
    with mx.autograd.record():
        out = (model(x()) ** 2).sum()
    out.backward()
    for name in state:
        again = model.collect_params()[name].data().asnumpy()
        np.testing.assert_allclose(twice[name].asnumpy(), again, rtol=1e-6)
    ug.assign(model, state)
    for name, value in state.items():
        np.testing.assert_array_equal(
            model.collect_params()[name].data().asnumpy(), value.asnumpy()
        )


def test_a_given_state_counts() -> None:
    model = net()
    apply, params = ug.functional(model)
    state = {name: a + 1 for name, a in apply.state.items()}
    got = apply(params, x(), state=state).asnumpy()
    assert np.any(got != model(x()).asnumpy())
    ug.assign(apply, state)
    np.testing.assert_array_equal(got, model(x()).asnumpy())


def test_frozen_parameters_are_state() -> None:
    model = net()
    frozen = model[0].weight
    frozen.grad_req = "null"
    apply, params = ug.functional(model)
    assert frozen.name not in params
    assert frozen.name in apply.state
    everything, all_params = ug.functional(model, trainable_only=False)
    assert all_params.keys() == params.keys() | {frozen.name}
    np.testing.assert_array_equal(
        apply(params, x()).asnumpy(), everything(all_params, x()).asnumpy()
    )
    assert frozen.grad_req == "null"


def test_assign_writes_in_place_all_or_nothing() -> None:
    model = net()
    apply, params = ug.functional(model)
    before = snapshot(model)
    name = next(iter(params))
    with pytest.raises(ShapeError, match="nothing was written"):
        ug.assign(model, {name: params[name] + 1, model[-1].bias.name: mx.nd.ones(2)})
    with pytest.raises(StructureError, match="unknown"):
        ug.assign(model, {"other": mx.nd.ones(2)})
    assert snapshot(model) == before
    ug.assign(model, {name: params[name].asnumpy() + 1})
    assert model.collect_params()[name].data().handle.value == before[name][3]
    np.testing.assert_array_equal(
        apply(ug.functional(model)[1], x()).asnumpy(), model(x()).asnumpy()
    )
    # params share memory with the model.
    np.testing.assert_array_equal(
        params[name].asnumpy(), model.collect_params()[name].data().asnumpy()
    )


def test_numpy_arrays_of_mxnet_work() -> None:
    with mx.util.np_shape(True), mx.util.np_array(True):
        model = mx.gluon.nn.HybridSequential()
        model.add(mx.gluon.nn.Dense(3, in_units=2), mx.gluon.nn.BatchNorm(in_channels=3))
        model.initialize()
    apply, params = ug.functional(model, mode="train", state="return")
    inputs = mx.np.array([[1.0, 2.0], [3.0, -1.0]])
    out, state = apply(params, inputs)
    assert isinstance(out, mx.np.ndarray)
    assert all(isinstance(s, mx.np.ndarray) for s in state.values())
    gradient = ug.grad(lambda p: mx.np.sum(apply(p, inputs)[0] ** 3))(params)
    assert all(isinstance(g, mx.np.ndarray) for g in gradient.values())


def test_inputs_of_the_other_class() -> None:
    model = net()
    apply, params = ug.functional(model, mode="train", state="return")
    inputs = mx.np.array(X, dtype="float64")

    def loss(params: Any, inputs: Any) -> Any:
        out, state = apply(params, inputs)
        assert isinstance(out, type(inputs))
        return (out**2).sum(), state

    got, aux = ug.grad(loss, argnums=(0, 1), has_aux=True)(params, inputs)
    wanted, state = ug.grad(loss, argnums=(0, 1), has_aux=True)(params, x())
    assert isinstance(got[1], mx.np.ndarray)
    np.testing.assert_array_equal(got[1].asnumpy(), wanted[1].asnumpy())
    for name in params:
        assert type(got[0][name]) is type(params[name])
        np.testing.assert_array_equal(got[0][name].asnumpy(), wanted[0][name].asnumpy())
    for name in state:
        np.testing.assert_array_equal(aux[name].asnumpy(), state[name].asnumpy())
    given = {name: p.as_np_ndarray() for name, p in params.items()}
    other = ug.grad(lambda params: loss(params, x())[0])(given)
    for name, g in other.items():
        assert isinstance(g, mx.np.ndarray)
        np.testing.assert_array_equal(g.asnumpy(), wanted[0][name].asnumpy())


def test_two_threads_do_not_see_each_other() -> None:
    model = net()
    apply, params = ug.functional(model)
    scaled = [{n: p * k for n, p in params.items()} for k in (1.0, 0.5)]
    loss = lambda p: (apply(p, x()) ** 2).sum()  # noqa: E731
    wanted = [{n: g.asnumpy() for n, g in ug.grad(loss)(p).items()} for p in scaled]
    wrong: list[Any] = []

    def work(k: int) -> None:
        for _ in range(20):
            got = ug.grad(loss)(scaled[k])
            wrong.extend(n for n in got if np.any(got[n].asnumpy() != wanted[k][n]))

    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_what_is_refused() -> None:
    model = net()
    apply, params = ug.functional(model)
    with pytest.raises(StructureError, match="unknown"):
        apply({"w": params}, x())
    with pytest.raises(ShapeError, match="must have shape"):
        apply({n: p.reshape((1, *p.shape)) for n, p in params.items()}, x())
    with pytest.raises(ArgumentError, match="training"):
        apply(params, x(), training=True)
    with pytest.raises(UnsupportedError, match=r"mx\.random\.seed"):
        apply(params, x(), seed=0)
    late = mx.gluon.nn.Dense(2)
    late.initialize()
    with pytest.raises(UnsupportedError, match="example"):
        ug.functional(late)
    _, params = ug.functional(late, example=mx.nd.ones((2, 3)))
    assert {p.shape for p in params.values()} == {(2, 3), (2,)}
    assert B.functional(lambda x: x, ModelOptions()) is None


def test_the_error_of_a_block_leaves_nothing_behind() -> None:
    model = net()
    apply, params = ug.functional(model)
    data = mx.gluon.Parameter.data
    with pytest.raises(mx.MXNetError):
        apply(params, mx.nd.ones((2, 3, 1, 1), dtype="float64")).asnumpy()
    assert mx.gluon.Parameter.data is data
    np.testing.assert_array_equal(apply(params, x()).asnumpy(), model(x()).asnumpy())
