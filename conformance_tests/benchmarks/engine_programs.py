"""The programs of `engine.py`: each in plain array code, with its gradient written by hand.

``loss(xp, constants, w)`` runs on NumPy, HIPS autograd, torch and JAX alike. ``hand(constants, w)``
is the gradient that one writes in NumPy without a library: natural code, which computes no value
of the loss that the gradient does not need, and no ``out=``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PROGRAMS", "Program", "mlp"]

Constants = Mapping[str, Any]


@dataclass(frozen=True)
class Program:
    """A scalar function of arrays, and how to differentiate it by hand.

    Attributes:
        name: as in the table.
        loss: ``loss(xp, constants, w)``.
        hand: ``hand(constants, w)``, the gradient.
        w: an array or a list of arrays.
        constants: arrays and plain numbers.
        product: ``product(constants, w, v)``, the Hessian-vector product by hand.
        jax_loss: what one writes in JAX instead, where a Python loop is the wrong program there.
        heavy: left out by ``--quick``.
    """

    name: str
    loss: Callable[[Any, Constants, Any], Any]
    hand: Callable[[Constants, Any], Any]
    w: Any
    constants: Constants
    product: Callable[[Constants, Any, Any], Any] | None = None
    jax_loss: Callable[[Constants, Any], Any] | None = None
    heavy: bool = False


# ---------------------------------------------------------------- multilayer perceptron


def _mlp_loss(xp: Any, c: Constants, w: Any) -> Any:
    """Cross-entropy of a softmax over two layers of tanh."""
    W1, b1, W2, b2, W3, b3 = w
    h = xp.tanh(c["x"] @ W1 + b1)
    h = xp.tanh(h @ W2 + b2)
    z = h @ W3 + b3
    m = xp.amax(z, 1, keepdims=True)
    entropy = xp.log(xp.exp(z - m).sum(1)) + m[:, 0] - (z * c["y"]).sum(1)
    return entropy.mean()


def _mlp_hand(c: Constants, w: Any) -> Any:
    W1, b1, W2, b2, W3, b3 = w
    x, y = c["x"], c["y"]
    h1 = np.tanh(x @ W1 + b1)
    h2 = np.tanh(h1 @ W2 + b2)
    z = h2 @ W3 + b3
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    dz = (p - y) / len(x)
    da2 = (dz @ W3.T) * (1 - h2 * h2)
    da1 = (da2 @ W2.T) * (1 - h1 * h1)
    return [x.T @ da1, da1.sum(0), h1.T @ da2, da2.sum(0), h2.T @ dz, dz.sum(0)]


def _mlp_product(c: Constants, w: Any, v: Any) -> Any:
    """The R-operator of Pearlmutter (1994): Hessian times ``v``."""
    W1, b1, W2, b2, W3, b3 = w
    V1, c1, V2, c2, V3, c3 = v
    x, y = c["x"], c["y"]
    h1 = np.tanh(x @ W1 + b1)
    s1 = 1 - h1 * h1
    Rh1 = s1 * (x @ V1 + c1)
    h2 = np.tanh(h1 @ W2 + b2)
    s2 = 1 - h2 * h2
    Rh2 = s2 * (Rh1 @ W2 + h1 @ V2 + c2)
    z = h2 @ W3 + b3
    Rz = Rh2 @ W3 + h2 @ V3 + c3
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    dz = (p - y) / len(x)
    Rdz = p * (Rz - (p * Rz).sum(1, keepdims=True)) / len(x)
    dh2 = dz @ W3.T
    da2 = dh2 * s2
    Rda2 = (Rdz @ W3.T + dz @ V3.T) * s2 - 2 * dh2 * h2 * Rh2
    dh1 = da2 @ W2.T
    Rda1 = (Rda2 @ W2.T + da2 @ V2.T) * s1 - 2 * dh1 * h1 * Rh1
    return [
        x.T @ Rda1,
        Rda1.sum(0),
        Rh1.T @ da2 + h1.T @ Rda2,
        Rda2.sum(0),
        Rh2.T @ dz + h2.T @ Rdz,
        Rdz.sum(0),
    ]


def mlp(name: str, widths: tuple[int, ...], batch: int, dtype: str, heavy: bool = False) -> Program:
    """A network of two hidden layers on random data."""
    rng = np.random.default_rng(0)
    w: list[Any] = []
    for n, m in itertools.pairwise(widths):
        w += [rng.normal(size=(n, m)) / np.sqrt(n), 0.1 * rng.normal(size=m)]
    labels = np.eye(widths[-1])[rng.integers(widths[-1], size=batch)]
    constants = {"x": rng.normal(size=(batch, widths[0])).astype(dtype), "y": labels.astype(dtype)}
    w = [a.astype(dtype) for a in w]
    return Program(name, _mlp_loss, _mlp_hand, w, constants, _mlp_product, heavy=heavy)


# ---------------------------------------------------------------- vectors and scalars


def _rosenbrock_loss(xp: Any, c: Constants, x: Any) -> Any:
    return (100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0).sum()


def _rosenbrock_hand(c: Constants, x: Any) -> Any:
    """As `scipy.optimize.rosen_der` has it."""
    xm, xm_m1, xm_p1 = x[1:-1], x[:-2], x[2:]
    g = np.zeros_like(x)
    g[1:-1] = 200 * (xm - xm_m1**2) - 400 * (xm_p1 - xm**2) * xm - 2 * (1 - xm)
    g[0] = -400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0])
    g[-1] = 200 * (x[-1] - x[-2] ** 2)
    return g


def _rosenbrock_product(c: Constants, x: Any, v: Any) -> Any:
    """As `scipy.optimize.rosen_hess_prod` has it."""
    Hv = np.zeros_like(x)
    Hv[0] = (1200 * x[0] ** 2 - 400 * x[1] + 2) * v[0] - 400 * x[0] * v[1]
    Hv[1:-1] = (
        -400 * x[:-2] * v[:-2]
        + (202 + 1200 * x[1:-1] ** 2 - 400 * x[2:]) * v[1:-1]
        - 400 * x[1:-1] * v[2:]
    )
    Hv[-1] = -400 * x[-2] * v[-2] + 200 * v[-1]
    return Hv


def _chain_loss(xp: Any, c: Constants, x: Any) -> Any:
    for _ in range(c["steps"]):
        m = xp.amax(x, 0)
        x = 0.9 * x - (xp.log(xp.exp(x - m).sum()) + m)
    return (x * c["g"]).sum()


def _chain_hand(c: Constants, x: Any) -> Any:
    softmaxes = []
    for _ in range(c["steps"]):
        m = x.max()
        p = np.exp(x - m)
        s = p.sum()
        softmaxes.append(p / s)
        x = 0.9 * x - (np.log(s) + m)
    g = c["g"]
    for p in reversed(softmaxes):
        g = 0.9 * g - p * g.sum()
    return g


def _scalars_step(xp: Any, w: Any, y: Any) -> Any:
    """Five operations on numbers."""
    return xp.sin(w[0] * y) + xp.exp(w[1] * y)


def _scalars_loss(xp: Any, c: Constants, w: Any) -> Any:
    a, b, y = w[0], w[1], w[2]
    for _ in range(c["steps"]):
        y = _scalars_step(xp, (a, b), y)
    return y


def _scalars_hand(c: Constants, w: Any) -> Any:
    a, b, y = w
    ys, es = [], []
    for _ in range(c["steps"]):
        e = np.exp(b * y)
        ys.append(y)
        es.append(e)
        y = np.sin(a * y) + e
    g, ga, gb = 1.0, 0.0, 0.0
    for y, e in zip(reversed(ys), reversed(es), strict=True):
        slope = g * np.cos(a * y)
        gb = gb + g * e * y
        ga = ga + slope * y
        g = slope * a + g * e * b
    return np.array([ga, gb, g])


def _map_step(xp: Any, w: Any, y: Any) -> Any:
    """Five products and sums of numbers."""
    return w[0] * y * (1.0 - y) + w[1] * y


def _map_loss(xp: Any, c: Constants, w: Any) -> Any:
    a, b, y = w[0], w[1], w[2]
    for _ in range(c["steps"]):
        y = _map_step(xp, (a, b), y)
    return y


def _map_hand(c: Constants, w: Any) -> Any:
    a, b, y = w
    ys = []
    for _ in range(c["steps"]):
        ys.append(y)
        y = a * y * (1.0 - y) + b * y
    g, ga, gb = 1.0, 0.0, 0.0
    for y in reversed(ys):
        ga = ga + g * (y * (1.0 - y))
        gb = gb + g * y
        g = g * (a * (1.0 - 2.0 * y) + b)
    return np.array([ga, gb, g])


def _scanned(step: Callable[[Any, Any, Any], Any]) -> Callable[[Constants, Any], Any]:
    """The loop of a step on numbers in JAX, where an unrolled one is slow."""

    def loss(c: Constants, w: Any) -> Any:
        import jax

        def body(y: Any, _: Any) -> tuple[Any, None]:
            return step(jax.numpy, w, y), None

        return jax.lax.scan(body, w[2], length=c["steps"])[0]

    return loss


# ---------------------------------------------------------------- recurrence


def _rnn_loss(xp: Any, c: Constants, w: Any) -> Any:
    W, U, b = w
    h = c["h"]
    for t in range(len(c["x"])):
        h = xp.tanh(c["x"][t] @ W + h @ U + b)
    return ((h - c["y"]) ** 2).mean()


def _rnn_jax(c: Constants, w: Any) -> Any:
    import jax

    W, U, b = w

    def step(h: Any, x: Any) -> tuple[Any, None]:
        return jax.numpy.tanh(x @ W + h @ U + b), None

    h, _ = jax.lax.scan(step, c["h"], c["x"])
    return ((h - c["y"]) ** 2).mean()


def _rnn_hand(c: Constants, w: Any) -> Any:
    W, U, b = w
    x, h = c["x"], c["h"]
    hs = [h]
    for t in range(len(x)):
        h = np.tanh(x[t] @ W + h @ U + b)
        hs.append(h)
    gW, gU, gb = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b)
    g = 2 * (h - c["y"]) / h.size
    for t in reversed(range(len(x))):
        da = g * (1 - hs[t + 1] ** 2)
        gW += x[t].T @ da
        gU += hs[t].T @ da
        gb += da.sum(0)
        g = da @ U.T
    return [gW, gU, gb]


# ---------------------------------------------------------------- fields


def _stencil_loss(xp: Any, c: Constants, u: Any) -> Any:
    """Steps of u' = u + k (Δu - u³) on the shrinking interior."""
    k = c["k"]
    for _ in range(c["steps"]):
        mid = u[1:-1, 1:-1]
        around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
        u = mid + k * (around - 4.0 * mid - mid * mid * mid)
    return (u * u).sum()


