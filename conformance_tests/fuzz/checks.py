"""What must hold of a program: the engine against the oracles, and against itself.

The public API is called, in every mode: reverse, forward, and the four compositions of second
order. A check that fails is a `Disagreement`, which is data; nothing is raised.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import unigrad as ug
from conformance_tests.fuzz.oracles import Differences, Framework, differences, loss
from conformance_tests.fuzz.programs import Program
from unigrad.engine import array, reverse
from unigrad.errors import TracingError

__all__ = ["Disagreement", "Verdict", "check", "smallest"]

EXACT = 1e-11
"""Between modes, relative to the size of the result and its conditioning."""
CLOSE = 1e-8
"""Against another framework."""
NEAR = 3e-6
"""Against differences, besides their own uncertainty."""
SINGLE = 2e-3
"""Single precision against double."""


@dataclass(frozen=True)
class Disagreement:
    """A check that failed: the program prints as the source that reproduces it."""

    program: Program
    what: str
    got: str
    expected: str

    def __str__(self) -> str:
        return f"{self.what}\n  got      {self.got}\n  expected {self.expected}\n{self.program}\n"


@dataclass
class Verdict:
    """What came of one program."""

    program: Program
    rejected: str | None = None
    compared: Counter[str] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)

    def expect(self, oracle: str, what: str, got: Any, expected: Any, tolerance: float) -> None:
        """Count a comparison, and note it if the two are further apart than the tolerance."""
        self.compared[oracle] += 1
        difference = np.abs(np.asarray(got) - np.asarray(expected))
        if not bool(np.all(difference <= tolerance)):
            self.note(f"{what} against {oracle} (tolerance {tolerance:.1e})", got, expected)

    def note(self, what: str, got: Any, expected: Any) -> None:
        self.disagreements.append(Disagreement(self.program, what, repr(got), repr(expected)))


def inner(us: Sequence[Any], vs: Sequence[Any]) -> float:
    return float(sum(np.real(np.vdot(u, v)) for u, v in zip(us, vs, strict=True)))


def weight(us: Sequence[Any], vs: Sequence[Any]) -> float:
    """The size of the terms of an inner product, which bounds its rounding."""
    return float(sum(np.sum(np.abs(u) * np.abs(v)) for u, v in zip(us, vs, strict=True)))


def size(xs: Sequence[Any]) -> float:
    return max([1.0, *(float(np.max(np.abs(x))) for x in xs if np.size(x))])


def directions(likes: Sequence[Any], seed: int) -> list[Any]:
    """Entries between 0.3 and 1 in size, of either sign, in the dtype of what they move."""
    rng = np.random.default_rng(seed)

    def drawn(x: Any) -> Any:
        v = rng.uniform(0.3, 1.0, x.shape) * rng.choice([-1.0, 1.0], x.shape)
        if np.iscomplexobj(x):
            v = v + 1j * rng.uniform(0.3, 1.0, x.shape)
        return np.asarray(v).astype(x.dtype)

    return [drawn(np.asarray(x)) for x in likes]


def moved(xs: Sequence[Any], vs: Sequence[Any], t: float) -> list[Any]:
    return [np.asarray(x + t * v, dtype=x.dtype) for x, v in zip(xs, vs, strict=True)]


@contextlib.contextmanager
def thinned(on: bool) -> Iterator[None]:
    """Small arrays too are dropped from the tape when no rule is said to read them."""
    kept = reverse.KEPT_WHOLE
    holders = (reverse, array)
    for module in holders:
        vars(module)["KEPT_WHOLE"] = 0 if on else kept
    try:
        yield
    finally:
        for module in holders:
            vars(module)["KEPT_WHOLE"] = kept


def check(program: Program, frameworks: Mapping[str, Framework], *, thin: bool = False) -> Verdict:
    """Every check that applies to a program."""
    verdict = Verdict(program)
    single = any(x.entries.dtype == np.float32 for x in program.inputs)
    exact = program.with_dtype(np.float64) if single else program
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _differences(exact)
        if found is None:
            verdict.rejected = "a kink or an ill-conditioned point is near"
            return verdict
        try:
            with thinned(thin):
                gradient = _engine(verdict, exact, found)
                if single and gradient is not None:
                    _single(verdict, program, gradient)
        except Exception as error:  # whatever the engine raises is a finding
            verdict.note(f"{type(error).__name__} in the engine", str(error), "a derivative")
            return verdict
        if gradient is not None and not single:
            for name, framework in frameworks.items():
                _against(verdict, exact, name, framework, gradient)
    return verdict


def _differences(program: Program) -> Differences | None:
    scalar, xs = loss(program.function()), program.values()
    vs = directions(xs, 1)
    return differences(lambda t: float(scalar(*moved(xs, vs, t))), float(scalar(*xs)))


@dataclass(frozen=True)
class _Gradient:
    """The engine's answers, for the comparisons that follow."""

    value: float
    grads: list[Any]
    hv: list[Any]


