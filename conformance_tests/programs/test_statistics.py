"""Likelihoods in plain NumPy, against the gradients that statistics knows."""

import numpy as np
import pytest

import unigrad as ug

RNG = np.random.default_rng(2)


# ---------------------------------------------------------------- Gaussian process


GP_X = RNG.uniform(-2.0, 2.0, size=(20, 2))
GP_Y = np.sin(GP_X[:, 0]) + GP_X[:, 1] + 0.1 * RNG.normal(size=20)
DISTANCES = np.sum((GP_X[:, None, :] - GP_X[None, :, :]) ** 2, axis=-1)


def kernel(theta):
    length, amplitude, noise = np.exp(theta)
    smooth = amplitude**2 * np.exp(-0.5 * DISTANCES / length**2)
    return smooth + noise**2 * np.eye(len(GP_Y))


def gp_likelihood(theta):
    L = np.linalg.cholesky(kernel(theta))
    alpha = np.linalg.solve(L.T, np.linalg.solve(L, GP_Y))
    n = len(GP_Y)
    return -0.5 * GP_Y @ alpha - np.sum(np.log(np.diag(L))) - 0.5 * n * np.log(2 * np.pi)


def gp_gradient(theta):
    """½ tr((α αᵀ - K⁻¹) dK/dθ): Rasmussen and Williams (2006), equation 5.9."""
    length, _, noise = np.exp(theta)
    K = kernel(theta)
    smooth = K - noise**2 * np.eye(len(GP_Y))
    slopes = [smooth * DISTANCES / length**2, 2 * smooth, 2 * noise**2 * np.eye(len(GP_Y))]
    inverse = np.linalg.inv(K)
    alpha = inverse @ GP_Y
    inside = np.outer(alpha, alpha) - inverse
    return np.array([0.5 * np.sum(inside * dK) for dK in slopes])


def test_gaussian_process(confirm):
    confirm(gp_likelihood, np.array([0.1, 0.3, -1.0]), gp_gradient, holomorphic=True)


def test_gaussian_process_of_points(confirm):
    """The kernel differentiated by the points themselves, distances by broadcasting."""

    def likelihood(X):
        D2 = np.sum((X[:, None, :] - X[None, :, :]) ** 2, axis=-1)
        K = np.exp(-0.5 * D2) + 0.1 * np.eye(len(X))
        sign, logdet = np.linalg.slogdet(K)
        assert sign > 0
        return -0.5 * GP_Y[:8] @ np.linalg.solve(K, GP_Y[:8]) - 0.5 * logdet

    confirm(likelihood, GP_X[:8], branches=True)


# ---------------------------------------------------------------- Kalman filter


OBSERVED = np.cumsum(RNG.normal(size=12)) + 0.3 * RNG.normal(size=12)


def model(theta):
    """A damped local trend: level and slope."""
    damping, level, slope, noise = theta
    A = np.array([[1.0, 1.0], [0.0, damping]])
    Q = np.diag(np.array([level**2, slope**2]))
    return A, Q, noise**2


def kalman_likelihood(theta):
    A, Q, R = model(theta)
    H = np.array([1.0, 0.0])
    m, P = np.zeros(2), np.eye(2)
    total = 0.0
    for y in OBSERVED:
        m, P = A @ m, A @ P @ A.T + Q
        S = H @ P @ H + R
        K = P @ H / S
        residual = y - H @ m
        total += -0.5 * (np.log(2 * np.pi * S) + residual**2 / S)
        m = m + K * residual
        P = P - np.outer(K, H @ P)
    return total


def dense_likelihood(theta):
    """The same number from the joint density of all observations."""
    A, Q, R = model(theta)
    n = len(OBSERVED)
    P, covariances = np.eye(2), []
    for _ in range(n):
        P = A @ P @ A.T + Q
        covariances.append(P)
    joint = R * np.eye(n, dtype=P.dtype)
    for i in range(n):
        C = covariances[i]
        for j in range(i, n):
            joint[i, j] += C[0, 0]
            if i != j:
                joint[j, i] += C[0, 0]
            C = A @ C
    quadratic = OBSERVED @ np.linalg.solve(joint, OBSERVED)
    return -0.5 * (quadratic + np.log(np.linalg.det(joint)) + n * np.log(2 * np.pi))


