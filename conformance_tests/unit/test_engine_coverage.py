"""Every rule of the engine is exercised: by an operation of the fuzzer, or by a line of a table.

Rules are seen at work, not searched for by name: their tables are wrapped while the fuzzer's
operations and the cases of the other ``test_engine_*.py`` run. A rule that nothing reaches
fails here; one line in `fuzz.operations` or in a case table cures that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from conformance_tests.fuzz.operations import OPERATIONS, REFUSED
from conformance_tests.fuzz.oracles import loss
from conformance_tests.fuzz.programs import Program, Unbuildable, refusal, single
from unigrad.engine import table, vjp
from unigrad.engine.core import Rule
from unigrad.engine.rules import special
from unigrad.engine.rules.ufunc_methods import UFUNC_METHODS
from unigrad.engine.table import FUNCTIONS, UFUNCS
from unigrad.errors import TracingError

HERE = Path(__file__).parent
CONSTANT = table._on_values(len).__code__
TABLES = ("CASES", "REFUSED")
FOR_FRAMEWORKS = ("torch", "jax")
UNREACHABLE = {"numpy.row_stack"}
"""In NumPy 2 it does not announce itself: numpy.vstack, which it calls, does."""


def title(key: Any) -> str:
    if isinstance(key, tuple):
        return ".".join(key)
    return f"{getattr(key, '__module__', None) or 'numpy'}.{key.__name__}"


class Seen:
    """Which rules were applied, while the tables are wrapped."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        special.register()
        self.all = {title(fn) for fn in UFUNCS} | {title(key) for key in UFUNC_METHODS}
        for fn, rule in UFUNCS.items():
            for kind in ("pulls", "derivatives"):
                entries = getattr(rule, kind)
                if entries is not None:
                    wrapped = tuple(e and self.noting(title(fn), e) for e in entries)
                    patch.setattr(rule, kind, wrapped)
        for fn, handler in FUNCTIONS.items():
            if handler.__code__ is not CONSTANT:
                self.all.add(title(fn))
                patch.setitem(FUNCTIONS, fn, self.noting(title(fn), handler))
        for key, method in UFUNC_METHODS.items():
            patch.setitem(UFUNC_METHODS, key, self.noting(title(key), method))

    def noting(self, name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.names.add(name)
            return f(*args, **kwargs)

        return noted


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"covered_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases() -> Iterator[tuple[Any, list[Any]]]:
    """Functions and their arguments, of every table that has such lines."""
    for path in sorted(HERE.glob("test_engine_*.py")):
        if path.stem == Path(__file__).stem or path.stem.endswith(FOR_FRAMEWORKS):
            continue
        module = vars(loaded(path))
        for name in TABLES:
            for line in module.get(name, {}).values():
                f, x = line if isinstance(line, tuple) and len(line) == 2 else (None, None)
                if callable(f):
                    yield f, [x if isinstance(x, np.ndarray) else module.get("U", np.ones(3))]


def drawn() -> Iterator[Program]:
    """A few programs of each of the fuzzer's operations."""
    for operation in OPERATIONS:
        rng = random.Random(str(operation))
        for dtype in ("float64", "complex128" if operation.complex else "float64"):
            for _ in range(10):
                try:
                    yield single(operation, lambda n, r=rng: r.randrange(n) if n > 1 else 0, dtype)
                except Unbuildable:
                    continue
                break


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    lines = list(cases())
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        found = Seen(patch)
        lines += [(loss(program.function()), program.values()) for program in drawn()]
        lines += [(f, [x]) for f, x in map(refusal, REFUSED)]
        for f, xs in lines:
            # Refusals are cases too; whether the others are right is for their own tests.
            with contextlib.suppress(TracingError, IndexError, TypeError, ValueError):
                outputs, pullback = vjp(lambda *ys, f=f: _arrays(f(*ys)), xs)
                pullback([np.ones_like(y) for y in outputs])
        yield found


def _arrays(outputs: Any) -> tuple[Any, ...]:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def test_every_rule_is_exercised(seen: Seen) -> None:
    missing = sorted(seen.all - seen.names - UNREACHABLE)
    assert not missing, (
        f"{len(missing)} of {len(seen.all)} rules are exercised by no operation of the fuzzer and "
        f"no case table; add a line to conformance_tests/fuzz/operations.py: {missing}"
    )


def test_a_rule_that_nothing_uses_is_noticed(seen: Seen) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FUNCTIONS, np.busday_count, lambda *dates: 0)
        patch.setitem(UFUNCS, np.gcd, Rule("gcd", [None, None]))
        planted = Seen(patch)
    assert planted.all - seen.names - UNREACHABLE == {"numpy.busday_count", "numpy.gcd"}
