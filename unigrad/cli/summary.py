"""A conformance report in numbers: counts, largest errors, versions; and the whole as JSON."""

from __future__ import annotations

import collections
import dataclasses
import importlib.metadata
import json
import math
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

import unigrad
from unigrad.registry import backends
from unigrad.testing import Outcome, Pair, Report

__all__ = [
    "Agreement",
    "Key",
    "Tally",
    "Trouble",
    "Versions",
    "agreements",
    "name_of",
    "order_of",
    "tallies",
    "to_json",
    "troubles",
]

Key = TypeVar("Key")
SCHEMA = "unigrad-conformance-1"


@dataclass(frozen=True)
class Tally:
    """How some outcomes went.

    Attributes:
        relative_error: largest of the float64 cases; ``None`` if nothing was compared.
        ulps: largest of all cases, each in units of its own precision.
    """

    passed: int
    failed: int
    known_gaps: int
    skipped: int
    relative_error: float | None
    ulps: float | None

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Tally:
        """The tally of these outcomes."""
        outcomes = list(outcomes)
        counts = collections.Counter(o.status for o in outcomes)
        errors = [o.relative_error for o in outcomes if "(float32" not in o.scenario]
        return cls(
            passed=counts["passed"],
            failed=counts["failed"],
            known_gaps=counts["known gap"],
            skipped=counts["skipped"],
            relative_error=_largest(errors),
            ulps=_largest(o.ulps for o in outcomes),
        )

    @property
    def total(self) -> int:
        """All outcomes."""
        return self.passed + self.failed + self.known_gaps + self.skipped


def _largest(numbers: Iterable[float | None]) -> float | None:
    """The largest that is known; NaN counts as the worst of all."""
    known = [x for x in numbers if x is not None]
    return max(known, key=lambda x: math.inf if math.isnan(x) else x, default=None)


def tallies(outcomes: Iterable[Outcome], key: Callable[[Outcome], Key]) -> dict[Key, Tally]:
    """Outcomes counted by a key, in the order in which its values first come."""
    groups: dict[Key, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return {value: Tally.of(group) for value, group in groups.items()}


def order_of(outcome: Outcome) -> float:
    """By what the rows of a table are sorted: derivatives by order, wrong uses last."""
    return math.inf if outcome.operator == "raises" else outcome.order


@dataclass(frozen=True)
class Agreement:
    """How far two backends are apart.

    Attributes:
        compared: how many cases both passed and could be compared.
        parted: how many of them differ by more than is allowed.
        worst: the case in which they differ most, relative to what is allowed there.
    """

    first: str
    second: str
    compared: int
    parted: int
    worst: Pair


def agreements(report: Report) -> list[Agreement]:
    """One entry for every two backends that have been compared."""
    found = []
    for first, second in combinations(dict.fromkeys(o.backend for o in report.outcomes), 2):
        worst = report.largest_difference(first, second)
        if worst is None:
            continue
        pairs = [p for p in report.pairs if {p.first, p.second} == {first, second}]
        parted = sum(not p.ok for p in pairs)
        found.append(Agreement(first, second, len(pairs), parted, worst))
    return found


@dataclass(frozen=True)
class Trouble:
    """One thing that went wrong, maybe on several backends and in several cases.

    Attributes:
        who: the backends, or the two that differ.
        cases: named as in `Outcome.id`, each with its order.
    """

    who: str
    message: str
    cases: list[str]

    @property
    def others(self) -> str:
        """In words, how many cases follow the first."""
        count = len(self.cases) - 1
        return f"and {count:,} more case{'s' if count > 1 else ''}" if count else ""


def troubles(report: Report) -> list[Trouble]:
    """Failures with the same message on the same backends as one, then pairs that differ."""
    backends_of: dict[tuple[str, str], list[str]] = {}
    for o in report.failures:
        backends_of.setdefault((f"{o.id}, order {o.order}", o.message), []).append(o.backend)
    cases_of: dict[tuple[str, str], list[str]] = {}
    for (case, message), who in backends_of.items():
        cases_of.setdefault((", ".join(who), message), []).append(case)
    found = [Trouble(who, message, cases) for (who, message), cases in cases_of.items()]
    for p in report.disagreements:
        message = f"they differ by {p.relative_error:.2e} relative, {p.tolerance:.0e} is allowed"
        case = f"{name_of(p)}, order {p.order}"
        found.append(Trouble(f"{p.first} – {p.second}", message, [case]))
    return found


def name_of(pair: Pair) -> str:
    """The case that a pair was compared in, named as in `Outcome.id`."""
    return f"{pair.op}/{pair.scenario}:{pair.operator}"


@dataclass(frozen=True)
class Versions:
    """On what a report was made.

    Attributes:
        backends: each backend's framework.
        distributions: everything that is installed, by name.
    """

    unigrad: str
    python: str
    platform: str
    backends: dict[str, str]
    distributions: dict[str, str]

    @classmethod
    def now(cls, names: Sequence[str]) -> Versions:
        """Those of this process."""
        known = backends()
        installed = {d.name: d.version for d in importlib.metadata.distributions() if d.name}
        return cls(
            unigrad.__version__,
            platform.python_version(),
            platform.platform(),
            {name: known[name].version or "" for name in names},
            dict(sorted(installed.items(), key=lambda item: item[0].lower())),
        )


def to_json(report: Report, versions: Versions, seconds: float) -> str:
    """The report for programs: schema, versions, summary, tallies, outcomes and pairs.

    Numbers that JSON does not know, infinity and NaN, are strings.
    """
    rows = tallies(report.outcomes, lambda o: (o.backend, o.operator, o.order))
    document = {
        "schema": SCHEMA,
        "ok": report.ok,
        "seconds": round(seconds, 3),
        "versions": dataclasses.asdict(versions),
        "summary": dataclasses.asdict(Tally.of(report.outcomes)),
        "table": [
            {"backend": backend, "operator": operator, "order": order, **dataclasses.asdict(tally)}
            for (backend, operator, order), tally in rows.items()
        ],
        "agreements": [dataclasses.asdict(a) for a in agreements(report)],
        "outcomes": [dataclasses.asdict(o) for o in report.outcomes],
        "pairs": [dataclasses.asdict(p) for p in report.pairs],
    }
    return json.dumps(_finite(document), allow_nan=False, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