def test_kalman_filter(confirm):
    theta = np.array([0.8, 0.7, 0.2, 0.5])
    assert np.isclose(kalman_likelihood(theta), dense_likelihood(theta), rtol=1e-12)
    steps = 1e-30j * np.eye(4)
    expected = [dense_likelihood(theta + step).imag / 1e-30 for step in steps]
    np.testing.assert_allclose(ug.grad(kalman_likelihood)(theta), expected, rtol=1e-9)
    confirm(kalman_likelihood, theta, holomorphic=True)
    by_filter, by_joint = ug.hessian(kalman_likelihood)(theta), ug.hessian(dense_likelihood)(theta)
    np.testing.assert_allclose(by_filter, by_joint, rtol=1e-8, atol=1e-8)


# ---------------------------------------------------------------- matrix factorisation


RATINGS = RNG.normal(size=(8, 3)) @ RNG.normal(size=(3, 6))
RATINGS[RNG.random(RATINGS.shape) < 0.3] = np.nan


def factorisation_gradient(factors):
    U, V = factors["U"], factors["V"]
    E = np.where(np.isnan(RATINGS), 0.0, RATINGS - U @ V.T)
    return {"U": -2 * E @ V + 0.2 * U, "V": -2 * E.T @ U + 0.2 * V}


def by_where(factors):
    U, V = factors["U"], factors["V"]
    known = ~np.isnan(RATINGS)
    errors = np.where(known, np.nan_to_num(RATINGS) - U @ V.T, 0.0)
    return np.sum(errors**2) + 0.1 * (np.sum(U**2) + np.sum(V**2))


def by_mask(factors):
    U, V = factors["U"], factors["V"]
    known = ~np.isnan(RATINGS)
    errors = (RATINGS - U @ V.T)[known]
    return np.sum(errors**2) + 0.1 * (np.linalg.norm(U) ** 2 + np.linalg.norm(V) ** 2)


def by_pairs(factors):
    U, V = factors["U"], factors["V"]
    rows, columns = np.nonzero(~np.isnan(RATINGS))
    predicted = np.einsum("nk,nk->n", U[rows], V[columns])
    errors = RATINGS[rows, columns] - predicted
    return errors @ errors + 0.1 * (np.vdot(U, U) + np.vdot(V, V))


def by_nan_to_num(factors):
    """The squares come after: 0 times the derivative of nan² would be nan."""
    U, V = factors["U"], factors["V"]
    errors = np.nan_to_num(RATINGS - U @ V.T)
    return np.sum(errors**2) + 0.1 * ((U * U).sum() + (V * V).sum())


@pytest.mark.parametrize("loss", [by_where, by_mask, by_pairs, by_nan_to_num])
def test_matrix_factorisation(confirm, loss):
    factors = {"U": RNG.normal(size=(8, 2)), "V": RNG.normal(size=(6, 2))}
    confirm(loss, factors, factorisation_gradient, holomorphic=True)


def test_matrix_factorisation_learns():
    factors = {"U": 0.5 * RNG.normal(size=(8, 3)), "V": 0.5 * RNG.normal(size=(6, 3))}
    before = by_mask(factors)
    for _ in range(300):
        g = ug.grad(by_mask)(factors)
        factors = {k: w - 0.02 * g[k] for k, w in factors.items()}
    assert by_mask(factors) < 0.1 * before


# ---------------------------------------------------------------- survival


COVARIATES = RNG.normal(size=(25, 3))
TIMES = RNG.exponential(size=25)
HAPPENED = RNG.random(25) < 0.7


