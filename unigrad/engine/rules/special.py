"""Rules of the ufuncs of scipy.special, filled in when the first of them meets a traced array."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from unigrad.engine.core import Box, Rule, apply
from unigrad.engine.table import elementwise

__all__ = ["register"]


def register() -> None:
    """Add the rules; nothing happens where SciPy is missing."""
    if importlib.util.find_spec("scipy") is None:
        return
    sp: Any = importlib.import_module("scipy.special")
    gauss, root = float(2 / np.sqrt(np.pi)), float(np.sqrt(2 * np.pi))
    rules: dict[str, tuple[Any, ...]] = {
        "gammaln": (lambda ans, x: sp.digamma(x),),
        "loggamma": (lambda ans, x: sp.digamma(x),),
        "gamma": (lambda ans, x: ans * sp.digamma(x),),
        "digamma": (lambda ans, x: _polygamma(sp, 1, x),),
        "erf": (lambda ans, x: gauss * np.exp(-x * x),),
        "erfc": (lambda ans, x: -gauss * np.exp(-x * x),),
        "erfinv": (lambda ans, x: np.exp(ans * ans) / gauss,),
        "erfcinv": (lambda ans, x: -np.exp(ans * ans) / gauss,),
        "ndtr": (lambda ans, x: np.exp(-0.5 * x * x) / root,),
        "log_ndtr": (lambda ans, x: np.exp(-0.5 * x * x - ans) / root,),
        "ndtri": (lambda ans, x: root * np.exp(0.5 * ans * ans),),
        "expit": (lambda ans, x: ans * sp.expit(-x),),
        "log_expit": (lambda ans, x: sp.expit(-x),),
        "logit": (lambda ans, x: 1 / (x * (1 - x)),),
        "xlogy": (
            lambda ans, x, y: np.log(np.where((x == 0) & (y == 0), 1.0, y)),
            lambda ans, x, y: x / np.where((x == 0) & (y == 0), 1.0, y),
        ),
        "xlog1py": (
            lambda ans, x, y: np.log1p(np.where((x == 0) & (y == -1), 0.0, y)),
            lambda ans, x, y: x / np.where((x == 0) & (y == -1), 1.0, 1 + y),
        ),
        "entr": (lambda ans, x: -np.log(x) - 1,),
        "beta": (
            lambda ans, a, b: ans * (sp.digamma(a) - sp.digamma(a + b)),
            lambda ans, a, b: ans * (sp.digamma(b) - sp.digamma(a + b)),
        ),
        "betaln": (
            lambda ans, a, b: sp.digamma(a) - sp.digamma(a + b),
            lambda ans, a, b: sp.digamma(b) - sp.digamma(a + b),
        ),
        "j0": (lambda ans, x: -sp.jv(1, x),),
        "j1": (lambda ans, x: 0.5 * (sp.jv(0, x) - sp.jv(2, x)),),
        "jv": (None, lambda ans, n, x: 0.5 * (sp.jv(n - 1, x) - sp.jv(n + 1, x))),
        "i0": (lambda ans, x: sp.iv(1, x),),
        "i1": (lambda ans, x: 0.5 * (sp.iv(0, x) + sp.iv(2, x)),),
        "iv": (None, lambda ans, n, x: 0.5 * (sp.iv(n - 1, x) + sp.iv(n + 1, x))),
    }
    for name, derivatives in rules.items():
        elementwise(name, *derivatives, target=getattr(sp, name, None))


def _polygamma(sp: Any, n: int, x: Any) -> Any:
    """``psi^(n)(x)``, which scipy.special computes by a function that cannot be traced."""
    return apply(_POLYGAMMA, _polygamma_value, (sp, n, x))


def _polygamma_value(sp: Any, n: int, x: Any) -> Any:
    return _polygamma(sp, n, x) if isinstance(x, Box) else sp.polygamma(n, x)


def _pull_polygamma(g: Any, ans: Any, sp: Any, n: int, x: Any) -> Any:
    return g * _polygamma(sp, n + 1, x)


_POLYGAMMA = Rule("polygamma", [None, None, _pull_polygamma])
