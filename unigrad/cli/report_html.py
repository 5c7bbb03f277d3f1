"""The conformance report as one HTML file that needs nothing else: no script, font or link.

Every colour is paired with a sign or a word, and the palette (Okabe and Ito, 2008) is told apart
by colour-blind readers.
"""

from __future__ import annotations

import datetime
import importlib.resources
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from unigrad.cli.summary import (
    Agreement,
    Tally,
    Trouble,
    Versions,
    agreements,
    name_of,
    order_of,
    tallies,
    troubles,
)
from unigrad.testing import Outcome, Report

__all__ = ["to_html"]

SIGNS = {"passed": "✓", "failed": "✗", "known gap": "◐", "skipped": "–"}
OPEN, LISTED = 10, 400
"""Failures shown at once, and in all; the JSON report has every one."""


def to_html(report: Report, versions: Versions, seconds: float) -> str:
    """The report for people: verdict and matrices first, every case below, folded."""
    css = importlib.resources.files("unigrad.cli").joinpath("report.css").read_text("utf-8")
    names = list(versions.backends)
    found = agreements(report)
    ordered = sorted(report.outcomes, key=order_of)
    body = [
        _header(report, versions, seconds, found),
        _failures(report),
        _matrix("Operators", "operator, order", ordered, names, _operator),
        _matrix("Families of scenarios", "family", report.outcomes, names, lambda o: o.op),
        _agreement(found, names),
        _gaps(report),
        _cases(report, names),
        _environment(versions),
    ]
    title = f"unigrad conformance: {'passed' if report.ok else 'failed'}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


# -------------------------------------------------------------------- pieces


def _header(report: Report, versions: Versions, seconds: float, found: list[Agreement]) -> str:
    total = Tally.of(report.outcomes)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    tiles = [
        _tile("passed", "passed", f"{total.passed:,}"),
        _tile("failed", "failed", f"{total.failed:,}"),
        _tile("known-gap", "known gaps", f"{total.known_gaps:,}"),
        _tile("skipped", "skipped", f"{total.skipped:,}"),
    ]
    if found:
        worst = max(found, key=lambda a: a.worst.relative_error / a.worst.tolerance).worst
        about = f"furthest apart, of {worst.tolerance:.0e} allowed: {worst.first} – {worst.second}"
        tiles.append(_tile("apart", about, f"{worst.relative_error:.1e}"))
    chips = "".join(
        f"<li><b>{escape(name)}</b> {escape(version)}</li>"
        for name, version in versions.backends.items()
    )
    word, style = ("Passed", "passed") if report.ok else ("Failed", "failed")
    what = "Every backend gives the derivatives it must, and they agree."
    if not report.ok:
        parted = len(report.disagreements)
        what = f"{total.failed:,} cases failed, {parted:,} comparisons of two backends differ."
    return (
        f'<header>\n<p class="kicker">unigrad {escape(versions.unigrad)} · conformance</p>\n'
        f'<h1><span class="verdict {style}">{SIGNS[style]} {word}</span> {what}</h1>\n'
        f'<ul class="chips">{chips}</ul>\n'
        f'<p class="meta">Python {escape(versions.python)} · {escape(versions.platform)} · {now} · '
        f"{total.total:,} cases in {seconds:.0f} s</p>\n</header>\n"
        f'<section class="tiles">{"".join(tiles)}</section>'
    )


def _tile(style: str, label: str, number: str) -> str:
    return f'<div class="tile {style}"><b>{number}</b><span>{escape(label)}</span></div>'


def _operator(outcome: Outcome) -> str:
    if outcome.operator == "raises":
        return "errors on wrong use"
    return f"{outcome.operator}, order {outcome.order}"


def _matrix(
    title: str,
    corner: str,
    outcomes: Sequence[Outcome],
    names: Sequence[str],
    row: Callable[[Outcome], str],
) -> str:
    cells = tallies(outcomes, lambda o: (row(o), o.backend))
    rows = dict.fromkeys(row(o) for o in outcomes)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    lines = [
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(_cell(cells.get((label, name))) for name in names)
        + "</tr>"
        for label in rows
    ]
    return (
        f"<section>\n<h2>{title}</h2>\n{_LEGEND}\n"
        f'<div class="scroll"><table class="matrix">\n<thead><tr><th>{corner}</th>{head}</tr>'
        f"</thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>\n</section>"
    )


_LEGEND = (
    '<p class="legend"><span class="passed">✓ passed</span><span class="failed">✗ failed</span>'
    '<span class="known-gap">◐ known gap</span><span class="skipped">– skipped</span>'
    "<span>below: largest relative error of float64, and of all in units in the last place, "
    "against closed forms, or, where there are none, complex steps and differences (to about "
    "1e-9)</span>"
    "</p>"
)


def _cell(tally: Tally | None) -> str:
    if tally is None:
        return '<td class="none"></td>'
    parts = {
        "passed": tally.passed,
        "failed": tally.failed,
        "known gap": tally.known_gaps,
        "skipped": tally.skipped,
    }
    present = {status: n for status, n in parts.items() if n}
    main = next(s for s in ("failed", "passed", "known gap", "skipped") if s in present)
    counts = " ".join(
        f'<span class="{_style(s)}">{SIGNS[s]}&#8239;{n:,}</span>' for s, n in present.items()
    )
    bar = "".join(f'<i class="{_style(s)}" style="flex:{n}"></i>' for s, n in present.items())
    error = ""
    if tally.relative_error is not None and tally.ulps is not None:
        error = f"<small>{tally.relative_error:.1e} · {tally.ulps:.2g} ulp</small>"
    return f'<td class="{_style(main)}"><div>{counts}</div><div class="bar">{bar}</div>{error}</td>'


