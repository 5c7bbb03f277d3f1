"""SciPy's functions that take arrays apart, followed: same names, parameters and results.

The ufuncs of scipy.special are followed as they are; the rest of SciPy converts its arguments
to plain arrays, and has its most differentiated functions here: `integrate`, `linalg`,
`signal`, `special`, `stats`. On plain arrays they give what SciPy gives.
"""

from __future__ import annotations

import importlib.util

from unigrad.errors import BackendNotAvailableError

if importlib.util.find_spec("scipy") is None:
    raise BackendNotAvailableError(
        "unigrad.scipy needs SciPy, which is not installed; type: pip install 'unigrad[scipy]'"
    )

from unigrad.scipy import integrate, linalg, signal, special, stats

__all__ = ["integrate", "linalg", "signal", "special", "stats"]
