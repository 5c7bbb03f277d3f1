"""Every backend × scenario × operator against the reference, and the backends pairwise.

Ids are ``family/name (transformer):operator``; choose with ``-k`` and ``--backend``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

import unigrad as ug
from unigrad.backend import Backend
from unigrad.testing import Case, FromPrimitives, Negative, Result, cases, compare, run_case
from unigrad.testing.pytest_plugin import load_or_skip, selected_backends

Gaps = Mapping[str, Mapping[str, str]]

BUILT_IN = {"numpy", "torch", "tensorflow", "jax", "mxnet"}

# One worker of pytest-xdist runs all of a family, so that a result is computed once.
ALL = [
    pytest.param(case, id=case.id, marks=pytest.mark.xdist_group(case.scenario.family))
    for case in cases()
]
PLAIN = [
    param
    for param in ALL
    if not param.values[0].transformer and not isinstance(param.values[0].scenario, Negative)
]
CORE = [param for param in PLAIN if "core" in param.values[0].scenario.tags]

_results: dict[tuple[str, str], Result] = {}


def result_of(backend: Backend, case: Case, gaps: Gaps) -> Result:
    """The result of a case on a backend; run once in each process."""
    key = (backend.name, case.id)
    if key not in _results:
        _results[key] = run_case(backend, case, gaps.get(backend.name, {}))
    return _results[key]


def judge(result: Result) -> None:
    outcome = result.outcome
    if outcome.status == "failed":
        pytest.fail(outcome.message, pytrace=False)
    if outcome.status == "known gap":
        pytest.xfail(outcome.message)
    if outcome.status == "skipped":
        lacks = outcome.message.startswith("the namespace has no")
        if lacks and outcome.backend in BUILT_IN:
            pytest.fail(f"{outcome.message}: what we ship has them all", pytrace=False)
        pytest.skip(outcome.message)


@pytest.mark.parametrize("case", ALL)
def test_backend(case: Case, backend: Backend, known_gaps: Gaps) -> None:
    judge(result_of(backend, case, known_gaps))


@pytest.mark.parametrize("case", PLAIN)
def test_backends_agree(case: Case, known_gaps: Gaps, request: pytest.FixtureRequest) -> None:
    """On the same bits of input, pairwise; the reference takes no part."""
    infos = ug.backends()
    names = [n for n in selected_backends(request.config) if infos[n].installed]
    if len(names) < 2:
        pytest.skip("fewer than two backends are installed")
    results = [result_of(load_or_skip(name), case, known_gaps) for name in names]
    apart = []
    for first, second in itertools.combinations(results, 2):
        pair = compare(case, first, second)
        if pair is not None and not pair.ok:
            apart.append(
                f"{pair.first} and {pair.second} are {pair.relative_error:.2e} apart "
                f"({pair.ulps:.0f} ULPs), allowed {pair.tolerance:.0e}"
            )
    assert not apart, "; ".join(apart)


@pytest.mark.parametrize("case", CORE)
def test_derived_path(case: Case, backend: Backend) -> None:
    """The same with every optional override of the adapter hidden."""
    judge(run_case(FromPrimitives(backend), case))
