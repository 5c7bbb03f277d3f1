"""Every function of `unigrad.ops` at regular points, against PyTorch's own double backward.

A scenario row is the function, the same on PyTorch's native functions, and a shape; the input is
drawn from a fixed seed and the output is contracted with fixed weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad import ops

torch = pytest.importorskip("torch", reason="the oracle of these tests")
F = pytest.importorskip("torch.nn.functional")

BACKENDS = sorted(name for name, info in ug.backends().items() if info.installed)
LABELS = np.array([2, 0, 1])


@dataclass(frozen=True)
class Row:
    """``op(xp, v)`` and ``native(v)`` on torch, at ``offset + scale · normal(shape)``."""

    name: str
    op: Callable[[Any, Any], Any]
    native: Callable[[Any], Any]
    shape: tuple[int, ...] = (3, 4)
    offset: float = 0.0
    scale: float = 1.0


def along(op: Callable[..., Any], **options: Any) -> Callable[[Any, Any], Any]:
    return lambda xp, v: op(v, **options)


def ordered(v: Any) -> Any:
    """Probabilities from logits, on torch."""
    return torch.softmax(v, -1)


ROWS = [
    Row("abs", along(ops.abs), torch.abs),
    Row("sqrt", along(ops.sqrt), torch.sqrt, offset=5.0),
    Row("power", lambda xp, v: ops.power(v[0], v[1]), lambda v: v[0] ** v[1], (2, 4), 4.0),
    Row("power, number", along(lambda v: ops.power(v, 3)), lambda v: v**3),
    Row("power, negative number", along(lambda v: ops.power(v, -2)), lambda v: v**-2, offset=4.0),
    Row("power, fraction", along(lambda v: ops.power(v, 1.5)), lambda v: v**1.5, offset=5.0),
    Row("power, base", along(lambda v: ops.power(2.0, v)), lambda v: 2.0**v),
    Row("atan2", lambda xp, v: ops.atan2(v[0], v[1]), lambda v: torch.atan2(v[0], v[1]), (2, 5)),
    Row("maximum", lambda xp, v: ops.maximum(v[0], v[1]), lambda v: torch.maximum(*v), (2, 5)),
    Row("minimum", lambda xp, v: ops.minimum(v[0], v[1]), lambda v: torch.minimum(*v), (2, 5)),
    Row("maximum, broadcast", lambda xp, v: ops.maximum(v[:, None], v), lambda v:
        torch.where(v[:, None] >= v, v[:, None], v), (4,)),
    Row("clip", along(ops.clip, low=-0.5, high=0.5), lambda v: torch.clip(v, -0.5, 0.5)),
    Row("clip, low", along(ops.clip, low=-0.5), lambda v: torch.clip(v, min=-0.5)),
    Row("max", along(ops.max), torch.amax),
    Row("max, axis", along(ops.max, axis=1, keepdims=True), lambda v: torch.amax(v, 1, True)),
    Row("min, axes", along(ops.min, axis=(0, -1)), lambda v: torch.amin(v, (0, 2)), (2, 3, 2)),
    Row("max, split", along(ops.max, axis=0, ties="split"), lambda v: torch.amax(v, 0)),
    Row("relu", along(ops.relu), torch.relu),
    Row("leaky_relu", along(ops.leaky_relu), F.leaky_relu),
    Row("sigmoid", along(ops.sigmoid), torch.sigmoid, scale=4.0),
    Row("softplus", along(ops.softplus), lambda v: torch.logaddexp(v, v * 0), scale=4.0),
    Row("silu", along(ops.silu), F.silu, scale=4.0),
    Row("gelu", along(ops.gelu), F.gelu, scale=3.0),
    Row("gelu, tanh", along(ops.gelu, approximate="tanh"),
        lambda v: F.gelu(v, approximate="tanh"), scale=3.0),
    Row("maxout", along(ops.maxout, pieces=2), lambda v: v.reshape(3, 2, 2).amax(-1)),
    Row("maxout, axis", along(ops.maxout, pieces=3, axis=0),
        lambda v: v.reshape(2, 3, 4).amax(1), (6, 4)),
    Row("norm", along(ops.norm), torch.linalg.vector_norm),
    Row("norm, axis", along(ops.norm, axis=0, keepdims=True),
        lambda v: torch.linalg.vector_norm(v, dim=0, keepdim=True)),
    Row("norm, axes", along(ops.norm, axis=(0, 2)),
        lambda v: torch.linalg.vector_norm(v, dim=(0, 2)), (2, 3, 2)),
    Row("var", along(ops.var, axis=1), lambda v: torch.var(v, 1, correction=0)),
    Row("var, unbiased", along(ops.var, correction=1), torch.var),
    Row("std", along(ops.std, axis=0, keepdims=True),
        lambda v: torch.std(v, 0, correction=0, keepdim=True)),
    Row("std, unbiased", along(ops.std, axis=(0, 1), correction=1), torch.std),
    Row("prod", along(ops.prod), torch.prod, (5,)),
    Row("prod, axis", along(ops.prod, axis=0, keepdims=True), lambda v: torch.prod(v, 0, True)),
    Row("prod, axes", along(ops.prod, axis=(0, 1)), lambda v: torch.prod(torch.prod(v, 0), 0),
        (2, 3, 2)),
    Row("logsumexp", along(ops.logsumexp), lambda v: torch.logsumexp(v, (0, 1)), scale=3.0),
    Row("logsumexp, axis", along(ops.logsumexp, axis=0, keepdims=True),
        lambda v: torch.logsumexp(v, 0, True)),
    Row("softmax", along(ops.softmax), lambda v: torch.softmax(v, -1)),
    Row("softmax, axis 0", along(ops.softmax, axis=0), lambda v: torch.softmax(v, 0)),
    Row("log_softmax", along(ops.log_softmax), lambda v: torch.log_softmax(v, -1)),
    Row("where", lambda xp, v: ops.where(v > 0, xp.log, lambda x: x * x, v),
        lambda v: torch.where(v > 0, torch.log(torch.where(v > 0, v, 1.0)), v * v)),
    Row("where, scalars", lambda xp, v: ops.where(v > 0, v, 2.0) ** 2,
        lambda v: torch.where(v > 0, v, 2.0) ** 2),
    Row("take_along_axis", lambda xp, v: ops.take_along_axis(v, LABELS[:, None]) ** 3,
        lambda v: torch.gather(v, 1, torch.tensor(LABELS)[:, None]) ** 3),
    Row("cross_entropy", lambda xp, v: ops.cross_entropy(v, LABELS),
        lambda v: F.cross_entropy(v, torch.tensor(LABELS))),
    Row("cross_entropy, axis", lambda xp, v: ops.cross_entropy(v, LABELS, axis=0, reduction="none"),
        lambda v: F.cross_entropy(v.T, torch.tensor(LABELS), reduction="none"), (4, 3)),
    Row("cross_entropy, probabilities",
        lambda xp, v: ops.cross_entropy(v[0], ops.softmax(v[1]), reduction="sum"),
        lambda v: F.cross_entropy(v[0], ordered(v[1]), reduction="sum"), (2, 2, 3)),
    Row("binary_cross_entropy",
        lambda xp, v: ops.binary_cross_entropy(v[0], ops.sigmoid(v[1]), reduction="none"),
        lambda v: F.binary_cross_entropy_with_logits(v[0], torch.sigmoid(v[1]), reduction="none"),
        (2, 4)),
    Row("conv2d", lambda xp, v: ops.conv2d(v[:1], v[1:, :, :2, :3], stride=(2, 1), padding=(1, 2)),
        lambda v: F.conv2d(v[:1], v[1:, :, :2, :3], stride=(2, 1), padding=(1, 2)), (3, 2, 4, 3)),
    Row("max_pool2d", along(ops.max_pool2d, window=(3, 2), stride=(2, 1), padding=1),
        lambda v: F.max_pool2d(v, (3, 2), (2, 1), 1), (1, 2, 5, 4)),
    Row("avg_pool2d", along(ops.avg_pool2d, window=(3, 2), stride=(2, 1), padding=1),
        lambda v: F.avg_pool2d(v, (3, 2), (2, 1), 1), (1, 2, 5, 4)),
]  # fmt: skip


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> ug.Backend:
    return ug.get_backend(request.param)


def weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


def contracted(backend: ug.Backend, row: Row) -> Callable[[Any], Any]:
    """The output contracted with weights, plus its square, so that cotangents vary."""

    def f(v: Any) -> Any:
        y = row.op(backend.xp, v)
        w = backend.asarray(weights(backend.shape(y)), dtype=backend.dtype(v), like=v)
        total = backend.xp.sum(y * w)
        return total + total * total

    return f


def point(row: Row) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return row.offset + row.scale * rng.normal(size=row.shape), rng.normal(size=row.shape)


def reference(row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, gradient and Hessian-vector product by torch's autograd."""
    at, direction = point(row)
    v = torch.tensor(at, requires_grad=True)
    y = row.native(v)
    total = torch.sum(y * torch.tensor(weights(tuple(y.shape))))
    value = total + total * total
    (gradient,) = torch.autograd.grad(value, v, create_graph=True)
    (product,) = torch.autograd.grad(gradient, v, torch.tensor(direction))
    return value.detach().numpy(), gradient.detach().numpy(), product.numpy()


