"""One framework's numbers for every architecture, in terms of the reference's weights.

    python -m conformance_tests.models.measure keras-jax out.npz

The weights go to the framework's model by ``ug.models.port``, and its gradients come back by the
transpose of that linear map. Keras chooses its backend when it is imported: one process for each.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import unigrad as ug
from conformance_tests.models.reference import ARCHITECTURES, reference
from unigrad.models.apply import Apply

__all__ = ["FRAMEWORKS", "MODULES", "NEEDS", "Planned", "growth", "main", "measure"]

Numbers = dict[str, np.ndarray[Any, Any]]

MODULES = {
    "torch": "torch_nets",
    "gluon": "gluon_nets",
    "flax-nnx": "nnx_nets",
    "flax-linen": "linen_nets",
    "keras-tensorflow": "keras_nets",
    "keras-jax": "keras_nets",
    "keras-torch": "keras_nets",
}
FRAMEWORKS = ("numpy", *MODULES)
NEEDS: dict[str, tuple[str, ...]] = {
    "numpy": (),
    "torch": ("torch",),
    "gluon": ("mxnet",),
    "flax-nnx": ("jax", "flax"),
    "flax-linen": ("jax", "flax"),
    "keras-tensorflow": ("keras", "tensorflow"),
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras", "torch"),
}
"""What must be installed."""
BACKENDS = {"gluon": "mxnet", "flax-nnx": "jax", "flax-linen": "jax"}
"""Where the backend's name is not the last part of the framework's."""

MISSING = {("flax-nnx", "gru"): "its GRU has no bias of the hidden state"}
CHANNELS_FIRST = ("numpy", "torch", "gluon")
FLATTENED = {"last": (4, 2, 3)}
"""The image that goes flattened into the last layer: channels, rows, columns."""
PARTS = {
    f"attend.{part}_{role}": f"{part}.{role}"
    for part in ("query", "key", "value", "out")
    for role in ("weight", "bias")
}
"""Gluon has no attention; ours is of four dense layers."""


COMPILED = ("flax-nnx", "flax-linen", "keras-jax")
"""Where one compilation of everything takes less time than one of every operation of JAX."""


class Planned(Exception):
    """What a loss raises in the middle."""


def backend_of(framework: str) -> str:
    """The name of unigrad's backend."""
    return BACKENDS.get(framework, framework.rpartition("-")[2])


def measure(framework: str, architecture: str, dtype: str = "float64") -> Numbers:
    """Loss, gradient, HVP, gradients of each example, and the state after a step of training.

    ``impure`` names what of the model has changed meanwhile; it should be empty.
    """
    if framework == "numpy":
        return _numbers(framework, architecture, dtype, None, lambda x: x)
    ug.get_backend(backend_of(framework))
    nets = importlib.import_module(f"conformance_tests.models.{MODULES[framework]}")
    model = nets.build(architecture, dtype)
    before = nets.snapshot(model)
    found = _numbers(framework, architecture, dtype, model, nets.array)
    after = nets.snapshot(model)
    found["impure"] = np.array([what for what in before if before[what] != after[what]], dtype=str)
    return found


