"""What holds of a Keras model on the backend that Keras runs on; one process, one backend.

    KERAS_BACKEND=jax python -m conformance_tests.models.keras_checks

Each check raises where a promise is broken; the names of those that held are printed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import unigrad as ug
from conformance_tests.models.keras_float64 import compute_in_float64
from unigrad.errors import ArgumentError, ShapeError, StructureError, UnsupportedError

__all__ = [
    "BACKEND",
    "NAME",
    "array",
    "check",
    "close",
    "main",
    "native_gradient",
    "numbers",
    "small",
    "snapshot",
]

NAME = keras.config.backend()
BACKEND = ug.get_backend(NAME)
Check = Callable[[], None]
GROUPS: dict[str, list[Check]] = {}


def check(group: str) -> Callable[[Check], Check]:
    """Add a check to a group."""

    def add(f: Check) -> Check:
        GROUPS.setdefault(group, []).append(f)
        return f

    return add


def array(*shape: int, seed: int = 0) -> Any:
    return BACKEND.asarray(np.random.default_rng(seed).normal(size=shape))


def numbers(x: Any) -> np.ndarray[Any, Any]:
    return np.array(BACKEND.to_numpy(BACKEND.stop_gradient(x)))


def close(got: Any, wanted: Any, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(numbers(got), numbers(wanted), rtol=rtol, atol=rtol)


def snapshot(model: Any) -> Any:
    seeds = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    return {
        "values": [numbers(v.value).tobytes() for v in model.variables],
        "identity": [id(v) for v in model.variables],
        "trainable": [v.trainable for v in model.variables],
        "metrics": [numbers(v.value).tobytes() for v in model.metrics_variables],
        "losses": [numbers(x).tobytes() for x in model.losses],
        "stream": None if seeds is None else numbers(seeds.state.value).tobytes(),
        "floatx": keras.config.floatx(),
    }


def small(**last: Any) -> Any:
    return keras.Sequential(
        [
            layers.Input((3,)),
            layers.Dense(4, activation="tanh", name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.5, seed=1, name="drop"),
            layers.Dense(1, name="last", **last),
        ],
        name="small",
    )


def refused(kind: type[Exception], *words: str) -> Any:
    """A context that wants an error with these words."""

    class Refused:
        def __enter__(self) -> None: ...

        def __exit__(self, got: Any, error: Any, trace: Any) -> bool:
            assert isinstance(error, kind), f"{kind.__name__}, got {error!r}"
            for word in words:
                assert word in str(error), (word, str(error))
            return True

    return Refused()


def native_gradient(model: Any, f: Callable[[], Any]) -> list[Any]:
    """Of what ``f`` computes from the model itself, by the framework's own recipe."""
    if NAME == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            y = f()
        return list(tape.gradient(y, model.trainable_variables))
    if NAME == "torch":
        import torch

        return list(torch.autograd.grad(f(), [v.value for v in model.trainable_variables]))
    import jax

    def g(values: Any) -> Any:
        with keras.StatelessScope(list(zip(model.trainable_variables, values, strict=True))):
            return f()

    return list(jax.grad(g)([v.value for v in model.trainable_variables]))


# ------------------------------------------------------------------ calls


@check("calls")
def names_modes_and_purity() -> None:
    """Names by path, eval and train whatever the model does, and the model as it was."""
    model, x = small(activity_regularizer="l2", kernel_regularizer="l2"), array(6, 3)
    model(x, training=True)
    wanted = numbers(model(x, training=False))
    before = snapshot(model)
    apply, params = ug.functional(model)
    assert list(params) == [
        *("first/kernel", "first/bias", "norm/gamma", "norm/beta", "last/kernel", "last/bias")
    ]
    assert sum("moving" in name for name in apply.state) == 2
    assert sum("seed_generator_state" in name for name in apply.state) == 1
    np.testing.assert_allclose(numbers(apply(params, x)), wanted)
    train, _ = ug.functional(model, mode="train", state="return")
    for run in (apply, lambda p, x: train(p, x)[0]):
        loss = lambda p, run=run: ops.sum(run(p, x) ** 2)  # noqa: E731
        gradient = ug.grad(loss)(params)
        ug.hvp(loss, params, gradient)
        ug.jvp(loss, params, gradient)
    assert snapshot(model) == before

    def raising(p: Any) -> Any:
        raise KeyError(train(p, x)[0].shape)

    with refused(KeyError):
        ug.grad(raising)(params)
    with refused(StructureError, "last/bias"):
        apply({k: v for k, v in params.items() if k != "last/bias"}, x)
    with refused(ArgumentError, "mode='eval'", "mode=None"):
        apply(params, x, training=True)
    with refused(ValueError, "Exception encountered"):
        apply(params, array(6, 5))
    assert snapshot(model) == before


@check("calls")
def the_framework_decides_where_mode_is_none() -> None:
    """mode=None: training= passes through, and its default is Keras' own."""
    model, x = small(), array(6, 3)
    free, params = ug.functional(model, mode=None)
    apply, _ = ug.functional(model)
    train, _ = ug.functional(model, mode="train")
    close(free(params, x), apply(params, x))
    close(free(params, x, training=True), train(params, x))
    assert not np.allclose(numbers(train(params, x)), numbers(apply(params, x)))


