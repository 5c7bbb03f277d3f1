"""Dense layers, embeddings, norms and attention."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from unigrad.layouts.layer import Layer, Part
from unigrad.layouts.parts import Turn, gate, matrix, one, same, stated

NormKind: TypeAlias = Literal["batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"]

__all__ = [
    "attention",
    "dense",
    "embedding",
    "norm",
    "plain",
]


def plain(kind: str, path: str, **roles: str | None) -> Layer:
    """A layer of a kind of its own, whose arrays look alike in every framework."""
    return Layer(kind, path, tuple(p for role, name in roles.items() for p in same(role, name)))


def dense(
    path: str,
    *,
    weight: str,
    bias: str | None = None,
    transposed: bool = False,
    channels_last: bool | None = None,
) -> Layer:
    """``x @ weight.T + bias``; weight (out, in), or (in, out) if ``transposed``.

    Args:
        channels_last: of the framework's images, one of which may be flattened before it.
    """
    parts = (*matrix("weight", weight, transposed), *same("bias", bias))
    return Layer("dense", path, parts, channels_last=channels_last)


def embedding(path: str, *, weight: str) -> Layer:
    """Rows of weight (entries, features)."""
    return plain("embedding", path, weight=weight)


def norm(
    kind: NormKind,
    path: str,
    *,
    scale: str | None = None,
    offset: str | None = None,
    mean: str | None = None,
    var: str | None = None,
    epsilon: float | None = None,
    groups: int | None = None,
    channels_last: bool | None = None,
) -> Layer:
    """Batch, layer, group, instance or root-mean-square norm; mean and var are running ones."""
    facts = {"epsilon": epsilon, "groups": groups}
    layer = plain(kind, path, scale=scale, offset=offset, mean=mean, var=var)
    return Layer(kind, path, layer.parts, stated(facts), channels_last)


def attention(
    path: str,
    *,
    heads: int,
    query: str | None = None,
    key: str | None = None,
    value: str | None = None,
    out: str,
    query_bias: str | None = None,
    key_bias: str | None = None,
    value_bias: str | None = None,
    out_bias: str | None = None,
    packed: str | None = None,
    packed_bias: str | None = None,
    headed: bool = False,
    transposed: bool = False,
) -> Layer:
    """Multi-head attention; canonical weights (heads * size, features), out the other way.

    Args:
        packed, packed_bias: query, key and value in one array, along its first axis (torch).
        headed: kernels (features, heads, size) and (heads, size, features), biases
            (heads, size) (Keras, Flax).
        transposed: matrices (in, out).
    """
    roles = ("query", "key", "value")
    parts: list[Part] = []
    for what, joint, each in (
        ("weight", packed, (query, key, value)),
        ("bias", packed_bias, (query_bias, key_bias, value_bias)),
    ):
        if joint is not None:
            parts.append(_packed(joint, tuple(f"{role}_{what}" for role in roles)))
        for role, name in zip(roles, each, strict=True):
            if name is None:
                continue
            if headed and what == "weight":
                parts += one(f"{role}_weight", name, _heads_joined, _heads_parted(heads))
            elif headed:
                flat = f"{role}_bias"
                parts += one(flat, name, lambda x: x.reshape(-1), _rows(heads))
            elif what == "weight":
                parts += matrix(f"{role}_weight", name, transposed)
            else:
                parts += same(f"{role}_bias", name)
    if headed:
        parts += one(
            "out_weight",
            out,
            lambda x: x.reshape((-1, x.shape[-1])).T,
            lambda x: x.T.reshape((heads, -1, x.shape[0])),
        )
    else:
        parts += matrix("out_weight", out, transposed)
    return Layer("attention", path, (*parts, *same("out_bias", out_bias)), {"heads": heads})


def _packed(name: str, roles: tuple[str, ...]) -> Part:
    count = len(roles)
    return Part(
        (name,),
        roles,
        lambda x: tuple(gate(x, k, count) for k in range(count)),
        lambda *each: (np.concatenate(each),),
    )


def _heads_joined(x: Any) -> Any:
    return x.reshape((x.shape[0], -1)).T


def _heads_parted(heads: int) -> Turn:
    return lambda x: x.T.reshape((x.shape[1], heads, -1))


def _rows(heads: int) -> Turn:
    return lambda x: x.reshape((heads, -1))
