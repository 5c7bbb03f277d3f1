"""Loops in Python: recurrent networks, attention, scans and fixed-point iterations."""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad import ops
from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_INPUTS = draw(111, 5, 2)
_RNN = {"in": draw(112, 2, 3), "hidden": draw(113, 3, 3), "out": [draw(114, 3), None]}
_TOKENS = draw(115, 3, 4)


def _rnn(xp: Any, params: Any, x: Any) -> Any:
    h = xp.zeros_like(params["out"][0])
    loss = xp.zeros_like(h[0])
    for t in range(5):
        h = xp.tanh(xp.matmul(x[t], params["in"]) + xp.matmul(h, params["hidden"]))
        loss = loss + (xp.matmul(h, params["out"][0]) - x[t, 0]) ** 2
    return loss / 5


def _attention(xp: Any, q: Any, k: Any, w: Any, tokens: Any) -> Any:
    scores = (tokens @ q) @ xp.matrix_transpose(tokens @ k) / 2.0
    return xp.sum((ops.softmax(scores, axis=-1) @ (tokens @ w)) ** 2)


def _attention_value(q: Any, k: Any, w: Any, tokens: Any) -> Any:
    weights = np.exp((tokens @ q) @ (tokens @ k).T / 2.0)
    weights = weights / np.sum(weights, axis=-1, keepdims=True)
    return np.sum((weights @ (tokens @ w)) ** 2)


def _scan(xp: Any, x: Any) -> Any:
    state, history = x[0], []
    for i in range(5):
        state = xp.sin(state) * x[i] + 0.5 * state
        history.append(state)
    return xp.stack(history)


def _heat(xp: Any, x: Any) -> Any:
    for _ in range(6):
        inner = x[1:-1] + 0.1 * (x[2:] - 2 * x[1:-1] + x[:-2]) + 0.05 * x[1:-1] ** 3
        x = xp.concat([x[:1], inner, x[-1:]])
    return xp.sum(x**2)


def _newton_root(xp: Any, a: Any) -> Any:
    y = a
    for _ in range(8):
        y = y - (y * y - a) / (2 * y)
    return xp.sum(y)


def _pendulum(xp: Any, start: Any) -> Any:
    """Leapfrog steps of a pendulum; the position after them."""
    angle, speed = start[0], start[1]
    for _ in range(10):
        speed = speed - 0.05 * xp.sin(angle)
        angle = angle + 0.1 * speed
        speed = speed - 0.05 * xp.sin(angle)
    return xp.stack([angle, speed])


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "unrolled RNN",
        "sequences",
        _rnn,
        (_RNN,),
        (_INPUTS,),
        oracle="complex step",
        tags=frozenset({"core"}),
    ),
    Scenario(
        "attention",
        "sequences",
        _attention,
        (draw(116, 4, 2), draw(117, 4, 2), draw(118, 4, 2)),
        (_TOKENS,),
        value=_attention_value,
        oracle="complex step",
    ),
    Scenario(
        "scan",
        "sequences",
        _scan,
        (draw(119, 5),),
        output="array",
        oracle="complex step",
        tags=frozenset({"third"}),
    ),
    Scenario("heat equation", "sequences", _heat, (draw(120, 7),), oracle="complex step"),
    Scenario(
        "square root by Newton's iteration",
        "sequences",
        _newton_root,
        (draw(121, 3, low=0.5, high=2),),
        gradient=lambda u, a: u * 0.5 / np.sqrt(a),
        hvp=lambda u, v, a: -u * v * 0.25 * a**-1.5,
    ),
    Scenario(
        "pendulum",
        "sequences",
        _pendulum,
        (np.array([1.0, 0.3]),),
        output="array",
        oracle="complex step",
    ),
)
