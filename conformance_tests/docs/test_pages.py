"""The pages hang together: links lead somewhere, and the README keeps its two commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import unigrad as ug

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "backends" / "README.md", ROOT / "conformance_tests" / "README.md"]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.skipif(not (ROOT / "backends").exists(), reason="this is not a whole checkout")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(linked), f"{page.name} links to {target}#{anchor}"


def test_readme_has_the_two_commands_that_ci_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^python3\.11 -m venv .*pytest.*$", text, flags=re.MULTILINE)) == 1
    assert len(re.findall(r"^python3 -m venv .*unigrad demo$", text, flags=re.MULTILINE)) == 1


def test_every_clause_has_its_section() -> None:
    text = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    numbers = [int(n) for n in re.findall(r"^## S(\d+)\. ", text, flags=re.MULTILINE)]
    assert numbers == list(range(1, 19))


def test_every_error_has_its_section() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    headings = "".join(re.findall(r"^## .*$", text, flags=re.MULTILINE))
    for name in ug.errors.__all__:
        if name not in ("UnigradError", "BackendError"):
            assert f"`{name}`" in headings, f"docs/errors.md says nothing of {name}"