def _every(n: int) -> tuple[int, ...]:
    return tuple(range(n))


def _engine(verdict: Verdict, program: Program, found: Differences) -> _Gradient | None:
    """All modes against differences and against one another."""
    f, xs = program.function(), program.values()
    scalar, kept = loss(f), [x.tobytes() for x in program.values()]
    us, vs = directions(xs, 2), directions(xs, 1)
    gradient: Callable[..., Any] = ug.grad(scalar, argnums=_every(len(xs)))
    grads = list(gradient(*xs))
    for x, g in zip(xs, grads, strict=True):
        if g.shape != x.shape or g.dtype != x.dtype:
            verdict.note("shape or dtype of the gradient", (g.shape, g.dtype), (x.shape, x.dtype))
            return None
    slope, scale = inner(grads, vs), max(1.0, weight(grads, vs))
    tolerance = NEAR * scale + 10 * found.first_error
    verdict.expect("differences", "reverse", slope, found.first, tolerance)

    value, tangent = ug.jvp(scalar, tuple(xs), tuple(vs))
    verdict.expect("reverse", "forward", float(tangent), slope, EXACT * scale * 100)
    verdict.expect("NumPy", "value", float(value), float(scalar(*xs)), EXACT * size([value]))
    _adjoint(verdict, f, xs, vs)

    hv = _hvp(scalar, xs, vs)
    curvature = inner(vs, hv)
    tolerance = NEAR * max(1.0, weight(vs, hv)) + 10 * found.second_error
    verdict.expect("differences", "second order", curvature, found.second, tolerance)
    tolerance = EXACT * 1000 * size([*hv, *grads])
    for name, other in _second_orders(scalar, gradient, xs, vs).items():
        for a, b in zip(other(), hv, strict=True):
            verdict.expect("ug.hvp", name, a, b, tolerance)
    hu = _hvp(scalar, xs, us)
    tolerance *= max(1.0, sum(np.size(x) for x in xs))
    verdict.expect("symmetry", "Hessian", inner(us, hv), inner(vs, hu), tolerance)
    twice = ug.jvp(lambda *ys: ug.jvp(scalar, ys, tuple(vs))[1], tuple(xs), tuple(us))[1]
    verdict.expect("ug.hvp", "forward over forward", float(twice), inner(us, hv), tolerance)
    if [x.tobytes() for x in xs] != kept:
        verdict.note("the inputs were changed", xs, program.values())
    if ug.get_backend("numpy").capabilities.jit:
        _replayed(verdict, f, gradient, xs, vs)
    return _Gradient(float(scalar(*xs)), grads, hv)


def _hvp(scalar: Any, xs: Sequence[Any], vs: Sequence[Any]) -> list[Any]:
    return list(ug.hvp(scalar, tuple(xs), tuple(vs), argnums=_every(len(xs))))


def _second_orders(
    scalar: Any, gradient: Any, xs: Sequence[Any], vs: Sequence[Any]
) -> dict[str, Callable[[], Any]]:
    along: Callable[..., Any] = functools.partial(_slope, gradient, vs)
    pushed: Callable[..., Any] = lambda *ys: ug.jvp(scalar, ys, tuple(vs))[1]  # noqa: E731
    every = _every(len(xs))
    return {
        "forward over reverse": lambda: ug.jvp(gradient, tuple(xs), tuple(vs))[1],
        "reverse over reverse": lambda: ug.grad(along, argnums=every)(*xs),
        "reverse over forward": lambda: ug.grad(pushed, argnums=every)(*xs),
    }


def _slope(gradient: Any, vs: Sequence[Any], *ys: Any) -> Any:
    total: Any = 0.0
    for g, v in zip(gradient(*ys), vs, strict=True):
        total = total + np.sum(np.real(np.conj(g) * v))
    return total


