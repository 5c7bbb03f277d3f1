"""The PyTorch adapter: ``autograd.grad`` on leaves of our own, never on the user's.

A derivative keeps its graph only if something outside may differentiate through it: a tensor
of the user's, or of an enclosing derivative, that the outputs depend on. Inside functorch
transforms and ``torch.compile``, ``torch.func`` does the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import array_api_compat.torch
import numpy as np
import torch
import torch.nn.functional

from unigrad.backend import Backend, FlatFunction, HvpMethod, Pullback, Pushforward
from unigrad.stateless import ModelOptions
from unigrad_torch import spec
from unigrad_torch.compiled import Compiled, tracing
from unigrad_torch.custom import apply_rule
from unigrad_torch.graph import Leaf, escapes
from unigrad_torch.models import TorchModel
from unigrad_torch.orders import (
    deepened,
    inside,
    last,
    met,
    named,
    nested,
    require_twice,
    resumed,
    within,
)

__all__ = ["TorchBackend"]

Tensor: TypeAlias = torch.Tensor


class TorchBackend(Backend):
    """PyTorch."""

    name = spec.name
    capabilities = spec.capabilities
    array_types = (torch.Tensor,)

    @property
    def ops(self) -> Mapping[str, Callable[..., Tensor]]:  # type: ignore[override]
        return _OPS

    @property
    def xp(self) -> Any:
        return array_api_compat.torch

    # ---------------------------------------------------------------- array glue

    def asarray(self, x: Any, *, dtype: str | None = None, like: Tensor | None = None) -> Tensor:
        kind = None if dtype is None else getattr(torch, dtype)
        device = None if like is None else like.device
        if isinstance(x, torch.Tensor):
            return x.detach().to(device=device, dtype=kind, copy=True)
        values = np.asarray(x, order="C")  # torch refuses negative strides and foreign byte orders
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        return torch.tensor(native, dtype=kind, device=device)

    def to_numpy(self, x: Tensor) -> np.ndarray[Any, Any]:
        plain = x.detach().resolve_conj().resolve_neg().cpu()
        if plain.dtype is torch.bfloat16:
            plain = plain.float()
        return np.array(plain.numpy())

    def dtype(self, x: Tensor) -> str:
        return _NAMES[x.dtype]

    def zeros_like(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def ones_like(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def inner(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Tensor:
        terms = []
        for x, y in zip(xs, ys, strict=True):
            if x.is_complex():
                terms.append(torch.sum(x.real * y.real + x.imag * y.imag))
            else:
                terms.append(torch.sum(x * y))
        return torch.stack(terms).sum()

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x.detach()

    def is_concrete(self, x: Tensor) -> bool:
        # In a trace, checks of integers are left out; whoever asks for other values ends it.
        hidden = tracing() and not (x.is_floating_point() or x.is_complex())
        return not (hidden or _transformed())

    def release(
        self,
        results: Sequence[Tensor],
        inputs: Sequence[Any],
        like: Sequence[Any] | None = None,
    ) -> list[Tensor]:
        if _transformed() or tracing():
            return list(results)
        taken = {x.untyped_storage().data_ptr() for x in inputs if isinstance(x, torch.Tensor)}
        own = []
        for y in results:
            # A gradient may be the cotangent itself, or one number broadcast by strides of 0.
            y = y.clone() if y.untyped_storage().data_ptr() in taken or 0 in y.stride() else y
            taken.add(y.untyped_storage().data_ptr())
            own.append(y)
        return own

    # ---------------------------------------------------------------- derivatives

    def vjp(
        self, f: FlatFunction, primals: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], Pullback]:
        if _transformed():
            return _functorch_vjp(f, primals)
        outer = torch.is_grad_enabled()
        with _recording():
            leaf = Leaf(primals, outer)
            with leaf.run, nested(1):
                outputs = f(*leaf.tensors)
            kept, used = outer and escapes(outputs, leaf), met()

            def pullback(cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
                followed = any(c is not None and c.requires_grad for c in cotangents)
                through = torch.is_grad_enabled() and (kept or followed)
                if through and (followed or inside()):
                    require_twice(outputs)
                with _recording():
                    grads = _gradients(
                        outputs, leaf.tensors, cotangents, create_graph=through, retain_graph=True
                    )
                    return last(grads, used if through else None)

        return _freed(outputs, kept), pullback

    def value_and_grad(
        self, f: FlatFunction, primals: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        if _transformed():
            return super().value_and_grad(f, primals)
        outer = torch.is_grad_enabled()
        with _recording():
            leaf = Leaf(primals, outer)
            with leaf.run, nested(1):
                outputs = f(*leaf.tensors)
            kept = outer and escapes(outputs, leaf)
            if kept and inside():
                require_twice(outputs[:1])
            seeds = [None] * len(outputs)
            grads = _gradients(outputs[:1], leaf.tensors, seeds[:1], kept, kept, seeded=False)
            grads = last(grads, met() if kept else None)
        return _freed(outputs, kept), grads

    def hvp(
        self,
        f: FlatFunction,
        primals: Sequence[Tensor],
        tangents: Sequence[Tensor],
        method: HvpMethod,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...], tuple[Tensor | None, ...]]:
        if method != "reverse_over_reverse" or _transformed():
            return super().hvp(f, primals, tangents, method)
        outer = torch.is_grad_enabled()
        with _recording():
            leaf = Leaf(primals, outer)
            with leaf.run, nested(2 + leaf.attached):
                outputs = f(*leaf.tensors)
            kept = outer and (escapes(outputs, leaf) or any(t.requires_grad for t in tangents))
            require_twice(outputs[:1])
            grads = _gradients(outputs[:1], leaf.tensors, [None], True, True, seeded=False)
            known = [k for k, g in enumerate(grads) if g is not None]
            first = [g for g in grads if g is not None]
            products = _gradients(
                first, leaf.tensors, [tangents[k] for k in known], kept, retain_graph=kept
            )
            products = last(products, met() if kept else None)
            freed = dict(zip(known, _freed(first, kept), strict=True))
        return _freed(outputs, kept), tuple(freed.get(k) for k in range(len(grads))), products

    def linearize(
        self, f: FlatFunction, primals: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], Pushforward]:
        return super().linearize(deepened(f), primals)  # the pullback will be differentiated

    # jvp stays derived: torch counts the levels of forward mode in one global for all threads,
    # and two threads that take tangents at once were measured to get zeros (S7).

    def custom_vjp(
        self,
        forward: Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]],
        backward: Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor | None]],
        primals: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        forward, backward = resumed(forward), resumed(backward)
        return apply_rule(forward, backward, primals, transformed=_transformed())

    # ---------------------------------------------------------------- more than derivatives

    def jit(self, f: FlatFunction, *, reuse_output: bool = False) -> Compiled:
        return Compiled(f)

    def functional(self, model: Any, options: ModelOptions) -> TorchModel | None:
        return TorchModel(model, options) if isinstance(model, torch.nn.Module) else None


def _transformed() -> bool:
    """Whether a functorch transform or a compilation is under way."""
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.compiler.is_compiling()


@contextlib.contextmanager
def _recording():  # type: ignore[no-untyped-def]
    """Gradients on, inference mode off, whatever surrounds us; as before afterwards."""
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False), torch.enable_grad():
            yield
    else:
        with torch.enable_grad():
            yield


def _freed(outputs: Sequence[Tensor], kept: bool) -> tuple[Tensor, ...]:
    return tuple(outputs) if kept else tuple(y.detach() for y in outputs)


def _gradients(
    outputs: Sequence[Tensor],
    primals: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    create_graph: bool,
    retain_graph: bool,
    *,
    seeded: bool = True,
) -> tuple[Tensor | None, ...]:
    pairs = [
        (y, c)
        for y, c in zip(outputs, cotangents, strict=True)
        if y.requires_grad and (c is not None or not seeded)
    ]
    if not pairs:
        return (None,) * len(primals)
    grads = named(
        torch.autograd.grad,
        [y for y, _ in pairs],
        primals,
        [c for _, c in pairs] if seeded else None,
        retain_graph=retain_graph,
        create_graph=create_graph,
        allow_unused=True,
    )
    return tuple(None if g is None else _plain(g) for g in grads)


def _plain(g: Tensor) -> Tensor:
    """A gradient with memory of its own kind: embeddings give sparse ones, kinks symbolic zeros."""
    if g.is_sparse:
        return g.to_dense()
    return torch.zeros_like(g) if g._is_zerotensor() else g


def _functorch_vjp(
    f: FlatFunction, primals: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], Pullback]:
    smooth: list[bool] = []

    def split(*xs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        with within(0):  # torch.func counts it
            ys = f(*xs)
        smooth[:] = [y.is_floating_point() or y.is_complex() for y in ys]
        pairs = list(zip(ys, smooth, strict=True))
        return tuple([y for y, s in pairs if s]), tuple([y for y, s in pairs if not s])

    followed, pull, rest = torch.func.vjp(split, *primals, has_aux=True)
    known, others = iter(followed), iter(rest)
    outputs = tuple([next(known) if s else next(others) for s in smooth])

    def pullback(cotangents: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        triples = zip(outputs, cotangents, smooth, strict=True)
        full = tuple([torch.zeros_like(y) if c is None else c for y, c, s in triples if s])
        grads: tuple[Tensor | None, ...] = named(pull, full)
        return grads

    return outputs, pullback


_NAMES = {
    kind: str(kind).removeprefix("torch.")
    for kind in vars(torch).values()
    if isinstance(kind, torch.dtype)
}


def _conv2d(x: Tensor, w: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    return torch.nn.functional.conv2d(x, w, stride=stride, padding=padding)


_OPS: Mapping[str, Callable[..., Tensor]] = MappingProxyType({"conv2d": _conv2d})
