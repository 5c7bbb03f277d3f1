"""Value and gradient of a model's loss by its weights, over the framework's own recipe.

    python conformance_tests/benchmarks/models.py [FRAMEWORK ...] [--rounds N]

A network of 784-512-512-10 units, batch 128, float32: `ug.value_and_grad` of a loss written on
``apply``, beside what the framework's manual says; both compiled where the manual compiles. They
take turns, and the ratio is that of the processor's time in the quieter half of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np

import unigrad as ug

X = np.random.default_rng(0).normal(size=(128, 784)).astype("float32")
Contenders = tuple[Callable[[], Any], Callable[[], Any]]


def torch() -> Contenders:
    import torch

    torch.set_num_threads(1)
    nn = torch.nn
    sizes = nn.Linear(784, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 10)
    model, x = nn.Sequential(*sizes), torch.asarray(X)
    apply, params = ug.functional(model)
    ours = ug.value_and_grad(lambda params: apply(params, x).square().mean())

    def native() -> Any:
        value = model(x).square().mean()
        return value, torch.autograd.grad(value, list(model.parameters()))

    return native, lambda: ours(params)


def keras() -> Contenders:
    import keras
    import tensorflow as tf

    layers = [keras.layers.Dense(n, activation="tanh") for n in (512, 512)]
    model = keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10)])
    x = tf.constant(X)
    apply, params = ug.functional(model)

    @tf.function
    def native() -> Any:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(model(x, training=False) ** 2)
        return value, tape.gradient(value, model.trainable_variables)

    ours = ug.jit(ug.value_and_grad(lambda params: tf.reduce_mean(apply(params, x) ** 2)))
    return native, lambda: ours(params)


def flax() -> Contenders:
    import jax
    from flax import nnx

    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(784, 512, rngs=rngs), nnx.tanh, nnx.Linear(512, 512, rngs=rngs), nnx.tanh]
    model = nnx.Sequential(*layers, nnx.Linear(512, 10, rngs=rngs))
    x = jax.numpy.asarray(X)
    graph, state = nnx.split(model)
    compiled = jax.jit(jax.value_and_grad(lambda state: (nnx.merge(graph, state)(x) ** 2).mean()))
    apply, params = ug.functional(model)
    ours = ug.jit(ug.value_and_grad(lambda params: (apply(params, x) ** 2).mean()))
    return lambda: jax.block_until_ready(compiled(state)), lambda: jax.block_until_ready(
        ours(params)
    )


def gluon() -> Contenders:
    ug.get_backend("mxnet")
    import mxnet as mx

    model = mx.gluon.nn.HybridSequential()
    model.add(*[mx.gluon.nn.Dense(n, activation="tanh") for n in (512, 512)], mx.gluon.nn.Dense(10))
    model.initialize()
    model.hybridize()
    x = mx.nd.array(X)
    model(x)
    apply, params = ug.functional(model)
    ours = ug.value_and_grad(lambda params: (apply(params, x) ** 2).mean())

    def native() -> Any:
        with mx.autograd.record(train_mode=False):
            value = (model(x) ** 2).mean()
        value.backward(train_mode=False)
        mx.nd.waitall()

    def unigrads() -> Any:
        ours(params)
        mx.nd.waitall()

    return native, unigrads


FRAMEWORKS = {"torch": torch, "keras": keras, "flax": flax, "gluon": gluon}


def ratio(native: Callable[[], Any], ours: Callable[[], Any], rounds: int) -> float:
    """Time of ``ours`` over that of ``native``."""
    times: list[list[float]] = [[], []]
    for contender in (native, ours):
        for _ in range(5):
            contender()
    for k in range(rounds):
        for which in (0, 1) if k % 2 else (1, 0):
            start = time.process_time()
            for _ in range(5):
                (native, ours)[which]()
            times[which].append(time.process_time() - start)
    quiet = [statistics.median(sorted(found)[: max(1, rounds // 2)]) for found in times]
    return quiet[1] / quiet[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("framework", nargs="*", default=list(FRAMEWORKS))
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    for name in given.framework:
        print(f"{name:8} {ratio(*FRAMEWORKS[name](), given.rounds):.3f} x native")


if __name__ == "__main__":
    main()
