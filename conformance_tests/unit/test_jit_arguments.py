"""``ug.jit`` of functions whose arguments are objects and functions: what they read is watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

X = np.array([1.0, 2.0, 3.0])


@pytest.fixture(params=["numpy", "torch", "mxnet"])
def x(request: pytest.FixtureRequest) -> Any:
    try:
        return ug.asarray(X, backend=request.param)
    except BackendNotAvailableError as error:
        pytest.skip(str(error))


class Step:
    def __init__(self) -> None:
        self.k = 2.0
        self.n = 0

    @ug.jit
    def scaled(self, x: Any) -> Any:
        return x * self.k

    @ug.jit
    def counted(self, x: Any) -> Any:
        self.n += 1
        return x * float(self.n)


def _numbers(got: Any) -> Any:
    return ug.to_numpy(got)


def test_a_method_follows_its_object(x: Any) -> None:
    step = Step()
    for k in (2.0, 2.0, 2.0, 5.0, 5.0, 2.0):
        step.k = k
        np.testing.assert_array_equal(_numbers(step.scaled(x)), k * X)
    other = Step()
    other.k = 3.0
    np.testing.assert_array_equal(_numbers(other.scaled(x)), 3.0 * X)
    np.testing.assert_array_equal(_numbers(step.scaled(x)), 2.0 * X)


def test_functions_as_arguments(x: Any) -> None:
    scale = [2.0]

    def fn(x: Any) -> Any:
        return x * scale[0]

    apply: Callable[..., Any] = ug.jit(lambda x, fn: fn(x))
    nested: Callable[..., Any] = ug.jit(lambda x, options: options["fn"](x))
    for k in (2.0, 2.0, 2.0, 9.0):
        scale[0] = k
        np.testing.assert_array_equal(_numbers(apply(x, fn)), k * X)
        np.testing.assert_array_equal(_numbers(nested(x, {"fn": fn})), k * X)


def test_a_configuration_as_argument(x: Any) -> None:
    step = Step()
    scaled = ug.jit(lambda step, x: x * step.k)
    for k in (2.0, 2.0, 2.0, 5.0):
        step.k = k
        np.testing.assert_array_equal(_numbers(scaled(step, x)), k * X)


def test_what_an_object_counts() -> None:
    torch = pytest.importorskip("torch")
    step, x = Step(), torch.asarray(X)
    assert [float(step.counted(x)[0]) for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_a_torch_module_as_argument() -> None:
    torch = pytest.importorskip("torch")
    x = torch.ones(64, dtype=torch.float64)
    run = ug.jit(lambda module, x: module(x))
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Tanh()).eval()
    for _ in range(3):
        assert torch.equal(run(module, x), torch.tanh(x))
    module.train()
    assert bool((run(module, x) == 0).any())
    module.eval()
    module[1] = torch.nn.ReLU()
    assert torch.equal(run(module, x), x)
