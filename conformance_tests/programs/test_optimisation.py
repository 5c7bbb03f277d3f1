"""Optimisation in plain NumPy: scipy's solvers, Newton's method, hyperparameters."""

import numpy as np
import pytest

import unigrad as ug

optimize = pytest.importorskip("scipy.optimize")


def rosen(x):
    """As `scipy.optimize.rosen`, which converts its argument, has it."""
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0, axis=0)


def test_rosen(confirm):
    x = np.linspace(-1.0, 1.5, 7)
    v = np.cos(np.arange(7.0))
    assert rosen(x) == optimize.rosen(x)
    np.testing.assert_allclose(ug.grad(rosen)(x), optimize.rosen_der(x), 1e-13)
    np.testing.assert_allclose(ug.hvp(rosen, x, v), optimize.rosen_hess_prod(x, v), 1e-13)
    np.testing.assert_allclose(ug.hessian(rosen)(x), optimize.rosen_hess(x), 1e-13, 1e-12)
    confirm(rosen, x, optimize.rosen_der)


def test_rosen_of_many_points():
    x = np.random.default_rng(0).normal(size=(5, 3))
    summed = ug.grad(rosen, reduce="sum")(x)
    columns = [optimize.rosen_der(x[:, k]) for k in range(3)]
    np.testing.assert_allclose(summed, np.stack(columns, axis=1), 1e-13, 1e-12)


@pytest.mark.parametrize(
    "method", ["BFGS", "L-BFGS-B", "CG", "Newton-CG", "trust-ncg", "trust-krylov"]
)
def test_minimize(method):
    second = {}
    if method in ("Newton-CG", "trust-ncg", "trust-krylov"):
        second = {"hessp": lambda x, v: ug.hvp(rosen, x, v)}
    x0 = np.array([1.3, 0.7, 0.8, 1.9, 1.2])
    found = optimize.minimize(rosen, x0, jac=ug.grad(rosen), method=method, tol=1e-8, **second)
    np.testing.assert_allclose(found.x, 1.0, atol=1e-5)


@pytest.mark.parametrize("method", ["trust-exact", "dogleg"])
def test_minimize_with_hessian(method):
    def bowl(x):
        return np.sum(np.cosh(x - np.arange(4.0))) + 0.1 * (x[0] - x[1]) ** 2

    found = optimize.minimize(
        bowl, np.zeros(4), jac=ug.grad(bowl), hess=ug.hessian(bowl), method=method, tol=1e-10
    )
    assert found.success
    assert np.linalg.norm(ug.grad(bowl)(found.x)) < 1e-8


def test_minimize_with_value_and_gradient():
    found = optimize.minimize(ug.value_and_grad(rosen), np.zeros(3), jac=True, tol=1e-9)
    np.testing.assert_allclose(found.x, 1.0, atol=1e-5)


def test_least_squares():
    t = np.linspace(0.0, 4.0, 30)
    y = 2.5 * np.exp(-1.3 * t) + 0.5

    def residuals(p):
        return p[0] * np.exp(-p[1] * t) + p[2] - y

    found = optimize.least_squares(residuals, [1.0, 1.0, 0.0], jac=ug.jacobian(residuals))
    np.testing.assert_allclose(found.x, [2.5, 1.3, 0.5], rtol=1e-7)


# ---------------------------------------------------------------- Newton's method


RNG = np.random.default_rng(3)
X = RNG.normal(size=(40, 4))
LABELS = (X @ np.array([1.0, -2.0, 0.5, 0.0]) + RNG.normal(size=40) > 0).astype(float)


def logistic_loss(w, penalty=0.1):
    z = X @ w
    return np.sum(np.logaddexp(0.0, z) - LABELS * z) + 0.5 * penalty * np.sum(w**2)


def logistic_gradient(w, penalty=0.1):
    return X.T @ (1 / (1 + np.exp(-X @ w)) - LABELS) + penalty * w


def logistic_hessian(w, penalty=0.1):
    p = 1 / (1 + np.exp(-X @ w))
    return (X.T * (p * (1 - p))) @ X + penalty * np.eye(len(w))


