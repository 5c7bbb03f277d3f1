"""Programs simplified, compiled and replayed give what their calls give, bit for bit."""

from __future__ import annotations

import operator
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unigrad.engine.indexing import add_at, scatter, taken, update
from unigrad.engine.program import Instruction, Program, Variable, replaced, simplify
from unigrad.engine.replay import compile_program


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


# ---------------------------------------------------------------- what is promised


def square_sum() -> tuple[Program, Any]:
    """``sum(tanh(x * x) + x)`` and the array inside, for 40 by 33 doubles."""
    written = Written(np.ones((40, 33)))
    (x,) = written.program.inputs
    y = written.call(operator.add, written.call(np.tanh, written.call(operator.mul, x, x)), x)
    written.program.outputs = [written.call(np.sum, y), y]
    return written.program, np.random.default_rng(0).normal(size=(40, 33))


def chain(length: int) -> Program:
    """``x = x * 1.5 + y`` again and again, divided by ``x - y`` at the end."""
    written = Written(np.float64(0.5), np.float64(0.25))
    x, y = written.program.inputs
    z = x
    for _ in range(length):
        z = written.call(operator.add, written.call(operator.mul, z, 1.5), y)
    written.program.outputs = [
        written.call(operator.truediv, z, written.call(operator.sub, x, y)),
        written.call(operator.pow, z, y),
    ]
    return written.program


def test_an_input_as_an_output_is_copied() -> None:
    written = Written(np.arange(6.0).reshape(2, 3))
    (x,) = written.program.inputs
    turned = written.call(np.transpose, x)
    constant = np.arange(3.0)
    written.program.outputs = [x, x, turned, constant, written.call(taken, x, index=(0, slice(1)))]
    run = compile_program(written.program)
    for _ in range(3):
        value = np.random.default_rng(1).normal(size=(2, 3))
        got = run([value])
        assert_same(got, direct(written.program, [value]))
        assert_apart(got, [value, constant])


def test_results_of_earlier_calls_stay() -> None:
    program, x = square_sum()
    run = compile_program(program)
    results = [run([x + i])[1] for i in range(5)]
    for i, y in enumerate(results):
        assert_same([y], [direct(program, [x + i])[1]])


def test_reused_outputs_are_overwritten() -> None:
    program, x = square_sum()
    run = compile_program(program, reuse_output=True)
    run([x])
    first = run([x])[1]
    second = run([x + 1.0])[1]
    assert np.shares_memory(first, second)
    assert_same([first], [direct(program, [x + 1.0])[1]])


def test_threads_have_buffers_of_their_own() -> None:
    program, x = square_sum()
    run = compile_program(program)
    expected = [direct(program, [x + i]) for i in range(8)]
    failures: list[Any] = []

    def work(i: int) -> None:
        try:
            for _ in range(200):
                assert_same(run([x + i]), expected[i])
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_calls_may_be_nested() -> None:
    run: Any = None
    depth = 0

    def again(x: Any) -> Any:
        nonlocal depth
        if run is not None and depth < 3:
            depth += 1
            run([x + 1.0])
            depth -= 1
        return x * 2.0

    written = Written(np.ones(50))
    (x,) = written.program.inputs
    y = written.call(operator.mul, x, x)
    z = written.call(again, y)
    written.program.outputs = [written.call(operator.add, z, y)]
    run = compile_program(written.program)
    for _ in range(3):
        value = np.random.default_rng(2).normal(size=50)
        assert_same(run([value]), [value * value * 2.0 + value * value])


