"""Programs written by hand, and how their results are compared; no test itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine.program import Instruction, Program, Variable, replaced


class Written:
    """A program under construction, and the values of its variables."""

    def __init__(self, *inputs: Any) -> None:
        self.values: dict[Any, Any] = {}
        self.program = Program([self.variable(x) for x in inputs], [], [])

    def variable(self, value: Any) -> Variable:
        v = Variable(np.shape(value), value.dtype, isinstance(value, np.generic))
        self.values[v] = value
        return v

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            ans = fn(*replaced(args, self.values), **replaced(kwargs, self.values))
        several = isinstance(ans, tuple | list)
        outputs = tuple(self.variable(y) for y in (ans if several else [ans]))
        step = Instruction(fn, args, kwargs, outputs, several, "here")
        self.program.instructions.append(step)
        return list(outputs) if several else outputs[0]


def direct(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """The program as it was recorded, call by call."""
    values: dict[Any, Any] = dict(zip(program.inputs, inputs, strict=True))
    for step in program.instructions:
        ans = step.fn(*replaced(step.args, values), **replaced(step.kwargs, values))
        values.update(zip(step.outputs, ans if step.several else [ans], strict=True))
    return [values[y] if type(y) is Variable else y for y in program.outputs]


def bits(x: Any) -> Any:
    """What tells two values apart; one not-a-number is like another."""
    x = np.array(x, order="C", copy=True)
    parts = (x.real, x.imag) if x.dtype.kind == "c" else (x,)
    if x.dtype.kind in "fc":
        parts = tuple(np.where(np.isnan(p), np.nan, p) for p in parts)
    return x.dtype, x.shape, [p.tobytes() for p in parts]


def assert_same(got: Sequence[Any], expected: Sequence[Any]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert isinstance(a, np.ndarray) == isinstance(b, np.ndarray), (type(a), type(b))
        assert bits(a) == bits(b), (a, b)


def assert_apart(outputs: Sequence[Any], others: Sequence[Any]) -> None:
    arrays = [y for y in outputs if isinstance(y, np.ndarray)]
    for i, y in enumerate(arrays):
        for other in (*others, *arrays[:i]):
            assert not np.may_share_memory(y, other)
