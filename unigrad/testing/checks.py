"""One check for each operator: what it returns, compared with the reference, and what it promises.

A check takes a `Trial` and returns `Comparison`s; the first holds what the operator returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

import unigrad as ug
from unigrad import trees
from unigrad.testing.scenario import Scenario
from unigrad.testing.trial import Comparison, Trial

__all__ = ["CHECKS", "ORDERS", "operators_of"]

Check = Callable[[Trial], list[Comparison]]

# Jacobians and Hessians are checked entry by entry up to this many arguments.
_DENSE = 12
_SCALE = 1.75


def value(t: Trial) -> list[Comparison]:
    """``f`` itself, on the backend's namespace."""
    with t.scope():
        got = t.like_output(t.f(*t.args))
    return [Comparison(got, [t.reference.value], t.scenario.tolerance)]


def grad(t: Trial) -> list[Comparison]:
    """``ug.grad``."""
    got = ug.grad(t.s, t.argnums, backend=t.backend)(*t.args)
    t.expect_calls()
    return [Comparison(t.like_arguments(got), t.reference.gradient, t.reference.first_tolerance)]


def value_and_grad(t: Trial) -> list[Comparison]:
    """``ug.value_and_grad``."""
    y, got = ug.value_and_grad(t.s, t.argnums, backend=t.backend)(*t.args)
    t.expect_calls()
    s = np.asarray(np.sum(np.real(np.conj(t.reference.cotangent) * t.reference.value)))
    return [
        Comparison(t.like_arguments(got), t.reference.gradient, t.reference.first_tolerance),
        Comparison(t.numpy([y]), [s], t.scenario.tolerance, "the value"),
    ]


def vjp(t: Trial) -> list[Comparison]:
    """``ug.vjp``: its pullback is linear and can be called again."""
    y, pullback = ug.vjp(t.f, *t.args, backend=t.backend)
    t.expect_calls()
    with t.scope():
        scaled = t.cotangent * _SCALE
    first = pullback(t.cotangent)
    second = pullback(scaled)
    t.expect_calls(0)
    want = t.reference.gradient
    tolerance = t.reference.first_tolerance
    return [
        Comparison(t.like_arguments(t.of_arguments(first)), want, tolerance),
        Comparison(
            t.like_arguments(t.of_arguments(second)),
            [_SCALE * w for w in want],
            tolerance,
            "the pullback of another cotangent",
        ),
        Comparison(t.like_output(y), [t.reference.value], t.scenario.tolerance, "the value"),
    ]


def jvp(t: Trial) -> list[Comparison]:
    """``ug.jvp``, and ``<u, Jv> = <v, Jᵀu>``."""
    y, moved = ug.jvp(t.f, t.args, t.tangents, backend=t.backend)
    t.expect_calls()
    got = t.like_output(moved)
    _, pullback = ug.vjp(t.f, *t.args, backend=t.backend)
    pulled = t.numpy(trees.flatten(pullback(t.cotangent))[0])
    t.calls = 0
    left = [_inner(t.reference.cotangent, got[0])]
    right = [sum(_inner(v, g) for v, g in zip(t.reference.tangents, pulled, strict=True))]
    size = [sum(_inner(abs(v), abs(g)) for v, g in zip(t.reference.tangents, pulled, strict=True))]
    loose = t.reference.first_tolerance
    if t.scenario.complex:
        loose = max(loose, 1e-9)  # the reference is a difference
    return [
        Comparison(got, [t.reference.pushed], loose),
        Comparison(t.like_output(y), [t.reference.value], t.scenario.tolerance, "the value"),
        # The sum may cancel: relative to its terms.
        Comparison(
            [np.asarray([left[0] - right[0], size[0]])],
            [np.asarray([0.0, size[0]])],
            t.scenario.tolerance,
            "<u, Jv> - <v, Jᵀu>",
        ),
    ]


def jacobian(t: Trial) -> list[Comparison]:
    """``ug.jacobian``."""
    got = ug.jacobian(t.f, t.argnums, backend=t.backend)(*t.args)
    t.expect_calls()
    blocks = t.like_blocks(got, [t.reference.value.shape])
    return [Comparison(blocks, t.reference.jacobian, t.reference.first_tolerance)]


def hvp(t: Trial) -> list[Comparison]:
    """``ug.hvp``."""
    got = ug.hvp(t.s, t.args, t.of_arguments(t.tangents), argnums=t.argnums, backend=t.backend)
    t.expect_calls()
    return [Comparison(t.like_arguments(got), t.reference.product, t.reference.second_tolerance)]


def value_grad_and_hvp(t: Trial) -> list[Comparison]:
    """``ug.value_grad_and_hvp``."""
    y, first, second = ug.value_grad_and_hvp(
        t.s, t.args, t.of_arguments(t.tangents), argnums=t.argnums, backend=t.backend
    )
    t.expect_calls()
    return [
        Comparison(t.like_arguments(second), t.reference.product, t.reference.second_tolerance),
        Comparison(
            t.like_arguments(first),
            t.reference.gradient,
            t.reference.first_tolerance,
            "the gradient",
        ),
        Comparison(t.numpy([y]), [t.reference.value], t.scenario.tolerance, "the value"),
    ]


def hessian(t: Trial) -> list[Comparison]:
    """``ug.hessian``, and its symmetry."""
    got = ug.hessian(t.s, t.argnums, backend=t.backend)(*t.args)
    t.expect_calls()
    shapes = [x.shape for x in t.reference.leaves]
    blocks = t.like_blocks(got, shapes)
    want = [block for row in t.reference.hessian for block in row]
    n = len(shapes)
    mirrored = [
        np.moveaxis(
            blocks[j * n + i],
            range(len(shapes[j])),
            range(len(shapes[i]), len(shapes[i]) + len(shapes[j])),
        )
        for i in range(n)
        for j in range(n)
    ]
    return [
        Comparison(blocks, want, t.reference.second_tolerance),
        Comparison(blocks, mirrored, t.scenario.tolerance, "the Hessian's transpose"),
    ]


def third(t: Trial) -> list[Comparison]:
    """The gradient of ``vᵀ H v``: third order."""

    def curvature(*args: Any) -> Any:
        product = ug.hvp(
            t.s, args, t.of_arguments(t.tangents), argnums=t.argnums, backend=t.backend
        )
        return t.inner(t.of_arguments(t.tangents), product)

    got = ug.grad(curvature, t.argnums, backend=t.backend)(*t.args)
    t.expect_calls()
    return [Comparison(t.like_arguments(got), t.reference.third, t.reference.third_tolerance)]


def _inner(x: Any, y: Any) -> float:
    return float(np.real(np.sum(np.conj(x) * y)))


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.__name__: check
        for check in (
            value,
            grad,
            value_and_grad,
            vjp,
            jvp,
            jacobian,
            hvp,
            value_grad_and_hvp,
            hessian,
            third,
        )
    }
)

ORDERS: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(CHECKS, 1) | {"hvp": 2, "value_grad_and_hvp": 2, "hessian": 2, "third": 3}
)


def operators_of(scenario: Scenario) -> list[str]:
    """The operators to check a scenario with."""
    if scenario.operators is not None:
        return [name for name in CHECKS if name in scenario.operators]
    found = ["value", "grad", "vjp", "jvp", "hvp"]
    if scenario.output == "scalar":
        found += ["value_and_grad", "value_grad_and_hvp"]
    if not scenario.complex and scenario.thorough and scenario.size <= _DENSE:
        found += ["hessian"] if scenario.output == "scalar" else ["jacobian", "hessian"]
    if "third" in scenario.tags:
        found.append("third")
    return found
