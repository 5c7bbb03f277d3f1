"""What must hold between calls: repeated, nested, raising, interleaved in threads, compiled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import unigrad as ug
from unigrad.testing.scenario import NumPyArray
from unigrad.testing.trial import CheckError, Comparison, Trial

__all__ = [
    "has_aux",
    "inside_jit",
    "interleaved_threads",
    "keywords",
    "raise_inside",
    "twice",
    "two_closures",
    "upstream_scale",
]

_PATIENCE_SECONDS = 20.0


def _derivative(t: Trial, operator: str, s: Callable[..., Any]) -> Callable[..., Any]:
    """``grad`` or ``hvp`` of ``s`` as a function of the arguments."""
    if operator == "grad":
        return ug.grad(s, t.argnums, backend=t.backend)

    def product(*args: Any) -> Any:
        return ug.hvp(s, args, t.of_arguments(t.tangents), argnums=t.argnums, backend=t.backend)

    return product


def _expected(t: Trial, operator: str) -> tuple[list[NumPyArray], float]:
    if operator == "grad":
        return t.reference.gradient, t.reference.first_tolerance
    return t.reference.product, t.reference.second_tolerance


def twice(t: Trial, operator: str) -> list[Comparison]:
    """A second call on the same arrays gives the same bits, and not twice as much."""
    derivative = _derivative(t, operator, t.s)
    want, tolerance = _expected(t, operator)
    first = t.like_arguments(derivative(*t.args))
    second = t.like_arguments(derivative(*t.args))
    t.expect_calls(2)
    return [
        Comparison(first, want, tolerance),
        Comparison(second, want, tolerance, "the second call"),
    ]


def two_closures(t: Trial, operator: str) -> list[Comparison]:
    """Derivatives of two functions, and of one function twice, keep no state on each other."""
    want, tolerance = _expected(t, operator)

    def tripled(*args: Any) -> Any:
        return 3 * t.s(*args)

    once, thrice = _derivative(t, operator, t.s), _derivative(t, operator, tripled)
    again = _derivative(t, operator, t.s)
    found = []
    for derivative, factor in ((once, 1), (thrice, 3), (again, 1), (once, 1), (thrice, 3)):
        got = t.like_arguments(derivative(*t.args))
        found.append(Comparison(got, [factor * w for w in want], tolerance))
    return found


def upstream_scale(t: Trial, operator: str) -> list[Comparison]:
    """A pullback of a cotangent that depends on the arguments is differentiated through.

    ``d/dx <s(x) ∇s(x), v> = ∇s (∇s · v) + s H v``.
    """

    def outer(*args: Any) -> Any:
        y, pullback = ug.vjp(t.s, *args, backend=t.backend)
        return t.inner(pullback(y), t.tangents)

    got = ug.grad(outer, t.argnums, backend=t.backend)(*t.args)
    t.expect_calls()
    ref = t.reference
    s = float(np.sum(ref.cotangent * ref.value))
    along = sum(float(np.sum(g * v)) for g, v in zip(ref.gradient, ref.tangents, strict=True))
    want = [along * g + s * h for g, h in zip(ref.gradient, ref.product, strict=True)]
    return [Comparison(t.like_arguments(got), want, ref.second_tolerance)]


def has_aux(t: Trial, operator: str) -> list[Comparison]:
    """What ``f`` returns beside its output comes back as it is, and changes nothing."""

    def s(*args: Any) -> Any:
        y = t.s(*args)
        return y, {"half": y / 2, "label": "text", "nothing": None}

    want, tolerance = _expected(t, "grad" if operator == "value_and_grad" else "hvp")
    if operator == "value_and_grad":
        (y, aux), got = ug.value_and_grad(s, t.argnums, has_aux=True, backend=t.backend)(*t.args)
    else:
        (y, aux), _, got = ug.value_grad_and_hvp(
            s,
            t.args,
            t.of_arguments(t.tangents),
            argnums=t.argnums,
            has_aux=True,
            backend=t.backend,
        )
    t.expect_calls()
    if list(aux) != ["half", "label", "nothing"] or aux["label"] != "text" or aux["nothing"]:
        raise CheckError(f"the auxiliary output came back as {aux!r}")
    half = [0.5 * x for x in t.numpy([y])]
    return [
        Comparison(t.like_arguments(got), want, tolerance),
        Comparison(t.numpy([aux["half"]]), half, 1e-15, "the auxiliary output"),
    ]


def keywords(t: Trial, operator: str) -> list[Comparison]:
    """Arguments by keyword: data beside, and differentiated ones chosen by name."""
    want, tolerance = _expected(t, operator)

    def s(x: Any, *rest: Any, factor: Any, label: str = "") -> Any:
        assert label == "text"
        return factor * t.s(x, *rest)

    options = {"factor": 2.0, "label": "text"}
    if operator == "hvp":
        got = ug.hvp(
            s,
            t.args,
            t.of_arguments(t.tangents),
            argnums=t.argnums,
            kwargs=options,
            backend=t.backend,
        )
        return [Comparison(t.like_arguments(got), [2 * w for w in want], tolerance)]
    got = ug.grad(s, t.argnums, backend=t.backend)(*t.args, **options)
    found = [Comparison(t.like_arguments(got), [2 * w for w in want], tolerance)]
    if len(t.args) == 1:
        named = ug.grad(s, "x", backend=t.backend)(x=t.args[0], **options)
        found.append(Comparison(t.like_arguments(named), [2 * w for w in want], tolerance))
    return found


class _Trouble(Exception):
    """Raised by a user's function."""


