"""Whether the outputs of a traced function depend on its inputs (S3).

JAX gives zeros for an input without influence. In the traced pullback such a zero is a constant:
it does not depend on the cotangents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend

__all__ = ["depends"]


def depends(f: Callable[..., tuple[Any, ...]], inputs: Sequence[Any]) -> list[bool]:
    """For each output of ``f``, whether it depends on any of the inputs."""
    jaxpr = jax.make_jaxpr(f)(*inputs).jaxpr
    return _reached(jaxpr, [True] * len(jaxpr.invars))


def _reached(jaxpr: Any, inputs: Sequence[bool]) -> list[bool]:
    known = {id(v) for v, reached in zip(jaxpr.invars, inputs, strict=True) if reached}

    def is_reached(atom: Any) -> bool:
        return id(atom) in known

    for equation in jaxpr.eqns:
        flags = [is_reached(v) for v in equation.invars]
        inner = equation.params.get("jaxpr")
        closed = getattr(inner, "jaxpr", None)
        if closed is not None and equation.primitive.name == "scan":
            results = _reached_in_scan(closed, flags, equation.params)
        elif closed is not None and len(closed.invars) == len(flags):
            results = _reached(closed, flags)
        else:
            results = [any(flags)] * len(equation.outvars)
        known |= {id(v) for v, r in zip(equation.outvars, results, strict=False) if r}
    return [is_reached(v) for v in jaxpr.outvars]


def _reached_in_scan(body: Any, flags: Sequence[bool], params: Any) -> list[bool]:
    """What one step puts into the carry, the next step takes out: until nothing changes."""
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    flags = list(flags)
    while True:
        results = _reached(body, flags)
        carry = [a or b for a, b in zip(flags[first:last], results, strict=False)]
        if carry == flags[first:last]:
            return results
        flags[first:last] = carry
