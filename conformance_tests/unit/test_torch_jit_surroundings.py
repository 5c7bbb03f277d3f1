"""``ug.jit`` on torch: what a function reads beside its arguments, and draws, is never stale."""

from __future__ import annotations

import collections
import dataclasses
import functools
import random
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


class _Box:
    shared = 2.0

    def __init__(self) -> None:
        self.k = 2.0
        self.nested = types.SimpleNamespace(k=2.0)
        self.table = {"k": [1.0, 2.0]}

    def scale(self, x):
        return x * self.k

    @property
    def double(self):
        return 2 * self.k


class _Slots:
    __slots__ = ("k",)

    def __init__(self) -> None:
        self.k = 2.0


@dataclasses.dataclass
class _Config:
    k: float = 2.0
    tail: tuple[float, ...] = (1.0,)


_Point = collections.namedtuple("_Point", "k")
GLOBAL = 2.0
PLACE = types.ModuleType("_place_of_tests")
PLACE.k = 2.0  # type: ignore[attr-defined]


def _read(x):
    return x * GLOBAL


def _scaled(f):
    factor = [2.0]

    @functools.wraps(f)
    def wrapper(x):
        return factor[0] * f(x)

    wrapper.factor = factor
    return wrapper


def _changes() -> dict[str, Any]:
    box, slots, config = _Box(), _Slots(), _Config()
    number, tensor, array = 2.0, X.clone(), np.array([2.0])
    holder: list[Any] = [2.0, {"k": X.clone()}]
    point = [_Point(2.0)]
    wrapped = _scaled(lambda x: x * 1)

    def rebind():
        nonlocal number
        number = 3.0

    def rebind_tensor():
        nonlocal tensor
        tensor = 5 * X

    def write_global():
        global GLOBAL
        GLOBAL += 1

    def default(x, k=holder):
        return x * k[0]

    def by_rule(x):
        return rule(x)

    @ug.custom_vjp
    def rule(x):
        return x * box.k

    rule.defvjp(lambda x: (x * box.k, None), lambda _, u: (u * box.k,))
    put = setattr
    return {
        "number": (lambda x: x * number, rebind),
        "sign of zero": (
            lambda x: torch.copysign(x, torch.full_like(x, box.k)),
            lambda: put(box, "k", -0.0),
        ),
        "tensor": (lambda x: x * tensor, rebind_tensor),
        "tensor in place": (lambda x: x * tensor, lambda: tensor.mul_(7)),
        "array": (lambda x: x * float(array[0]), lambda: array.__setitem__(0, 3.0)),
        "array as a tensor": (
            lambda x: x * torch.from_numpy(array),
            lambda: array.__setitem__(0, 4.0),
        ),
        "list": (lambda x: x * holder[0], lambda: holder.__setitem__(0, 3.0)),
        "dict in a list": (
            lambda x: x * holder[1]["k"],
            lambda: holder[1].__setitem__("k", 9 * X),
        ),
        "named tuple": (lambda x: x * point[0].k, lambda: point.__setitem__(0, _Point(3.0))),
        "attribute": (lambda x: x * box.k, lambda: put(box, "k", 3.0)),
        "namespace": (lambda x: x * box.nested.k, lambda: put(box.nested, "k", 3.0)),
        "property": (lambda x: x * box.double, lambda: put(box, "k", 4.0)),
        "method": (box.scale, lambda: put(box, "k", 5.0)),
        "partial": (functools.partial(_Box.scale, box), lambda: put(box, "k", 6.0)),
        "deep": (lambda x: x * box.table["k"][1], lambda: box.table["k"].__setitem__(1, 8.0)),
        "class": (lambda x: x * box.shared, lambda: put(_Box, "shared", _Box.shared + 1)),
        "slots": (lambda x: x * slots.k, lambda: put(slots, "k", 3.0)),
        "dataclass": (lambda x: x * config.k * config.tail[0], lambda: put(config, "k", 3.0)),
        "global": (lambda x: _read(x), write_global),
        "module": (
            lambda x: x * PLACE.k,  # type: ignore[attr-defined]
            lambda: put(PLACE, "k", PLACE.k + 1),  # type: ignore[attr-defined]
        ),
        "wrapper": (wrapped, lambda: wrapped.factor.__setitem__(0, 3.0)),
        "default": (default, lambda: holder.__setitem__(0, 4.0)),
        "custom rule": (by_rule, lambda: put(box, "k", 7.0)),
        "jit inside": (ug.jit(lambda x: x * box.k), lambda: put(box, "k", 8.0)),
    }