def _adjoint(verdict: Verdict, f: Any, xs: Sequence[Any], vs: Sequence[Any]) -> None:
    """``<u, Jv> = <Jᵀu, v>``, and values as NumPy gives them."""
    plain = f(*xs)
    values, pushed = ug.jvp(f, tuple(xs), tuple(vs))
    for y, expected in zip(values, plain, strict=True):
        verdict.expect("NumPy", "value", y, expected, EXACT * size([expected]))
        if y.dtype != expected.dtype or y.shape != expected.shape:
            verdict.note("kind of value", (y.dtype, y.shape), (expected.dtype, expected.shape))
    _, pullback = ug.vjp(f, *xs)
    us = [u[()] for u in directions(plain, 3)]
    pulled = pullback(tuple(us))
    left, right = inner(us, pushed), inner(pulled, vs)
    scale = max(1.0, weight(us, pushed), weight(pulled, vs))
    verdict.expect("adjoint", "<u, Jv>", left, right, EXACT * scale)


def _single(verdict: Verdict, program: Program, exact: _Gradient) -> None:
    """Single precision: dtypes are kept, and the numbers are those of double precision."""
    scalar, xs = loss(program.function()), program.values()
    vs = directions(xs, 1)
    every = _every(len(xs))
    results = {
        "reverse": (ug.grad(scalar, argnums=every)(*xs), exact.grads),
        "second order": (_hvp(scalar, xs, vs), exact.hv),
    }
    for what, (got, expected) in results.items():
        for x, g in zip(xs, got, strict=True):
            if g.dtype != x.dtype:
                verdict.note(f"dtype, {what}", g.dtype, x.dtype)
        if abs(float(scalar(*xs)) - exact.value) < 1e-4 * size([exact.value]):
            tolerance = SINGLE * size(expected)
            for a, b in zip(got, expected, strict=True):
                verdict.expect("double precision", what, a, b, tolerance)
    value, tangent = ug.jvp(scalar, tuple(xs), tuple(vs))
    if tangent.dtype != value.dtype or value.dtype != scalar(*xs).dtype:
        verdict.note("dtype, forward", (value.dtype, tangent.dtype), scalar(*xs).dtype)


def _against(
    verdict: Verdict, program: Program, name: str, framework: Framework, ours: _Gradient
) -> None:
    xs = program.values()
    theirs = framework.derivatives(program, xs, directions(xs, 1))
    if theirs is None:
        verdict.compared[f"{name} cannot run it"] += 1
        return
    value, grads, hv = theirs
    if not abs(value - ours.value) <= CLOSE * size([ours.value]):
        verdict.compared[f"{name} gives another value"] += 1
        return
    if not all(np.isfinite(other).all() for other in (*grads, *hv)):
        verdict.compared[f"{name} gives no number"] += 1  # jax.scipy.special.spence' is nan
        return
    for what, mine, other in (("reverse", ours.grads, grads), ("second order", ours.hv, hv)):
        tolerance = CLOSE * size([*mine, *ours.grads])
        for a, b in zip(mine, other, strict=True):
            verdict.expect(name, what, a, b, tolerance)


def _replayed(
    verdict: Verdict, f: Any, gradient: Any, xs: Sequence[Any], vs: Sequence[Any]
) -> None:
    """Compiled at one point, replayed at another of the same shapes."""
    others = moved(xs, vs, 0.02)
    for what, plain in (("f", f), ("grad", gradient)):
        compiled = ug.jit(plain)
        try:
            compiled(*xs)
            replayed = compiled(*others)
        except TracingError:
            verdict.compared["ug.jit refuses it"] += 1  # it branches on values
            continue
        for a, b in zip(replayed, plain(*others), strict=True):
            verdict.expect("ug.jit", what, a, b, EXACT * size([b]))


def smallest(disagreement: Disagreement, frameworks: Mapping[str, Framework]) -> Disagreement:
    """The shortest beginning of a program that still disagrees."""
    program = disagreement.program
    for k in range(len(program.steps)):
        shorter = program.pruned([program.steps[k].target])
        if not shorter.inputs:
            continue
        found = check(shorter, frameworks).disagreements
        if found:
            return found[0]
    return disagreement
