"""Wrong uses give the promised error: what was asked, what was got, what to type."""

import os

import numpy as np
import pytest

import unigrad as ug

ERRORS = ug.errors


def xsum(x):
    return ug.array_namespace(x).sum(x)


@pytest.fixture(params=["numpy", "torch", "tensorflow", "jax", "mxnet"])
def x(request):
    """The vector [1, 2] on each backend."""
    info = ug.backends()[request.param]
    if not info.installed:
        if os.environ.get("UNIGRAD_REQUIRE_ALL") == "1":
            pytest.fail(f"{request.param} is required, but {info.reason}")
        pytest.skip(f"{request.param}: {info.reason}")
    return ug.asarray(np.array([1.0, 2.0]), backend=request.param)


WRONG = {
    "a vector": (lambda x: ug.grad(lambda x: x)(x), ERRORS.ScalarOutputError, "reduce='sum'"),
    "a call": (lambda x: ug.grad(3.0), ERRORS.ArgumentError, r"ug\.grad\(f\)\(x\)"),
    "a string": (lambda x: ug.grad(lambda x: "loss")(x), ERRORS.NotDifferentiableError, "str"),
    "no pair": (lambda x: ug.grad(xsum, has_aux=True)(x), ERRORS.ArgumentError, "a pair"),
    "an unknown name": (
        lambda x: ug.grad(lambda w, b: 0.0, "bias"),
        ERRORS.ArgumentError,
        r"argnums='bias', but <lambda> has no argument of that name; its arguments are 'w', 'b'",
    ),
    "an unknown position": (
        lambda x: ug.grad(xsum, 3)(x),
        ERRORS.ArgumentError,
        "argnums=3, but xsum was called with 1 positional argument;",
    ),
    "a name not passed": (
        lambda x: ug.grad(lambda x, k=2.0: xsum(x), "k")(x),
        ERRORS.ArgumentError,
        r"pass it by position or as k=\.\.\.",
    ),
    "one argument twice": (
        lambda x: ug.grad(xsum, (0, -1))(x),
        ERRORS.ArgumentError,
        "names one argument twice",
    ),
    "no argnums": (lambda x: ug.grad(xsum, ()), ERRORS.ArgumentError, r"argnums=\(0, 1\)"),
    "None as argnums": (lambda x: ug.grad(xsum, None), ERRORS.ArgumentError, "got None"),
    "a float as argnums": (lambda x: ug.grad(xsum, 0.0), ERRORS.ArgumentError, "got 0.0"),
    "True as argnums": (lambda x: ug.grad(xsum, True), ERRORS.ArgumentError, "got True"),
    "equal argnums": (lambda x: ug.grad(xsum, (0, 0)), ERRORS.ArgumentError, "different ones"),
    "an unknown reduce": (
        lambda x: ug.grad(xsum, reduce="max")(x),
        ERRORS.ArgumentError,
        "reduce is 'sum', 'mean' or None, got 'max'",
    ),
    "an unknown unconnected": (
        lambda x: ug.grad(xsum, unconnected="none"),
        ERRORS.ArgumentError,
        "'zeros' or 'error', got 'none'",
    ),
    "an unknown mode": (
        lambda x: ug.jacobian(xsum, mode="fast"),
        ERRORS.ArgumentError,
        "'reverse' or 'forward', got 'fast'",
    ),
    "nothing to differentiate": (lambda x: ug.vjp(xsum), ERRORS.ArgumentError, r"ug\.vjp\(f, x\)"),
    "a tangent of another shape": (
        lambda x: ug.jvp(xsum, x, np.ones(3)),
        ERRORS.ShapeError,
        r"the tangent of x must have shape \(2,\) and dtype float64, got shape \(3,\)",
    ),
    "a tangent of text": (
        lambda x: ug.jvp(xsum, x, "up"),
        ERRORS.MixedBackendError,
        "the tangent of x must be an array of",
    ),
    "a tangent too few": (
        lambda x: ug.jvp(lambda x, y: xsum(x * y), (x, x), (x,)),
        ERRORS.StructureError,
        "a tuple of 2.*got a tuple of 1",
    ),
    "a cotangent of another shape": (
        lambda x: ug.vjp(lambda x: x, x)[1](np.ones(3)),
        ERRORS.ShapeError,
        r"the cotangent of output must have shape \(2,\)",
    ),
    "explaining another function": (
        lambda x: ug.explain(len, xsum, x),
        ERRORS.ArgumentError,
        r"ug\.grad, ug\.value_and_grad",
    ),
    "a rule that is not there": (
        lambda x: ug.custom_vjp(xsum)(x),
        ERRORS.ArgumentError,
        r"xsum\.defvjp\(forward, backward\)",
    ),
    "jit of a number": (lambda x: ug.jit(3), ERRORS.ArgumentError, "needs a function"),
    "an unknown backend": (
        lambda x: ug.grad(xsum, backend="theano")(x),
        ERRORS.UnknownBackendError,
        "'numpy'",
    ),
    "no backend at all": (
        lambda x: ug.register_backend("mine"),
        ERRORS.ArgumentError,
        r"subclass ug\.Backend",
    ),
    "no model": (lambda x: ug.functional(x), ERRORS.UnsupportedError, r"\(apply, params\)"),
}


@pytest.mark.parametrize("use", WRONG)
def test_wrong_use(x, use):
    """The class, the text, and the builtin that a user would catch."""
    call, error, message = WRONG[use]
    with pytest.raises(error, match=message) as caught:
        call(x)
    assert isinstance(caught.value, ug.errors.UnigradError)
    assert isinstance(caught.value, TypeError | ValueError | NotImplementedError | ImportError)
    assert len(str(caught.value)) < 400


RULES = {
    "forward": (lambda x: x, lambda r, u: (u,), ERRORS.StructureError, "a pair"),
    "count": (lambda x: (x, None), lambda r, u: (u, u), ERRORS.StructureError, "tuple of 1"),
    "no tuple": (lambda x: (x, None), lambda r, u: u, ERRORS.StructureError, "tuple of 1"),
    "shape": (lambda x: (x, None), lambda r, u: (xsum(u),), ERRORS.ShapeError, r"shape \(2,\)"),
    "tree": (lambda x: (x, None), lambda r, u: ([u],), ERRORS.StructureError, "argument 0"),
}


@pytest.mark.parametrize("wrong", RULES)
def test_wrong_custom_rules(x, wrong):
    """A rule that returns what does not fit is refused, on every backend."""
    forward, backward, error, message = RULES[wrong]
    rule = ug.custom_vjp(lambda x: x)
    rule.defvjp(lambda x: forward(x * 1.0), backward)
    with pytest.raises(error, match=message):
        ug.grad(lambda x: xsum(rule(x)))(x)


def test_two_options_that_exclude_each_other():
    """per_example and reduce."""
    with pytest.raises(ERRORS.ArgumentError, match="choose one of the two"):
        ug.value_and_grad(xsum, per_example=True, reduce="mean")
