"""Second derivatives: hvp, value_grad_and_hvp, hessian. Exact, or a `HigherOrderError` (S12)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from unigrad.backend import Array, Backend, HvpMethod
from unigrad.errors import ArgumentError
from unigrad.operators.arguments import Argnums, Selection
from unigrad.operators.evaluation import Evaluation, Reduce
from unigrad.operators.first_order import jacobian_blocks

__all__ = ["Method", "hessian", "hvp", "value_grad_and_hvp"]

Method = Literal["auto", "forward_over_reverse", "reverse_over_reverse", "finite_difference"]
_METHODS = ("auto", "forward_over_reverse", "reverse_over_reverse", "finite_difference")


def value_grad_and_hvp(
    f: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    argnums: Argnums = 0,
    kwargs: Mapping[str, Any] | None = None,
    method: Method = "auto",
    has_aux: bool = False,
    reduce: Reduce = None,
    backend: str | Backend | None = None,
) -> tuple[Any, ...]:
    """Value, gradient, and Hessian times ``tangents``, in one evaluation of ``f``.

    ``Hv = d/dt ∇f(x + t v)`` at ``t = 0``: Pearlmutter (1994), doi:10.1162/neco.1994.6.1.147.

    Args:
        f: returns a real scalar; with ``has_aux`` a pair (scalar, extra).
        primals: a tuple of the arguments of ``f``; a lone argument need not be a tuple.
        tangents: the direction ``v``, with the structure, shapes and dtypes of the gradient: of
            the one argument that an int or a name in ``argnums`` says, or a tuple.
        argnums: the arguments to differentiate, as in `grad`.
        kwargs: keyword arguments of ``f``.
        method: ``"forward_over_reverse"``, ``"reverse_over_reverse"``, ``"auto"`` for what is
            best on the backend; ``"finite_difference"`` for the central difference of two
            gradients, accurate to about 1e-9 in float64 on smooth functions, and wrong near
            kinks: it is never chosen for you. It calls ``f`` three times.
        reduce: as in `grad`.

    Returns:
        (value, gradient, Hv), or ((value, aux), gradient, Hv).

    Raises:
        HigherOrderError: where an exact answer cannot be given (S12).
        ScalarOutputError, NotDifferentiableError, MixedBackendError: as `grad`.
        StructureError, ShapeError: if ``tangents`` do not match (S15).

    >>> import numpy as np, unigrad as ug
    >>> f = lambda x: x[0] ** 2 * x[1]
    >>> x, v = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    >>> value, gradient, product = ug.value_grad_and_hvp(f, x, v)
    >>> print(value, gradient, product)
    2.0 [4. 1.] [2. 2.]
    """
    if method not in _METHODS:
        raise ArgumentError(f"method is one of {', '.join(map(repr, _METHODS))}, got {method!r}")
    args = primals if type(primals) is tuple else (primals,)  # a namedtuple is one argument
    selection = Selection.of(f, argnums)
    call = Evaluation(selection, args, kwargs or {}, has_aux, reduce, backend)
    with call.scope():
        given = call.directions(tangents, "the tangent")
        if method == "finite_difference":
            outputs, grads, products = _differences(call, given)
        else:
            chosen: HvpMethod = call.backend.capabilities.hvp if method == "auto" else method
            outputs, grads, products = call.backend.hvp(call.scalar, call.primals, given, chosen)
        value = call.free(outputs[:1])[0]
        if has_aux:
            value = (value, call.give_aux(outputs[1:]))
        return value, call.give(call.filled(grads)), call.give(call.filled(products), given)


def hvp(
    f: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    argnums: Argnums = 0,
    kwargs: Mapping[str, Any] | None = None,
    method: Method = "auto",
    has_aux: bool = False,
    reduce: Reduce = None,
    backend: str | Backend | None = None,
) -> Any:
    """Hessian of ``f`` at ``primals`` times ``tangents``, exactly, without the Hessian.

    Arguments and errors are those of `value_grad_and_hvp`. With ``has_aux`` the result is
    (Hv, aux).

    >>> import numpy as np, unigrad as ug
    >>> f = lambda x: x[0] ** 2 * x[1] + np.sin(x[1])
    >>> print(ug.hvp(f, np.array([1.0, 2.0]), np.array([1.0, -1.0])))
    [2.         2.90929743]
    """
    value, _, product = value_grad_and_hvp(
        f,
        primals,
        tangents,
        argnums=argnums,
        kwargs=kwargs,
        method=method,
        has_aux=has_aux,
        reduce=reduce,
        backend=backend,
    )
    return (product, value[1]) if has_aux else product


def hessian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    reduce: Reduce = None,
    backend: str | Backend | None = None,
) -> Callable[..., Any]:
    """The Hessian of ``f``, a function of the same arguments; ``f`` is called once.

    Entry ``[i..., j...]`` is the second derivative by entries ``[i...]`` and ``[j...]``. A tree
    of arguments gives a tree of trees: ``H["w"]["b"]`` has the shape of ``w`` followed by that
    of ``b``.

    Raises:
        HigherOrderError: where an exact answer cannot be given (S12).
        ScalarOutputError, NotDifferentiableError, MixedBackendError: as `grad`; the latter but
            one also for complex arguments, whose Hessian is no complex matrix.

    >>> import numpy as np, unigrad as ug
    >>> print(ug.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0])))
    [[4. 2.]
     [2. 0.]]
    """
    selection = Selection.of(f, argnums)

    @functools.wraps(f)
    def evaluate(*args: Any, **kwargs: Any) -> Any:
        call = Evaluation(selection, args, kwargs, reduce=reduce, backend=backend)
        call.backend.require_second_order()
        call.require_real(call.primals, "a Hessian")

        def gradient(*xs: Array) -> tuple[Array, ...]:
            _, grads = call.backend.value_and_grad(call.scalar, xs)
            return tuple(call.filled(grads))

        with call.scope():
            outputs, pullback = call.backend.vjp(gradient, call.primals)
            blocks = jacobian_blocks(call.backend, pullback, outputs, call.primals, "reverse")
            return call.like_arguments([call.give(row) for row in blocks])

    return evaluate


def _differences(
    call: Evaluation, tangents: Sequence[Array]
) -> tuple[tuple[Array, ...], tuple[Array, ...], tuple[Array, ...]]:
    """Central difference of gradients; the step balances truncation and rounding."""
    backend = call.backend
    length = _norm(backend, tangents)
    products = tuple(backend.zeros_like(x) for x in call.primals)
    if length > 0.0:
        eps = max(_EPSILON[backend.dtype(x)] for x in call.primals)
        step = eps ** (1 / 3) * max(1.0, _norm(backend, call.primals)) / length

        def gradient(t: float) -> Sequence[Array]:
            moved = [x + t * v for x, v in zip(call.primals, tangents, strict=True)]
            return call.filled(backend.value_and_grad(call.scalar, moved)[1])

        pairs = zip(gradient(step), gradient(-step), strict=True)
        products = tuple((up - down) / (2 * step) for up, down in pairs)
    # The point itself comes last: the call's aux is that of the last evaluation.
    outputs, grads = backend.value_and_grad(call.scalar, call.primals)
    return outputs, tuple(call.filled(grads)), products


_EPSILON = {
    "bfloat16": 2.0**-7,
    "float16": 2.0**-10,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
    "complex64": 2.0**-23,
    "complex128": 2.0**-52,
}


def _norm(backend: Backend, xs: Sequence[Array]) -> float:
    return float(np.sqrt(backend.to_numpy(backend.inner(xs, xs)).item())) if xs else 0.0
