"""A traced graph as a function of its inputs and of the tensors that the user's code closes over.

Results lie in memory of their own: where the graph would hand on an input, a captured tensor or
one memory twice, it copies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.fx

from unigrad_torch.surroundings import TorchSurroundings

__all__ = ["Program", "program_of"]

Tensor: TypeAlias = torch.Tensor


class Program:
    """A graph, and what it holds for.

    Attributes:
        graph: a function of the inputs and ``constants``.
        constants: captured tensors, whose values are read at each call.
        state: the state of torch and the layouts of the inputs that it was traced with.
        around: what the function read when it was traced.
        run: the graph, or its compiled form.
        pending: whether it is still to be compiled.
    """

    def __init__(
        self,
        graph: torch.fx.GraphModule,
        constants: Sequence[Tensor],
        state: Any,
        around: TorchSurroundings,
    ) -> None:
        self.graph, self.constants = graph, tuple(constants)
        self.state, self.around = state, around
        self.run: Callable[..., Sequence[Tensor]] = graph
        self.nodes = len(graph.graph.nodes)
        self.pending = not any(map(_not_compiled, graph.graph.nodes))
        self._described = [(x.shape, x.stride(), x.dtype) for x in self.constants]
        self._casting = [device for device, _ in state[2] or ()]

    @property
    def attached(self) -> bool:
        """Whether someone outside may differentiate by a captured tensor."""
        return any(x.requires_grad for x in self.constants)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """How the graph is run: no derivative is taken of it, and its casts are in it."""
        stack = contextlib.ExitStack()
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in self._casting:
            stack.enter_context(torch.autocast(device, enabled=False))
        return stack

    def __call__(self, xs: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
        for x, known in zip(self.constants, self._described, strict=True):
            if (x.shape, x.stride(), x.dtype) != known:
                return None
        if self._casting or torch.is_inference_mode_enabled():
            with self.scope():
                return tuple(self.run(*xs, *self.constants))
        if torch.is_grad_enabled():
            with torch.no_grad():
                return tuple(self.run(*xs, *self.constants))
        return tuple(self.run(*xs, *self.constants))


def program_of(
    traced: torch.fx.GraphModule, state: Any, around: TorchSurroundings
) -> Program | None:
    """The program of a trace; ``None`` for one that writes into its inputs or captured tensors."""
    graph = traced.graph
    constants = _lift(traced)
    roots: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in graph.nodes:
        roots[node] = node
        if not isinstance(node.target, torch._ops.OpOverload):
            if node.op == "call_function" and node.args:  # one of several results
                roots[node] = roots.get(node.args[0], node)
            continue
        for place, argument in enumerate(node.target._schema.arguments):
            if argument.alias_info is None:
                continue
            given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
            for x in given if isinstance(given, (list, tuple)) else (given,):
                if not isinstance(x, torch.fx.Node):
                    continue
                if argument.alias_info.is_write and roots[x].op == "placeholder":
                    return None
                roots[node] = roots[x]
    _copy_outputs(graph, roots)
    graph.lint()
    traced.recompile()
    return Program(traced, constants, state, around)


def _lift(traced: torch.fx.GraphModule) -> list[Tensor]:
    """Make arguments of the tensors in a graph: behind its inputs, each once."""
    graph = traced.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    places: dict[int, torch.fx.Node] = {}
    constants: list[Tensor] = []
    first = next(node for node in graph.nodes if node.op != "placeholder")
    for node in list(graph.nodes):
        value = getattr(traced, node.target) if node.op == "get_attr" else None
        if not isinstance(value, torch.Tensor):
            continue
        if id(value) not in places:
            with graph.inserting_before(first):
                name = f"constant_{len(inputs) + len(constants)}"
                places[id(value)] = graph.placeholder(name)
            places[id(value)].meta = dict(node.meta)
            constants.append(value)
        node.replace_all_uses_with(places[id(value)])
        if node is first:
            first = node.next
        graph.erase_node(node)
    return constants


def _copy_outputs(graph: torch.fx.Graph, roots: dict[torch.fx.Node, torch.fx.Node]) -> None:
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    results = []
    taken = {node for node in roots if node.op == "placeholder"}
    for y in output.args[0]:
        root = roots[y]
        expanded = y.target is torch.ops.aten.expand.default
        if root in taken or expanded:
            with graph.inserting_before(output):
                y = graph.call_function(
                    torch.ops.aten.clone.default, (y,), {"memory_format": torch.contiguous_format}
                )
        taken.add(root)
        results.append(y)
    output.args = (tuple(results),)


def _not_compiled(node: torch.fx.Node) -> bool:
    """Whether inductor would not compile this, or would leave it out."""
    if isinstance(node.target, torch._ops.OpOverload) and not node.target._schema.returns:
        return True  # a check of values
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_complex()
