"""Chains of float64 numbers, run as Python's floats: four times as fast, and the same bits.

Python and NumPy agree on finite numbers. Where a number is not finite NumPy warns, or raises as
`numpy.errstate` says, and Python raises or keeps silent: there the whole block of instructions
runs again as NumPy runs it. (An underflow alone is not noticed: NumPy ignores it by default; and
where a function of NumPy's own in a chain overflows, its warning comes twice.)
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unigrad.engine.buffers import Seen
from unigrad.engine.indexing import taken
from unigrad.engine.program import Instruction, Program, Variable, variables

if TYPE_CHECKING:
    from unigrad.engine.emission import Emission

__all__ = ["blocks", "emit", "is_float"]

_WORTHWHILE = 4
"""Shorter chains are faster as they are."""
_DEEP = 20
"""Expressions are nested so deep at most: Python's parser has its limits."""

_BINARY = {
    operator.add: "({} + {})",
    operator.sub: "({} - {})",
    operator.mul: "({} * {})",
    operator.truediv: "({} / {})",
    np.add: "({} + {})",
    np.subtract: "({} - {})",
    np.multiply: "({} * {})",
    np.divide: "({} / {})",
}
_UNARY = {
    operator.neg: "(-{})",
    operator.abs: "abs({})",
    operator.pos: "{}",
    np.negative: "(-{})",
    np.absolute: "abs({})",
    np.positive: "{}",
    np.square: "({0} * {0})",
    np.sqrt: "sqrt({})",
    np.reciprocal: "(1.0 / {})",
}
_FUNCTIONS: dict[Any, Callable[[float], float]] = {
    np.sin: math.sin,
    np.cos: math.cos,
    np.tan: math.tan,
    np.exp: math.exp,
    np.log: math.log,
    np.tanh: math.tanh,
    np.sinh: math.sinh,
    np.cosh: math.cosh,
    np.arctan: math.atan,
    np.log1p: math.log1p,
    np.expm1: math.expm1,
}
"""What is computed by the module ``math`` if that gives the same bits on this machine."""

_DIVIDES = {operator.truediv, np.divide, np.reciprocal}


@functools.cache
def _python_twin(fn: Any) -> Callable[[float], float] | None:
    """The function of ``math`` in place of a ufunc, if both give the same for very many numbers.

    Trap: NumPy has vector code of its own for most of them on some machines, whose last bit is
    another one for every tenth number, or every thousandth.
    """
    twin = _FUNCTIONS[fn]
    draws = np.random.Generator(np.random.PCG64(1))
    wide = np.exp(draws.uniform(-40.0, 40.0, 1 << 15)) * draws.choice([-1.0, 1.0], 1 << 15)
    x = np.concatenate([draws.normal(size=1 << 14), draws.uniform(-50.0, 50.0, 1 << 14), wide])
    with np.errstate(all="ignore"):
        y = fn(x)
    finite = np.isfinite(y)
    try:
        same = all(map(operator.eq, map(twin, x[finite].tolist()), y[finite].tolist()))
    except (ArithmeticError, ValueError):
        return None
    return twin if same else None


def is_float(x: Any, seen: dict[Variable, Seen]) -> bool:
    """Whether ``x`` is a double, or a constant that is one as exactly."""
    if type(x) is Variable:
        return not seen[x].array and seen[x].dtype == np.float64
    return type(x) in (float, np.float64) or (type(x) is int and abs(x) < 1 << 53)


def _is_place(index: Any, shape: tuple[int, ...]) -> bool:
    parts = index if type(index) is tuple else (index,)
    return len(parts) == len(shape) and all(type(i) is int for i in parts)


def _index(instruction: Instruction) -> Any:
    return instruction.kwargs["index"] if instruction.kwargs else instruction.args[1]


def _is_read(instruction: Instruction, seen: dict[Variable, Seen]) -> bool:
    """Whether it reads one number out of an array."""
    if instruction.fn is not taken or type(instruction.args[0]) is not Variable:
        return False
    x = seen[instruction.args[0]]
    return x.array and x.dtype == np.float64 and _is_place(_index(instruction), x.shape)


