"""No rule looks at values: derivatives recorded at one point are right at others.

Every case of the rules' own tests, its gradient and a second derivative of it; zeros, ties and
nan sit elsewhere in the replayed arguments.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unigrad.engine import vjp
from unigrad.engine.program import Program, Variable
from unigrad.engine.recording import Recording
from unigrad.errors import TracingError

HERE = Path(__file__).parent
SHAPE_BY_VALUE = {
    "real_if_close",
    "where_one",
    "piecewise",
    "unique",
    "unique_more",
    "unique_axis",
    "unique_values",
}
"""The shape or dtype of their results depends on values: refused."""


def cases(module: str) -> dict[str, tuple[Any, Any]]:
    spec = importlib.util.spec_from_file_location(module, HERE / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    found: dict[str, tuple[Any, Any]] = loaded.CASES
    return found


CASES = {
    name: case
    for module in ("test_engine_elementwise", "test_engine_reductions")
    for name, case in cases(module).items()
}


def changed(x: Any, change: Any) -> Any:
    if isinstance(x, Variable):
        return change(x)
    if type(x) in (tuple, list):
        return type(x)(changed(y, change) for y in x)
    if type(x) is slice:
        return slice(*(changed(y, change) for y in (x.start, x.stop, x.step)))
    return x


def replayed(program: Program, arrays: list[Any]) -> list[Any]:
    """The program, one instruction after the other."""
    values = dict(zip(map(id, program.inputs), arrays, strict=True))

    def value(v: Any) -> Any:
        return values[id(v)]

    for step in program.instructions:
        options = {k: changed(v, value) for k, v in step.kwargs.items()}
        out = step.fn(*changed(step.args, value), **options)
        values.update(zip(map(id, step.outputs), out if step.several else [out], strict=True))
    return [changed(y, value) for y in program.outputs]


def gradient(f: Any, x: Any) -> Any:
    pullback = vjp(lambda y: (f(y),), [x])[1]
    (g,) = pullback([np.ones(())[()]])
    return x * 0 if g is None else g


def derivatives(f: Any, x: Any) -> list[Any]:
    def scalar(y: Any) -> Any:
        out = f(y)
        return np.sum(0.5 * np.real(out * np.conj(out)) + np.real(out))

    def squares(y: Any) -> Any:
        return np.sum(np.abs(gradient(scalar, y)) ** 2)

    return [gradient(scalar, x), gradient(squares, x)]


def moved(name: str, x: Any) -> list[Any]:
    """The point itself, and others with zeros and ties in other places."""
    if name.startswith("quantile_") and name.endswith(("traced", "both")):
        return [x, x * 0.9]
    wave = x + 0.37 * np.sin(np.arange(x.size) + 1.0).reshape(x.shape)
    tied = wave.copy()
    tied.reshape(-1)[:2] = 0.0
    return [x, wave, -wave[::-1], tied]


@pytest.mark.parametrize("name", CASES)
def test_recorded_derivatives_are_right_elsewhere(name: str) -> None:
    f, x = CASES[name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if name in SHAPE_BY_VALUE:
            with pytest.raises(TracingError):
                Recording(lambda y: derivatives(f, y), [x])
            return
        program = Recording(lambda y: derivatives(f, y), [x]).program
        for y in moved(name, x):
            for got, expected in zip(replayed(program, [y]), derivatives(f, y), strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
