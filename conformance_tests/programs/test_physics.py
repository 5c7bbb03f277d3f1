"""Simulations in plain NumPy: fields with slices and rolls, trajectories, optics, robots."""

import numpy as np
import pytest

import unigrad as ug

RNG = np.random.default_rng(4)


# ---------------------------------------------------------------- ordinary equations


def rhs(y, p):
    """Prey and predator, as one writes it."""
    prey, predator = y
    a, b, c, d = p
    return np.array([a * prey - b * prey * predator, c * prey * predator - d * predator])


def runge_kutta(f, y, h, steps):
    for _ in range(steps):
        k1 = f(y)
        k2 = f(y + 0.5 * h * k1)
        k3 = f(y + 0.5 * h * k2)
        k4 = f(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def misfit(p):
    y = runge_kutta(lambda y: rhs(y, p), np.array([1.0, 0.5]), 0.1, 20)
    return np.sum((y - np.array([0.8, 1.1])) ** 2)


def misfit_gradient(p):
    """The sensitivity equations, which Runge-Kutta integrates to the same discrete derivative."""
    a, b, c, d = p

    def both(z):
        y, S = z[:2], z[2:].reshape(2, 4)
        J = np.array([[a - b * y[1], -b * y[0]], [c * y[1], c * y[0] - d]])
        by_p = np.array([[y[0], -y[0] * y[1], 0.0, 0.0], [0.0, 0.0, y[0] * y[1], -y[1]]])
        return np.concatenate([rhs(y, p), (J @ S + by_p).ravel()])

    z = runge_kutta(both, np.concatenate([[1.0, 0.5], np.zeros(8)]), 0.1, 20)
    return 2 * (z[:2] - np.array([0.8, 1.1])) @ z[2:].reshape(2, 4)


def test_runge_kutta(confirm):
    confirm(misfit, np.array([1.1, 0.9, 0.7, 1.2]), misfit_gradient, holomorphic=True)


def test_oscillator_in_a_table():
    """A trajectory written row by row into an array; the limit is cos and sin."""

    def trajectory(omega, steps=40, h=0.05):
        table = np.zeros_like(omega, shape=(steps + 1, 2))
        table[0] = 1.0, 0.0
        for n in range(steps):
            q, p = table[n]
            p = p - h * omega**2 * q
            table[n + 1, 0] = q + h * p
            table[n + 1, 1] = p
        return table

    def loss(omega):
        return np.sum(trajectory(omega)[:, 0] ** 2)

    def plain(omega):
        q, p, total = 1.0, 0.0, 1.0
        for _ in range(40):
            p = p - 0.05 * omega**2 * q
            q = q + 0.05 * p
            total = total + q**2
        return total

    omega = 1.3
    np.testing.assert_allclose(
        ug.grad(loss)(omega), np.imag(plain(omega + 1e-30j)) / 1e-30, rtol=1e-12
    )
    second = ug.grad(ug.grad(loss))(omega)
    ends = [np.imag(plain(omega + s + 1e-30j)) / 1e-30 for s in (1e-5, -1e-5)]
    np.testing.assert_allclose(second, (ends[0] - ends[1]) / 2e-5, rtol=1e-8)


def test_bodies(confirm):
    """Gravity by broadcasting, and by a double loop: the force is minus the gradient."""
    masses = np.array([1.0, 2.0, 0.5, 1.5])

    def by_broadcasting(x):
        i, j = np.triu_indices(len(x), k=1)
        return -np.sum(masses[i] * masses[j] / np.linalg.norm(x[i] - x[j], axis=-1))

    def by_loop(x):
        energy = 0.0
        for i in range(len(x)):
            for j in range(i):
                r = x[i] - x[j]
                energy -= masses[i] * masses[j] / np.sqrt(r @ r)
        return energy

    def force(x):
        r = x[:, None] - x[None, :]
        d = np.sqrt(np.sum(r**2, axis=-1)) + np.eye(4)
        weights = masses[:, None] * masses[None, :] / d**3 * (1 - np.eye(4))
        return np.sum(weights[:, :, None] * r, axis=1)

    x = RNG.normal(size=(4, 3))
    confirm(by_broadcasting, x, force, holomorphic=True)
    confirm(by_loop, x, force, holomorphic=True)


def test_robot_arm(confirm):
    """Joint rotations as numpy.array of cosines and sines, chained."""

    def rotation(angle):
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    lengths, target = np.array([1.0, 0.8, 0.5]), np.array([0.9, 1.2])

    def reach(angles):
        R, end = np.eye(2), np.zeros(2)
        for angle, length in zip(angles, lengths, strict=True):
            R = R @ rotation(angle)
            end = end + R @ np.array([length, 0.0])
        return np.sum((end - target) ** 2)

    def gradient(angles):
        sums = np.cumsum(angles)
        x, y = lengths * np.cos(sums), lengths * np.sin(sums)
        by_x, by_y = -np.cumsum(y[::-1])[::-1], np.cumsum(x[::-1])[::-1]
        return 2 * ((x.sum() - target[0]) * by_x + (y.sum() - target[1]) * by_y)

    confirm(reach, np.array([0.3, -0.5, 1.1]), gradient, holomorphic=True)


# ---------------------------------------------------------------- fields


def test_heat_by_slices(confirm):
    """Explicit heat equation, written in place into the interior of a copy."""
    n = 12
    source = RNG.normal(size=n)

    def end(u):
        for _ in range(25):
            new = u.copy()
            new[1:-1] += 0.4 * (u[2:] - 2 * u[1:-1] + u[:-2])
            u = new
        return np.sum(u**2) + source @ u

    M = np.eye(n)
    for i in range(1, n - 1):
        M[i, i - 1 : i + 2] += 0.4 * np.array([1.0, -2.0, 1.0])
    T = np.linalg.matrix_power(M, 25)
    confirm(end, RNG.normal(size=n), lambda u: T.T @ (2 * T @ u + source), holomorphic=True)


def project(vx, vy, sweeps=6):
    """Take the divergence out, by Jacobi sweeps on slices."""
    h = 1.0 / vx.shape[0]
    div = (
        -0.5 * h * (np.roll(vx, -1, 0) - np.roll(vx, 1, 0) + np.roll(vy, -1, 1) - np.roll(vy, 1, 1))
    )
    p = np.zeros_like(div)
    for _ in range(sweeps):
        p[1:-1, 1:-1] = (
            div[1:-1, 1:-1] + p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
        ) / 4.0
        p[0], p[-1] = p[1], p[-2]
        p[:, 0], p[:, -1] = p[:, 1], p[:, -2]
    vx = vx - 0.5 / h * (np.roll(p, -1, 0) - np.roll(p, 1, 0))
    vy = vy - 0.5 / h * (np.roll(p, -1, 1) - np.roll(p, 1, 1))
    return vx, vy


def advect(f, vx, vy):
    """Semi-Lagrangian: look up where the flow came from."""
    rows, cols = f.shape
    ys, xs = np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij")
    y, x = ys - 2.0 * vx, xs - 2.0 * vy
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    ry, rx = y - top, x - left
    top, bottom = np.mod(top, rows), np.mod(top + 1, rows)
    left, right = np.mod(left, cols), np.mod(left + 1, cols)
    upper = (1 - rx) * f[top, left] + rx * f[top, right]
    lower = (1 - rx) * f[bottom, left] + rx * f[bottom, right]
    return (1 - ry) * upper + ry * lower


def test_fluid(confirm):
    """Smoke carried to a picture; the velocity is what is sought."""
    smoke = RNG.random((8, 8))
    picture = RNG.random((8, 8))

    def loss(v):
        vx, vy = project(v["x"], v["y"])
        carried = smoke
        for _ in range(3):
            updated_x, updated_y = advect(vx, vx, vy), advect(vy, vx, vy)
            vx, vy = project(updated_x, updated_y)
            carried = advect(carried, vx, vy)
        return np.mean((carried - picture) ** 2)

    velocity = {"x": 0.3 * RNG.normal(size=(8, 8)), "y": 0.3 * RNG.normal(size=(8, 8))}
    confirm(loss, velocity, rtol=1e-5, step=1e-4, branches=True)


def test_upwind_burgers(confirm):
    """A choice by the sign of the flow, with numpy.where and numpy.diff."""

    def end(u):
        for _ in range(10):
            back, ahead = u - np.roll(u, 1), np.roll(u, -1) - u
            u = u - 0.1 * np.where(u > 0, u * back, u * ahead) + 0.05 * np.diff(ahead, prepend=0.0)
        return np.trapezoid(u**2) if hasattr(np, "trapezoid") else np.trapz(u**2)

    confirm(end, np.sin(np.arange(10.0)) + 0.3)


def test_spectral_solver(confirm):
    """A periodic Poisson solve by FFT is a symmetric linear map."""
    n = 16
    k = 2 * np.pi * np.fft.fftfreq(n, d=1.0 / n)
    k2 = np.where(k == 0, 1.0, k**2)

    def solve(f):
        return np.real(np.fft.ifft(np.where(k == 0, 0.0, np.fft.fft(f) / k2)))

    def energy(f):
        return 0.5 * np.sum(f * solve(f)) + np.sum(np.cosh(f))

    confirm(energy, RNG.normal(size=n), lambda f: solve(f) + np.sinh(f))


def test_propagation_of_light(confirm):
    """A phase mask, and the intensity after a Fourier propagation."""
    fy, fx = np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8), indexing="ij")
    transfer = np.exp(-1j * 20.0 * (fx**2 + fy**2))
    target = RNG.random((8, 8))

    def loss(phase):
        field = np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * transfer)
        return np.sum((np.abs(field) ** 2 - target) ** 2)

    def gradient(phase):
        start = np.exp(1j * phase)
        field = np.fft.ifft2(np.fft.fft2(start) * transfer)
        back = 4 * (np.abs(field) ** 2 - target) * field
        back = np.fft.ifft2(np.fft.fft2(back) * np.conj(transfer))
        return np.real(np.conj(1j * start) * back)

    confirm(loss, RNG.normal(size=(8, 8)), gradient)