@check("calls")
def state_is_returned_and_given() -> None:
    """Running statistics and seed generators after a call, and a call from them."""
    model, x = small(), array(6, 3)
    train, params = ug.functional(model, mode="train", state="return")
    first, after = train(params, x)
    again, _ = train(params, x)
    second, _ = train(params, x, state=after)
    close(first, again)
    assert not np.allclose(numbers(first), numbers(second))
    hidden = np.tanh(numbers(x) @ numbers(params["first/kernel"]))
    close(after["norm/moving_mean"], BACKEND.asarray(0.01 * hidden.mean(0)))
    before = snapshot(model)
    model(x, training=True)
    assert {n: numbers(v).tobytes() for n, v in train.state.items()} == {
        n: numbers(v).tobytes() for n, v in after.items()
    }
    for v, old in zip(model.variables, before["values"], strict=True):
        v.assign(np.frombuffer(old, numbers(v.value).dtype).reshape(v.shape))
    ug.assign(train, after)
    assert snapshot(model)["values"] != before["values"]
    assert snapshot(model)["identity"] == before["identity"]


@check("calls")
def draws_are_a_function_of_the_seed() -> None:
    """seed= makes the draws, of generators with and without a seed of their own."""
    model, x = (
        keras.Sequential(
            [
                layers.Input((3,)),
                layers.Dropout(0.5),
                layers.GaussianNoise(1.0),
                layers.Dropout(0.5),
            ]
        ),
        BACKEND.asarray(np.ones((40, 3))),
    )
    before = snapshot(model)
    train, params = ug.functional(model, mode="train", state="return")
    if NAME == "torch":
        import torch

        stream = torch.get_rng_state()
    first, after = train(params, x, seed=3)
    for seed, same in ((3, True), (4, False), (-3, False)):
        assert np.array_equal(numbers(first), numbers(train(params, x, seed=seed)[0])) is same
    assert {n: numbers(v).tobytes() for n, v in after.items()} == {
        n: numbers(v).tobytes() for n, v in train.state.items()
    }
    if NAME == "torch":
        assert torch.equal(torch.get_rng_state(), stream)
    assert snapshot(model) == before


@check("calls")
def keras_global_stream_goes_on() -> None:
    """S5: draws without a generator of the model's go on as in the model itself."""

    class Noise(keras.Layer):
        def call(self, x: Any) -> Any:
            return x + keras.random.normal(ops.shape(x)) - keras.random.normal(ops.shape(x))

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(x.shape, x.dtype)

    model, x = keras.Sequential([layers.Input((3,)), layers.Dense(2), Noise()]), array(4, 3)
    apply, params = ug.functional(model)
    keras.utils.set_random_seed(7)
    wanted = [numbers(model(x)) for _ in range(2)]
    keras.utils.set_random_seed(7)
    seeded = numbers(apply(params, x, seed=1))
    np.testing.assert_array_equal(seeded, numbers(apply(params, x, seed=1)))
    got = [numbers(apply(params, x)) for _ in range(2)]
    np.testing.assert_allclose(got, wanted)
    assert not np.allclose(*got)


@check("calls")
def frozen_shared_and_nested() -> None:
    """A shared layer is one parameter, a frozen one state, and BatchNorm's never parameters."""
    shared, frozen = layers.Dense(3, name="shared"), layers.Dense(3, name="frozen")
    frozen.trainable = False
    inner = keras.Sequential([shared, layers.Activation("tanh"), shared], name="inner")
    start = layers.Input((3,))
    end = layers.BatchNormalization(name="norm")(frozen(inner(start)))
    model, x = keras.Model(start, end), array(4, 3)
    apply, params = ug.functional(model)
    assert set(params) == {"inner/shared/kernel", "inner/shared/bias", "norm/gamma", "norm/beta"}
    assert {"frozen/kernel", "frozen/bias"} < set(apply.state)
    wider, more = ug.functional(model, trainable_only=False)
    assert set(more) == {*params, "frozen/kernel", "frozen/bias"}
    assert set(wider.state) == {"norm/moving_mean", "norm/moving_variance"}
    close(wider(more, x), apply(params, x))
    gradient = ug.grad(lambda p: ops.sum(apply(p, x) ** 2))(params)
    wanted = native_gradient(model, lambda: ops.sum(model(x, training=False) ** 2))
    for got, want in zip(gradient.values(), wanted, strict=True):
        close(got, want)


@check("calls")
def weights_that_are_not_there_yet() -> None:
    """Unbuilt models are refused, or called once on example=; so are layers made in a call."""

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.dense = layers.Dense(2, name="dense")
            self.aux = layers.Dense(2, name="aux")

        def call(self, x: Any, training: Any = None) -> Any:
            return self.aux(self.dense(x)) if training else self.dense(x)

    net, x = Net(), array(4, 3)
    with refused(UnsupportedError, "example=x", "model.build(input_shape)"):
        ug.functional(net)
    net.build((None, 3))  # marks the model, and none of its layers, as built
    with refused(UnsupportedError, "dense"):
        ug.functional(net)
    _, params = ug.functional(net, example=x)
    assert list(params) == ["dense/kernel", "dense/bias"]
    train, _ = ug.functional(net, mode="train")
    with refused(UnsupportedError, "aux/kernel", "training=True"):
        train(params, x)
    assert len(ug.functional(net)[1]) == 4


