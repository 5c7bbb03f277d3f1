"""Random programs: NumPy source, built step by step while it runs.

Each step is an operation of `fuzz.operations` on earlier values, which are used again and again;
its value is computed at once, so that the next step can respect domains, kinks and shapes.
What runs is the text, and the text is what a disagreement prints.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance_tests.fuzz.operations import OPERATIONS, Operation
from conformance_tests.fuzz.options import (
    OPTIONS,
    REQUIREMENTS,
    Chooser,
    fresh_shape,
    pick,
)

try:
    import scipy.special as sp
except ModuleNotFoundError:
    sp = None

__all__ = ["Input", "Program", "Step", "Unbuildable", "build", "programs", "refusal", "single"]

LARGEST = 200.0
FAILURES = (ArithmeticError, AttributeError, IndexError, TypeError, ValueError, Warning)
"""What NumPy raises where options and shapes do not fit: then the step is drawn anew."""

LAYOUTS = ("{}", "{}", "np.asfortranarray({})", "{}[::-1]", "{}.repeat(2, -1)[..., ::2]")


class Unbuildable(Exception):
    """No operands, or no step, could be found."""


@dataclass(frozen=True)
class Input:
    """An argument of a program: its entries, and a layout in memory, as source."""

    name: str
    entries: np.ndarray[Any, Any]
    layout: str = "{}"

    def value(self) -> Any:
        x = self.entries
        if self.layout.startswith("np."):
            return np.asfortranarray(x)
        if self.layout.endswith("[::-1]"):
            return np.ascontiguousarray(x[::-1])[::-1]
        if self.layout != "{}":
            return x.repeat(2, -1)[..., ::2]
        return x.copy()

    def source(self) -> str:
        entries = self.entries[::-1] if self.layout.endswith("[::-1]") else self.entries
        text = f"np.array({entries.tolist()}, dtype=np.{entries.dtype})"
        if entries.size == 0:
            text = f"np.zeros({entries.shape}, dtype=np.{entries.dtype})"
        return f"{self.name} = {self.layout.format(text)}"


@dataclass(frozen=True)
class Step:
    """One assignment: its source, the names that it reads, and the operation it came from."""

    target: str
    text: str
    reads: tuple[str, ...]
    operation: Operation | None


@dataclass(frozen=True)
class Program:
    """A function of its inputs that gives a tuple of arrays."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n" + self.source()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis asks for it

    def pruned(self, outputs: Sequence[str]) -> Program:
        """Only what these outputs need."""
        needed, steps = set(outputs), []
        for step in reversed(self.steps):
            if step.target in needed:
                needed.update(step.reads)
                steps.append(step)
        inputs = tuple(x for x in self.inputs if x.name in needed)
        return Program(inputs, tuple(reversed(steps)), tuple(outputs))

    def body(self) -> str:
        names = ", ".join(x.name for x in self.inputs)
        lines = [f"def f({names}):"]
        lines += [f"    {line}" for step in self.steps for line in step.text.split(";")]
        return "\n".join([*lines, f"    return ({', '.join(self.outputs)},)"])

    def source(self) -> str:
        """What reproduces it: inputs, and the function."""
        head = ["import numpy as np"]
        if "sp." in self.body():
            head.append("import scipy.special as sp")
        return "\n".join([*head, *(x.source() for x in self.inputs), self.body()])

    def function(self, numpy: Any = np, special: Any = sp) -> Any:
        """The function, on arrays of a library that has NumPy's names."""
        scope: dict[str, Any] = {"np": numpy, "sp": special}
        exec(_compiled(self.body()), scope)
        return scope["f"]

    def values(self) -> list[Any]:
        return [x.value() for x in self.inputs]

    def operations(self) -> set[Operation]:
        return {step.operation for step in self.steps if step.operation is not None}

    def with_dtype(self, dtype: Any) -> Program:
        """The same program at the same points in another precision."""
        inputs = tuple(
            replace(x, entries=x.entries.astype(np.result_type(dtype, x.entries.dtype)))
            for x in self.inputs
        )
        return replace(self, inputs=inputs)


