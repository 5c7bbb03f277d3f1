"""What multiplies scenarios: the same function in other surroundings, where wrappers go wrong.

A transformer makes a new scenario of one, whose derivatives follow from the old ones, or checks
a behaviour of calls: twice, raising, in threads, compiled.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from unigrad import trees
from unigrad.backend import Array, Backend
from unigrad.testing import behaviours
from unigrad.testing.checks import CHECKS, ORDERS
from unigrad.testing.reference import reference
from unigrad.testing.scenario import NumPyArray, Scenario
from unigrad.testing.trial import Comparison, Trial

__all__ = ["TRANSFORMERS", "Transformer"]

Run = Callable[[Backend, Scenario, str], tuple[Trial, list[Comparison]]]


@dataclass(frozen=True)
class Transformer:
    """One way to multiply scenarios.

    Attributes:
        applies: whether it applies to a scenario.
        orders: the operators to run, and the order of the derivative that each takes.
        run: the trial and what it compares.
        requires: the declared capability without which it is skipped.
    """

    applies: Callable[[Scenario], bool]
    orders: Mapping[str, int]
    run: Run
    requires: str | None = None


def _core(scenario: Scenario) -> bool:
    return "core" in scenario.tags


# -------------------------------------------------------------------- new scenarios


def _mapped(make: Callable[[Scenario], Scenario]) -> Run:
    made = functools.cache(make)

    def run(backend: Backend, scenario: Scenario, operator: str) -> Any:
        trial = Trial(backend, made(scenario))
        return trial, CHECKS[operator](trial)

    return run


def _composed(s: Scenario) -> Scenario:
    """``c sin(s(x) / c)``: the head gradient is neither 1 nor constant."""
    base = reference(s)
    c = 1.0 + float(np.max(np.abs(base.value), initial=0.0))
    cotangent, count = base.cotangent, len(s.args)

    def f(xp: Any, *args: Any) -> Any:
        y = s.f(xp, *args[:-1])
        return c * xp.sin((y if s.output == "scalar" else xp.sum(args[-1] * y)) / c)

    def parts(args: Sequence[Any]) -> tuple[float, list[NumPyArray]]:
        leaves = trees.flatten(tuple(args[:count]))[0]
        return float(np.sum(cotangent * base.value_at(leaves))), base.gradient_at(leaves)

    def value(*args: Any) -> Any:
        return c * np.sin(parts(args)[0] / c)

    def gradient(u: Any, *args: Any) -> Any:
        at, slope = parts(args)
        return tuple(u * np.cos(at / c) * g for g in slope)

    def second(u: Any, v: Any, *args: Any) -> Any:
        at, slope = parts(args)
        along = v if isinstance(v, tuple) else (v,)
        moved = sum(float(np.sum(g * w)) for g, w in zip(slope, along, strict=True))
        bend = -np.sin(at / c) / c * moved
        return tuple(
            u * (np.cos(at / c) * h + bend * g)
            for h, g in zip(base.times(along), slope, strict=True)
        )

    return _derived(
        s,
        "composed",
        f=f,
        data=(*s.data, cotangent),
        output="scalar",
        value=value,
        gradient=gradient,
        hvp=second,
    )


def _unused(s: Scenario) -> Scenario:
    """One more argument, on which the output does not depend."""
    base, count = reference(s), len(s.args)

    def gradient(u: Any, *args: Any) -> Any:
        leaves = trees.flatten(tuple(args[:count]))[0]
        return (*base.gradient_at(leaves, u), np.zeros((2, 2)))

    return _derived(
        s,
        "unused argument",
        f=lambda xp, *args: s.f(xp, *args[:count], *args[count + 1 :]),
        args=(*s.args, np.ones((2, 2))),
        value=None if s.value is None else lambda *args: s.value(*args[:count], *args[count + 1 :]),
        gradient=gradient,
        hvp=lambda u, v, *args: (*base.times(v[:-1]), np.zeros((2, 2))),
    )


def _nested(s: Scenario) -> Scenario:
    """All arguments in one tree of dicts, lists, tuples and None."""
    base, count = reference(s), len(s.args)

    def unpacked(tree: Any) -> tuple[Any, ...]:
        return (tree["a"][0], *tree["b"][0])

    def gradient(u: Any, tree: Any, *data: Any) -> Any:
        return tuple(base.gradient_at(trees.flatten(unpacked(tree))[0], u))

    assert count >= 1
    return _derived(
        s,
        "nested tree",
        f=lambda xp, tree, *data: s.f(xp, *unpacked(tree), *data),
        args=({"a": [s.args[0], None], "b": (s.args[1:], {})},),
        value=None if s.value is None else lambda tree, *data: s.value(*unpacked(tree), *data),
        gradient=gradient,
        hvp=lambda u, v, *args: tuple(base.times(v if isinstance(v, tuple) else (v,))),
    )


def _derived(s: Scenario, suffix: str, **changes: Any) -> Scenario:
    """A scenario whose reference is computed from that of ``s``, and is as accurate."""
    tolerance = reference(s).second_tolerance
    return dataclasses.replace(
        s,
        name=f"{s.name} ({suffix})",
        oracle="closed form",
        tolerance=tolerance,
        reason=s.reason or "as accurate as the reference that it is derived from",
        seed=s.seed,
        **changes,
    )


def _zero_size(s: Scenario) -> Scenario:
    """An elementwise function of no entries."""
    return dataclasses.replace(s, args=tuple(np.zeros((0, 2)) for _ in s.args))


@functools.cache
def _rounded(s: Scenario) -> Scenario:
    """The point rounded to single precision, so that both precisions see one point."""

    def round_(tree: Any) -> Any:
        return trees.map_leaves(
            lambda x: x.astype(np.float32).astype(x.dtype) if x.dtype == np.float64 else x, tree
        )

    return dataclasses.replace(s, args=round_(s.args), data=round_(s.data))


def _float32(backend: Backend, scenario: Scenario, operator: str) -> Any:
    trial = Trial(backend, _rounded(scenario), single=True)
    loose = scenario.float32_tolerance
    return trial, [
        dataclasses.replace(c, tolerance=max(loose, c.tolerance)) for c in CHECKS[operator](trial)
    ]


def _non_contiguous(backend: Backend, scenario: Scenario, operator: str) -> Any:
    trial = Trial(backend, scenario, arrange=_strided)
    return trial, CHECKS[operator](trial)


def _strided(backend: Backend, x: Array) -> Array:
    """The same array as a view that is not contiguous, where the framework has views."""
    plain = backend.to_numpy(x)
    if plain.ndim == 0:
        return x
    if plain.ndim == 1:
        return backend.asarray(np.repeat(plain, 2))[::2]
    axes = tuple(reversed(range(plain.ndim)))
    return backend.xp.permute_dims(backend.asarray(np.ascontiguousarray(plain.T)), axes)


def _orders(*operators: str) -> Mapping[str, int]:
    return {name: ORDERS[name] for name in operators}


def _behaviour(check: Callable[[Trial, str], list[Comparison]]) -> Run:
    def run(backend: Backend, scenario: Scenario, operator: str) -> Any:
        trial = Trial(backend, scenario)
        return trial, check(trial, operator)

    return run


def _differentiable(s: Scenario) -> bool:
    """Whether the scalar ``s`` may be put into another function."""
    return not s.complex and s.operators is None and "zero_size" not in s.tags


TRANSFORMERS: Mapping[str, Transformer] = MappingProxyType(
    {
        "composed": Transformer(_differentiable, _orders("hvp"), _mapped(_composed)),
        "unused argument": Transformer(_core, _orders("grad", "hvp"), _mapped(_unused)),
        "nested tree": Transformer(_core, _orders("grad", "hvp"), _mapped(_nested)),
        "zero size": Transformer(
            lambda s: _core(s) and s.family == "elementwise",
            _orders("value", "grad", "vjp", "jvp", "hvp"),
            _mapped(_zero_size),
            requires="zero_size",
        ),
        "float32": Transformer(
            lambda s: s.thorough and not s.tags & {"float64_only", "complex"},
            _orders("grad"),
            _float32,
            requires="float32",
        ),
        "float32 curvature": Transformer(
            lambda s: _core(s) and "float64_only" not in s.tags,
            _orders("hvp"),
            _float32,
            requires="float32",
        ),
        "non-contiguous": Transformer(_core, _orders("grad", "hvp"), _non_contiguous),
        "twice": Transformer(_core, _orders("grad", "hvp"), _behaviour(behaviours.twice)),
        "two closures": Transformer(_core, _orders("grad"), _behaviour(behaviours.two_closures)),
        "upstream scale": Transformer(_core, {"grad": 2}, _behaviour(behaviours.upstream_scale)),
        "has_aux": Transformer(
            _core, _orders("value_and_grad", "hvp"), _behaviour(behaviours.has_aux)
        ),
        "keywords": Transformer(_core, _orders("grad", "hvp"), _behaviour(behaviours.keywords)),
        "raise inside": Transformer(
            _core, _orders("grad", "hvp"), _behaviour(behaviours.raise_inside)
        ),
        "threads": Transformer(
            lambda s: "interleaved" in s.tags,
            _orders("grad", "hvp"),
            _behaviour(behaviours.interleaved_threads),
            requires="threads",
        ),
        "jit": Transformer(
            lambda s: "jit" in s.tags,
            _orders("grad", "hvp"),
            _behaviour(behaviours.inside_jit),
        ),
    }
)
