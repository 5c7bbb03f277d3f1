"""Calls of one signature share a plan: nothing that differs between them may be taken from it."""

import collections
import os

import numpy as np
import optree
import pytest

import unigrad as ug
from unigrad import trees
from unigrad.registry import memory
from unigrad.testing import Null

Layer = collections.namedtuple("Layer", "w b")
X, Y = np.array([1.0, 2.0]), np.array([3.0, 4.0])


def weighted(entries):
    """A function that depends on the order in which it is given arrays."""
    return sum(k * np.sum(x * x) for k, x in enumerate(entries, start=1))


@pytest.mark.parametrize(
    ("wrap", "entries"),
    [
        (lambda tree: tree, lambda tree: tree.values()),
        (lambda tree: [tree], lambda tree: tree[0].values()),
        (lambda tree: Layer(tree, None), lambda tree: tree.w.values()),
        (lambda tree: {1: tree}, lambda tree: tree[1].values()),
    ],
)
def test_dicts_of_another_insertion_order(wrap, entries):
    """The function sees the dict of this call, not of the first of its signature."""
    gradient = ug.grad(lambda tree: weighted(entries(tree)))
    for tree in ({"a": X, "b": Y}, {"b": Y, "a": X}, {"a": X, "b": Y}):
        got = dict(zip(sorted(tree), trees.flatten(gradient(wrap(tree)))[0], strict=True))
        for k, key in enumerate(tree, start=1):
            np.testing.assert_array_equal(got[key], 2.0 * k * tree[key])
        assert list(ug.grad(lambda p: weighted(p.values()))(tree)) == list(tree)


@pytest.mark.parametrize(
    "tree",
    [
        X,
        1.5,
        [],
        [X, Y],
        (X, [Y, (X,)], {}),
        {"b": X, "a": {"d": Y, "c": [X]}},
        {2: X, "a": Y},
        {True: X, 2.5: Y},
        [None, X],
        Layer(X, [Y]),
        [Layer(X, Y), {"k": Layer(X, Y)}],
        collections.OrderedDict(b=X, a=Y),
        collections.deque([X, Y]),
        ["text", X, len],
    ],
)
def test_the_flattener_is_flatten(tree):
    """The same leaves in the same order, and the same structure, or none for a lone leaf."""
    leaves, treedef, signature = memory().flatten(tree)
    wanted, structure = trees.flatten(tree)
    assert list(map(id, leaves)) == list(map(id, wanted))
    assert treedef == structure or (treedef is None and leaves[0] is tree)
    assert signature == memory().flatten(tree)[2]
    assert memory().flatten((tree, X))[2] != signature


def test_a_registration_is_seen():
    """A class that was refused as a leaf is a tree once it is registered."""

    class Parameters:
        def __init__(self, w):
            self.w = w

    gradient = ug.grad(lambda p: np.sum(p.w * p.w))
    with pytest.raises(ug.errors.NotDifferentiableError):
        gradient(Parameters(X))
    optree.register_pytree_node(
        Parameters, lambda p: ((p.w,), ["aux"]), lambda _, c: Parameters(*c), namespace="unigrad"
    )
    for _ in range(2):  # its structure cannot be hashed
        np.testing.assert_array_equal(gradient(Parameters(X)).w, 2 * X)


def test_the_same_operator_under_several_backends():
    """The switch and a new registration hold at the next call."""

    class Twin(Null):
        name = "twin"

    gradient = ug.grad(lambda x: np.sum(x * x))
    np.testing.assert_array_equal(gradient(X), 2 * X)
    for _ in range(2):
        ug.register_backend(Twin())
        with ug.use("twin"):
            np.testing.assert_array_equal(gradient(X), X)  # what the null adapter gives
        np.testing.assert_array_equal(gradient(X), 2 * X)


def test_dtypes_are_no_part_of_a_plan():
    """Each call has its own: floats of two widths, then integers, which are refused."""
    gradient = ug.grad(lambda p: np.sum(p[0] * p[1]))
    for kind in ("float64", "float32", "float16", "longdouble"):
        got = gradient([X.astype(kind), Y.astype(kind)])
        assert [g.dtype for g in got] == [np.dtype(kind)] * 2
    with pytest.raises(ug.errors.NotDifferentiableError, match=r"p\[1\] is to be differentiated"):
        gradient([X, Y.astype(int)])
    assert [type(g) for g in gradient([np.float32(1.0), 2.0])] == [np.float32, np.float32]


