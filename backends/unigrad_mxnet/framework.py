"""The import of MXNet 1.9.1, which was written for NumPy < 1.24.

It reads aliases such as ``np.bool`` that NumPy has dropped. They exist while it is imported and
no longer: afterwards ``numpy.__dict__`` and the warning filters are as before. Three of its
modules read ``np.bool`` later too, so their private name ``_np`` is given a view of NumPy with it.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
import warnings
from typing import Any

import numpy as np

__all__ = ["mx"]

_DROPPED = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object}
_READ_LATER = ("mxnet.numpy.multiarray", "mxnet.ndarray.numpy._op", "mxnet.symbol.numpy._symbol")
_lock = threading.Lock()


class _NumpyWithBool(types.ModuleType):
    """NumPy with the alias ``bool``, for MXNet's own modules only."""

    bool = bool

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def _import() -> Any:
    with _lock:
        missing = {name: kind for name, kind in _DROPPED.items() if name not in np.__dict__}
        for name, kind in missing.items():
            setattr(np, name, kind)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module("mxnet")
        except OSError as error:
            raise ImportError(f"MXNet's library does not load: {error}") from error
        finally:
            for name in missing:
                delattr(np, name)
        if "bool" in missing:
            view = _NumpyWithBool("numpy")
            for name in _READ_LATER:
                vars(sys.modules[name])["_np"] = view
        return module


mx: Any = _import()
mx.util._set_np_shape_logged = True  # else logging.info installs a handler on the root logger
