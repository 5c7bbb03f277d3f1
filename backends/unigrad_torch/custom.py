"""User-written derivative rules as a ``torch.autograd.Function``, exact at every order.

When the backward pass is itself differentiated, residuals that were computed without a graph
would be constants and the second derivative wrong: they are computed again, with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

from unigrad.errors import UnsupportedError
from unigrad_torch.graph import Leaf, reaches_open

__all__ = ["apply_rule"]

Tensor: TypeAlias = torch.Tensor
Forward = Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
Backward = Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor | None]]


class _Pair:
    """Forward and backward; opaque to functorch, which takes lists and tuples apart.

    Attributes:
        outputs: how many outputs the last forward pass had; residuals follow them.
    """

    def __init__(self, forward: Forward, backward: Backward) -> None:
        self.forward, self.backward = forward, backward
        self.outputs = 0


class _Rule(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(pair: _Pair, *primals: Tensor) -> Any:
        outputs, residuals = pair.forward(*primals)
        pair.outputs = len(outputs)
        return tuple(y.clone() if any(y is x for x in primals) else y for y in outputs) + tuple(
            r.detach().clone() for r in residuals
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.pair, *primals = inputs
        ctx.primals = len(primals)
        ctx.mark_non_differentiable(*output[ctx.pair.outputs :])
        ctx.save_for_backward(*primals, *output[ctx.pair.outputs :])
        ctx.save_for_forward(*primals, *output)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        primals = ctx.saved_tensors[: ctx.primals]
        residuals = ctx.saved_tensors[ctx.primals :]
        if torch.is_grad_enabled():
            _, residuals = ctx.pair.forward(*primals)
        return (None, *ctx.pair.backward(residuals, cotangents[: ctx.pair.outputs]))

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> Any:
        """The transpose of the backward rule, which is linear in the cotangents."""
        primals, results = ctx.saved_tensors[: ctx.primals], ctx.saved_tensors[ctx.primals :]
        outputs = results[: ctx.pair.outputs]

        def pull(*cotangents: Tensor) -> tuple[Tensor, ...]:
            _, residuals = ctx.pair.forward(*primals)
            grads = ctx.pair.backward(residuals, cotangents)
            pairs = zip(primals, grads, strict=True)
            return tuple(torch.zeros_like(x) if g is None else g for x, g in pairs)

        _, push = torch.func.vjp(pull, *map(torch.zeros_like, outputs))
        pairs = zip(primals, tangents, strict=True)
        moved = push(tuple(torch.zeros_like(x) if t is None else t for x, t in pairs))
        return (*moved, *[None] * (len(results) - len(outputs)))


def apply_rule(
    forward: Forward, backward: Backward, primals: Sequence[Tensor], *, transformed: bool
) -> tuple[Any, ...]:
    """The outputs of ``forward``, with ``backward`` as their derivative.

    Raises:
        UnsupportedError: if ``forward`` uses a differentiated tensor that is no argument; its
            derivative would be lost.
    """

    def checked(*xs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        with torch.enable_grad():
            leaf = Leaf(xs, outer=False)
            outputs, residuals = forward(*leaf.tensors)
        if reaches_open(outputs):
            raise UnsupportedError(
                "the forward rule of a ug.custom_vjp uses an array that is being differentiated "
                "and is none of its arguments; pass it as an argument"
            )
        return tuple(y.detach() for y in outputs), tuple(r.detach() for r in residuals)

    pair = _Pair(forward if transformed else checked, backward)
    results = _Rule.apply(pair, *primals)
    pair.forward = forward
    return tuple(results[: pair.outputs])
