"""Keras 3 on TensorFlow: variables as arrays, curvature of normalization."""

from __future__ import annotations

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import UnsupportedError

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


def test_what_is_no_keras_model():
    """The adapter itself reads no models: Keras' are read the same on each of its backends."""
    for other in (tf.Module(), lambda x: x):
        with pytest.raises(UnsupportedError, match="Keras"):
            ug.functional(other)
