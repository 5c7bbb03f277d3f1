"""The global flags that no call may leave changed (S5), of every framework that is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

__all__ = ["changed", "snapshot"]


def _random_state(numpy: ModuleType) -> tuple[bytes, int]:
    _, key, position, *_ = numpy.random.get_state()
    return key.tobytes(), position


_FLAGS: Mapping[str, Mapping[str, Callable[[ModuleType], Any]]] = MappingProxyType(
    {
        "torch": {
            "torch.is_grad_enabled()": lambda m: m.is_grad_enabled(),
            "torch.is_inference_mode_enabled()": lambda m: m.is_inference_mode_enabled(),
            "torch.get_default_dtype()": lambda m: m.get_default_dtype(),
            "torch random state": lambda m: m.get_rng_state().numpy().tobytes(),
        },
        "jax": {
            "jax.config.jax_enable_x64": lambda m: m.config.jax_enable_x64,
            "jax.config.jax_default_matmul_precision": (
                lambda m: m.config.jax_default_matmul_precision
            ),
            "jax.config.jax_debug_nans": lambda m: m.config.jax_debug_nans,
        },
        "tensorflow": {
            "tf.executing_eagerly()": lambda m: m.executing_eagerly(),
            "tf.config.functions_run_eagerly()": lambda m: m.config.functions_run_eagerly(),
        },
        "keras": {"keras.config.floatx()": lambda m: m.config.floatx()},
        "mxnet": {
            "mx.util.is_np_array()": lambda m: m.util.is_np_array(),
            "mx.util.is_np_shape()": lambda m: m.util.is_np_shape(),
            "mx.autograd.is_recording()": lambda m: m.autograd.is_recording(),
            "mx.autograd.is_training()": lambda m: m.autograd.is_training(),
        },
        "numpy": {
            "numpy.geterr()": lambda m: tuple(m.geterr().items()),
            "numpy.__dict__": lambda m: {k: id(v) for k, v in vars(m).items()},
            "numpy random state": _random_state,
        },
    }
)


def snapshot() -> dict[str, Any]:
    """Every flag by the name that a user would write, as it stands in this thread."""
    found: dict[str, Any] = {"UNIGRAD_BACKEND": os.environ.get("UNIGRAD_BACKEND")}
    for name, flags in _FLAGS.items():
        module = sys.modules.get(name)
        if module is None:
            continue
        for flag, read in flags.items():
            found[flag] = read(module)
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of the flags that differ.

    >>> changed({"a": 1, "b": 2}, {"a": 1, "b": 3})
    ['b']
    """
    # numpy.testing and its like are imported on first use: a new name is no changed flag.
    names = []
    for name, value in before.items():
        now = after.get(name)
        if isinstance(value, dict) and isinstance(now, dict):
            names += [f"numpy.{k}" for k, v in value.items() if now.get(k, v) != v]
            names += [f"numpy.{k}" for k in now.keys() - value.keys() if k in np.__all__]
            names += [f"numpy.{k}" for k in value.keys() - now.keys()]
        elif now != value:
            names.append(name)
    return names
