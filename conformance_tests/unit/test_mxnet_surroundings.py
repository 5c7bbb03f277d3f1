"""What happens around MXNet's operators: threads, files, stores, executors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError, UnsupportedError

try:
    ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

import mxnet as mx

from conformance_tests.unit.mxnet_derivatives import TAKES, F, array, numbers, x

# -------------------------------------------------------------------- threads


def in_a_pool(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


WORK: dict[str, Callable[[Any], Any]] = {
    "operator": lambda x: x * x,
    "view": lambda x: x[0:1],
    "shape": lambda x: x.reshape((2, 1)),
    "class": lambda x: x.as_np_ndarray(),
    "tensordot": lambda x: mx.np.tensordot(x.as_np_ndarray(), x.as_np_ndarray(), 1),
    "numbers": lambda x: x.asnumpy(),
    "a derivative": lambda x: ug.grad(lambda y: (y * x).sum())(x.detach()),
    "a derivative of it": lambda x: ug.grad(lambda y: (y * y).sum())(x),
    "write": lambda x: x.__setitem__(slice(None), 1.0),
    "write of NumPy": lambda x: x.__setitem__(slice(None), np.ones(2)),
}


def recorded(x: Any) -> Any:
    with mx.autograd.record():
        return x * x


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("work", [*WORK.values(), recorded], ids=[*WORK, "recorded"])
def test_another_thread_is_refused(take: str, work: Callable[[Any], Any]) -> None:
    def f(x: Any) -> Any:
        in_a_pool(lambda: work(x))
        return (x * x).sum()

    with pytest.raises(UnsupportedError, match="in another thread"):
        TAKES[take](f)
    assert numbers(TAKES["grad"](lambda x: (x * x).sum())) == [2.0, 4.0]


def test_a_thread_that_keeps_its_error_to_itself() -> None:
    def f(x: Any) -> Any:
        found: list[Any] = [0.0]

        def work() -> None:
            try:
                found[0] = (x * x).sum()
            except UnsupportedError:
                return

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x.sum() + found[0]

    with pytest.raises(UnsupportedError, match="in another thread"):
        ug.grad(f)(x())


def test_a_hybridized_block_in_another_thread() -> None:
    block = mx.gluon.nn.Dense(1, in_units=2)
    block.initialize()
    block.cast("float64")
    block.hybridize()
    block(array([[1.0, 2.0]]))
    with pytest.raises(UnsupportedError, match="in another thread"):
        ug.grad(lambda x: in_a_pool(lambda: block(x.reshape((1, 2)))).sum())(x())


def test_constants_in_another_thread() -> None:
    def f(x: Any) -> Any:
        constant = in_a_pool(lambda: x.detach() * 3.0)
        shown = in_a_pool(lambda: f"{x}")
        assert "NDArray 2" in shown
        return (constant * x).sum()

    assert numbers(ug.grad(f)(x())) == [3.0, 6.0]


@pytest.mark.parametrize("count", [2, 4])
def test_derivatives_at_once(count: int) -> None:
    """S7: of arrays that the threads share, too."""
    shared, v = x(), array([1.0, 1.0])
    gate = threading.Barrier(count)

    def work(k: int) -> list[Any]:
        def f(x: Any) -> Any:
            gate.wait()
            return (mx.nd.exp(x * float(k + 1)) * shared).sum()

        def g(x: Any) -> Any:
            return ug.grad(lambda y: (y * y * x * shared).sum())(x).sum()

        found = []
        for _ in range(20):
            found.append([*numbers(ug.hvp(f, shared, v)), *numbers(ug.grad(g)(shared))])
        return found

    with ThreadPoolExecutor(count) as pool:
        every = list(pool.map(work, range(count)))
    values = np.array([1.0, 2.0])
    for k, found in enumerate(every):
        expected = [*((k + 1) ** 2 * np.exp((k + 1) * values) * values), *(4 * values * values)]
        np.testing.assert_allclose(found, [expected] * 20, rtol=1e-12)


def test_a_constant_that_another_thread_writes() -> None:
    c = array([3.0, 4.0])

    def f(x: Any) -> Any:
        y = x * x * c
        in_a_pool(lambda: c.__setitem__(slice(None), 100.0))
        return y.sum()

    assert numbers(ug.grad(f)(x())) == [6.0, 16.0]


# -------------------------------------------------------------------- ways out


def stored(x: Any) -> Any:
    store, out = mx.kv.create("local"), array([0.0, 0.0])
    store.init(0, x * x)
    store.pull(0, out=out)
    return (out * x).sum()


def pushed(x: Any) -> Any:
    store, out = mx.kv.create("local"), array([0.0, 0.0])
    store.init("a", array([0.0, 0.0]))
    store.push("a", [x * x])
    store.pull("a", out=out)
    return (out * x).sum()


def square() -> Any:
    a = mx.sym.Variable("a")
    return a * a


def bound(x: Any) -> Any:
    return (square().bind(mx.cpu(), {"a": x}).forward()[0] * x).sum()


def simply_bound(x: Any) -> Any:
    executor = square().simple_bind(mx.cpu(), a=(2,), type_dict={"a": "float64"})
    return (executor.forward(a=x)[0] * x).sum()


def evaluated(x: Any) -> Any:
    return (square().eval(ctx=mx.cpu(), a=x)[0] * x).sum()


def in_a_module(x: Any) -> Any:
    module = mx.mod.Module(square(), data_names=["a"], label_names=None)
    module.bind([("a", (2,))], for_training=False)
    module.init_params()
    module.forward(mx.io.DataBatch([x]))
    return (module.get_outputs()[0].astype("float64") * x).sum()


def sparse(kind: str) -> F:
    return lambda x: (x.reshape((2, 1)).tostype(kind).data * 3).sum()


def made_sparse(x: Any) -> Any:
    made = mx.nd.sparse.row_sparse_array((x.reshape((2, 1)), [0, 1]), shape=(2, 1))
    return (made.tostype("default").reshape((2,)) * x).sum()


def attached(x: Any) -> Any:
    y = x * x
    y.attach_grad()
    return (y * x).sum()


WAYS_OUT: dict[str, tuple[F, str]] = {
    "store": (stored, "KVStore"),
    "push": (pushed, "KVStore"),
    "bind": (bound, "SymbolBlock"),
    "simple_bind": (simply_bound, "SymbolBlock"),
    "eval": (evaluated, "SymbolBlock"),
    "module": (in_a_module, "SymbolBlock"),
    "row_sparse": (sparse("row_sparse"), "data"),
    "csr": (sparse("csr"), "data"),
    "made sparse": (made_sparse, "sparse"),
    "attach_grad": (attached, "leave it out"),
}


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_way_out_of_the_graph_is_refused(way: str, take: str) -> None:
    f, told = WAYS_OUT[way]
    with pytest.raises(UnsupportedError, match=told):
        TAKES[take](f)


@pytest.mark.parametrize("take", TAKES)
def test_a_file_is_refused(take: str, tmp_path: Path) -> None:
    name = str(tmp_path / "arrays")

    def f(x: Any) -> Any:
        mx.nd.save(name, {"a": x * x})
        return (mx.nd.load(name)["a"] * x).sum()

    with pytest.raises(UnsupportedError, match="saved to a file"):
        TAKES[take](f)


def test_what_is_meant_as_a_constant_may_leave(tmp_path: Path) -> None:
    name = str(tmp_path / "arrays")

    def f(x: Any) -> Any:
        with mx.autograd.pause():
            mx.nd.save(name, x * x)
        mx.nd.save(f"{name}2", x.detach())
        executor = square().bind(mx.cpu(), {"a": x.detach()})
        return ((mx.nd.load(name)[0] + executor.forward()[0]) * x).sum()

    assert numbers(ug.grad(f)(x())) == [2.0, 8.0]
    assert numbers(ug.hvp(f, x(), x())) == [0.0, 0.0]


def test_attach_grad_on_an_argument_changes_nothing() -> None:
    def f(x: Any) -> Any:
        x.attach_grad()
        return (x * x * x).sum()

    assert numbers(ug.grad(f)(x())) == [3.0, 12.0]
    assert numbers(ug.hvp(f, x(), array([1.0, 1.0]))) == [6.0, 12.0]


# -------------------------------------------------------------------- and afterwards


def test_a_compiled_function_may_use_threads() -> None:
    def f(x: Any) -> Any:
        found: list[Any] = [0.0]

        def work() -> None:
            with contextlib.suppress(UnsupportedError):
                found[0] = (x * x).sum()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x.sum() + found[0]

    compiled = ug.jit(f)
    for _ in range(3):
        assert numbers(compiled(x())) == [8.0]


def test_errors_leave_nothing_behind() -> None:
    from unigrad_mxnet import hooks, recording

    def places() -> list[Any]:
        return [getattr(owner, name) for owner, name, _ in hooks._hooks.places.values()]

    before = places()
    for f, _ in WAYS_OUT.values():
        for take in TAKES.values():
            with pytest.raises(UnsupportedError):
                take(f)
    with pytest.raises(UnsupportedError):
        ug.grad(lambda x: in_a_pool(lambda: x * x).sum())(x())
    assert not recording.records
    assert not recording.active.stack
    assert hooks._hooks.users == 0
    assert all(one is other for one, other in zip(places(), before, strict=True))
    assert not mx.autograd.is_recording()
