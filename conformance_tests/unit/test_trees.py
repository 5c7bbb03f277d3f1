"""Trees: our own namespace of optree, and the names of leaves."""

import collections

import optree
import pytest

from unigrad import trees

Layer = collections.namedtuple("Layer", "w b")


def test_flatten_and_unflatten_are_inverse():
    """Whatever the nesting; None is a node without leaves."""
    tree = {"b": [1, (2, None)], "a": Layer(3, {"x": 4}), "c": ()}
    leaves, structure = trees.flatten(tree)
    assert leaves == [3, 4, 1, 2]
    assert trees.unflatten(structure, leaves) == tree
    assert trees.unflatten(structure, "wxyz")["a"] == Layer("w", {"x": "x"})


def test_map_leaves():
    """One function, the same structure."""
    assert trees.map_leaves(lambda x: -x, {"a": (1, None), "b": [2]}) == {
        "a": (-1, None),
        "b": [-2],
    }


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (1.0, ["x"]),
        (None, []),
        ({}, []),
        ([1, 2], ["x[0]", "x[1]"]),
        ({"layer1": [1.0]}, ["x['layer1'][0]"]),
        ({3: {("a", 1): 1}}, ["x[3][('a', 1)]"]),
        (Layer(1, (2,)), ["x.w", "x.b[0]"]),
        (collections.deque([1]), ["x[0]"]),
    ],
)
def test_paths(tree, expected):
    """As a user would write them."""
    assert trees.paths(tree, "x") == expected


def test_names_of_several_trees():
    """One after another."""
    assert trees.names(["p", "q"], [{"a": 1}, [2, 3]]) == ["p['a']", "q[0]", "q[1]"]


def test_registrations_of_others_are_not_seen():
    """A class registered in another namespace is a leaf here."""

    class Theirs:
        pass

    optree.register_pytree_node(
        Theirs, lambda t: ((1, 2), None), lambda _, c: Theirs(), namespace="theirs"
    )
    value = Theirs()
    assert trees.flatten(value)[0] == [value]


def test_keys_that_cannot_be_sorted():
    """Mixed keys keep an order; nothing is lost."""
    tree = {"a": 1, 2: 3, ("t",): 4}
    leaves, structure = trees.flatten(tree)
    assert sorted(leaves) == [1, 3, 4]
    assert trees.unflatten(structure, leaves) == tree
