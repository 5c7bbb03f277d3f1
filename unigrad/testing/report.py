"""What came of a run: one `Outcome` for each case and backend, one `Pair` for each comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ConformanceError", "Outcome", "Pair", "Report", "Status"]

Status = Literal["passed", "failed", "known gap", "skipped"]


class ConformanceError(AssertionError):
    """A backend does not keep the contract; lists every failure."""


@dataclass(frozen=True)
class Outcome:
    """What one backend did in one case.

    Attributes:
        scenario: its name, with the transformer's in parentheses.
        op: the family of the scenario, such as ``"linalg"``.
        operator: such as ``"grad"``; ``"raises"`` for a wrong use.
        order: of differentiation.
        relative_error: largest, relative to the largest entry; ``None`` if nothing was compared.
        ulps: the same in units in the last place of the largest entry.
        message: why it failed, was skipped, or is a known gap.
    """

    backend: str
    scenario: str
    op: str
    operator: str
    order: int
    status: Status
    relative_error: float | None = None
    ulps: float | None = None
    message: str = ""
    seconds: float = 0.0

    @property
    def id(self) -> str:
        """``family/name (transformer):operator``, as in `Case`."""
        return f"{self.op}/{self.scenario}:{self.operator}"


@dataclass(frozen=True)
class Pair:
    """How far two backends are apart in one case, on the same bits of input.

    Attributes:
        tolerance: the largest relative error allowed.
    """

    first: str
    second: str
    scenario: str
    op: str
    operator: str
    order: int
    relative_error: float
    ulps: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether they agree."""
        return self.relative_error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """All outcomes of a run."""

    outcomes: tuple[Outcome, ...]
    pairs: tuple[Pair, ...] = ()

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Outcomes that failed."""
        return tuple(o for o in self.outcomes if o.status == "failed")

    @property
    def disagreements(self) -> tuple[Pair, ...]:
        """Pairs of backends that do not agree."""
        return tuple(p for p in self.pairs if not p.ok)

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and every pair of backends agrees."""
        return not self.failures and not self.disagreements

    def largest_difference(self, first: str, second: str) -> Pair | None:
        """The case in which two backends differ most, relative to what is allowed there."""
        names = {first, second}
        between = [p for p in self.pairs if {p.first, p.second} == names]
        return max(between, key=lambda p: p.relative_error / p.tolerance, default=None)

    def summary(self) -> str:
        """Counts, then one line for each failure and disagreement."""
        counts: dict[str, int] = {}
        for outcome in self.outcomes:
            counts[outcome.status] = counts.get(outcome.status, 0) + 1
        lines = [", ".join(f"{n} {status}" for status, n in counts.items()) or "nothing was run"]
        lines += [f"{o.backend}: {o.id} (order {o.order}): {o.message}" for o in self.failures]
        lines += [
            f"{p.first} and {p.second}: {p.op}/{p.scenario}:{p.operator}: relative difference "
            f"{p.relative_error:.2e}, allowed {p.tolerance:.0e}"
            for p in self.disagreements
        ]
        return "\n".join(lines)
