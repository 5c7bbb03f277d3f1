"""Recorded NumPy calls as straight-line programs, and the simplifications that keep every bit.

An instruction is one call of a pure function on variables and constants. `simplify` may drop
and share work, and may replace a call by another one only where every result stays the same,
bit for bit, for infinities, not-a-numbers and negative zeros too.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "OPERATORS",
    "Instruction",
    "Program",
    "Variable",
    "replaced",
    "signature",
    "simplify",
    "variables",
]


@dataclass(eq=False, slots=True)
class Variable:
    """A value of the program that is known when it runs.

    Attributes:
        shape: its shape.
        dtype: its dtype.
        number: it is a NumPy scalar, not an array of no dimensions.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: bool


@dataclass(slots=True)
class Instruction:
    """``outputs = fn(*args, **kwargs)``.

    Attributes:
        fn: a pure function; it writes into none of its arguments.
        args: variables and constants, also in tuples, lists and slices.
        kwargs: the same, by name.
        outputs: what it computes.
        several: ``fn`` returns a sequence, one entry for each output.
        line: ``file:line`` of the user's code.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Variable, ...]
    several: bool
    line: str


@dataclass
class Program:
    """Instructions in an order in which they can run; an output may be a constant."""

    inputs: list[Variable]
    instructions: list[Instruction]
    outputs: list[Any] = field(default_factory=list)


OPERATORS: Mapping[Callable[..., Any], np.ufunc] = {
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.truediv: np.divide,
    operator.floordiv: np.floor_divide,
    operator.mod: np.remainder,
    operator.pow: np.power,
    operator.matmul: np.matmul,
    operator.neg: np.negative,
    operator.pos: np.positive,
    operator.abs: np.absolute,
    operator.lt: np.less,
    operator.le: np.less_equal,
    operator.gt: np.greater,
    operator.ge: np.greater_equal,
    operator.eq: np.equal,
    operator.ne: np.not_equal,
    operator.and_: np.bitwise_and,
    operator.or_: np.bitwise_or,
    operator.xor: np.bitwise_xor,
    operator.invert: np.invert,
}
"""What an operator calls on arrays. Trap: not for ``**``, which has shortcuts of its own."""

_SMALL = 1024
"""Constant arrays of at most so many bytes are compared by their entries."""


def variables(x: Any) -> Iterator[Variable]:
    """The variables in an argument, in order, once for each place."""
    kind = type(x)
    if kind is Variable:
        yield x
    elif kind is tuple or kind is list:
        for y in x:
            yield from variables(y)
    elif kind is dict:
        for y in x.values():
            yield from variables(y)
    elif kind is slice:
        yield from variables((x.start, x.stop, x.step))


def replaced(x: Any, values: Mapping[Variable, Any]) -> Any:
    """An argument with variables replaced; those without a value in ``values`` stay."""
    kind = type(x)
    if kind is Variable:
        return values.get(x, x)
    if kind is tuple or kind is list:
        return kind([replaced(y, values) for y in x])
    if kind is dict:
        return {name: replaced(y, values) for name, y in x.items()}
    if kind is slice and any(True for _ in variables(x)):
        return slice(*replaced((x.start, x.stop, x.step), values))
    return x


def signature(x: Any) -> Any:
    """A key that is equal for arguments that are the same to every bit."""
    kind = type(x)
    if kind in (int, bool, str, type(None), type(Ellipsis)):
        return kind, x
    if kind is float:
        return kind, x.hex()
    if kind is tuple or kind is list:
        return kind, tuple(signature(y) for y in x)
    if kind is dict:
        return kind, tuple((name, signature(y)) for name, y in sorted(x.items()))
    if kind is slice:
        return kind, signature((x.start, x.stop, x.step))
    if isinstance(x, np.dtype):
        return np.dtype, x.str, id(x) if x.hasobject or x.names else 0
    if isinstance(x, np.generic) and not isinstance(x, np.void | np.object_):
        return kind, x.tobytes()
    if kind is np.ndarray and x.nbytes <= _SMALL and not x.dtype.hasobject:
        return kind, x.dtype.str, x.shape, x.strides, x.tobytes()
    return id, id(x)


def simplify(program: Program) -> Program:
    """The same results from fewer instructions.

    Constants are folded, calls that occur twice are shared, and what no output needs is dropped.

    >>> x, y, z = (Variable((), np.dtype(float), True) for _ in range(3))
    >>> double = Instruction(operator.mul, (x, 1.0), {}, (y,), False, "")
    >>> unused = Instruction(operator.add, (x, 3.0), {}, (z,), False, "")
    >>> len(simplify(Program([x], [double, unused], [y])).instructions)
    0
    """
    pass_ = _Simplification(program)
    for instruction in program.instructions:
        pass_.visit(instruction)
    outputs = [replaced(y, pass_.values) for y in program.outputs]
    return Program(list(program.inputs), _alive(pass_.instructions, outputs), outputs)


def _alive(instructions: list[Instruction], outputs: list[Any]) -> list[Instruction]:
    """The instructions that some output needs."""
    needed = set(variables(outputs))
    kept = []
    for instruction in reversed(instructions):
        if not needed.isdisjoint(instruction.outputs):
            kept.append(instruction)
            needed.update(variables(instruction.args))
            needed.update(variables(instruction.kwargs))
    kept.reverse()
    return kept


class _Simplification:
    """One pass over the instructions, forwards.

    Attributes:
        values: the variable or constant that stands for a variable from now on.
        made: the instruction that made a variable.
        known: instructions that were met already, by what they compute.
        reads: how often the program reads a variable.
    """

    def __init__(self, program: Program) -> None:
        self.reads = Counter(variables([step.args for step in program.instructions]))
        self.values: dict[Variable, Any] = {}
        self.made: dict[Variable, Instruction] = {}
        self.known: dict[Any, Instruction] = {}
        self.instructions: list[Instruction] = []

    def visit(self, instruction: Instruction) -> None:
        fn = instruction.fn
        args = replaced(instruction.args, self.values)
        kwargs = replaced(instruction.kwargs, self.values) if instruction.kwargs else {}
        outputs = instruction.outputs
        if not any(True for _ in variables(args)) and not any(True for _ in variables(kwargs)):
            if self._fold(fn, args, kwargs, instruction):
                return
        elif not kwargs and not instruction.several:
            same = self._identity(fn, args, outputs[0])
            if same is not None:
                self.values[outputs[0]] = same
                return
            fn, args = self._rewritten(fn, args, outputs[0])
        key = fn, signature(args), signature(kwargs)
        before = self.known.get(key)
        if before is not None:
            self.values.update(zip(outputs, before.outputs, strict=True))
            return
        new = Instruction(fn, args, kwargs, outputs, instruction.several, instruction.line)
        self.known[key] = new
        for y in outputs:
            self.made[y] = new
        self.instructions.append(new)

    def _fold(self, fn: Any, args: Any, kwargs: Any, instruction: Instruction) -> bool:
        """Compute a call of constants now, unless it warns: then it warns at every run."""
        try:
            with np.errstate(all="raise"):
                ans = fn(*args, **kwargs)
        except ArithmeticError:
            return False
        answers = ans if instruction.several else (ans,)
        self.values.update(zip(instruction.outputs, answers, strict=True))
        return True

    def _computed(self, x: Any) -> bool:
        """Whether ``x`` lies in memory as a new array does, so that it can replace a copy.

        Trap: BLAS multiplies a strided view and its contiguous copy with different rounding.
        """
        if type(x) is not Variable:
            return False
        made = self.made.get(x)
        return x.number or (made is not None and (made.fn in OPERATORS or _is_ufunc(made.fn)))

    def _identity(self, fn: Any, args: Any, out: Variable) -> Any:
        """The argument that equals the answer, or ``None``."""
        x = args[0]
        if fn is np.reshape and len(args) == 2:
            return x if not out.number and args[1] == x.shape and not x.number else None
        target = OPERATORS.get(fn, fn)
        if len(args) == 2 and target is np.multiply and _is_scalar(x, 1.0):
            x, scalar = args[1], x
        elif len(args) == 2:
            scalar = args[1]
        else:
            scalar = None
        if type(x) is not Variable or x.dtype != out.dtype or out.dtype.kind != "f":
            return None
        if x.shape != out.shape or x.number != out.number or not self._computed(x):
            return None
        if target in (np.multiply, np.divide):
            return x if _is_scalar(scalar, 1.0) else None
        if target is np.subtract:
            return x if _is_scalar(scalar, 0.0) else None
        if target is np.add:
            return x if _is_scalar(scalar, -0.0) else None
        if fn is operator.pow:
            return x if _is_scalar(scalar, 1.0) else None
        if target is np.positive:
            return x
        if target is np.negative:
            inner = self._negated(x)
            return inner if self._computed(inner) else None
        return None

    def _negated(self, x: Any) -> Any:
        """``y`` where ``x`` is ``-y`` and may be replaced in a sum; ``None`` elsewhere."""
        made = self.made.get(x) if type(x) is Variable else None
        if made is None or OPERATORS.get(made.fn, made.fn) is not np.negative or made.kwargs:
            return None
        y = made.args[0]
        if type(y) is not Variable or y.dtype != x.dtype or x.dtype.kind != "f":
            return None
        return y if self._computed(y) or len(y.shape) <= 1 else None

    def _rewritten(self, fn: Any, args: Any, out: Variable) -> tuple[Any, Any]:
        """A cheaper call with the same answer."""
        add, sub = (operator.add, operator.sub) if fn in OPERATORS else (np.add, np.subtract)
        if fn is add and len(args) == 2:
            y = self._negated(args[1])
            if y is not None:
                return sub, (args[0], y)
            y = self._negated(args[0])
            if y is not None and type(args[1]) is Variable:
                return sub, (args[1], y)
        elif fn is sub and len(args) == 2:
            y = self._negated(args[1])
            if y is not None:
                return add, (args[0], y)
        if fn in (add, sub) and len(args) == 2 and type(args[1]) is Variable:
            product = self._product(args[1])
            if product is not None:
                return self._rewritten(sub if fn is add else add, (args[0], product), out)
        if len(args) == 2 and fn in _SPREADING:
            return fn, self._spread(args, out)
        return fn, args

    def _product(self, x: Variable) -> Variable | None:
        """``a * b`` where ``x`` is ``-a * b``, read only once; ``None`` elsewhere."""
        made = self.made.get(x)
        if (
            made is None
            or self.reads.get(x) != 1
            or OPERATORS.get(made.fn, made.fn)
            not in (
                np.multiply,
                np.divide,
            )
        ):
            return None
        for i in range(len(made.args)):
            a = self._negated(made.args[i])
            if a is not None and not made.kwargs:
                args = (*made.args[:i], a, *made.args[i + 1 :])
                product = Variable(x.shape, x.dtype, x.number)
                self.visit(Instruction(made.fn, args, {}, (product,), False, made.line))
                found = self.values.get(product, product)
                return found if type(found) is Variable else None
        return None

    def _spread(self, args: Any, out: Variable) -> Any:
        """Arguments of elementwise arithmetic without a ``broadcast_to`` that it does itself."""
        for i in (0, 1):
            made = self.made.get(args[i]) if type(args[i]) is Variable else None
            other = args[1 - i]
            if made is None or made.fn is not np.broadcast_to or type(other) is not Variable:
                continue
            inner = made.args[0]
            if (
                type(inner) is Variable
                and other.shape == out.shape == args[i].shape
                and not other.number
                and self._computed(other)
                and inner.dtype == other.dtype == out.dtype
                and out.dtype.kind == "f"
            ):
                return (inner, other) if i == 0 else (other, inner)
        return args


_SPREADING = {
    fn
    for name, target in OPERATORS.items()
    if target in (np.add, np.subtract, np.multiply, np.divide)
    for fn in (name, target)
}


def _is_ufunc(fn: Any) -> bool:
    return isinstance(fn, np.ufunc) and fn.signature is None


def _is_scalar(x: Any, value: float) -> bool:
    """Whether ``x`` is this number, with the sign of zero, and of a kind that casts nothing."""
    if type(x) not in (int, float, np.float64):
        return False
    return x == value and (value != 0.0 or np.signbit(x) == np.signbit(value))