@functools.lru_cache(maxsize=64)
def _compiled(text: str) -> CodeType:
    return compile(text, "<program>", "exec")


class _Options(Mapping[str, Any]):
    """The options of a template, drawn as it asks for them; asked again, they are the same."""

    def __init__(self, choose: Chooser, names: Mapping[str, str], first: Any, target: str) -> None:
        self.choose = choose
        self.first = first
        self.drawn: dict[str, Any] = {**names, "out": target, "row": f"{target}_row"}

    def __getitem__(self, key: str) -> Any:
        if key not in self.drawn:
            self.drawn[key] = OPTIONS[key](self.choose, self.first)
        return self.drawn[key]

    def __iter__(self) -> Any:
        return iter(self.drawn)

    def __len__(self) -> int:
        return len(self.drawn)


class _Builder:
    """A program in the making, with the value of everything in it."""

    def __init__(self, choose: Chooser, dtype: str, most_inputs: int) -> None:
        self.choose = choose
        self.dtype = dtype
        self.most_inputs = most_inputs
        self.inputs: list[Input] = []
        self.steps: list[Step] = []
        self.scope: dict[str, Any] = {"np": np, "sp": sp}
        self.values: dict[str, Any] = {}
        self.unused: dict[str, None] = {}
        self.count = itertools.count()

    # ---------------------------------------------------------------- inputs

    def fresh(self, words: Sequence[str], earlier: Sequence[Any]) -> str:
        """A new input that meets the requirements."""
        if len(self.inputs) >= self.most_inputs:
            raise Unbuildable("inputs")
        choose, wanted = self.choose, [REQUIREMENTS[w] for w in words]
        shaped = [r.shape for r in wanted if r.shape is not None]
        before = earlier[:1] if shaped and earlier else ()
        for _ in range(6):
            shape = shaped[0](choose, *before) if shaped else fresh_shape(choose)
            x = self.entries(shape, "real" in words)
            for r in wanted:
                if r.domain is not None:
                    x = r.domain(x)
            x = np.asarray(x, dtype=x.dtype).astype(x.dtype.char)
            if x.size <= 24 and all(r.ok(x, *earlier[:1]) for r in wanted):
                break
        else:
            raise Unbuildable(str(words))
        if self.dtype == "float32":
            x = x.astype(np.float32)
        layout = pick(choose, LAYOUTS) if x.ndim and x.size else "{}"
        made = Input(f"x{len(self.inputs)}", np.asarray(x), layout)
        self.inputs.append(made)
        self.add(made.name, made.value())
        return made.name

    def entries(self, shape: tuple[int, ...], real: bool) -> Any:
        """Distinct entries around 0, exact in single precision and short as text."""
        rng = np.random.default_rng(self.choose(1 << 16))

        def drawn() -> Any:
            n = int(np.prod(shape, dtype=int))
            grid = rng.permutation(n) + rng.uniform(0.35, 0.65, n)
            return np.round((grid / max(n, 1) * 3.0 - 1.5) * 512).reshape(shape) / 512

        complex_too = self.dtype == "complex128" and not real and self.choose(3) < 2
        return drawn() + 0.5j * drawn() if complex_too else drawn()

    # ---------------------------------------------------------------- steps

    def add(self, name: str, value: Any) -> None:
        self.values[name] = self.scope[name] = value
        self.unused[name] = None

    def operand(self, words: Sequence[str], earlier: Sequence[Any]) -> str:
        """An earlier value that meets the requirements, or is brought to; or a new input."""
        wanted = [REQUIREMENTS[w] for w in words]

        def fits(x: Any, requirements: Sequence[Any]) -> bool:
            return all(r.ok(x, *earlier[:1]) for r in requirements)

        if self.inputs and self.choose(8) < 7:
            order = [*reversed(self.unused), *(n for n in self.values if n not in self.unused)]
            shift = self.choose(len(order))
            order = order[shift:] + order[:shift]
            for name in order:
                if fits(self.values[name], wanted):
                    return name
            firm = [r for r in wanted if r.coerce is None]
            for name in order:
                if len(firm) < len(wanted) and fits(self.values[name], firm):
                    coerced = self.coerced(name, wanted)
                    if coerced is not None:
                        return coerced
        return self.fresh(words, earlier)

    def coerced(self, name: str, wanted: Sequence[Any]) -> str | None:
        """A value brought into the domain by one more step, if that helps."""
        text = name
        for r in wanted:
            if r.coerce is not None and not r.ok(self.values[name]):
                text = r.coerce.replace("{x}", f"({text})" if text != name else name)
        target = f"v{next(self.count)}"
        value = self.run(f"{target} = {text}", target)
        if not all(r.ok(value) for r in wanted if r.coerce is not None):
            return None
        self.note(Step(target, f"{target} = {text}", (name,), None), value)
        return target

    def step(self, operation: Operation) -> None:
        """One more operation."""
        names: list[str] = []
        values: list[Any] = []
        for words in operation.operands:
            words = words if operation.complex or "real" in words else ("real", *words)
            names.append(self.operand(words, values))
            values.append(self.values[names[-1]])
        target = f"v{next(self.count)}"
        first = values[0] if values else np.float64(0)
        text = operation.template.format_map(
            _Options(self.choose, dict(zip("xyz", names, strict=False)), first, target)
        )
        if "{out}" not in operation.template:
            text = f"{target} = {text}"
        self.note(Step(target, text, tuple(names), operation), self.run(text, target))

    def run(self, text: str, target: str) -> Any:
        """The value of a step.

        Raises:
            Unbuildable: if it is not a tame array of floating-point numbers.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", DeprecationWarning)
                exec(text.replace(";", "\n"), self.scope)
        except FAILURES as error:
            raise Unbuildable(f"{text}: {error}") from error
        value = np.asarray(self.scope[target])[()]
        if value.dtype.kind not in "fc" or value.size > 64 or value.ndim > 5:
            raise Unbuildable(text)
        if value.size and not np.max(np.abs(value)) < LARGEST:
            raise Unbuildable(text)
        return value

    def note(self, step: Step, value: Any) -> None:
        self.steps.append(step)
        for name in step.reads:
            self.unused.pop(name, None)
        self.add(step.target, value)

    def program(self) -> Program:
        made = {step.target for step in self.steps}
        ends = [name for name in self.unused if name in made][-3:]
        if not ends:
            raise Unbuildable("nothing was built")
        return Program(tuple(self.inputs), tuple(self.steps), tuple(ends)).pruned(ends)


def build(choose: Chooser, operations: Sequence[Operation] = OPERATIONS) -> Program:
    """A program of up to eight operations.

    Raises:
        Unbuildable: if the choices lead nowhere.
    """
    dtype = pick(choose, ("float64",) * 5 + ("complex128",) * 2 + ("float32",))
    allowed = [op for op in operations if op.complex] if dtype == "complex128" else operations
    builder = _Builder(choose, dtype, 2 + choose(3))
    left = 1 + choose(8)
    for _ in range(3 * left):
        real_too = operations if dtype == "complex128" and choose(4) == 3 else allowed
        try:
            builder.step(pick(choose, real_too))
        except Unbuildable:
            continue
        left -= 1
        if left == 0:
            break
    return builder.program()


def single(operation: Operation, choose: Chooser, dtype: str = "float64") -> Program:
    """A program of one operation.

    Raises:
        Unbuildable: if the choices lead nowhere.
    """
    builder = _Builder(choose, dtype, 6)
    builder.step(operation)
    return builder.program()


def refusal(operation: Operation) -> tuple[Callable[[Any], Any], Any]:
    """A function that calls an operation of the list of refusals, and its argument."""
    x = np.array([[1.2, 0.5], [0.3, 0.9]])
    text = operation.template.format(x="x")
    vector = "vec" in operation.operands[0]
    return (lambda x: eval(text, {"np": np, "x": x})), x[0] if vector else x


@functools.cache
def _integers(n: int) -> st.SearchStrategy[int]:
    return st.integers(0, n - 1)


@st.composite
def programs(draw: Any) -> Program | None:
    """Programs of `build`; ``None`` where the choices lead nowhere."""
    try:
        return build(lambda n: draw(_integers(n)) if n > 1 else 0)
    except Unbuildable:
        return None
