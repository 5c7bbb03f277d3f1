"""CTC: value and gradient against torch's, the curvature against a forward algorithm in torch.

MXNet computes CTC in float32 alone, so that 1e-10 is asserted of the translation, which the
engine differentiates, and 1e-4 of what goes through MXNet. torch has no second derivative of its
own ``ctc_loss``: the algorithm is written out below, sample by sample and state by state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unigrad as ug
from unigrad.errors import BackendNotAvailableError

try:
    B = ug.get_backend("mxnet")
except BackendNotAvailableError as error:
    pytest.skip(str(error), allow_module_level=True)

from unigrad.engine import jvp, vjp
from unigrad_mxnet.framework import mx
from unigrad_mxnet.operators import OPERATORS, Attributes

torch = pytest.importorskip("torch")

_STEPS, _BATCH, _CLASSES = 7, 4, 5

CASES: dict[str, tuple[str, list[list[int]], list[int]]] = {
    # name: where the blank is, labels, steps of each sample
    "first, repeated": ("first", [[1, 1, 2], [3, 3, 3], [2, 1, 2], [4, 4, 1]], [7, 7, 7, 7]),
    "last, repeated": ("last", [[0, 0, 1], [2, 2, 2], [1, 0, 1], [3, 3, 0]], [7, 7, 7, 7]),
    "first, lengths": ("first", [[1, 2, 2], [3], [4, 4], [2, 1, 3]], [7, 5, 3, 6]),
    "last, lengths": ("last", [[0, 2, 2], [3], [1, 1], [2, 0, 3]], [7, 1, 3, 6]),
    "tight": ("last", [[0, 1, 2], [3, 2], [1, 1], [2, 0, 2]], [3, 2, 3, 3]),
}


def _scores(seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(_STEPS, _BATCH, _CLASSES)) * 1.5


def _padded(labels: list[list[int]], blank: str) -> Any:
    padding = 0 if blank == "first" else -1
    return np.array([found + [padding] * (3 - len(found)) for found in labels], float)


def _blank(blank: str) -> int:
    return 0 if blank == "first" else _CLASSES - 1


def _forward(scores: Any, labels: list[list[int]], steps: list[int], blank: int) -> Any:
    """Minus the logarithms of the probabilities of all alignments, each summed step by step."""
    logs = torch.log_softmax(scores, 2)
    losses = []
    for n, (label, count) in enumerate(zip(labels, steps, strict=True)):
        symbols = [blank, *[s for one in label for s in (one, blank)]]
        alpha = {s: logs[0, n, symbols[s]] for s in range(min(2, len(symbols)))}
        for t in range(1, count):
            moved = {}
            for s, symbol in enumerate(symbols):
                back = [s, s - 1]
                if symbol != blank and s >= 2 and symbols[s - 2] != symbol:
                    back.append(s - 2)
                found = [alpha[b] for b in back if b in alpha]
                if found:
                    moved[s] = torch.logsumexp(torch.stack(found), 0) + logs[t, n, symbol]
            alpha = moved
        ends = [alpha[s] for s in (len(symbols) - 1, len(symbols) - 2) if s in alpha]
        losses.append(-torch.logsumexp(torch.stack(ends), 0))
    return torch.stack(losses)


_WEIGHTS = np.linspace(0.5, 2.0, _BATCH)


def _wanted(name: str) -> tuple[Any, Any, Any]:
    """Values and the gradient by torch's own loss; the Hessian product of the one above."""
    blank, labels, steps = CASES[name]
    x = torch.tensor(_scores(0), requires_grad=True)
    own = torch.nn.functional.ctc_loss(
        torch.log_softmax(x, 2),
        torch.tensor(_padded(labels, blank)).long().clamp(min=0),
        torch.tensor(steps),
        torch.tensor([len(label) for label in labels]),
        blank=_blank(blank),
        reduction="none",
    )
    written = _forward(x, labels, steps, _blank(blank))
    np.testing.assert_allclose(written.detach(), own.detach(), rtol=1e-12)
    weights = torch.tensor(_WEIGHTS)
    (gradient,) = torch.autograd.grad((own * own * weights).sum(), x)
    _, product = torch.autograd.functional.hvp(
        lambda x: (_forward(x, labels, steps, _blank(blank)) ** 2 * weights).sum(),
        torch.tensor(_scores(0)),
        torch.tensor(_scores(1)),
    )
    return own.detach().numpy(), gradient.numpy(), product.numpy()


def _close(got: Any, wanted: Any, tolerance: float) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("name", CASES)
def test_the_translation_in_double_precision(name: str) -> None:
    blank, labels, steps = CASES[name]
    attributes = Attributes({"blank_label": blank, "use_data_lengths": "True"})
    rest = [_padded(labels, blank), np.array(steps, float)]

    def loss(x: Any) -> list[Any]:
        (y,) = OPERATORS["CTCLoss"]([x, *rest], attributes, True)
        return [np.sum(y * y * _WEIGHTS)]

    def gradient(x: Any) -> list[Any]:
        return vjp(loss, [x])[1]([np.float64(1.0)])

    x, v = _scores(0), _scores(1)
    wanted = _wanted(name)
    _close(OPERATORS["CTCLoss"]([x, *rest], attributes, True)[0], wanted[0], 1e-12)
    _close(gradient(x)[0], wanted[1], 1e-10)
    _close(jvp(gradient, [x], [v])[1][0], wanted[2], 1e-10)
    _close(vjp(gradient, [x])[1]([v])[0], wanted[2], 1e-10)


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case[0] == "last"])
def test_gluons_loss(name: str) -> None:
    """In float32, the one precision that MXNet has; Gluon's blank is the last."""
    blank, labels, steps = CASES[name]
    block = mx.gluon.loss.CTCLoss(layout="TNC")
    rest = [
        B.asarray(a.astype("float32")).as_nd_ndarray()
        for a in (_padded(labels, blank), np.array(steps), _WEIGHTS)
    ]

    def loss(x: Any) -> Any:
        y = block(x, rest[0], rest[1])
        return (y * y * rest[2]).sum()

    x, v = (B.asarray(_scores(k).astype("float32")).as_nd_ndarray() for k in (0, 1))
    wanted = _wanted(name)
    _close(ug.grad(loss)(x).asnumpy(), wanted[1], 1e-4)
    _close(ug.hvp(loss, x, v).asnumpy(), wanted[2], 1e-4)
