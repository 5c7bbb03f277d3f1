"""Textbook algorithms written out with loops and in-place writes, against NumPy's own answers."""

import numpy as np
import pytest

import unigrad as ug

RNG = np.random.default_rng(12)
A = RNG.normal(size=(5, 5)) + 5 * np.eye(5)
B = RNG.normal(size=5)


# ---------------------------------------------------------------- factorisations


def lu_log_det(A):
    """In place, without pivots."""
    A = A.copy()
    n = len(A)
    for k in range(n - 1):
        A[k + 1 :, k] /= A[k, k]
        A[k + 1 :, k + 1 :] -= np.outer(A[k + 1 :, k], A[k, k + 1 :])
    return np.sum(np.log(np.diag(A)))


def test_lu(confirm):
    assert np.isclose(lu_log_det(A), np.linalg.slogdet(A)[1], rtol=1e-13)
    confirm(lu_log_det, A, lambda A: np.linalg.inv(A).T, holomorphic=True)


def gauss(A, b):
    """Elimination with row swaps, then back substitution."""
    A, b = A.copy(), b.copy()
    n = len(b)
    for k in range(n):
        pivot = k + np.argmax(np.abs(A[k:, k]))
        if pivot != k:
            A[[k, pivot]] = A[[pivot, k]]
            b[[k, pivot]] = b[[pivot, k]]
        for i in range(k + 1, n):
            factor = A[i, k] / A[k, k]
            A[i, k:] -= factor * A[k, k:]
            b[i] -= factor * b[k]
    x = np.zeros_like(b)
    for i in reversed(range(n)):
        x[i] = (b[i] - A[i, i + 1 :] @ x[i + 1 :]) / A[i, i]
    return x


def test_gauss(confirm):
    shuffled = A[[3, 0, 4, 1, 2]]
    weights = np.arange(1.0, 6.0)
    np.testing.assert_allclose(gauss(shuffled, B), np.linalg.solve(shuffled, B), rtol=1e-12)

    def loss(p):
        return weights @ gauss(p["A"], p["b"])

    def gradient(p):
        back = np.linalg.solve(p["A"].T, weights)
        return {"A": -np.outer(back, np.linalg.solve(p["A"], p["b"])), "b": back}

    confirm(loss, {"A": shuffled, "b": B}, gradient, holomorphic=True, branches=True)


def test_cholesky_by_hand(confirm):
    """Entry by entry; only the lower triangle is read."""

    def log_det(S):
        L = np.zeros_like(S)
        for j in range(len(S)):
            L[j, j] = np.sqrt(S[j, j] - L[j, :j] @ L[j, :j])
            for i in range(j + 1, len(S)):
                L[i, j] = (S[i, j] - L[i, :j] @ L[j, :j]) / L[j, j]
        return 2 * np.sum(np.log(np.diagonal(L)))

    def gradient(S):
        low = np.tril(S) + np.tril(S, -1).T
        inverse = np.linalg.inv(low)
        return np.tril(inverse) + np.tril(inverse, -1)

    confirm(log_det, A @ A.T, gradient, holomorphic=True)


def test_gram_schmidt(confirm):
    """Columns made orthonormal in place; the projection's trace has a closed form."""
    W, M = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 5))
    M = M + M.T

    def kept(W):
        Q = W.copy()
        for j in range(Q.shape[1]):
            for i in range(j):
                Q[:, j] -= (Q[:, i] @ Q[:, j]) * Q[:, i]
            Q[:, j] /= np.sqrt(Q[:, j] @ Q[:, j])
        return np.sum(Q * (M @ Q))

    def gradient(W):
        inverse = np.linalg.inv(W.T @ W)
        return 2 * (np.eye(5) - W @ inverse @ W.T) @ M @ W @ inverse

    confirm(kept, W, gradient, holomorphic=True)


