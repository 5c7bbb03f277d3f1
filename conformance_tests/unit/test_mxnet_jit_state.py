"""``ug.jit`` on MXNet: state of every kind is seen, and what cannot be seen runs as it is."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx
from mxnet import autograd, gluon, nd

from conformance_tests.unit.mxnet_jitted import array, assert_same, network, replayed

pytestmark = pytest.mark.filterwarnings("ignore:Please import `csr_matrix`:DeprecationWarning")

GLOBAL = 1.0
X = array(6, 4)


def set_global(value: float) -> None:
    globals()["GLOBAL"] = value


class Plain:
    k = 1.0

    def __init__(self) -> None:
        self.k, self.parts, self.child = 1.0, [1.0], None


class Slotted:
    __slots__ = ("k",)

    def __init__(self) -> None:
        self.k = 1.0


@dataclasses.dataclass
class Config:
    k: float = 1.0
    table: dict[str, list[float]] = dataclasses.field(default_factory=lambda: {"a": [1.0]})


class Shared:
    k = 1.0


class Numbers(list[float]):
    """A list of a class of its own."""


class OfGlobal(gluon.Block):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return GLOBAL * x**3


class Deep(gluon.HybridBlock):  # type: ignore[misc]
    scale = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.config, self.table = Config(), {"a": {"b": [1.0]}}
        self.values = np.ones(4)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        factor = self.config.k * self.table["a"]["b"][0] * self.scale * float(self.values[1])
        return factor * x**3


class Encoder(gluon.Block):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.k = 1.0

    def encode(self, x: Any) -> Any:
        return self.k * x**3


Change = Callable[[], object]


def _states() -> dict[str, tuple[Callable[[Any], Any], Change]]:
    plain, slotted, config, numbers = Plain(), Slotted(), Config(), Numbers([1.0])
    slotless = Plain()
    plain.child = Config()  # type: ignore[assignment]
    queue, space = collections.deque([1.0]), types.SimpleNamespace(k=1.0)
    module: Any = types.ModuleType("of_a_user")
    module.k = 1.0
    factors = [1.0]
    by_lambda = gluon.nn.HybridLambda(lambda F, x: F.tanh(x) * factors[0])
    of_global, deep, encoder = OfGlobal(), Deep(), Encoder()
    inner = gluon.nn.Sequential()
    inner.add(Deep())
    dense = network(gluon.nn.Dense(2), inputs=X)
    many = [1.0] * 300
    own = OfGlobal()

    def attributed(x: Any) -> Any:
        return attributed.k * x  # type: ignore[attr-defined]

    held = np.array([Config()], dtype=object)
    partial = functools.partial(lambda x, k: k * x, k=1.0)
    attributed.k = 1.0  # type: ignore[attr-defined]
    trainer = gluon.Trainer(dense.collect_params(), "sgd", {"learning_rate": 0.1})
    return {
        "attribute": (lambda x: plain.k * x, lambda: setattr(plain, "k", 5.0)),
        "list in it": (lambda x: plain.parts[0] * x, lambda: plain.parts.__setitem__(0, 5.0)),
        "object in it": (
            lambda x: plain.child.table["a"][0] * x,  # type: ignore[attr-defined]
            lambda: plain.child.table["a"].__setitem__(0, 5.0),  # type: ignore[attr-defined]
        ),
        "slot": (lambda x: slotted.k * x, lambda: setattr(slotted, "k", 5.0)),
        "dataclass": (lambda x: config.k * x, lambda: setattr(config, "k", 5.0)),
        "class": (lambda x: Shared.k * x, lambda: setattr(Shared, "k", Shared.k + 1)),
        "namespace": (lambda x: space.k * x, lambda: setattr(space, "k", 5.0)),
        "module": (lambda x: module.k * x, lambda: setattr(module, "k", 5.0)),
        "deque": (lambda x: queue[0] * x, lambda: queue.__setitem__(0, 5.0)),
        "subclass": (lambda x: numbers[0] * x, lambda: numbers.__setitem__(0, 5.0)),
        "of a function": (attributed, lambda: setattr(attributed, "k", 5.0)),
        "object array": (lambda x: held[0].k * x, lambda: setattr(held[0], "k", 5.0)),
        "partial": (partial, lambda: partial.keywords.__setitem__("k", 5.0)),
        "all of an object": (
            lambda x: slotless.k * x,
            lambda: setattr(slotless, "__dict__", {"k": 5.0}),
        ),
        "300 entries": (lambda x: many[0] * x, lambda: many.__setitem__(0, 5.0)),
        "learning rate": (
            lambda x: trainer.learning_rate * x,
            lambda: trainer.set_learning_rate(0.5),
        ),
        "wd_mult": (
            lambda x: dense(x) * dense[0].weight.wd_mult,
            lambda: setattr(dense[0].weight, "wd_mult", 5.0),
        ),
        "global of forward": (of_global, lambda: set_global(GLOBAL + 1)),
        "HybridLambda": (by_lambda, lambda: factors.__setitem__(0, 5.0)),
        "object of a block": (deep, lambda: setattr(deep.config, "k", 5.0)),
        "depth of a block": (deep, lambda: deep.table["a"]["b"].__setitem__(0, 5.0)),
        "values of a block": (deep, lambda: deep.values.__setitem__(1, 5.0)),
        "class of a block": (deep, lambda: setattr(Deep, "scale", Deep.scale + 1)),
        "child": (inner, lambda: setattr(inner[0].config, "k", 5.0)),
        "method": (encoder.encode, lambda: setattr(encoder, "k", 5.0)),
        "forward": (own, lambda: setattr(own, "forward", lambda x: 2 * x)),
    }


@pytest.mark.parametrize("name", _states())
@pytest.mark.parametrize("order", [0, 1])
def test_state_is_not_frozen(name: str, order: int) -> None:
    f, change = _states()[name]

    def total(x: Any) -> Any:
        return f(x).sum()

    d = ug.grad(total) if order else total
    jitted = ug.jit(d)
    for _ in range(3):
        assert_same(jitted, d, X)
    before = d(X).asnumpy()
    assert replayed(jitted) == (name != "300 entries")
    change()
    for _ in range(3):
        assert_same(jitted, d, X)
    assert not np.allclose(before, d(X).asnumpy())


class Counting:
    total = 0

    def __init__(self) -> None:
        self.n = 0
        self.seen: list[int] = []

    def attribute(self) -> int:
        self.n += 1
        return self.n

    def append(self) -> int:
        self.seen.append(1)
        return len(self.seen)

    @classmethod
    def shared(cls) -> int:
        Counting.total += 1
        return Counting.total


def _steps() -> Iterator[int]:
    yield from range(1, 100)


def _counters() -> dict[str, Callable[[], Any]]:
    counting, other, queue = Counting(), Counting(), iter(range(1, 100))
    numbers, steps, values = itertools.count(1), _steps(), np.zeros(1)
    Counting.total = 0

    def written() -> float:
        values[0] += 1
        return float(values[0])

    return {
        "attribute": counting.attribute,
        "list": counting.append,
        "other object": lambda: other.attribute(),
        "class": Counting.shared,
        "count": lambda: next(numbers),
        "iterator": lambda: next(queue),
        "generator": lambda: next(steps),
        "array": written,
    }


@pytest.mark.parametrize("name", _counters())
def test_state_that_a_call_changes_changes_once(name: str) -> None:
    count = _counters()[name]
    jitted = ug.jit(lambda x: (count() * x).sum())
    total = X.sum().asscalar()
    found = [jitted(X).asscalar() / total for _ in range(5)]
    np.testing.assert_allclose(found, range(1, 6))
    assert not replayed(jitted)


def test_time_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(x: Any) -> Any:
        import os

        return float(os.environ["OF_TEST"]) * x

    clocked = ug.jit(lambda x: time.perf_counter() + 0 * x)
    assert len({clocked(X).asnumpy()[0, 0] for _ in range(4)}) == 4
    for f in (lambda x: float(os.environ["OF_TEST"]) * x, imported):
        jitted = ug.jit(f)
        for value in "1123":
            monkeypatch.setenv("OF_TEST", value)
            assert_same(jitted, f, X)


def test_functions_and_objects_among_the_results() -> None:
    def pulled(x: Any) -> Any:
        return ug.vjp(lambda x: x**2, x)

    jitted, u = ug.jit(pulled), array(3, seed=1)
    for scale in (1, 2, 3):
        _, pullback = jitted(array(3) * scale)
        assert_same(pullback, lambda u: (2 * array(3) * scale * u,), u)  # noqa: B023

    def held(x: Any) -> Any:
        return types.SimpleNamespace(x=2 * x)

    jitted = ug.jit(held)
    for scale in (1, 2, 3):
        found = jitted(array(3) * scale).x
        np.testing.assert_allclose(found.asnumpy(), 2 * scale * array(3).asnumpy())


def test_numpy_arrays_among_the_results_are_copies() -> None:
    jitted = ug.jit(lambda x: (2 * x, np.ones(2)))
    jitted(X)[1][:] = 7
    assert jitted(X)[1].tolist() == [1.0, 1.0]


def test_an_error_that_is_caught_is_none() -> None:
    def f(x: Any) -> Any:
        try:
            return x.sum() * float(x.asnumpy()[0, 0])
        except Exception:
            return x.sum() * 1000

    jitted = ug.jit(f)
    for scale in (1, 2, 3):
        assert_same(jitted, f, X * scale)


def test_that_it_is_recorded_is_not_seen() -> None:
    def f(x: Any) -> Any:
        return (x * (100 if autograd.is_recording() else 1)).sum()

    def inside(x: Any) -> Any:
        with autograd.record():
            return (x * (100 if autograd.is_recording() else 1)).sum()

    for g in (f, inside, ug.grad(f), ug.value_and_grad(f)):
        jitted = ug.jit(g)
        for _ in range(3):
            assert_same(jitted, g, X)


def test_a_capture_that_is_given_up_has_run_once() -> None:
    calls, count = [0], nd.zeros((1,))

    def f(x: Any) -> Any:
        calls[0] += 1
        with autograd.pause():
            count[:] = count + 1
        drawn = np.random.normal()
        y = mx.np.array(x.asnumpy()) if calls[0] > 100 else x
        z = x.copy()
        z.attach_grad()
        with autograd.record():
            w = (z**2).sum()
        w.backward()  # refused while it is watched
        return (y.sum() + drawn) * z.grad[0, 0]

    np.random.seed(3)
    wanted = [f(X).asscalar() for _ in range(3)]
    calls[0] = 0
    count[:] = 0
    np.random.seed(3)
    jitted = ug.jit(f)
    assert [jitted(X).asscalar() for _ in range(3)] == pytest.approx(wanted)
    assert calls == [3]
    assert count.asscalar() == 3


def test_errors_of_the_function_are_raised_once() -> None:
    calls: list[int] = []

    def f(x: Any) -> Any:
        calls.append(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ug.jit(f)(X)
    assert len(calls) == 1


def test_other_threads_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    def f(x: Any) -> Any:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append((x**2).sum()))
        thread.start()
        thread.join()
        return found[0]

    jitted = ug.jit(f)
    for scale in (1, 2, 3):
        assert_same(jitted, f, X * scale)
    assert "Traceback" not in capfd.readouterr().err


def test_per_example_inside_another_derivative() -> None:
    d = ug.grad(lambda x: (x**4).sum(axis=1), per_example=True)
    _, found = ug.jvp(d, X, X)
    np.testing.assert_allclose(found.asnumpy(), 12 * X.asnumpy() ** 3, rtol=1e-12)
    jitted = ug.jit(lambda x: ug.jvp(d, x, x)[1])
    for scale in (1, 2, 3):
        wanted = 12 * (scale * X.asnumpy()) ** 3
        np.testing.assert_allclose(jitted(X * scale).asnumpy(), wanted, rtol=1e-12)


def _added(x: Any) -> None:
    x += 1


def _through_out(x: Any) -> None:
    nd.sgd_update(x, nd.ones_like(x), lr=-1.0, out=x)


def _as_state(x: Any) -> None:
    w = nd.ones_like(x)
    nd.sgd_mom_update(w, w, x, lr=0.1, out=w)


def _of_a_view(x: Any) -> None:
    part = x[1:3]
    part += 1


def _paused(x: Any) -> None:
    with autograd.pause():
        x += 1


def _swallowed(x: Any) -> None:
    with contextlib.suppress(Exception):
        x += 1


def _elsewhere(x: Any) -> None:
    thread = threading.Thread(target=lambda: _added(x))
    thread.start()
    thread.join()


_WRITES: dict[str, Callable[[Any], object]] = {
    "+=": _added,
    "all": lambda x: x.__setitem__(slice(None), x + 1),
    "all, a number": lambda x: x.__setitem__(slice(None), 5),
    "all, of NumPy": lambda x: x.__setitem__(slice(None), np.full(x.shape, 7.0)),
    "item": lambda x: x.__setitem__(0, 9),
    "copyto": lambda x: (x + 1).copyto(x),
    "out": _through_out,
    "state of an update": _as_state,
    "view": _of_a_view,
    "reshaped": lambda x: _added(x.reshape((-1,))),
    "detached": lambda x: _added(x.detach()),
    "paused": _paused,
    "an error that is swallowed": _swallowed,
    "another thread": _elsewhere,
}


@pytest.mark.parametrize("name", _WRITES)
@pytest.mark.parametrize("when", ["before", "after", "returned"])
def test_a_function_that_writes_into_its_argument_runs(name: str, when: str) -> None:
    calls: list[int] = []

    def f(x: Any) -> Any:
        calls.append(1)
        y = x * 3 if when == "after" else None
        _WRITES[name](x)
        return x if when == "returned" else x * 2 if y is None else y

    ours, theirs, jitted = nd.ones((4, 2)), nd.ones((4, 2)), ug.jit(f)
    for k in range(1, 5):
        found, wanted = jitted(ours).asnumpy(), f(theirs).asnumpy()
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())
        assert len(calls) == 2 * k
    assert not replayed(jitted)


def test_writes_into_the_memory_of_an_argument() -> None:
    def of(jit: Callable[[Any], Any]) -> list[list[float]]:
        z, w, both = nd.ones((3,)), nd.ones((3,)), nd.ones((3,))
        part, count = w[0:2], nd.zeros((1,))

        def closed(x: Any) -> Any:
            count[:] = count.asnumpy() + 1
            z[:] = z + 1
            return x * count

        def partly(x: Any) -> Any:
            part[:] = part + 1
            return x * 2

        def twice(x: Any, y: Any) -> Any:
            x += y
            return x * y

        def read(x: Any) -> Any:
            x += 1
            return x.sum() + part.sum()

        calls = [(closed, (z,)), (partly, (w,)), (twice, (both, both)), (read, (w,))]
        jitted = [(jit(f), args) for f, args in calls]
        return [g(*args).asnumpy().tolist() for _ in range(4) for g, args in jitted]

    assert of(ug.jit) == of(lambda f: f)


def test_the_current_context() -> None:
    def f(x: Any) -> Any:
        return x * (1 + mx.context.current_context().device_id)

    jitted = ug.jit(f)
    for k in (0, 0, 1, 1, 0):
        with mx.cpu(k):
            assert_same(jitted, f, X)
