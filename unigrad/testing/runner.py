"""Running cases on backends: `run` for a report, `check` for one line in a third party's tests."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np

from unigrad.backend import Backend
from unigrad.errors import HigherOrderError
from unigrad.registry import get_backend
from unigrad.testing.case import Case, cases
from unigrad.testing.checks import CHECKS
from unigrad.testing.comparison import difference
from unigrad.testing.gaps import declared_gap, listed_gap
from unigrad.testing.negatives import OneFrameworkOnly
from unigrad.testing.report import ConformanceError, Outcome, Pair, Report, Status
from unigrad.testing.scenario import Negative, NumPyArray, Scenario
from unigrad.testing.transformers import TRANSFORMERS
from unigrad.testing.trial import CheckError, Comparison, Trial

__all__ = ["Result", "check", "compare", "run", "run_case"]

_NO_SECOND = "no second order"
_NOTHING = contextlib.nullcontext()
Gaps = Mapping[str, Mapping[str, str]]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Result:
    """An outcome, and the numbers for the comparison with other backends."""

    outcome: Outcome
    arrays: list[NumPyArray] | None = None


def run(
    backends: Sequence[str | Backend],
    *,
    ops: Sequence[str] | None = None,
    orders: Sequence[int] | None = None,
    scenarios: Sequence[Scenario | Negative] | None = None,
    known_gaps: Gaps | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the scenarios on each backend, and compare the backends with each other.

    Args:
        backends: names or adapters.
        ops: families of scenarios to run, such as ``"linalg"``; by default all.
        orders: orders of differentiation to run; by default all.
        scenarios: by default all.
        known_gaps: for each backend's name, patterns of case ids with the reason why they fail.
        progress: called with (done, total, label) before each case.

    Raises:
        UnknownBackendError, BackendNotAvailableError: for a backend that cannot be used.

    >>> from unigrad import testing
    >>> report = testing.run(["numpy"], ops=["concatenation"], orders=[1])
    >>> print(report.ok)
    True
    """
    chosen = [get_backend(b) for b in backends]
    todo = cases(scenarios, ops=ops, orders=orders)
    total = len(todo) * len(chosen)
    outcomes: list[Outcome] = []
    pairs: list[Pair] = []
    for case in todo:
        results = []
        for backend in chosen:
            if progress is not None:
                progress(len(outcomes), total, f"{backend.name}: {case.id}")
            gaps = (known_gaps or {}).get(backend.name, {})
            result = run_case(backend, case, gaps)
            outcomes.append(result.outcome)
            results.append(result)
        pairs += [
            pair
            for first, second in itertools.combinations(results, 2)
            if (pair := compare(case, first, second)) is not None
        ]
    if progress is not None:
        progress(total, total, "done")
    return Report(tuple(outcomes), tuple(pairs))


def check(backend: str | Backend, *, known_gaps: Mapping[str, str] | None = None) -> Report:
    """Run everything on one backend; the one line of a third party's test.

    Args:
        known_gaps: patterns of case ids with the reason why they fail; one that passes fails.

    Raises:
        ConformanceError: listing every failure.
    """
    adapter = get_backend(backend)
    report = run([adapter], known_gaps={adapter.name: known_gaps or {}})
    if not report.ok:
        raise ConformanceError(f"{adapter.name} does not conform: {report.summary()}")
    return report


def compare(case: Case, first: Result, second: Result) -> Pair | None:
    """How far two passed results of one case are apart; ``None`` if there is nothing to compare."""
    if first.arrays is None or second.arrays is None or case.transformer:
        return None
    assert isinstance(case.scenario, Scenario)
    # Relative to the larger of the two, so that their order does not matter.
    forth, back = (
        difference(first.arrays, second.arrays),
        difference(second.arrays, first.arrays),
    )
    return Pair(
        first.outcome.backend,
        second.outcome.backend,
        case.name,
        case.scenario.family,
        case.operator,
        case.order,
        min(forth[0], back[0]),
        min(forth[1], back[1]),
        case.scenario.agreement,
    )


def run_case(backend: Backend, case: Case, gaps: Mapping[str, str] | None = None) -> Result:
    """One case on one backend; whatever goes wrong becomes an outcome."""
    start = time.perf_counter()
    listed = listed_gap(gaps or {}, case)
    ran = _Ran.of(backend, case)
    status, message = ran.status, ran.message
    if listed is not None and status == "passed":
        status, message = "failed", f"passes, but is listed as a known gap: {listed}"
    elif listed is not None and status == "failed":
        status, message = "known gap", listed
    outcome = Outcome(
        backend.name,
        case.name,
        case.scenario.family,
        case.operator,
        case.order,
        status,
        ran.relative_error,
        ran.ulps,
        message,
        time.perf_counter() - start,
    )
    return Result(outcome, ran.arrays if status == "passed" else None)