def near(got: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    largest = max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_first_order(backend: ug.Backend, row: Row) -> None:
    """Value and gradient in float64, and in float32 with the dtype kept."""
    value, gradient, _ = reference(row)
    at, _ = point(row)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 2e-5)):
        f = contracted(backend, row)
        got, slope = ug.value_and_grad(f)(backend.asarray(at.astype(dtype)))
        assert (backend.dtype(got), backend.dtype(slope)) == (dtype, dtype)
        near(backend.to_numpy(got), value, tolerance)
        near(backend.to_numpy(slope), gradient, tolerance)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_second_order(backend: ug.Backend, row: Row) -> None:
    """Hessian-vector product by both compositions."""
    if not backend.capabilities.second_order:
        pytest.skip(f"{backend.name} declares first order only")
    _, _, product = reference(row)
    at, direction = point(row)
    f = contracted(backend, row)
    for method in ("forward_over_reverse", "reverse_over_reverse"):
        got = ug.hvp(f, backend.asarray(at), backend.asarray(direction), method=method)
        near(backend.to_numpy(got), product, 1e-12)


def test_every_function_has_a_row() -> None:
    """A function that is exported is tested."""
    tested = {row.name.partition(",")[0] for row in ROWS}
    assert set(ops.__all__) - tested == {"one_hot"}


def test_a_wrong_rule_would_be_seen() -> None:
    """The oracle notices a derivative that is off by 1e-9."""
    row = next(row for row in ROWS if row.name == "sigmoid")
    _, gradient, _ = reference(row)
    with pytest.raises(AssertionError):
        near(gradient * (1 + 1e-9) + 1e-9, gradient, 1e-12)
