"""Functions without a derivative: shapes, predicates, indices; computed on plain values.

Making an array *like* a traced one is here too: the result lives in the trace, so that traced
values can be written into it.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from unigrad.engine.table import composite, constant
from unigrad.errors import TracingError

constant(
    "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_not "
    "logical_xor isnan isinf isfinite isnat signbit bitwise_and bitwise_or bitwise_xor invert "
    "spacing gcd lcm left_shift right_shift bitwise_count"
)
constant(
    "shape ndim size result_type can_cast common_type min_scalar_type iscomplexobj isrealobj "
    "isreal iscomplex isneginf isposinf isscalar array_equal array_equiv allclose isclose nonzero "
    "argwhere flatnonzero argsort argpartition searchsorted digitize lexsort may_share_memory "
    "shares_memory array_repr array_str array2string "
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


def _refused(names: str, advice: str) -> None:
    """Functions whose answer counts or chooses, so that a derivative would say nothing."""
    for name in names.split():

        @composite(name)
        def handler(*_: Any, name: str = name, **__: Any) -> NoReturn:
            raise TracingError(f"numpy.{name} of a traced array has no derivative rule; {advice}")


_refused(
    "histogram histogram2d histogramdd histogram_bin_edges",
    "counts do not change when values move a little: type ug.stop_gradient(x) there, or smooth "
    "the bins by a kernel",
)
_refused(
    "unique_all unique_counts unique_inverse",
    "use numpy.unique(x, return_index=True, return_inverse=True, return_counts=True)",
)
