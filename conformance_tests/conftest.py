"""Fixtures of this repository's own tests; options and backends come from the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from unigrad.testing import read_known_gaps

# Helpers that import MXNet, which may be missing: the modules that use them skip with its name.
collect_ignore = [f"unit/mxnet_{name}.py" for name in ("cases", "derivatives", "jitted", "layers")]


@pytest.fixture(scope="session")
def known_gaps() -> Mapping[str, Mapping[str, str]]:
    """What backends are known not to do beyond what they declare, by backend and case."""
    return read_known_gaps(Path(__file__).parent / "known_gaps")
