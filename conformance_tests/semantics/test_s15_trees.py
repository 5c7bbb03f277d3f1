"""S15: parameters may be any nesting, results have the structure, directions must match it."""

import collections
import functools

import numpy as np
import optree
import pytest

import unigrad as ug
from unigrad import trees

Layer = collections.namedtuple("Layer", "w b")


class Point:
    """A class of the user's, registered below."""

    def __init__(self, x, y):
        self.x, self.y = x, y


optree.register_pytree_node(
    Point,
    lambda p: ((p.x, p.y), None, ("x", "y")),
    lambda _, children: Point(*children),
    path_entry_type=optree.GetAttrEntry,
    namespace=trees.NAMESPACE,
)


def total(tree):
    leaves, _ = trees.flatten(tree)
    result = 0.0
    for k, leaf in enumerate(leaves, start=1):
        result = result + k * ug.array_namespace(leaf).sum(leaf * leaf)
    return result


STRUCTURES = {
    "dict": lambda a, b: {"a": a, "b": b},
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "namedtuple": lambda a, b: Layer(a, b),
    "registered": lambda a, b: Point(a, b),
    "ordered": lambda a, b: collections.OrderedDict(z=a, y=b),
    "defaultdict": lambda a, b: collections.defaultdict(list, p=a, q=b),
    "deque": lambda a, b: collections.deque([a, b]),
    "none": lambda a, b: {"a": a, "none": None, "b": [b, None, ()]},
    "deep": lambda a, b: [{"x": (Layer(a, None),)}, [[[b]]]],
    "empty beside": lambda a, b: {"a": a, "b": b, "empty": {}, "list": []},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_s15_the_result_has_the_structure(kit, name):
    """S15: of grad, vjp and jvp, for every container."""
    a, b = kit.array([1.0, 2.0]), kit.array(3.0)
    tree = STRUCTURES[name](a, b)
    leaves, structure = trees.flatten(tree)
    gradient = ug.grad(total)(tree)
    got, found = trees.flatten(gradient)
    assert found == structure
    assert type(gradient) is type(tree)
    for k, (g, x) in enumerate(zip(got, leaves, strict=True), start=1):
        kit.same(g, 2.0 * k * kit.numpy(x))
    (pulled,) = ug.vjp(total, tree)[1](kit.array(1.0))
    assert trees.flatten(pulled)[1] == structure
    _, tangent = ug.jvp(total, (tree,), (tree,))
    expected = sum(2.0 * k * np.sum(kit.numpy(x) ** 2) for k, x in enumerate(leaves, start=1))
    kit.same(tangent, expected)


@pytest.mark.parametrize("name", STRUCTURES)
def test_s15_second_order_structures(exact_kit, name):
    """S15: hvp has the structure, hessian is a tree of trees."""
    kit = exact_kit
    a, b = kit.array([1.0, 2.0]), kit.array(3.0)
    tree = STRUCTURES[name](a, b)
    leaves, structure = trees.flatten(tree)
    product = ug.hvp(total, (tree,), tree)
    assert trees.flatten(product)[1] == structure
    for k, (g, x) in enumerate(zip(trees.flatten(product)[0], leaves, strict=True), start=1):
        kit.same(g, 2.0 * k * kit.numpy(x))
    blocks = trees.flatten(ug.hessian(total)(tree))[0]
    assert len(blocks) == len(leaves) ** 2


def test_s15_a_lone_namedtuple_is_one_argument(exact_kit):
    """S15: not the tuple of arguments that hvp and jvp take."""
    kit = exact_kit
    layer = Layer(kit.array([1.0, 2.0]), kit.array(3.0))
    product = ug.hvp(total, layer, layer)
    assert isinstance(product, Layer)
    kit.same(product.b, 12.0)
    _, tangent = ug.jvp(total, layer, layer)
    kit.same(tangent, 2.0 * (5.0 + 2.0 * 9.0))


def test_s15_output_trees(kit):
    """S15: vjp, jvp and jacobian of a function that returns a tree."""
    x = kit.array([1.0, 2.0])

    def f(x):
        return {"square": x * x, "more": (3.0 * x, None)}

    value, pullback = ug.vjp(f, x)
    kit.same(value["square"], [1.0, 4.0])
    kit.same(pullback({"square": x, "more": (x, None)})[0], [5.0, 14.0])
    _, tangent = ug.jvp(f, x, x)
    kit.same(tangent["more"][0], [3.0, 6.0])
    assert tangent["more"][1] is None
    jacobian = ug.jacobian(f)({"p": x}["p"])
    kit.same(jacobian["square"], [[2.0, 0.0], [0.0, 4.0]])
    kit.same(jacobian["more"][0], [[3.0, 0.0], [0.0, 3.0]])


def test_s15_argnums_in_every_form(kit):
    """S15: position, negative position, name, tuple; by position or by keyword."""
    x, y = kit.array([1.0, 2.0]), kit.array([3.0, 4.0])

    def f(x, y, *, scale=1.0):
        return ug.array_namespace(x).sum(x * y) * scale

    kit.same(ug.grad(f, 1)(x, y), [1.0, 2.0])
    kit.same(ug.grad(f, -1)(x, y), [1.0, 2.0])
    kit.same(ug.grad(f, "y")(x, y), [1.0, 2.0])
    kit.same(ug.grad(f, "y")(x, y=y), [1.0, 2.0])
    kit.same(ug.grad(f, 1)(x, y=y), [1.0, 2.0])
    kit.same(ug.grad(f)(x, y, scale=2.0), [6.0, 8.0])
    kit.same(ug.grad(f, "scale")(x, y, scale=kit.array(2.0)), 11.0)
    for argnums in [(0, 1), ("x", "y"), [0, 1]]:
        gx, gy = ug.grad(f, argnums)(x, y)
        kit.same(gx, [3.0, 4.0])
        kit.same(gy, [1.0, 2.0])
    (only,) = ug.grad(f, (1,))(x, y)
    kit.same(only, [1.0, 2.0])


def test_s15_a_keyword_only_argument_has_no_position(kit):
    """S15: argnums="b" never means one of *rest, whatever their number."""
    x = kit.array(2.0)

    def f(a, *rest, b=1.0):
        return a * b + sum(rest) * 3.0

    with pytest.raises(ug.errors.ArgumentError, match="called without it"):
        ug.grad(f, "b")(x, x, x)
    kit.same(ug.grad(f, "b")(x, x, x, b=x), 2.0)
    kit.same(ug.grad(f, 2)(x, x, x), 3.0)


def test_s15_callables_of_every_kind(kit):
    """S15: partials, methods, static and class methods, callable objects, defaults, builtins."""
    x = kit.array(3.0)

    class Model:
        def __call__(self, x):
            return x * x

        def method(self, x, y=2.0):
            return x * x * y

        @staticmethod
        def static(x):
            return x * x

        @classmethod
        def of_class(cls, x):
            return x * x

    for f in (Model(), Model.static, Model.of_class, Model().static, lambda x, k=2: x**k):
        kit.same(ug.grad(f)(x), 6.0)
    kit.same(ug.grad(Model().method, "x")(x), 12.0)
    kit.same(ug.grad(functools.partial(Model().method, y=x))(x), 18.0)
    kit.same(ug.grad(functools.partial(lambda a, x: a * x * x, x))(x), 18.0)
    kit.same(ug.grad(lambda **options: options["a"] * options["b"], "a")(a=x, b=x), 3.0)
    assert ug.grad(Model.static).__name__ == "static"


WRONG_DIRECTIONS = {
    "structure": (lambda a, b: [a, b], ug.errors.StructureError, "structure"),
    "missing": (lambda a, b: {"w": a}, ug.errors.StructureError, "structure"),
    "shape": (lambda a, b: {"w": a[:1], "b": b}, ug.errors.ShapeError, r"params\['w'\].*\(2,\)"),
    "rank": (lambda a, b: {"w": a, "b": a}, ug.errors.ShapeError, r"params\['b'\].*\(\)"),
}


@pytest.mark.parametrize("wrong", WRONG_DIRECTIONS)
def test_s15_a_tangent_must_match(exact_kit, wrong):
    """S15: the first leaf that does not match is named, by jvp and by hvp."""
    kit = exact_kit
    a, b = kit.array([1.0, 2.0]), kit.array(3.0)
    make, error, message = WRONG_DIRECTIONS[wrong]

    def f(params):
        return ug.array_namespace(params["w"]).sum(params["w"]) * params["b"]

    params = {"w": a, "b": b}
    for call in (
        lambda: ug.jvp(f, params, make(a, b)),
        lambda: ug.hvp(f, params, make(a, b)),
        lambda: ug.value_grad_and_hvp(f, params, make(a, b)),
    ):
        with pytest.raises(error, match=message) as caught:
            call()
        assert "the tangent" in str(caught.value)
        assert isinstance(caught.value, ValueError)


def test_s15_a_tangent_must_have_the_dtype(kit):
    """S15: nothing is cast in silence."""
    x, v = kit.array([1.0, 2.0], "float64"), kit.array([1.0, 2.0], "float32")
    with pytest.raises(ug.errors.ShapeError, match=r"dtype float64.*dtype float32"):
        ug.jvp(lambda x: x * x, x, v)
    with pytest.raises(ug.errors.ShapeError, match=r"dtype float64.*dtype float32"):
        ug.vjp(lambda x: x * x, x)[1](v)
    with pytest.raises(ug.errors.ShapeError, match="dtype float64"):
        ug.jvp(lambda x: x * x, x, kit.array([1, 2], "int32"))


def test_s15_a_cotangent_must_match(kit):
    """S15: the cotangent has the structure and the shapes of the output."""
    x = kit.array([1.0, 2.0])
    _, pullback = ug.vjp(lambda x: {"y": x, "z": [x]}, x)
    with pytest.raises(ug.errors.StructureError, match="the cotangent"):
        pullback(x)
    with pytest.raises(ug.errors.ShapeError, match=r"output\['z'\]\[0\]"):
        pullback({"y": x, "z": [x[:1]]})


def test_s15_primals_and_tangents_are_counted(kit):
    """S15: two arguments need two tangents."""
    x = kit.array([1.0, 2.0])
    with pytest.raises(ug.errors.StructureError, match=r"a tuple of 2.*got a tuple of 1"):
        ug.jvp(lambda x, y: x * y, (x, x), (x,))


def test_s15_paths_are_what_the_user_would_type():
    """S15, S4: dict keys, positions, attributes of namedtuples and of registered classes."""
    tree = {"a": [1, Layer(2, 3)], "p": (Point(4, 5),)}
    assert trees.paths(tree, "params") == [
        "params['a'][0]",
        "params['a'][1].w",
        "params['a'][1].b",
        "params['p'][0].x",
        "params['p'][0].y",
    ]
