"""All frameworks' numbers, each measured in a process of its own: Keras has one backend in each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance_tests.models.measure import FRAMEWORKS, NEEDS

# They import a framework, which may be missing, and no test is in them.
collect_ignore_glob = ["*_nets.py", "keras_*.py"]

ROOT = Path(__file__).parents[2]
JOBS = 2
"""Processes at a time."""

Numbers = dict[str, np.ndarray[Any, Any]]


class Measured:
    """What every framework measured; the processes start at the first question."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(JOBS)
        self._found: dict[str, Future[Numbers]] = {}

    def installed(self) -> list[str]:
        """The frameworks that are here."""
        return [name for name in FRAMEWORKS if not missing(name)]

    def __call__(self, framework: str) -> Numbers:
        """One framework's numbers; where it is missing the test is skipped, or fails."""
        for name in missing(framework):
            if os.environ.get("UNIGRAD_REQUIRE_ALL") == "1":
                pytest.fail(f"{name} is required, but not installed", pytrace=False)
            pytest.skip(f"{name} is not installed")
        if not self._found:
            self._found = {n: self._pool.submit(self._measure, n) for n in self.installed()}
        return self._found[framework].result()

    def close(self) -> None:
        """Start no more processes."""
        self._pool.shutdown(cancel_futures=True)

    def _measure(self, framework: str) -> Numbers:
        out = self._folder / f"{framework}.npz"
        command = [sys.executable, "-m", "conformance_tests.models.measure", framework, str(out)]
        environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # they take longer
        if framework.startswith("keras"):
            environment["KERAS_BACKEND"] = framework.removeprefix("keras-")
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        with np.load(out) as found:
            return dict(found)


def missing(framework: str) -> list[str]:
    """The distributions that a framework lacks here."""
    return [name for name in NEEDS[framework] if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """``measured("keras-jax")``: its numbers by ``architecture/dtype/what``."""
    found = Measured(tmp_path_factory.mktemp("models"))
    yield found
    found.close()
