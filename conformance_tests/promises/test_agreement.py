"""Five frameworks in one process: one function, the same derivatives to the last digits."""

import itertools
import os

import numpy as np
import pytest

import unigrad as ug

BOUND = 1e-12


def energy(params, x):
    """A small network with a log-sum-exp head: products, reductions and transcendentals."""
    xp = ug.array_namespace(x)
    hidden = xp.tanh(xp.matmul(x, params["w"]) + params["b"])
    logits = xp.matmul(hidden, params["v"]) ** 2
    return xp.log(xp.sum(xp.exp(logits))) + xp.mean(xp.sin(hidden) * xp.exp(-hidden))


def _point():
    rng = np.random.default_rng(20240229)
    params = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3), "v": rng.normal(size=(3, 2))}
    direction = {name: rng.normal(size=p.shape) for name, p in params.items()}
    return params, direction, rng.normal(size=(5, 4))


def _kits(second_order):
    names = []
    for name, info in ug.backends().items():
        if name not in ("numpy", "torch", "tensorflow", "jax", "mxnet"):
            continue
        if not info.installed:
            if os.environ.get("UNIGRAD_REQUIRE_ALL") == "1":
                pytest.fail(f"{name} is required, but {info.reason}")
            continue
        if info.capabilities.second_order or not second_order:
            names.append(name)
    if len(names) < 2:
        pytest.skip("one framework alone agrees with itself")
    return names


def _largest(results):
    worst, where = 0.0, None
    for (a, first), (b, second) in itertools.combinations(results.items(), 2):
        scale = max(np.max(np.abs(leaf)) for leaf in first)
        gap = max(np.max(np.abs(p - q)) for p, q in zip(first, second, strict=True)) / scale
        if gap >= worst:
            worst, where = gap, (a, b)
    return worst, where


@pytest.mark.parametrize("what", ["gradient", "tangent", "Hessian product"])
def test_the_same_function_on_all_backends(what, capsys):
    """Acceptance: the largest pairwise difference is printed, and below 1e-12 relative."""
    params, direction, x = _point()
    results = {}
    for name in _kits(second_order=what == "Hessian product"):
        p, v, data = (ug.asarray(tree, backend=name) for tree in (params, direction, x))
        if what == "gradient":
            found = ug.grad(energy)(p, data)
        elif what == "tangent":
            found = ug.jvp(lambda p: energy(p, data), p, v)[1]  # noqa: B023
        else:
            found = ug.hvp(energy, (p, data), v)
        results[name] = [np.asarray(leaf) for leaf in ug.trees.flatten(ug.to_numpy(found))[0]]
    worst, where = _largest(results)
    with capsys.disabled():
        print(f"\n{what} on {', '.join(results)}: largest difference {worst:.1e} ({where})")
    assert worst < BOUND


def test_agreement_is_with_the_truth():
    """All could be wrong together: central differences of plain NumPy say they are not."""
    params, direction, x = _point()
    gradient = ug.grad(energy)(params, x)
    slope = sum(np.vdot(gradient[name], direction[name]) for name in params)
    t = 1e-5

    def moved(step):
        return energy({name: params[name] + step * direction[name] for name in params}, x)

    numeric = (moved(t) - moved(-t)) / (2 * t)
    np.testing.assert_allclose(slope, numeric, rtol=1e-8)
