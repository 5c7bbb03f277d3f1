"""`import unigrad` loads NumPy and optree, no framework, and nothing that only some calls need."""

import os
import subprocess
import sys

import pytest

import unigrad as ug

FRAMEWORKS = ("torch", "tensorflow", "jax", "jaxlib", "mxnet", "keras", "flax")
HEAVY = (
    "scipy",
    "rich",
    "matplotlib",
    "pytest",
    "array_api_compat.torch",
    "array_api_compat.numpy",
)


def python(code, *options):
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "UNIGRAD_BACKEND"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def _loaded(before):
    names = [*FRAMEWORKS, *HEAVY]
    return python(f"{before}\nimport sys\nprint(*[m for m in {names!r} if m in sys.modules])")


def test_import_loads_no_framework_and_nothing_heavy():
    """The promise of the README: unigrad itself is NumPy and optree."""
    assert _loaded("import unigrad") == []


def test_the_numpy_backend_loads_no_framework():
    """Nor does work on NumPy arrays, or the question which backends there are."""
    code = (
        "import numpy as np, unigrad as ug\n"
        "ug.hvp(lambda x: np.sum(x**3), np.ones(2), np.ones(2))\n"
        "repr(ug.backends())"
    )
    assert not set(_loaded(code)) & set(FRAMEWORKS)


def test_import_prints_and_warns_nothing():
    """Also with every warning an error."""
    assert python("import unigrad, unigrad_numpy", "-W", "error") == []


def test_an_adapter_package_imports_without_its_framework():
    """The spec of an adapter is data; its framework comes with the adapter itself."""
    names = ["numpy", "torch", "tensorflow", "jax", "mxnet"]
    assert not set(_loaded("".join(f"import unigrad_{n}\n" for n in names))) & set(FRAMEWORKS)


_PURE = """
import importlib, os, sys, warnings
import numpy as np
from types import ModuleType

def state():
    found = {{
        "numpy": {{k: id(v) for k, v in vars(np).items() if not isinstance(v, ModuleType)}},
        "errors": np.geterr(),
        # KMP_*: MXNet itself sets them when it is imported.
        "environment": {{k: v for k, v in os.environ.items() if not k.startswith("KMP_")}},
        "random": repr(np.random.get_state()),
    }}
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    tf, mx, keras = (sys.modules.get(m) for m in ("tensorflow", "mxnet", "keras"))
    if torch is not None:
        found["torch"] = (torch.get_default_dtype(), torch.is_grad_enabled())
    if jax is not None:
        found["jax"] = dict(jax.config.values)
    if tf is not None:
        found["tf"] = tf.executing_eagerly()
    if mx is not None:
        found["mx"] = (mx.util.is_np_array(), mx.util.is_np_shape())
    return found

{first}
before = state()
import unigrad as ug
ug.get_backend({name!r})
after = state()
for key, value in after.items():
    if key in before:
        assert value == before[key], (key, before[key], value)
"""


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow", "jax", "mxnet"])
def test_s5_loading_an_adapter_changes_nothing(name):
    """S5: after the framework itself is there, its adapter moves no flag and no name of NumPy."""
    info = ug.backends()[name]
    if not info.installed:
        if os.environ.get("UNIGRAD_REQUIRE_ALL") == "1":
            pytest.fail(f"{name} is required, but {info.reason}")
        pytest.skip(f"{name}: {info.reason}")
    # MXNet 1.9.1 does not import on NumPy 1.24 and later by itself: its adapter sees to it.
    first = "" if name == "mxnet" else f"import {ug.registry.specs()[name].framework}"
    python(_PURE.format(first=first, name=name))
