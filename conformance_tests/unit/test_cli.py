"""The program ``unigrad``, as a user runs it; NumPy alone is enough for all of this."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unigrad as ug
from unigrad import registry, testing
from unigrad.cli import conformance, main
from unigrad.cli.report_html import to_html
from unigrad.cli.summary import Tally, Versions, to_json, troubles
from unigrad.cli.tables import capability_table
from unigrad.testing import Outcome, Pair, Report

Capture = pytest.CaptureFixture[str]

PASSED = Outcome("one", "exp", "elementwise", "grad", 1, "passed", 1e-16, 0.5)
FAILED = Outcome("two", "<exp>", "elementwise", "grad", 1, "failed", 1e-3, 1e12, "off & wrong")
APART = Pair("one", "two", "exp", "elementwise", "grad", 1, 1e-3, 1e12, 1e-12)
BAD = Report((PASSED, FAILED), (APART,))
ONE_TWO = Versions("0", "3", "here", {"one": "1.0", "two": "2.0"}, {"numpy": "2"})


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m unigrad`` in a log of its own."""
    return subprocess.run(
        [sys.executable, "-m", "unigrad", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


# -------------------------------------------------------------------- the program


def test_help_names_every_command_and_its_examples() -> None:
    done = program("--help")
    assert done.returncode == 0
    for words in ("backends", "conformance", "demo", "unigrad conformance --backend", "exit codes"):
        assert words in done.stdout


def test_version() -> None:
    assert program("--version").stdout.strip() == f"unigrad {ug.__version__}"


def test_import_unigrad_does_not_import_rich() -> None:
    code = "import unigrad, sys; assert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["demo", "conformance"])
def test_an_unknown_backend_is_a_clear_error(command: str, capsys: Capture) -> None:
    assert main([command, "--backend", "numpyy"]) == 2
    caught = capsys.readouterr()
    assert "no backend is named 'numpyy'" in " ".join(caught.err.split())
    assert "'numpy'" in caught.err
    assert "Traceback" not in caught.err


def test_a_backend_that_is_not_installed_says_what_to_type(absent: None, capsys: Capture) -> None:
    assert main(["conformance", "--backend", "absent"]) == 2
    assert "pip install absent" in capsys.readouterr().err


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known backend whose framework is not installed."""
    spec = ug.BackendSpec(
        "absent", "absent:Absent", ("absent",), "absent_framework", "absent", "pip install absent"
    )
    known = {**registry._registry.known(), "absent": spec}
    monkeypatch.setattr(registry._registry, "specs", known)


# -------------------------------------------------------------------- unigrad backends


def test_backends_lists_all_and_what_to_type(absent: None, capsys: Capture) -> None:
    assert main(["backends"]) == 0
    out = capsys.readouterr().out
    for name in ug.backends():
        assert name in out
    assert "pip install absent" in out
    assert str(ug.backends()["numpy"].version) in out


def test_the_capability_table_is_what_the_backends_declare() -> None:
    head, _, *rows = capability_table().splitlines()
    headings = [cell.strip() for cell in head.strip("|").split("|")]
    assert len(rows) == len(registry.specs())
    for row in rows:
        cells = dict(zip(headings, (c.strip() for c in row.strip("|").split("|")), strict=True))
        declared = registry.specs()[cells["backend"].strip("`")].capabilities
        assert (cells["second order"] == "yes") is declared.second_order
        assert (cells["complex"] == "yes") is declared.complex


# -------------------------------------------------------------------- unigrad conformance


def test_conformance_in_a_log_has_no_control_codes_and_few_lines_of_progress() -> None:
    done = program("conformance", "--backend", "numpy", "--op", "concatenation")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert 1 <= len(re.findall(r"^ *\d+ %", done.stdout, re.MULTILINE)) <= 10
    assert "PASSED" in done.stdout


def test_a_log_that_knows_ascii_only_is_no_error() -> None:
    done = program("backends", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr


def test_conformance_writes_what_it_found(tmp_path: Path, capsys: Capture) -> None:
    html, data = tmp_path / "report.html", tmp_path / "report.json"
    command = ["conformance", "--backend", "numpy", "--op", "concatenation", "--order", "1"]
    assert main([*command, "--html", str(html), "--json", str(data)]) == 0
    assert str(html) in capsys.readouterr().out
    found = json.loads(data.read_text("utf-8"))
    assert found["ok"] is True
    assert found["versions"]["backends"] == {"numpy": ug.backends()["numpy"].version}
    assert found["versions"]["unigrad"] == ug.__version__
    assert "optree" in found["versions"]["distributions"]
    assert {o["order"] for o in found["outcomes"]} == {1}
    assert {o["op"] for o in found["outcomes"]} == {"concatenation"}
    assert found["summary"]["passed"] == sum(row["passed"] for row in found["table"]) > 0
    assert "Passed" in html.read_text("utf-8")


def test_a_scenario_can_be_named(capsys: Capture) -> None:
    name = next(s.name for s in testing.SCENARIOS if s.family == "concatenation")
    chosen = conformance.Selection(ops=[name]).scenarios()
    assert chosen is not None
    assert {s.name for s in chosen} == {name}


def test_an_unknown_op_is_a_clear_error(capsys: Capture) -> None:
    assert main(["conformance", "--op", "linalgg"]) == 2
    assert "did you mean 'linalg'?" in " ".join(capsys.readouterr().err.split())


def test_nothing_to_run_is_an_error(capsys: Capture) -> None:
    name = next(s.name for s in testing.NEGATIVES if s.order == 1)
    command = ["conformance", "--backend", "numpy", "--op", name, "--order", "3"]
    assert main(command) == 2
    assert "no case is left" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "run", None)
    assert main(["conformance", "--html", str(tmp_path / "missing" / "report.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_failure_is_told_and_ends_with_1(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = dataclasses.replace(FAILED, backend="numpy")
    monkeypatch.setattr(testing, "run", lambda *a, **k: Report((outcome,)))
    assert main(["conformance", "--backend", "numpy"]) == 1
    out = capsys.readouterr().out
    assert "elementwise/<exp>:grad, order 1" in out
    assert "off & wrong" in out
    assert "FAILED" in out


def test_two_backends_that_disagree_end_with_1(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = dataclasses.replace(APART, first="numpy")
    one = dataclasses.replace(PASSED, backend="numpy")
    two = dataclasses.replace(PASSED, backend="two")
    monkeypatch.setattr(testing, "run", lambda *a, **k: Report((one, two), (pair,)))
    assert main(["conformance", "--backend", "numpy"]) == 1
    assert "they differ by 1.00e-03 relative" in capsys.readouterr().out


# -------------------------------------------------------------------- reports


def test_a_tally_counts_and_keeps_the_worst() -> None:
    single = dataclasses.replace(PASSED, scenario="exp (float32)", relative_error=1e-7, ulps=3.0)
    tally = Tally.of([PASSED, single])
    assert (tally.passed, tally.failed, tally.relative_error, tally.ulps) == (2, 0, 1e-16, 3.0)
    lost = Tally.of([PASSED, dataclasses.replace(FAILED, relative_error=float("nan"))])
    assert lost.relative_error != lost.relative_error  # NaN is the worst, and is not lost


def test_the_same_trouble_is_told_once() -> None:
    outcomes = [
        dataclasses.replace(FAILED, backend=backend, operator=operator)
        for operator in ("grad", "vjp")
        for backend in ("one", "two")
    ]
    (trouble,) = troubles(Report(tuple(outcomes)))
    assert trouble.who == "one, two"
    assert [case.rpartition(":")[2] for case in trouble.cases] == ["grad, order 1", "vjp, order 1"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_is_json_whatever_the_numbers(number: float) -> None:
    outcome = dataclasses.replace(FAILED, relative_error=number)
    text = to_json(Report((outcome,)), ONE_TWO, 1.0)

    def never(constant: str) -> Any:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=never)["outcomes"][0]["relative_error"] == str(number)


@pytest.mark.parametrize("make", [lambda: BAD, lambda: Report((PASSED,))])
def test_the_html_report_needs_nothing_else_and_escapes(make: Callable[[], Report]) -> None:
    text = to_html(make(), ONE_TWO, 1.0)
    assert text.startswith("<!doctype html>")
    for outside in ("http:", "https:", "<script", "src=", "<link", "@import", "url("):
        assert outside not in text
    assert "<exp>" not in text
    if not make().ok:
        assert "elementwise/&lt;exp&gt;:grad, order 1" in text
        assert "off &amp; wrong" in text
    for tag in ("section", "table", "tr", "details", "ul", "span", "td", "div"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag
