"""Programs replayed: generated straight-line code, with memory of its own that is used again.

The first call with arguments that lie in memory in some way runs instruction by instruction, and
notes where each result lies and whose memory it shows; the code made from that holds for later
arguments that lie alike. Every call in progress has buffers of its own: threads and nested calls
do not meet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from unigrad.engine.buffers import Seen, seen_as
from unigrad.engine.emission import Emission
from unigrad.engine.program import Program, Variable, replaced, variables

__all__ = ["Replay", "compile_program"]

_LAYOUTS = 8
"""So many ways in which arguments lie get code of their own; others run call by call."""


def compile_program(
    program: Program, *, reuse_output: bool = False
) -> Callable[[Sequence[Any]], list[Any]]:
    """A function from values of the inputs to those of the outputs.

    Args:
        program: a program, simplified before.
        reuse_output: give results in buffers, which the next call overwrites.

    Returns:
        `Replay`; arguments must have the shapes and dtypes of ``program.inputs``. Without
        ``reuse_output`` the results share memory with nothing.
    """
    return Replay(program, reuse_output)


class _Code:
    """Code for arguments that lie in one way, and its sets of buffers that are not in use."""

    def __init__(self, program: Program, seen: dict[Variable, Seen], reuse_output: bool) -> None:
        emission = Emission(program, seen, reuse_output)
        self.plan = emission.plan
        names = [*emission.bound, *self.plan.recipes]
        parameters = ", ".join(["inputs", *names])
        body = "\n ".join(emission.lines)
        self.source = f"def replay({parameters}):\n {body}\n"
        scope: dict[str, Any] = {}
        exec(compile(self.source, "<unigrad replay>", "exec"), scope)
        self.code = scope["replay"].__code__
        self.scope = scope
        self.bound = list(emission.bound.values())
        self.idle: list[Callable[[Sequence[Any]], list[Any]]] = []

    def made(self) -> Callable[[Sequence[Any]], list[Any]]:
        """The code with a new set of buffers, which are its default arguments."""
        defaults = tuple(self.bound + self.plan.built())
        return FunctionType(self.code, self.scope, "replay", defaults)

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        idle = self.idle
        try:
            run = idle.pop()
        except IndexError:
            run = self.made()
        outputs = run(inputs)
        idle.append(run)
        return outputs


class Replay:
    """A compiled program, called with a sequence of arrays and numbers.

    Attributes:
        program: what it computes.
        reuse_output: whether results lie in buffers.
    """

    def __init__(self, program: Program, reuse_output: bool) -> None:
        self.program = program
        self.reuse_output = reuse_output
        arrays = [i for i, x in enumerate(program.inputs) if not x.number]
        # The result of a function of one axis lies the same way however its argument lies.
        self._looked_at = [i for i in arrays if self._layout_matters(program.inputs[i])]
        self._usual: _Code | None = None
        self._unusual: dict[Any, _Code] = {}
        self._lock = threading.Lock()

    def _layout_matters(self, x: Variable) -> bool:
        if len(x.shape) != 1:
            return len(x.shape) > 1
        return any(
            x in variables((step.args, step.kwargs))
            and not (isinstance(step.fn, np.ufunc) and step.fn.signature is None)
            for step in self.program.instructions
        )

    @property
    def source(self) -> str | None:
        """The generated code for contiguous arguments; ``None`` before the first call."""
        return None if self._usual is None else self._usual.source

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        for i in self._looked_at:
            if not inputs[i].flags.c_contiguous:
                return self._lying_otherwise(inputs)
        code = self._usual
        if code is None:
            outputs, seen = _observed(self.program, inputs)
            with self._lock:
                self._usual = self._usual or _Code(self.program, seen, self.reuse_output)
            return outputs
        idle = code.idle
        try:
            run = idle.pop()
        except IndexError:
            run = code.made()
        outputs = run(inputs)
        idle.append(run)
        return outputs

    def _lying_otherwise(self, inputs: Sequence[Any]) -> list[Any]:
        key = tuple(inputs[i].strides for i in self._looked_at)
        code = self._unusual.get(key)
        if code is not None:
            return code(inputs)
        outputs, seen = _observed(self.program, inputs)
        with self._lock:
            if len(self._unusual) < _LAYOUTS and key not in self._unusual:
                self._unusual[key] = _Code(self.program, seen, self.reuse_output)
        return outputs


def _observed(program: Program, inputs: Sequence[Any]) -> tuple[list[Any], dict[Variable, Seen]]:
    """The outputs, computed one instruction after the other, and what each value was."""
    values: dict[Variable, Any] = dict(zip(program.inputs, inputs, strict=True))
    seen = {x: seen_as(value, x, False) for x, value in values.items()}
    last: dict[Variable, int] = {}
    for i, step in enumerate(program.instructions):
        for x in variables((step.args, step.kwargs)):
            last[x] = i
    last.update(dict.fromkeys(variables(program.outputs), len(program.instructions)))
    for i, step in enumerate(program.instructions):
        args = replaced(step.args, values)
        kwargs = replaced(step.kwargs, values)
        ans = step.fn(*args, **kwargs)
        answers = ans if step.several else (ans,)
        for y, value in zip(step.outputs, answers, strict=True):
            root, new = _origin(y, value, step, values, [a for a in answers if a is not value])
            if root is not y and root is not None:
                root = seen[root].root
            seen[y] = seen_as(value, root, new)
            values[y] = value
        for x in (*variables((step.args, step.kwargs)), *step.outputs):
            if last.get(x, i) == i:
                values.pop(x, None)
    taken: list[Any] = [*inputs]
    outputs = []
    for y in program.outputs:
        value = values[y] if type(y) is Variable else y
        if isinstance(value, np.ndarray):
            known = type(y) is Variable and seen[y].root is not None
            if not known or any(np.may_share_memory(value, other) for other in taken):
                value = value.copy("K")
            taken.append(value)
        outputs.append(value)
    return outputs, seen


def _origin(
    y: Variable, value: Any, step: Any, values: dict[Variable, Any], siblings: Sequence[Any]
) -> tuple[Variable | None, bool]:
    """The variable whose memory a result shows, and whether it is new, and ours to write."""
    if not isinstance(value, np.ndarray):
        return None, False
    for x in variables((step.args, step.kwargs)):
        if isinstance(values[x], np.ndarray) and np.may_share_memory(value, values[x]):
            return x, False
    # Trap: to ask a result of `broadcast_arrays` whether it is writeable gives a warning.
    if value.size == 0 or 0 in value.strides or not value.flags.writeable:
        return None, False
    if not _makes_new_arrays(step.fn):
        return None, False
    if any(np.may_share_memory(value, a) for a in (*siblings, *_arrays((step.args, step.kwargs)))):
        return None, False
    return y, type(value) is np.ndarray


def _arrays(x: Any) -> list[Any]:
    """The constant arrays in an argument."""
    if isinstance(x, np.ndarray):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [a for y in x for a in _arrays(y)] if isinstance(x, tuple | list) else []


def _makes_new_arrays(fn: Any) -> bool:
    """Whether a result that is no view is surely not kept anywhere else."""
    if isinstance(fn, np.ufunc):
        return True
    module = getattr(fn, "__module__", None) or ""
    owner = getattr(fn, "__self__", None)
    return module.startswith(("numpy", "_operator", "unigrad.engine")) or isinstance(
        owner, np.ufunc
    )