def _stencil_hand(c: Constants, u: Any) -> Any:
    k = c["k"]
    us = []
    for _ in range(c["steps"]):
        us.append(u)
        mid = u[1:-1, 1:-1]
        around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
        u = mid + k * (around - 4.0 * mid - mid * mid * mid)
    g = 2 * u
    for u in reversed(us):
        mid = u[1:-1, 1:-1]
        kg = k * g
        below = np.zeros_like(u)
        below[1:-1, 1:-1] = g - kg * (4.0 + 3.0 * mid * mid)
        below[:-2, 1:-1] += kg
        below[2:, 1:-1] += kg
        below[1:-1, :-2] += kg
        below[1:-1, 2:] += kg
        g = below
    return g


def _rolls_loss(xp: Any, c: Constants, u: Any) -> Any:
    """The same equation on a torus."""
    k = c["k"]
    for _ in range(c["steps"]):
        around = xp.roll(u, 1, 0) + xp.roll(u, -1, 0) + xp.roll(u, 1, 1) + xp.roll(u, -1, 1)
        u = u + k * (around - 4.0 * u - u * u * u)
    return (u * u).sum()


def _rolls_jax(c: Constants, u: Any) -> Any:
    import jax

    xp, k = jax.numpy, c["k"]

    def step(u: Any, _: Any) -> tuple[Any, None]:
        around = xp.roll(u, 1, 0) + xp.roll(u, -1, 0) + xp.roll(u, 1, 1) + xp.roll(u, -1, 1)
        return u + k * (around - 4.0 * u - u * u * u), None

    u, _ = jax.lax.scan(step, u, length=c["steps"])
    return (u * u).sum()


