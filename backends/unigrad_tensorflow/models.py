"""Keras 3 models on the TensorFlow backend as functions of their weights (S16).

The model is called inside ``keras.StatelessScope``, in which its variables stand for the values
that they are given, and what it would assign is dropped. Keras is never imported from here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from unigrad.backend import Array
from unigrad.errors import ShapeError, StructureError, UnsupportedError

__all__ = ["functional"]


def functional(model: Any) -> tuple[Callable[..., Any], dict[str, Array]] | None:
    """``(apply, params)`` of a Keras layer or model; ``None`` for anything else.

    ``params`` are the trainable variables' values by path (``"dense/kernel"``);
    ``apply(params, *inputs, training=False)`` reads all other state from the model.

    Raises:
        UnsupportedError: if the model has no weights yet, because it was never called.
    """
    keras = sys.modules.get("keras")
    if (
        keras is None
        or not isinstance(model, keras.Layer)
        or keras.backend.backend() != "tensorflow"
    ):
        return None
    if not model.built:
        raise UnsupportedError(
            f"the weights of the Keras model {model.name!r} were asked for, but it has none yet; "
            f"type: model.build(input_shape), or call it once on an input"
        )
    variables = _by_path(model)
    params = {path: tf.identity(v.value) for path, v in variables.items()}
    call = _untracked(keras, model)

    def apply(params: Mapping[str, Array], *inputs: Any, training: bool = False) -> Any:
        if params.keys() != variables.keys():
            raise StructureError(_mismatch(model.name, set(params), set(variables)))
        mapping = [(v, _value(path, v, params[path])) for path, v in variables.items()]
        frozen = [(v, tf.stop_gradient(v.value)) for v in model.non_trainable_variables]
        with keras.StatelessScope(state_mapping=mapping + frozen):
            return call(*inputs, training=training)

    return apply, params


def _untracked(keras: Any, model: Any) -> Any:
    """The model, called by a layer that does not know it.

    A model that is called from outside forgets the losses of its last call, which the user may
    still want to add up; called from within another layer it does not.
    """

    class Caller(keras.Layer):
        def call(self, *inputs: Any, training: bool) -> Any:
            return model(*inputs, training=training)

    return Caller(name="unigrad", autocast=False)


def _value(path: str, variable: Any, given: Array) -> Array:
    value = tf.convert_to_tensor(given)
    if value.dtype.name != variable.dtype or not value.shape.is_compatible_with(variable.shape):
        raise ShapeError(
            f"params[{path!r}] must have shape {tuple(variable.shape)} and dtype "
            f"{variable.dtype}, got shape {tuple(value.shape)} and dtype {value.dtype.name}"
        )
    return value


def _by_path(model: Any) -> dict[str, Any]:
    """Trainable variables by path without the model's own name; equal paths get a number."""
    found: dict[str, Any] = {}
    for v in model.trainable_variables:
        path = v.path.removeprefix(f"{model.name}/")
        name, number = path, 1
        while name in found:
            name, number = f"{path}:{number}", number + 1
        found[name] = v
    return found


def _mismatch(model: str, got: set[str], wanted: set[str]) -> str:
    missing, unknown = sorted(wanted - got), sorted(got - wanted)
    return (
        f"apply takes the parameters of the model {model!r}: missing {missing}, unknown {unknown}; "
        f"type: apply, params = ug.functional(model) and keep the keys of params"
    )
