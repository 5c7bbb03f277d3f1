"""S4: integer and boolean leaves are not differentiable; the message names their path."""

import numpy as np
import pytest

import unigrad as ug

OPERATORS = {
    "grad": lambda f, p: ug.grad(f)(p),
    "value_and_grad": lambda f, p: ug.value_and_grad(f)(p),
    "vjp": lambda f, p: ug.vjp(f, p),
    "jvp": lambda f, p: ug.jvp(f, p, p),
    "jacobian": lambda f, p: ug.jacobian(f)(p),
    "hvp": lambda f, p: ug.hvp(f, p, p),
    "hessian": lambda f, p: ug.hessian(f)(p),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", ["int32", "int64", "bool"])
def test_s4_the_path_is_named(kit, operator, kind):
    """S4: params['layer1'][0], on every operator and every integer dtype."""
    params = {"layer1": [kit.array([1, 0], kind), kit.array([1.0])]}

    def f(params):
        return ug.array_namespace(params["layer1"][1]).sum(params["layer1"][1])

    with pytest.raises(ug.errors.NotDifferentiableError) as caught:
        OPERATORS[operator](f, params)
    message = str(caught.value)
    assert "params['layer1'][0]" in message
    assert kind in message
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [(3, "int"), (True, "bool"), (np.int64(3), "int64"), (np.arange(3), "int64"), ("adam", "str")],
)
def test_s4_neutral_leaves_too(kit, leaf, kind):
    """S4: Python and NumPy integers, and what is no number at all."""
    with pytest.raises(ug.errors.NotDifferentiableError, match=rf"x\['a'\] .* of type {kind};"):
        ug.grad(lambda x: 1.0, backend=kit.name)({"a": leaf})


def test_s4_the_message_says_what_to_type(kit):
    """S4: a float instead of the integer, or another argnums."""
    with pytest.raises(ug.errors.NotDifferentiableError, match=r"1\.0 instead of 1"):
        ug.grad(lambda n, x: x)(kit.array([1, 2], "int32"), kit.array(1.0))
    with pytest.raises(
        ug.errors.NotDifferentiableError, match="leave this argument out of argnums"
    ):
        ug.grad(lambda mode, x: x)("fast", kit.array(1.0))


def test_s4_an_integer_output_is_refused(kit):
    """S4: so is an output that has no derivative, from every kind of operator."""
    x = kit.array([1.0, 2.0])

    def count(x):
        xp = ug.array_namespace(x)
        return xp.sum(xp.astype(x > 0, xp.int32))

    calls = [
        lambda: ug.grad(count)(x),
        lambda: ug.grad(count, reduce="sum")(x),
        lambda: ug.vjp(count, x),
        lambda: ug.jvp(count, x, x),
        lambda: ug.jacobian(count)(x),
        lambda: ug.grad(lambda x: 3)(x),
        lambda: ug.grad(lambda x: True)(x),
    ]
    for call in calls:
        with pytest.raises(ug.errors.NotDifferentiableError, match="has no derivative"):
            call()


def test_s4_integers_beside_are_data(kit):
    """S4: integers that are not under argnums pass through, arrays and numbers alike."""
    x, index = kit.array([1.0, 2.0, 3.0]), kit.array([2, 0, 0], "int32")

    def f(x, index, power, mode):
        assert mode == "fast"
        xp = ug.array_namespace(x)
        return xp.sum(xp.take(x, index, axis=0) ** power)

    kit.same(ug.grad(f)(x, index, 2, mode="fast"), [4.0, 0.0, 6.0])


def test_s4_integers_travel_in_aux(kit):
    """S4: what has no derivative is handed over by has_aux, dtype kept."""
    x = kit.array([1.0, -2.0])

    def f(x):
        xp = ug.array_namespace(x)
        return xp.sum(x * x), {"positive": x > 0, "count": 2, "name": "f", "none": None}

    for gradient, aux in (
        ug.grad(f, has_aux=True)(x),
        (None, ug.vjp(f, x, has_aux=True)[2]),
        (None, ug.jvp(f, x, x, has_aux=True)[2]),
    ):
        assert kit.dtype(aux["positive"]) == "bool"
        np.testing.assert_array_equal(kit.numpy(aux["positive"]), [True, False])
        assert (aux["count"], aux["name"], aux["none"]) == (2, "f", None)
        if gradient is not None:
            kit.same(gradient, [2.0, -4.0])