@pytest.mark.parametrize("name", _changes())
def test_what_changes_is_seen(name, graphs):
    """Rebound names, attributes and entries: traced anew; tensors: read at each call."""
    f, change = _changes()[name]
    run, slope = ug.jit(f), ug.jit(ug.grad(f, reduce="sum"))
    before = f(X)
    for _ in range(2):
        _same(run(X), f(X))
        slope(X)
    if name != "sign of zero":
        assert len(graphs) >= 2, "it was not traced"
    change()
    if name != "sign of zero":
        assert not torch.equal(f(X), before)
    for x in (X, X + 1):
        _same(run(x), f(x))
        _same(slope(x), ug.grad(f, reduce="sum")(x))


def test_what_changes_at_each_call_is_traced_only_so_often(graphs):
    step = 0
    run = ug.jit(lambda x: x * step)
    for step in range(30):
        _same(run(X), X * step)
    assert len(graphs) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m[1], "negative_slope", 0.7),
        lambda m: setattr(m[0], "bias", None),
        lambda m: m.__setitem__(1, torch.nn.Tanh()),
        lambda m: setattr(m[2], "running_mean", torch.full((4,), 0.5, dtype=F64)),
        lambda m: m[2].running_mean.add_(1),
        lambda m: m[0].register_forward_hook(lambda m, x, y: 2 * y),
        lambda m: m[0].bias.data.add_(1),
        lambda m: m.train(),
    ],
)
@pytest.mark.parametrize("direct", [False, True])
def test_a_changed_model_is_seen(change, direct, graphs):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.LeakyReLU(), torch.nn.BatchNorm1d(4)
    )
    model.double().eval().requires_grad_(False)
    apply, params = ug.functional(model, mode=None, trainable_only=True)
    assert not params
    x = torch.randn(5, 3, dtype=F64)
    f = model if direct else lambda x: apply({}, x)
    run = ug.jit(ug.grad(lambda x: (f(x) ** 2).sum()))
    run(x)
    before = run(x)
    assert len(graphs) == 1
    try:
        change(model)
        expected = ug.grad(lambda x: (f(x) ** 2).sum())(x)
    except ug.errors.StructureError:
        with pytest.raises(ug.errors.StructureError):
            run(x)
        return
    got = run(x)
    _same(got, expected)
    if not direct or not model.training:
        assert not torch.allclose(got, before)