def _style(status: str) -> str:
    return status.replace(" ", "-")


def _agreement(found: Sequence[Agreement], names: Sequence[str]) -> str:
    if not found:
        return ""
    by_pair = {frozenset((a.first, a.second)): a for a in found}
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    lines = []
    for one in names:
        cells = [
            '<td class="none"></td>'
            if one == two
            else _agreement_cell(by_pair.get(frozenset((one, two))))
            for two in names
        ]
        lines.append(f'<tr><th scope="row">{escape(one)}</th>{"".join(cells)}</tr>')
    return (
        "<section>\n<h2>Agreement of backends</h2>\n"
        '<p class="note">Largest relative difference on the same bits of input, in the case '
        "nearest to what is allowed; darker is nearer.</p>\n"
        f'<div class="scroll"><table class="matrix agreement">\n<thead><tr><th></th>{head}</tr>'
        f"</thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>\n</section>"
    )


def _agreement_cell(a: Agreement | None) -> str:
    if a is None:
        return '<td class="none">not compared</td>'
    worst = a.worst
    share = worst.relative_error / worst.tolerance
    nearness = 0 if share <= 0 else min(4, max(0, round(4 + math.log10(share)))) if share < 1 else 4
    style = "failed" if a.parted else f"near{nearness}"
    sign = f"{SIGNS['failed']} {a.parted} of " if a.parted else f"{SIGNS['passed']} "
    where = escape(f"{name_of(worst)}, allowed {worst.tolerance:.0e}")
    return (
        f'<td class="{style}" title="{where}"><div>{sign}{a.compared:,}</div>'
        f"<b>{worst.relative_error:.1e}</b><small>of {worst.tolerance:.0e}</small></td>"
    )


def _failures(report: Report) -> str:
    if report.ok:
        return ""
    items = [_trouble(t) for t in troubles(report)]
    opened, folded, left = items[:OPEN], items[OPEN:LISTED], items[LISTED:]
    rest = ""
    if folded:
        more = f"<summary>{len(folded):,} more</summary>"
        rest = f'<details>{more}<ul class="failures">{chr(10).join(folded)}</ul></details>'
    note = f'<p class="note">{len(left):,} more are in the JSON report.</p>' if left else ""
    return (
        f"<section>\n<h2>Failures</h2>\n"
        f'<ul class="failures">\n{chr(10).join(opened)}\n</ul>\n{rest}{note}</section>'
    )


def _trouble(t: Trouble) -> str:
    more = "".join(f"<li><code>{escape(case)}</code></li>" for case in t.cases[1:])
    if more:
        more = f"<details><summary>{t.others}</summary><ul>{more}</ul></details>"
    return (
        f"<li><b>{escape(t.who)}</b> <code>{escape(t.cases[0])}</code>"
        f"<pre>{escape(t.message)}</pre>{more}</li>"
    )


def _gaps(report: Report) -> str:
    gaps = [o for o in report.outcomes if o.status in ("known gap", "skipped")]
    if not gaps:
        return ""
    counted = tallies(gaps, lambda o: (o.status, o.backend, o.message))
    lines = [
        f'<tr><td class="{_style(status)}">{SIGNS[status]} {status}</td><td>{escape(backend)}</td>'
        f"<td>{escape(message)}</td><td>{tally.total:,}</td></tr>"
        for (status, backend, message), tally in sorted(counted.items())
    ]
    return (
        "<section>\n<h2>Known gaps and skipped cases</h2>\n"
        '<p class="note">A declared gap passes only by raising the promised error; a gap that '
        "starts to work fails the run.</p>\n"
        '<div class="scroll"><table class="list"><thead><tr><th></th><th>backend</th><th>why</th>'
        f"<th>cases</th></tr></thead>\n<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>\n"
        "</section>"
    )


def _cases(report: Report, names: Sequence[str]) -> str:
    families: dict[str, dict[str, dict[str, Outcome]]] = {}
    for o in report.outcomes:
        families.setdefault(o.op, {}).setdefault(f"{o.scenario}:{o.operator}", {})[o.backend] = o
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    parts = []
    for family, rows in families.items():
        lines = [
            f"<tr><td>{escape(label)}</td>{_marks(by_backend, names)}</tr>"
            for label, by_backend in rows.items()
        ]
        failed = sum(o.status == "failed" for row in rows.values() for o in row.values())
        note = f' <span class="failed">{SIGNS["failed"]} {failed:,}</span>' if failed else ""
        parts.append(
            f"<details><summary>{escape(family)} <small>{len(rows):,} cases</small>{note}</summary>"
            f'<div class="scroll"><table class="list"><thead><tr><th>case</th>{head}</tr></thead>\n'
            f"<tbody>\n{chr(10).join(lines)}\n</tbody></table></div></details>"
        )
    return f"<section>\n<h2>Every case</h2>\n{chr(10).join(parts)}\n</section>"


def _marks(by_backend: dict[str, Outcome], names: Iterable[str]) -> str:
    cells = []
    for name in names:
        o = by_backend.get(name)
        if o is None:
            cells.append("<td></td>")
            continue
        error = "" if o.relative_error is None else f" {o.relative_error:.0e}"
        cells.append(f'<td class="{_style(o.status)}">{SIGNS[o.status]}{error}</td>')
    return "".join(cells)


def _environment(versions: Versions) -> str:
    items = "".join(
        f"<li>{escape(name)} <b>{escape(version)}</b></li>"
        for name, version in versions.distributions.items()
    )
    count = len(versions.distributions)
    return (
        f"<section>\n<details><summary>Installed distributions <small>{count}</small></summary>"
        f'<ul class="packages">{items}</ul></details>\n</section>\n'
    )
