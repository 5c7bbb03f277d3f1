"""The testing package: its data, its references, its report and its wrappers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ArgumentError
from unigrad.testing import (
    NEGATIVES,
    SCENARIOS,
    FromPrimitives,
    Null,
    Scenario,
    cases,
    difference,
    read_known_gaps,
    run,
)
from unigrad.testing.reference import reference

CLOSED = [s for s in SCENARIOS if s.gradient is not None and s.tags.isdisjoint({"kink"})]


def test_there_are_enough_scenarios() -> None:
    assert len(SCENARIOS) >= 60
    assert len({s.family for s in SCENARIOS}) >= 15


def test_ids_are_unique() -> None:
    for ids in ([s.id for s in SCENARIOS], [n.id for n in NEGATIVES], [c.id for c in cases()]):
        assert len(set(ids)) == len(ids)


def test_a_scenario_lives_in_the_file_of_its_family() -> None:
    assert {s.family for s in SCENARIOS} >= {"elementwise", "linalg", "kinks", "complex"}


def test_looser_tolerances_have_reasons() -> None:
    for s in SCENARIOS:
        loose = max(s.tolerance, s.agreement) > 1e-12 or s.float32_tolerance > 1e-5
        assert not loose or len(s.reason) > 20, s.id


def test_a_loose_scenario_without_reason_is_refused() -> None:
    with pytest.raises(ArgumentError, match="reason="):
        dataclasses.replace(SCENARIOS[0], tolerance=1e-3)


def test_a_scenario_without_reference_is_refused() -> None:
    with pytest.raises(ArgumentError, match="oracle="):
        Scenario("nothing known", "elementwise", lambda xp, x: x, (np.ones(2),))


def closed_forms(scenario: Scenario) -> bool:
    usual = "stop_gradient" not in scenario.name and scenario.size > 0
    return usual and not scenario.complex and not scenario.reason


@pytest.mark.parametrize("scenario", [s for s in CLOSED if closed_forms(s)], ids=lambda s: s.id)
def test_closed_forms_agree_with_differences(scenario: Scenario) -> None:
    """The reference is checked too: each formula against differences of the plain value."""
    blind = dataclasses.replace(
        scenario, gradient=None, hvp=None, oracle="differences", step=1e-3, reason="a test"
    )
    known, found = reference(scenario), reference(blind)
    with np.errstate(all="ignore"):
        assert difference(found.gradient, known.gradient)[0] < 1e-8
        if scenario.hvp is not None and np.any(known.product[0]):
            assert difference(found.product, known.product)[0] < 1e-5


@pytest.mark.parametrize(
    ("name", "direction", "product"),
    [
        ("Rosenbrock", (1.0, 2.0), (2290.0, 880.0)),
        ("monomial and sine", (1.0, -1.0), (2.0, 2.9092974268)),
        ("relu squared", (1.0, 1.0, 1.0), (0.0, 0.0, 2.0)),
        ("sum of tanh squared", (1.0, 2.0), (0.5652092883, -1.2432533615)),
        ("sum of squares of a linear map", (1.0, 2.0), (8.5, 23.0)),
        ("linear function", (1.0, 2.0, 3.0), (0.0, 0.0, 0.0)),
    ],
)
def test_known_curvatures(
    backend: ug.Backend, name: str, direction: tuple[float, ...], product: tuple[float, ...]
) -> None:
    if not backend.capabilities.second_order:
        pytest.skip("no second order")
    scenario = next(s for s in SCENARIOS if s.name == name)
    args = ug.asarray(scenario.args, backend=backend)
    data = ug.asarray(scenario.data, backend=backend)
    v = ug.asarray(np.array(direction), backend=backend)
    got = ug.hvp(lambda x: scenario.f(backend.xp, x, *data), args, v)
    np.testing.assert_allclose(backend.to_numpy(got), product, rtol=2e-10)


def test_difference_of_infinities() -> None:
    a = np.array([1.0, np.inf, np.nan])
    assert difference([a], [a]) == (0.0, 0.0)
    assert difference([a], [np.array([1.0, -np.inf, np.nan])])[0] == np.inf
    assert difference([a], [np.array([1.0, np.inf, 2.0])])[0] == np.inf
    assert difference([np.ones(2)], [np.ones(3)])[0] == np.inf


def test_difference_is_relative_to_the_largest_entry() -> None:
    relative, ulps = difference([np.array([1e-17, 2.0])], [np.array([0.0, 2.0])])
    assert relative == 5e-18
    assert ulps < 1


def test_run_selects_and_reports_progress() -> None:
    seen: list[tuple[int, int, str]] = []
    report = run(
        ["numpy"],
        ops=["concatenation"],
        orders=[2],
        progress=lambda done, total, label: seen.append((done, total, label)),
    )
    assert report.ok
    assert {o.op for o in report.outcomes} == {"concatenation"}
    assert {o.order for o in report.outcomes} == {2}
    assert seen[0][0] == 0
    assert seen[-1] == (len(report.outcomes), len(report.outcomes), "done")
    outcome = report.outcomes[0]
    assert outcome.relative_error is not None
    assert outcome.relative_error < 1e-12
    assert outcome.id in {c.id for c in cases()}


def test_known_gaps_are_read_by_backend(tmp_path: Path) -> None:
    (tmp_path / "torch.toml").write_text('"linalg/*:grad" = "a reason"\n')
    assert read_known_gaps(tmp_path) == {"torch": {"linalg/*:grad": "a reason"}}


def test_from_primitives_hides_every_override(backend: ug.Backend) -> None:
    derived = FromPrimitives(backend)
    assert derived.name == f"{backend.name} from primitives"
    assert not derived.capabilities.native
    for name in ("value_and_grad", "jvp", "hvp", "batched_pullback", "functional"):
        assert getattr(type(derived), name) is getattr(ug.Backend, name), name
    assert not derived.ops


def test_null_measures_overhead_only() -> None:
    null = Null()
    x = np.array([3.0, 4.0])
    value, gradient = ug.value_and_grad(lambda x: x[0] * 2, backend=null)(x)
    assert value == 6.0
    np.testing.assert_array_equal(gradient, x)


def test_testing_needs_no_pytest_and_no_framework() -> None:
    code = (
        "import sys, unigrad.testing; unigrad.testing.cases(); "
        "print(*({'pytest', 'torch', 'tensorflow', 'jax', 'mxnet', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
