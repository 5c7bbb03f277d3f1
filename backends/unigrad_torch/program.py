"""A traced graph as a function of its inputs and of the tensors that the user's code closes over.

Results lie in memory of their own: where the graph would hand on an input, a captured tensor or
one memory twice, it copies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
import torch.fx

from unigrad_torch.surroundings import TorchSurroundings

__all__ = ["Program", "program_of", "written"]

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
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    lent = {
        node
        for node, x in zip(inputs[len(inputs) - len(constants) :], constants, strict=True)
        if not x.untyped_storage().resizable()
    }
    roots: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in graph.nodes:
        roots[node] = node
        if not isinstance(node.target, torch._ops.OpOverload):
            if node.op == "call_function" and node.args:  # one of several results
                roots[node] = roots.get(node.args[0], node)
            continue
        if node.target is torch.ops.aten.lift_fresh_copy.default and node.args[0] in lent:
            roots[node] = node.args[0]  # not a copy when f runs: the memory of a NumPy array
        changed = written(node.target, node.args, node.kwargs)
        if any(roots[x].op == "placeholder" for x in changed if isinstance(x, torch.fx.Node)):
            return None
        for argument, x in _arguments(node.target, node.args, node.kwargs):
            if argument.alias_info is not None and isinstance(x, torch.fx.Node):
                roots[node] = roots[x]
    _copy_outputs(graph, roots)
    graph.lint()
    traced.recompile()
    return Program(traced, constants, state, around)


def written(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments, nodes or tensors, that a call of an operator writes into."""
    schema = op._schema
    secretly = schema.name in _STATISTICS
    if not secretly and not schema.is_mutable:
        return []
    found, training = [], True
    for argument, x in _arguments(op, args, kwargs):
        if argument.name == "training":
            training = bool(x)
        secret = secretly and argument.name in ("running_mean", "running_var")
        alias = argument.alias_info
        if x is not None and (secret or (alias is not None and alias.is_write)):
            found.append(x)
    return found if training or not secretly else []


_STATISTICS = frozenset(
    f"aten::{name}"
    for name in (
        *("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"),
        *("batch_norm_update_stats", "batch_norm_gather_stats"),
        "batch_norm_gather_stats_with_counts",
    )
)
"""Operators that write into running statistics, and whose schema does not say so."""


def _arguments(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """What is given for each argument of an operator, lists entry by entry."""
    for place, argument in enumerate(op._schema.arguments):
        given = args[place] if place < len(args) else kwargs.get(argument.name)
        for x in given if isinstance(given, (list, tuple)) else (given,):
            yield argument, x


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
