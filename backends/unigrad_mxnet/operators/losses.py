"""Losses that are operators: outputs with a declared backward, cross entropies, CTC.

An output such as SoftmaxOutput has, by design, the gradient of a loss that it does not compute,
whatever cotangent it is given. That declared gradient is what outer derivatives differentiate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine import custom_vjp, stop_gradient
from unigrad.errors import HigherOrderError
from unigrad_mxnet.operators.activations import log_softmax, softmax
from unigrad_mxnet.operators.table import OPERATORS, Attributes, operator

__all__: list[str] = []


def _declared(
    value: Callable[[Any], Any], gradient: Callable[[Any, Any, Any], Any], x: Any, label: Any
) -> list[Any]:
    """``value(x)``, whose gradient is declared to be ``gradient(x, label, g)``."""
    label = stop_gradient(label)

    def forward(x: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        return [value(x)], [x]

    def backward(residuals: Sequence[Any], cotangents: Sequence[Any]) -> Sequence[Any]:
        return [gradient(residuals[0], label, cotangents[0])]

    return list(custom_vjp(forward, backward, [x]))


def _one_hot(label: Any, count: int, like: Any) -> Any:
    """``(..., count)``, 1 where the index is the label."""
    return (np.arange(count) == label[..., None]).astype(like.dtype)


# ------------------------------------------------------------------------- regression


def _regression(link: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Any:
    def translation(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        x, label = xs
        per_sample = max(label.size // max(label.shape[0], 1), 1)
        scale = attrs.real("grad_scale", 1.0) / per_sample

        def gradient(x: Any, label: Any, g: Any) -> Any:
            return slope(link(x) - label.reshape(x.shape)) * scale

        return _declared(link, gradient, x, label)

    return translation


def _identity(x: Any) -> Any:
    return x + 0


def _logistic(x: Any) -> Any:
    return OPERATORS["sigmoid"]([x], Attributes({}), False)[0]


for _prefix in ("", "_sparse_"):
    operator(_prefix + "LinearRegressionOutput")(_regression(_identity, _identity))
    operator(_prefix + "LogisticRegressionOutput")(_regression(_logistic, _identity))
    operator(_prefix + "MAERegressionOutput")(
        _regression(_identity, lambda d: np.where(stop_gradient(d) > 0, 1, -1).astype(d.dtype))
    )

# ------------------------------------------------------------------------- classification


def _refuse_softmax(asked: str, instead: str) -> None:
    raise HigherOrderError(f"SoftmaxOutput of {asked} has no translation; type: {instead}")


@operator("SoftmaxOutput", "Softmax")
def _softmax_output(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, label = xs
    scale = attrs.real("grad_scale", 1.0)
    use_ignore, ignored = attrs.flag("use_ignore"), attrs.real("ignore_label", -1.0)
    normalization = attrs.text("normalization", "null")
    smoothing = attrs.real("smooth_alpha", 0.0)
    preserve, multi = attrs.flag("preserve_shape"), attrs.flag("multi_output")
    shape = x.shape
    if x.ndim > 2 and not preserve and not multi:
        _refuse_softmax(f"data of the shape {shape}", "multi_output=True or preserve_shape=True")
    if smoothing and multi:
        _refuse_softmax("multi_output=True and smooth_alpha, which it ignores", "smooth_alpha=0")

    def rows(x: Any) -> Any:
        """The scores of each sample (and place) along the last axis."""
        if multi:
            return np.moveaxis(x.reshape(*shape[:2], -1), 1, 2)
        return x if preserve else x.reshape(shape[0], -1)

    def back(y: Any) -> Any:
        return (np.moveaxis(y, 2, 1) if multi else y).reshape(shape)

    def gradient(x: Any, label: Any, g: Any) -> Any:
        p = softmax(rows(x))
        count = p.shape[-1]
        if label.shape == shape:  # the label is a distribution
            c = p - rows(label)
            kept: Any = np.ones(p.shape[:-1], bool)
            places = 1
        else:
            label = label.reshape(p.shape[:-1])
            target = _one_hot(label, count, p)
            if smoothing and count > 1:
                target = target * (1 - smoothing) + (1 - target) * (smoothing / (count - 1))
            c = p - target
            kept = label != ignored if use_ignore else np.ones(label.shape, bool)
            c = np.where(kept[..., None], c, 0)
            places = p.shape[1] if multi else 1
        c = back(c) * (scale / places if normalization != "valid" else scale)
        if normalization == "batch":
            c = c * (1 / (shape[0] if multi else int(np.prod(p.shape[:-1]))))
        elif normalization == "valid":
            c = c / np.maximum(np.sum(kept), 1)
        return (c * g if attrs.flag("out_grad") else c).astype(x.dtype)

    return _declared(lambda x: back(softmax(rows(x))), gradient, x, label)


@operator("softmax_cross_entropy")
def _softmax_cross_entropy(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, label = xs
    target = _one_hot(stop_gradient(label), x.shape[-1], x)
    return [-np.sum(log_softmax(x) * target).reshape(1)]


@operator("SVMOutput")
def _svm_output(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    x, label = xs
    margin, weight = attrs.real("margin", 1.0), attrs.real("regularization_coefficient", 1.0)
    linear = attrs.flag("use_linear")

    def gradient(x: Any, label: Any, g: Any) -> Any:
        target = _one_hot(label, x.shape[-1], x)
        sign = 1 - 2 * target  # the score of the label is to be large
        inside = margin + sign * x
        if linear:
            return np.where(stop_gradient(inside) > 0, weight * sign, 0).astype(x.dtype)
        return np.where(stop_gradient(inside) > 0, 2 * weight * sign * inside, 0).astype(x.dtype)

    return _declared(_identity, gradient, x, label)


# ------------------------------------------------------------------------- CTC

_NEVER = -1e30
"""The logarithm of a probability of 0, with which one can still compute."""


def _label_lengths(label: Any, padding: int) -> Any:
    """How many labels come before the first padding."""
    return np.sum(np.cumprod(label != padding, axis=1), axis=1)


@operator("CTCLoss", "ctc_loss", "_contrib_CTCLoss", "_contrib_ctc_loss")
def _ctc(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    """The forward algorithm of Graves et al. (2006), in logarithms, for all samples at once."""
    x, label, *lengths = xs
    steps, batch, classes = x.shape
    first = attrs.text("blank_label", "first") == "first"
    blank = 0 if first else classes - 1
    label = stop_gradient(label).astype(int)
    until = stop_gradient(lengths.pop(0)).astype(int) if attrs.flag("use_data_lengths") else None
    if attrs.flag("use_label_lengths"):
        count = stop_gradient(lengths.pop(0)).astype(int)
    else:
        count = _label_lengths(label, 0 if first else -1)
    states = 2 * label.shape[1] + 1
    at = np.arange(states)
    labels = np.concatenate([label, np.full((batch, 1), blank)], axis=1)[:, at // 2]
    symbols = np.where((at % 2 == 1) & (at // 2 < count[:, None]), labels, blank)
    skips = (symbols != blank) & (symbols != np.roll(symbols, 2, axis=1)) & (at >= 2)
    scores = log_softmax(x)
    emitted = np.take_along_axis(scores, np.broadcast_to(symbols, (steps, batch, states)), axis=2)
    never = x.dtype.type(_NEVER)
    alpha = np.where(at < 2, emitted[0], never)
    for t in range(1, steps):
        moved = np.logaddexp(alpha, np.where(at >= 1, np.roll(alpha, 1, axis=1), never))
        skipped = np.where(skips, np.roll(alpha, 2, axis=1), never)
        step = np.logaddexp(moved, skipped) + emitted[t]
        alpha = step if until is None else np.where((t < until)[:, None], step, alpha)
    last = np.take_along_axis(alpha, 2 * count[:, None], axis=1)[:, 0]
    other = np.take_along_axis(alpha, np.maximum(2 * count - 1, 0)[:, None], axis=1)[:, 0]
    total = np.logaddexp(last, np.where(count > 0, other, never))
    return [np.where(total < never / 2, x.dtype.type(np.inf), -total)]
