"""``ug.jit`` on torch: one graph of the function and its derivative, and the same numbers."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

import numpy as np
import pytest

import unigrad as ug

torch = pytest.importorskip("torch")
from unigrad_torch import compiled as module  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

F64 = torch.float64
X = torch.tensor([1.0, 2.0, 3.0], dtype=F64)


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that were to be compiled, which run as they are in these tests."""
    found: list[Any] = []

    def keep(graph: Any, examples: Any) -> Any:
        found.append(graph)
        return graph

    monkeypatch.setattr(module, "compile_graph", keep)
    return found


def _same(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------- by inductor


def test_inductor_gives_the_derivative():
    """The loop of the docs: the update of a dict of weights, compiled as one graph."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    apply, params = ug.functional(model.double())
    x, y = torch.randn(5, 3, dtype=F64), torch.randn(5, 1, dtype=F64)

    def update(params, x, y):
        value, slope = ug.value_and_grad(lambda p: ((apply(p, x) - y) ** 2).mean())(params)
        return value, {n: p - 0.1 * slope[n] for n, p in params.items()}, params, 7

    run, limit = ug.jit(update), sys.getrecursionlimit()
    for _ in range(3):
        value, after, same, seven = run(params, x, y)
        expected = update(params, x, y)
        _same((value, after), expected[:2])
        assert seven == 7
        for n in params:
            assert torch.equal(same[n], params[n])
            assert same[n].data_ptr() != params[n].data_ptr()
        assert not value.requires_grad
        params = after
    assert sys.getrecursionlimit() == limit


def test_checks_of_values_survive_compilation():
    """A singular matrix and a wrong index are errors, not numbers."""
    for f in (lambda a, i: torch.linalg.inv(a), lambda a, i: a[i] * 2):
        run = ug.jit(f)
        good = torch.eye(3, dtype=F64), torch.tensor([0, 2])
        _same(run(*good), f(*good))
        bad = torch.zeros(3, 3, dtype=F64), torch.tensor([0, 7])
        with pytest.raises((RuntimeError, IndexError)):
            run(*bad)
        _same(run(*good), f(*good))


def test_without_a_compiler_the_graph_runs(monkeypatch):
    def missing(graph, examples):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(module, "compile_graph", missing)
    run = ug.jit(ug.grad(lambda x: torch.sum(x**3)))
    for x in (X, 2 * X):
        _same(run(x), 3 * x**2)


# ---------------------------------------------------------------- what it computes

FUNCTIONS = {
    "identity": lambda x: x,
    "view and itself": lambda x: (x[1:], x, x.view(-1), x.expand(2, 3)),
    "twice": lambda x: [x * 2] * 2,
    "captured": lambda x: (X, x * X),
    "integers": lambda x: (x.argsort(), x > 1, torch.arange(3), x.shape[0]),
    "hvp": lambda x: ug.hvp(lambda x: (x**3).sum(), x, torch.ones_like(x)),
    "jvp": lambda x: ug.jvp(lambda x: x**3, x, x),
    "jacobian": lambda x: ug.jacobian(lambda x: torch.outer(x, x))(x),
    "hessian": lambda x: ug.hessian(lambda x: torch.prod(x))(x),
    "vjp": lambda x: ug.vjp(lambda x: x * x.exp(), x)[1](x),
    "nested": lambda x: ug.grad(lambda x: (ug.grad(lambda x: (x**3).sum())(x) ** 2).sum())(x),
    "jit in jit": lambda x: ug.jit(ug.grad(ug.jit(lambda x: (x**3).sum())))(x),
    "reduce": lambda x: ug.grad(lambda x: x**2, reduce="sum")(x),
    "per example": lambda x: ug.grad(lambda x: x**3, per_example=True)(x),
    "custom rule": lambda x: ug.grad(lambda x: cube(x).sum())(x),
    "twice by a custom rule": lambda x: ug.hvp(lambda x: cube(x).sum(), x, x),
    "cross entropy": lambda x: ug.grad(lambda x: ug.ops.cross_entropy(x[None], LABEL))(x),
    "native": lambda x: torch.func.grad(lambda x: (x**3).sum())(x),
    "vmap": lambda x: torch.func.vmap(lambda v: v * x)(torch.stack([x, 2 * x])),
    "in place": lambda x: x.clone().mul_(2).add_(X),
    "unconnected": lambda x: ug.grad(lambda x, y: x.sum(), 1)(x, x),
    "complex": lambda x: ug.grad(lambda z: (z * z.conj() * X).real.sum())(x + 1j * x),
    "aux": lambda x: ug.value_and_grad(lambda x: (x.sum(), (x, {"n": 3})), has_aux=True)(x),
}
LABEL = torch.tensor([2])


@ug.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, u: (u * 3 * x**2,))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", ["float64", "float32", "strided"])
def test_values(name, kind, graphs):
    """Traced and plain are the same, at other values than those of the trace too."""
    if kind == "strided":
        x = torch.stack([X, -X], 1)[:, 0]
    elif name == "captured" or kind == "float64":
        x = X.clone()
    else:
        x = X.float()
    f = FUNCTIONS[name]
    run = ug.jit(f)
    run(x)
    for new in (x, x * 0.7 + 0.2):
        given = new.clone() if kind != "strided" else torch.stack([new, new], 1)[:, 0]
        result, bits = run(given), given.clone()
        tolerance = 1e-5 if x.dtype == torch.float32 else 1e-12
        torch.testing.assert_close(result, f(new), rtol=tolerance, atol=tolerance)
        memory = [given.untyped_storage().data_ptr(), X.untyped_storage().data_ptr()]
        for y in ug.trees.flatten(result)[0]:
            if isinstance(y, torch.Tensor):
                assert 0 not in y.stride()
                assert not y.requires_grad
                memory.append(y.untyped_storage().data_ptr())
        assert len(set(memory)) == len(memory)
        assert torch.equal(given, bits)
    if name in ("complex", "per example"):
        assert not graphs  # inductor has no complex numbers; per_example looks at values
    elif name != "jit in jit":
        assert len(graphs) == 1


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,)])
def test_shapes(shape, graphs):
    x = torch.full(shape, 2.0, dtype=F64)
    run = ug.jit(ug.grad(lambda x: (x**3).sum()))
    _same(run(x), 3 * x**2)
    _same(run(x + 1), 3 * (x + 1) ** 2)
    assert len(graphs) == 1


def test_one_tensor_twice_is_two_arguments(graphs):
    """Trap: a trace tells its inputs, and what is closed over, by identity."""
    x, y = X.clone(), 2 * X
    run = ug.jit(lambda a, b: a - 3 * b)
    _same(run(x, x), -2 * x)
    _same(run(x, y), x - 3 * y)
    closed = ug.jit(lambda a: a * x)
    _same(closed(x), x * x)
    _same(closed(y), y * x)
    assert len(graphs) == 2


def test_layouts_are_part_of_the_signature(graphs):
    x = torch.arange(6.0, dtype=F64).reshape(2, 3)
    run = ug.jit(lambda x: (x.reshape(-1) * 2, x.is_contiguous()))
    for y in (x, x.t().contiguous().t(), x):
        values, contiguous = run(y)
        _same(values, y.reshape(-1) * 2)
        assert contiguous == y.is_contiguous()


# ---------------------------------------------------------------- what runs as it is

ONE = torch.tensor(2.0, dtype=F64)


def _caught(x):
    try:
        return x * float(x[0])
    except Exception:
        return x * 1000


VALUES = {
    "branch": lambda x: x if x[0] > 1.5 else -x,
    "item": lambda x: x * x[0].item(),
    "numpy": lambda x: x * float(x.numpy()[0]),
    "tolist": lambda x: x * x.tolist()[0],
    "mask": lambda x: x[x > 1.5],
    "nonzero": lambda x: torch.nonzero(x - 1),
    "unique": lambda x: torch.unique(x),
    "captured item": lambda x: x * ONE.item(),
    "captured float": lambda x: x * float(ONE),
    "captured list": lambda x: x * X.tolist()[1],
    "captured branch": lambda x: x if ONE > 1 else -x,
    "captured array": lambda x: x * np.asarray(X)[1],
    "captured computed": lambda x: x * (ONE * 2).item(),
    "to_numpy": lambda x: x * float(ug.to_numpy(x)[0]),
    "caught": _caught,
    "equal": lambda x: x * (2 if torch.equal(x, X) else 3),
    "while": lambda x: functools.reduce(lambda a, _: a * 2, range(int(x[0])), x),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_function_that_looks_at_values_runs_as_it_is(name, graphs):
    f = VALUES[name]
    run = ug.jit(f)
    for k in (1.0, 2.0, 0.5):
        _same(run(k * X), f(k * X))
    if name in ("branch", "captured item", "captured branch", "mask", "equal", "while"):
        slope = ug.jit(ug.grad(f, reduce="sum"))
        _same(slope(X), ug.grad(f, reduce="sum")(X))
    old = ONE.clone()
    ONE.mul_(-1)
    try:
        _same(run(X), f(X))
    finally:
        ONE.copy_(old)
    assert not graphs


def test_inputs_and_captured_tensors_that_are_written(graphs):
    total, x = torch.zeros(3, dtype=F64), X.clone()
    run = ug.jit(lambda x: total.add_(x) * 1)
    for k in range(1, 4):
        _same(run(X), k * X)
        _same(total, k * X)
    ug.jit(lambda x: x[1:].mul_(2))(x)
    assert x.tolist() == [1.0, 4.0, 6.0]
    assert not graphs


class _Odd(torch.Tensor):
    pass


def test_subclasses_and_sparse_tensors(graphs):
    odd = X.clone().as_subclass(_Odd)
    assert type(ug.jit(lambda x: x * 2)(odd)) is _Odd
    eye = torch.eye(3, dtype=F64).to_sparse()
    _same(ug.jit(lambda x: x @ torch.ones(3, 1, dtype=F64))(eye), torch.ones(3, 1, dtype=F64))
    assert not graphs


# ---------------------------------------------------------------- exceptions


def test_an_exception_is_the_users_own_and_leaves_nothing(graphs):
    limit, grad, stream = sys.getrecursionlimit(), torch.is_grad_enabled(), torch.get_rng_state()
    planned, broken = KeyError("planned"), [True]

    def f(x):
        with torch.no_grad():
            if broken[0]:
                raise planned
        return (x**2).sum()

    run = ug.jit(ug.grad(f))
    with pytest.raises(KeyError) as caught:
        run(X)
    assert caught.value is planned
    broken[0] = False
    _same(run(X), 2 * X)
    _same(run(X), 2 * X)
    assert len(graphs) <= 1
    assert (sys.getrecursionlimit(), torch.is_grad_enabled()) == (limit, grad)
    assert torch.equal(torch.get_rng_state(), stream)
    assert not module.tracing()
    assert torch._C._len_torch_dispatch_stack() == torch._C._len_torch_function_stack() == 0


# ---------------------------------------------------------------- what surrounds it


def test_derivatives_of_a_compiled_function(graphs):
    """S13: it is differentiated through, by unigrad and by torch."""
    f = ug.jit(lambda x: (x**3).sum())
    f(X)
    assert len(graphs) == 1
    _same(ug.grad(f)(X), 3 * X**2)
    _same(ug.hvp(f, X, X), 6 * X**2)
    _same(torch.func.grad(f)(X), 3 * X**2)
    rows = torch.stack([X, 2 * X])
    _same(torch.func.vmap(f)(rows), (rows**3).sum(1))
    leaf = X.clone().requires_grad_()
    _same(torch.autograd.grad(f(leaf), leaf)[0], 3 * X**2)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, X)
        _same(torch.autograd.forward_ad.unpack_dual(f(dual)).tangent, 3 * (X**3).sum())
    assert len(graphs) == 1


def test_a_captured_leaf_keeps_its_graph(graphs):
    w = X.clone().requires_grad_()
    f = ug.jit(ug.value_and_grad(lambda x: (w * x**2).sum()))
    value, slope = f(X)
    _same(torch.autograd.grad(value + slope.sum(), w)[0], X**2 + 2 * X)
    with torch.no_grad():
        _same(f(X)[1], 2 * X * X)
    later = X.clone()
    g = ug.jit(lambda x: (later * x).sum())
    assert not g(X).requires_grad
    later.requires_grad_()
    assert g(X).requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_modes(mode, graphs):
    run = ug.jit(ug.grad(lambda x: (x**3).sum()))
    with mode():
        inside = X * 1
        _same(run(inside), 3 * X**2)
        _same(run(inside), 3 * X**2)
        leaf = X.clone().requires_grad_()
        _same(run(leaf), 3 * X**2)
    y = run(X)
    _same(y, 3 * X**2)
    assert not y.is_inference()
    assert len(graphs) >= 1


def test_autocast_and_defaults_are_part_of_the_signature(graphs):
    a = torch.randn(4, 4)

    def f(a):
        with torch.autocast("cpu", enabled=False):
            exact = a @ a
        return a @ a, exact, torch.zeros(2) + torch.tensor(1.5)

    run = ug.jit(f)
    plain = run(a)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(2):
            got = run(a)
            assert got[0].dtype == torch.bfloat16
            torch.testing.assert_close(got, f(a), rtol=0, atol=0)
            assert torch.is_autocast_cache_enabled()
    torch.testing.assert_close(run(a), plain)
    torch.set_default_dtype(F64)
    try:
        assert run(a)[2].dtype == F64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert run(a)[2].device.type == "meta"
    assert run(a)[2].device.type == "cpu"


def test_modes_of_the_users_are_asked(graphs):
    class Doubling(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            y = func(*args, **(kwargs or {}))
            return 2 * y if func is torch.exp else y

    run = ug.jit(lambda x: torch.exp(x))
    run(X)
    with Doubling():
        _same(run(X), 2 * X.exp())
    _same(run(X), X.exp())


def test_threads(graphs):
    """Each of them gets the right numbers, whoever traces."""
    functions = [ug.jit(ug.grad(lambda x, k=k: (x**k).sum())) for k in (2, 3, 4)]
    wrong: list[Any] = []

    def work(seed: int) -> None:
        x = X + seed
        for _ in range(10):
            for k, f in zip((2, 3, 4), functions, strict=True):
                if not torch.allclose(f(x), k * x ** (k - 1)):
                    wrong.append((seed, k))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_other_threads_meanwhile_are_not_traced():
    """A thread that a traced function waits for neither hangs nor leaks into the trace."""
    inner = ug.jit(lambda x: x * 3)
    seen: list[Any] = []

    def f(x):
        t = threading.Thread(target=lambda: seen.append(inner(X)))
        t.start()
        t.join()
        return x * 2

    _same(ug.jit(f)(X), 2 * X)
    for y in seen:
        assert type(y) is torch.Tensor
        _same(y, 3 * X)


def test_a_huge_trace_is_given_up(monkeypatch, graphs):
    """To compile it would take minutes."""
    monkeypatch.setattr(module, "_LARGEST", 100)
    run = ug.jit(lambda x: functools.reduce(lambda a, _: a * 1.01, range(200), x))
    for _ in range(2):
        _same(run(X), X * 1.01**200)
    assert not graphs
