"""Which adapter a model belongs to, and reading and writing its weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from unigrad.backend import Array, Backend, is_complex, is_floating
from unigrad.errors import ArgumentError, ShapeError, StructureError, UnsupportedError
from unigrad.models import keras
from unigrad.models.apply import Apply
from unigrad.registry import backends, get_backend, specs
from unigrad.stateless import Mode, ModelOptions, StatelessModel

__all__ = ["assign", "functional", "take_apart"]


def functional(
    model: Any,
    *,
    trainable_only: bool = True,
    mode: Mode | None = "eval",
    state: Literal["frozen", "return"] = "frozen",
    example: Any = None,
) -> tuple[Callable[..., Any], Any]:
    """``(apply, params)``: the model as a function ``apply(params, *inputs)`` of its weights.

    ``params`` is a dict from the framework's own parameter names to arrays that share memory
    with the model; calls of ``apply`` leave the model as it is (S16). Everything else that the
    output depends on (frozen weights, running statistics, seed generators) is read from the
    model at every call, or from ``apply(params, *inputs, state=...)`` if given.

    Args:
        model: a ``torch.nn.Module``, a Keras 3 model on any of its backends, a Gluon block, a
            Flax (nnx, or linen with its variables) or Equinox module, or a pair (apply,
            params), which is returned as it is.
        trainable_only: ``params`` holds trainable parameters only; ``False``: frozen ones too.
        mode: ``"eval"`` or ``"train"`` decides what BatchNorm and Dropout do, whatever mode the
            model itself is in; ``None``: as the framework would run the model now.
        state: ``"return"``: ``apply`` gives ``(output, state)`` with the state after the call,
            for ``apply(..., state=)`` or `assign`; ``"frozen"``: updates are dropped.
        example: an input (a tuple: several) on which a model that has no weights yet is called
            once, to make them; that writes them into the model.

    Raises:
        UnsupportedError: for anything else, and for a model that has no weights yet.

    >>> import numpy as np, unigrad as ug
    >>> apply, params = ug.functional((lambda p, x: x @ p["w"], {"w": np.ones(2)}))
    >>> print(apply(params, np.array([1.0, 2.0])))
    3.0
    """
    if mode not in ("train", "eval", None):
        raise ArgumentError(f"mode must be 'train', 'eval' or None, got {mode!r}")
    if state not in ("frozen", "return"):
        raise ArgumentError(f"state must be 'frozen' or 'return', got {state!r}")
    options = ModelOptions(trainable_only, mode, example, returns_state=state == "return")
    found = take_apart(model, options)
    if found is not None:
        stateless, backend = found
        params = stateless.params()
        return Apply(stateless, backend, options, params, state == "return"), params
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        if options != ModelOptions() or example is not None:
            raise UnsupportedError(
                "a pair (apply, params) is returned as it is: it has no mode, frozen weights or "
                "state that unigrad knows; write them into your own apply"
            )
        return model
    raise UnsupportedError(_no_model(model))


def assign(model: Any, values: Mapping[str, Array]) -> None:
    """Write parameters, and state if given, back into the model, in place: all of them or none.

    Args:
        model: what `functional` takes, or the ``apply`` that it gave.
        values: arrays (of the model's framework, or NumPy's) by the names of ``params`` and
            ``apply.state``; names that are left out keep their values.

    Raises:
        StructureError, ShapeError: unknown names or other shapes; nothing is written.
        UnsupportedError: for what keeps no weights of its own, such as a pair (apply, params).

    >>> import numpy as np, unigrad as ug
    >>> ug.assign((lambda p, x: x @ p["w"], {"w": np.ones(2)}), {"w": np.zeros(2)})
    Traceback (most recent call last):
    unigrad.errors.UnsupportedError: a pair (apply, params) keeps no weights: pass the new ones
    """
    if isinstance(model, Apply):
        stateless, backend = model.model, model.backend
    else:
        found = take_apart(model, ModelOptions(trainable_only=False, mode=None))
        if found is None:
            if isinstance(model, tuple):
                raise UnsupportedError("a pair (apply, params) keeps no weights: pass the new ones")
            raise UnsupportedError(_no_model(model))
        stateless, backend = found
    known = {**stateless.params(), **stateless.state()}
    if not isinstance(values, Mapping) or not values.keys() <= known.keys():
        got = values.keys() - known.keys() if isinstance(values, Mapping) else type(values).__name__
        raise StructureError(
            f"assign takes parameters of {stateless.name} by name; unknown: {got}; it has "
            f"{sorted(known)}"
        )
    written = {}
    for name, x in values.items():
        like = known[name]
        new = _converted(backend, name, x, like)
        if backend.shape(new) != backend.shape(like):
            raise ShapeError(
                f"assign: {name!r} must have shape {backend.shape(like)}, got "
                f"{backend.shape(new)}; nothing was written"
            )
        written[name] = new
    stateless.assign(written)


def _converted(backend: Backend, name: str, x: Any, like: Array) -> Array:
    """``x`` as the kind of number that ``like`` is."""
    kind = backend.dtype(like)
    given = backend.dtype(x) if isinstance(x, backend.array_types) else np.asarray(x).dtype.name
    places = [next(i for i, test in enumerate(_KINDS) if test(k)) for k in (given, kind)]
    if places[0] < places[1]:
        raise ArgumentError(
            f"assign: {name!r} is of {kind}, which cannot hold {given}; nothing was written; "
            f"type: x.real, or round the numbers, if that is meant"
        )
    return backend.asarray(x, dtype=kind, like=like)


_KINDS: tuple[Callable[[str], bool], ...] = (
    lambda kind: kind == "object" or kind.startswith(("str", "<U", "bytes")),
    is_complex,
    is_floating,
    lambda kind: kind != "bool",
    lambda kind: True,
)
"""Kinds of numbers, the widest first; the first holds none."""


def take_apart(model: Any, options: ModelOptions) -> tuple[StatelessModel, Backend] | None:
    """The model as its adapter reads it, with the adapter; ``None`` if no one knows it."""
    if keras.is_layer(model):
        backend = get_backend(keras.backend_name())
        return keras.KerasModel(model, options, backend), backend
    for name, spec in specs().items():
        if spec.capabilities.models and spec.framework in sys.modules:
            backend = get_backend(name)
            found = backend.functional(model, options)
            if found is not None:
                return found, backend
    return None


def _no_model(model: Any) -> str:
    takers = ", ".join(name for name, info in backends().items() if info.capabilities.models)
    return (
        f"{type(model).__name__} is no model of Keras or of {takers}; pass one, or a pair "
        f"(apply, params)"
    )
