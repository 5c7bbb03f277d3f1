"""Operators on NumPy: shapes, options and routes, beyond the clauses of the contract."""

import numpy as np
import pytest

import unigrad as ug

X = np.array([1.0, 2.0])
V = np.array([1.0, -1.0])


def cubes(x):
    return np.sum(x**3)


def test_jacobian_shapes():
    """Output shape, then argument shape, whatever the mode."""
    a = np.arange(6.0).reshape(2, 3)

    def f(x):
        return np.stack([x @ a, 2.0 * x @ a])  # (2, 3)

    expected = np.stack([a.T, 2.0 * a.T])
    for mode in ("auto", "reverse", "forward"):
        got = ug.jacobian(f, mode=mode)(X)
        assert got.shape == (2, 3, 2)
        np.testing.assert_allclose(got, expected)
    assert ug.jacobian(cubes)(X).shape == (2,)
    assert ug.jacobian(lambda x: x * X)(2.0).shape == (2,)
    assert ug.jacobian(lambda x: x * 3.0)(2.0).shape == ()


def test_jacobian_of_trees_by_trees():
    """The output's structure with the arguments' inside."""

    def f(p, y):
        return {"sum": p["a"] + y, "product": (p["a"] * y,)}

    p, y = {"a": X}, np.array([3.0, 4.0])
    for mode in ("reverse", "forward"):
        by_p, by_y = ug.jacobian(f, (0, 1), mode=mode)(p, y)["product"][0]
        np.testing.assert_allclose(by_p["a"], np.diag(y))
        np.testing.assert_allclose(by_y, np.diag(X))


def test_hessian_of_trees():
    """A tree of trees, symmetric across the blocks."""

    def f(p):
        return np.sum(p["w"] * p["w"]) * p["b"]

    h = ug.hessian(f)({"w": X, "b": 3.0})
    np.testing.assert_allclose(h["w"]["w"], 6.0 * np.eye(2))
    np.testing.assert_allclose(h["w"]["b"], 2.0 * X)
    np.testing.assert_allclose(h["b"]["w"], 2.0 * X)
    np.testing.assert_allclose(h["b"]["b"], 0.0)


def test_hessian_reduces():
    """reduce= as in grad."""
    np.testing.assert_allclose(ug.hessian(lambda x: x**3, reduce="sum")(X), np.diag(6.0 * X))
    np.testing.assert_allclose(ug.hvp(lambda x: x**3, X, V, reduce="mean"), 3.0 * X * V)


def test_hvp_over_several_arguments():
    """Tangents for the chosen ones; the rest, and keywords, are data."""

    def f(x, scale, y, *, power):
        return scale * np.sum(x**power * y)

    args = (X, 2.0, np.array([3.0, 4.0]))
    hx = ug.hvp(f, args, V, argnums="x", kwargs={"power": 2})
    np.testing.assert_allclose(hx, 4.0 * args[2] * V)
    hx, hy = ug.hvp(f, args, (V, V), argnums=(0, 2), kwargs={"power": 2})
    np.testing.assert_allclose(hx, 4.0 * (args[2] * V + X * V))
    np.testing.assert_allclose(hy, 4.0 * X * V)


def test_value_grad_and_hvp_with_aux():
    """((value, aux), gradient, product)."""
    (value, aux), gradient, product = ug.value_grad_and_hvp(
        lambda x: (cubes(x), {"x": x}), X, V, has_aux=True
    )
    np.testing.assert_allclose(value, 9.0)
    np.testing.assert_allclose(aux["x"], X)
    np.testing.assert_allclose(gradient, 3.0 * X**2)
    np.testing.assert_allclose(product, 6.0 * X * V)
    product, aux = ug.hvp(lambda x: (cubes(x), 1), X, V, has_aux=True)
    assert aux == 1