@check("calls")
def models_that_change_are_noticed() -> None:
    """Layers that are added or replaced later are not the apply's: it says so."""

    def nested() -> Any:
        inner = keras.Sequential([layers.Dense(3), layers.Dense(3)])
        outer = keras.Sequential([inner, layers.Dense(2)])
        outer(x)
        return outer

    x = array(4, 3)
    for how in ("added", "replaced", "inside", "random"):
        model = nested()
        apply, params = ug.functional(model, mode="train")
        changed = model.layers[0] if how == "inside" else model
        if how != "added":
            changed.pop()
        changed.add(layers.Dropout(0.5) if how == "random" else layers.Dense(3))
        model(x)
        with refused(StructureError, "has changed", "ug.functional(model) again"):
            apply(params, x)
        apply, params = ug.functional(model)
        close(apply(params, x), model(x))


@check("calls")
def around_other_calls() -> None:
    """In a layer's call, training= does not leak out; in a stateless scope, its values hold."""
    inner, x, seen = small(), array(2, 3), []
    apply, params = ug.functional(inner)

    class Spy(keras.Layer):
        def call(self, x: Any, training: Any = None) -> Any:
            seen.append(training)
            return x

    class Outer(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.spy = Spy()

        def call(self, x: Any) -> Any:
            return self.spy(apply(params, x))

    Outer()(x, training=True)
    assert seen[-1] is True
    outside = layers.Dense(3)
    outside.build((None, 3))

    class Borrowing(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(1)
            self.f = lambda x: ops.matmul(x, outside.kernel)

        def call(self, x: Any) -> Any:
            return self.dense(self.f(x))

    model = Borrowing()
    model(x)
    apply, params = ug.functional(model)
    with keras.StatelessScope([(outside.kernel, ops.zeros((3, 3)))]):
        close(apply(params, x), ops.zeros((2, 1)))


@check("calls")
def dtypes_and_what_stands_outside_keras() -> None:
    """Float32 models refuse float64 weights; NumPy's are converted; torch modules are refused."""
    single = keras.Sequential([layers.Input((3,)), layers.Dense(2, dtype="float32")])
    apply, params = ug.functional(single)
    with refused(ShapeError, "float32", "set_floatx('float64')"):
        apply({k: ops.cast(v, "float64") for k, v in params.items()}, array(2, 3))
    model, x = small(), array(2, 3)
    apply, params = ug.functional(model)
    close(apply({k: numbers(v) for k, v in params.items()}, x), apply(params, x))
    mixed = keras.Sequential([layers.Input((3,)), layers.Dense(2, dtype="mixed_bfloat16")])
    apply, params = ug.functional(mixed)
    gradient = ug.grad(lambda p: ops.sum(ops.cast(apply(p, x), "float32")))(params)
    assert {BACKEND.dtype(g) for g in gradient.values()} == {"float32"}
    if NAME == "torch":
        import torch

        class Wrapping(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.inside = torch.nn.Linear(3, 2).double()

            def call(self, x: Any) -> Any:
                return self.inside(x)

        wrapping = Wrapping()
        wrapping(x)
        with refused(UnsupportedError, "TorchModuleWrapper"):
            ug.functional(wrapping)
        model(x).sum().backward()
        held = [v.value.grad for v in model.trainable_variables]
        kept = [g.clone() for g in held]
        apply, params = ug.functional(model)
        assert not apply(params, x).requires_grad
        ug.grad(lambda p: apply(p, x).sum())(params)
        for v, g, old in zip(model.trainable_variables, held, kept, strict=True):
            assert v.value.grad is g
            assert torch.equal(g, old)
        assert params["first/kernel"].data_ptr() == model.variables[0].value.data_ptr()


@check("calls")
def threads() -> None:
    """S7: one model in four threads, on other weights in each."""
    model, x = small(), array(6, 3)
    train, params = ug.functional(model, mode="train")
    before, wrong = snapshot(model), []

    def gradient(i: int) -> np.ndarray[Any, Any]:
        given = {k: v * (i + 1) for k, v in params.items()}
        return numbers(ug.grad(lambda p: ops.sum(train(p, x) ** 2))(given)["first/kernel"])

    wanted = [gradient(i) for i in range(4)]

    def run(i: int) -> None:
        for _ in range(10):
            if not np.allclose(gradient(i), wanted[i], rtol=1e-10):
                wrong.append(i)

    running = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong
    assert snapshot(model) == before


def main(group: str) -> None:
    """Run one group of checks."""
    compute_in_float64()
    keras.config.set_floatx("float64")
    for f in GROUPS[group]:
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        f()
        print("ok", f.__name__, flush=True)


if __name__ == "__main__":
    main("calls")
