"""Hessian-vector products of Gluon networks, over MXNet's own forward and backward pass.

    python conformance_tests/benchmarks/mxnet_curvature.py [NETWORK ...] [--rounds N] [--json FILE]

With respect to all parameters, in predict mode: `ug.hvp` as it is (cold: the function is recorded
at each call), the pushforward of `ug.linearize(ug.grad(f))` (reused), `ug.jit` of both, and its
first call. The contenders take turns; a ratio is that of the medians of the processor's time,
which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import unigrad as ug

ug.get_backend("mxnet")

import mxnet as mx  # noqa: E402
from mxnet import gluon, nd  # noqa: E402


def mlp() -> tuple[Any, tuple[int, ...]]:
    net = gluon.nn.HybridSequential()
    net.add(*[gluon.nn.Dense(n, activation="tanh") for n in (256, 128)], gluon.nn.Dense(10))
    return net, (128, 784)


def lenet() -> tuple[Any, tuple[int, ...]]:
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(6, 5, padding=2, activation="tanh"),
        gluon.nn.AvgPool2D(2, 2),
        gluon.nn.Conv2D(16, 5, activation="tanh"),
        gluon.nn.AvgPool2D(2, 2),
        gluon.nn.Flatten(),
        *[gluon.nn.Dense(n, activation="tanh") for n in (120, 84)],
        gluon.nn.Dense(10),
    )
    return net, (64, 1, 28, 28)


def resnet18() -> tuple[Any, tuple[int, ...]]:
    net = gluon.model_zoo.vision.get_resnet(1, 18, classes=10, thumbnail=True)
    return net, (8, 3, 32, 32)


NETWORKS = {"mlp": mlp, "lenet": lenet, "resnet18": resnet18}


def contenders(name: str, dtype: str) -> tuple[dict[str, Callable[[], Any]], Callable[[], Any]]:
    """What is timed, and the first call of a jitted product."""
    mx.random.seed(0)
    net, shape = NETWORKS[name]()
    net.initialize(mx.init.Xavier())
    net.cast(dtype)
    x = nd.random.normal(shape=shape).astype(dtype)
    y = (nd.arange(shape[0]) % 10).astype(dtype)
    net(x)
    entropy = gluon.loss.SoftmaxCrossEntropyLoss()
    apply, params = ug.functional(net)
    direction = {k: nd.random.normal(shape=p.shape).astype(dtype) for k, p in params.items()}
    trained = [p for p in net.collect_params().values() if p.grad_req != "null"]

    def loss(params: Any) -> Any:
        return entropy(apply(params, x), y).mean()

    def native() -> Any:
        with mx.autograd.record(train_mode=False):
            value = entropy(net(x), y).mean()
        value.backward()
        return [p.grad() for p in trained]

    def product(params: Any, direction: Any) -> Any:
        return ug.hvp(loss, params, direction)

    gradient = ug.grad(loss)
    _, push = ug.linearize(gradient, params)
    jitted, jitted_gradient = ug.jit(product), ug.jit(gradient)
    return {
        "native": native,
        "grad": lambda: gradient(params),
        "grad, jit": lambda: jitted_gradient(params),
        "hvp, cold": lambda: product(params, direction),
        "hvp, reused": lambda: push(direction),
        "hvp, jit": lambda: jitted(params, direction),
    }, lambda: ug.jit(product)(params, direction)


def seconds(f: Callable[[], Any]) -> float:
    nd.waitall()
    start = time.process_time()
    for x in ug.trees.flatten(f())[0]:
        x.wait_to_read()
    return time.process_time() - start


def measure(name: str, dtype: str, rounds: int) -> dict[str, float]:
    runs, first = contenders(name, dtype)
    for run in runs.values():
        seconds(run), seconds(run)
    taken: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            taken[key].append(seconds(run))
    native = statistics.median(taken["native"])
    found = {"native ms": 1e3 * native}
    found |= {k: statistics.median(ts) / native for k, ts in taken.items() if k != "native"}
    found["hvp, jit, first call"] = seconds(first) / native
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    given = parser.parse_args()
    results = {}
    for name in given.networks:
        for dtype in ("float64", "float32"):
            found = results[f"{name} {dtype}"] = measure(name, dtype, given.rounds)
            shown = "  ".join(f"{k} {v:.2f}" for k, v in found.items())
            print(f"{name} {dtype}: {shown}", flush=True)
    if given.json:
        with open(given.json, "w") as file:
            json.dump({"numpy": np.__version__, "ratios": results}, file, indent=1)


if __name__ == "__main__":
    main()