# ---------------------------------------------------------------- materials and structures


def test_truss(confirm):
    """Compliance of bars: assembled stiffness, solved; its gradient is minus strain energy."""
    nodes = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, 0.5]])
    bars = [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]
    free = np.arange(4, 10)
    load = np.array([0.0, 0.0, 0.0, 0.0, 0.3, -1.0])
    vectors = []
    for i, j in bars:
        d = nodes[j] - nodes[i]
        direction = np.zeros(10)
        direction[2 * i : 2 * i + 2], direction[2 * j : 2 * j + 2] = -d, d
        vectors.append(direction / np.linalg.norm(d) ** 1.5)
    vectors = np.array(vectors)

    def compliance(areas):
        K = 0.0
        for area, b in zip(areas, vectors, strict=True):
            K = K + area * np.outer(b, b)
        return load @ np.linalg.solve(K[np.ix_(free, free)], load)

    def gradient(areas):
        K = (vectors.T * areas) @ vectors
        u = np.linalg.solve(K[np.ix_(free, free)], load)
        return -((vectors[:, free] @ u) ** 2)

    confirm(compliance, np.linspace(0.5, 1.5, 7), gradient, holomorphic=True)


def test_vibration(confirm):
    """The lowest frequency of a chain of springs, by eigh: its gradient is the mode's strain."""

    def stiffness(k):
        return np.diag(k[:-1] + k[1:]) - np.diag(k[1:-1], 1) - np.diag(k[1:-1], -1)

    def lowest(k):
        return np.linalg.eigvalsh(stiffness(k))[0]

    def gradient(k):
        mode = np.linalg.eigh(stiffness(k))[1][:, 0]
        return np.diff(mode, prepend=0.0, append=0.0) ** 2

    confirm(lowest, np.array([1.0, 1.3, 0.8, 1.1, 0.9]), gradient)


