"""The suite is tested itself: an adapter with one planted mistake must fail, for that reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from unigrad.backend import Array, FlatFunction, Pullback
from unigrad.testing import (
    SCENARIOS,
    ConformanceError,
    Report,
    Scenario,
    Wrapper,
    check,
    run,
)

Grads = tuple[Array | None, ...]


def scenarios(*names: str) -> list[Scenario]:
    found = [s for s in SCENARIOS if s.name in names]
    assert len(found) == len(names)
    return found


CUBIC = scenarios("cubic")


def failures(report: Report, operator: str | None = None) -> list[str]:
    return [o.message for o in report.failures if operator in (None, o.operator)]


class Honest(Wrapper):
    """No mistake: what is caught below is caught for the mistake alone."""

    def __init__(self) -> None:
        super().__init__("numpy")


class Planted(Honest):
    """A mistake in the rule of every function: `rule` sees the right cotangents of the primals."""

    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        raise NotImplementedError

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        outputs, pullback = super().vjp(f, primals)
        return outputs, lambda cotangents: self.rule(pullback(cotangents), primals)


class Scaled(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return tuple(None if g is None else 1.001 * g for g in grads)


class ScaledLittle(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return tuple(None if g is None else (1 + 1e-11) * g for g in grads)


class MissingTerm(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return (*grads[:-1], None)


class Transposed(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        square = [g is not None and np.ndim(g) == 2 and g.shape[0] == g.shape[1] for g in grads]
        return tuple(np.transpose(g) if s else g for g, s in zip(grads, square, strict=True))


class WrongAtKink(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return tuple(
            g if g is None else g + 0.5 * (x == 0) for g, x in zip(grads, primals, strict=True)
        )


class NoSecondOrder(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return tuple(None if g is None else self.stop_gradient(g) for g in grads)


class HalfSecondOrder(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return tuple(None if g is None else (g + self.stop_gradient(g)) / 2 for g in grads)


class Conjugate(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return tuple(None if g is None else np.conj(g) for g in grads)


class Unconnected(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return (None,) * len(grads)


class SinglePrecision(Planted):
    def rule(self, grads: Grads, primals: Sequence[Array]) -> Grads:
        return tuple(None if g is None else g.astype(np.float32) for g in grads)


class DropsUpstream(Honest):
    """The cotangent is taken for 1."""

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        outputs, pullback = super().vjp(f, primals)
        return outputs, lambda cotangents: pullback(
            [None if c is None else c * 0 + 1 for c in cotangents]
        )


class ConstantUpstream(Honest):
    """The cotangent is a constant to outer derivatives: head gradients as MXNet takes them."""

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        outputs, pullback = super().vjp(f, primals)
        return outputs, lambda cotangents: pullback(
            [None if c is None else self.stop_gradient(c) for c in cotangents]
        )


class CallsTwice(Honest):
    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        f(*primals)
        return super().vjp(f, primals)


class Accumulates(Honest):
    """Gradients of a second call add to those of the first, as `.grad` does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, Array] = {}
        self.alive: list[Any] = []  # so that no id is given to another array

    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        released = super().release(results, inputs, like)
        if like is None:
            return released
        self.alive += like
        for i, x in enumerate(like):
            released[i] = self.kept[id(x)] = released[i] + self.kept.get(id(x), 0)
        return released