def test_more_signatures_than_are_kept():
    """The memory is bounded, and forgetting changes nothing."""
    gradient = ug.grad(lambda p: p[sorted(p)[0]] * 3.0)
    for k in range(trees.LIMIT + 10):
        assert gradient({f"w{k}": 1.0}) == {f"w{k}": 3.0}
    assert len(memory().plans) <= trees.LIMIT


def test_arguments_move_between_positions_and_keywords():
    """One operator, called in all the ways that its function can be."""
    by_b = ug.grad(lambda a, b, c=1.0: a * b * c, argnums="b")
    assert by_b(2.0, 3.0) == 2.0
    assert by_b(2.0, b=3.0) == 2.0
    assert by_b(b=3.0, a=2.0, c=5.0) == 10.0
    assert by_b(2.0, 3.0, 5.0) == 10.0
    assert by_b(c=5.0, a=2.0, b=3.0) == 10.0


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x[:],
        lambda x: x.reshape(1, -1)[0],
        lambda x: np.frombuffer(memoryview(x), dtype=x.dtype),
        lambda x: np.asarray(memoryview(x)),
    ],
)
def test_results_in_the_memory_of_an_input_are_copied(make):
    """Views of inputs, inputs that are views, and buffers over their memory."""
    x = np.array([1.0, 2.0])
    value, pullback = ug.vjp(lambda a: a, x)
    for cotangent in (x, make(x)):
        (got,) = pullback(cotangent)
        assert not np.may_share_memory(got, x)
    assert not np.may_share_memory(value, x)
    released = ug.get_backend("numpy").release([x], [make(x)], [x])
    assert not np.may_share_memory(released[0], x)
    one, other = ug.get_backend("numpy").release([x, x], [], [x, x])
    assert not np.may_share_memory(one, other)


def test_argnums_of_numpy():
    """NumPy's integers are positions, its booleans and arrays are not."""
    f = lambda x, y: x * y * y  # noqa: E731
    assert ug.grad(f, argnums=np.int64(1))(2.0, 3.0) == 12.0
    assert ug.grad(f, argnums=(np.int32(1), 0))(2.0, 3.0) == (12.0, 9.0)
    for wrong in (np.bool_(True), np.array([0, 1]), (0, np.int64(0)), 1.0):
        with pytest.raises(ug.errors.ArgumentError, match="argnums is a position"):
            ug.grad(f, argnums=wrong)


def test_hvp_of_several_arguments_hints_at_argnums():
    """One tangent for each argument, and argnums left at 0."""
    f = lambda x, y: x * x * y  # noqa: E731
    with pytest.raises(ug.errors.StructureError, match=r"type: argnums=\(0, 1\) to differentiate"):
        ug.hvp(f, (2.0, 3.0), (1.0, 1.0))
    assert ug.hvp(f, (2.0, 3.0), (1.0, 1.0), argnums=(0, 1)) == (10.0, 4.0)
    with pytest.raises(ug.errors.StructureError) as caught:
        ug.hvp(f, (2.0, 3.0), [1.0])
    assert "argnums" not in str(caught.value)


def test_custom_vjp_takes_arguments_by_position():
    """A keyword is refused by name."""

    @ug.custom_vjp
    def scaled(x, c):
        return x * c

    scaled.defvjp(lambda x, c: (x * c, c), lambda c, u: (u * c, None))
    with pytest.raises(TypeError, match=r"scaled was called with c=\.\.\., .* by position"):
        scaled(2.0, c=3.0)
    assert ug.grad(scaled)(2.0, 3.0) == 3.0


def test_a_misspelt_environment_variable_is_named(monkeypatch):
    """S11: where the name comes from is said."""
    monkeypatch.setitem(os.environ, "UNIGRAD_BACKEND", "pytroch")
    with pytest.raises(
        ug.errors.UnknownBackendError,
        match=r"no backend is named 'pytroch', as the variable UNIGRAD_BACKEND says; the known",
    ):
        ug.grad(lambda x: x * x)(3.0)
    assert ug.grad(lambda x: x * x, backend="numpy")(3.0) == 6.0
