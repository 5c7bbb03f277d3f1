"""What is built and shipped: packages, typing markers, entry points, layers, no local paths."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("numpy", "torch", "tensorflow", "jax", "mxnet")
IN_TREE = (ROOT / "unigrad" / "__init__.py").exists()
pytestmark = pytest.mark.skipif(not IN_TREE, reason="runs in a checkout")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_typed_and_shipped(project):
    """py.typed in each, and each in the wheel's list."""
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for package in ("unigrad", *[f"backends/unigrad_{name}" for name in PACKAGES]):
        assert package in shipped
        assert (ROOT / package / "py.typed").exists()
        assert (ROOT / package / "__init__.py").exists()
    found = {p.parent.name for p in ROOT.glob("backends/*/__init__.py")}
    assert found == {f"unigrad_{name}" for name in PACKAGES}


def test_entry_points_are_the_adapters(project):
    """One entry point an adapter, named as its spec names itself."""
    declared = project["project"]["entry-points"]["unigrad.backends"]
    assert set(declared) == set(PACKAGES)
    for name, target in declared.items():
        module, _, attribute = target.partition(":")
        assert getattr(importlib.import_module(module), attribute).name == name
    installed = {entry.name for entry in entry_points(group="unigrad.backends")}
    assert set(declared) <= installed


def test_extras_and_python(project):
    """The extras that the errors' pip lines name exist; 3.11 is the floor."""
    extras = project["project"]["optional-dependencies"]
    assert {"torch", "jax", "tensorflow", "mxnet", "all", "test"} <= set(extras)
    assert project["project"]["requires-python"] == ">=3.11"
    for name in PACKAGES:
        line = importlib.import_module(f"unigrad_{name}").spec.install
        for extra in re.findall(r"unigrad\[(\w+)\]", line):
            assert extra in extras


def test_hard_dependencies_are_few(project):
    """No framework, and neither SciPy nor pytest, is needed to install unigrad."""
    names = {re.split(r"[<>=!~ ;\[]", d)[0] for d in project["project"]["dependencies"]}
    assert names <= {"array-api-compat", "numpy", "optree", "rich"}


def _sources():
    for pattern in ("unigrad/**/*", "backends/**/*", "conformance_tests/**/*", "docs/**/*", "*.*"):
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yml", ".cfg", ".txt"}:
                yield path


def test_nothing_points_outside_the_repository():
    """No path of somebody's machine, no sibling folder, no registry's host."""
    forbidden = re.compile(
        "|".join([r"\.\./" + "shared", "/" + r"work/(?!flow)", "/" + r"root/", "/" + r"home/\w+"])
    )
    for path in _sources():
        text = path.read_text(encoding="utf-8")
        found = forbidden.search(text)
        assert found is None, f"{path.relative_to(ROOT)}: {found.group()}"


def _imports(path):
    import ast

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_no_framework_is_imported_by_the_core():
    """Statically: nothing in unigrad/ imports a framework, nor an adapter."""
    forbidden = {"torch", "tensorflow", "jax", "jaxlib", "mxnet", "keras", "flax"}
    forbidden |= {f"unigrad_{name}" for name in PACKAGES}
    for path in (ROOT / "unigrad").rglob("*.py"):
        for name in _imports(path):
            assert name.partition(".")[0] not in forbidden, f"{path.relative_to(ROOT)}: {name}"


def test_adapters_use_the_contract_only():
    """Adapters import the contract and what is written for them; NumPy and MXNet the engine too."""
    contract = {"unigrad.backend", "unigrad.errors", "unigrad.stateless", "unigrad.layouts"}
    allowed = contract | {"unigrad.surroundings", "unigrad.whole_surroundings", "unigrad"}
    for name in PACKAGES:
        more = {"unigrad.engine"} if name in ("numpy", "mxnet") else set()
        for path in (ROOT / "backends" / f"unigrad_{name}").rglob("*.py"):
            for module in _imports(path):
                if module.partition(".")[0] == "unigrad":
                    parent = ".".join(module.split(".")[:2])
                    assert parent in allowed | more, f"{path.relative_to(ROOT)}: {module}"


def test_files_stay_small():
    """No source file over 500 lines."""
    for folder in ("unigrad", "backends", "conformance_tests"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines"


@pytest.mark.skipif(
    os.environ.get("UNIGRAD_BUILD_WHEEL") != "1", reason="slow: UNIGRAD_BUILD_WHEEL=1 builds it"
)
def test_the_wheel_holds_what_is_imported(tmp_path):
    """The built wheel: every package, its markers and data, and nothing of the tests."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("unigrad", *[f"unigrad_{name}" for name in PACKAGES]):
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    source = {
        str(path.relative_to(ROOT if path.is_relative_to(ROOT / "unigrad") else ROOT / "backends"))
        for folder in ("unigrad", "backends")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in {".pyc"} and path.name != "README.md"
    }
    assert source <= names, source - names
    assert not [name for name in names if "conformance_tests" in name or name.startswith("docs")]
