"""Quantum circuits, transport, control and embeddings in plain NumPy."""

import functools

import numpy as np

import unigrad as ug

RNG = np.random.default_rng(10)


# ---------------------------------------------------------------- quantum


PAULI_X = np.array([[0, 1], [1, 0]], dtype=complex)
PAULI_Z = np.diag([1.0 + 0j, -1.0])


def rotation(pauli, angle):
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * pauli


def expectation(angles):
    """Two layers on two qubits; numpy.kron, and a Hermitian form."""
    entangle = np.diag([1.0, 1.0, 1.0, -1.0])
    state = np.array([1.0, 0.0, 0.0, 0.0], dtype=complex)
    for a, b in angles.reshape(2, 2):
        state = np.kron(rotation(PAULI_X, a), rotation(PAULI_X, b)) @ state
        state = entangle @ state
    observed = np.kron(PAULI_Z, np.eye(2)) + 0.5 * np.kron(PAULI_X, PAULI_X)
    return np.real(np.vdot(state, observed @ state))


def shifted(angles):
    """The parameter-shift rule is exact for rotations."""
    rows = 0.5 * np.pi * np.eye(4)
    return np.array([0.5 * (expectation(angles + r) - expectation(angles - r)) for r in rows])


def test_quantum_circuit(confirm):
    confirm(expectation, np.array([0.3, 1.1, -0.4, 0.8]), shifted)


def test_bloch_evolution(confirm):
    """exp(-i t H) through eigh, as one writes it for a Hermitian matrix."""

    def overlap(h):
        H = h[0] * PAULI_X + h[1] * PAULI_Z + 0.3 * np.eye(2)
        E, V = np.linalg.eigh(H)
        state = V @ (np.exp(-1j * E) * (np.conj(V.T) @ np.array([1.0, 0.0])))
        return np.abs(state[1]) ** 2

    def closed(h):
        """Rabi's formula."""
        square = h[0] ** 2 + h[1] ** 2
        return h[0] ** 2 / square * np.sin(np.sqrt(square)) ** 2

    h = np.array([0.7, 0.4])
    np.testing.assert_allclose(overlap(h), closed(h), rtol=1e-13)
    steps = 1e-30j * np.eye(2)
    confirm(overlap, h, lambda h: np.array([closed(h + s).imag / 1e-30 for s in steps]))


def test_tensor_network(confirm):
    """An MPS contracted by einsum and by tensordot."""

    def norm(cores):
        left, middle, right = cores["left"], cores["middle"], cores["right"]
        state = np.tensordot(np.tensordot(left, middle, axes=([1], [0])), right, axes=([2], [0]))
        assert state.shape == (2, 2, 2)
        again = np.einsum("ia,ajb,bk->ijk", left, middle, right)
        return np.sum(state**2) + np.log(np.sum(again**4))

    shapes = {"left": (2, 3), "middle": (3, 2, 3), "right": (3, 2)}
    confirm(norm, {k: RNG.normal(size=s) for k, s in shapes.items()}, holomorphic=True)


# ---------------------------------------------------------------- transport and embeddings


def test_sinkhorn(confirm):
    """Entropic transport: at convergence its gradient by the cost is the plan itself."""
    a, b = np.full(4, 0.25), np.array([0.1, 0.2, 0.3, 0.4])

    def logsumexp(z, axis):
        top = np.max(z, axis=axis, keepdims=True)
        return np.squeeze(top, axis) + np.log(np.sum(np.exp(z - top), axis=axis))

    def solve(cost):
        f, g = np.zeros(4), np.zeros(4)
        for _ in range(25):
            f = np.log(a) - logsumexp(g[None, :] - cost, 1)
            g = np.log(b) - logsumexp(f[:, None] - cost, 0)
        return f, g

    def transport(cost):
        f, g = solve(cost)
        return f @ a + g @ b

    def plan(cost):
        f, g = solve(cost)
        return np.exp(f[:, None] + g[None, :] - cost)

    cost = RNG.random((4, 4))
    np.testing.assert_allclose(ug.grad(transport)(cost), plan(cost), rtol=1e-9)
    confirm(transport, cost, plan)