def _is_link(instruction: Instruction, seen: dict[Variable, Seen]) -> bool:
    """Whether it is arithmetic that Python's floats can do."""
    fn, args = instruction.fn, instruction.args
    if instruction.kwargs or instruction.several or not is_float(instruction.outputs[0], seen):
        return False
    if not all(is_float(a, seen) for a in args):
        return False
    if fn is operator.pow:
        return len(args) == 2
    if len(args) == 1:
        return fn in _UNARY or fn in _FUNCTIONS
    return fn in _BINARY and len(args) == 2


def blocks(program: Program, seen: dict[Variable, Seen]) -> list[list[Instruction]]:
    """The instructions, in an order in which they can run; chains of numbers come in one block.

    A chain goes on past instructions that it does not need.
    """
    done: list[list[Instruction]] = []
    chain: list[Instruction] = []
    waiting: list[Instruction] = []
    late: set[Variable] = set()  # what the waiting ones compute

    def flush() -> None:
        links = sum(i.fn is not taken and i.fn not in _FUNCTIONS for i in chain)
        done.extend([chain[:]] if links >= _WORTHWHILE else [[i] for i in chain])
        done.extend([i] for i in waiting)
        chain.clear()
        waiting.clear()
        late.clear()

    for instruction in program.instructions:
        needs = late and any(x in late for x in variables((instruction.args, instruction.kwargs)))
        if _is_read(instruction, seen) or _is_link(instruction, seen):
            if needs:
                flush()
            chain.append(instruction)
        elif chain:
            waiting.append(instruction)
            late.update(instruction.outputs)
        else:
            done.append([instruction])
    flush()
    return done


class _Again:
    """A block as NumPy runs it, for when a number is not finite."""

    def __init__(
        self, block: Sequence[Instruction], takes: Sequence[Variable], gives: Sequence[Variable]
    ) -> None:
        self.block, self.takes, self.gives = block, takes, gives

    def __call__(self, *values: Any) -> list[float]:
        known: dict[Any, Any] = {}
        for x, value in zip(self.takes, values, strict=True):
            known[x] = np.float64(value) if type(value) is float else value
        for instruction in self.block:
            args = [known.get(a, a) if type(a) is Variable else a for a in instruction.args]
            known[instruction.outputs[0]] = instruction.fn(*args, **instruction.kwargs)
        return [float(known[y]) for y in self.gives]


def emit(e: Emission, block: Sequence[Instruction]) -> None:
    """Write a block; what others read of it is bound to Python's numbers."""
    _Block(e, block).write()


