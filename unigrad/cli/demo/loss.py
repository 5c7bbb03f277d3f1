"""The function of the demo, written once; the screen shows this very source."""

from __future__ import annotations

from typing import Any

import unigrad as ug
from unigrad import ops


def loss(params: Any, x: Any, labels: Any) -> Any:
    xp = ug.array_namespace(x)
    *hidden, (w, b) = params
    for u, c in hidden:
        x = xp.tanh(x @ u + c)
    decay = 1e-3 * sum(xp.sum(w * w) for w, _ in params)
    return ops.cross_entropy(x @ w + b, labels) + decay
