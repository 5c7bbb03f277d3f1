"""Programs are simplified only where no bit of a result changes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.written_programs import Written
from unigrad.engine.program import Program, simplify


def steps(program: Program) -> list[str]:
    return [step.fn.__name__ for step in simplify(program).instructions]


def test_dead_shared_and_constant_calls_go() -> None:
    written = Written(np.ones((2, 3)))
    (x,) = written.program.inputs
    a = written.call(np.exp, x)
    b = written.call(np.exp, x)
    written.call(np.log, a)
    c = written.call(np.add, np.ones(3), 2.0)
    written.program.outputs = [written.call(operator.mul, written.call(operator.add, a, b), c)]
    assert steps(written.program) == ["exp", "add", "mul"]


@pytest.mark.parametrize(
    ("fn", "args", "kept"),
    [
        (operator.mul, ("y", 1.0), 0),
        (operator.mul, (1, "y"), 0),
        (operator.truediv, ("y", 1.0), 0),
        (operator.sub, ("y", 0.0), 0),
        (operator.add, ("y", -0.0), 0),
        (operator.add, ("y", 0.0), 1),  # -0.0 + 0.0 is 0.0
        (operator.sub, ("y", -0.0), 1),
        (operator.mul, ("y", 0.0), 1),  # inf * 0.0 is nan
        (operator.mul, ("x", 1.0), 1),  # a copy may lie in memory otherwise
        (operator.mul, ("y", np.ones((2, 3))), 1),
        (operator.pow, ("y", 1), 0),
    ],
)
def test_only_what_changes_no_bit_is_left_out(fn: Any, args: Any, kept: int) -> None:
    written = Written(np.array([[-0.0, np.inf, 1.0], [np.nan, 0.0, 2.0]]))
    (x,) = written.program.inputs
    y = written.call(operator.mul, x, x)
    named = {"x": x, "y": y}
    args = [named[a] if isinstance(a, str) else a for a in args]
    written.program.outputs = [written.call(operator.add, y, written.call(fn, *args))]
    assert len(steps(written.program)) == 2 + kept


def test_what_warns_is_not_folded() -> None:
    written = Written(np.float64(1.0))
    (x,) = written.program.inputs
    y = written.call(np.log, 0.0)
    written.program.outputs = [written.call(operator.add, x, y)]
    assert steps(written.program) == ["log", "add"]


def test_a_negated_term_is_subtracted() -> None:
    written = Written(np.ones(3), np.ones(3))
    x, y = written.program.inputs
    product = written.call(operator.mul, written.call(operator.neg, x), y)
    written.program.outputs = [written.call(operator.add, y, product)]
    assert steps(written.program) == ["mul", "sub"]
