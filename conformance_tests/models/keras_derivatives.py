"""Derivatives, compilation and training of Keras models on the backend that Keras runs on.

    KERAS_BACKEND=jax python -m conformance_tests.models.keras_derivatives dense

See `conformance_tests.models.keras_checks`.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import unigrad as ug
from conformance_tests.models.keras_checks import (
    BACKEND,
    NAME,
    array,
    check,
    close,
    main,
    native_gradient,
    numbers,
    small,
    snapshot,
)

# ------------------------------------------------------------------ derivatives


def derivatives(
    model: Any,
    *inputs: Any,
    exact: bool = True,
    third: bool = True,
    rtol: float = 1e-9,
    **options: Any,
) -> None:
    """Gradient as the native one, HVP as its differences, jvp and a third order, compiled too."""
    apply, params = ug.functional(model)
    before = snapshot(model)

    def loss(p: Any) -> Any:
        return ops.sum(ops.sin(ug.trees.flatten(apply(p, *inputs, **options))[0][0]))

    plain = ug.grad(loss)(params)
    gradient = ug.jit(ug.grad(loss))
    got = gradient(params)
    with keras.StatelessScope():  # no losses are kept
        wanted = native_gradient(
            model,
            lambda: ops.sum(
                ops.sin(ug.trees.flatten(model(*inputs, training=False, **options))[0][0])
            ),
        )
    for name, want in zip(params, wanted, strict=True):
        close(plain[name], want, rtol)
        close(got[name], want, 10 * rtol)
    assert snapshot(model) == before
    if not exact:
        return
    direction = {k: array(*v.shape, seed=5) for k, v in params.items()}
    product = ug.jit(lambda p, v: ug.hvp(loss, p, v))
    got, h = product(params, direction), 1e-5
    ahead = gradient({k: v + h * direction[k] for k, v in params.items()})
    behind = gradient({k: v - h * direction[k] for k, v in params.items()})
    for name in params:
        close(got[name], (ahead[name] - behind[name]) / (2 * h), 1e-6)
    _, slope = ug.jvp(loss, params, direction)
    close(slope, sum(ops.sum(plain[k] * direction[k]) for k in params))

    if not third:
        return

    def curved(p: Any) -> Any:
        return sum(ops.sum(x * direction[k]) for k, x in ug.hvp(loss, p, direction).items())

    third = ug.jit(ug.grad(curved))(params)
    ahead = product({k: v + h * direction[k] for k, v in params.items()}, direction)
    behind = product({k: v - h * direction[k] for k, v in params.items()}, direction)
    for name in params:
        close(third[name], (ahead[name] - behind[name]) / (2 * h), 1e-5)
    assert snapshot(model) == before


@check("dense")
def dense_and_dicts() -> None:
    """A functional model of two named inputs and a nested output."""
    a, b = layers.Input((3,), name="a"), layers.Input((2,), name="b")
    x = layers.Dense(3, activation="tanh")(layers.Concatenate()([a, b]))
    model = keras.Model({"a": a, "b": b}, {"first": layers.LayerNormalization()(x), "second": x})
    # Trap: torch.layer_norm has a wrong third derivative (torch 2.13).
    derivatives(model, {"a": array(2, 3), "b": array(2, 2, seed=1)}, third=NAME != "torch")


@check("dense")
def convolutions() -> None:
    """Convolution, depthwise convolution, BatchNorm and pooling."""
    model = keras.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.Activation("tanh"),
            layers.DepthwiseConv2D(2),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    derivatives(model, array(2, 6, 6, 2))


@check("dense")
def jacobians() -> None:
    """The Jacobian has the gradient of each output as its rows."""
    model, x = small(), array(3, 3)
    apply, params = ug.functional(model)
    rows = ug.jacobian(lambda p: apply(p, x)[:, 0])(params)
    for i in range(3):
        gradient = ug.grad(lambda p, i=i: apply(p, x)[i, 0])(params)
        for name, g in gradient.items():
            close(rows[name][i], g)


@check("recurrent")
def recurrent() -> None:
    """An LSTM over a masked embedding."""
    model = keras.Sequential(
        [
            layers.Input((4,), dtype="int32"),
            layers.Embedding(5, 2, mask_zero=True),
            layers.LSTM(2),
            layers.Dense(1),
        ]
    )
    derivatives(model, BACKEND.asarray(np.array([[1, 2, 0, 0], [3, 4, 2, 0]], "int32")))


@check("recurrent")
def attention() -> None:
    """Attention. JAX's is float32 inside, and torch's kernel has no second derivative."""
    start = layers.Input((3, 2))
    model = keras.Model(start, layers.MultiHeadAttention(2, 2)(start, start))
    rtol = 1e-6 if NAME == "jax" else 1e-9
    derivatives(model, array(2, 3, 2), exact=NAME == "tensorflow", rtol=rtol)


@check("bidirectional")
def bidirectional() -> None:
    """A GRU both ways, with a mask by keyword."""
    model = keras.Sequential([layers.Input((3, 2)), layers.Bidirectional(layers.GRU(2))])
    mask = BACKEND.asarray(np.array([[True, True, False], [True, True, True]]))
    derivatives(model, array(2, 3, 2), mask=mask, exact=False)


# ------------------------------------------------------------------ training


@check("training")
def inside_train_step() -> None:
    """model.fit with a train_step of unigrad's gives the weights of Keras' own."""

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.first = layers.Dense(5, activation="tanh")
            self.norm = layers.BatchNormalization()
            self.last = layers.Dense(1)

        def call(self, x: Any, training: Any = None) -> Any:
            return self.last(self.norm(self.first(x), training=training))

    class Own(Net):
        def gradients(self, x: Any, y: Any) -> Any:
            apply, params = ug.functional(self, mode="train", state="return")

            def loss(p: Any) -> Any:
                output, after = apply(p, x)
                return ops.mean((output - y) ** 2), after

            (value, after), gradient = ug.value_and_grad(loss, has_aux=True)(params)
            return value, after, list(gradient.values())

        def train_step(self, *given: Any) -> Any:
            if NAME != "jax":
                value, after, gradient = self.gradients(*given[0])
                self.optimizer.apply(gradient, self.trainable_variables)
                ug.assign(self, after)
                return {"loss": value}
            (weights, others, moments, metrics), data = given
            held = [
                *zip(self.trainable_variables, weights, strict=True),
                *zip(self.non_trainable_variables, others, strict=True),
            ]
            with keras.StatelessScope(state_mapping=held):
                value, after, gradient = self.gradients(*data)
            weights, moments = self.optimizer.stateless_apply(moments, gradient, weights)
            return {"loss": value}, (weights, list(after.values()), moments, metrics)

    x = numbers(array(32, 3))
    y = x.sum(1, keepdims=True)
    results = []
    for kind in (Net, Own):
        keras.utils.set_random_seed(0)
        model = kind()
        model(x[:2])
        model.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse", jit_compile=False)
        model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        results.append([numbers(v.value) for v in model.variables])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)


@check("training")
def compiled_calls_read_the_state() -> None:
    """ug.jit takes the state as an argument; without, JAX keeps that of the first call."""
    model, x = small(), array(6, 3)
    apply, params = ug.functional(model)
    run = ug.jit(lambda p, s, x: apply(p, x, state=s))
    close(run(params, apply.state, x), apply(params, x), 1e-8)
    ug.assign(model, {"norm/moving_mean": np.arange(4.0)})
    close(run(params, apply.state, x), apply(params, x), 1e-8)
    if NAME != "jax":
        live = ug.jit(apply)
        close(live(params, x), apply(params, x), 1e-8)
        ug.assign(model, {"norm/moving_mean": -np.arange(4.0)})
        close(live(params, x), apply(params, x), 1e-8)


@check("training")
def draws_in_compiled_code() -> None:
    """Compiled or not, seeded dropout is the same."""
    model, x = small(), array(6, 3)
    train, params = ug.functional(model, mode="train")
    run = ug.jit(lambda p, x: train(p, x, seed=5))
    close(run(params, x), train(params, x, seed=5), 1e-8)


@check("training")
def memory() -> None:
    """1,000 calls leave memory flat."""
    model, x = small(), array(2, 3)
    train, params = ug.functional(model, mode="train", state="return")
    if NAME == "jax":
        train = ug.jit(train)

    def used() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    for _ in range(100):
        train(params, x)
    before = used()
    for _ in range(1000):
        train(params, x)
    assert used() - before < 8e6, used() - before


@check("training")
def layers_for_port() -> None:
    """layers() owns every weight once, and goes to the canonical layout and back."""
    x = start = layers.Input((8, 8, 4))
    for layer in (
        layers.Conv2D(4, 3, groups=2),
        layers.DepthwiseConv2D(2, depth_multiplier=2),
        layers.SeparableConv2D(3, 2),
        layers.Conv2DTranspose(4, 2),
        layers.BatchNormalization(),
        layers.GroupNormalization(2),
        layers.Reshape((-1, 4)),
    ):
        x = layer(x)
    x = layers.MultiHeadAttention(2, 3, use_bias=False)(x, x)
    for layer in (
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.GRU(3, return_sequences=True),
        layers.SimpleRNN(3),
        layers.LayerNormalization(),
        layers.RMSNormalization(),
        layers.Dense(2, use_bias=False),
    ):
        x = layer(x)
    apply, params = ug.functional(keras.Model(start, x))
    values = {n: numbers(v) for n, v in (params | apply.state).items()}
    found = apply.model.layers()
    assert [layer.kind for layer in found] == [
        *("conv", "conv", "conv", "conv", "conv_transpose", "batch_norm", "group_norm"),
        *("attention", "lstm", "lstm", "gru", "rnn", "layer_norm", "rms_norm", "dense"),
    ]
    owned = [name for layer in found for name in layer.names]
    assert len(owned) == len(set(owned))
    assert {n for n in values if "seed" not in n} == set(owned)
    for layer in found:
        for name, back in layer.from_canonical(layer.to_canonical(values)).items():
            np.testing.assert_array_equal(back, values[name])
    assert not keras.layers.GRU(2, reset_after=False)._layers[0].built
    old = keras.Sequential([layers.Input((3, 2)), layers.GRU(2, reset_after=False)])
    assert ug.functional(old)[0].model.layers() == []


if __name__ == "__main__":
    main(sys.argv[1])
