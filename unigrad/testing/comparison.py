"""How far two results are apart: relative to the largest entry, and in units of the last place.

Relative to the largest entry, because an entry that is zero but for rounding has no digits of
its own to agree in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unigrad.testing.scenario import NumPyArray

__all__ = ["difference"]


def difference(
    got: Sequence[NumPyArray], want: Sequence[NumPyArray], dtype: str = "float64"
) -> tuple[float, float]:
    """Largest difference of two lists of arrays: relative to the largest entry, and in ULPs.

    Infinities and NaNs must be equal, place by place; otherwise the difference is infinite.

    >>> relative, ulps = difference([np.array([1.0, 2.0 + 2**-51])], [np.array([1.0, 2.0])])
    >>> print(relative == 2**-52, ulps)
    True 1.0
    """
    scale, gap = 0.0, 0.0
    for g, w in zip(got, want, strict=True):
        if g.shape != w.shape:
            return np.inf, np.inf
        wide = np.complex128 if np.iscomplexobj(g) or np.iscomplexobj(w) else np.float64
        a, b = np.asarray(g, dtype=wide).ravel(), np.asarray(w, dtype=wide).ravel()
        finite = np.isfinite(b) & np.isfinite(a)
        same = finite | (a == b) | (np.isnan(a) & np.isnan(b))
        if not np.all(same):
            return np.inf, np.inf
        scale = max(scale, float(np.max(np.abs(b[finite]), initial=0.0)))
        gap = max(gap, float(np.max(np.abs(a[finite] - b[finite]), initial=0.0)))
    if gap == 0.0:
        return 0.0, 0.0
    scale = scale or 1.0
    real = np.dtype(dtype).type(0).real.dtype.type
    return gap / scale, gap / float(np.spacing(real(scale)))