class Way:
    """The way of weights from the reference to a framework's model, and of gradients back."""

    def __init__(self, home: Apply, apply: Apply, architecture: str, framework: str) -> None:
        self._home, self._apply = home, apply
        self._options: dict[str, Any] = {}
        if architecture == "cnn_flat" and framework not in CHANNELS_FIRST:
            self._options["flatten"] = FLATTENED
        if (framework, architecture) == ("gluon", "attention"):
            self._options["mapping"] = PARTS
        net = ARCHITECTURES[architecture]
        _, self._pull = ug.vjp(self._numpy, {**net.weights(), **net.state()})

    def _numpy(self, values: Any) -> Any:
        return ug.models.port(values, self._home, self._apply, backend="numpy", **self._options)

    def there(self, weights: Numbers, state: Numbers, dtype: str) -> tuple[Any, Any]:
        """The model's parameters and state."""
        values = {name: x.astype(dtype) for name, x in {**weights, **state}.items()}
        ported = ug.models.port(values, self._home, self._apply, **self._options)
        state = {name: ported.get(name, x) for name, x in self._apply.state.items()}
        return {name: x for name, x in ported.items() if name not in state}, state

    def back(self, gradient: Any) -> Numbers:
        """The gradient by the reference's weights: port's transpose."""
        net = ARCHITECTURES[self._home.model.name]
        given = {name: ug.to_numpy(x).astype("float64") for name, x in gradient.items()}
        ported = self._numpy({**net.weights(), **net.state()})
        cotangent = {name: given.get(name, np.zeros_like(x)) for name, x in ported.items()}
        (pulled,) = self._pull(cotangent)
        return {name: pulled[name] for name in net.weights()}

    def home(self, params: Any, state: Any) -> Numbers:
        """The reference's state, ported back."""
        net = ARCHITECTURES[self._home.model.name]
        if not net.running:
            return {}
        ported = ug.models.port({**params, **state}, self._apply, self._home, **self._options)
        return {name: ug.to_numpy(ported[name]) for name in net.state()}


def _numbers(
    framework: str, architecture: str, dtype: str, model: Any, array: Callable[[Any], Any]
) -> Numbers:
    net = ARCHITECTURES[architecture]
    x, targets = net.batch()
    x = array(x if net.tokens else x.astype(dtype))
    task = Task(array(targets.astype(dtype)), rows=dtype == "float64", smooth=not net.tokens)
    compiled = framework in COMPILED and architecture != "mlp"
    found: Numbers = {}
    for mode in ("eval", "train") if net.running and dtype == "float64" else ("eval",):
        home = reference(architecture, dtype, training=mode == "train")
        apply = home if model is None else ug.functional(model, mode=mode, state="return")[0]
        way = Way(home, apply, architecture, framework)
        params, state = way.there(net.weights(), net.state(), dtype)
        v, _ = way.there(net.weights(seed=1), net.state(), dtype)
        solve = functools.partial(task.solve, functools.partial(apply, state=state))
        solved = ug.jit(solve)(params, v, x) if compiled else solve(params, v, x)
        found.update(_at_home(mode, solved, params, way))
        if architecture == "mlp":
            both = ug.jit(ug.value_and_grad(functools.partial(task.loss, apply)))
            for _ in range(2):
                value, gradient = both(params, x)
            again = {"loss": value, "gradient": gradient}
            found.update(_at_home(f"{mode}/compiled", again, params, way))
        try:
            ug.grad(functools.partial(task.raising, apply))(params, x)
        except Planned:
            continue
        raise AssertionError(f"{architecture} in {framework}: the loss' exception was lost")
    return found


@dataclass(frozen=True)
class Task:
    """What is computed of a network, whatever its framework.

    Attributes:
        targets: probabilities of the classes.
        rows: whether the examples' own derivatives are wanted too.
        smooth: whether the input has derivatives.
    """

    targets: Any
    rows: bool
    smooth: bool

    def loss(self, apply: Callable[..., Any], p: Any, x: Any) -> Any:
        """The mean over the batch."""
        return ug.ops.cross_entropy(apply(p, x)[0], self.targets)

    def raising(self, apply: Callable[..., Any], p: Any, x: Any) -> Any:
        """A loss that raises."""
        self.loss(apply, p, x)
        raise Planned

    def solve(self, apply: Callable[..., Any], p: Any, v: Any, x: Any) -> dict[str, Any]:
        """Loss, state after it, gradient, HVP; the Jacobian of the examples' losses by weights
        and each loss by its own input, which is exact where BatchNorm mixes the examples."""

        def loss(p: Any) -> Any:
            output, after = apply(p, x)
            return ug.ops.cross_entropy(output, self.targets), after

        def losses(p: Any, x: Any) -> Any:
            return ug.ops.cross_entropy(apply(p, x)[0], self.targets, reduction="none")

        (value, after), gradient = ug.value_and_grad(loss, has_aux=True)(p)
        product = ug.hvp(lambda p: loss(p)[0], p, v)
        solved = {"loss": value, "state": after, "gradient": gradient, "hvp": product}
        if self.rows:
            solved["each"] = ug.jacobian(losses)(p, x)
        if self.rows and self.smooth:
            solved["inputs"] = ug.grad(losses, argnums=1, per_example=True)(p, x)
        return solved


