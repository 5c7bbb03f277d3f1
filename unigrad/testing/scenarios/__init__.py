"""Scenarios by family, one file each. A new scenario is one entry in one of these files."""

from __future__ import annotations

from unigrad.testing.scenario import Scenario
from unigrad.testing.scenarios import (
    branches,
    broadcasting,
    complex_numbers,
    concatenation,
    curvature,
    elementwise,
    images,
    indexing,
    kinks,
    known_wrong_answers,
    linalg,
    networks,
    products,
    reductions,
    sequences,
    softmax,
    statistics,
)

__all__ = ["SCENARIOS"]

SCENARIOS: tuple[Scenario, ...] = (
    *elementwise.SCENARIOS,
    *broadcasting.SCENARIOS,
    *reductions.SCENARIOS,
    *products.SCENARIOS,
    *indexing.SCENARIOS,
    *concatenation.SCENARIOS,
    *softmax.SCENARIOS,
    *linalg.SCENARIOS,
    *images.SCENARIOS,
    *networks.SCENARIOS,
    *sequences.SCENARIOS,
    *statistics.SCENARIOS,
    *curvature.SCENARIOS,
    *branches.SCENARIOS,
    *kinks.SCENARIOS,
    *complex_numbers.SCENARIOS,
    *known_wrong_answers.SCENARIOS,
)
