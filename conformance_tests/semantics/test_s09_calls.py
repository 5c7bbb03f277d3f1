"""S9: grad, value_and_grad, vjp, jvp and hvp call f exactly once an evaluation."""

import pytest

import unigrad as ug

ONCE = {
    "grad": lambda f, x: ug.grad(f)(x),
    "grad aux": lambda f, x: ug.grad(lambda x: (f(x), x), has_aux=True)(x),
    "grad unconnected": lambda f, x: ug.grad(f, unconnected="error")(x),
    "grad reduced": lambda f, x: ug.grad(f, reduce="sum")(x),
    "value_and_grad": lambda f, x: ug.value_and_grad(f)(x),
    "vjp": lambda f, x: ug.vjp(f, x)[1](ug.asarray(1.0, backend=ug.get_backend(_name(x)))),
    "jvp": lambda f, x: ug.jvp(f, x, x),
    "jacobian": lambda f, x: ug.jacobian(f)(x),
    "jacobian forward": lambda f, x: ug.jacobian(f, mode="forward")(x),
}
ONCE_EXACT = {
    "hvp": lambda f, x: ug.hvp(f, x, x),
    "hvp forward": lambda f, x: ug.hvp(f, x, x, method="forward_over_reverse"),
    "hvp reverse": lambda f, x: ug.hvp(f, x, x, method="reverse_over_reverse"),
    "value_grad_and_hvp": lambda f, x: ug.value_grad_and_hvp(f, x, x),
    "hessian": lambda f, x: ug.hessian(f)(x),
    "nested": lambda f, x: ug.jacobian(ug.grad(f))(x),
}


def _name(x):
    return next(name for name in ug.backends() if _is(name, x))


def _is(name, x):
    return ug.backends()[name].installed and isinstance(x, ug.get_backend(name).array_types)


def _counted():
    calls = []

    def f(x):
        calls.append(1)
        return ug.array_namespace(x).sum(x * x * x)

    return f, calls


@pytest.mark.parametrize("operator", ONCE)
def test_s9_once(kit, operator):
    """S9: once, and once more at the next evaluation."""
    f, calls = _counted()
    for evaluations in (1, 2):
        ONCE[operator](f, kit.array([1.0, 2.0]))
        assert len(calls) == evaluations


@pytest.mark.parametrize("operator", ONCE_EXACT)
def test_s9_once_at_second_order(exact_kit, operator):
    """S9: exact second-order operators call f once too."""
    f, calls = _counted()
    for evaluations in (1, 2):
        ONCE_EXACT[operator](f, exact_kit.array([1.0, 2.0]))
        assert len(calls) == evaluations


def test_s9_a_pullback_never_calls_f_again(kit):
    """S9: the pullback is reusable without another evaluation."""
    f, calls = _counted()
    _, pullback = ug.vjp(f, kit.array([1.0, 2.0]))
    for factor in (1.0, 2.0, 3.0):
        kit.same(pullback(kit.array(factor))[0], [3.0 * factor, 12.0 * factor])
    assert len(calls) == 1


def test_s9_per_example_calls_once(kit):
    """S9: also where the examples interact and each needs a pullback of its own."""
    calls = []

    def f(x):
        calls.append(1)
        return x - ug.array_namespace(x).mean(x)

    ug.grad(f, per_example=True)(kit.array([1.0, 2.0, 3.0]))
    assert len(calls) == 1


def test_s9_the_documented_exception(kit):
    """S9: a finite difference calls f three times, as its docstring says, and explain counts."""
    f, calls = _counted()
    x = kit.array([1.0, 2.0])
    ug.hvp(f, x, x, method="finite_difference")
    assert len(calls) == 3
    assert ug.explain(ug.hvp, f, x, x, method="finite_difference").calls == 3
    assert ug.explain(ug.grad, f, x).calls == 1


def test_s9_aux_of_a_finite_difference_is_that_of_the_point(kit):
    """S9: of the three evaluations, aux is the one at the point that was asked about."""

    def f(x):
        xp = ug.array_namespace(x)
        total = xp.sum(x * x)
        return total, {"total": total, "call": len(seen.append(1) or seen)}

    seen = []
    x = kit.array([1.0, 2.0])
    (value, aux), _, _ = ug.value_grad_and_hvp(f, x, x, has_aux=True, method="finite_difference")
    kit.same(aux["total"], 5.0)
    kit.same(value, 5.0)
    assert aux["call"] == 3
