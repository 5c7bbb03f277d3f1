"""From a model to a function of its weights: ``apply, params = ug.functional(model)``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from unigrad.errors import UnsupportedError
from unigrad.registry import backends, get_backend, specs

__all__ = ["functional"]


def functional(model: Any) -> tuple[Callable[..., Any], Any]:
    """``(apply, params)``: the model as a function ``apply(params, *inputs)`` of its weights.

    ``params`` is a dict from the framework's own parameter names to arrays that share memory
    with the model; calls of ``apply`` leave the model as it is (S16).

    Args:
        model: a ``torch.nn.Module``, a Keras model on TensorFlow, a Gluon block, or a pair
            (apply, params), which is returned as it is.

    Raises:
        UnsupportedError: for anything else.

    >>> import numpy as np, unigrad as ug
    >>> apply, params = ug.functional((lambda p, x: x @ p["w"], {"w": np.ones(2)}))
    >>> print(apply(params, np.array([1.0, 2.0])))
    3.0
    """
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        return model
    for name, spec in specs().items():
        if spec.capabilities.models and spec.framework in sys.modules:
            found = get_backend(name).functional(model)
            if found is not None:
                return found
    takers = ", ".join(name for name, info in backends().items() if info.capabilities.models)
    raise UnsupportedError(
        f"{type(model).__name__} is no model of {takers}; pass one, or a pair (apply, params)"
    )