def test_aux_is_released_from_the_derivative():
    """What comes back are plain arrays, also where aux was traced."""
    _, aux = ug.grad(lambda x: (cubes(x), [x**2, np.sum(x), "text", None]), has_aux=True)(X)
    assert type(aux[0]) is np.ndarray
    assert isinstance(aux[1], np.generic | np.ndarray)
    assert aux[2:] == ["text", None]


def test_a_pullback_is_linear():
    """Of two cotangents the sum, and the inner-product identity with jvp."""
    value, pullback = ug.vjp(np.sin, X)
    u = np.array([0.3, -0.7])
    (pulled,) = pullback(u)
    _, pushed = ug.jvp(np.sin, X, V)
    np.testing.assert_allclose(np.vdot(pulled, V), np.vdot(u, pushed), rtol=1e-14)
    np.testing.assert_allclose(pullback(2.0 * u)[0], 2.0 * pulled)
    np.testing.assert_allclose(value, np.sin(X))


@pytest.mark.parametrize(
    ("operator", "args", "text"),
    [
        (ug.grad, (X,), "exact; f called once"),
        (ug.value_and_grad, (X,), "exact; f called once"),
        (ug.vjp, (X,), "exact; f called once"),
        (ug.jvp, (X, V), "exact; f called once"),
        (ug.jacobian, (X,), "exact; f called once"),
        (ug.hessian, (X,), "exact; f called once"),
        (ug.hvp, (X, V), "exact; f called once"),
        (ug.value_grad_and_hvp, (X, V), "exact; f called once"),
    ],
)
def test_explain_every_operator(operator, args, text):
    """One line each, on the backend that did the work."""
    route = ug.explain(operator, cubes, *args)
    assert str(route).startswith(f"{operator.__name__} on numpy: ")
    assert str(route).endswith(text)
    assert route.calls == 1


def test_explain_follows_options():
    """backend=, method= and argnums= are those of the operator."""
    route = ug.explain(ug.hvp, cubes, X, V, method="forward_over_reverse")
    assert "forward over reverse" in route.method
    assert ug.explain(ug.grad, lambda x, y: np.sum(y), X, X, argnums=1).exact


def test_custom_vjp_keeps_the_function():
    """Called outside a derivative it computes the forward rule; its name stays."""

    @ug.custom_vjp
    def square(x):
        """Squares."""
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, u: (2.0 * u * x,))
    np.testing.assert_allclose(square(X), X**2)
    assert square.__name__ == "square"
    assert square.__doc__ == "Squares."


def test_custom_vjp_with_trees_and_data():
    """Arguments and outputs may be trees; data that is no array passes through."""

    @ug.custom_vjp
    def f(p, mode, n):
        return {"y": p["x"] * n}

    def forward(p, mode, n):
        assert mode == "fast"
        return {"y": p["x"] * n}, (n, mode)

    def backward(residuals, u):
        n, mode = residuals
        assert mode == "fast"
        return {"x": n * u["y"]}, None, None

    f.defvjp(forward, backward)
    gradient = ug.grad(lambda p: np.sum(f(p, "fast", 3)["y"] ** 2))({"x": X})
    np.testing.assert_allclose(gradient["x"], 18.0 * X)
    product = ug.hvp(lambda p: np.sum(f(p, "fast", 3)["y"] ** 2), {"x": X}, {"x": V})
    np.testing.assert_allclose(product["x"], 18.0 * V)


def test_stop_gradient_keeps_what_is_no_array():
    """Trees with text and None pass."""
    assert ug.stop_gradient({"a": "text", "b": None, "c": 1}) == {"a": "text", "b": None, "c": 1}


def test_array_namespace_in_and_outside():
    """The same namespace for plain arrays and for those inside a derivative."""
    seen = []
    ug.grad(lambda x: (seen.append(ug.array_namespace(x)), cubes(x))[1])(X)
    assert seen == [ug.array_namespace(X)]


def test_a_function_may_return_its_argument():
    """The identity is a function."""
    np.testing.assert_allclose(ug.grad(lambda x: x)(2.0), 1.0)
    np.testing.assert_allclose(ug.jacobian(lambda x: x)(X), np.eye(2))
