"""``ug.jit`` on torch: what a function writes is written once, and as it would be without it."""

from __future__ import annotations

import copy
import types
from typing import Any

import numpy as np
import pytest

import unigrad as ug

torch = pytest.importorskip("torch")
from unigrad_torch import compiled as module  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

F64 = torch.float64
X = torch.tensor([1.0, 2.0, 3.0], dtype=F64)
ROWS = torch.arange(12.0, dtype=F64).reshape(4, 3).sin()


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    """The graphs that were to be compiled, which run as they are in these tests."""
    found: list[Any] = []

    def keep(graph: Any, examples: Any) -> Any:
        found.append(graph)
        return graph

    monkeypatch.setattr(module, "compile_graph", keep)
    return found


class _Counter:
    n = 0


class _Slots:
    __slots__ = ("__hidden", "n")

    def __init__(self) -> None:
        self.n = 0
        self.__hidden = 0

    def count(self) -> int:
        self.__hidden += 1
        return self.__hidden


class _Buffered(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("b", torch.zeros(3, dtype=F64))

    def forward(self, x):
        self.b += 1
        return x * self.b


def _box(**contents: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(**contents)


def _zeros() -> Any:
    return torch.zeros(3, dtype=F64)


def _set(x: Any, name: str, value: Any) -> Any:
    setattr(x, name, value)
    return value


def _norm(**options: Any) -> Any:
    model = torch.nn.BatchNorm1d(3, **options).double()
    return lambda x: model(x * ROWS).detach().sum(), lambda: list(model.state_dict().values())


def _statistics() -> Any:
    mean, var = _zeros(), _zeros() + 1

    def f(x):
        return torch.nn.functional.batch_norm(x * ROWS, mean, var, training=True).sum()

    return f, lambda: (mean, var)


def _model() -> Any:
    model = _Buffered()
    return model, lambda: model.b


def _descent() -> Any:
    model = torch.nn.Linear(3, 1).double()
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(0.0)
    steps = torch.optim.SGD(model.parameters(), lr=0.1)

    def f(x):
        steps.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        steps.step()
        return loss.detach()

    return f, lambda: list(model.parameters())


def _leaf(backward: Any) -> Any:
    c = X.clone().requires_grad_()

    def f(x):
        backward((c * x).sum())
        return x * 1

    return f, lambda: c.grad


def _hooked() -> Any:
    c, seen = X.clone().requires_grad_(), []  # type: ignore[var-annotated]

    def f(x):
        c.register_hook(lambda g: seen.append(1))
        return x * 1

    def after():
        (c * 1).sum().backward()
        return len(seen)

    return f, after


def _class() -> Any:
    _Counter.n = 0
    if "new" in vars(_Counter):
        del _Counter.new  # type: ignore[attr-defined]

    def f(x):
        _Counter.n += 1
        _Counter.new = getattr(_Counter, "new", 0) + 1  # type: ignore[attr-defined]
        return x * _Counter.n * _Counter.new  # type: ignore[attr-defined]

    return f, lambda: (_Counter.n, vars(_Counter).get("new"))


def _slots() -> Any:
    s = _Slots()

    def f(x):
        s.n += 1
        return x * s.n * s.count()

    return f, lambda: s.n


def _array(f: Any) -> Any:
    a = np.zeros(3)
    return lambda x: x * f(a), lambda: a


def _tensor(f: Any) -> Any:
    c = X.clone()
    return lambda x: (f(c, x), x * 1)[1], lambda: (c.detach(), c.requires_grad)


EFFECTS = {
    "add": lambda: _tensor(lambda c, x: c.add_(1)),
    "augmented": lambda: _tensor(lambda c, x: c.__iadd__(x)),
    "view": lambda: _tensor(lambda c, x: c[1:].mul_(2)),
    "item": lambda: _tensor(lambda c, x: c.__setitem__(0, 5.0)),
    "out": lambda: _tensor(lambda c, x: torch.mul(c, 2, out=c)),
    "foreach": lambda: _tensor(lambda c, x: torch._foreach_add_([c], 1)),
    "copy": lambda: _tensor(lambda c, x: c.data.copy_(c + 1)),
    "detached": lambda: _tensor(lambda c, x: c.detach().add_(1)),
    "data": lambda: _tensor(lambda c, x: _set(c, "data", c.data * 2)),
    "set": lambda: _tensor(lambda c, x: c.set_(c * 2)),
    "resize": lambda: _tensor(lambda c, x: c.resize_(2)),
    "transposed": lambda: _tensor(lambda c, x: c.unsqueeze_(0)),
    "requires grad": lambda: _tensor(lambda c, x: c.requires_grad_()),
    "requires grad set": lambda: _tensor(lambda c, x: _set(c, "requires_grad", True)),
    "random": lambda: _tensor(lambda c, x: c.bernoulli_(1.0)),
    "apply": lambda: _tensor(lambda c, x: c.apply_(lambda v: v + 1)),
    "in a derivative": lambda: _tensor(lambda c, x: ug.grad(lambda y: (y * c.add_(1)).sum())(x)),
    "own data": lambda: (lambda x: (y := x * 1, _set(y, "data", y * 2), y * 1)[2], lambda: 0),
    "attribute": lambda: (
        lambda c: (lambda x: x * _set(c, "n", getattr(c, "n", 0) + 1), lambda: c.n)
    )(X.clone()),
    "of an array": lambda: _array(lambda a: torch.from_numpy(a).add_(1)),
    "array": lambda: _array(lambda a: float(a.__iadd__(1)[0])),
    "batch norm": _norm,
    "batch norm, cumulative": lambda: _norm(momentum=None),
    "statistics": _statistics,
    "buffer": _model,
    "optimizer": _descent,
    "backward": lambda: _leaf(lambda y: y.backward()),
    "autograd.backward": lambda: _leaf(torch.autograd.backward),
    "hook": _hooked,
    "class": _class,
    "slots": _slots,
}


@pytest.mark.parametrize("name", EFFECTS)
def test_effects_happen_once_a_call(name):
    results = []
    for through in (ug.jit, lambda f: f):
        f, state = EFFECTS[name]()
        run = through(f)
        values = [copy.deepcopy(run(k * X)) for k in (1.0, 2.0, 0.5)]
        results.append((values, copy.deepcopy(state())))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


INPUTS = {
    "data": lambda x: _set(x, "data", x * 2),
    "requires grad": lambda x: x.requires_grad_(),
    "add": lambda x: x.add_(1),
    "attribute": lambda x: _set(x, "n", 1),
    "gradient": lambda x: _set(x, "grad", torch.ones_like(x)),
    "statistics": lambda x: torch.nn.functional.batch_norm(ROWS, x, x + 1, training=True),
}


@pytest.mark.parametrize("name", INPUTS)
def test_effects_on_arguments(name):
    def f(x):
        y = x.detach() * 2
        INPUTS[name](x)
        return y

    results = []
    for through in (ug.jit(f), f):
        for _ in range(2):
            x = X.clone()
            y = through(x)
            results.append((y, x.detach(), x.requires_grad, x.grad, x.__dict__))
    torch.testing.assert_close(results[:2], results[2:])


def test_own_tensors_may_be_written(graphs):
    """Those that the function made, and constants."""

    def f(x):
        total, one = torch.zeros(3, dtype=F64), torch.tensor([1.0, 2.0, 3.0], dtype=F64)
        total += x
        one.mul_(2)[0] = 7
        return total * one, x.clone().requires_grad_().detach().resize_(2)

    run = ug.jit(f)
    for k in (1, 2):
        torch.testing.assert_close(run(k * X), f(k * X))
    assert len(graphs) == 1


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * len(f"{x[0]}"),
        lambda x: x * len(str(x)),
        lambda x: x * len(repr(X * 1)),
        lambda x: x * len(f"{x[0]:.20f}"),
        lambda x: x * copy.deepcopy(X),
    ],
)
def test_what_is_printed_or_copied_is_real(f, graphs):
    run = ug.jit(f)
    for k in (1, 1234567):
        torch.testing.assert_close(run(k * X), f(k * X))
    assert not graphs


def test_hooks_on_all_modules():
    model = torch.nn.Linear(3, 2).double().requires_grad_(False)
    run, seen = ug.jit(lambda x: model(x)), []  # type: ignore[var-annotated]
    expected = model(X)
    run(X)

    def double(_module, _inputs, y):
        seen.append(1)
        return 2 * y

    handle = torch.nn.modules.module.register_module_forward_hook(double)
    try:
        for _ in range(2):
            torch.testing.assert_close(run(X), 2 * expected)
    finally:
        handle.remove()
    assert len(seen) == 2
    torch.testing.assert_close(run(X), expected)


def test_the_mode_is_part_of_the_signature(graphs):
    def f(x):
        inference = torch.is_inference_mode_enabled()
        return x * (2 if torch.is_grad_enabled() else 3) * (5 if inference else 7)

    run = ug.jit(f)
    for _ in range(10):
        torch.testing.assert_close(run(X), 14 * X)
        with torch.no_grad():
            torch.testing.assert_close(run(X), 21 * X)
        with torch.inference_mode():
            torch.testing.assert_close(run(X), 15 * X)
    assert len(graphs) == 3
