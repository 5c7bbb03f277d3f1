"""Programs simplified, compiled and replayed give what their calls give, bit for bit."""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance_tests.unit.written_programs import (
    Written,
    assert_apart,
    assert_same,
    direct,
)
from unigrad.engine.indexing import add_at, scatter, taken, update
from unigrad.engine.program import simplify
from unigrad.engine.replay import compile_program

# ---------------------------------------------------------------- random programs

UNARY = [operator.neg, operator.abs, np.exp, np.tanh, np.sin, np.sqrt, np.square, np.negative]
BINARY = [
    *(operator.add, operator.sub, operator.mul, operator.truediv) * 3,
    np.add,
    np.subtract,
    np.multiply,
    np.divide,
    np.maximum,
    np.minimum,
    operator.ge,
    np.less,
    operator.eq,
    np.arctan2,
    np.logaddexp,
]
NUMBERS = [1.0, -1.0, 0.0, -0.0, 2, 0.5, 1, 0, -3.25, np.float64(1.5), np.inf, 1e300]
EXACT = [operator.neg, operator.abs, np.sqrt, np.square, np.negative]
EXPONENTS = [2, 2.0, 0.5, 1, 0, -1, 3, -2, 1.5, -0.5]


KINDS = [
    *["binary"] * 4,
    *["unary", "reduce", "view", "taken", "number"] * 2,
    *["power", "matmul", "scatter", "update", "add_at", "where", "join", "like", "several", "misc"],
]


