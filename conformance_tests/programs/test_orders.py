"""Third and fourth derivatives of plain NumPy programs, against closed forms."""

import numpy as np

import unigrad as ug

RNG = np.random.default_rng(5)


def test_third_derivative_of_a_number():
    def f(x):
        return np.exp(np.sin(x)) / (1 + x**2)

    third = ug.grad(ug.grad(ug.grad(f)))
    s, c, e = np.sin(0.7), np.cos(0.7), np.exp(np.sin(0.7))
    u = [e, e * c, e * (c**2 - s), e * (c**3 - 3 * s * c - c)]
    q = 1 + 0.7**2
    r = [1 / q, -1.4 / q**2, (6 * 0.49 - 2) / q**3, 24 * 0.7 * (1 - 0.49) / q**4]
    expected = u[3] * r[0] + 3 * u[2] * r[1] + 3 * u[1] * r[2] + u[0] * r[3]
    np.testing.assert_allclose(third(0.7), expected, rtol=1e-13)


def test_derivatives_of_a_log_determinant():
    """d^k/dt^k log det(A + t B) at t = 0 is (-1)^(k-1) (k-1)! tr((A^-1 B)^k)."""
    A = RNG.normal(size=(5, 5))
    A = A @ A.T + 5 * np.eye(5)
    B = RNG.normal(size=(5, 5))

    def f(t):
        return np.linalg.slogdet(A + t * B)[1]

    M = np.linalg.solve(A, B)
    derivative = f
    for order, factor in ((1, 1), (2, -1), (3, 2), (4, -6)):
        derivative = ug.grad(derivative)
        expected = factor * np.trace(np.linalg.matrix_power(M, order))
        np.testing.assert_allclose(derivative(0.0), expected, rtol=1e-11)


def test_derivatives_of_a_power_of_a_vector():
    """Third: a tensor contracted with two directions; of sum(x^5) it is 60 x^2 u v."""
    x, u, v = RNG.normal(size=(3, 6))

    def f(x):
        return np.sum(x**5)

    third = ug.grad(lambda x: np.dot(ug.hvp(f, x, u), v))(x)
    np.testing.assert_allclose(third, 60 * x**2 * u * v, rtol=1e-12)


def test_mixed_fourth():
    """d4/dx2 dy dz of sin(x y) e^(x z), by nesting over different arguments."""

    def f(x, y, z):
        return np.sin(x * y) * np.exp(x * z)

    nested = ug.grad(ug.grad(ug.grad(ug.grad(f, 0), 0), 1), 2)

    def closed(x, y, z):
        # d/dy d/dz first: x^2 cos(xy) e^(xz); then twice by x.
        s, c, e = np.sin(x * y), np.cos(x * y), np.exp(x * z)
        p = [x**2 * e, (2 * x + z * x**2) * e, (2 + 4 * z * x + z**2 * x**2) * e]
        q = [c, -y * s, -(y**2) * c]
        return p[2] * q[0] + 2 * p[1] * q[1] + p[0] * q[2]

    np.testing.assert_allclose(nested(0.6, 1.1, -0.4), closed(0.6, 1.1, -0.4), rtol=1e-13)


def test_mixed_fourth_of_a_network():
    """Twice by the input and twice by a weight, in either order."""
    W = RNG.normal(size=(8, 2))

    def network(x, a):
        return np.tanh(np.stack([x, a * x]) @ W.T).sum()

    def forth(x, a):
        return ug.grad(ug.grad(ug.grad(ug.grad(network, 0), 0), 1), 1)(x, a)

    def back(x, a):
        return ug.grad(ug.grad(ug.grad(ug.grad(network, 1), 1), 0), 0)(x, a)

    np.testing.assert_allclose(forth(0.3, 0.8), back(0.3, 0.8), rtol=1e-12)

    def second_by_a(x, a):
        """By hand: sum of tanh''(u) (x w)^2 with u = x (w0 + a w1)."""
        t = np.tanh(x * (W[:, 0] + a * W[:, 1]))
        return np.sum(-2 * t * (1 - t**2) * (x * W[:, 1]) ** 2)

    h = 1e-30
    first = lambda x: np.imag(second_by_a(x + 1j * h, 0.8)) / h  # noqa: E731
    differences = (8 * (first(0.301) - first(0.299)) - (first(0.302) - first(0.298))) / 0.012
    np.testing.assert_allclose(forth(0.3, 0.8), differences, rtol=1e-9)


def test_derivatives_of_a_loop_with_branches():
    """x^(1/3) by Newton's iteration until it stops, three times differentiated."""

    def cube_root(a):
        x = 1.0
        while True:
            new = x - (x**3 - a) / (3 * x**2)
            if abs(new - x) < 1e-13 * abs(new):
                # two more steps, so that the derivatives have converged too
                for _ in range(3):
                    new = new - (new**3 - a) / (3 * new**2)
                return new
            x = new

    a = 5.0
    np.testing.assert_allclose(ug.grad(cube_root)(a), a ** (-2 / 3) / 3, rtol=1e-12)
    np.testing.assert_allclose(ug.grad(ug.grad(cube_root))(a), -2 / 9 * a ** (-5 / 3), rtol=1e-12)
    third = ug.grad(ug.grad(ug.grad(cube_root)))(a)
    np.testing.assert_allclose(third, 10 / 27 * a ** (-8 / 3), rtol=1e-12)
