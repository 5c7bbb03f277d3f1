"""Cameras, rotations and shapes in plain NumPy."""

import numpy as np

import unigrad as ug

RNG = np.random.default_rng(9)


def skew(w):
    """As it is written on paper, zeros included."""
    return np.array([[0.0, -w[2], w[1]], [w[2], 0.0, -w[0]], [-w[1], w[0], 0.0]])


def rodrigues(w):
    angle = np.sqrt(np.sum(w**2))
    K = skew(w / angle)
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


def test_pose(confirm):
    """Reprojection error of a camera."""
    points = RNG.normal(size=(6, 3))
    pixels = RNG.normal(size=(6, 2))

    def error(pose):
        seen = points @ rodrigues(pose[:3]).T + pose[3:]
        return np.sum((seen[:, :2] / seen[:, 2:] - pixels) ** 2)

    confirm(error, np.array([0.3, -0.2, 0.5, 0.1, 0.2, 5.0]), holomorphic=True)


def test_rotation_moves_points_by_the_cross_product():
    """d/dt of a rotation about an axis at angle t is the axis times the point, rotated."""
    axis, point = np.array([0.6, 0.0, 0.8]), np.array([1.0, 2.0, -1.0])

    def moved(angle):
        return rodrigues(angle * axis) @ point

    velocity = ug.jacobian(moved)(0.7)
    np.testing.assert_allclose(velocity, np.cross(axis, moved(0.7)), rtol=1e-13)
    acceleration = ug.jacobian(ug.jacobian(moved))(0.7)
    expected = np.cross(axis, np.cross(axis, moved(0.7)))
    np.testing.assert_allclose(acceleration, expected, rtol=1e-12)


def test_quaternions(confirm):
    """Products by unpacking, normalised; the misfit of two rotations of a cloud."""
    cloud, target = RNG.normal(size=(2, 5, 3))

    def product(p, q):
        a, b, c, d = p
        e, f, g, h = q
        return np.stack(
            [
                a * e - b * f - c * g - d * h,
                a * f + b * e + c * h - d * g,
                a * g - b * h + c * e + d * f,
                a * h + b * g - c * f + d * e,
            ]
        )

    def misfit(q):
        q = q / np.linalg.norm(q)
        back = q * np.array([1.0, -1.0, -1.0, -1.0])
        total = 0.0
        for x, y in zip(cloud, target, strict=True):
            moved = product(product(q, np.concatenate([[0.0], x])), back)[1:]
            total += np.sum((moved - y) ** 2)
        return total

    confirm(misfit, np.array([0.9, 0.1, -0.3, 0.2]))


def test_area_and_volume(confirm):
    """Shoelace formula with numpy.roll; the volume of a mesh by cross products of corners."""

    def area(p):
        x, y = p.T
        return 0.5 * np.abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))

    def area_gradient(p):
        x, y = p.T
        sign = np.sign(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        by_x, by_y = np.roll(y, 1) - np.roll(y, -1), np.roll(x, -1) - np.roll(x, 1)
        return 0.5 * sign * np.stack([by_x, by_y], axis=1)

    corners = np.array([[0.0, 0.0], [2.0, 0.1], [2.5, 1.5], [0.5, 2.0]])
    confirm(area, corners, area_gradient)

    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])

    def volume(v):
        a, b, c = v[faces[:, 0]], v[faces[:, 1]], v[faces[:, 2]]
        return np.sum(np.einsum("fi,fi->f", a, np.cross(b, c))) / 6

    def volume_gradient(v):
        g = np.zeros_like(v)
        for i, j, k in faces:
            g[i] += np.cross(v[j], v[k]) / 6
            g[j] += np.cross(v[k], v[i]) / 6
            g[k] += np.cross(v[i], v[j]) / 6
        return g

    confirm(volume, RNG.normal(size=(4, 3)), volume_gradient, holomorphic=True)


def test_alignment_by_svd(confirm):
    """Kabsch: the distance to the nearest rotation is by singular values, its gradient by R."""
    cloud, target = RNG.normal(size=(2, 6, 3))

    def distance(x):
        s = np.linalg.svd(target.T @ x, compute_uv=False)
        return np.sum(x**2) + np.sum(target**2) - 2 * np.sum(s)

    def gradient(x):
        U, _, Vt = np.linalg.svd(target.T @ x)
        return 2 * (x - target @ (U @ Vt))

    confirm(distance, cloud, gradient, rtol=1e-6)


def test_curvature_of_a_curve(confirm):
    """Bending energy of a polyline by numpy.diff and numpy.linalg.norm."""

    def energy(p):
        edges = np.diff(p, axis=0)
        lengths = np.linalg.norm(edges, axis=1)
        tangents = edges / lengths[:, np.newaxis]
        turns = np.arccos(np.clip(np.sum(tangents[1:] * tangents[:-1], axis=1), -1.0, 1.0))
        return np.sum(turns**2 / (0.5 * (lengths[1:] + lengths[:-1]))) + (lengths.sum() - 5.0) ** 2

    t = np.linspace(0.0, 2.0, 8)
    confirm(energy, np.stack([t, np.sin(2 * t)], axis=1))


def test_spline(confirm):
    """A cubic through knots, by the tridiagonal system of its slopes."""
    x = np.array([0.0, 1.0, 2.5, 3.0, 4.5])
    h = np.diff(x)
    at = np.linspace(0.1, 4.4, 11)

    def curve(y):
        A = np.diag(np.r_[1.0, 2 * (h[:-1] + h[1:]), 1.0])
        A[1:-1, :-2] += np.diag(h[:-1])
        A[1:-1, 2:] += np.diag(h[1:])
        jumps = np.diff(np.diff(y) / h)
        m = np.linalg.solve(A, np.concatenate([[0.0], 6 * jumps, [0.0]]))
        i = np.clip(np.searchsorted(x, at) - 1, 0, len(h) - 1)
        left, right = x[i + 1] - at, at - x[i]
        cubic = (m[i] * left**3 + m[i + 1] * right**3) / (6 * h[i])
        return (
            cubic
            + (y[i] / h[i] - m[i] * h[i] / 6) * left
            + (y[i + 1] / h[i] - m[i + 1] * h[i] / 6) * right
        )

    basis = np.stack([curve(e) for e in np.eye(5)], axis=1)
    weights = np.cos(at)

    def loss(y):
        return np.sum(weights * curve(y) ** 2)

    def gradient(y):
        return 2 * basis.T @ (weights * (basis @ y))

    confirm(loss, np.array([0.0, 1.0, -1.0, 2.0, 0.5]), gradient, holomorphic=True)
