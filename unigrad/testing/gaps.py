"""Known gaps: what a backend is known not to do. One that starts to pass fails the run.

What an adapter declares in its `Capabilities` is a gap by itself and is not listed: there the
promised error must be raised. Anything else is listed with its reason.
"""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping
from pathlib import Path

from unigrad.backend import Backend
from unigrad.errors import (
    HigherOrderError,
    NotDifferentiableError,
    UnigradError,
    UnsupportedError,
)
from unigrad.testing.case import Case
from unigrad.testing.scenario import Scenario

__all__ = ["declared_gap", "listed_gap", "read_known_gaps"]


def declared_gap(backend: Backend, case: Case) -> tuple[str, tuple[type[UnigradError], ...]] | None:
    """Why the backend declares that it cannot run the case, and what it must raise instead."""
    can, scenario = backend.capabilities, case.scenario
    if not isinstance(scenario, Scenario):
        return None
    higher = (HigherOrderError,) if case.order >= 2 and not can.second_order else ()
    if scenario.complex and not can.complex:
        return "no complex arrays", (UnsupportedError, NotDifferentiableError, *higher)
    if "custom_vjp" in scenario.tags and not can.custom_vjp:
        return "no custom derivative rules", (UnsupportedError, *higher)
    if case.order >= 2 and not can.second_order:
        return "no second order", (HigherOrderError,)
    return None


def listed_gap(gaps: Mapping[str, str], case: Case) -> str | None:
    """The reason of the first pattern that matches the case's id."""
    for pattern, reason in gaps.items():
        if fnmatch.fnmatchcase(case.id, pattern):
            return reason
    return None


def read_known_gaps(folder: Path) -> dict[str, dict[str, str]]:
    """Patterns and reasons by backend, from files ``<backend>.toml`` of ``"pattern" = "reason"``.

    A pattern is that of `fnmatch` on ``family/name (transformer):operator``.
    """
    return {
        file.stem: {str(k): str(v) for k, v in tomllib.loads(file.read_text("utf-8")).items()}
        for file in sorted(folder.glob("*.toml"))
    }