def cox_gradient(beta):
    """Sum over the events of x minus its mean over those at risk: Cox (1972)."""
    total = np.zeros(3, dtype=np.result_type(beta, float))
    for i in np.flatnonzero(HAPPENED):
        at_risk = COVARIATES[TIMES[i] <= TIMES]
        weights = np.exp(at_risk @ beta)
        total += COVARIATES[i] - weights @ at_risk / weights.sum()
    return total


def cox_by_loop(beta):
    eta = COVARIATES @ beta
    total = 0.0
    for i in range(len(TIMES)):
        if HAPPENED[i]:
            total += eta[i] - np.log(np.sum(np.exp(eta[TIMES[i] <= TIMES])))
    return total


def cox_by_cumsum(beta):
    order = np.argsort(-TIMES)
    eta = COVARIATES[order] @ beta
    log_risk = np.log(np.cumsum(np.exp(eta)))
    return np.sum((eta - log_risk)[HAPPENED[order]])


def cox_by_logaddexp(beta):
    order = np.argsort(TIMES)[::-1]
    eta = (COVARIATES @ beta)[order]
    log_risk = np.logaddexp.accumulate(eta)
    return np.sum(HAPPENED[order] * (eta - log_risk))


def cox_by_matrix(beta):
    eta = COVARIATES @ beta
    at_risk = TIMES[None, :] >= TIMES[:, None]
    peak = np.max(eta)
    log_risk = peak + np.log(np.sum(at_risk * np.exp(eta - peak), axis=1))
    return np.dot(HAPPENED, eta - log_risk)


@pytest.mark.parametrize("loss", [cox_by_loop, cox_by_cumsum, cox_by_logaddexp, cox_by_matrix])
def test_cox(confirm, loss):
    confirm(loss, np.array([0.5, -0.3, 0.8]), cox_gradient, holomorphic=True)


# ---------------------------------------------------------------- mixtures and hidden states


def test_gaussian_mixture(confirm):
    """Responsibilities give the gradient of the means."""
    points = RNG.normal(size=(30, 2)) + 2.0 * RNG.integers(0, 2, size=(30, 1))

    def log_likelihood(p):
        log_weights = p["weights"] - np.logaddexp.reduce(p["weights"])
        components = []
        for k in range(3):
            centred = points - p["means"][k]
            L = np.tril(p["factors"][k])
            white = centred @ L
            log_det = np.sum(np.log(np.abs(np.diag(L))))
            components.append(log_weights[k] + log_det - 0.5 * np.sum(white**2, axis=1))
        scores = np.stack(components, axis=1)
        top = scores.max(axis=1, keepdims=True)
        return np.sum(top[:, 0] + np.log(np.exp(scores - top).sum(axis=1)))

    p = {
        "weights": np.array([0.1, -0.2, 0.4]),
        "means": RNG.normal(size=(3, 2)),
        "factors": np.eye(2) + 0.2 * RNG.normal(size=(3, 2, 2)),
    }
    confirm(log_likelihood, p)

    g = ug.grad(log_likelihood)(p)
    weights = np.exp(p["weights"]) / np.sum(np.exp(p["weights"]))
    density = np.stack(
        [
            weights[k]
            * np.abs(np.prod(np.diag(p["factors"][k])))
            * np.exp(
                -0.5 * np.sum(((points - p["means"][k]) @ np.tril(p["factors"][k])) ** 2, axis=1)
            )
            for k in range(3)
        ],
        axis=1,
    )
    responsible = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(g["weights"], responsible.sum(0) - 30 * weights, rtol=1e-10)


def test_hidden_markov_model(confirm):
    """The gradient by log transition probabilities is the expected count of transitions."""
    symbols = RNG.integers(0, 3, size=15)

    def likelihood(p):
        log_A = p["A"]
        log_alpha = p["start"] + p["B"][:, symbols[0]]
        for symbol in symbols[1:]:
            log_alpha = np.logaddexp.reduce(log_alpha[:, None] + log_A, axis=0) + p["B"][:, symbol]
        return np.logaddexp.reduce(log_alpha)

    def normalised(*shape):
        z = RNG.normal(size=shape)
        return z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))

    p = {"A": normalised(2, 2), "B": normalised(2, 3), "start": normalised(2)}
    confirm(likelihood, p)
    g = ug.grad(likelihood)(p)
    np.testing.assert_allclose(g["A"].sum(), 14.0, rtol=1e-12)
    np.testing.assert_allclose(g["B"].sum(axis=0), np.bincount(symbols, minlength=3), rtol=1e-12)
    np.testing.assert_allclose(g["start"].sum(), 1.0, rtol=1e-12)