def raise_inside(t: Trial, operator: str) -> list[Comparison]:
    """The user's own exception comes out unchanged, and the next call is as if it had not (S6)."""
    trouble = _Trouble("on purpose")

    def s(*args: Any) -> Any:
        t.s(*args)
        raise trouble

    for _ in range(2):
        try:
            _derivative(t, operator, s)(*t.args)
        except _Trouble as error:
            if error is not trouble or error.__cause__ is not None:
                raise CheckError("the exception came out changed (S6)") from error
        else:
            raise CheckError("the exception of the function did not come out (S6)")
    t.expect_pure()
    t.calls = 0
    got = t.like_arguments(_derivative(t, operator, t.s)(*t.args))
    t.expect_calls()
    want, tolerance = _expected(t, operator)
    return [Comparison(got, want, tolerance, "the call after one that raised")]


def inside_jit(t: Trial, operator: str) -> list[Comparison]:
    """``ug.jit`` of a derivative, called twice."""
    want, tolerance = _expected(t, operator)
    compiled = ug.jit(_derivative(t, operator, t.s), backend=t.backend)
    got = [t.like_arguments(compiled(*t.args)) for _ in range(2)]
    return [Comparison(g, want, tolerance) for g in got]


# -------------------------------------------------------------------- threads


class _Turns:
    """Lets threads pass in one order and no other, so that interleavings are repeatable."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._condition = threading.Condition()
        self._broken = False

    def take(self, who: int) -> None:
        with self._condition:
            mine = self._condition.wait_for(
                lambda: self._broken or not self._order or self._order[0] == who,
                timeout=_PATIENCE_SECONDS,
            )
            if self._broken or not mine or not self._order:
                raise CheckError("a thread waited in vain: calls hold each other up (S7)")
            self._order.pop(0)
            self._condition.notify_all()

    def give_up(self) -> None:
        with self._condition:
            self._broken = True
            self._condition.notify_all()


# Each thread stops on the way in and out of its function; a nested one does so at both levels.
_SCHEDULES = {
    "grad": ((0, 1, 0, 1), (0, 1, 1, 0)),
    "hvp": (
        (0, 1, 0, 1, 0, 1, 0, 1),
        (0, 1, 1, 0, 0, 1, 1, 0),
        (0, 0, 1, 1, 1, 1, 0, 0),
        (0, 1, 1, 1, 0, 0, 0, 1),
    ),
}


def interleaved_threads(t: Trial, operator: str) -> list[Comparison]:
    """Two threads, each inside its own derivative while the other starts or ends (S7).

    With ``hvp``, each has a gradient within a gradient: ``d/dx <∇s(x), v> = H v``.
    """
    want, tolerance = _expected(t, operator)
    found = []
    for schedule in _SCHEDULES[operator]:
        for k, got in enumerate(_together(t, operator, schedule)):
            factor = k + 1
            found.append(Comparison(got, [factor * w for w in want], tolerance))
    return found


def _together(t: Trial, operator: str, schedule: Sequence[int]) -> list[list[NumPyArray]]:
    turns = _Turns(schedule)
    results: list[Any] = [None, None]

    def work(k: int) -> None:
        def s(*args: Any) -> Any:
            turns.take(k)
            y = (k + 1) * t.s(*args)
            turns.take(k)
            return y

        def outer(*args: Any) -> Any:
            turns.take(k)
            y = t.inner(ug.grad(s, t.argnums, backend=t.backend)(*args), v)
            turns.take(k)
            return y

        v = t.of_arguments(t.tangents)
        f = s if operator == "grad" else outer
        try:
            results[k] = t.like_arguments(ug.grad(f, t.argnums, backend=t.backend)(*t.args))
        except BaseException as error:
            # Whatever it is, the other thread must not wait for this one; it is raised below.
            results[k] = error
            turns.give_up()

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=2 * _PATIENCE_SECONDS)
    errors = [r for r in results if isinstance(r, BaseException)]
    # The thread that gave up is to blame, not the one that then waited in vain.
    for error in sorted(errors, key=lambda e: isinstance(e, CheckError)):
        raise error
    return results
