"""S12: a second-order result is exact, or it is an error; a difference only by name."""

import numpy as np
import pytest

import unigrad as ug


def quartic(x):
    return ug.array_namespace(x).sum(x * x * x * x)


ROUTES = {
    "hvp": lambda x: ug.hvp(quartic, x, x),
    "hvp forward": lambda x: ug.hvp(quartic, x, x, method="forward_over_reverse"),
    "hvp reverse": lambda x: ug.hvp(quartic, x, x, method="reverse_over_reverse"),
    "value_grad_and_hvp": lambda x: ug.value_grad_and_hvp(quartic, x, x)[2],
    "hessian": lambda x: ug.hessian(quartic)(x),
    "jacobian of grad": lambda x: ug.jacobian(ug.grad(quartic))(x),
    "forward jacobian of grad": lambda x: ug.jacobian(ug.grad(quartic), mode="forward")(x),
    "grad of grad": lambda x: ug.grad(lambda x: ug.array_namespace(x).sum(ug.grad(quartic)(x)))(x),
    "vjp of grad": lambda x: ug.vjp(ug.grad(quartic), x)[1](x)[0],
    "jvp of grad": lambda x: ug.jvp(ug.grad(quartic), x, x)[1],
    "grad of vjp": lambda x: ug.grad(lambda y: _sum(ug.vjp(lambda z: z * z * z, y)[1](x)[0]))(x),
    "grad of jvp": lambda x: ug.grad(lambda y: _sum(ug.jvp(lambda z: z * z * z, y, x)[1]))(x),
    "jvp of jvp": lambda x: ug.jvp(lambda y: ug.jvp(quartic, y, x)[1], x, x)[1],
    "jacobian of jacobian": lambda x: ug.jacobian(ug.jacobian(lambda x: x * x * x))(x),
    "closure": lambda x: ug.grad(lambda y: y * ug.grad(lambda z: z * y)(y), reduce=None)(_sum(x)),
}


def _sum(x):
    return ug.array_namespace(x).sum(x)


@pytest.mark.parametrize("route", ROUTES)
def test_s12_exact_or_an_error(kit, route):
    """S12: no route to a second derivative gives a wrong number or an approximate one."""
    x = kit.array([1.0, 2.0])
    if not kit.capabilities.second_order:
        with pytest.raises(ug.errors.HigherOrderError) as caught:
            ROUTES[route](x)
        assert kit.name in str(caught.value).lower()
        assert isinstance(caught.value, NotImplementedError)
        return
    with kit.scope(x):
        got = kit.numpy(ROUTES[route](x))
    reference = np.asarray(ug.to_numpy(ROUTES[route](np.array([1.0, 2.0]))))
    np.testing.assert_allclose(got, reference, rtol=1e-12)
    assert reference.any()


def test_s12_exact_products(exact_kit):
    """S12: known by closed form, to the last digits."""
    kit = exact_kit
    x, v = kit.array([1.0, 2.0]), kit.array([1.0, -1.0])
    for method in ("auto", "forward_over_reverse", "reverse_over_reverse"):
        kit.same(ug.hvp(quartic, x, v, method=method), [12.0, -48.0], rtol=1e-15)


def test_s12_a_difference_only_by_name(kit):
    """S12: method="finite_difference" answers on every backend, and explain says approximate."""
    x, v = kit.array([1.0, 2.0]), kit.array([1.0, -1.0])
    kit.same(ug.hvp(quartic, x, v, method="finite_difference"), [12.0, -48.0], rtol=1e-7)
    route = ug.explain(ug.hvp, quartic, x, v, method="finite_difference")
    assert not route.exact
    assert "approximate" in str(route)
    assert "difference" in route.method


def test_s12_explain_says_exact(exact_kit):
    """S12: what is exact says so."""
    kit = exact_kit
    route = ug.explain(ug.hvp, quartic, kit.array([1.0]), kit.array([1.0]))
    assert route.exact
    assert route.backend == kit.name
    assert "exact" in str(route)


def test_s12_an_unknown_method():
    """S12: is refused, and the known ones are listed."""
    with pytest.raises(ug.errors.ArgumentError, match="'finite_difference'"):
        ug.hvp(quartic, 1.0, 1.0, method="exactly")


def test_s12_a_zero_direction(kit):
    """S12: the difference along nothing is nothing, not nan."""
    x, zero = kit.array([1.0, 2.0]), kit.array([0.0, 0.0])
    kit.same(ug.hvp(quartic, x, zero, method="finite_difference"), [0.0, 0.0])