class Random(Written):
    """A program drawn at random."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        # Trap: along axes that run backwards, the last bit of a complex product or an arctan2
        # depends on where NumPy finds memory for it: only exact functions are compared there.
        self.turned = self.rng.random() < 0.4
        self.unary = EXACT if self.turned else UNARY
        self.binary_ = BINARY[:-2] if self.turned else BINARY
        self.exponents = EXPONENTS[:5] if self.turned else EXPONENTS
        dtypes = [np.float64] * 5 + [np.float32, np.int64, np.complex128]
        self.dtype = self.pick(dtypes[:-1] if self.turned else dtypes)
        special = self.rng.random() < 0.3
        self.special = special
        super().__init__(*[self.draw(self.shape()) for _ in range(self.rng.integers(1, 4))])
        self.known = list(self.program.inputs)
        for _ in range(self.rng.integers(3, 40)):
            self.step()
        outputs = [self.pick(self.known) for _ in range(self.rng.integers(1, 5))]
        if self.rng.random() < 0.1:
            outputs.append(self.pick([np.arange(3.0), np.float64(2.0)]))
        self.program.outputs = outputs

    def pick(self, choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def shape(self) -> tuple[int, ...]:
        return self.pick(
            [(), (3,), (2, 3), (3, 3), (1, 3), (3, 1), (2, 1, 3), (0, 3), (3, 2), (40, 33)]
        )

    def draw(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        x = self.rng.normal(size=shape) * 2
        if self.special:
            odd = self.rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e308, 1.0], size=shape)
            x = np.where(self.rng.random(shape) < 0.3, odd, x)
        dtype = np.dtype(dtype or self.dtype)
        if dtype.kind == "c":
            x = x + 1j * self.rng.normal(size=shape)
        with np.errstate(all="ignore"):
            x = np.asarray(x).astype(dtype)
        return x[()] if self.rng.random() < 0.7 else x

    def operand(self) -> Any:
        r = self.rng.random()
        if r < 0.2:
            return self.pick(NUMBERS)
        return self.draw(self.shape()) if r < 0.27 else self.pick(self.known)

    def index(self, shape: tuple[int, ...]) -> Any:
        if self.rng.random() < 0.6:
            parts = [
                self.pick(
                    [
                        slice(None),
                        slice(0, -1),
                        slice(1, None),
                        slice(None, None, -1 if self.turned else 2),
                        0,
                        -1,
                    ]
                )
                for _ in range(self.rng.integers(0, len(shape) + 1))
            ]
            extra = self.pick([[], [], [None], [Ellipsis]])
            return parts[0] if len(parts) == 1 and not extra else (*parts, *extra)
        n = shape[0]
        return self.rng.integers(0 if self.rng.random() < 0.8 else -n, n, size=self.pick([1, 3, 5]))

    def step(self) -> None:
        kind = self.pick(KINDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                new = getattr(self, kind)(self.pick(self.known))
        except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError, Warning):
            return
        new = new if isinstance(new, list) else [new]
        for y in new:
            value = self.values[y]
            if value.size <= 4000 and value.dtype.kind in "fciub":
                self.known.append(y)

    def binary(self, x: Any) -> Any:
        args = (x, self.operand()) if self.rng.random() < 0.5 else (self.operand(), x)
        return self.call(self.pick(self.binary_), *args)

    def number(self, x: Any) -> Any:
        """Arithmetic of numbers, which makes chains."""
        numbers = [v for v in self.known if v.number]
        if not numbers:
            return self.call(np.sum, x)
        y = self.pick(numbers)
        for _ in range(5):
            if self.rng.random() < 0.3:
                fn = self.pick(
                    [operator.neg, abs, operator.pos, np.sqrt, np.sin, np.tanh, np.square]
                )
                y = self.call(operator.abs if fn is abs else fn, y)
            elif self.rng.random() < 0.15:
                y = self.call(operator.pow, y, self.pick(EXPONENTS))
            else:
                other = self.pick([*numbers, *NUMBERS])
                y = self.call(self.pick(BINARY[:12]), *self.pick([(y, other), (other, y)]))
            numbers.append(y)
            self.known.append(y)
        return y

    def unary(self, x: Any) -> Any:
        return self.call(self.pick(self.unary), x)

    def power(self, x: Any) -> Any:
        return self.call(operator.pow, x, self.pick(self.exponents))

    def matmul(self, x: Any) -> Any:
        return self.call(self.pick([operator.matmul, np.matmul, np.dot]), x, self.pick(self.known))

    def reduce(self, x: Any) -> Any:
        options: dict[str, Any] = {}
        if x.shape and self.rng.random() < 0.7:
            options["axis"] = int(self.rng.integers(-len(x.shape), len(x.shape)))
        if self.rng.random() < 0.4:
            options["keepdims"] = self.pick([True, False])
        fn = self.pick([np.sum, np.sum, np.max, np.min, np.prod, np.mean, np.add.reduce])
        if fn is np.sum and self.rng.random() < 0.2:
            options["dtype"] = np.dtype(self.pick([np.float64, np.float32, np.complex128]))
        return self.call(fn, x, **options)

    def view(self, x: Any) -> Any:
        size = int(np.prod(x.shape))
        return self.pick(
            [
                lambda: self.call(np.transpose, x),
                lambda: self.call(np.reshape, x, self.pick([(-1,), (size, 1), (1, size), x.shape])),
                lambda: self.call(np.expand_dims, x, 0),
                lambda: self.call(np.squeeze, x),
                lambda: self.call(np.ravel, x),
                lambda: self.call(np.broadcast_to, x, self.pick([(3,), (2, 3), (3, 3), (2, 3, 3)])),
                lambda: self.call(np.real, x),
                lambda: self.call(np.swapaxes, x, 0, -1),
            ]
        )()

    def taken(self, x: Any) -> Any:
        return self.call(taken, x, index=self.index(x.shape))

    def scatter(self, x: Any) -> Any:
        index = self.index(x.shape)
        g = self.call(taken, x, index=index)
        return self.call(scatter, g, index=index, shape=x.shape)

    def update(self, x: Any) -> Any:
        v = 3 if x.dtype.kind == "i" else self.operand()  # not every double fits into an integer
        return self.call(update, x, v, index=self.index(x.shape))

    def add_at(self, x: Any) -> Any:
        index = self.index(x.shape)
        v = self.call(taken, x, index=index)
        self.known.append(v)
        return self.call(add_at, x, self.call(operator.mul, v, v), index=index)

    def where(self, x: Any) -> Any:
        mask = self.call(operator.gt, x, self.operand())
        return self.call(np.where, mask, self.operand(), self.operand())

    def join(self, x: Any) -> Any:
        fn = self.pick([np.concatenate, np.stack])
        return self.call(fn, (x, self.pick(self.known), x), axis=self.pick([0, -1]))

    def like(self, x: Any) -> Any:
        return self.call(self.pick([np.zeros_like, np.ones_like]), x)

    def several(self, x: Any) -> Any:
        return self.pick(
            [
                lambda: self.call(np.modf, x),
                lambda: self.call(np.split, x, 1),
                lambda: self.call(np.broadcast_arrays, x, self.pick(self.known)),
            ]
        )()

    def misc(self, x: Any) -> Any:
        fn = self.pick(
            [np.copy, np.cumsum, np.sort, np.conj, np.flip if self.turned else np.copy, np.roll]
        )
        if fn is np.roll:
            return self.call(fn, x, self.pick([1, -1, 4, 0]), self.pick([None, 0, -1]))
        return self.call(fn, x)

    def others(self) -> list[Any]:
        """Other inputs of the same shapes and dtypes, that lie in memory in other ways."""
        fresh = []
        for v in self.program.inputs:
            x = np.asarray(self.draw(v.shape, v.dtype))
            if v.number:
                fresh.append(x[()])
                continue
            way = self.rng.integers(4)
            if way == 1:
                x = np.array(x, order="F", ndmin=x.ndim)
            elif way == 2 and x.ndim:
                x = np.repeat(x, 2, axis=-1)[..., ::2]
            elif way == 3 and x.ndim and self.turned:
                x = x[::-1]
            fresh.append(x)
        return fresh


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("simplified", [False, True])
@given(seed=st.integers(0, 2**40))
@settings(max_examples=250, deadline=None, derandomize=True)
def test_a_random_program_is_replayed_bit_for_bit(simplified: bool, seed: int) -> None:
    written = Random(seed)
    program = written.program
    given_ = [written.values[v] for v in program.inputs]
    run = compile_program(simplify(program) if simplified else program)
    earlier: list[tuple[Any, Any]] = []
    for inputs in (given_, given_, written.others(), given_, written.others()):
        copies = [x.copy() for x in inputs]
        got = run(inputs)
        assert_same(inputs, copies)
        assert_same(got, direct(program, inputs))
        assert_apart(got, [*inputs, *[y for y, _ in earlier]])
        earlier += [(y, np.copy(y)) for y in got if isinstance(y, np.ndarray)]
        assert_same([y for y, _ in earlier], [was for _, was in earlier])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(seed=st.integers(0, 2**40))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_results_may_lie_in_buffers(seed: int) -> None:
    written = Random(seed)
    program = written.program
    run = compile_program(simplify(program), reuse_output=True)
    for inputs in ([written.values[v] for v in program.inputs], written.others(), written.others()):
        got = run(inputs)
        assert_same(got, direct(program, inputs))
        assert_apart(got, inputs)
