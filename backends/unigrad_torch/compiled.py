"""``ug.jit`` on torch: the function, derivatives and all, traced into one graph of ATen calls.

It is traced on tensors without values. A function that asks for values, draws from streams of its
own, writes into tensors that are not its own, or reads what cannot be watched, runs as it is.
Trap: ``torch.compile`` of the function itself would follow unigrad's own Python line by line, and
break it into many graphs.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.modules import module as _modules
from torch.utils import _device, _mode_utils
from torch.utils._python_dispatch import TorchDispatchMode

from unigrad.backend import FlatFunction
from unigrad_torch.program import Program, program_of, written
from unigrad_torch.surroundings import TorchSurroundings

__all__ = ["Compiled", "compile_graph", "tracing"]

Tensor: TypeAlias = torch.Tensor

_TRACES = 8
"""A function whose surroundings or layouts changed so many times runs as it is."""

_FAILURES = 3
"""And one that raised so many times while it was traced."""

_LARGEST = 10_000
"""And one of more calls than this."""

_COMPILED = 2_000
"""Graphs of more nodes are run as they are: to compile them would take minutes."""

_LOCK = threading.RLock()
_thread = threading.local()


def tracing() -> bool:
    """Whether this thread is tracing a function: its tensors have no values."""
    return getattr(_thread, "tracing", False)


class Compiled:
    """One function of tensors of given shapes and dtypes; ``None`` where it runs as it is."""

    def __init__(self, f: FlatFunction) -> None:
        self._f = f
        self._programs: dict[Any, Program | None] = {}
        self._plain = False
        self._traces = self._failures = 0

    def __call__(self, *xs: Tensor) -> tuple[Tensor, ...] | None:
        if self._plain or _surrounded(xs):
            return None
        state = _state(xs)
        program = self._programs.get(_mode())
        if program is None or program.state != state or not program.around.unchanged():
            program = self._traced(xs, state)
        elif program.pending:
            self._compile(program, xs)
        if program is None or (program.attached and torch.is_grad_enabled()):
            return None
        return program(xs)

    def _traced(self, xs: Sequence[Tensor], state: Any) -> Program | None:
        # Tracing patches torch for all threads. To wait here could be to wait for ourselves.
        if not _LOCK.acquire(blocking=False):
            return None
        try:
            mode = _mode()
            self._programs[mode] = None
            if self._traces == _TRACES or self._failures == _FAILURES:
                self._plain = True
                return None
            around = TorchSurroundings(self._f)
            if around.opaque is not None:
                self._plain = True
                return None
            self._traces += 1
            program = self._trace(xs, state, around)
            if program is not None and self._traces == 1:
                self._compile(program, xs)
            self._programs[mode] = program
            return program
        finally:
            _LOCK.release()

    def _trace(self, xs: Sequence[Tensor], state: Any, around: TorchSurroundings) -> Program | None:
        streams = _Streams()
        calls = _Calls(streams)
        contents = around.contents()

        def watched(*ys: Tensor) -> tuple[Tensor, ...]:
            known = list(map(_attributes, ys))
            with calls, _Values(calls, ys):
                outputs = self._f(*ys)
            calls.asked |= list(map(_attributes, ys)) != known
            calls.attached = any(y.requires_grad for y in outputs)
            return outputs

        graph = None
        try:
            with _traced_here():
                # Trap: the graph tells its inputs, and what the function closes over, by identity.
                own = [x.clone() if x.is_inference() else x.detach() for x in xs]
                graph = make_fx(watched, tracing_mode="fake", _allow_non_fake_inputs=True)(*own)
        except Exception:  # torch's or the user's: raised again, if it is, when f runs as it is
            self._failures += 1
            self._plain = calls.asked
        unchanged = around.unchanged() and not around.drew() and streams.unchanged()
        unchanged &= contents.unchanged()
        streams.restore()
        if graph is None or not unchanged or calls.asked or calls.attached:
            self._plain |= graph is not None
            around.restore()
            contents.restore()
            return None
        program = program_of(graph, state, around)
        if program is None:
            self._plain = True
        elif calls.drew or program.nodes > _COMPILED:
            program.pending = False
        return program

    def _compile(self, program: Program, xs: Sequence[Tensor]) -> None:
        if not program.pending or not _LOCK.acquire(blocking=False):
            return
        import torch._dynamo  # takes a second

        try:
            program.pending = False
            if torch._dynamo.config.disable:
                return
            with _recursion_limit(), program.scope():
                program.run = compile_graph(program.graph, (*xs, *program.constants))
        except Exception:  # no C++ compiler, or a limit of it: the graph itself is as right
            program.run = program.graph
        finally:
            _LOCK.release()


def compile_graph(
    graph: torch.fx.GraphModule, examples: Sequence[Tensor]
) -> Callable[..., Sequence[Tensor]]:
    """The graph, compiled by torch's inductor for tensors that lie as these do."""
    import torch._inductor

    compiled: Callable[..., Sequence[Tensor]] = torch._inductor.compile(graph, list(examples))
    return compiled


# ---------------------------------------------------------------- what is around a call


def _surrounded(xs: Sequence[Tensor]) -> bool:
    """Whether someone else follows, or differentiates, this call."""
    if (
        torch.compiler.is_compiling()
        or tracing()
        or any(_HOOKS)
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > (_device.CURRENT_DEVICE is not None)
    ):
        return True
    followed = torch.is_grad_enabled()
    for x in xs:
        if type(x) not in _KINDS or x.layout is not torch.strided or (followed and x.requires_grad):
            return True
    return False


_KINDS = (torch.Tensor, torch.nn.Parameter)