def test_batch_norm_in_train_mode_is_traced(graphs):
    """Its statistics are read at each call and returned, not written."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).double()
    apply, params = ug.functional(model, mode="train", state="return")
    x = torch.randn(5, 3, dtype=F64)

    def f(params, x):
        y, after = apply(params, x)
        return (y**2).sum(), after

    plain = ug.value_and_grad(f, has_aux=True)
    run = ug.jit(plain)
    for _ in range(2):
        (_, state), _ = got = run(params, x)
        _same(got, plain(params, x))
        ug.assign(model, state)
    assert len(graphs) == 1
    assert int(model[1].num_batches_tracked) == 2


def test_what_cannot_be_watched_runs_as_it_is(graphs):
    numbers = iter(range(1, 10))
    run = ug.jit(lambda x: x * next(numbers))
    assert [float(run(X)[0]) for _ in range(3)] == [1.0, 2.0, 3.0]

    @functools.lru_cache
    def table(n):
        return torch.ones(n, dtype=F64)

    cached = ug.jit(lambda x: x * table(3))
    _same(cached(X), X)
    assert type(table(3)) is torch.Tensor
    assert not graphs


def test_what_a_function_writes_is_written_once(graphs):
    calls: list[int] = []
    kept: dict[str, Any] = {}
    count = 0

    def f(x):
        nonlocal count
        count += 1
        calls.append(1)
        if "c" not in kept:
            kept["c"] = torch.ones(3, dtype=F64)
        return x * kept["c"]

    run = ug.jit(f)
    for k in range(1, 4):
        _same(run(X), X)
        assert (len(calls), count) == (k, k)
        assert type(kept["c"]) is torch.Tensor
    assert not graphs


def test_an_object_that_cannot_be_looked_at(graphs):
    class Odd:
        @property
        def __dict__(self):
            raise OSError("not now")

    odd = Odd()
    run = ug.jit(lambda x: (odd, x * 2)[1])
    _same(run(X), 2 * X)
    assert not graphs


# ---------------------------------------------------------------- random numbers


def test_dropout_is_drawn_anew_from_the_same_stream():
    apply, params = ug.functional(torch.nn.Sequential(torch.nn.Dropout(0.5)), mode="train")
    x = torch.ones(50, dtype=F64)
    plain = ug.grad(lambda x: (apply(params, x) * x).sum())
    run = ug.jit(plain)
    torch.manual_seed(1)
    got = [run(x) for _ in range(3)]
    after = torch.rand(1)
    torch.manual_seed(1)
    _same(got, [plain(x) for _ in range(3)])
    assert torch.equal(after, torch.rand(1))
    assert not torch.equal(got[0], got[1])


def test_dropout_is_traced():
    run = ug.jit(lambda x: torch.nn.functional.dropout(x))
    run(X)
    assert not next(iter(run._compiled.values()))._run._plain


def test_a_stream_that_is_wound_back():
    """A checkpoint draws the same numbers twice, which no graph says."""
    from torch.utils.checkpoint import checkpoint

    def f(x):
        def noisy(x):
            return (torch.nn.functional.dropout(x) * x).sin()

        return (checkpoint(noisy, x, use_reentrant=False) ** 2).sum()

    run, x = ug.jit(ug.grad(f)), torch.ones(50, dtype=F64)
    torch.manual_seed(2)
    got = [run(x), run(x)]
    torch.manual_seed(2)
    _same(got, [ug.grad(f)(x), ug.grad(f)(x)])


def test_a_seed_holds():
    apply, params = ug.functional(torch.nn.Sequential(torch.nn.Dropout(0.5)), mode="train")
    x = torch.ones(50, dtype=F64)
    for seed in (1, 2):
        run = ug.jit(lambda x: apply(params, x, seed=seed))  # noqa: B023
        stream = torch.get_rng_state()
        expected = apply(params, x, seed=seed)
        for _ in range(3):
            assert torch.equal(run(x), expected)
        assert torch.equal(torch.get_rng_state(), stream)


def _torch_fork(x):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return x * torch.rand(3, dtype=F64)


_RNG = np.random.default_rng(0)
_OLD = np.random.RandomState(0)
_PYTHON = random.Random(0)
_GENERATOR = torch.Generator()
DRAWS = {
    "numpy": lambda x: x * np.random.rand(),
    "numpy generator": lambda x: x * _RNG.random(),
    "numpy state": lambda x: x * _OLD.rand(),
    "python": lambda x: x * random.random(),
    "python generator": lambda x: x * _PYTHON.random(),
    "torch": lambda x: x * torch.rand(3, dtype=F64),
    "torch generator": lambda x: x * torch.rand(3, dtype=F64, generator=_GENERATOR),
    "forked": _torch_fork,
    "seeded": lambda x: x * (torch.manual_seed(3), torch.rand(3, dtype=F64))[1],
}


def _seed_all() -> None:
    np.random.seed(0)
    random.seed(0)
    torch.manual_seed(0)
    _RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
    _OLD.seed(0)
    _PYTHON.seed(0)
    _GENERATOR.manual_seed(0)


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_those_of_the_function_itself(name):
    f = DRAWS[name]
    run = ug.jit(f)
    _seed_all()
    got = [run(X) for _ in range(3)]
    _seed_all()
    for y in got:
        assert torch.equal(y, f(X))
