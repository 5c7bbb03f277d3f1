"""The demo: its numbers are right, and it notices when they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import unigrad as ug
from unigrad.cli import main
from unigrad.cli.demo import study
from unigrad.cli.demo.agreement import difference, direction, top_eigenvalue
from unigrad.cli.demo.objective import Model, Objective, Vector
from unigrad.cli.demo.oracle import taylor
from unigrad.cli.demo.screen import figures
from unigrad.cli.demo.training import train
from unigrad.data import digits

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def problem() -> tuple[Vector, Vector]:
    """The first hundred digits."""
    data = digits()
    return data.images[:100], data.labels[:100].astype(np.int32)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little training."""
    monkeypatch.setattr(study, "STEPS", {True: 3, False: 3})
    monkeypatch.setattr(study, "SHARED", 2)


def test_the_digits_are_those_of_the_source() -> None:
    source = pytest.importorskip("sklearn.datasets").load_digits()
    data = digits()
    np.testing.assert_array_equal(data.images * 16, source.data)
    np.testing.assert_array_equal(data.labels, source.target)
    assert (data.images.dtype, data.labels.dtype) == (np.float64, np.int64)


def test_the_oracle_is_right_where_the_derivatives_are_known(
    problem: tuple[Vector, Vector],
) -> None:
    images, labels = problem
    model = Model("logistic regression", (64, 10))
    v = direction(model.start.size, 0)
    w, b = model.unpack(model.start)[0]
    dw, db = model.unpack(v)[0]
    z, dz = images @ w + b, images @ dw + db
    p = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
    slope = np.mean(np.sum(p * dz, axis=1) - dz[np.arange(100), labels]) + 2e-3 * np.sum(w * dw)
    curvature = np.mean(np.sum(p * dz**2, axis=1) - np.sum(p * dz, axis=1) ** 2)
    curvature += 2e-3 * np.sum(dw**2)
    _, found_slope, found_curvature = taylor(model, model.start, v, images, labels)
    assert difference(found_slope, float(slope)) < 1e-12
    assert difference(found_curvature, float(curvature)) < 1e-12


@pytest.mark.parametrize("sizes", [(64, 10), (64, 8, 10), (64, 6, 5, 10)])
def test_unigrad_agrees_with_the_oracle(
    sizes: tuple[int, ...], problem: tuple[Vector, Vector]
) -> None:
    images, labels = problem
    model = Model("model", sizes, seed=1)
    objective = Objective("numpy", model, images, labels)
    v = direction(model.start.size, 1)
    value, gradient = objective.value_and_grad(model.start)
    expected = taylor(model, model.start, v, images, labels)
    product = objective.hvp(model.start, v)
    for got, want in zip((value, gradient @ v, v @ product), expected, strict=True):
        assert difference(float(got), want) < 1e-11


def test_training_goes_down_to_a_flat_point(problem: tuple[Vector, Vector]) -> None:
    objective = Objective("numpy", Model("logistic regression", (64, 10)), *problem)
    path = list(train(objective, objective.model.start, 25))
    losses = [iterate.loss for iterate in path]
    assert losses == sorted(losses, reverse=True)
    assert np.linalg.norm(path[-1].gradient) < 1e-4
    top = top_eigenvalue(objective, path[-1].p, direction(path[-1].p.size, 2), 5)
    assert top is not None
    assert top > 0


def test_gradients_alone_train_too(problem: tuple[Vector, Vector]) -> None:
    objective = Objective("numpy", Model("logistic regression", (64, 10)), *problem)
    objective.second_order = False
    path = list(train(objective, objective.model.start, 40))
    assert path[-1].loss < 0.3 * path[0].loss
    assert path[-1].products == 0


def test_the_demo_with_numpy_alone(short: None, capsys: Capture) -> None:
    assert main(["demo", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert "xp = ug.array_namespace(x)" in out
    assert "neural network" in out
    assert out.count("agree  ") == 1
    assert "DIFFER" not in out
    assert "\x1b" not in out


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_a_wrong_hessian_is_noticed(
    factor: float, short: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Objective.hvp
    monkeypatch.setattr(Objective, "hvp", lambda self, p, v: factor * right(self, p, v))
    assert main(["demo", "--backend", "numpy"]) == 1
    assert "DIFFER" in capsys.readouterr().out


def test_a_backend_that_parts_from_the_others_is_noticed(
    short: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "torch" not in _installed():
        pytest.skip("needs a second backend")
    right = Objective.value_and_grad

    def wrong(self: Objective, p: Vector) -> tuple[float, Vector]:
        value, gradient = right(self, p)
        return value, gradient * (1 + 1e-9) if self.backend == "torch" else gradient

    monkeypatch.setattr(Objective, "value_and_grad", wrong)
    assert main(["demo", "--backend", "numpy", "--backend", "torch"]) == 1
    assert "DIFFER" in capsys.readouterr().out


def test_every_installed_backend_agrees(short: None, capsys: Capture) -> None:
    if len(_installed()) < 2:
        pytest.skip("needs a second backend")
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert f"{len(_installed())} backends" in out


def test_the_plot_says_what_it_needs(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo", "--plot", str(tmp_path / "plot.png")]) == 2
    assert "pip install matplotlib" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("numbers", "width", "expected"),
    [
        ([0.1, 1 / 3], 8, ["0.100000", "0.333333"]),
        ([1.0], 30, ["1.000000000000000"]),
        ([1e-20, 1.0], 4, ["1e-20", "1"]),
        ([float("nan")], 8, ["nan"]),
    ],
)
def test_figures(numbers: list[float], width: int, expected: list[str]) -> None:
    assert figures(numbers, width) == expected


def test_difference_is_relative_to_the_largest_entry() -> None:
    assert difference(np.array([1e-9, 2.0]), np.array([0.0, 2.0])) == pytest.approx(5e-10)
    assert difference(0.0, 0.0) == 0.0
    assert difference(None, 1.0) == 0.0
    assert np.isnan(difference(float("nan"), 1.0))


def _installed() -> list[str]:
    return [name for name, info in ug.backends().items() if info.installed]
