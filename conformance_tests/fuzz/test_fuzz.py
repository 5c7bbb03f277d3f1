"""A few hundred random programs, and the fuzzer's own tests: a planted wrong rule is caught.

The long run is ``python -m conformance_tests.fuzz --programs 10000 --jobs 2``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import unigrad as ug
from conformance_tests.fuzz.checks import Verdict, check, smallest
from conformance_tests.fuzz.operations import OPERATIONS, REFUSED, Operation
from conformance_tests.fuzz.oracles import differences, installed
from conformance_tests.fuzz.programs import Program, Unbuildable, programs, refusal, single
from unigrad.engine.table import UFUNCS
from unigrad.errors import TracingError

FAST = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def agreed(verdict: Verdict, frameworks: Any) -> None:
    if verdict.disagreements:
        found = smallest(verdict.disagreements[0], frameworks)
        raise AssertionError(f"\n{found}")


@settings(FAST, max_examples=500)
@given(program=programs())
def test_programs_agree(program: Program | None) -> None:
    if program is not None:
        verdict = check(program, {}, thin=len(program.steps) % 2 == 1)
        agreed(verdict, {})


@pytest.mark.parametrize(("name", "count"), [("torch", 100), ("jax", 10)])
def test_programs_agree_with(name: str, count: int) -> None:
    frameworks = {k: f for k, f in installed().items() if k == name}
    if not frameworks:
        pytest.skip(f"{name} is not installed")
    compared = 0

    @settings(FAST, max_examples=count)
    @given(program=programs())
    def agree(program: Program | None) -> None:
        nonlocal compared
        if program is not None:
            verdict = check(program, frameworks)
            compared += verdict.compared[name]
            agreed(verdict, frameworks)

    agree()
    assert compared > count / 5


def alone(operation: Operation, tries: int = 40) -> Iterator[Program]:
    """Programs of one operation."""
    rng = random.Random(str(operation))
    for k in range(tries):
        dtype = "complex128" if operation.complex and k % 2 else "float64"
        try:
            yield single(operation, lambda n: rng.randrange(n) if n > 1 else 0, dtype)
        except Unbuildable:
            continue


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation_alone(operation: Operation) -> None:
    """Each line of the tables can be built, is seldom rejected, and agrees."""
    accepted = 0
    for program in alone(operation):
        verdict = check(program, {})
        agreed(verdict, {})
        accepted += verdict.rejected is None
        if accepted == 2:
            return
    pytest.fail("no program of this operation is both built and smooth")


@pytest.mark.parametrize("operation", REFUSED, ids=str)
def test_refusals(operation: Operation) -> None:
    f, x = refusal(operation)
    with pytest.raises(TracingError):
        ug.grad(f)(x)


# ------------------------------------------------------------------------- the test, tested


def operation_named(template: str) -> Operation:
    return next(op for op in OPERATIONS if op.template == template)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda ans, x: np.cos(x) * (1 + 1e-4), "differences"),
        (lambda ans, x: np.cos(x) + 0.0 * np.sqrt(np.abs(x) - 9), "differences"),
        (lambda ans, x: np.cos(np.asarray(getattr(x, "value", x))), "TracingError"),
    ],
    ids=["slightly_wrong", "nan", "not_differentiable_twice"],
)
def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch, wrong: Any, what: str) -> None:
    monkeypatch.setattr(UFUNCS[np.sin], "derivatives", (wrong,))
    program = next(alone(operation_named("np.sin({x})")))
    verdict = check(program, {})
    assert verdict.disagreements
    assert "np.sin(x0)" in str(verdict.disagreements[0])


def test_a_rule_wrong_at_second_order_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = lambda ans, x: np.cos(x.value if type(x).__name__ == "TracedArray" else x)  # noqa: E731
    monkeypatch.setattr(UFUNCS[np.sin], "derivatives", (frozen,))
    program = next(alone(operation_named("np.sin({x})")))
    assert check(program, {}).disagreements


def test_kinks_are_rejected_and_smooth_points_are_not() -> None:
    assert differences(lambda t: abs(t) + t, 0.0) is None
    assert differences(lambda t: abs(t - 0.01), 0.01) is not None
    found = differences(lambda t: float(np.exp(2 * t)), 1.0)
    assert found is not None
    assert abs(found.first - 2) < 1e-12
    assert abs(found.second - 4) < 1e-9


def test_source_reproduces_the_program() -> None:
    program = next(alone(operation_named("np.linalg.solve({x}, {y})")))
    scope: dict[str, Any] = {}
    exec(program.source(), scope)
    again = scope["f"](*(scope[x.name] for x in program.inputs))
    for a, b in zip(again, program.function()(*program.values()), strict=True):
        np.testing.assert_array_equal(a, b)
