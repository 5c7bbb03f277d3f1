"""TensorFlow's answer to an op without a derivative, as an error of unigrad (S12).

It raises ``LookupError`` while it walks back; an op whose own name says that it is a derivative
can only be met at second order.
"""

from __future__ import annotations

import re

from unigrad.errors import HigherOrderError, UnsupportedError

__all__ = ["explain"]


def explain(error: LookupError) -> None:
    """Raise an error that names the op without a derivative, where ``error`` is about one.

    Raises:
        HigherOrderError: for the derivative of a derivative.
        UnsupportedError: for a first derivative.
    """
    found = re.search(r"registry has no entry for: (\w+)|\(op type: (\w+)\)", str(error))
    disabled = "explicitly disabled" in str(error)
    if found is None and not disabled:
        return
    name = repr(found[1] or found[2]) if found else "a fused operator"
    text = f"TensorFlow has no derivative for {name} ({error}); compose it of other operators"
    if disabled or "Grad" in name or "Backprop" in name:
        raise HigherOrderError(f"an exact higher-order derivative was asked: {text}") from error
    raise UnsupportedError(f"a derivative was asked: {text}") from error