@dataclass(frozen=True)
class _Ran:
    status: Status
    message: str = ""
    relative_error: float | None = None
    ulps: float | None = None
    arrays: list[NumPyArray] | None = None

    @classmethod
    def of(cls, backend: Backend, case: Case) -> _Ran:
        reason = _skipped(backend, case)
        if reason is not None:
            return cls("skipped", reason)
        if isinstance(case.scenario, Negative):
            return _refused(backend, case.scenario)
        gap = declared_gap(backend, case)
        singular: contextlib.AbstractContextManager[Any] = _NOTHING
        if "singular" in case.scenario.tags:
            singular = np.errstate(divide="ignore")
        try:
            with singular:
                trial, comparisons = _comparisons(backend, case)
                if gap is None:
                    return _judged(trial, comparisons)
        except Exception as error:  # A failure of any kind is an outcome, not an end.
            if gap is not None and isinstance(error, gap[1]):
                return cls("known gap", gap[0])
            if isinstance(error, AttributeError) and error.obj is backend.xp:
                return cls("skipped", f"the namespace has no {error.name}")
            if gap is not None:
                return cls("failed", f"{gap[0]}: wrong error: {_told(error)}")
            return cls("failed", _told(error))
        wanted = " or ".join(e.__name__ for e in gap[1])
        return cls("failed", f"{gap[0]} is declared, so {wanted} must be raised, and was not")


def _comparisons(backend: Backend, case: Case) -> tuple[Trial, list[Comparison]]:
    assert isinstance(case.scenario, Scenario)
    if case.transformer:
        transformer = TRANSFORMERS[case.transformer]
        return transformer.run(backend, case.scenario, case.operator)
    trial = Trial(backend, case.scenario)
    return trial, CHECKS[case.operator](trial)


def _judged(trial: Trial, comparisons: list[Comparison]) -> _Ran:
    trial.expect_pure()
    if not comparisons:
        raise CheckError("nothing was compared")
    worst, most, complaints = 0.0, 0.0, []
    for c in comparisons:
        relative, ulps = difference(c.got, c.want, trial.dtype)
        worst, most = max(worst, relative), max(most, ulps)
        if not relative <= c.tolerance:
            complaints.append(
                f"{c.what} is off by {relative:.2e} relative, allowed {c.tolerance:.0e}: "
                f"{_worst_entry(c)}"
            )
    if complaints:
        return _Ran("failed", "; ".join(complaints), worst, most)
    return _Ran("passed", "", worst, most, comparisons[0].got)


def _refused(backend: Backend, negative: Negative) -> _Ran:
    try:
        negative.act(backend)
    except OneFrameworkOnly as error:
        return _Ran("skipped", str(error))
    except Exception as error:  # Any error that is not the promised one is a failure.
        text = str(error)
        unsaid = [part for part in negative.says if part not in text]
        higher = negative.order >= 2 and not backend.capabilities.second_order
        if higher and isinstance(error, HigherOrderError):
            return _Ran("passed" if negative.error is HigherOrderError else "known gap", _NO_SECOND)
        if not isinstance(error, negative.error):
            return _Ran("failed", f"{negative.error.__name__} is promised, got {_told(error)}")
        if unsaid:
            return _Ran("failed", f"the message lacks {unsaid!r}: {text}")
        return _Ran("passed")
    return _Ran("failed", f"{negative.error.__name__} is promised, and nothing was raised")


def _skipped(backend: Backend, case: Case) -> str | None:
    """Why the case cannot be tried on the backend at all."""
    can, scenario = backend.capabilities, case.scenario
    if isinstance(scenario, Negative):
        if scenario.unless is not None and getattr(can, scenario.unless):
            return f"the backend declares {scenario.unless}"
        required = scenario.requires
    else:
        required = TRANSFORMERS[case.transformer].requires if case.transformer else None
        if "zero_size" in scenario.tags:
            required = "zero_size"
    if required is not None and not getattr(can, required):
        return f"the backend declares no {required}"
    if isinstance(scenario, Scenario):
        lacking = sorted(n for n in needed(scenario) if not _has(backend.xp, n))
        if lacking:
            return f"the namespace has no {', '.join(lacking)}"
    return None


@functools.cache
def needed(scenario: Scenario) -> frozenset[str]:
    """Names of the namespace that a scenario uses, found by running it on NumPy.

    Functions of `unigrad.ops` and derivatives inside find their namespace themselves.
    """
    used = set(scenario.needs)
    recording = _Recording(numpy_namespace, "", used)
    # The point may be one where plain NumPy warns, or complains: names are all that is wanted.
    with contextlib.suppress(Exception), np.errstate(all="ignore"):
        scenario.f(recording, *scenario.args, *scenario.data)
    return frozenset(used)


class _Recording:
    def __init__(self, inner: Any, prefix: str, used: set[str]) -> None:
        self._inner, self._prefix, self._used = inner, prefix, used

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "linalg":
            return _Recording(found, "linalg.", self._used)
        self._used.add(self._prefix + name)
        return found


def _has(xp: Any, name: str) -> bool:
    for part in name.split("."):
        xp = getattr(xp, part, None)
        if xp is None:
            return False
    return True


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _worst_entry(c: Comparison) -> str:
    """Where the two are furthest apart, and what stands there."""
    if [g.shape for g in c.got] != [w.shape for w in c.want]:
        return f"shapes {[g.shape for g in c.got]}, expected {[w.shape for w in c.want]}"
    gaps = [
        np.nan_to_num(np.abs(np.subtract(g, w)), nan=np.inf)
        for g, w in zip(c.got, c.want, strict=True)
    ]
    leaf = int(np.argmax([np.max(gap, initial=0.0) for gap in gaps]))
    at = np.unravel_index(np.argmax(gaps[leaf]), gaps[leaf].shape)
    where = f"entry {tuple(map(int, at))}"
    if len(gaps) > 1:
        where = f"leaf {leaf}, {where}"
    return f"{where} is {c.got[leaf][at]!r}, expected {c.want[leaf][at]!r}"
