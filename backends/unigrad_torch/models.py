"""A ``torch.nn.Module`` as a function of its parameters; the module itself is only read (S16)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from unigrad.errors import ArgumentError, UnsupportedError

__all__ = ["functional_module"]


def functional_module(
    model: torch.nn.Module,
) -> tuple[Callable[..., Any], dict[str, torch.Tensor]]:
    """``(apply, params)``: trainable parameters by name; buffers are copied for every call.

    Raises:
        UnsupportedError: for a scripted module, whose parameters cannot be replaced.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedError(
            "a ScriptModule was given, whose parameters cannot be replaced; pass the nn.Module "
            "that it was made from"
        )
    params = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    names = frozenset(params)

    def apply(params: dict[str, torch.Tensor], *inputs: Any, **options: Any) -> Any:
        if set(params) != names:
            odd = sorted(set(params) ^ names)
            raise ArgumentError(
                f"apply takes the parameters that ug.functional gave, by the same names; "
                f"missing or unknown: {', '.join(map(repr, odd))}"
            )
        state = {name: b.clone() for name, b in model.named_buffers()}
        frozen = {n: p.detach() for n, p in model.named_parameters() if n not in params}
        return torch.func.functional_call(model, {**state, **frozen, **params}, inputs, options)

    return apply, params