# ---------------------------------------------------------------- approximate inference


def test_laplace_evidence():
    """Mode by Newton, determinant of the Hessian, and the derivative of all that."""
    X = RNG.normal(size=(30, 2))
    y = (X @ np.array([1.0, -1.0]) > 0).astype(float)

    def energy(w, log_precision):
        z = X @ w
        prior = 0.5 * np.exp(log_precision) * np.sum(w**2)
        return np.sum(np.logaddexp(0, z) - y * z) + prior

    def evidence(log_precision):
        w = np.zeros(2)
        for _ in range(7):
            H = ug.hessian(energy)(w, log_precision)
            w = w - np.linalg.solve(H, ug.grad(energy)(w, log_precision))
        H = ug.hessian(energy)(w, log_precision)
        return -energy(w, log_precision) + log_precision - 0.5 * np.linalg.slogdet(H)[1]

    def by_hand(log_precision):
        w = np.zeros(2)
        a = np.exp(log_precision)
        for _ in range(8):
            p = 1 / (1 + np.exp(-X @ w))
            H = (X.T * (p * (1 - p))) @ X + a * np.eye(2)
            w = w - np.linalg.solve(H, X.T @ (p - y) + a * w)
        p = 1 / (1 + np.exp(-X @ w))
        H = (X.T * (p * (1 - p))) @ X + a * np.eye(2)
        z = X @ w
        fit = np.sum(np.log(1 + np.exp(z)) - y * z) + 0.5 * a * np.sum(w**2)
        return -fit + log_precision - 0.5 * np.log(np.linalg.det(H))

    h = 1e-30
    np.testing.assert_allclose(evidence(0.3), by_hand(0.3), rtol=1e-10)
    np.testing.assert_allclose(ug.grad(evidence)(0.3), by_hand(0.3 + 1j * h).imag / h, rtol=1e-8)
    plus, minus = (by_hand(0.3 + s + 1j * h).imag / h for s in (1e-4, -1e-4))
    np.testing.assert_allclose(ug.grad(ug.grad(evidence))(0.3), (plus - minus) / 2e-4, rtol=1e-6)


def test_hamiltonian_monte_carlo():
    """Leapfrog on a banana keeps the energy, and comes back when it is reversed."""

    def log_density(q):
        return -0.5 * (q[0] ** 2 / 4 + (q[1] - 0.3 * q[0] ** 2) ** 2)

    def leapfrog(q, p, steps, size):
        p = p + 0.5 * size * ug.grad(log_density)(q)
        for step in range(steps):
            q = q + size * p
            p = p + (size if step < steps - 1 else 0.5 * size) * ug.grad(log_density)(q)
        return q, p

    def energy(q, p):
        return -log_density(q) + 0.5 * p @ p

    q0, p0 = np.array([1.0, -0.5]), np.array([0.7, -1.2])
    errors = []
    for steps in (20, 40):
        q, p = leapfrog(q0, p0, steps, 2.0 / steps)
        errors.append(abs(energy(q, p) - energy(q0, p0)))
        back, _ = leapfrog(q, -p, steps, 2.0 / steps)
        np.testing.assert_allclose(back, q0, rtol=1e-12)
    assert 3.0 < errors[0] / errors[1] < 5.0  # second order

    def end_of_both(z):
        return np.concatenate(leapfrog(z[:2], z[2:], 10, 0.1))

    volume = np.linalg.det(ug.jacobian(end_of_both)(np.concatenate([q0, p0])))
    np.testing.assert_allclose(volume, 1.0, rtol=1e-12)