@pytest.mark.parametrize(
    ("x", "y"), [(0.5, 0.25), (0.5, 0.5), (1e308, 1e307), (-0.5, 0.25), (np.inf, 1.0), (np.nan, 0)]
)
def test_chains_of_numbers_have_numpys_answers_and_warnings(x: float, y: float) -> None:
    program = chain(60)
    inputs = [np.float64(x), np.float64(y)]
    run = compile_program(program)
    with np.errstate(all="ignore"):
        run(inputs)
    for _ in range(2):
        with warnings.catch_warnings(record=True) as expected:
            warnings.simplefilter("always")
            values = direct(program, inputs)
        with warnings.catch_warnings(record=True) as got:
            warnings.simplefilter("always")
            assert_same(run(inputs), values)
        assert [str(w.message) for w in got] == [str(w.message) for w in expected]


def test_errstate_is_that_of_the_call() -> None:
    program = chain(60)
    run = compile_program(program)
    good, bad = [np.float64(0.5), np.float64(0.25)], [np.float64(0.5), np.float64(0.5)]
    run(good)
    with np.errstate(all="raise"):
        run(good)
        with pytest.raises(FloatingPointError, match="divide by zero"):
            run(bad)
    assert_same(run(good), direct(program, good))

    program, x = square_sum()
    run = compile_program(program)
    run([x])
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        run([x * 1e200])
    assert_same(run([x]), direct(program, [x]))


def test_chains_of_numbers_run_as_python() -> None:
    run: Any = compile_program(chain(20))
    assert run.source is None
    run([np.float64(0.5), np.float64(0.25)])
    assert "* 1.5" in run.source
    assert [type(y) for y in run([np.float64(0.5), np.float64(0.25)])] == [np.float64] * 2


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 3), (3, 1), (2, 3)])
def test_products_keep_the_sign_of_zero(m: int, k: int, n: int) -> None:
    written = Written(np.ones((m, k)), np.ones((k, n)))
    x, y = written.program.inputs
    row, column = written.call(taken, x, index=0), written.call(taken, y, index=(slice(None), 0))
    pairs = [(x, y), (row, y), (x, column), (row, column)]
    products = [written.call(operator.matmul, a, b) for a, b in pairs]
    written.program.outputs = [written.call(operator.mul, p, 1.0) for p in products]
    run = compile_program(written.program)
    for value in (1.0, -0.0, 0.0, -2.0):
        inputs = [np.full((m, k), value), np.full((k, n), 0.0)]
        assert_same(run(inputs), direct(written.program, inputs))


def test_a_view_keeps_its_buffer() -> None:
    written = Written(np.ones((4, 3)))
    (x,) = written.program.inputs
    y = written.call(operator.mul, x, x)
    turned = written.call(np.transpose, y)
    z = written.call(operator.add, x, 1.0)
    z = written.call(np.exp, z)
    w = written.call(operator.add, x, 2.0)
    written.program.outputs = [
        written.call(np.sum, written.call(operator.mul, w, z)),
        written.call(operator.matmul, turned, z),
        turned,
    ]
    run = compile_program(written.program)
    for seed in range(3):
        value = np.random.default_rng(seed).normal(size=(4, 3))
        assert_same(run([value]), direct(written.program, [value]))


def test_an_update_in_place_leaves_other_readers_alone() -> None:
    written = Written(np.ones(5))
    (x,) = written.program.inputs
    y = written.call(operator.mul, x, 2.0)
    head = written.call(taken, y, index=slice(0, 2))
    z = written.call(update, y, head, index=slice(1, 3))
    u = written.call(update, z, 7.0, index=0)
    written.program.outputs = [written.call(operator.add, u, u), written.call(np.exp, z)]
    run = compile_program(written.program)
    for seed in range(3):
        value = np.random.default_rng(seed).normal(size=5)
        assert_same(run([value]), direct(written.program, [value]))


def test_a_dtype_is_not_lost_with_a_one() -> None:
    written = Written(np.ones(3, np.float32))
    (x,) = written.program.inputs
    y = written.call(np.exp, x)
    written.program.outputs = [written.call(operator.mul, y, np.ones(1))]
    run = compile_program(simplify(written.program))
    for _ in range(2):
        assert run([np.ones(3, np.float32)])[0].dtype == np.float64
