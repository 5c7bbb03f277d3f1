"""S10: one framework a call; NumPy arrays and Python numbers are neutral beside it."""

import numpy as np
import pytest

import unigrad as ug


def product(x, y):
    return ug.array_namespace(x).sum(x * y)


MIXED = {
    "grad": lambda a, b: ug.grad(product)(a, b),
    "grad both": lambda a, b: ug.grad(product, (0, 1))(a, b),
    "grad keyword": lambda a, b: ug.grad(product)(a, y=b),
    "vjp": lambda a, b: ug.vjp(product, a, b),
    "jvp": lambda a, b: ug.jvp(product, (a, b), (a, b)),
    "jacobian": lambda a, b: ug.jacobian(product)(a, b),
    "hvp": lambda a, b: ug.hvp(product, (a, b), a),
    "hessian": lambda a, b: ug.hessian(product)(a, b),
    "jit": lambda a, b: ug.jit(product)(a, b),
    "array_namespace": lambda a, b: ug.array_namespace(a, b),
    "asarray": lambda a, b: ug.asarray([a, b]),
}


@pytest.mark.parametrize("operator", MIXED)
def test_s10_two_frameworks_are_refused(two_kits, operator):
    """S10: with the name of one leaf of each, and what to type."""
    first, second = two_kits
    with pytest.raises(ug.errors.MixedBackendError) as caught:
        MIXED[operator](first.array([1.0, 2.0]), second.array([1.0, 2.0]))
    message = str(caught.value)
    assert first.name in message
    assert second.name in message
    assert "ug.asarray(tree, backend=" in message
    assert isinstance(caught.value, TypeError)


def test_s10_both_paths_are_named(two_kits):
    """S10: one leaf of each framework by its path."""
    first, second = two_kits
    params = {"w": first.array([1.0]), "b": [second.array([1.0])]}
    with pytest.raises(ug.errors.MixedBackendError, match=r"params\['w'\]") as caught:
        ug.grad(lambda params: 0.0)(params)
    assert "params['b'][0]" in str(caught.value)
    with pytest.raises(ug.errors.MixedBackendError, match=r"batch\[1\]"):
        ug.grad(lambda w, batch: 0.0)(params["w"], (1, second.array([1.0])))


def test_s10_directions_must_be_of_the_framework(two_kits):
    """S10: tangents and cotangents of another framework are refused by name."""
    first, second = two_kits
    x, other = first.array([1.0, 2.0]), second.array([1.0, 2.0])
    for call in (
        lambda: ug.jvp(lambda x: x, x, other),
        lambda: ug.vjp(lambda x: x, x)[1](other),
    ):
        with pytest.raises(ug.errors.MixedBackendError, match=f"an array of {second.name}"):
            call()


def test_s10_an_output_of_another_framework_is_refused(two_kits):
    """S10: a function that answers in another framework has lost its derivative."""
    first, second = two_kits
    y = second.array(1.0)
    with pytest.raises(ug.errors.MixedBackendError, match=r"ug\.array_namespace\(x\)"):
        ug.grad(lambda x: y)(first.array([1.0]))


def test_s10_numpy_is_neutral(kit):
    """S10: NumPy data, NumPy scalars and Python numbers are accepted beside framework arrays."""
    x = kit.array([1.0, 2.0])
    neutral = [
        (np.array([3.0, 4.0]), [3.0, 4.0]),
        (np.float64(3.0), [3.0, 3.0]),
        (np.float32(3.0), [3.0, 3.0]),
        (np.int64(3), [3.0, 3.0]),
        (3.0, [3.0, 3.0]),
        (3, [3.0, 3.0]),
    ]
    for other, expected in neutral:

        def f(x, other):
            return ug.array_namespace(x).sum(
                x * (float(other) if isinstance(other, np.generic) else other)
            )

        kit.same(ug.grad(f)(x, other), expected)


def test_s10_neutral_trees_are_moved(kit):
    """S10: NumPy arrays inside trees of data arrive as arrays of the backend."""
    batch = {"inputs": np.array([3.0, 4.0]), "name": "train", "none": None}

    def f(x, batch):
        assert kit.owns(batch["inputs"])
        assert batch["name"] == "train"
        return ug.array_namespace(x).sum(x * batch["inputs"])

    kit.same(ug.grad(f)(kit.array([1.0, 2.0]), batch), [3.0, 4.0])
    assert type(batch["inputs"]) is np.ndarray


def test_s10_a_differentiated_neutral_leaf_is_moved(kit):
    """S10: with its dtype kept, and its gradient is of the backend."""
    for dtype in ("float32", "float64"):
        x = kit.array([1.0, 2.0], dtype)
        gx, gn = ug.grad(product, (0, 1))(x, np.array([3.0, 4.0], dtype=dtype))
        kit.same(gx, [3.0, 4.0])
        kit.same(gn, [1.0, 2.0])
        assert kit.dtype(gn) == dtype
    x = kit.array([1.0, 2.0])
    kit.same(ug.grad(lambda x, s: ug.array_namespace(x).sum(x) * s, argnums=1)(x, 2.0), 3.0)


def test_s10_neutral_directions(kit):
    """S10, S15: NumPy directions and Python numbers are accepted where shape and dtype fit."""
    x = kit.array([1.0, 2.0])
    kit.same(ug.jvp(lambda x: x * x, x, np.array([1.0, 1.0]))[1], [2.0, 4.0])
    kit.same(ug.vjp(lambda x: x * x, x)[1](np.array([1.0, 1.0]))[0], [2.0, 4.0])
    kit.same(ug.vjp(lambda x: ug.array_namespace(x).sum(x * x), x)[1](1.0)[0], [2.0, 4.0])


def test_s10_numpy_subclasses_are_neutral(kit):
    """S10: a masked array, a memmap or a user's subclass is NumPy's."""

    class Mine(np.ndarray):
        pass

    data = np.array([3.0, 4.0]).view(Mine)
    gradient = ug.grad(product, 1)(kit.array([1.0, 2.0]), data)
    kit.same(gradient, [1.0, 2.0])
