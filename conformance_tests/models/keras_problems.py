"""Three problems of keras.io, one source for all of Keras' backends, and in plain NumPy.

    python -m conformance_tests.models.keras_problems out.npz

WGAN-GP (Gulrajani et al., 2017), Grad-CAM (Selvaraju et al., 2017) and a physics-informed network
(Raissi et al., 2019): derivatives by weights of derivatives by inputs, up to third order, mixed.
What Keras lays out differently is compared in Keras' layout: NumPy's networks are written in it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import unigrad as ug

__all__ = ["PROBLEMS", "main", "slopes", "solve_in_keras", "solve_in_numpy"]

Numbers = dict[str, np.ndarray[Any, Any]]
Params = Mapping[str, Any]
Call = Callable[..., Any]
"""A network as a function of its weights: ``call(params, x)``."""


def values(shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """The numbers of every backend."""
    return np.random.default_rng(seed).normal(size=shape)


# ------------------------------------------------------------------ the problems


def gradient_penalty(critic: Call, params: Params, array: Callable[[Any], Any]) -> Numbers:
    """``mean (‖∂D(x)/∂x‖ - 1)²`` between real and generated images; its weights' gradient, HVP."""
    real, made = values((3, 6, 6, 2), 1), values((3, 6, 6, 2), 2)
    share = np.array([0.2, 0.5, 0.9]).reshape(3, 1, 1, 1)
    between = array(real + share * (made - real))

    xp = ug.array_namespace(between)

    def loss(p: Params) -> Any:
        slopes = ug.grad(lambda x: xp.sum(critic(p, x)))(between)
        norms = xp.sqrt(xp.sum(slopes * slopes, axis=(1, 2, 3)))
        return xp.mean((norms - 1) ** 2) - xp.mean(critic(p, array(real)))

    return _derivatives(loss, params, array)


def grad_cam(features: Call, head: Call, params: Params, array: Callable[[Any], Any]) -> Numbers:
    """A class' score by the last feature maps, its pooled weights, and the score by the input."""
    images, label = array(values((2, 6, 6, 2), 3)), 1
    maps, xp = features(params, images), ug.array_namespace(images)

    def score(maps: Any) -> Any:
        return xp.sum(head(params, maps)[:, label])

    slopes = ug.grad(score)(maps)
    importance = xp.mean(slopes, axis=(1, 2))
    heat = ug.ops.relu(xp.sum(maps * importance[:, None, None, :], axis=-1))
    by_input = ug.grad(lambda x: score(features(params, x)))(images)
    found = {"slopes": slopes, "importance": importance, "heat": heat, "by_input": by_input}
    return {name: ug.to_numpy(x) for name, x in found.items()}


def physics_informed(network: Call, params: Params, array: Callable[[Any], Any]) -> Numbers:
    """``u'' = -sin(x)`` and ``u(0) = 0``: its gradient and HVP by weights, mixed third order."""
    points, edge = array(np.linspace(0.1, 3.0, 6)[:, None]), array(np.zeros((1, 1)))
    forcing = array(np.sin(np.linspace(0.1, 3.0, 6))[:, None])

    xp = ug.array_namespace(points)

    def loss(p: Params) -> Any:
        def slope(x: Any) -> Any:
            return ug.grad(lambda x: xp.sum(network(p, x)))(x)

        bend = ug.grad(lambda x: xp.sum(slope(x)))(points)
        return xp.mean((bend + forcing) ** 2) + xp.sum(network(p, edge) ** 2)

    return _derivatives(loss, params, array)


def _derivatives(
    loss: Callable[[Params], Any], params: Params, array: Callable[[Any], Any]
) -> Numbers:
    direction = {
        name: array(values(tuple(x.shape), 10 + i)) for i, (name, x) in enumerate(params.items())
    }
    value, gradient = ug.value_and_grad(loss)(params)
    product = ug.hvp(loss, params, direction)
    found = {"loss": ug.to_numpy(value).reshape(())}
    for name in params:
        found[f"gradient/{name}"] = ug.to_numpy(gradient[name])
        found[f"hvp/{name}"] = ug.to_numpy(product[name])
    return found


# ------------------------------------------------------------------ in Keras


def _weights(shapes: Mapping[str, tuple[int, ...]]) -> Numbers:
    return {name: 0.5 * values(shape, 20 + i) for i, (name, shape) in enumerate(shapes.items())}


CRITIC = {
    "conv/kernel": (3, 3, 2, 4),
    "conv/bias": (4,),
    "last/kernel": (36, 1),
    "last/bias": (1,),
}
CLASSIFIER = {
    "conv/kernel": (3, 3, 2, 4),
    "conv/bias": (4,),
    "last/kernel": (4, 3),
    "last/bias": (3,),
}
FIELD = {
    "first/kernel": (1, 5),
    "first/bias": (5,),
    "second/kernel": (5, 4),
    "second/bias": (4,),
    "last/kernel": (4, 1),
    "last/bias": (1,),
}


