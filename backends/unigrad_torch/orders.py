"""How deep derivatives nest, and torch's own wrong or missing higher derivatives kept out.

Where a second or third derivative may be taken, functions of torch that fail there are replaced
by formulas. An operator without one is a `HigherOrderError` that names it.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeAlias, TypeVar

import torch
import torch.overrides
from torch.autograd.function import BackwardCFunction, once_differentiable

from unigrad.errors import HigherOrderError, UnigradError
from unigrad_torch.formulas import SECOND, THIRD, fails_third

__all__ = [
    "deepened",
    "inside",
    "last",
    "met",
    "named",
    "nested",
    "require_twice",
    "resumed",
    "within",
]

Tensor: TypeAlias = torch.Tensor

P = ParamSpec("P")
R = TypeVar("R")


class _Thread(threading.local):
    depth = 0
    """Of how many derivatives the function that runs in this thread is under."""

    met: str | None = None
    """A function that the outermost of them used as it is, with a wrong third derivative."""


_thread = _Thread()


class nested:
    """``with nested(n):`` around a function that is differentiated ``n`` times more."""

    __slots__ = ("_levels", "_mode")

    def __init__(self, levels: int) -> None:
        self._levels = levels
        self._mode: _Formulas | None = None

    def __enter__(self) -> None:
        if _thread.depth == 0:
            _thread.met = None
        _thread.depth += self._levels
        if _thread.depth > 1 or torch._C._functorch.peek_interpreter_stack() is not None:
            self._mode = _mode()
            if self._mode is not None:
                self._mode.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _thread.depth -= self._levels
        if self._mode is not None:
            self._mode.__exit__(kind, error, trace)


def within(levels: int) -> contextlib.AbstractContextManager[Any]:
    """`nested`, also where ``torch.compile`` reads this: it follows modes, but no attributes."""
    if torch.compiler.is_compiling():
        return _Formulas(1 + torch._C._len_torch_function_stack())
    return nested(levels)


def deepened(f: Callable[P, R]) -> Callable[P, R]:
    """``f``, whose derivative will be differentiated once more than it seems."""

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with within(1):
            return f(*args, **kwargs)

    return run


def resumed(f: Callable[P, R]) -> Callable[P, R]:
    """``f``, a backward rule of the function that runs now: called later, by one derivative."""
    if torch.compiler.is_compiling():
        return f
    left = _thread.depth + _transforms() - 1
    if left <= 0:
        return f

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with nested(max(0, left - _thread.depth - _transforms())):
            return f(*args, **kwargs)

    return run


class _Formulas(torch.overrides.TorchFunctionMode):
    """Functions replaced by others, wherever they are called."""

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        formula = THIRD.get(func)
        if formula is None or self.order < 2:
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = kwargs or {}
        if self.order == 2 and func not in SECOND and not _of_users((*args, *kwargs.values())):
            recorded = torch.is_grad_enabled() and not torch.compiler.is_compiling()
            if recorded and fails_third(func, args, kwargs):
                _thread.met = func.__name__
            return func(*args, **kwargs)
        return formula(*args, **kwargs)


def _of_users(operands: Sequence[Any]) -> bool:
    """Whether one is a weight that the user may differentiate by, once more than we do."""
    return any(
        isinstance(x, torch.Tensor)
        and x.requires_grad
        and x.is_leaf
        and getattr(x, "_unigrad_run", None) is None  # the mark of our own
        for x in operands
    )


def _mode() -> _Formulas | None:
    """The mode that is needed and not yet there."""
    depth = _thread.depth + _transforms()
    if depth < 2:
        return None
    mode = _MODES[min(depth, 3)]
    # Trap: while a mode handles a call it is off the stack, and derivatives inside need their own.
    for k in range(torch._C._len_torch_function_stack()):
        active = torch._C._get_function_stack_at(k)
        if isinstance(active, _Formulas) and active.order >= mode.order:
            return None
    return mode


_MODES = {order: _Formulas(order) for order in (2, 3)}


def _transforms() -> int:
    """How many derivatives of ``torch.func`` surround us, beside our own."""
    if torch._C._functorch.peek_interpreter_stack() is None:
        return 0
    stack = torch._C._functorch.get_interpreter_stack() or ()
    kinds = (torch._C._functorch.TransformType.Grad, torch._C._functorch.TransformType.Jvp)
    return sum(level.key() in kinds for level in stack)


# ---------------------------------------------------------------- errors


def inside() -> bool:
    """Whether the function of another derivative is running."""
    return _thread.depth > 0


def require_twice(outputs: Sequence[Tensor]) -> None:
    """Refuse a backward rule that cannot be differentiated; torch would take it for a constant.

    Raises:
        HigherOrderError: if there is one in the graph of the outputs.
    """
    stack = [y.grad_fn for y in outputs if y.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if isinstance(node, BackwardCFunction):
            rule = node._forward_cls
            if getattr(rule.backward, "__code__", None) is _ONCE:
                raise HigherOrderError(
                    f"an exact higher-order derivative was asked of {rule.__name__}, whose "
                    f"backward() is marked as once_differentiable; type: a backward() of "
                    f"differentiable functions, without the mark"
                )
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)


_ONCE = once_differentiable(lambda _: None).__code__


def met() -> str | None:
    """The function with a wrong third derivative that was used as it is."""
    return _thread.met


def last(results: Sequence[Tensor | None], used: str | None) -> tuple[Tensor | None, ...]:
    """Derivatives as they leave unigrad: not to be differentiated again where it would be wrong.

    Args:
        used: what `met` said after the function ran.
    """
    if used is None:
        return tuple(results)
    if _thread.depth:
        _thread.met = used
        return tuple(results)
    return tuple(None if g is None else _Last.apply(g, used) for g in results)


class _Last(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, used: str) -> Tensor:
        ctx.used = used
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise HigherOrderError(
            f"torch was asked for a third derivative of {ctx.used}, and its own is wrong; type: "
            f"ug.grad around it all, with the weights as arguments"
        )


def named(derivative: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call it; torch's error about a derivative that it lacks becomes a `HigherOrderError`."""
    try:
        return derivative(*args, **kwargs)
    except RuntimeError as error:
        text = str(error)
        advice = None if isinstance(error, UnigradError) else _advice(text)
        if advice is None:
            raise
        name = _OPERATOR.search(text)
        what = f"torch's {name[1] or name[2]}" if name else "a function"
        raise HigherOrderError(
            f"an exact higher-order derivative was asked of {what}, which torch does not take; "
            f"type: {advice}"
        ) from error