class RemembersFunction(Honest):
    """The pullback is that of the first function it saw at these shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, Any] = {}

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        key = tuple(x.tobytes() for x in primals if isinstance(x, np.ndarray))
        result = super().vjp(f, primals)
        return self.seen.setdefault(key, result) if key else result


class OneTape(Honest):
    """Which function is being differentiated is kept in one place for all threads."""

    def __init__(self) -> None:
        super().__init__()
        self.current: list[Any] = []

    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        self.current.append(f)

        def recorded(*xs: Array) -> tuple[Array, ...]:
            ys = f(*xs)
            last = self.current.pop()
            return ys if last is f else tuple(2 * y for y in ys)

        return super().vjp(recorded, primals)


class Mutates(Honest):
    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        released = super().release(results, inputs, like)
        for x in inputs:
            x += 1
        return released


class ReturnsNone(Honest):
    def release(
        self,
        results: Sequence[Array],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Array]:
        return [None for _ in results]


class LeavesFlag(Honest):
    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        np.seterr(under="raise")
        return super().vjp(f, primals)


class DrawsRandom(Honest):
    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        np.random.rand()
        return super().vjp(f, primals)


class WrapsExceptions(Honest):
    def vjp(self, f: FlatFunction, primals: Sequence[Array]) -> tuple[tuple[Array, ...], Pullback]:
        try:
            return super().vjp(f, primals)
        except Exception as error:
            raise RuntimeError("the function failed") from error


class ClaimsNoSecondOrder(Honest):
    """Declares a gap, and gives an answer instead of the promised error."""

    def __init__(self) -> None:
        super().__init__()
        self.declare("claims no second order", second_order=False)

    def require_second_order(self) -> None:
        return


@pytest.fixture(autouse=True)
def flags_restored() -> Iterator[None]:
    before = np.geterr()
    yield
    np.seterr(**before)


MISTAKES = [
    (Scaled, "cubic", "grad", "is off by 1.00e-03"),
    (ScaledLittle, "cubic", "grad", "is off by 1.00e-11"),
    (MissingTerm, "bilinear function", "grad", "is off by"),
    (MissingTerm, "bilinear function", "hvp", "is off by"),
    (Transposed, "det", "grad", "is off by"),
    (WrongAtKink, "abs at 0", "grad", "is off by"),
    (WrongAtKink, "relu at 0", "grad", "is off by"),
    (NoSecondOrder, "cubic", "hvp", "is off by 1.00e+00"),
    (HalfSecondOrder, "cubic", "hvp", "is off by 5.00e-01"),
    (HalfSecondOrder, "gradient of the sum of a gradient", "hvp", "is off by"),
    (Conjugate, "squared modulus", "grad", "is off by"),
    (Conjugate, "holomorphic square", "vjp", "is off by"),
    (Unconnected, "cubic", "grad", "is off by 1.00e+00"),
    (SinglePrecision, "cubic", "grad", "float32"),
    (DropsUpstream, "cubic", "vjp", "another cotangent"),
    (DropsUpstream, "column times row", "vjp", "is off by"),
    (ConstantUpstream, "cubic", "grad", "is off by"),
    (CallsTwice, "cubic", "grad", "called 2 times (S9)"),
    (Accumulates, "cubic", "grad", "the second call"),
    (RemembersFunction, "cubic", "grad", "is off by"),
    (OneTape, "cubic", "grad", "is off by"),
    (Mutates, "cubic", "grad", "an input was mutated (S5)"),
    (ReturnsNone, "cubic", "grad", "the result is PyTreeSpec(None)"),
    (LeavesFlag, "cubic", "grad", "numpy.geterr()"),
    (DrawsRandom, "cubic", "grad", "numpy random state"),
    (WrapsExceptions, "cubic", "grad", "RuntimeError: the function failed"),
    (ClaimsNoSecondOrder, "cubic", "hvp", "HigherOrderError must be raised, and was not"),
]


@pytest.mark.parametrize(
    ("mistake", "scenario", "operator", "says"),
    MISTAKES,
    ids=[f"{m.__name__}-{s}-{o}" for m, s, o, _ in MISTAKES],
)
def test_planted_mistake_is_caught(
    mistake: type[Honest], scenario: str, operator: str, says: str
) -> None:
    report = run([mistake()], scenarios=scenarios(scenario))
    assert not report.ok
    told = failures(report, operator)
    assert any(says in message for message in told), told or report.summary()


@pytest.mark.parametrize("scenario", sorted({s for _, s, _, _ in MISTAKES}))
def test_nothing_is_caught_without_a_mistake(scenario: str) -> None:
    report = run([Honest()], scenarios=scenarios(scenario))
    assert report.ok, report.summary()


def test_backends_that_agree_with_the_reference_but_not_with_each_other() -> None:
    report = run(["numpy", ScaledLittle()], scenarios=scenarios("cholesky"), orders=[2])
    assert not report.failures  # the reference is a difference, good to 1e-9
    assert report.disagreements
    assert not report.ok
    worst = report.largest_difference("numpy", "numpy in a ScaledLittle")
    assert worst is not None
    assert 1e-11 < worst.relative_error < 1e-10


def test_known_gap_is_no_failure() -> None:
    backend = Scaled()
    gaps = {backend.name: {"curvature/cubic*": "scales by 1.001"}}
    report = run([backend], scenarios=CUBIC, orders=[2], known_gaps=gaps)
    assert report.ok
    assert {o.status for o in report.outcomes} == {"known gap"}
    assert report.outcomes[0].message == "scales by 1.001"


def test_known_gap_that_passes_fails() -> None:
    gaps = {"numpy": {"curvature/cubic:hvp": "was wrong once"}}
    report = run(["numpy"], scenarios=CUBIC, known_gaps=gaps)
    assert [(o.operator, o.message) for o in report.failures] == [
        ("hvp", "passes, but is listed as a known gap: was wrong once")
    ]


def test_check_raises_with_every_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unigrad.testing.case.SCENARIOS", CUBIC)
    monkeypatch.setattr("unigrad.testing.case.NEGATIVES", ())
    assert check("numpy").ok
    with pytest.raises(ConformanceError, match=r"curvature/cubic:grad \(order 1\)") as caught:
        check(Scaled())
    assert isinstance(caught.value, AssertionError)
    assert len(str(caught.value).splitlines()) > 5
