"""Fixtures of this repository's own tests; options and backends come from the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from unigrad.testing import read_known_gaps

# Helpers that import a framework that may be missing: modules that use them skip with its name.
_HELPERS = ("cases", "derivatives", "jitted", "layers")
collect_ignore = [
    "benchmarks/mxnet_curvature.py",
    "unit/jax_model_cases.py",
    *(f"unit/mxnet_{name}.py" for name in _HELPERS),
]


@pytest.fixture(scope="session")
def known_gaps() -> Mapping[str, Mapping[str, str]]:
    """What backends are known not to do beyond what they declare, by backend and case."""
    return read_known_gaps(Path(__file__).parent / "known_gaps")