def _advice(text: str) -> str | None:
    """What to type in the place of what raised; ``None`` if it raised for another reason."""
    return next((advice for pattern, advice in _ADVICE if pattern.search(text)), None)


_OPERATOR = re.compile(r"derivative for '?(?:aten::)?(\w+)'? is not|(\w+)\(\): Double backward")

_OTHER = (
    "other functions of torch in its place, or for an approximation "
    'ug.hvp(..., method="finite_difference")'
)

_ADVICE = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"_attention\w*_backward'? is not implemented",
            "with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH) around it",
        ),
        (
            r"_cudnn_rnn_backward'? is not implemented",
            "with torch.backends.cudnn.flags(enabled=False) around the layer",
        ),
        (
            r"mkldnn_rnn\w*_backward'? is not implemented",
            "with torch.backends.mkldnn.flags(enabled=False) around the layer",
        ),
        (
            r"_embedding_bag\w*_backward'? is not implemented",
            "torch.nn.functional.embedding, and the sum or mean of its rows",
        ),
        (r"derivative for '?(?:aten::)?\w*backward\w*'? is not implemented", _OTHER),
        (r"Double backward is unsupported", _OTHER),
        (
            r"marked with @once_differentiable",
            "a backward() of differentiable functions, without @once_differentiable",
        ),
        (
            r"aot_autograd does not currently support double backward",
            "the function as it was before torch.compile",
        ),
        (
            r"torch\.utils\.checkpoint: ",
            "ug.checkpoint in the place of torch.utils.checkpoint",
        ),
    )
)