class _Block:
    def __init__(self, e: Emission, block: Sequence[Instruction]) -> None:
        self.e, self.block = e, block
        self.expressions: dict[Variable, tuple[str, int]] = {}
        self.lines: list[str] = []
        inside: dict[Variable, int] = {}
        for instruction in block:
            for x in variables(instruction.args):
                inside[x] = inside.get(x, 0) + 1
        self.made = [instruction.outputs[0] for instruction in block]
        self.sinks = [y for y in self.made if e.reads(y) > inside.get(y, 0)]
        own = set(self.made)
        self.takes = [x for x in inside if x not in own]
        self.single = {y for y in self.made if e.reads(y) == 1 and inside.get(y, 0) == 1}
        self.guards = dict.fromkeys(self.sinks)

    def write(self) -> None:
        e = self.e
        for x in self.takes:  # before the block, so that what it needs in Python is there
            if not e.seen[x].array and x not in e.floats:
                e.floats[x] = e.name("q")
                e.lines.append(f"{e.floats[x]} = {e.bind(float)}({e.raw(x)})")
        for instruction in self.block:
            self._step(instruction)
        if not self.sinks:
            return
        e.lines.append("try:")
        kept = {e.floats[y] for y in (*self.sinks, *self.guards)}
        e.lines += [f" {line}" for line in _with_few_names(self.lines, kept)]
        names = [self._operand(y) for y in self.guards]
        for i in range(0, len(names), _DEEP):
            e.lines.append(f" t = {' + '.join((['t'] if i else []) + names[i : i + _DEEP])}")
        e.lines.append(" if t - t != 0.0: raise ValueError")
        e.lines.append("except (ArithmeticError, ValueError):")
        again = _Again(self.block, self.takes, self.sinks)
        given = ", ".join(e.floats.get(x) or e.raw(x) for x in self.takes)
        gives = "".join(f"{e.floats[y]}, " for y in self.sinks)
        e.lines.append(f" {gives} = {e.bind(again)}({given})")

    def _operand(self, x: Any) -> str:
        if type(x) is not Variable:
            value = float(x)
            if not math.isfinite(value):
                return self.e.bind(value)
            return f"({value!r})" if math.copysign(1.0, value) < 0 else repr(value)
        if x in self.expressions:
            return self.expressions[x][0]
        return self.e.floats[x]

    def _depth(self, args: Sequence[Any]) -> int:
        nested = [self.expressions[x][1] for x in args if x in self.expressions]
        return max(nested, default=0) + 1

    def _step(self, instruction: Instruction) -> None:
        fn, args, y = instruction.fn, instruction.args, instruction.outputs[0]
        depth = 1
        if fn is taken:
            index = _index(instruction)
            place = index if type(index) is tuple and len(index) != 1 else (index,)
            place = place[0] if len(place) == 1 and type(place[0]) is tuple else place
            text = f"{self.e.raw(args[0])}.item({', '.join(map(str, place))})"
        else:
            depth = self._depth([a for a in args if type(a) is Variable])
            text = self._expression(fn, args)
        if fn in _FUNCTIONS:
            depth = _DEEP  # its cells are for one call at a time
        if y in self.single and depth < _DEEP and y not in self.guards:
            self.expressions[y] = text, depth
            return
        self.e.floats[y] = self.e.name("q")
        self.lines.append(f"{self.e.floats[y]} = {text}")

    def _expression(self, fn: Callable[..., Any], args: Sequence[Any]) -> str:
        if fn in _DIVIDES:
            self._guard(args[-1])
        if fn is operator.pow:
            return self._power(*args)
        if fn in _FUNCTIONS:
            self._guard(args[0])
            twin = _python_twin(fn)
            if twin is not None:
                return f"{self.e.bind(twin)}({self._operand(args[0])})"
            x, y = self.e.cells()  # NumPy takes arrays faster than numbers
            self.lines.append(f"{x}[()] = {self._operand(args[0])}")
            self.lines.append(f"{self.e.bind(fn)}({x}, {y})")
            return f"{y}.item()"
        if fn is np.square and not self._operand(args[0]).isidentifier():
            self._named(args[0])
        text = (_BINARY.get(fn) or _UNARY[fn]).format(*map(self._operand, args))
        return text.replace("sqrt", self.e.bind(math.sqrt), 1) if fn is np.sqrt else text

    def _power(self, x: Any, n: Any) -> str:
        fixed = type(n) is not Variable
        if not fixed or n <= 0:
            self._guard(x)
            self._guard(n)
        # Trap: (-8.0) ** 0.5 is a complex number in Python; math.pow raises ValueError.
        if fixed and float(n).is_integer():
            return f"({self._operand(x)} ** {self._operand(n)})"
        return f"{self.e.bind(math.pow)}({self._operand(x)}, {self._operand(n)})"

    def _named(self, x: Any) -> None:
        """Bind an expression to a name, to be read more than once."""
        if x in self.expressions:
            text, _ = self.expressions.pop(x)
            self.e.floats[x] = self.e.name("q")
            self.lines.append(f"{self.e.floats[x]} = {text}")

    def _guard(self, x: Any) -> None:
        """Check that an operand is finite which, if it is not, may give a finite result."""
        if type(x) is Variable:
            self._named(x)
            self.guards[x] = None


_NAME = re.compile(r"\bq\d+\b")


def _with_few_names(lines: Sequence[str], kept: set[str]) -> list[str]:
    """The assignments with names used again, so that Python uses the memory of numbers again."""
    last = {name: i for i, line in enumerate(lines) for name in _NAME.findall(line)}
    targets = {line.split(" = ", 1)[0] for line in lines}
    renamed: dict[str, str] = {}
    free: list[str] = []
    few = []
    for i, line in enumerate(lines):
        target, _, text = line.rpartition(" = ")
        read = dict.fromkeys(_NAME.findall(text))
        text = _NAME.sub(lambda name: renamed.get(name[0], name[0]), text)
        for name in read:
            if last[name] == i and name in targets and name not in kept:
                free.append(renamed.get(name, name))
        if free and target not in kept and _NAME.fullmatch(target):
            renamed[target] = free.pop()
        few.append(f"{renamed.get(target, target)} = {text}" if target else text)
    return few