def _rolls_hand(c: Constants, u: Any) -> Any:
    k = c["k"]
    us = []
    for _ in range(c["steps"]):
        us.append(u)
        around = np.roll(u, 1, 0) + np.roll(u, -1, 0) + np.roll(u, 1, 1) + np.roll(u, -1, 1)
        u = u + k * (around - 4.0 * u - u * u * u)
    g = 2 * u
    for u in reversed(us):
        around = np.roll(g, 1, 0) + np.roll(g, -1, 0) + np.roll(g, 1, 1) + np.roll(g, -1, 1)
        g = g + k * (around - (4.0 + 3.0 * u * u) * g)
    return g


def _advection_loss(xp: Any, c: Constants, u: Any) -> Any:
    """Semi-Lagrangian steps: linear interpolation at the departure points."""
    for _ in range(c["steps"]):
        u = c["near"] * u[c["i"]] + c["far"] * u[c["j"]]
        u = u - 0.01 * u * u
    return (u * u).sum()


def _advection_hand(c: Constants, u: Any) -> Any:
    n = u.size
    us = []
    for _ in range(c["steps"]):
        u = c["near"] * u[c["i"]] + c["far"] * u[c["j"]]
        us.append(u)
        u = u - 0.01 * u * u
    g = 2 * u
    for u in reversed(us):
        g = g * (1.0 - 0.02 * u)
        g = np.bincount(c["i"], c["near"] * g, n) + np.bincount(c["j"], c["far"] * g, n)
    return g


