"""Functions of torch whose own higher derivatives are wrong or missing (2.13), as formulas.

Each takes what the original takes, and has exact derivatives of every order. ``SECOND`` holds
those that torch fails at from the second order on, ``THIRD`` from the third.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F

from unigrad.errors import HigherOrderError

__all__ = ["SECOND", "THIRD", "fails_third", "weight_norm"]

Tensor: TypeAlias = torch.Tensor


# ---------------------------------------------------------------- from the second order on


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``g v / |v|``: the second derivative of torch's own is wrong."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    *rest: Any,
    **options: Any,
) -> Tensor:
    """Attention by products and a softmax: the fused kernels have no second derivative."""
    if query.is_nested:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **options)
    if attn_mask is not None and attn_mask.dtype is torch.bool:  # would be added as 0 and 1
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(
            ~attn_mask, -math.inf
        )
    own = torch._scaled_dot_product_attention_math
    return own(query, key, value, attn_mask, *rest, **options)[0]


@functools.cache
def _heads() -> Callable[..., Any]:
    """``multi_head_attention_forward`` that calls the attention above.

    Trap: what it calls inside is not seen by a TorchFunctionMode.
    """
    own = F.multi_head_attention_forward
    names = {"scaled_dot_product_attention": _attention, "has_torch_function": lambda _: False}
    made = types.FunctionType(
        own.__code__, {**own.__globals__, **names}, own.__name__, own.__defaults__
    )
    made.__kwdefaults__ = own.__kwdefaults__
    return made


def _multi_head(*args: Any, **kwargs: Any) -> Any:
    return _heads()(*args, **kwargs)


def _cross_entropy(*args: Any, options: Any = None, **kwargs: Any) -> Tensor:
    """Without the chunks, whose second derivative is wrong."""
    return F.linear_cross_entropy(*args, **kwargs)


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """With a dense gradient, which views and further derivatives can take."""
    return F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    y = F.hardtanh(input + 3, 0.0, 6.0) / 6
    return input.copy_(y) if inplace else y


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:
    return torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, dim=-1)


def _pdist(input: Tensor, p: float = 2.0) -> Tensor:
    rows, columns = torch.triu_indices(len(input), len(input), 1, device=input.device)
    return torch.linalg.vector_norm(input[rows] - input[columns], p, dim=-1)


def _near_zero(
    own: Callable[[Tensor], Tensor], bound: float, series: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """The function, by its series within the bound: its derivatives divide by ``x`` there."""

    def function(input: Tensor) -> Tensor:
        if not input.is_floating_point():
            return own(input)
        near = input.abs() < bound
        far = own(torch.where(near, bound, input))
        return torch.where(near, series(torch.where(near, input, 0.0)), far)

    return function


def _polynomial(coefficients: Sequence[float], z: Tensor) -> Tensor:
    y = torch.full_like(z, coefficients[-1])
    for c in coefficients[-2::-1]:
        y = y * z + c
    return y


_SINC = [(-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(16)]
_I0 = [1 / (4**k * math.factorial(k) ** 2) for k in range(14)]
_I1 = [1 / (2 * 4**k * math.factorial(k) * math.factorial(k + 1)) for k in range(14)]

_sinc = _near_zero(torch.sinc, 0.75, lambda x: _polynomial(_SINC, x * x))
_i0 = _near_zero(torch.special.i0, 1.0, lambda x: _polynomial(_I0, x * x))
_i1 = _near_zero(torch.special.i1, 1.0, lambda x: x * _polynomial(_I1, x * x))
_i0e = _near_zero(torch.special.i0e, 1.0, lambda x: torch.exp(-x.abs()) * _i0(x))
_i1e = _near_zero(torch.special.i1e, 1.0, lambda x: torch.exp(-x.abs()) * _i1(x))


# ---------------------------------------------------------------- from the third order on


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    with torch.no_grad():  # its checks of the arguments
        kind = F.layer_norm(input, normalized_shape, weight, bias, eps).dtype
    axes = list(range(-len(normalized_shape), 0))
    return _standard(input, axes, weight, bias, eps, kind)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    with torch.no_grad():  # its checks of the arguments, and the running statistics
        kind = F.batch_norm(
            input, running_mean, running_var, weight, bias, True, momentum, eps
        ).dtype
    axes = [axis for axis in range(input.ndim) if axis != 1]
    w, b = (None if x is None else _channels(x, input.ndim) for x in (weight, bias))
    return _standard(input, axes, w, b, eps, kind)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    options = (running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    if not use_input_stats:
        return F.instance_norm(input, *options)
    with torch.no_grad():
        kind = F.instance_norm(input, *options).dtype
    w, b = (None if x is None else _channels(x, input.ndim) for x in (weight, bias))
    return _standard(input, list(range(2, input.ndim)), w, b, eps, kind)


def _as_torch(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The norm in the order of arguments of ``torch.batch_norm`` and ``torch.instance_norm``."""

    def reordered(
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        *rest: Any,
        cudnn_enabled: bool = True,
        **options: Any,
    ) -> Tensor:
        return function(input, running_mean, running_var, weight, bias, *rest[:3], **options)

    return reordered


