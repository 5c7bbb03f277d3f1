"""Every Python example of README.md and docs/ runs, page by page, in one namespace.

A fenced block with ``>>>`` is a doctest; any other is executed, and a ``text`` fence right after
it is what it prints. HTML comments say the rest: ``<!-- needs: torch, jax -->`` before a block
(before the first heading: for the page), ``<!-- own process -->`` for a page that leaves traces.
"""

from __future__ import annotations

import contextlib
import contextvars
import doctest
import importlib.util
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REQUIRE_ALL = "UNIGRAD_REQUIRE_ALL"

_NEEDS = re.compile(r"<!-- needs: ([\w, ]+) -->")
_FENCE = re.compile(r"^( *)```(\w*)\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced Python block.

    Attributes:
        line: of its first line of code, counted from 1.
        needs: modules without which it is not run.
        printed: what it must print; ``None`` if the page does not say.
    """

    page: Path
    line: int
    source: str
    needs: frozenset[str]
    printed: str | None = None

    def run(self, namespace: dict[str, Any]) -> None:
        """Run it; whatever goes wrong is an error that names the page and the line."""
        name = f"{self.page.name}:{self.line}"
        if self.source.lstrip().startswith(">>>"):
            self._run_doctest(name, namespace)
            return
        out = io.StringIO()
        code = compile("\n" * (self.line - 1) + self.source, str(self.page), "exec")
        with contextlib.redirect_stdout(out):
            exec(code, namespace)
        if self.printed is not None:
            got = out.getvalue().rstrip()
            assert got == self.printed.rstrip(), f"{name} prints\n{got}\nnot\n{self.printed}"

    def _run_doctest(self, name: str, namespace: dict[str, Any]) -> None:
        options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        examples = doctest.DocTestParser().get_examples(self.source, name)
        # DocTest copies the namespace and the runner empties it: keep what was defined.
        test = doctest.DocTest(examples, namespace, name, str(self.page), self.line - 1, None)
        runner = doctest.DocTestRunner(optionflags=options)
        report = io.StringIO()
        runner.run(test, out=report.write, clear_globs=False)
        namespace.update(test.globs)
        assert runner.failures == 0, report.getvalue()


def blocks(page: Path) -> list[Block]:
    """The Python blocks of a page, in order."""
    found: list[Block] = []
    of_page: frozenset[str] = frozenset()
    of_block: frozenset[str] = frozenset()
    titled = False
    open_fence: tuple[str, int, list[str]] | None = None
    last_closed = -1
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if open_fence is not None:
            language, start, lines = open_fence
            if fence is None:
                lines.append(line)
                continue
            source = "\n".join(lines) + "\n"
            if language == "python":
                found.append(Block(page, start, source, of_page | of_block))
                of_block = frozenset()
                last_closed = number
            elif language == "text" and found and start - last_closed <= 3:
                b = found[-1]
                found[-1] = Block(b.page, b.line, b.source, b.needs, source)
            open_fence = None
            continue
        if fence is not None:
            open_fence = (fence[2], number + 1, [])
        elif (needs := _NEEDS.search(line)) is not None:
            named = frozenset(n.strip() for n in needs[1].split(","))
            if titled:
                of_block = named
            else:
                of_page = named
        elif line.startswith("#"):
            titled = True
    return found


def runs() -> list[tuple[Path, frozenset[str]]]:
    """Each page, once without frameworks and once for each set that some block needs."""
    return [
        (page, needs)
        for page in PAGES
        for needs in dict.fromkeys(
            sorted((b.needs for b in blocks(page)), key=lambda n: (len(n), sorted(n)))
        )
    ]


def run_page(page: Path, needs: frozenset[str]) -> None:
    """The blocks of a page that need no more than these modules, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.needs <= needs:
            block.run(namespace)


def pytest_generate_tests(metafunc: Any) -> None:
    if "needs" in metafunc.fixturenames:
        cases = runs()
        names = ["-".join([page.stem, *sorted(needs)]) for page, needs in cases]
        metafunc.parametrize(("page", "needs"), cases, ids=names)


def test_examples(page: Path, needs: frozenset[str]) -> None:
    """Every example of the page does what the page says."""
    import pytest

    missing = sorted(n for n in needs if importlib.util.find_spec(n) is None)
    if missing and os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{REQUIRE_ALL}=1, and not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if "<!-- own process -->" in page.read_text(encoding="utf-8"):
        command = [sys.executable, __file__, str(page), *sorted(needs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        contextvars.copy_context().run(run_page, page, needs)


def test_pages_are_found() -> None:
    """The collection cannot become empty unnoticed."""
    counted = {page.name: len(blocks(page)) for page in PAGES}
    for name in ("README.md", "quickstart.md", "semantics.md", "adding_a_backend.md"):
        assert counted[name] >= 1, counted


if __name__ == "__main__":
    run_page(Path(sys.argv[1]), frozenset(sys.argv[2:]))
