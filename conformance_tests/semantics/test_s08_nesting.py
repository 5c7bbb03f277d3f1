"""S8: derivatives nest to any order, over different variables, with no confusion between them."""

import numpy as np
import pytest

import unigrad as ug


def xsum(x):
    return ug.array_namespace(x).sum(x)


def test_s8_perturbation_confusion(exact_kit):
    """S8: d/dx (x · d/dy (x + y)) is 1, not 2."""
    kit = exact_kit
    one = kit.array(1.0)
    kit.same(ug.grad(lambda x: x * ug.grad(lambda y: x + y)(one))(one), 1.0)
    kit.same(ug.grad(lambda x: x * ug.grad(lambda y: x + y)(x))(one), 1.0)


def test_s8_perturbation_confusion_in_forward_mode(exact_kit):
    """S8: the same with tangents (Siskind and Pearlmutter 2005), and in every mix of the modes."""
    kit = exact_kit
    one = kit.array(1.0)

    def d(f):
        return lambda x: ug.jvp(f, x, one)[1]

    for outer in (d, ug.grad):
        for inner in (d, ug.grad):
            kit.same(outer(lambda x: x * inner(lambda y: x + y)(one))(one), 1.0)  # noqa: B023
            kit.same(outer(lambda x: x * inner(lambda y: x * y)(one))(kit.array(3.0)), 6.0)  # noqa: B023


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_s8_orders_up_to_four(exact_kit, order):
    """S8: repeated gradients of exp(2x) and of a polynomial."""
    kit = exact_kit
    x = kit.array(0.5)

    def f(x):
        return ug.array_namespace(x).exp(2.0 * x) + x * x * x * x * x

    derivative = f
    for _ in range(order):
        derivative = ug.grad(derivative)
    falling = np.prod([5.0 - k for k in range(order)])
    expected = 2.0**order * np.exp(1.0) + falling * 0.5 ** (5 - order)
    kit.same(derivative(x), expected, rtol=1e-12)


def test_s8_every_operator_inside_every_other(exact_kit):
    """S8: third derivatives of Σ x⁴ by all pairs of a first-order and a second-order operator."""
    kit = exact_kit
    x, ones = kit.array([1.0, 2.0]), kit.array([1.0, 1.0])

    def f(x):
        return xsum(x * x * x * x)

    second = {
        "hvp": lambda x: ug.hvp(f, x, ones),
        "hvp forward": lambda x: ug.hvp(f, x, ones, method="forward_over_reverse"),
        "hvp reverse": lambda x: ug.hvp(f, x, ones, method="reverse_over_reverse"),
        "hessian": lambda x: ug.array_namespace(x).sum(ug.hessian(f)(x), axis=0),
        "jacobian": lambda x: ug.array_namespace(x).sum(ug.jacobian(ug.grad(f))(x), axis=0),
        "jvp": lambda x: ug.jvp(ug.grad(f), x, ones)[1],
        "vjp": lambda x: ug.vjp(ug.grad(f), x)[1](ones)[0],
    }
    first = {
        "grad": lambda g, x: ug.grad(lambda x: xsum(g(x)))(x),
        "jvp": lambda g, x: ug.jvp(g, x, ones)[1],
        "vjp": lambda g, x: ug.vjp(g, x)[1](ones)[0],
        "jacobian": lambda g, x: ug.array_namespace(x).sum(ug.jacobian(g)(x), axis=0),
        "forward": lambda g, x: ug.array_namespace(x).sum(
            ug.jacobian(g, mode="forward")(x), axis=0
        ),
    }
    for inner, g in second.items():
        for outer, operator in first.items():
            with kit.scope(x):
                got = kit.numpy(operator(g, x))
            np.testing.assert_allclose(got, [24.0, 48.0], rtol=1e-12, err_msg=f"{outer} of {inner}")


def test_s8_closures_over_differentiated_variables(exact_kit):
    """S8: an inner derivative by y keeps its dependence on the outer x."""
    kit = exact_kit
    x, y = kit.array(2.0), kit.array(3.0)

    def inner(x):
        return ug.grad(lambda y: x * x * y * y)(y)  # 2 x² y

    kit.same(ug.grad(inner)(x), 24.0)
    kit.same(ug.grad(ug.grad(inner))(x), 12.0)
    pulled = ug.grad(lambda x: ug.vjp(lambda y: x * y * y, y)[1](x)[0])  # 2 x² y
    kit.same(pulled(x), 24.0)
    pushed = ug.grad(lambda x: ug.jvp(lambda y: x * y * y, y, x)[1])  # 2 x² y
    kit.same(pushed(x), 24.0)
    product = ug.grad(lambda x: ug.hvp(lambda y: x * y * y * y, y, x))  # 6 x² y
    kit.same(product(x), 72.0)


def test_s8_two_closures_of_one_body_do_not_share_state(exact_kit):
    """S8: functions made by one factory are two functions."""
    kit = exact_kit

    def make(scale):
        return lambda x: xsum(scale * x * x)

    one, other = make(kit.array(1.0)), make(kit.array(10.0))
    x = kit.array([1.0, 2.0])
    gradients = [ug.grad(one), ug.grad(other)]
    kit.same(gradients[0](x), [2.0, 4.0])
    kit.same(gradients[1](x), [20.0, 40.0])
    kit.same(gradients[0](x), [2.0, 4.0])