def _at_home(prefix: str, solved: Mapping[str, Any], params: Any, way: Way) -> Numbers:
    """All by the reference's names, in its layout."""
    found = {f"{prefix}/loss": ug.to_numpy(solved["loss"]).reshape(())}
    for what in ("gradient", "hvp"):
        if what in solved:
            found.update(_named(f"{prefix}/{what}", way.back(solved[what])))
    if "each" in solved:
        count = len(next(iter(solved["each"].values())))
        each = [way.back({name: r[i] for name, r in solved["each"].items()}) for i in range(count)]
        stacked = {name: np.stack([e[name] for e in each]) for name in each[0]}
        found.update(_named(f"{prefix}/each", stacked))
    if "inputs" in solved:
        x = ug.to_numpy(solved["inputs"])
        found[f"{prefix}/inputs"] = x.transpose(0, 3, 1, 2) if x.shape[-1] == 2 else x
    if "state" in solved:
        found.update(_named(f"{prefix}/state", way.home(params, solved["state"])))
    return found


def _named(prefix: str, values: Any) -> Numbers:
    return {f"{prefix}/{name}": np.asarray(x) for name, x in values.items()}


def growth(framework: str, calls: int = 1000) -> float:
    """By how many MiB the process grows in so many calls of a small network's gradient.

    The loss is a square: JAX itself keeps a little of each ``jax.grad`` through ``jnp.max``.
    Most calls are compiled where operations one by one take long.
    """
    net = ARCHITECTURES["mlp"]
    x, targets = net.batch()
    home = apply = reference("mlp")
    if framework != "numpy":
        ug.get_backend(backend_of(framework))
        nets = importlib.import_module(f"conformance_tests.models.{MODULES[framework]}")
        apply, _ = ug.functional(nets.build("mlp", "float64"), state="return")
        x, targets = nets.array(x), nets.array(targets)
    params, state = Way(home, apply, "mlp", framework).there(net.weights(), {}, "float64")

    def losses(p: Any) -> Any:
        return (apply(p, x, state=state)[0] - targets) ** 2

    gradient = ug.value_and_grad(losses, reduce="mean")
    routes = [gradient]
    if framework in COMPILED or framework == "keras-tensorflow":
        routes += 4 * [ug.jit(gradient)]

    def run(rounds: int) -> None:
        for route in routes:
            for _ in range(rounds // len(routes)):
                route(params)
        gc.collect()

    run(calls // 10)
    before = _resident()
    run(calls)
    return _resident() - before


def _resident() -> float:
    """The process' memory in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main(framework: str, out: str) -> None:
    """Measure all architectures, and write the numbers into one file."""
    found: Numbers = {}
    for architecture, dtype in itertools.product(ARCHITECTURES, ("float64", "float32")):
        if (framework, architecture) not in MISSING:
            numbers = measure(framework, architecture, dtype)
            found.update({f"{architecture}/{dtype}/{name}": x for name, x in numbers.items()})
    if framework.startswith("keras"):
        from conformance_tests.models import keras_problems

        found.update({f"problems/{k}": x for k, x in keras_problems.solve_in_keras().items()})
    found["growth"] = np.array(growth(framework))
    np.savez(out, **found)


if __name__ == "__main__":
    if sys.argv[1].startswith("keras"):
        from conformance_tests.models.keras_float64 import compute_in_float64

        compute_in_float64()
    main(*sys.argv[1:])