def test_thomas(confirm):
    """Tridiagonal elimination on copies of the diagonals."""
    low, mid, high = RNG.normal(size=4), 4 + RNG.random(5), RNG.normal(size=4)
    weights = np.cos(np.arange(5.0))

    def solve(p):
        mid, b = p["mid"].copy(), p["b"].copy()
        for i in range(1, 5):
            m = low[i - 1] / mid[i - 1]
            mid[i] -= m * high[i - 1]
            b[i] -= m * b[i - 1]
        b[-1] = b[-1] / mid[-1]
        for i in range(3, -1, -1):
            b[i] = (b[i] - high[i] * b[i + 1]) / mid[i]
        return weights @ b

    def gradient(p):
        T = np.diag(p["mid"]) + np.diag(low, -1) + np.diag(high, 1)
        x, back = np.linalg.solve(T, p["b"]), np.linalg.solve(T.T, weights)
        return {"b": back, "mid": -back * x}

    confirm(solve, {"b": B, "mid": mid}, gradient, holomorphic=True)


# ---------------------------------------------------------------- iterations


def test_jacobi_eigenvalues(confirm):
    """Plane rotations of rows and columns in place; a spectral function has a closed form."""
    S = A + A.T

    def eigenvalues(S):
        S = S.copy()
        for _ in range(6):
            for p in range(4):
                for q in range(p + 1, 5):
                    if abs(S[p, q]) < 1e-14:
                        continue
                    theta = 0.5 * np.arctan2(2 * S[p, q], S[q, q] - S[p, p])
                    c, s = np.cos(theta), np.sin(theta)
                    rows = S[[p, q]]
                    S[[p, q]] = np.stack([c * rows[0] - s * rows[1], s * rows[0] + c * rows[1]])
                    columns = S[:, [p, q]]
                    S[:, p] = c * columns[:, 0] - s * columns[:, 1]
                    S[:, q] = s * columns[:, 0] + c * columns[:, 1]
        return np.diag(S)

    np.testing.assert_allclose(np.sort(eigenvalues(S)), np.linalg.eigvalsh(S), rtol=1e-10)

    def trace_of_log(x):
        return np.sum(np.log(eigenvalues(np.diag(x) + S)))

    def gradient(x):
        return np.diag(np.linalg.inv(np.diag(x) + S))

    confirm(trace_of_log, np.ones(5), gradient, holomorphic=True, branches=True)


def test_conjugate_gradients():
    """Runs until it has converged; then its derivative is that of the solution."""
    S = A @ A.T

    def solve(b):
        x, r = np.zeros_like(b), b.copy()
        p = r.copy()
        for _ in range(50):
            alpha = (r @ r) / (p @ S @ p)
            x = x + alpha * p
            new = r - alpha * (S @ p)
            if np.linalg.norm(new) < 1e-12:
                break
            p = new + (new @ new) / (r @ r) * p
            r = new
        return x

    np.testing.assert_allclose(ug.jacobian(solve)(B), np.linalg.inv(S), rtol=1e-6, atol=1e-8)
    second = ug.hvp(lambda b: 0.5 * b @ solve(b), B, np.ones(5))
    np.testing.assert_allclose(second, np.linalg.solve(S, np.ones(5)), rtol=1e-6)


def test_power_iteration(confirm):
    S = A @ A.T

    def largest(S):
        v = np.ones(5)
        for _ in range(250):
            v = S @ v
            v /= np.linalg.norm(v)
        return v @ S @ v

    def gradient(S):
        v = np.linalg.eigh(S)[1][:, -1]
        return np.outer(v, v)

    np.testing.assert_allclose(ug.grad(largest)(S), gradient(S), rtol=1e-7, atol=1e-9)
    confirm(largest, S)


def test_matrix_exponential(confirm):
    """Scaling, a Taylor series with in-place sums, and squaring."""

    def expm(M):
        M = M / 2**6
        total, term = np.eye(len(M)) + M, M
        for k in range(2, 12):
            term = term @ M / k
            total += term
        for _ in range(6):
            total = total @ total
        return total

    V = RNG.normal(size=(3, 3))
    M = V @ np.diag([0.3, -0.5, 1.0]) @ np.linalg.inv(V)
    np.testing.assert_allclose(
        expm(M), V @ np.diag(np.exp([0.3, -0.5, 1.0])) @ np.linalg.inv(V), rtol=1e-11
    )
    confirm(lambda M: np.trace(expm(M)), M, lambda M: expm(M).T, holomorphic=True)