def test_s8_a_cube_by_nested_gradients(exact_kit):
    """S8: the classic wrong answer: Σ x³ at [1, 2] has second derivatives [6, 12], not [3, 12]."""
    kit = exact_kit
    x = kit.array([1.0, 2.0])
    nested = ug.grad(lambda x: xsum(ug.grad(lambda x: xsum(x * x * x))(x)))
    kit.same(nested(x), [6.0, 12.0])
    kit.same(nested(x), [6.0, 12.0])


def test_s8_a_jacobian_of_a_jacobian(exact_kit):
    """S8: the classic wrong answer: zeros."""
    kit = exact_kit
    x = kit.array([1.0, 2.0])
    second = ug.jacobian(ug.jacobian(lambda x: x * x * x))(x)
    expected = np.zeros((2, 2, 2))
    expected[0, 0, 0], expected[1, 1, 1] = 6.0, 12.0
    for outer in ("reverse", "forward"):
        for inner in ("reverse", "forward"):
            got = ug.jacobian(ug.jacobian(lambda x: x * x * x, mode=inner), mode=outer)(x)
            kit.same(got, expected)
    kit.same(second, expected)


def test_s8_an_upstream_factor_is_not_lost(exact_kit):
    """S8: the classic wrong answer: an inner derivative loses the factor around it."""
    kit = exact_kit
    x = kit.array(3.0)
    kit.same(ug.grad(lambda x: 5.0 * ug.grad(lambda y: y * y)(x) * x)(x), 60.0)
    kit.same(ug.vjp(lambda x: ug.grad(lambda y: y * y * y)(x), x)[1](kit.array(7.0))[0], 126.0)


def test_s8_stop_gradient_stops_every_level(exact_kit):
    """S8: a stopped value is constant for inner and outer derivatives."""
    kit = exact_kit
    x = kit.array(3.0)
    kit.same(ug.grad(lambda x: x * ug.stop_gradient(x))(x), 3.0)
    kit.same(ug.grad(ug.grad(lambda x: x * x * ug.stop_gradient(x)))(x), 6.0)
    kit.same(ug.grad(lambda x: ug.grad(lambda y: y * ug.stop_gradient(x * y))(x))(x), 0.0)
    kit.same(ug.jvp(lambda x: x * ug.stop_gradient(x), x, x)[1], 9.0)


def test_s8_custom_rules_nest(exact_kit):
    """S8: the classic wrong answer: a custom rule whose second derivative is half."""
    kit = exact_kit
    if not kit.capabilities.custom_vjp:
        pytest.skip(f"{kit.name} takes no custom rules")

    @ug.custom_vjp
    def cube(x):
        return x * x * x

    def forward(x):
        return x * x * x, x * x

    cube.defvjp(forward, lambda squared, u: (u * 3.0 * squared,))
    x = kit.array(2.0)
    kit.same(ug.grad(cube)(x), 12.0)
    kit.same(ug.grad(ug.grad(cube))(x), 12.0)
    kit.same(ug.grad(ug.grad(ug.grad(cube)))(x), 6.0)
    for method in ("forward_over_reverse", "reverse_over_reverse"):
        kit.same(ug.hvp(cube, x, kit.array(1.0), method=method), 12.0)
    kit.same(ug.jvp(cube, x, kit.array(2.0))[1], 24.0)
    kit.same(ug.grad(lambda x: cube(x * x))(x), 192.0)  # 6 x⁵
    kit.same(ug.grad(ug.grad(lambda x: cube(x * x)))(x), 480.0)  # 30 x⁴


def test_s8_a_custom_rule_may_change_the_derivative(kit):
    """S8: what the rule says is the derivative: here a reversed gradient of a tree."""
    if not kit.capabilities.custom_vjp:
        pytest.skip(f"{kit.name} takes no custom rules")

    @ug.custom_vjp
    def reversed_gradient(p, scale):
        return p["x"] * 1.0

    def forward(p, scale):
        return p["x"] * 1.0, scale

    reversed_gradient.defvjp(forward, lambda scale, u: ({"x": -scale * u}, None))
    x, scale = kit.array([1.0, 2.0]), kit.array(10.0)
    gp, gs = ug.grad(lambda p, s: xsum(reversed_gradient(p, s)), (0, 1))({"x": x}, scale)
    kit.same(gp["x"], [-10.0, -10.0])
    kit.same(gs, 0.0)


def test_s8_a_custom_rule_cannot_lose_a_closed_over_variable(kit):
    """S8: a rule that closes over a differentiated array follows it or refuses; zero it is not."""
    if not kit.capabilities.custom_vjp:
        pytest.skip(f"{kit.name} takes no custom rules")
    x = kit.array(5.0)

    def f(a):
        rule = ug.custom_vjp(lambda x: a * x)
        rule.defvjp(lambda x: (a * x, None), lambda _, u: (u * a,))
        return rule(x)

    if kit.name in ("jax", "torch", "mxnet"):
        refusal = r"being differentiated and is none|unexpected tracer|not among its arguments"
        with pytest.raises(Exception, match=refusal):
            ug.grad(f)(kit.array(2.0))
    else:
        kit.same(ug.grad(f)(kit.array(2.0)), 5.0)
