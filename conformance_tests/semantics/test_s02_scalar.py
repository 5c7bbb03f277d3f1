"""S2: only a real scalar is differentiated; the message prints the shape and the ways out."""

import pytest

import unigrad as ug

SCALAR_OPERATORS = {
    "grad": lambda f, x: ug.grad(f)(x),
    "value_and_grad": lambda f, x: ug.value_and_grad(f)(x),
    "hvp": lambda f, x: ug.hvp(f, x, x),
    "value_grad_and_hvp": lambda f, x: ug.value_grad_and_hvp(f, x, x),
    "hessian": lambda f, x: ug.hessian(f)(x),
    "unconnected": lambda f, x: ug.grad(f, unconnected="error")(x),
}


@pytest.mark.parametrize("operator", SCALAR_OPERATORS)
@pytest.mark.parametrize("shape", [(1,), (2,), (2, 3), (0,)])
def test_s2_another_shape_is_refused(exact_kit, operator, shape):
    """S2: every scalar-only operator refuses every other shape, one entry included."""
    kit = exact_kit
    x = kit.array(2.0)
    with pytest.raises(ug.errors.ScalarOutputError) as caught:
        SCALAR_OPERATORS[operator](lambda x: ug.array_namespace(x).broadcast_to(x, shape), x)
    message = str(caught.value)
    assert str(shape) in message
    for way in ("reduce='sum'", "reduce='mean'", "per_example=True", "ug.jacobian(f)", "ug.vjp(f"):
        assert way in message
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("operator", ["grad", "value_and_grad", "unconnected"])
def test_s2_a_vector_is_refused_at_first_order(kit, operator):
    """S2: also where the framework itself would have summed in silence."""
    with pytest.raises(ug.errors.ScalarOutputError, match=r"returned shape \(2,\)"):
        SCALAR_OPERATORS[operator](lambda x: x * x, kit.array([1.0, 2.0]))


def test_s2_a_tree_is_refused(kit):
    """S2: a pair without has_aux is no scalar; the message knows what was meant."""
    x = kit.array(2.0)
    for output in (lambda x: (x, x), lambda x: {"loss": x}, lambda x: [x], lambda x: None):
        with pytest.raises(ug.errors.ScalarOutputError, match="has_aux=True"):
            ug.grad(output)(x)


def test_s2_a_complex_scalar_is_refused(kit):
    """S2: of a complex value there is no gradient; take its real part or its modulus."""
    if not kit.capabilities.complex:
        pytest.skip(f"{kit.name} has no complex arrays")
    z = kit.array([1.0 + 2.0j], "complex128")
    with pytest.raises(ug.errors.ScalarOutputError, match="real part or its absolute value"):
        ug.grad(lambda z: ug.array_namespace(z).sum(z * z))(z)


@pytest.mark.parametrize(("reduce", "expected"), [("sum", [2.0, 4.0]), ("mean", [1.0, 2.0])])
def test_s2_the_ways_out_work(kit, reduce, expected):
    """S2: reduce= makes a scalar of a vector."""
    x = kit.array([1.0, 2.0])
    kit.same(ug.grad(lambda x: x * x, reduce=reduce)(x), expected)


def test_s2_per_example_is_the_diagonal(kit):
    """S2: per_example=True gives row i of the gradient of value i, interacting or not."""
    x = kit.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    own = ug.grad(lambda x: ug.array_namespace(x).sum(x * x, axis=1), per_example=True)(x)
    kit.same(own, [[2.0, 4.0], [6.0, 8.0], [10.0, 12.0]])
    v = kit.array([1.0, 2.0, 3.0])
    centred = ug.grad(lambda v: v - ug.array_namespace(v).mean(v), per_example=True)(v)
    kit.same(centred, [2 / 3, 2 / 3, 2 / 3])


def test_s2_per_example_needs_one_value_a_row(kit):
    """S2: the shapes that per_example cannot mean are refused with what to do."""
    x = kit.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ug.errors.ShapeError, match=r"shape \(N,\)"):
        ug.grad(lambda x: x * x, per_example=True)(x)
    with pytest.raises(ug.errors.ShapeError, match=r"w has shape \(3,\)"):
        ug.grad(lambda w, x: ug.array_namespace(x).sum(x, axis=1), per_example=True)(
            kit.array([1.0, 2.0, 3.0]), x
        )
    with pytest.raises(ug.errors.ArgumentError, match="choose one of the two"):
        ug.grad(lambda x: x, per_example=True, reduce="sum")


def test_s2_softmax_has_no_silent_zero(kit):
    """S2: summed in silence, the gradient of a softmax is identically zero; it is an error here."""

    def softmax(x):
        xp = ug.array_namespace(x)
        e = xp.exp(x)
        return e / xp.sum(e)

    with pytest.raises(ug.errors.ScalarOutputError):
        ug.grad(softmax)(kit.array([1.0, 2.0]))
