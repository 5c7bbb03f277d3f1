"""One training loop for five frameworks: the same network, the same weights, the same losses.

A network of 64-32-10 units is built the way each framework builds it, gets the same weights by
``ug.models.port``, and learns handwritten digits by gradient descent, written once. The losses
agree to the last digits::

    python docs/examples/one_loop_everywhere.py --plot losses.png
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import unigrad as ug
from unigrad.data import digits

# ------------------------------------------------------------------ the network, five times


def numpy_network() -> Any:
    def apply(params: Any, x: Any) -> Any:
        hidden = np.tanh(x @ params["hidden.weight"].T + params["hidden.bias"])
        return hidden @ params["out.weight"].T + params["out.bias"]

    rng = np.random.default_rng(0)
    params = {
        "hidden.weight": rng.normal(scale=1 / 8, size=(32, 64)),
        "hidden.bias": np.zeros(32),
        "out.weight": rng.normal(scale=1 / 6, size=(10, 32)),
        "out.bias": np.zeros(10),
    }
    return apply, params


def torch_network() -> Any:
    import torch

    layers = torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)
    return torch.nn.Sequential(*layers).double()


def keras_network() -> Any:
    import keras

    layers = keras.layers.Dense(32, activation="tanh"), keras.layers.Dense(10)
    inputs = keras.Input((64,), dtype="float64")
    for layer in layers:
        layer.dtype_policy = keras.DTypePolicy("float64")
    return keras.Sequential([inputs, *layers])


def flax_network() -> Any:
    from flax import nnx

    rngs = nnx.Rngs(0)
    return nnx.Sequential(nnx.Linear(64, 32, rngs=rngs), nnx.tanh, nnx.Linear(32, 10, rngs=rngs))


def gluon_network() -> Any:
    import mxnet as mx

    with mx.util.np_shape(True), mx.util.np_array(True):  # of mx.np arrays
        network = mx.gluon.nn.HybridSequential()
        network.add(mx.gluon.nn.Dense(32, activation="tanh", in_units=64))
        network.add(mx.gluon.nn.Dense(10, in_units=32))
        network.initialize()
        network.cast("float64")
    return network


NETWORKS: dict[str, Callable[[], Any]] = {
    "numpy": numpy_network,
    "torch": torch_network,
    "tensorflow": keras_network,
    "jax": flax_network,
    "mxnet": gluon_network,
}
NEEDS = {"tensorflow": "keras", "jax": "flax"}

# ------------------------------------------------------------------ one loop


def descend(
    loss: Callable[[Any], Any], params: dict[str, Any], steps: int, rate: float = 0.05
) -> Iterator[float]:
    """The losses of gradient descent with momentum, step by step."""

    def update(params: Any, velocity: Any) -> Any:
        value, gradient = ug.value_and_grad(loss)(params)
        velocity = {name: 0.9 * v - rate * gradient[name] for name, v in velocity.items()}
        return value, {name: p + velocity[name] for name, p in params.items()}, velocity

    update = ug.jit(update)
    velocity = ug.jit(lambda params: {name: 0.0 * p for name, p in params.items()})(params)
    for _ in range(steps):
        value, params, velocity = update(params, velocity)
        yield float(ug.to_numpy(value).item())


def losses(backend: str, steps: int) -> list[float]:
    """The losses of training the network of one framework from the weights of NumPy's."""
    start, network = numpy_network(), NETWORKS[backend]()
    apply, params = ug.functional(network)
    if backend != "numpy":
        params = ug.models.port(start[1], start, network)
    data = digits()
    with ug.use(backend):
        images, labels = ug.asarray(data.images[:1300]), ug.asarray(data.labels[:1300])

        def loss(params: dict[str, Any]) -> Any:
            return ug.ops.cross_entropy(apply(params, images), labels)

        return list(descend(loss, params, steps))


# ------------------------------------------------------------------ the program


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--plot", type=Path, help="draw the losses into this file (matplotlib)")
    given = parser.parse_args()
    found = {}
    for backend in NETWORKS:
        if not ug.backends()[backend].installed or not _importable(NEEDS.get(backend)):
            print(f"{backend:10} is not installed")
            continue
        ug.get_backend(backend)
        found[backend] = losses(backend, given.steps)
        first, last = found[backend][0], found[backend][-1]
        gap = np.max(np.abs(np.divide(found[backend], found["numpy"]) - 1.0))
        print(f"{backend:10} {first:.12f} -> {last:.12f}, furthest from NumPy {gap:.1e}")
    if given.plot is not None:
        plot(found, given.plot)


def _importable(name: str | None) -> bool:
    return name is None or importlib.util.find_spec(name) is not None


def plot(found: dict[str, list[float]], file: Path) -> None:
    """All curves on each other, wide below and thin above."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="tight")
    axes = figure.add_subplot()
    for k, (backend, values) in enumerate(found.items()):
        axes.plot(values, label=backend, linewidth=2.0 * (len(found) - k))
    axes.set(title="One loop, five frameworks", xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
