"""S6: an exception of f reaches the caller unchanged, and leaves nothing behind."""

import contextlib

import numpy as np
import pytest

import unigrad as ug

pytestmark = [  # what torch's compiler imports, and what it looks at
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]


class Planned(Exception):
    """What the functions of these tests raise."""


def square(x):
    return ug.array_namespace(x).sum(x * x)


OPERATORS = {
    "grad": lambda f, x: ug.grad(f)(x),
    "grad aux": lambda f, x: ug.grad(f, has_aux=True)(x),
    "unconnected": lambda f, x: ug.grad(f, unconnected="error")(x),
    "per_example": lambda f, x: ug.grad(f, per_example=True)(x),
    "value_and_grad": lambda f, x: ug.value_and_grad(f)(x),
    "vjp": lambda f, x: ug.vjp(f, x),
    "jvp": lambda f, x: ug.jvp(f, x, x),
    "jacobian": lambda f, x: ug.jacobian(f)(x),
    "explain": lambda f, x: ug.explain(ug.grad, f, x),
    "finite_difference": lambda f, x: ug.hvp(f, x, x, method="finite_difference"),
    "jit": lambda f, x: ug.jit(ug.grad(f))(x),
}
SECOND_ORDER = {
    "hvp": lambda f, x: ug.hvp(f, x, x),
    "hvp forward": lambda f, x: ug.hvp(f, x, x, method="forward_over_reverse"),
    "hvp reverse": lambda f, x: ug.hvp(f, x, x, method="reverse_over_reverse"),
    "hessian": lambda f, x: ug.hessian(f)(x),
    "nested": lambda f, x: ug.grad(lambda x: square(ug.grad(f)(x)))(x),
    "nested jvp": lambda f, x: ug.jvp(ug.grad(f), x, x),
}


def _fails_as_promised(kit, operator):
    x = kit.array([1.0, 2.0])
    planned = Planned("from f")

    def raising(x):
        square(x)
        raise planned

    with pytest.raises(Planned) as caught:
        operator(raising, x)
    assert caught.value is planned
    kit.same(ug.grad(square)(x), [2.0, 4.0])
    kit.same(ug.jvp(square, x, x)[1], 10.0)
    if kit.capabilities.second_order:
        kit.same(ug.hvp(square, x, x), [2.0, 4.0])
        kit.same(ug.jacobian(ug.grad(square))(x), [[2.0, 0.0], [0.0, 2.0]])


@pytest.mark.parametrize("operator", OPERATORS)
def test_s6_the_exception_is_the_same_object(kit, operator):
    """S6: not wrapped, not replaced; the next calls are right."""
    _fails_as_promised(kit, OPERATORS[operator])


@pytest.mark.parametrize("operator", SECOND_ORDER)
def test_s6_at_second_order(exact_kit, operator):
    """S6: the same from inside a nested derivative."""
    _fails_as_promised(exact_kit, SECOND_ORDER[operator])


def test_s6_a_compiled_function_may_fail_and_recover(kit):
    """S6: a failed compilation is not remembered."""
    x = kit.array([1.0, 2.0])
    broken = [True]

    def f(x):
        if broken[0]:
            raise Planned
        return square(x)

    compiled = ug.jit(ug.grad(f))
    with pytest.raises(Planned):
        compiled(x)
    broken[0] = False
    kit.same(compiled(x), [2.0, 4.0])


def test_s6_in_a_pullback(kit):
    """S6: a wrong cotangent is refused, and the pullback still works."""
    x = kit.array([1.0, 2.0])
    _, pullback = ug.vjp(lambda x: x * x, x)
    with pytest.raises(ug.errors.ShapeError):
        pullback(kit.array([1.0, 2.0, 3.0]))
    with pytest.raises(ug.errors.StructureError):
        pullback((x, x))
    kit.same(pullback(x)[0], [2.0, 8.0])


def test_s6_in_a_custom_rule(kit):
    """S6: an exception of the user's backward rule is the user's."""
    x = kit.array([1.0, 2.0])

    @ug.custom_vjp
    def f(x):
        return x * x

    def backward(x, u):
        raise Planned

    f.defvjp(lambda x: (x * x, x), backward)
    with pytest.raises(Planned):
        ug.grad(lambda x: square(f(x)))(x)
    kit.same(ug.grad(square)(x), [2.0, 4.0])


def test_s6_in_a_scope(kit):
    """S6: a use() scope ends with the exception."""
    outside = ug.asarray(1.0)

    def body():
        with ug.use(kit.name):
            assert kit.owns(ug.asarray(1.0))
            raise Planned

    with pytest.raises(Planned):
        body()
    assert type(ug.asarray(1.0)) is type(outside)


def test_s6_base_exceptions_pass_too(kit):
    """S6: KeyboardInterrupt is not swallowed."""
    x = kit.array([1.0, 2.0])

    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ug.grad(interrupted)(x)
    kit.same(ug.grad(square)(x), [2.0, 4.0])


def test_s6_a_leaked_inner_array_cannot_make_a_wrong_number(kit):
    """S6: an array that escaped from a finished derivative is a constant, or an error."""
    leaked = []

    def f(x):
        leaked.append(x)
        return square(x)

    x = kit.array([1.0, 2.0])
    ug.grad(f)(x)
    with contextlib.nullcontext() if kit.name not in ("jax", "numpy") else pytest.raises(Exception):  # noqa: PT011
        np.testing.assert_allclose(
            kit.numpy(ug.grad(lambda y: square(y * leaked[0]))(x)), [2.0, 16.0], rtol=1e-12
        )
