"""What docs/generate.py writes is up to date, and the kinks that it shows are those of S18."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import unigrad as ug

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = [name for name, info in ug.backends().items() if info.installed]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def pinned_column(page: Path) -> dict[str, str]:
    """The last column of the table in docs/kinks.md, by probe."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    return {row[0]: row[-1] for row in rows}


@pytest.mark.parametrize("backend", INSTALLED)
def test_the_ops_have_the_derivatives_that_the_page_shows(
    generate: ModuleType, backend: str
) -> None:
    """S18: at each kink of docs/kinks.md, on what is installed here."""
    shown = pinned_column(generate.KINKS)
    measured = {p.title: generate.measured(p.ops, p.point, backend) for p in generate.PROBES}
    assert measured == shown


def check(*options: str) -> None:
    """``--check`` in a process of its own: tests may have registered backends in this one."""
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"type: python docs/generate.py\n{done.stdout}{done.stderr}"


def test_tables_of_what_is_declared_are_up_to_date() -> None:
    """The capabilities in README.md, and what the pages say of MXNet's operators."""
    check("--declared")


def test_kinks_are_up_to_date(generate: ModuleType) -> None:
    """The whole page, natives included, on the versions that it names."""
    if generate.versions() not in generate.KINKS.read_text(encoding="utf-8"):
        pytest.skip(f"docs/kinks.md was measured with other versions than {generate.versions()}")
    check()