def test_embedding_of_neighbours(confirm):
    """t-SNE: van der Maaten and Hinton (2008), equation 5."""
    P = RNG.random((6, 6))
    P = P + P.T
    np.fill_diagonal(P, 0.0)
    P /= P.sum()
    off = ~np.eye(6, dtype=bool)

    def divergence(y):
        sums = np.sum(np.square(y), axis=1)
        D = np.add.outer(sums, sums) - 2 * np.dot(y, y.T)
        Q = 1 / (1 + D)
        Q = Q / np.sum(Q[off])
        return np.sum(P[off] * np.log(P[off] / Q[off]))

    def gradient(y):
        r = y[:, None] - y[None, :]
        num = 1 / (1 + np.sum(r**2, axis=-1))
        Q = num * off / np.sum(num * off)
        return 4 * np.sum(((P - Q) * num)[:, :, None] * r, axis=1)

    confirm(divergence, RNG.normal(size=(6, 2)), gradient, holomorphic=True)


def test_principal_components(confirm):
    """The variance explained by an orthonormal basis that numpy.linalg.qr makes."""
    data = RNG.normal(size=(20, 4)) * [3.0, 2.0, 1.0, 0.5]
    C = data.T @ data / 20

    def lost(W):
        Q, _ = np.linalg.qr(W)
        return np.trace(C) - np.trace(Q.T @ C @ Q)

    def gradient(W):
        inverse = np.linalg.inv(W.T @ W)
        projector = W @ inverse @ W.T
        return -2 * (np.eye(4) - projector) @ C @ W @ inverse

    confirm(lost, RNG.normal(size=(4, 2)), gradient, holomorphic=True)


# ---------------------------------------------------------------- control


def test_linear_quadratic_regulator(confirm):
    """Riccati's recursion: the cost of the best control is half xᵀPx."""
    A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
    Q, R = np.eye(2), 0.1 * np.eye(1)

    def rollout(controls):
        x, cost = np.array([1.0, 0.0]), 0.0
        for u in controls:
            cost = cost + 0.5 * (x @ Q @ x + u @ R @ u)
            x = A @ x + B @ u
        return cost + 0.5 * x @ Q @ x

    controls = np.zeros((15, 1))
    H = ug.hessian(rollout)(controls).reshape(15, 15)
    best = -np.linalg.solve(H, ug.grad(rollout)(controls).ravel())
    P = Q
    for _ in range(15):
        K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
    np.testing.assert_allclose(rollout(best[:, None]), 0.5 * P[0, 0], rtol=1e-12)
    confirm(rollout, RNG.normal(size=(15, 1)), holomorphic=True)


def test_riccati_by_its_matrices(confirm):
    """The value of the game by the entries of the dynamics."""

    def value(A):
        P = np.eye(2)
        for _ in range(10):
            PB = P @ np.array([0.0, 1.0])
            K = (PB @ A) / (0.5 + PB[1])
            P = np.eye(2) + A.T @ P @ A - np.outer(A.T @ PB, K)
        return np.trace(P)

    confirm(value, np.array([[1.0, 0.2], [-0.1, 0.9]]), holomorphic=True)


