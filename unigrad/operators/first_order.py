"""First derivatives: grad, value_and_grad, vjp, jvp, jacobian. ``f`` is called once (S9)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from unigrad.backend import Array, Backend, Pullback, basis, seed, transpose
from unigrad.errors import ArgumentError, UnconnectedError
from unigrad.operators.arguments import Argnums, Selection
from unigrad.operators.evaluation import Evaluation, Reduce, zeros_filled
from unigrad.operators.examples import example_gradients

__all__ = ["grad", "jacobian", "jvp", "linearize", "value_and_grad", "vjp"]

Unconnected = Literal["zeros", "error"]
PerExample = bool | Literal["shared"]


def value_and_grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    reduce: Reduce = None,
    per_example: PerExample = False,
    unconnected: Unconnected = "zeros",
    backend: str | Backend | None = None,
) -> Callable[..., tuple[Any, Any]]:
    """The function that returns ``f(...)`` and its gradient.

    Args:
        f: returns a real scalar, shape ``()``; with ``has_aux`` a pair (scalar, extra).
        argnums: the argument to differentiate by position or name, or a tuple of them; the
            gradient has its structure, or is a tuple of such.
        has_aux: ``f`` returns (output, aux); the value is then (output, aux).
        reduce: ``"sum"`` or ``"mean"`` over an output that is not a scalar.
        per_example: ``f`` returns one value for each example, shape ``(N,)``, and axis 0 of
            every differentiated leaf counts the examples; row ``i`` of the result is the
            gradient of value ``i`` with respect to example ``i``, the others held fixed.
            ``"shared"``: the leaves are shared by all examples, as a model's weights are; row
            ``i`` of the result, shape ``(N, *leaf)``, is the gradient of value ``i``.
        unconnected: gradients of leaves that the output does not depend on are ``"zeros"``, or
            an ``"error"``.
        backend: the backend to use; by default that of the arrays (S11).

    Returns:
        A function of the arguments of ``f`` that returns (value, gradient), or
        ((value, aux), gradient).

    Raises:
        ScalarOutputError: if the output is not a real scalar (S2).
        NotDifferentiableError: for an integer leaf, named by its path (S4).
        UnconnectedError: with ``unconnected="error"``.
        MixedBackendError: for arrays of two frameworks (S10).

    >>> import numpy as np, unigrad as ug
    >>> value, gradient = ug.value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    >>> print(value, gradient)
    5.0 [2. 4.]
    """
    selection = Selection.of(f, argnums)
    _require_options(reduce, per_example, unconnected)

    @functools.wraps(f)
    def evaluate(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        call = Evaluation(selection, args, kwargs, has_aux, reduce, backend)
        with call.scope():
            outputs, grads = _outputs_and_grads(call, per_example, unconnected)
            value = call.free(outputs[:1])[0]
            if has_aux:
                value = (value, call.give_aux(outputs[1:]))
            return value, call.give(call.filled(grads))

    return evaluate


def grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    reduce: Reduce = None,
    per_example: PerExample = False,
    unconnected: Unconnected = "zeros",
    backend: str | Backend | None = None,
) -> Callable[..., Any]:
    """The gradient of ``f``, a function of the same arguments.

    Arguments and errors are those of `value_and_grad`. With ``has_aux`` the result is
    (gradient, aux).

    >>> import numpy as np, unigrad as ug
    >>> print(ug.grad(lambda x: np.sum(np.sin(x)))(np.zeros(2)))
    [1. 1.]
    >>> by_w, by_b = ug.grad(lambda w, b: w * b, argnums=("w", "b"))(2.0, b=3.0)
    >>> print(by_w, by_b)
    3.0 2.0
    """
    selection = Selection.of(f, argnums)
    _require_options(reduce, per_example, unconnected)

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        call = Evaluation(selection, args, kwargs, has_aux, reduce, backend)
        with call.scope():
            outputs, grads = _outputs_and_grads(call, per_example, unconnected)
            aux = call.give_aux(outputs[1:]) if has_aux else None
            given = call.give(call.filled(grads))
        return (given, aux) if has_aux else given

    return gradient


def vjp(
    f: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    backend: str | Backend | None = None,
) -> tuple[Any, ...]:
    """The value of ``f(*primals)``, and the pullback of cotangents: ``u -> Jᵀu``.

    Args:
        f: returns an array or a tree of arrays; with ``has_aux`` a pair (output, extra).
        primals: its arguments, each of which is differentiated.

    Returns:
        (value, pullback), or (value, pullback, aux). The pullback may be called any number of
        times with a cotangent of the structure, shapes and dtypes of the value, and returns a
        tuple with one tree for each primal.

    Raises:
        StructureError, ShapeError: from the pullback, naming the leaf that does not match (S15).

    >>> import numpy as np, unigrad as ug
    >>> value, pullback = ug.vjp(lambda x: x**2, np.array([1.0, 2.0]))
    >>> print(pullback(np.array([1.0, 10.0]))[0])
    [ 2. 40.]
    """
    call = _of_all(f, primals, has_aux, backend)
    with call.scope():
        outputs, pull = call.backend.vjp(call.tree, call.primals)
        count = call.count_outputs()
        value = call.like_output(call.free(outputs[:count]))
        aux = call.give_aux(outputs[count:]) if has_aux else None

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        with call.scope():
            given = call.cotangents(cotangent, outputs[:count], "the cotangent")
            grads = pull([*given, *[None] * (len(outputs) - count)])
            result: tuple[Any, ...] = call.give(call.filled(grads), given)
            return result

    return (value, pullback, aux) if has_aux else (value, pullback)


def jvp(
    f: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    has_aux: bool = False,
    backend: str | Backend | None = None,
) -> tuple[Any, ...]:
    """The value of ``f(*primals)``, and its derivative along ``tangents``: ``v -> Jv``.

    Args:
        f: returns an array or a tree of arrays; with ``has_aux`` a pair (output, extra).
        primals: a tuple of its arguments; a lone argument need not be a tuple.
        tangents: a direction of the same structure, shapes and dtypes.

    Returns:
        (value, tangent), or (value, tangent, aux).

    Raises:
        StructureError, ShapeError: naming the leaf that does not match (S15).

    >>> import numpy as np, unigrad as ug
    >>> value, tangent = ug.jvp(np.sin, 0.0, 2.0)
    >>> print(value, tangent)
    0.0 2.0
    """
    lone = type(primals) is not tuple  # a namedtuple is one argument
    call = _of_all(f, (primals,) if lone else primals, has_aux, backend)
    with call.scope():
        given = call.directions((tangents,) if lone else tangents, "the tangent")
        outputs, moved = call.backend.jvp(call.tree, call.primals, given)
        count = call.count_outputs()
        filled = zeros_filled(call.backend, moved[:count], outputs[:count])
        value = call.like_output(call.free(outputs[:count]))
        tangent = call.like_output(call.free(filled, given))
        return (value, tangent, call.give_aux(outputs[count:])) if has_aux else (value, tangent)


def linearize(
    f: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    backend: str | Backend | None = None,
) -> tuple[Any, ...]:
    """The value of ``f(*primals)``, and its derivative there as a function: ``v -> Jv``.

    For many directions at one point: ``f`` is called once, here, and by no product. Of a
    gradient it is the product with the Hessian: ``ug.linearize(ug.grad(f), x)``.

    Args:
        f: returns an array or a tree of arrays; with ``has_aux`` a pair (output, extra).
        primals: its arguments, each of which is differentiated.

    Returns:
        (value, pushforward), or (value, pushforward, aux). The pushforward may be called any
        number of times, with one tangent for each primal, of its structure, shapes and dtypes,
        and returns a tree of the structure of the value.

    Raises:
        StructureError, ShapeError: from the pushforward, naming the leaf that does not match
            (S15).
        HigherOrderError: for a gradient, where the backend has no exact second order (S12).

    >>> import numpy as np, unigrad as ug
    >>> f = lambda x: x[0] ** 2 * x[1]
    >>> gradient, product = ug.linearize(ug.grad(f), np.array([1.0, 2.0]))
    >>> print(gradient, product(np.array([1.0, 0.0])), product(np.array([0.0, 1.0])))
    [4. 1.] [4. 2.] [2. 0.]
    """
    call = _of_all(f, primals, has_aux, backend)
    with call.scope():
        outputs, push = call.backend.linearize(call.tree, call.primals)
        count = call.count_outputs()
        value = call.like_output(call.free(outputs[:count]))
        aux = call.give_aux(outputs[count:]) if has_aux else None

    def pushforward(*tangents: Any) -> Any:
        with call.scope():
            given = call.directions(tangents, "the tangent")
            filled = zeros_filled(call.backend, push(given)[:count], outputs[:count])
            return call.like_output(call.free(filled, given))

    return (value, pushforward, aux) if has_aux else (value, pushforward)


def jacobian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    mode: Literal["auto", "reverse", "forward"] = "auto",
    backend: str | Backend | None = None,
) -> Callable[..., Any]:
    """The Jacobian of ``f``, a function of the same arguments; ``f`` is called once.

    Entry ``[i..., j...]`` is the derivative of output ``[i...]`` by argument ``[j...]``: its
    shape is the output's followed by the argument's. Trees of outputs and arguments give a tree
    of the output's structure with trees of the arguments' as leaves.

    Args:
        mode: ``"reverse"`` works by rows, ``"forward"`` by columns, ``"auto"`` by the fewer.

    Raises:
        NotDifferentiableError: for complex arguments or outputs, whose derivative is no complex
            matrix in general; use `vjp` or `jvp`.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.jacobian(lambda x: x**2)(np.array([1.0, 2.0])))
    [[2. 0.]
     [0. 4.]]
    """
    if mode not in ("auto", "reverse", "forward"):
        raise ArgumentError(f"mode is 'auto', 'reverse' or 'forward', got {mode!r}")
    selection = Selection.of(f, argnums)

    @functools.wraps(f)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        call = Evaluation(selection, args, kwargs, backend=backend)
        with call.scope():
            outputs, pullback = call.backend.vjp(call.tree, call.primals)
            call.require_real([*call.primals, *outputs], "a Jacobian")
            blocks = jacobian_blocks(call.backend, pullback, outputs, call.primals, mode)
            return call.like_output([call.give(row) for row in blocks])

    return evaluate


def jacobian_blocks(
    backend: Backend,
    pullback: Pullback,
    outputs: Sequence[Array],
    primals: Sequence[Array],
    mode: str = "auto",
) -> list[list[Array]]:
    """For each output and each primal, the block of the Jacobian."""
    rows = sum(int(np.prod(backend.shape(y), dtype=np.int64)) for y in outputs)
    columns = sum(int(np.prod(backend.shape(x), dtype=np.int64)) for x in primals)
    if not backend.capabilities.second_order:
        mode = "reverse"  # columns come from differentiating the pullback
    if mode == "reverse" or (mode == "auto" and rows <= columns):
        return _sweep(backend, pullback, outputs, primals)
    pushforward = transpose(backend, pullback, outputs, primals)
    by_columns = _sweep(backend, pushforward, primals, outputs)
    xp = backend.xp
    return [
        [
            xp.permute_dims(block, _turned(backend, x, y))
            for x, block in zip(primals, blocks, strict=True)
        ]
        for y, blocks in zip(outputs, zip(*by_columns, strict=True), strict=True)
    ]


def _turned(backend: Backend, first: Array, second: Array) -> tuple[int, ...]:
    """Axes that bring those of ``second`` before those of ``first``."""
    n, m = len(backend.shape(first)), len(backend.shape(second))
    return (*range(n, n + m), *range(n))


def _sweep(
    backend: Backend,
    linear: Pullback,
    sources: Sequence[Array],
    targets: Sequence[Array],
    count: int | None = None,
) -> list[list[Array]]:
    """A linear map applied to the unit arrays of each source: ``source.shape + target.shape``.

    Args:
        count: of the first sources only, so many.
    """
    xp = backend.xp
    found = []
    for k, source in enumerate(sources[:count]):
        shape = backend.shape(source)
        size = int(np.prod(shape, dtype=np.int64))
        units: list[Array | None] = [None] * len(sources)
        units[k] = basis(backend, source)
        columns = backend.batched_pullback(linear, units, size) if size else [None] * len(targets)
        blocks = []
        for target, column in zip(targets, columns, strict=True):
            full = (*shape, *backend.shape(target))
            if column is None:
                empty = xp.broadcast_to(backend.zeros_like(target), full)
                blocks.append(empty + backend.zeros_like(target))
            else:
                blocks.append(xp.reshape(column, full))
        found.append(blocks)
    return found


def _require_options(reduce: Reduce, per_example: PerExample, unconnected: Unconnected) -> None:
    if per_example not in (False, True, "shared"):
        raise ArgumentError(f"per_example is True, False or 'shared', got {per_example!r}")
    if per_example and reduce is not None:
        raise ArgumentError(
            "per_example=True keeps one value for each example and reduce= makes one number "
            "of them; choose one of the two"
        )
    if unconnected not in ("zeros", "error"):
        raise ArgumentError(f"unconnected is 'zeros' or 'error', got {unconnected!r}")


def _of_all(
    f: Callable[..., Any], primals: Sequence[Any], has_aux: bool, backend: str | Backend | None
) -> Evaluation:
    if not primals:
        raise ArgumentError("there is nothing to differentiate; type: ug.vjp(f, x)")
    selection = Selection.every(f, len(primals))
    return Evaluation(selection, primals, {}, has_aux, None, backend)


def _outputs_and_grads(
    call: Evaluation, per_example: PerExample, unconnected: Unconnected
) -> tuple[Sequence[Array], Sequence[Array | None]]:
    if not per_example and unconnected == "zeros":
        return call.backend.value_and_grad(call.scalar, call.primals)
    kinds = {False: call.scalar, True: call.vector, "shared": call.examples}
    outputs, pullback = call.backend.vjp(kinds[per_example], call.primals)
    if unconnected == "error":
        _require_connected(call, pullback, outputs)
    if per_example == "shared":
        return outputs, _sweep(call.backend, pullback, outputs, call.primals, 1)[0]
    if per_example:
        return outputs, example_gradients(call, pullback, outputs)
    return outputs, pullback(seed(call.backend, outputs))


def _require_connected(call: Evaluation, pullback: Pullback, outputs: Sequence[Array]) -> None:
    connected = call.backend.connected(pullback, seed(call.backend, outputs))
    for name, joined in zip(call.names(), connected, strict=True):
        if not joined:
            raise UnconnectedError(
                f"the output does not depend on {name}, and unconnected='error' was asked; "
                f"leave it out of argnums, or type: unconnected='zeros'"
            )
