"""What unigrad costs over the best native recipe, as a ratio in one run.

    python conformance_tests/benchmarks/native_recipes.py [--rounds N] [--json FILE]

For each framework found: the gradient and the Hessian-vector product of a tiny function
(``sum(x**2)``, n = 10) and of a medium network (784-256-10, batch 64, tanh), float64, by
unigrad and by the recipe that an expert of the framework would write. The contenders take
turns, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import unigrad as ug

Recipe = Callable[..., Any]


def medium(backend: str) -> tuple[Callable[[Any], Any], list[Any], list[Any]]:
    """A loss of three weights, the weights, and a direction."""
    rng = np.random.default_rng(0)
    data = ug.asarray(rng.normal(size=(64, 784)), backend=backend)
    target = ug.asarray(rng.normal(size=(64, 10)), backend=backend)
    shapes = [(784, 256), (256,), (256, 10)]
    weights = [ug.asarray(0.05 * rng.normal(size=s), backend=backend) for s in shapes]
    direction = [ug.asarray(rng.normal(size=s), backend=backend) for s in shapes]
    xp = ug.array_namespace(data)

    def loss(w: Any) -> Any:
        hidden = xp.tanh(xp.matmul(data, w[0]) + w[1])
        return xp.mean((xp.matmul(hidden, w[2]) - target) ** 2)

    return loss, weights, direction


def torch_recipes(loss: Any, w: list[Any], v: list[Any]) -> tuple[Recipe, Recipe]:
    import torch

    def leaves() -> list[Any]:
        return [x.detach().requires_grad_() for x in w]

    def gradient() -> Any:
        xs = leaves()
        return torch.autograd.grad(loss(xs), xs)

    def product() -> Any:
        xs = leaves()
        grads = torch.autograd.grad(loss(xs), xs, create_graph=True)
        return torch.autograd.grad(grads, xs, v)

    return gradient, product


def tensorflow_recipes(loss: Any, w: list[Any], v: list[Any]) -> tuple[Recipe, Recipe]:
    import tensorflow as tf

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = loss(w)
        return tape.gradient(y, w)

    def product() -> Any:
        with tf.GradientTape() as outer:
            outer.watch(w)
            grads = gradient()
        return outer.gradient(grads, w, v)

    return gradient, product


def jax_finished(results: Any) -> Any:
    import jax

    return jax.block_until_ready(results)


def mxnet_finished(results: list[Any]) -> Any:
    for result in results:
        result.wait_to_read()
    return results


def jax_recipes(loss: Any, w: list[Any], v: list[Any]) -> tuple[Recipe, Recipe]:
    import jax

    def gradient() -> Any:
        return jax_finished(jax.grad(loss)(w))

    def product() -> Any:
        return jax_finished(jax.jvp(jax.grad(loss), (w,), (v,))[1])

    return gradient, product


def mxnet_recipes(loss: Any, w: list[Any], v: list[Any]) -> tuple[Recipe, None]:
    from mxnet import autograd

    def gradient() -> Any:
        xs = [x.copy() for x in w]
        for x in xs:
            x.attach_grad()
        with autograd.record():
            y = loss(xs)
        return mxnet_finished(autograd.grad(y, xs))

    return gradient, None


RECIPES: dict[str, Callable[..., Any]] = {
    "torch": torch_recipes,
    "tensorflow": tensorflow_recipes,
    "jax": jax_recipes,
    "mxnet": mxnet_recipes,
}
FINISHED: dict[str, Recipe] = {"jax": jax_finished, "mxnet": mxnet_finished}


def ratio(ours: Recipe, native: Recipe, rounds: int, inner: int) -> tuple[float, float, float]:
    """Microseconds of ours, of the native recipe, and their ratio; the two take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for recipe in (ours, native):
        recipe()
    for _ in range(rounds):
        for k, recipe in enumerate((ours, native)):
            start = time.perf_counter()
            for _ in range(inner):
                recipe()
            times[k].append((time.perf_counter() - start) / inner * 1e6)
    a, b = statistics.median(times[0]), statistics.median(times[1])
    return a, b, a / b


def contenders(
    backend: str, loss: Any, w: list[Any], v: list[Any]
) -> Iterator[tuple[str, Recipe, Recipe]]:
    """For each operator, unigrad and the native recipe."""
    gradient, product = RECIPES[backend](loss, w, v)
    finished = FINISHED.get(backend, lambda results: results)
    yield "grad", lambda: finished(ug.grad(loss)(w)), gradient
    if product is not None:
        yield "hvp", lambda: finished(ug.hvp(loss, w, v)), product


def measure(backend: str, rounds: int) -> Iterator[dict[str, Any]]:
    x = ug.asarray(np.linspace(0.0, 1.0, 10), backend=backend)
    xp = ug.array_namespace(x)
    cases = {
        "tiny": (lambda w: xp.sum(w[0] * w[0]), [x], [x], 50),
        "medium": (*medium(backend), 3),
    }
    for size, (loss, w, v, inner) in cases.items():
        with ug.get_backend(backend).scope([x]) or contextlib.nullcontext():
            for operator, ours, native in contenders(backend, loss, w, v):
                mine, theirs, quotient = ratio(ours, native, rounds, inner)
                yield {
                    "backend": backend,
                    "size": size,
                    "operator": operator,
                    "unigrad_us": mine,
                    "native_us": theirs,
                    "ratio": quotient,
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    rows = []
    print(
        f"{'backend':<12}{'size':<8}{'operator':<10}{'unigrad µs':>12}{'native µs':>12}{'ratio':>8}"
    )
    for backend in RECIPES:
        if not ug.backends()[backend].installed:
            continue
        if backend == "torch":
            import torch

            torch.set_num_threads(1)
        for row in measure(backend, options.rounds):
            rows.append(row)
            print(
                f"{row['backend']:<12}{row['size']:<8}{row['operator']:<10}"
                f"{row['unigrad_us']:>12.1f}{row['native_us']:>12.1f}{row['ratio']:>8.2f}"
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
