"""The same networks with the same weights in every framework: one loss, gradient and HVP."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from conformance_tests.models import keras_problems
from conformance_tests.models.measure import FRAMEWORKS, MISSING, measure
from conformance_tests.models.reference import ARCHITECTURES, MOMENTUM, reference

pytestmark = pytest.mark.xdist_group("models")

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
UNBIASED = ("torch",)
"""Frameworks whose BatchNorm runs with the unbiased variance; the others' is that of the batch."""

DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)
EVERY = pytest.mark.parametrize("framework", FRAMEWORKS)
NETS = pytest.mark.parametrize("architecture", ARCHITECTURES)

Numbers = dict[str, np.ndarray[Any, Any]]


def part(numbers: Numbers, *names: str) -> Numbers:
    """What lies under this path."""
    prefix = "/".join((*names, ""))
    return {k.removeprefix(prefix): x for k, x in numbers.items() if k.startswith(prefix)}


def biased(framework: str, architecture: str, numbers: Numbers) -> Numbers:
    """With running variances as if each batch had given its own variance."""
    if framework not in UNBIASED:
        return numbers
    net = ARCHITECTURES[architecture]
    kept = {name: (1 - MOMENTUM) * x for name, x in net.state().items()}
    changed = {}
    for norm, (_, entries) in net.running.items():
        name = f"train/state/{norm}.running_var"
        if name in numbers:
            old = kept[f"{norm}.running_var"]
            changed[name] = old + (numbers[name] - old) * (entries - 1) / entries
    return {**numbers, **changed}


def agree(got: Numbers, wanted: Numbers, dtype: str) -> None:
    """Within the tolerance of each array's largest number, or of 1."""
    assert got.keys() == wanted.keys()
    for name, x in wanted.items():
        assert got[name].shape == x.shape, name
        scale = max(1.0, float(np.max(np.abs(x))))
        bound = TOLERANCE[dtype] * scale
        np.testing.assert_allclose(got[name], x, rtol=0, atol=bound, err_msg=name)


def of(measured: Any, framework: str, architecture: str, dtype: str) -> Numbers:
    """One network's numbers in one framework."""
    if (framework, architecture) in MISSING:
        pytest.skip(f"{framework} has no {architecture}: {MISSING[framework, architecture]}")
    numbers = part(measured(framework), architecture, dtype)
    numbers.pop("impure", None)
    return biased(framework, architecture, numbers)


@DTYPES
@NETS
@EVERY
def test_a_framework_agrees_with_numpy(
    framework: str, architecture: str, dtype: str, measured: Any
) -> None:
    """Loss, gradient and HVP by every weight, in both modes; and by example, compiled, state."""
    wanted = measure("numpy", architecture, dtype)
    agree(of(measured, framework, architecture, dtype), wanted, dtype)


@DTYPES
@NETS
def test_all_frameworks_agree_pairwise(architecture: str, dtype: str, measured: Any) -> None:
    """Not only each with NumPy: no two are farther apart than the tolerance."""
    names = [n for n in measured.installed() if (n, architecture) not in MISSING]
    numbers = [of(measured, name, architecture, dtype) for name in names]
    for one, other in itertools.combinations(numbers, 2):
        agree(one, other, dtype)


def modes(architecture: str) -> Iterator[tuple[str, Any]]:
    for mode in ("eval", "train") if ARCHITECTURES[architecture].running else ("eval",):
        yield mode, reference(architecture, training=mode == "train")


@NETS
def test_the_numbers_are_derivatives(architecture: str) -> None:
    """The reference's gradient and HVP against differences of its loss and its gradient."""
    net = ARCHITECTURES[architecture]
    numbers, (x, targets), v = measure("numpy", architecture), net.batch(), net.weights(seed=1)
    h = 1e-5
    for mode, apply in modes(architecture):

        def loss(p: Any, apply: Any = apply) -> Any:
            return ug.ops.cross_entropy(apply(p, x)[0], targets)

        p = net.weights()
        up, down = ({k: p[k] + t * v[k] for k in p} for t in (h, -h))
        gradient, product = part(numbers, mode, "gradient"), part(numbers, mode, "hvp")
        slope = sum(np.sum(gradient[k] * v[k]) for k in v)
        assert slope == pytest.approx((loss(up) - loss(down)) / (2 * h), rel=1e-7, abs=1e-9)
        above, below = ug.grad(loss)(up), ug.grad(loss)(down)
        for k, moved in product.items():
            difference = (above[k] - below[k]) / (2 * h)
            np.testing.assert_allclose(moved, difference, rtol=1e-5, atol=1e-7, err_msg=k)
        each = part(numbers, mode, "each")
        for k, rows in each.items():
            np.testing.assert_allclose(rows.mean(0), gradient[k], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name != "numpy"])
def test_the_models_are_left_bit_identical(framework: str, measured: Any) -> None:
    """S16: after all of it, in both modes, and after losses that raised."""
    changed = {k: list(x) for k, x in measured(framework).items() if k.endswith("impure")}
    assert changed
    assert not {k: names for k, names in changed.items() if names}


@EVERY
def test_memory_is_flat(framework: str, measured: Any) -> None:
    """1,000 gradients of a small network leave the process as large as it was."""
    assert measured(framework)["growth"] < 2.0, "MiB"


# ------------------------------------------------------------------ problems of keras.io


@pytest.mark.parametrize("problem", keras_problems.PROBLEMS)
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_problems_of_keras_io(backend: str, problem: str, measured: Any) -> None:
    """WGAN-GP, Grad-CAM and a physics-informed loss: equal on Keras' backends and in NumPy."""
    wanted = part(keras_problems.solve_in_numpy(), problem)
    assert wanted
    agree(part(measured(f"keras-{backend}"), "problems", problem), wanted, "float64")


def test_the_problems_are_solved_by_differences_too() -> None:
    """The penalty's and the physics' gradients are those of their losses."""
    for problem in ("gradient_penalty", "physics_informed"):
        numbers = part(keras_problems.solve_in_numpy(), problem)
        slope, difference = keras_problems.slopes(problem, numbers)
        assert slope == pytest.approx(difference, rel=1e-6)