# ---------------------------------------------------------------- the list


def _normal(*shape: int, seed: int = 1, scale: float = 1.0) -> Any:
    return scale * np.random.default_rng(seed).normal(size=shape)


def _rnn(batch: int) -> Program:
    w = [_normal(64, 64, scale=0.1), _normal(64, 64, seed=2, scale=0.1), _normal(64, seed=3)]
    constants = {
        "x": _normal(100, batch, 64, seed=4),
        "h": np.zeros((batch, 64)),
        "y": _normal(batch, 64, seed=5),
    }
    name = f"RNN 100 × 64, batch {batch}"
    return Program(name, _rnn_loss, _rnn_hand, w, constants, jax_loss=_rnn_jax)


def _stencil(side: int) -> Program:
    constants = {"steps": 20, "k": 0.1}
    name = f"stencil {side}², 20 steps"
    return Program(name, _stencil_loss, _stencil_hand, _normal(side, side, scale=0.3), constants)


def _advection(n: int) -> Program:
    departure = (np.arange(n) - 3.7 * np.sin(np.arange(n) * 6.0 / n)) % n
    i = departure.astype(np.int64)
    far = departure - i
    constants = {"i": i, "j": (i + 1) % n, "near": 1.0 - far, "far": far, "steps": 20}
    return Program(
        f"advection by gather, n = {n}", _advection_loss, _advection_hand, _normal(n), constants
    )


PROGRAMS = (
    mlp("MLP 2-16-16-3, batch 8, float64", (2, 16, 16, 3), 8, "float64"),
    mlp("MLP 784-256-256-10, batch 64, float32", (784, 256, 256, 10), 64, "float32"),
    mlp("MLP 784-1024-1024-10, batch 256, float32", (784, 1024, 1024, 10), 256, "float32", True),
    Program(
        "Rosenbrock, n = 1000",
        _rosenbrock_loss,
        _rosenbrock_hand,
        _normal(1000),
        {},
        _rosenbrock_product,
    ),
    Program(
        "logsumexp chain 50×, n = 1000",
        _chain_loss,
        _chain_hand,
        _normal(1000),
        {"steps": 50, "g": _normal(1000, seed=2)},
    ),
    _rnn(1),
    _rnn(8),
    Program(
        "1000 scalar operations",
        _scalars_loss,
        _scalars_hand,
        np.array([0.5, -0.7, 0.4]),
        {"steps": 200},
        jax_loss=_scanned(_scalars_step),
    ),
    Program(
        "1000 scalar products and sums",
        _map_loss,
        _map_hand,
        np.array([3.1, 0.05, 0.4]),
        {"steps": 200},
        jax_loss=_scanned(_map_step),
    ),
    _stencil(64),
    _stencil(256),
    Program(
        "rolls 64², 20 steps",
        _rolls_loss,
        _rolls_hand,
        _normal(64, 64, scale=0.3),
        {"steps": 20, "k": 0.1},
        jax_loss=_rolls_jax,
    ),
    _advection(4096),
)
