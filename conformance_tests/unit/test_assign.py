"""`ug.assign` and the arguments of ``apply``: what is refused, with nothing written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import ArgumentError, ShapeError, StructureError, UnsupportedError

torch = pytest.importorskip("torch")


def model() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"0.weight": np.ones((2, 3)) * 1j}, ArgumentError, "cannot hold complex128"),
        ({"1.num_batches_tracked": np.array(1.7)}, ArgumentError, "cannot hold float64"),
        ({"0.weight": "zeros"}, ArgumentError, "cannot hold str"),
        ({"0.weight": np.ones((3, 2))}, ShapeError, "nothing was written"),
        ({"weight": np.ones((2, 3))}, StructureError, "unknown"),
        ([1.0], StructureError, "list"),
    ],
)
def test_values_that_do_not_fit(values: Any, error: type[Exception], text: str) -> None:
    net = model()
    before = {name: x.clone() for name, x in net.state_dict().items()}
    if isinstance(values, dict):
        values = {"0.bias": np.full(2, 7.0), **values}
    with pytest.raises(error, match=text):
        ug.assign(net, values)
    assert all(torch.equal(before[name], x) for name, x in net.state_dict().items())


def test_narrower_numbers_fit() -> None:
    net = model()
    ug.assign(net, {"0.weight": np.ones((2, 3), np.int64), "1.num_batches_tracked": np.int64(4)})
    assert net[0].weight.dtype == torch.float32
    assert net[1].num_batches_tracked == 4


def test_what_keeps_no_weights() -> None:
    with pytest.raises(UnsupportedError, match="is no model"):
        ug.assign(object(), {})


def test_params_of_another_framework() -> None:
    apply, params = ug.functional(model())
    given = ug.to_numpy(params)
    with pytest.raises(ArgumentError, match=r"ug\.asarray"):
        ug.grad(lambda p: apply(p, torch.ones(1, 3)).sum())(given)
    x = torch.ones(4, 3)
    assert torch.equal(apply(given, x), apply(params, x))


def test_seeds() -> None:
    apply, params = ug.functional(torch.nn.Dropout(0.5), mode="train")
    x = torch.ones(64)
    one, other = apply(params, x, seed=np.int64(3)), apply(params, x, seed=3)
    assert torch.equal(one, other)
    with pytest.raises(ArgumentError, match="integer"):
        apply(params, x, seed=0.5)
