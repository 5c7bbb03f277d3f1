"""Functions without a derivative: shapes, predicates, indices; computed on plain values.

Making an array *like* a traced one is here too: the result lives in the trace, so that traced
values can be written into it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unigrad.engine.table import composite, constant

constant(
    "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_not "
    "logical_xor isnan isinf isfinite isnat signbit bitwise_and bitwise_or bitwise_xor invert "
    "spacing"
)
constant(
    "shape ndim size result_type can_cast common_type min_scalar_type iscomplexobj isrealobj "
    "isreal iscomplex isneginf isposinf isscalar array_equal array_equiv allclose isclose nonzero "
    "argwhere flatnonzero argsort argpartition searchsorted digitize lexsort may_share_memory "
    "shares_memory array_repr array_str array2string linalg.matrix_rank "
    "isin in1d"
)


def _like(name: str) -> None:
    fn = getattr(np, name)

    @composite(name)
    def handler(prototype: Any, *args: Any, **options: Any) -> Any:
        out = fn(prototype.value, *args, **options)
        if out.dtype.kind not in "fc" and prototype.home.derives:
            return out
        return type(prototype)(out, prototype.home, None)


for _name in ("zeros_like", "ones_like", "empty_like"):
    _like(_name)


@composite("full_like")
def _full_like(a: Any, fill_value: Any, *args: Any, **options: Any) -> Any:
    out = np.empty_like(a, *args, **options)
    out[...] = fill_value
    return out
