"""Keras 3 on TensorFlow: variables as arrays, models as functions, curvature of normalization."""

from __future__ import annotations

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ShapeError, StructureError, UnsupportedError

tf = pytest.importorskip("tensorflow")
torch = pytest.importorskip("torch")

B = ug.get_backend("tensorflow")


def close(got, wanted, rtol=1e-12):
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-12)


@pytest.fixture(scope="module")
def keras():
    module = pytest.importorskip("keras")
    if module.backend.backend() != "tensorflow":
        pytest.skip("Keras runs on another backend")
    return module


def test_keras_variables_are_arrays(keras):
    w = keras.Variable(np.array([1.0, 2.0], np.float32))
    assert isinstance(w, B.array_types)
    assert B.dtype(w) == "float32"
    assert B.shape(w) == (2,)
    assert isinstance(B.prepare(w), tf.Tensor)
    assert isinstance(B.stop_gradient(w), tf.Tensor)
    assert B.asarray(w, dtype="float64").numpy().tolist() == [1, 2]
    assert B.to_numpy(w).tolist() == [1, 2]
    assert B.asarray(2.0, like=w).numpy() == 2.0
    close(ug.grad(lambda w: tf.reduce_sum(w * w))(w), [2, 4])


def test_functional_reads_weights_as_data(keras):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Dense(4, activation="tanh", name="first"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, name="last", activity_regularizer="l2"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with pytest.raises(UnsupportedError, match=r"model\.build"):
        B.functional(model)
    model(x)
    before = [v.numpy().copy() for v in model.variables]
    losses = len(model.losses)
    apply, params = B.functional(model)
    assert {"first/kernel", "first/bias", "norm/gamma", "norm/beta", "last/kernel"} < {*params}
    close(apply(params, x), model(x), rtol=1e-6)
    close(apply({k: tf.zeros_like(v) for k, v in params.items()}, x), np.zeros((5, 1)))
    assert not np.allclose(apply(params, x, training=True), apply(params, x))

    gradient = ug.grad(lambda p: tf.reduce_sum(apply(p, x, training=True) ** 2))(params)
    assert {k: v.shape for k, v in gradient.items()} == {k: v.shape for k, v in params.items()}
    product = ug.hvp(lambda p: tf.reduce_sum(apply(p, x) ** 2), params, gradient)
    kernel = "last/kernel"
    ones = {k: tf.zeros_like(v) for k, v in params.items()} | {kernel: tf.ones((4, 1))}
    product = ug.hvp(lambda p: tf.reduce_sum(apply(p, x) ** 2), params, ones)
    for v, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(v.numpy(), old)
    assert len(model.losses) == losses
    hidden = x
    for layer in model.layers[:-1]:
        hidden = layer(hidden)
    hidden = hidden.numpy().astype(np.float64)
    close(product[kernel], 2 * hidden.T @ hidden @ np.ones((4, 1)), rtol=1e-4)
    with pytest.raises(StructureError, match=r"missing.*last/bias"):
        apply({k: v for k, v in params.items() if k != "last/bias"}, x)
    with pytest.raises(ShapeError, match=r"params\['first/kernel'\].*float32.*float64"):
        apply({k: tf.cast(v, tf.float64) for k, v in params.items()}, x)


@pytest.mark.parametrize("name", ["BatchNormalization", "LayerNormalization"])
def test_curvature_through_keras_normalization(keras, name):
    layer = getattr(keras.layers, name)(dtype="float64", epsilon=1e-3)
    rng = np.random.default_rng(5)
    x, v, w = rng.normal(size=(3, 4, 6))
    layer(x)
    training = {"training": True} if name == "BatchNormalization" else {}
    f = lambda x: tf.reduce_sum(tf.sin(layer(x, **training)) * w)  # noqa: E731
    product = ug.hvp(f, tf.constant(x), tf.constant(v))

    t = torch.tensor(x, requires_grad=True)
    axis = 0 if name == "BatchNormalization" else 1
    spread = torch.sqrt(t.var(axis, correction=0, keepdim=True) + 1e-3)
    y = (torch.sin((t - t.mean(axis, keepdim=True)) / spread) * torch.tensor(w)).sum()
    (gradient,) = torch.autograd.grad(y, t, create_graph=True)
    (wanted,) = torch.autograd.grad(gradient, t, torch.tensor(v))
    close(product, wanted.numpy(), rtol=1e-9)


def test_functional_of_a_subclass_and_of_other_things(keras):
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = keras.layers.Dense(2, name="dense")
            self.drop = keras.layers.Dropout(0.9)

        def call(self, x):
            return self.drop(self.dense(x))

    net = Net()
    x = np.ones((1, 3), np.float32)
    net(x)
    apply, params = B.functional(net)
    assert sorted(params) == ["dense/bias", "dense/kernel"]
    close(apply(params, x), net(x))
    assert B.functional(tf.Module()) is None
    assert B.functional(torch.nn.Linear(1, 1)) is None
    assert B.functional(lambda x: x) is None
