"""Keras 3 models as functions of their weights, on each of Keras' backends.

Keras has one backend a process, so each runs in processes of its own; what they check is in
`conformance_tests.models.keras_checks` and `.keras_derivatives`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import unigrad as ug

pytest.importorskip("keras")

ROOT = Path(__file__).parents[2]
GROUPS = ("dense", "recurrent", "bidirectional", "training")
BACKENDS = ("tensorflow", "jax", "torch")


def checked(backend: str, module: str, *arguments: str) -> str:
    """What the checks print; fails with what they say."""
    info = ug.backends()[backend]
    if not info.installed:
        pytest.skip(info.reason)
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", f"conformance_tests.models.{module}", *arguments],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls(backend: str) -> None:
    """Names, modes, state, seeds, purity, threads and refusals."""
    assert checked(backend, "keras_checks").count("ok ") == 11


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives(backend: str, group: str) -> None:
    """Gradients as the framework's own, curvature, compiled code, training, layers for port."""
    assert "ok " in checked(backend, "keras_derivatives", group)


def test_a_backend_without_derivatives() -> None:
    """Keras on NumPy is refused with what to set."""
    code = (
        "import keras, unigrad as ug\n"
        "model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])\n"
        "try:\n    ug.functional(model)\n"
        "except ug.errors.UnsupportedError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "KERAS_BACKEND to tensorflow, jax or torch" in done.stdout
