"""`unigrad conformance`: run the scenarios, show how it went, write reports."""

from __future__ import annotations

import difflib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unigrad import testing
from unigrad.cli.console import ProgressBar, available, refuse
from unigrad.cli.report_html import to_html
from unigrad.cli.summary import (
    Tally,
    Versions,
    agreements,
    name_of,
    order_of,
    tallies,
    to_json,
    troubles,
)
from unigrad.testing import Negative, Report, Scenario

__all__ = ["Selection", "run"]

NOTE = (
    "Errors are against closed forms, or, where there are none, complex steps and differences "
    "(to about 1e-9). Relative errors are of float64, ULPs of each case's own precision."
)
SHOWN = 20
"""Failures printed; a report has all."""


@dataclass(frozen=True)
class Selection:
    """What to run.

    Attributes:
        backends: names; ``None`` for all that are installed.
        ops: families or names of scenarios; ``None`` for all.
        orders: of differentiation; ``None`` for all.
        gaps: a folder of known gaps, or ``None``.
    """

    backends: list[str] | None = None
    ops: list[str] | None = None
    orders: list[int] | None = None
    gaps: Path | None = None

    def scenarios(self) -> list[Scenario | Negative] | None:
        """The scenarios of these ops.

        Raises:
            UsageError: for an op that is neither a family nor a scenario.
        """
        if self.ops is None:
            return None
        every: tuple[Scenario | Negative, ...] = (*testing.SCENARIOS, *testing.NEGATIVES)
        families = list(dict.fromkeys(s.family for s in every))
        known = {*families, *(s.name for s in every)}
        for op in self.ops:
            if op not in known:
                near = difflib.get_close_matches(op, known, n=1)
                guess = f"; did you mean {near[0]!r}?" if near else ""
                refuse(
                    f"no scenario or family is named {op!r}{guess} "
                    f"The families are {', '.join(families)}"
                )
        return [s for s in every if s.family in self.ops or s.name in self.ops]


def run(
    console: Console, selection: Selection, html: Path | None = None, json: Path | None = None
) -> int:
    """Run what is selected; the exit code is 1 if anything failed.

    Raises:
        UsageError: for a selection of what does not exist, or a report that cannot be written.
    """
    scenarios = selection.scenarios()
    gaps = None
    if selection.gaps is not None:
        if not selection.gaps.is_dir():
            refuse(f"--known-gaps takes a folder of <backend>.toml files, got {selection.gaps}")
        gaps = testing.read_known_gaps(selection.gaps)
    for file in (html, json):
        _writable(file)
    began = time.perf_counter()
    with ProgressBar(console) as bar:
        bar(0, 1, "loading the frameworks")
        names, missing = available(selection.backends)
        report = testing.run(
            names, orders=selection.orders, scenarios=scenarios, known_gaps=gaps, progress=bar
        )
    seconds = time.perf_counter() - began
    if not report.outcomes:
        refuse("no case is left: the scenarios of this --op have no derivative of this --order")
    versions = Versions.now(names)
    _show(console, report, versions, seconds)
    for name, reason in missing.items():
        console.print(f"not run: {name}: {reason}", style="yellow", markup=False, soft_wrap=True)
    if json is not None:
        json.write_text(to_json(report, versions, seconds), encoding="utf-8")
    if html is not None:
        html.write_text(to_html(report, versions, seconds), encoding="utf-8")
    for file in (json, html):
        if file is not None:
            console.print(f"written: {file}", markup=False, soft_wrap=True)
    return 0 if report.ok else 1


def _writable(file: Path | None) -> None:
    """Refuse now what could not be written after minutes of work."""
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        refuse(f"the report cannot be written to {file}: name a file in a folder that exists")


# -------------------------------------------------------------------- on the screen


def _show(console: Console, report: Report, versions: Versions, seconds: float) -> None:
    _show_table(console, report, versions)
    _show_agreements(console, report)
    _show_failures(console, report)
    total = Tally.of(report.outcomes)
    verdict = Text("PASSED  " if report.ok else "FAILED  ", style="bold green")
    if not report.ok:
        verdict.stylize("bold red")
    verdict.append(
        f"{total.passed:,} passed, {total.failed:,} failed, {total.known_gaps:,} known gaps, "
        f"{total.skipped:,} skipped in {seconds:.0f} s",
        style="default",
    )
    if report.disagreements:
        verdict.append(f"; {len(report.disagreements):,} disagreements of two backends")
    console.print(verdict, soft_wrap=True)


def _show_table(console: Console, report: Report, versions: Versions) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("backend", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    for heading in (
        "order",
        "passed",
        "failed",
        "known\ngaps",
        "skip-\nped",
        "rel.\nerror",
        "ULPs",
    ):
        table.add_column(heading, justify="right", no_wrap=True, min_width=5)
    for name, version in versions.backends.items():
        outcomes = [o for o in report.outcomes if o.backend == name]
        rows = tallies(sorted(outcomes, key=order_of), lambda o: (o.operator, o.order))
        labels = (Text(name, "bold"), Text(version, "dim"), *itertools.repeat(Text(), len(rows)))
        table.add_section()
        for label, ((operator, order), tally) in zip(labels, rows.items(), strict=False):
            table.add_row(label, operator, str(order), *_counts(tally))
        if len(rows) > 1:
            row = _counts(Tally.of(outcomes))
            table.add_row(labels[len(rows)], Text("all", "bold"), "", *row)
    console.print(table)
    console.print(NOTE + "\n", style="dim")


def _counts(tally: Tally) -> Sequence[Text]:
    styles = ("green", "bold red", "yellow", "dim")
    counts = (tally.passed, tally.failed, tally.known_gaps, tally.skipped)
    texts = [
        Text(f"{n:,}", style=style) if n else Text("·", style="dim")
        for n, style in zip(counts, styles, strict=True)
    ]
    error = "–" if tally.relative_error is None else f"{tally.relative_error:.1e}"
    ulps = "–" if tally.ulps is None else f"{tally.ulps:.2g}"
    return [*texts, Text(error), Text(ulps)]


def _show_agreements(console: Console, report: Report) -> None:
    found = agreements(report)
    if not found:
        return
    table = Table(title="Agreement on the same bits of input", title_justify="left", box=box.SIMPLE)
    for heading in ("backends", "where they differ most, for what is allowed"):
        table.add_column(heading, overflow="fold")
    for heading in ("cases", "differ", "difference", "allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for a in found:
        differ = Text(str(a.parted), style="bold red") if a.parted else Text("·", style="dim")
        where = name_of(a.worst)
        gap, allowed = f"{a.worst.relative_error:.1e}", f"{a.worst.tolerance:.0e}"
        pair = f"{a.first} – {a.second}"
        table.add_row(pair, Text(where), f"{a.compared:,}", differ, gap, allowed)
    console.print(table)


def _show_failures(console: Console, report: Report) -> None:
    found = troubles(report)
    if not found:
        return
    console.print("Failures", style="bold")
    for t in found[:SHOWN]:
        line = Text.assemble((t.who, "bold red"), f"  {t.cases[0]} {t.others}\n    {t.message}")
        console.print(line, soft_wrap=True)
    if len(found) > SHOWN:
        more = f"… and {len(found) - SHOWN:,} more; --html FILE or --json FILE lists all"
        console.print(more, style="dim")
    console.print()
