"""Conformance: scenarios as data, checks as functions, for any adapter; needs no pytest.

One line tests an adapter: ``unigrad.testing.check("mine")``.
"""

from unigrad.testing.case import Case, cases
from unigrad.testing.comparison import difference
from unigrad.testing.gaps import read_known_gaps
from unigrad.testing.negatives import NEGATIVES
from unigrad.testing.report import ConformanceError, Outcome, Pair, Report
from unigrad.testing.runner import Result, check, compare, run, run_case
from unigrad.testing.scenario import Negative, Scenario
from unigrad.testing.scenarios import SCENARIOS
from unigrad.testing.wrappers import FromPrimitives, Null, Wrapper

__all__ = [
    # running
    "check",
    "run",
    "ConformanceError",
    "Outcome",
    "Pair",
    "Report",
    # scenarios
    "NEGATIVES",
    "SCENARIOS",
    "Negative",
    "Scenario",
    # one case at a time
    "Case",
    "Result",
    "cases",
    "compare",
    "difference",
    "read_known_gaps",
    "run_case",
    # adapters made of adapters
    "FromPrimitives",
    "Null",
    "Wrapper",
]