def test_ray_through_a_lens(confirm):
    """Snell's law at two spheres, with Python branches and plain numbers."""

    def focus(curvatures):
        total = 0.0
        for height in (0.1, 0.2, 0.3):
            y, u, n = height, 0.0, 1.0
            for c, n_next, thickness in zip(curvatures, (1.5, 1.0), (0.2, 5.0), strict=True):
                if c == 0:
                    continue
                incidence = np.arcsin(c * y) + u
                refracted = np.arcsin(n / n_next * np.sin(incidence))
                u = u + refracted - incidence
                y = y + np.tan(u) * thickness
                n = n_next
            total += y**2
        return total

    confirm(focus, np.array([0.2, -0.15]), holomorphic=True, branches=True)


@pytest.mark.parametrize("sweeps", [1, 3])
def test_gauss_seidel(confirm, sweeps):
    """In place, entry by entry, on a copy of the right side."""
    A = RNG.normal(size=(4, 4)) + 6 * np.eye(4)

    def residual(b):
        x = b.copy()
        for _ in range(sweeps):
            for i in range(len(b)):
                x[i] = (b[i] - A[i, :i] @ x[:i] - A[i, i + 1 :] @ x[i + 1 :]) / A[i, i]
        return np.sum(np.sin(x)) + x @ x

    D, L, U = np.diag(np.diag(A)), np.tril(A, -1), np.triu(A, 1)
    step = np.linalg.inv(D + L)
    T = np.eye(4)
    for _ in range(sweeps):
        T = step @ (np.eye(4) - U @ T)
    confirm(
        residual, np.arange(1.0, 5.0), lambda b: T.T @ (np.cos(T @ b) + 2 * T @ b), holomorphic=True
    )
