"""Prices and risks in plain NumPy, against the greeks and estimators of the textbooks."""

import numpy as np
import pytest

import unigrad as ug

RNG = np.random.default_rng(8)


# ---------------------------------------------------------------- options


def black_scholes(p):
    """A call of strike 1 and maturity 1: spot, rate, volatility."""
    special = pytest.importorskip("scipy.special")
    spot, rate, sigma = p
    d1 = (np.log(spot) + rate + 0.5 * sigma**2) / sigma
    return spot * special.ndtr(d1) - np.exp(-rate) * special.ndtr(d1 - sigma)


def greeks(p):
    special = pytest.importorskip("scipy.special")
    spot, rate, sigma = p
    d1 = (np.log(spot) + rate + 0.5 * sigma**2) / sigma
    density = np.exp(-0.5 * d1**2) / np.sqrt(2 * np.pi)
    rho = np.exp(-rate) * special.ndtr(d1 - sigma)
    return np.array([special.ndtr(d1), rho, spot * density])


def test_black_scholes(confirm):
    p = np.array([1.1, 0.03, 0.4])
    confirm(black_scholes, p, greeks)
    gamma = ug.hessian(black_scholes)(p)[0, 0]
    d1 = (np.log(1.1) + 0.03 + 0.08) / 0.4
    expected = np.exp(-0.5 * d1**2) / np.sqrt(2 * np.pi) / (1.1 * 0.4)
    np.testing.assert_allclose(gamma, expected, rtol=1e-13)


def test_binomial_tree(confirm):
    """An American put: shrinking slices and numpy.maximum."""
    steps = 30

    def put(p):
        spot, rate, sigma = p
        up = np.exp(sigma * np.sqrt(1 / steps))
        q = (np.exp(rate / steps) - 1 / up) / (up - 1 / up)
        nodes = spot * up ** np.arange(-steps, steps + 1, 2)
        value = np.maximum(1.0 - nodes, 0.0)
        for n in range(steps, 0, -1):
            nodes = spot * up ** np.arange(-n + 1, n, 2)
            held = np.exp(-rate / steps) * (q * value[1:] + (1 - q) * value[:-1])
            value = np.maximum(held, 1.0 - nodes)
        return value[0]

    confirm(put, np.array([1.013, 0.05, 0.3]), step=1e-4, rtol=1e-6)


def test_monte_carlo(confirm):
    """An Asian call by paths from numpy.cumsum; the pathwise delta has a formula."""
    normal = RNG.normal(size=(64, 12))

    def paths(p):
        steps = (p[1] - 0.5 * p[2] ** 2) / 12 + p[2] * np.sqrt(1 / 12) * normal
        return p[0] * np.exp(np.cumsum(steps, axis=1))

    def price(p):
        payoff = paths(p).mean(axis=1) - 1.0
        return np.exp(-p[1]) * np.mean(payoff * (payoff > 0))

    p = np.array([1.0, 0.02, 0.3])
    confirm(price, p, step=1e-4)
    average = paths(p).mean(axis=1)
    delta = np.exp(-0.02) * np.mean(average * (average > 1))
    np.testing.assert_allclose(ug.grad(price)(p)[0], delta, rtol=1e-13)


# ---------------------------------------------------------------- risks


RETURNS = 0.01 * RNG.normal(size=60)


def test_garch(confirm):
    """A recursion written into an array of the shape of the data."""

    def likelihood(theta):
        omega, alpha, beta = np.exp(theta)
        variance = np.zeros_like(theta, shape=RETURNS.shape)
        variance[0] = np.var(RETURNS)
        for t in range(1, len(RETURNS)):
            variance[t] = omega + alpha * RETURNS[t - 1] ** 2 + beta * variance[t - 1]
        return -0.5 * np.mean(np.log(variance) + RETURNS**2 / variance)

    def gradient(theta):
        omega, alpha, beta = np.exp(theta)
        s, ds = np.var(RETURNS), np.zeros(3)
        total = np.zeros(3)
        for t in range(len(RETURNS)):
            if t:
                r2 = RETURNS[t - 1] ** 2
                ds = np.array([omega, alpha * r2, beta * s]) + beta * ds
                s = omega + alpha * r2 + beta * s
            total = total - 0.5 * (1 / s - RETURNS[t] ** 2 / s**2) * ds
        return total / len(RETURNS)

    confirm(likelihood, np.log([1e-5, 0.1, 0.8]), gradient, holomorphic=True)


def test_portfolio(confirm):
    """Sharpe's ratio with numpy.cov, on weights by a softmax."""
    returns = RNG.normal(size=(40, 4)) * [0.1, 0.2, 0.3, 0.4] + [0.01, 0.05, 0.02, 0.06]

    def sharpe(z):
        w = np.exp(z) / np.sum(np.exp(z))
        return (returns @ w).mean() / np.sqrt(w @ np.cov(returns, rowvar=False) @ w)

    def gradient(z):
        w = np.exp(z) / np.sum(np.exp(z))
        mu, C = returns.mean(axis=0), np.cov(returns, rowvar=False)
        risk = np.sqrt(w @ C @ w)
        by_w = mu / risk - (mu @ w) * (C @ w) / risk**3
        return w * (by_w - w @ by_w)

    confirm(sharpe, np.array([0.1, -0.3, 0.2, 0.5]), gradient, holomorphic=True)


def test_correlation_by_its_factor(confirm):
    """A covariance from its Cholesky factor, whose triangle is written by indices."""
    data = RNG.normal(size=(30, 3))

    def likelihood(theta):
        L = np.zeros_like(theta, shape=(3, 3))
        L[np.tril_indices(3)] = theta
        precision = L @ L.T
        quadratic = np.einsum("ni,ij,nj->n", data, precision, data)
        return np.mean(-0.5 * quadratic) + 0.5 * np.linalg.slogdet(precision)[1]

    def gradient(theta):
        L = np.zeros((3, 3), dtype=theta.dtype)
        L[np.tril_indices(3)] = theta
        by_L = -(data.T @ data / len(data)) @ L + np.linalg.inv(L).T
        return by_L[np.tril_indices(3)]

    confirm(likelihood, np.array([1.0, 0.2, 1.1, -0.1, 0.3, 0.9]), gradient, holomorphic=True)


def test_yield_curve(confirm):
    """Discount factors between knots by numpy.interp, whose values are sought."""
    knots = np.array([0.5, 1.0, 2.0, 5.0, 10.0])
    times = np.linspace(0.5, 9.5, 19)

    def swap(zeros):
        discount = np.exp(-times * np.interp(times, knots, zeros))
        return (1 - discount[-1]) / (0.5 * discount.sum())

    def gradient(zeros):
        hats = np.stack([np.interp(times, knots, e) for e in np.eye(5)])
        discount = np.exp(-times * (zeros @ hats))
        by_zero = -times * discount * hats
        annuity = 0.5 * discount.sum()
        return -by_zero[:, -1] / annuity - (1 - discount[-1]) / annuity**2 * 0.5 * by_zero.sum(1)

    confirm(swap, np.array([0.01, 0.012, 0.02, 0.025, 0.03]), gradient, holomorphic=True)
