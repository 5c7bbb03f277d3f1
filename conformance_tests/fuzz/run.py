"""Many programs, counted: what the long run and the tests share."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from conformance_tests.fuzz.checks import Disagreement, Verdict, check, smallest
from conformance_tests.fuzz.oracles import Framework, installed
from conformance_tests.fuzz.programs import Program, programs

__all__ = ["Summary", "fuzz", "portion"]

SELDOM = 10


@dataclass
class Summary:
    """What a run came to; summaries of several processes add up."""

    built: int = 0
    unbuildable: int = 0
    rejected: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    disagreements: Counter[str] = field(default_factory=Counter)
    shortest: dict[str, str] = field(default_factory=dict)

    def note(self, verdict: Verdict) -> None:
        self.built += 1
        if verdict.rejected is not None:
            self.rejected += 1
            return
        self.operations.update(str(op) for op in verdict.program.operations())
        self.compared += verdict.compared

    def report(self, found: Disagreement) -> None:
        """Keep one reproduction, the shortest, for each last operation and failed check."""
        last = found.program.steps[-1]
        key = f"{last.operation or last.text}: {found.what.partition(' (')[0]}"
        self.disagreements[key] += 1
        text = str(found)
        if key not in self.shortest or len(text) < len(self.shortest[key]):
            self.shortest[key] = text

    def add(self, other: Summary) -> None:
        self.built += other.built
        self.unbuildable += other.unbuildable
        self.rejected += other.rejected
        self.operations += other.operations
        self.compared += other.compared
        self.disagreements += other.disagreements
        for key, text in other.shortest.items():
            if key not in self.shortest or len(text) < len(self.shortest[key]):
                self.shortest[key] = text


def fuzz(
    count: int,
    seed: int,
    frameworks: Mapping[str, Framework],
    *,
    every: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> Summary:
    """Check ``count`` programs; torch looks at one in ``every``, JAX at one in ten of those."""
    summary = Summary()

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def one(program: Program | None) -> None:
        progress()
        if program is None:
            summary.unbuildable += 1
            return
        turn = summary.built // every if summary.built % every == 0 else None
        asked = {} if turn is None else dict(frameworks)
        if turn is not None and turn % SELDOM:
            asked.pop("jax", None)  # it compiles each program
        verdict = check(program, asked, thin=summary.built % 2 == 1)
        summary.note(verdict)
        if verdict.disagreements:
            summary.report(smallest(verdict.disagreements[0], asked))

    one()
    return summary


def portion(task: tuple[int, int, int]) -> Summary:
    """``(count, seed, every)``: a part of a long run, in a process of its own."""
    count, seed, every = task
    warnings.simplefilter("ignore")
    return fuzz(count, seed, installed() if every else {}, every=max(every, 1))