def _standard(
    x: Tensor,
    axes: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    kind: torch.dtype,
) -> Tensor:
    x = x.float() if x.dtype in _HALVES else x  # as torch's own kernels do
    centered = x - x.mean(axes, keepdim=True)
    y = centered * torch.rsqrt((centered * centered).mean(axes, keepdim=True) + eps)
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return y.to(kind)


_HALVES = (torch.float16, torch.bfloat16)


def _channels(x: Tensor, ndim: int) -> Tensor:
    return x.reshape(-1, *[1] * (ndim - 2))


def _logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Each entry by itself: torch's own third derivative is NaN."""
    if input.ndim == 0:
        return input.clone()
    x = input.movedim(dim, -1)
    later = torch.ones(x.shape[-1], x.shape[-1], dtype=torch.bool, device=x.device).triu(1)
    rows = x.unsqueeze(-2).masked_fill(later, -math.inf)
    return torch.logsumexp(rows, -1).movedim(-1, dim)


def _conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """One `conv2d` for each layer of the kernel.

    Trap: oneDNN's convolutions in float32 that third derivatives lead to read foreign memory.
    """
    if input.dtype is torch.float64 or input.is_cuda or input.ndim not in (4, 5):
        return F.conv3d(input, weight, bias, stride, padding, dilation, groups)
    x = input if input.ndim == 5 else input.unsqueeze(0)
    steps, gaps = _each(stride, 3), _each(dilation, 3)
    spans = [gap * (size - 1) for gap, size in zip(gaps, weight.shape[2:], strict=True)]
    if padding == "same":
        pads = [(span // 2, span - span // 2) for span in spans]
    else:
        pads = [(p, p) for p in _each(0 if isinstance(padding, str) else padding, 3)]
    x = F.pad(x, [p for pair in reversed(pads) for p in pair])
    count = (x.shape[2] - spans[0] - 1) // steps[0] + 1
    if count < 1:
        return F.conv3d(input, weight, bias, stride, padding, dilation, groups)  # its error
    layers = []
    for k in range(weight.shape[2]):
        start = k * gaps[0]
        part = x[:, :, start : start + (count - 1) * steps[0] + 1 : steps[0]].transpose(1, 2)
        flat = F.conv2d(part.flatten(0, 1), weight[:, :, k], None, steps[1:], 0, gaps[1:], groups)
        layers.append(flat.unflatten(0, part.shape[:2]).transpose(1, 2))
    y = functools.reduce(torch.add, layers)
    y = y if bias is None else y + bias.reshape(-1, 1, 1, 1)
    return y if input.ndim == 5 else y.squeeze(0)


def _conv_transpose(own: Callable[..., Tensor], n: int) -> Callable[..., Tensor]:
    """Cut out of the full result: with ``output_padding``, torch raises at the third order."""

    def function(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        dilation: int | Sequence[int] = 1,
    ) -> Tensor:
        more = _each(output_padding, n)
        if not any(more):
            return own(input, weight, bias, stride, padding, output_padding, groups, dilation)
        with torch.no_grad():  # its checks of the arguments
            own(input, weight, bias, stride, padding, output_padding, groups, dilation)
        y = own(input, weight, None, stride, 0, 0, groups, dilation)
        for axis, (cut, add) in enumerate(zip(_each(padding, n), more, strict=True), -n):
            size = y.shape[axis] - 2 * cut + add
            widths = [0, 0] * (-1 - axis) + [0, max(0, add - cut)]
            y = F.pad(y, widths).narrow(axis, cut, size)
        return y if bias is None else y + bias.reshape(-1, *[1] * n)

    return function


def _each(x: int | Sequence[int], n: int) -> list[int]:
    values = [x] if isinstance(x, int) else list(x)
    return values * n if len(values) == 1 else values


def _refused(name: str, other: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise HigherOrderError(
            f"an exact third derivative was asked of {name}, whose own is wrong; type: {other}"
        )

    return refuse


# ---------------------------------------------------------------- which function is replaced


def _table(*rows: tuple[Callable[..., Any], str]) -> dict[Any, Callable[..., Any]]:
    """Formulas by the functions of torch that they replace; the names a version has count."""
    found = {}
    for formula, names in rows:
        for path in names.split():
            place: Any = torch
            *parts, last = path.split(".")
            for part in parts:
                place = getattr(place, part)
            own = getattr(place, last, None)
            if own is not None:
                found[own] = formula
    return found


# Trap: dicts, since torch.compile reads no mapping proxies with functions for keys.
SECOND: Mapping[Any, Callable[..., Any]] = _table(
    (weight_norm, "_weight_norm"),
    (_attention, "nn.functional.scaled_dot_product_attention"),
    (_multi_head, "nn.functional.multi_head_attention_forward"),
    (_cross_entropy, "nn.functional.linear_cross_entropy"),
    (_embedding, "nn.functional.embedding"),
    (_hardsigmoid, "nn.functional.hardsigmoid"),
    (_cdist, "cdist"),
    (_pdist, "pdist nn.functional.pdist"),
    (_sinc, "sinc special.sinc Tensor.sinc"),
)

THIRD: Mapping[Any, Callable[..., Any]] = {
    **SECOND,
    **_table(
        (_layer_norm, "nn.functional.layer_norm layer_norm"),
        (_batch_norm, "nn.functional.batch_norm"),
        (_as_torch(_batch_norm), "batch_norm"),
        (_instance_norm, "nn.functional.instance_norm"),
        (_as_torch(_instance_norm), "instance_norm"),
        (_refused("torch.native_layer_norm", "torch.layer_norm"), "native_layer_norm"),
        (
            _refused("torch.native_batch_norm", "torch.nn.functional.batch_norm"),
            "native_batch_norm _native_batch_norm_legit _batch_norm_impl_index",
        ),
        (_i0, "i0 special.i0 Tensor.i0"),
        (_i1, "special.i1"),
        (_i0e, "special.i0e"),
        (_i1e, "special.i1e"),
        (_logcumsumexp, "logcumsumexp Tensor.logcumsumexp"),
        (_conv3d, "conv3d nn.functional.conv3d"),
        (_conv_transpose(F.conv_transpose1d, 1), "conv_transpose1d"),
        (_conv_transpose(F.conv_transpose2d, 2), "conv_transpose2d"),
        (_conv_transpose(F.conv_transpose3d, 3), "conv_transpose3d"),
    ),
}


def fails_third(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the third derivative of this call is wrong, if it is torch's own."""
    if func in _RAISING or func not in THIRD:
        return False
    if func in (torch.conv3d, F.conv3d):
        return bool(args) and args[0].dtype is not torch.float64 and not args[0].is_cuda
    option, default = _STATISTICS.get(func, ("", True))
    return bool(args[5] if option and len(args) > 5 else kwargs.get(option, default))


_RAISING = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)

_STATISTICS = {
    F.batch_norm: ("training", False),
    torch.batch_norm: ("training", True),
    F.instance_norm: ("use_input_stats", True),
    torch.instance_norm: ("use_input_stats", True),
}
