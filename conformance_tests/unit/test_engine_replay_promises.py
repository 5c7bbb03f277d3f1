"""What a replay promises: copies, buffers, threads, nesting, and NumPy's own warnings."""

from __future__ import annotations

import operator
import threading
import warnings
from typing import Any

import numpy as np
import pytest

from conformance_tests.unit.written_programs import (
    Written,
    assert_apart,
    assert_same,
    direct,
)
from unigrad.engine.indexing import taken, update
from unigrad.engine.program import Program, simplify
from unigrad.engine.replay import compile_program


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