_HOOKS = [x for n, x in vars(_modules).items() if n.startswith("_global_") and type(x) is not bool]
"""Hooks on all modules there are: dicts of them."""


def _mode() -> tuple[bool, bool]:
    """Which of the graphs is meant; a loop of training and validation goes to and fro."""
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled()


def _state(xs: Sequence[Tensor]) -> Any:
    """What the graph holds for: the state of torch, and how the arguments lie."""
    return (
        torch.get_default_dtype(),
        _device.CURRENT_DEVICE,
        _autocast() if torch._C._is_any_autocast_enabled() else None,
        [(x.stride(), x.device, x.is_conj(), x.is_neg()) for x in xs],
    )


def _autocast() -> Any:
    return [
        (device, torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda", "xpu")
        if torch.is_autocast_enabled(device)
    ]


@contextlib.contextmanager
def _traced_here() -> Iterator[None]:
    cached = torch.is_autocast_cache_enabled()
    _thread.tracing = True
    try:
        torch.set_autocast_cache_enabled(False)  # it would hand on what was cast before
        with _recursion_limit(), torch.autograd.set_multithreading_enabled(False):
            yield
    finally:
        torch.set_autocast_cache_enabled(cached)
        _thread.tracing = False


@contextlib.contextmanager
def _recursion_limit() -> Iterator[None]:
    """A compilation raises Python's recursion limit, and leaves it so."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        if sys.getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)


# ---------------------------------------------------------------- what a trace may not do


class _Untraceable(Exception):
    """The function asks for what a trace does not have."""


class _Streams:
    """The random streams that functions draw from without naming them.

    A trace draws nothing. Torch's streams are moved by hand at each call that would draw, so that
    a stream which the function seeds, or winds back, is noticed at its next one.
    """

    def __init__(self) -> None:
        self._generators = [torch.default_generator]
        if torch.cuda.is_initialized():
            self._generators += torch.cuda.default_generators
        self._python = random.getstate()
        self._numpy: Any = np.random.get_state()
        self._torch = self._now = [g.get_state() for g in self._generators]

    def moved(self) -> None:
        """Go on in torch's streams."""
        for g in self._generators:
            g.manual_seed(next(_seeds))
        self._now = [g.get_state() for g in self._generators]

    def unchanged(self) -> bool:
        """Whether nobody else drew from them."""
        name, keys, *rest = self._numpy
        state: Any = np.random.get_state()
        now, now_keys, *now_rest = state
        return (
            self.torch_unchanged()
            and random.getstate() == self._python
            and (name, rest) == (now, now_rest)
            and bool((keys == now_keys).all())
        )

    def torch_unchanged(self) -> bool:
        """Whether torch's streams are where they were left."""
        pairs = zip(self._generators, self._now, strict=True)
        return all(torch.equal(g.get_state(), before) for g, before in pairs)

    def restore(self) -> None:
        """Put them back to where they were before the trace."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        for g, state in zip(self._generators, self._torch, strict=True):
            g.set_state(state)


_seeds = itertools.count(0x5EED << 32)


class _Calls(TorchDispatchMode):
    """Each ATen call of a trace.

    Attributes:
        asked: whether a value was asked for, even if the function went on without it.
        drew: whether it draws from torch's stream.
        attached: whether outputs depend on a tensor that someone outside differentiates.
    """

    def __init__(self, streams: _Streams) -> None:
        super().__init__()
        self.asked = self.drew = self.attached = False
        self._streams = streams
        self._count = 0

    def refuse(self) -> None:
        self.asked = True
        raise _Untraceable

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._count += 1
        if (
            self._count > _LARGEST
            or kwargs.get("generator") is not None
            or not _BY_VALUE.isdisjoint(func.tags)
        ):
            self.refuse()
        if not all(isinstance(x, FakeTensor) for x in written(func, args, kwargs)):
            self.refuse()  # before it is written
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.drew = True
            with _mode_utils.no_dispatch():
                if not self._streams.torch_unchanged():
                    self.refuse()
                self._streams.moved()
        return func(*args, **kwargs)


_BY_VALUE = frozenset({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output})


class _Values(torch.overrides.TorchFunctionMode):
    """Questions for the values of tensors, and writes that no ATen call tells of."""

    def __init__(self, calls: _Calls, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._calls, self._inputs = calls, inputs

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _ASKING or (_writes(func) and args and self._outside(args[0])):
            self._calls.refuse()
        return func(*args, **(kwargs or {}))

    def _outside(self, x: Any) -> bool:
        if not isinstance(x, torch.Tensor):
            return False
        if isinstance(x, FakeTensor):
            return any(x is y for y in self._inputs)
        return not torch._C._functorch.is_functorch_wrapped_tensor(x)  # its inside is seen below


_ASKING = frozenset(
    getattr(torch.Tensor, name)
    for name in (
        *("item", "tolist", "numpy", "data_ptr", "__array__", "__bool__", "__float__", "__int__"),
        *("__index__", "__complex__", "__dlpack__", "is_nonzero", "__repr__", "__format__"),
        *("__deepcopy__", "__reduce_ex__", "backward"),
    )
) | {torch.Tensor.data.__set__}

_WRITING = frozenset(
    {"__set__", "__delete__", "retain_grad", "register_hook", "register_post_accumulate_grad_hook"}
)


def _writes(func: Any) -> bool:
    """Whether it may change its tensor, attributes such as ``data`` and ``grad`` included."""
    name = getattr(func, "__name__", "")
    return name in _WRITING or (name.endswith("_") and not name.endswith("__"))


def _attributes(x: Tensor) -> Any:
    return x.requires_grad, x.grad is None, sorted(x.__dict__)
