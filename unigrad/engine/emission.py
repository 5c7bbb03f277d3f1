"""The source of a replayed program: who lives how long, in which memory, under which name.

What one instruction becomes is decided in `emitters`, and in `scalars` for chains of numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from unigrad.engine import scalars
from unigrad.engine.buffers import Name, Plan, Seen, seen_as
from unigrad.engine.emitters import emitted
from unigrad.engine.indexing import taken
from unigrad.engine.program import Instruction, Program, Variable, variables

__all__ = ["Emission"]

_INFIX = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
}
_FORGET_ABOVE = 1 << 16
"""Arrays of more bytes, outside the buffers, are let go as soon as they are not read again."""


class Emission:
    """The source of a program, written from its first instruction to its last.

    Attributes:
        lines: the statements.
        bound: objects that the statements name: functions, constants.
        plan: the buffers that they name.
    """

    def __init__(self, program: Program, seen: dict[Variable, Seen], reuse_output: bool) -> None:
        self.program = program
        self.seen = seen
        self.lines: list[str] = []
        self.bound: dict[str, Any] = {}
        self.plan = Plan()
        self.names: dict[Variable, str] = {}
        self.floats: dict[Variable, str] = {}
        self.bound_names: dict[Any, str] = {}
        self._cells: tuple[str, str] | None = None
        self._boxes: dict[Variable, str] = {}
        self._moved: set[Variable] = set()
        self._count = 0
        self._slots: dict[Variable, int] = {}
        self.constants: dict[Variable, Any] = {}
        self._reads: dict[Variable, int] = {}
        self.blocks = scalars.blocks(program, seen)
        self._schedule(reuse_output)
        self._write()

    # ---------------------------------------------------------------- who lives how long

    def root(self, x: Variable) -> Variable | None:
        """The variable whose memory ``x`` shows."""
        seen = self.seen[x]
        return seen.root if seen.array else x

    def _schedule(self, reuse_output: bool) -> None:
        last: dict[Variable, int] = {}
        for i, block in enumerate(self.blocks):
            for instruction in block:
                for x in variables((instruction.args, instruction.kwargs)):
                    self._reads[x] = self._reads.get(x, 0) + 1
                    for y in (x, self.root(x)):
                        if y is not None:
                            last[y] = i
        self.escaping: set[Variable] = set()
        self.returned: list[Variable | None] = []
        kept = set()
        for y in self.program.outputs:
            escapes = False
            if type(y) is Variable:
                self._reads[y] = self._reads.get(y, 0) + 1
                root = self.root(y)
                last[y] = len(self.blocks)
                if root is not None:
                    last[root] = len(self.blocks)
                    whole = self.seen[y].nbytes == self.seen[root].nbytes
                    escapes = self.seen[root].new and whole and root not in kept
                    kept.add(root)
                    if escapes and not reuse_output:
                        self.escaping.add(root)
            self.returned.append(y if escapes else None)
        self._deaths: list[list[Variable]] = [[] for _ in range(len(self.blocks) + 1)]
        for x, i in last.items():
            self._deaths[i].append(x)
        self.last = last
        self.now = 0

    def dies(self, x: Variable) -> bool:
        """Whether the memory of ``x`` is not read after this instruction."""
        root = self.root(x)
        return root is not None and self.last[root] == self.now

    def reads(self, x: Variable) -> int:
        """How often ``x`` is read, by instructions or as an output."""
        return self._reads.get(x, 0)

    def look(self, x: Any) -> Seen | None:
        """What an operand is, if it is an array or a variable."""
        if type(x) is Variable:
            return self.seen[x]
        return seen_as(x, None, False) if type(x) is np.ndarray else None

    # ---------------------------------------------------------------- statements

    def _write(self) -> None:
        inputs = self.program.inputs
        for i, x in enumerate(inputs):
            self.names[x] = f"x{i}"
        if inputs:
            self.lines.append(", ".join(self.names[x] for x in inputs) + ", = inputs")
        for now, block in enumerate(self.blocks):
            self.now = now
            if len(block) > 1:
                scalars.emit(self, block)
            else:
                self._instruction(block[0])
            for x in self._deaths[self.now]:
                self._forget(x)
        outputs = [
            self._output(y, own) for y, own in zip(self.program.outputs, self.returned, strict=True)
        ]
        self.lines.append(f"return [{', '.join(outputs)}]")

    def _forget(self, x: Variable) -> None:
        slot = self._slots.pop(x, None)
        if slot is not None:
            self.plan.give(slot)
        name, seen = self.names.get(x), self.seen[x]
        if x in self._moved:
            return
        if name is not None and name[0] in "vx" and seen.array and seen.nbytes > _FORGET_ABOVE:
            self.lines.append(f"{name} = None")

    def _output(self, y: Any, own: Variable | None) -> str:
        if type(y) is not Variable:
            return f"{self.bind(y)}.copy()" if isinstance(y, np.ndarray) else self.source(y)
        name = self.raw(y)
        return name if own is not None or not self.seen[y].array else f"{name}.copy('K')"

    def _instruction(self, instruction: Instruction) -> None:
        out = instruction.outputs[0]
        if instruction.several:
            names = [self.local(y) for y in instruction.outputs]
            self.lines.append(f"{', '.join(names)}, = {self._call(instruction)}")
            return
        self.names[out] = emitted(self, instruction, out) or self._plain(instruction, out)

    def _plain(self, instruction: Instruction, out: Variable) -> str:
        name = self.local(out)
        self.lines.append(f"{name} = {self._call(instruction)}")
        return name

    def _call(self, instruction: Instruction) -> str:
        fn, args = instruction.fn, instruction.args
        if not instruction.kwargs:
            if fn in _INFIX and len(args) == 2:
                return f"{self.source(args[0])} {_INFIX[fn]} {self.source(args[1])}"
            if fn is operator.neg:
                return f"-{self.source(args[0])}"
            if fn is np.transpose and len(args) == 1:
                return f"{self.source(args[0])}.T"
        if fn is taken:
            index = args[1] if len(args) == 2 else instruction.kwargs["index"]
            return f"{self.source(args[0])}[{self.source(index)}]"
        words = [self.source(a) for a in args]
        words += [f"{k}={self.source(a)}" for k, a in instruction.kwargs.items()]
        return f"{self.bind(fn)}({', '.join(words)})"

    # ---------------------------------------------------------------- names

    def name(self, letter: str) -> str:
        """A name that was not given before."""
        self._count += 1
        return f"{letter}{self._count}"

    def local(self, x: Variable) -> str:
        """A name for a variable, bound when the program runs."""
        name = self.names[x] = self.name("v")
        return name

    def raw(self, x: Variable) -> str:
        """The name of a variable as NumPy has it; a Python number is made NumPy's again."""
        name = self.names.get(x)
        if name is None:
            q = self.floats[x]
            name = self.local(x)
            self.lines.append(f"{name} = {self.bind(np.float64)}({q})")
        return name

    def bind(self, x: Any) -> str:
        """The name of an object that stays the same."""
        key = x if callable(x) and isinstance(x, Hashable) else id(x)
        name = self.bound_names.get(key)
        if name is None:
            name = self.bound_names[key] = f"c{len(self.bound)}"
            self.bound[name] = x
        return name

    def source(self, x: Any) -> str:
        """An argument as source."""
        kind = type(x)
        if kind is Variable:
            return self.raw(x)
        if x is None or x is Ellipsis or kind is bool:
            return repr(x)
        if kind is int or (kind is float and np.isfinite(x)):
            return f"({x!r})" if x < 0 or np.signbit(x) else repr(x)
        if any(True for _ in variables(x)):
            if kind is dict:
                return "{" + ", ".join(f"{k!r}: {self.source(y)}" for k, y in x.items()) + "}"
            if kind is slice:
                return (
                    f"slice({self.source(x.start)}, {self.source(x.stop)}, {self.source(x.step)})"
                )
            inner = "".join(f"{self.source(y)}, " for y in x)
            return f"({inner})" if kind is tuple else f"[{inner}]"
        return self.bind(x)

    def static(self, x: Any) -> bool:
        """Whether an argument is a buffer, the same object at every run."""
        return type(x) is Variable and type(self.names.get(x)) is Name

    # ---------------------------------------------------------------- memory

    def owned(self, x: Any) -> bool:
        """Whether ``x`` is all of some memory of ours, that nobody reads after this."""
        if type(x) is not Variable or not self.seen[x].array or not self.dies(x):
            return False
        return self.seen[x].root is x and self.seen[x].new and x not in self.constants

    def buffer(self, out: Variable, reuse: Sequence[Any] = ()) -> str | None:
        """A place for the answer: that of an argument in ``reuse``, or a buffer.

        ``None`` where it must come in new memory, because it goes to the caller.
        """
        seen = self.seen[out]
        for x in reuse:
            if not self.owned(x):
                continue
            was = self.seen[x]
            if (was.shape, was.dtype, was.strides) == (seen.shape, seen.dtype, seen.strides):
                slot = self._slots.pop(x, None)
                if slot is None:
                    self._moved.add(x)
                    return self.names[x]
                if out not in self.escaping:
                    self._slots[out] = slot
                    return self.names[x]
                self._slots[x] = slot
        if out in self.escaping or not seen.new or seen.dtype.hasobject:
            return None
        slot = self._slots[out] = self.plan.take(seen.nbytes)
        return self.plan.array(slot, seen)

    def fresh(self, out: Variable) -> str | None:
        """New memory for an answer that goes to the caller."""
        seen = self.seen[out]
        if not seen.contiguous or seen.dtype.hasobject:
            return None
        name = self.local(out)
        empty, dtype = self.bind(np.empty), self.bind(seen.dtype)
        self.lines.append(f"{name} = {empty}({seen.shape!r}, {dtype})")
        return name

    def scratch(self, like: Seen) -> str:
        """A buffer for one instruction only."""
        slot = self.plan.take(like.nbytes)
        self.plan.give(slot)
        return self.plan.array(slot, like)

    def boxed(self, x: Variable) -> str:
        """A buffer of no dimensions that holds a number, never used for another one."""
        name = self._boxes.get(x)
        if name is not None:
            return name
        dtype = np.dtype(self.seen[x].dtype)
        slot = self.plan.add(dtype.itemsize)
        name = self._boxes[x] = self.plan.array(slot, Seen(True, (), dtype, (), None, False))
        self.lines.append(f"{name}[()] = {self.floats.get(x) or self.raw(x)}")
        return name

    def cells(self) -> tuple[str, str]:
        """Two buffers of one double each: what a function takes, and what it gives."""
        if self._cells is None:
            seen = Seen(True, (), np.dtype(float), (), None, False)
            taken_, given = (self.plan.array(self.plan.add(8), seen) for _ in range(2))
            self._cells = taken_, given
        return self._cells
