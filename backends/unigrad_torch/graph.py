"""Leaves of our own for one derivative, and whether its outputs reach anything beyond them.

A leaf is marked while its function runs: a graph that ends in the open leaf of an enclosing
derivative, or in a tensor of the user's, must be kept; one that ends in closed leaves need not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

import torch

__all__ = ["Leaf", "escapes", "reaches_open"]


class Run:
    """The time in which the function of one derivative runs: ``with run:`` around its call.

    Trap: a tensor's mark must not lead back to the tensor. Such a cycle would keep the whole
    graph in memory until Python's next garbage collection.
    """

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = False

    def __enter__(self) -> None:
        self.open = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open = False


class Leaf:
    """The tensors that one derivative is taken by, marked with the run that they belong to.

    Attributes:
        run: to be entered around the call of the function.
        tensors: one for each primal; part of an outer graph where the primal is and the caller
            lets it be.
        attached: whether one of them is.
    """

    __slots__ = ("attached", "run", "tensors")

    def __init__(self, primals: Sequence[torch.Tensor], outer: bool) -> None:
        self.run = Run()
        self.attached = False
        self.tensors: list[torch.Tensor] = []
        for x in primals:
            if outer and x.requires_grad:
                self.attached = True
                self.tensors.append(x.view_as(x))
                continue
            own = x.clone() if x.is_inference() else x.detach()
            own.requires_grad_()
            own._unigrad_run = self.run
            self.tensors.append(own)


def escapes(outputs: Sequence[torch.Tensor], leaf: Leaf) -> bool:
    """Whether the graph of the outputs reaches a tensor that someone outside may ask for."""
    return leaf.attached or any(_foreign(variable) for variable in _variables(outputs))


def reaches_open(outputs: Sequence[torch.Tensor]) -> bool:
    """Whether the graph of the outputs reaches a leaf of a derivative that is being taken."""
    owners = (getattr(variable, "_unigrad_run", None) for variable in _variables(outputs))
    return any(own is not None and own.open for own in owners)


def _variables(outputs: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The tensors that the graph of the outputs ends in."""
    yield from (y for y in outputs if y.requires_grad and y.grad_fn is None)
    stack = [y.grad_fn for y in outputs if y.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            yield variable
            continue
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)


def _foreign(variable: torch.Tensor) -> bool:
    own = getattr(variable, "_unigrad_run", None)
    return own is None or own.open