# ---------------------------------------------------------------- recursion and tables


def test_fast_fourier_transform(confirm):
    """Cooley and Tukey's recursion, by slices with steps and concatenation."""

    def fft(x):
        n = len(x)
        if n == 1:
            return x
        even, odd = fft(x[::2]), fft(x[1::2])
        turned = np.exp(-2j * np.pi * np.arange(n // 2) / n) * odd
        return np.concatenate([even + turned, even - turned])

    x = RNG.normal(size=8)
    np.testing.assert_allclose(fft(x), np.fft.fft(x), rtol=1e-12, atol=1e-12)
    weights = np.arange(8.0)

    def power(x):
        return np.sum(weights * np.abs(fft(x)) ** 2)

    def gradient(x):
        return 2 * np.real(np.fft.fft(weights * np.conj(np.fft.fft(x))))

    confirm(power, x, gradient)


@pytest.mark.parametrize("rows", ["swapped", "shifted"])
def test_views_are_numpys(confirm, rows):
    """`A[0], A[1] = A[1], A[0]` does not swap rows, as the second reads what the first wrote."""

    def loss(A):
        A = A.copy()
        if rows == "swapped":
            A[0], A[1] = A[1], A[0]
        else:
            A[1:] += A[:-1]
        view = A[:, 0]
        A *= 2.0
        return np.sum(np.arange(25.0).reshape(5, 5) * A**2) + np.sum(view**3)

    confirm(loss, A, holomorphic=True)


def test_shortest_paths():
    """Floyd and Warshall with numpy.minimum: the gradient counts the uses of an edge."""

    def total(D):
        D = D.copy()
        for k in range(len(D)):
            D = np.minimum(D, D[:, k, None] + D[None, k, :])
        return D.sum()

    D = RNG.random((5, 5)) + np.where(np.eye(5), 0.0, 0.5)
    np.fill_diagonal(D, 0.0)
    uses = ug.grad(total)(D)
    np.testing.assert_allclose(np.sum(uses * D), total(D), rtol=1e-13)
    np.testing.assert_array_equal(uses[~np.eye(5, dtype=bool)] % 1, 0.0)
    np.testing.assert_array_equal(ug.hvp(total, D, np.ones((5, 5))), 0.0)


def test_horner_and_newton(confirm):
    """A root of a polynomial, found by Newton with Horner's scheme, by its coefficients."""

    def root(c):
        x = 1.5
        for _ in range(12):
            value, slope = c[0], 0.0
            for a in c[1:]:
                slope = slope * x + value
                value = value * x + a
            x = x - value / slope
        return x

    def gradient(c):
        x = root(c)
        return -(x ** np.arange(3, -1, -1)) / np.polyval(np.polyder(c), x)

    confirm(root, np.array([1.0, -2.0, -1.0, 1.5]), gradient, holomorphic=True)


def test_dictionaries_and_closures(confirm):
    """Intermediate results in dicts and lists, a class, a generator, memoised recursion."""

    class Layer:
        def __init__(self, W):
            self.W = W
            self.seen = []

        def __call__(self, x):
            self.seen.append(np.tanh(self.W @ x))
            return self.seen[-1]

    def loss(p):
        layers = [Layer(W) for W in p]
        memo = {}

        def run(depth):
            if depth not in memo:
                memo[depth] = np.ones(3) if depth == 0 else layers[depth - 1](run(depth - 1))
            return memo[depth]

        run(len(layers))
        return sum(np.sum(s**2) for layer in layers for s in layer.seen)

    confirm(loss, RNG.normal(size=(3, 3, 3)), holomorphic=True)