def test_policy_gradient(confirm):
    """Expected reward of a Markov chain by a linear solve: the policy gradient theorem."""
    transition = RNG.dirichlet(np.ones(3), size=(3, 2))
    reward, start, discount = RNG.normal(size=(3, 2)), np.full(3, 1 / 3), 0.9

    def policy(theta):
        e = np.exp(theta - np.max(theta, axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def performance(theta):
        pi = policy(theta)
        P = np.einsum("sa,sat->st", pi, transition)
        r = np.sum(pi * reward, axis=1)
        return start @ np.linalg.solve(np.eye(3) - discount * P, r)

    def theorem(theta):
        pi = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
        P = np.einsum("sa,sat->st", pi, transition)
        V = np.linalg.solve(np.eye(3) - discount * P, np.sum(pi * reward, axis=1))
        visits = np.linalg.solve(np.eye(3) - discount * P.T, start)
        return visits[:, None] * pi * (reward + discount * transition @ V - V[:, None])

    confirm(performance, RNG.normal(size=(3, 2)), theorem, holomorphic=True)


# ---------------------------------------------------------------- words and spins


def test_word_vectors(confirm):
    """Skip-gram with negative samples: repeated rows of a table."""
    centre, context = RNG.integers(0, 5, size=(2, 12))
    label = RNG.integers(0, 2, size=12)

    def loss(p):
        scores = np.sum(p["in"][centre] * p["out"][context], axis=1)
        return np.mean(np.log1p(np.exp(-(2 * label - 1) * scores)))

    def gradient(p):
        u, v = p["in"][centre], p["out"][context]
        sign = 2 * label - 1
        slope = -sign / (1 + np.exp(sign * np.sum(u * v, axis=1))) / 12
        by_u, by_v = np.zeros_like(p["in"]), np.zeros_like(p["out"])
        np.add.at(by_u, centre, slope[:, None] * v)
        np.add.at(by_v, context, slope[:, None] * u)
        return {"in": by_u, "out": by_v}

    p = {"in": RNG.normal(size=(5, 3)), "out": RNG.normal(size=(5, 3))}
    confirm(loss, p, gradient, holomorphic=True)


def test_ising_free_energy(confirm):
    """Transfer matrices multiplied by functools.reduce: the gradient by the field is the mean."""
    fields = np.array([0.3, -0.2, 0.5, 0.1])

    def log_partition(h):
        spin = np.array([1.0, -1.0])
        coupling = np.exp(0.4 * np.outer(spin, spin))
        factors = [np.exp(field * spin)[:, None] * coupling for field in h]
        return np.log(np.trace(functools.reduce(np.matmul, factors)))

    def means(h):
        states = np.stack(np.meshgrid(*[[1.0, -1.0]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
        energies = states @ h + 0.4 * np.sum(states * np.roll(states, 1, axis=1), axis=1)
        weights = np.exp(energies)
        return weights @ states / weights.sum()

    confirm(log_partition, fields, means, holomorphic=True)


def test_reaction_network(confirm):
    """Implicit Euler: Newton's iterations with a Jacobian by hand, inside the loop."""

    def rates(y, k):
        return np.stack(
            [
                -k[0] * y[0] + k[1] * y[1] * y[2],
                k[0] * y[0] - k[1] * y[1] * y[2] - k[2] * y[1] ** 2,
                k[2] * y[1] ** 2,
            ]
        )

    def final(k):
        y = np.array([1.0, 0.0, 0.0])
        for _ in range(3):
            new = y
            for _ in range(4):
                J = ug.jacobian(rates)(new, k)
                new = new - np.linalg.solve(np.eye(3) - 0.2 * J, new - y - 0.2 * rates(new, k))
            y = new
        return np.sum(y * np.array([1.0, 2.0, 3.0]))

    def by_hand(k):
        y = np.array([1.0, 0.0, 0.0], dtype=k.dtype)
        for _ in range(3):
            new = y
            for _ in range(4):
                J = np.array(
                    [
                        [-k[0], k[1] * new[2], k[1] * new[1]],
                        [k[0], -k[1] * new[2] - 2 * k[2] * new[1], -k[1] * new[1]],
                        [0.0, 2 * k[2] * new[1], 0.0],
                    ]
                )
                new = new - np.linalg.solve(np.eye(3) - 0.2 * J, new - y - 0.2 * rates(new, k))
            y = new
        return np.sum(y * np.array([1.0, 2.0, 3.0]))

    k = np.array([0.5, 1.0, 2.0])
    steps = 1e-30j * np.eye(3)
    gradient = np.array([by_hand(k + s).imag / 1e-30 for s in steps])
    np.testing.assert_allclose(ug.grad(final)(k), gradient, rtol=1e-9)
    confirm(final, k)