def solve_in_keras() -> Numbers:
    """All three, on the backend that Keras runs on."""
    import keras
    from keras import layers

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")

    def array(x: Any) -> Any:
        return keras.ops.convert_to_tensor(x, dtype="float64")

    def prepared(model: Any, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Call, Params]:
        apply, params = ug.functional(model)
        weights = {name: array(x) for name, x in _weights(shapes).items()}
        assert {name: tuple(p.shape) for name, p in params.items()} == dict(shapes)
        return apply, weights

    critic = keras.Sequential(
        [
            *(layers.Input((6, 6, 2)), layers.Conv2D(4, 3, strides=2, padding="same", name="conv")),
            *(layers.Activation("tanh"), layers.Flatten(), layers.Dense(1, name="last")),
        ]
    )
    extractor = keras.Sequential(
        [layers.Input((6, 6, 2)), layers.Conv2D(4, 3, activation="tanh", name="conv")]
    )
    head = keras.Sequential(
        [
            *(layers.Input((4, 4, 4)), layers.MaxPooling2D(2), layers.GlobalAveragePooling2D()),
            layers.Dense(3, activation="softplus", name="last"),
        ]
    )
    field = keras.Sequential(
        [
            *(layers.Input((1,)), layers.Dense(5, activation="tanh", name="first")),
            *(layers.Dense(4, activation="sigmoid", name="second"), layers.Dense(1, name="last")),
        ]
    )
    apply_features, _ = ug.functional(extractor)
    apply_head, _ = ug.functional(head)
    weights = {name: array(x) for name, x in _weights(CLASSIFIER).items()}

    def part(params: Params, name: str) -> Params:
        return {key: x for key, x in params.items() if key.startswith(name)}

    return _all(
        gradient_penalty(*prepared(critic, CRITIC), array),
        grad_cam(
            lambda p, x: apply_features(part(p, "conv"), x),
            lambda p, x: apply_head(part(p, "last"), x),
            weights,
            array,
        ),
        physics_informed(*prepared(field, FIELD), array),
    )


def _all(penalty: Numbers, cam: Numbers, physics: Numbers) -> Numbers:
    found = {}
    for problem, numbers in zip(PROBLEMS, (penalty, cam, physics), strict=True):
        found.update({f"{problem}/{name}": x for name, x in numbers.items()})
    return found


PROBLEMS = ("gradient_penalty", "grad_cam", "physics_informed")


# ------------------------------------------------------------------ in NumPy


def _conv(p: Params, x: Any, stride: int) -> Any:
    kernel, size = p["conv/kernel"], x.shape[1]
    if stride == 2:  # "same" as TensorFlow means it: what is odd goes behind
        x = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    out = size // 2 if stride == 2 else size - 2
    total = p["conv/bias"]
    for i in range(3):
        for j in range(3):
            window = x[:, i : i + stride * out : stride, j : j + stride * out : stride]
            total = total + window[:, :out, :out] @ kernel[i, j]
    return total


def _dense(p: Params, name: str, x: Any) -> Any:
    return x @ p[f"{name}/kernel"] + p[f"{name}/bias"]


def _critic(p: Params, x: Any) -> Any:
    return _dense(p, "last", np.tanh(_conv(p, x, 2)).reshape(x.shape[0], -1))


def _features(p: Params, x: Any) -> Any:
    return np.tanh(_conv(p, x, 1))


def _head(p: Params, maps: Any) -> Any:
    n, _, _, channels = maps.shape
    pooled = maps.reshape(n, 2, 2, 2, 2, channels).max(axis=(2, 4)).mean(axis=(1, 2))
    return np.log1p(np.exp(_dense(p, "last", pooled)))


def _field(p: Params, x: Any) -> Any:
    hidden = 1 / (1 + np.exp(-_dense(p, "second", np.tanh(_dense(p, "first", x)))))
    return _dense(p, "last", hidden)


def solve_in_numpy() -> Numbers:
    """All three, by unigrad's own engine."""
    return _all(
        gradient_penalty(_critic, _weights(CRITIC), np.asarray),
        grad_cam(_features, _head, _weights(CLASSIFIER), np.asarray),
        physics_informed(_field, _weights(FIELD), np.asarray),
    )


def slopes(problem: str, numbers: Numbers) -> tuple[float, float]:
    """NumPy's loss along one direction: its slope by the gradient, and by differences."""
    loss_at = {
        "gradient_penalty": lambda p: gradient_penalty(_critic, p, np.asarray)["loss"],
        "physics_informed": lambda p: physics_informed(_field, p, np.asarray)["loss"],
    }[problem]
    weights = _weights({"gradient_penalty": CRITIC, "physics_informed": FIELD}[problem])
    direction, h = {k: np.cos(3 * x + 1) for k, x in weights.items()}, 1e-5
    up, down = ({k: x + t * direction[k] for k, x in weights.items()} for t in (h, -h))
    slope = sum(np.sum(numbers[f"gradient/{k}"] * v) for k, v in direction.items())
    return float(slope), float((loss_at(up) - loss_at(down)) / (2 * h))


def main(out: str) -> None:
    """Solve them in Keras and write all numbers into one file."""
    np.savez(out, **solve_in_keras())


if __name__ == "__main__":
    main(sys.argv[1])
