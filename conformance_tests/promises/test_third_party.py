"""An adapter written elsewhere, in under 100 lines, is discovered and conforms.

The distribution in ``fixtures/unigrad_dual`` is installed into a folder of its own and found by
its entry point in a fresh process; nothing in unigrad knows of it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "unigrad_dual"

# The fixture's namespace has a handful of functions; `unigrad.ops` needs more of them in these.
GAPS = {
    "curvature": ["relu squared"],
    "elementwise": ["gelu", "sigmoid", "silu", "softplus"],
    "images": ["conv2d", "max_pool2d"],
    "indexing": ["ops.take_along_axis"],
    "kinks": [
        *("abs", "atan2", "clip", "leaky_relu", "max", "min", "norm", "power at", "prod", "relu"),
        *("sqrt", "std"),
    ],
    "known wrong answers": ["custom rule"],
    "negative": ["integer output"],
    "networks": ["CNN", "MLP", "ReLU MLP", "gated activations"],
    "reductions": ["ops.prod", "ops.std"],
    "softmax": ["ops."],
    "statistics": ["Gaussian mixture likelihood", "softmax regression"],
}
PATTERNS = {
    f"{family}/{name}*": "unigrad.ops needs functions that this namespace has not"
    for family, names in GAPS.items()
    for name in names
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The fixture distribution as pip would leave it: the module and its metadata."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "unigrad_dual.py").write_text((FIXTURE / "unigrad_dual.py").read_text())
    info = folder / "unigrad_dual-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unigrad-dual\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[unigrad.backends]\ndual = unigrad_dual:DualBackend\n")
    return folder


def _python(folder, code):
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout.split()


def test_the_fixture_is_under_a_hundred_lines():
    """Of code and documentation, blank lines not counted."""
    lines = (FIXTURE / "unigrad_dual.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) < 100


def test_the_entry_point_is_what_the_fixture_declares():
    """What the test installs is what pip would install."""
    import tomllib

    project = tomllib.loads((FIXTURE / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["unigrad.backends"] == {"dual": "unigrad_dual:DualBackend"}


def test_it_is_discovered_and_works(installed):
    """Listed, detected by the type of its arrays, switched to, converted from and to."""
    code = """
import numpy as np, unigrad as ug
info = ug.backends()["dual"]
assert info.installed and not info.capabilities.second_order
x = ug.asarray(np.array([1.0, 2.0]), backend="dual")
assert type(x).__name__ == "Dual"
f = lambda x: ug.array_namespace(x).sum(x * x * x)
print(*ug.to_numpy(ug.grad(f)(x)), ug.to_numpy(ug.jvp(f, x, x)[1]))
with ug.use("dual"):
    print(type(ug.grad(lambda x: x * x)(3.0)).__name__)
for call in (lambda: ug.hvp(f, x, x), lambda: ug.hessian(f)(x),
             lambda: ug.grad(lambda x: f(ug.grad(f)(x)))(x),
             lambda: ug.grad(lambda y: f(ug.grad(lambda z: f(y * z))(x)))(x)):
    try:
        call()
    except ug.errors.HigherOrderError as error:
        assert "dual" in str(error)
    else:
        raise AssertionError("a wrong second order")
"""
    assert _python(installed, code) == ["3.0", "12.0", "27.0", "Dual"]


def test_it_passes_the_conformance_suite(installed):
    """`unigrad.testing.check`, with what its namespace has not listed as known gaps."""
    code = f"""
from unigrad import testing
report = testing.check("dual", known_gaps={PATTERNS!r})
print(sum(o.status == "passed" for o in report.outcomes))
"""
    assert int(_python(installed, code)[0]) > 200


def test_a_planted_mistake_in_it_is_caught(installed):
    """The same adapter with a wrong rule for sin does not conform."""
    code = """
import numpy as np, unigrad_dual
from unigrad import testing
unigrad_dual.DualBackend.xp.sin = unigrad_dual.smooth(np.sin, lambda x, t: 1.001 * np.cos(x) * t)
try:
    testing.check("dual", known_gaps={})
except testing.ConformanceError as error:
    assert "elementwise/sin" in str(error) or "sin" in str(error)
    print("caught")
"""
    assert _python(installed, code) == ["caught"]


def test_a_broken_plugin_does_not_break_unigrad(tmp_path):
    """An adapter that does not import is listed with its reason; the others work."""
    (tmp_path / "unigrad_broken.py").write_text("import a_framework_that_is_not_there\n")
    info = tmp_path / "unigrad_broken-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unigrad-broken\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[unigrad.backends]\nbroken = unigrad_broken:spec\n")
    code = """
import unigrad as ug
assert ug.grad(lambda x: x * x)(3.0) == 6.0
info = ug.backends()["broken"]
assert not info.installed and "a_framework_that_is_not_there" in info.reason, info
try:
    ug.get_backend("broken")
except ug.errors.BackendNotAvailableError as error:
    assert "a_framework_that_is_not_there" in str(error), error
    print("told")
"""
    assert _python(tmp_path, code) == ["told"]
