"""`linearize`: the derivative at a point as a function that never calls ``f`` again."""

import numpy as np
import pytest

import unigrad as ug
from unigrad.testing import FromPrimitives

BACKENDS = ("numpy", "torch", "tensorflow", "jax", "mxnet")
POINT, ALONG = np.array([0.5, -1.0, 2.0]), np.array([1.0, 0.25, -2.0])


@pytest.fixture(params=BACKENDS)
def name(request):
    info = ug.backends()[request.param]
    if not info.installed:
        pytest.skip(f"{request.param}: {info.reason}")
    return request.param


@pytest.fixture
def exact(name):
    if not ug.backends()[name].capabilities.second_order:
        pytest.skip(f"{name} has first order only")
    return name


def arrays(name, *values):
    return [ug.asarray(v, backend=name) for v in values]


def close(actual, expected):
    np.testing.assert_allclose(ug.to_numpy(actual), expected, rtol=1e-12, atol=1e-14)


def test_products_of_one_point(name):
    """J v in closed form for several v, trees in and out, and one call of f in all."""
    x, v = arrays(name, POINT, ALONG)
    xp = ug.array_namespace(x)
    calls = []

    def f(p, y):
        calls.append(None)
        return {"s": xp.sin(p["a"]) * y, "t": (xp.sum(p["a"] * y), 2.0 * p["a"])}

    value, pushforward = ug.linearize(f, {"a": x}, x)
    close(value["s"], np.sin(POINT) * POINT)
    for t, w in ((v, x), (x, v), (v, x)):
        moved = pushforward({"a": t}, w)
        dt, dw = ug.to_numpy(t), ug.to_numpy(w)
        close(moved["s"], np.cos(POINT) * POINT * dt + np.sin(POINT) * dw)
        close(moved["t"][0], POINT @ dt + POINT @ dw)
        close(moved["t"][1], 2.0 * dt)
    assert len(calls) == 1


def test_a_reusable_hessian_product(exact):
    """Of a gradient: H v, symmetric, linear in v, and f called once."""
    x, v = arrays(exact, POINT, ALONG)
    xp = ug.array_namespace(x)
    calls = []

    def f(x):
        calls.append(None)
        return xp.sum(xp.sin(x)) * xp.sum(x * x)

    gradient, product = ug.linearize(ug.grad(f), x)
    s, q, c = np.sin(POINT).sum(), POINT @ POINT, np.cos(POINT)
    hessian = np.diag(-np.sin(POINT)) * q + 2 * s * np.eye(3) + 2 * np.outer(c, POINT)
    hessian += 2 * np.outer(POINT, c)
    close(gradient, c * q + 2 * POINT * s)
    for w in (ALONG, POINT, ALONG):
        close(product(ug.asarray(w, backend=exact)), hessian @ w)
    assert len(calls) == 1
    close(product(v), ug.to_numpy(ug.hvp(f, x, v)))


def test_without_second_order_it_refuses_a_gradient(name):
    """S12: an error, never a wrong product."""
    if ug.backends()[name].capabilities.second_order:
        pytest.skip(f"{name} is exact")
    (x,) = arrays(name, POINT)
    with pytest.raises(ug.errors.HigherOrderError):
        ug.linearize(ug.grad(lambda x: (x * x * x).sum()), x)


def test_derived_from_the_primitives(exact):
    """The derived route is right, whatever the adapter has of its own."""
    x, v = arrays(exact, POINT, ALONG)
    value, pushforward = ug.linearize(lambda x: x * x * x, x, backend=FromPrimitives(exact))
    close(value, POINT**3)
    close(pushforward(v), 3 * POINT**2 * ALONG)


def test_unused_arguments_and_aux():
    """S3, and an auxiliary output, which has no tangent."""
    value, pushforward, aux = ug.linearize(
        lambda x, y: (2.0 * x, {"n": 3, "y": y}), POINT, ALONG, has_aux=True
    )
    close(value, 2 * POINT)
    assert aux["n"] == 3
    close(aux["y"], ALONG)
    close(pushforward(np.zeros(3), ALONG), np.zeros(3))
    _, constant = ug.linearize(lambda x: np.ones(2), POINT)
    close(constant(ALONG), np.zeros(2))


def test_what_does_not_match_is_named():
    """S15: structure, shape, dtype, and how many."""
    _, pushforward = ug.linearize(lambda x, y: x * y, POINT, POINT)
    with pytest.raises(ug.errors.StructureError, match="tuple of 2"):
        pushforward(ALONG)
    with pytest.raises(ug.errors.ShapeError, match="the tangent of y must have shape"):
        pushforward(ALONG, np.ones(2))
    with pytest.raises(ug.errors.ShapeError, match=r"dtype float64, got .* float32"):
        pushforward(ALONG.astype("float32"), ALONG)
    with pytest.raises(ug.errors.ArgumentError, match="nothing to differentiate"):
        ug.linearize(lambda: 1.0)


def test_the_point_is_kept():
    """S5: what the caller writes into its arrays later changes no product; nothing is shared."""
    x, v = POINT.copy(), ALONG.copy()
    value, pushforward = ug.linearize(lambda x: x * x, x)
    first = pushforward(v)
    x[:] = 100.0
    value[:] = 100.0
    first[:] = 100.0
    close(pushforward(v), 2 * POINT * ALONG)
    assert not np.may_share_memory(ug.linearize(lambda x: x, POINT)[1](v), v)


def test_it_is_differentiable():
    """S8: inside another derivative, d/dx of (J(x) v) is the second derivative along v."""

    def slope(x):
        return np.sum(ug.linearize(lambda z: z**3, x)[1](ALONG))

    close(ug.grad(slope)(POINT), 6 * POINT * ALONG)


def test_explain():
    """The route is told."""
    assert "linearize on numpy" in str(ug.explain(ug.linearize, np.sin, POINT))