def newton(loss, w, steps):
    """Newton's method, natural code."""
    gradient, hessian = ug.grad(loss), ug.hessian(loss)
    for _ in range(steps):
        w = w - np.linalg.solve(hessian(w), gradient(w))
    return w


def test_newton(confirm):
    confirm(logistic_loss, 0.3 * np.ones(4), logistic_gradient, holomorphic=True)
    np.testing.assert_allclose(ug.hessian(logistic_loss)(np.ones(4)), logistic_hessian(np.ones(4)))
    w = newton(logistic_loss, np.zeros(4), 8)
    assert np.linalg.norm(logistic_gradient(w)) < 1e-10


def test_derivative_of_a_newton_step():
    """By the parameter of the loss, through its Hessian: a third derivative inside."""

    def after_one_step(penalty):
        w = newton(lambda w: logistic_loss(w, penalty), 0.1 * np.ones(4), 1)
        return np.sum(w**2)

    def by_hand(penalty):
        w = 0.1 * np.ones(4)
        w = w - np.linalg.solve(logistic_hessian(w, penalty), logistic_gradient(w, penalty))
        return np.sum(w**2)

    h = 1e-30
    expected = by_hand(0.1 + 1j * h).imag / h
    np.testing.assert_allclose(ug.grad(after_one_step)(0.1), expected, rtol=1e-12)
    second = ug.grad(ug.grad(after_one_step))(0.1)
    plus, minus = (by_hand(0.1 + s + 1j * h).imag / h for s in (1e-5, -1e-5))
    np.testing.assert_allclose(second, (plus - minus) / 2e-5, rtol=1e-7)


# ---------------------------------------------------------------- hyperparameters


def test_hypergradient_of_unrolled_descent(confirm):
    """Outer loss at the end of an inner descent that uses `ug.grad` itself."""
    Z, t = RNG.normal(size=(10, 4)), RNG.normal(size=10)

    def inner(w, hyper):
        return logistic_loss(w, 0.0) + 0.5 * np.sum(np.exp(hyper) * w**2)

    def outer(hyper):
        w = np.zeros(4)
        for _ in range(15):
            w = w - 0.05 * ug.grad(inner)(w, hyper)
        return np.mean((Z @ w - t) ** 2)

    def outer_by_hand(hyper):
        w = np.zeros(4)
        for _ in range(15):
            w = w - 0.05 * (logistic_gradient(w, 0.0) + np.exp(hyper) * w)
        return np.mean((Z @ w - t) ** 2)

    hyper = np.array([-1.0, 0.0, 0.5, 1.0])
    assert np.isclose(outer(hyper), outer_by_hand(hyper), rtol=1e-14)
    confirm(outer_by_hand, hyper, holomorphic=True)
    np.testing.assert_allclose(ug.grad(outer)(hyper), ug.grad(outer_by_hand)(hyper), rtol=1e-11)
    v = np.ones(4)
    np.testing.assert_allclose(ug.hvp(outer, hyper, v), ug.hvp(outer_by_hand, hyper, v), rtol=1e-10)


def test_hypergradient_of_ridge(confirm):
    """The validation loss of ridge regression, whose inner problem has a closed form."""
    A, b = RNG.normal(size=(30, 5)), RNG.normal(size=30)
    Z, t = RNG.normal(size=(10, 5)), RNG.normal(size=10)

    def validation(log_penalty):
        w = np.linalg.solve(A.T @ A + np.diag(np.exp(log_penalty)), A.T @ b)
        return np.sum((Z @ w - t) ** 2)

    def gradient(log_penalty):
        M = A.T @ A + np.diag(np.exp(log_penalty))
        w = np.linalg.solve(M, A.T @ b)
        back = np.linalg.solve(M, 2 * Z.T @ (Z @ w - t))
        return -back * np.exp(log_penalty) * w

    confirm(validation, np.linspace(-1.0, 1.0, 5), gradient, holomorphic=True)
