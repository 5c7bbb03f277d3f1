"""Every case of every rule again: forward against reverse, at both orders, and recorded.

The case tables themselves are checked against differences where they stand; here the modes are
held against each other, by inner products, and a recording against the function it recorded.
"""

from __future__ import annotations

import importlib.util
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unigrad.engine import jvp, vjp
from unigrad.engine.program import simplify
from unigrad.engine.recording import Recording
from unigrad.engine.replay import compile_program
from unigrad.errors import TracingError

TABLES = ("rules", "elementwise", "reductions", "shaping", "products", "linalg", "fourier")


def _table(name: str) -> dict[str, tuple[Any, Any]]:
    path = Path(__file__).with_name(f"test_engine_{name}.py")
    spec = importlib.util.spec_from_file_location(f"cases_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return dict(module.CASES)


CASES = {f"{table}: {n}": case for table in TABLES for n, case in _table(table).items()}

BY_VALUE = {
    "elementwise: piecewise",
    "elementwise: real_if_close",
    "elementwise: where_one",
    "reductions: unique",
    "reductions: unique_axis",
    "reductions: unique_more",
    "reductions: unique_values",
    "shaping: extract",
    "shaping: vectorize",
}
"""Functions whose shapes or kinds depend on values, which no recording takes."""


def real_inner(a: Any, b: Any) -> float:
    return float(np.real(np.vdot(a, b)))


def drawn(rng: Any, like: Any) -> Any:
    like = np.asarray(like)
    v = rng.normal(size=like.shape)
    if like.dtype.kind == "c":
        v = v + 1j * rng.normal(size=like.shape)
    return np.asarray(v).astype(like.dtype)[()]


def close(a: float, b: float, size: float) -> bool:
    return abs(a - b) <= 1e-9 * max(1.0, abs(a), size)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_forward_is_the_transpose_of_reverse(name: str) -> None:
    f, x = CASES[name]
    x = np.asarray(x)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    t, v = drawn(rng, x), drawn(rng, x)
    (y,), pullback = vjp(lambda z: [f(z)], [x])
    u = drawn(rng, y)

    def gradient(z: Any) -> list[Any]:
        (g,) = vjp(lambda z: [f(z)], [z])[1]([u])
        return [np.zeros_like(z) if g is None else g]

    (value,), (moved,) = jvp(lambda z: [f(z)], [x], [t])
    np.testing.assert_array_equal(value, y)
    (g,) = pullback([u])
    by_reverse = 0.0 if g is None else real_inner(g, t)
    by_forward = 0.0 if moved is None else real_inner(u, moved)
    size = 0.0 if g is None else float(np.max(np.abs(g), initial=0.0))
    assert close(by_reverse, by_forward, size)
    if moved is not None:
        assert (moved.shape, moved.dtype) == (np.shape(y), np.asarray(y).dtype)

    _, (along,) = jvp(gradient, [x], [t])  # forward over reverse
    (second,) = vjp(gradient, [x])[1]([v])  # reverse over reverse
    by_forward = 0.0 if along is None else real_inner(v, along)
    by_reverse = 0.0 if second is None else real_inner(second, t)
    size = 0.0 if second is None else float(np.max(np.abs(second), initial=0.0))
    assert close(by_reverse, by_forward, size)


@pytest.mark.parametrize("name", [n for n in CASES if n not in BY_VALUE])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_recording_replays_value_and_gradient(name: str) -> None:
    f, x = CASES[name]
    x = np.asarray(x)

    def both(z: Any) -> list[Any]:
        (y,), pullback = vjp(lambda z: [f(z)], [z])
        (g,) = pullback([y])
        return [y, np.zeros_like(z) if g is None else g]

    other = x * (1 + 0.01 * np.arange(x.size).reshape(x.shape)).astype(x.dtype)
    recording = Recording(both, [x])
    replay = compile_program(simplify(recording.program))
    for point in (x, other, x):
        for want, got in zip(both(point), replay([point]), strict=True):
            assert np.asarray(got).dtype == np.asarray(want).dtype
            scale = float(np.max(np.abs(want), initial=1.0))
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13 * scale)


@pytest.mark.parametrize("name", sorted(BY_VALUE & CASES.keys()))
def test_what_depends_on_values_is_not_recorded(name: str) -> None:
    f, x = CASES[name]
    with pytest.raises(TracingError):
        Recording(lambda z: [vjp(lambda z: [f(z)], [z])[1]([1.0])[0]], [np.asarray(x)])
