"""Functions of flat arrays that are recorded at their first call, and replayed from then on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unigrad.engine.derivatives import jvp
from unigrad.engine.program import simplify
from unigrad.engine.recording import Recording
from unigrad.engine.replay import compile_program

__all__ = ["linearize", "replayed"]


def replayed(
    f: Callable[..., Sequence[Any]], *, reuse_output: bool = False, around: Any = None
) -> Callable[..., Sequence[Any]]:
    """``f``, recorded for the shapes and dtypes of its first call, and replayed.

    What ``f`` reads beside its arguments, arrays and numbers of enclosing functions and globals,
    is part of the recording; if it has changed since, ``f`` is recorded anew. On traced arrays
    ``f`` runs as it is.

    Args:
        f: a function in plain NumPy of flat arrays, free of side effects.
        reuse_output: give results in buffers that the next call overwrites.
        around: the user's function inside ``f``, whose surroundings count.

    Raises:
        TracingError: if ``f`` asks for a value (a branch, a boolean mask, ``float(x)``), with
            the line that does.
    """
    known: dict[tuple[bool, ...], tuple[Recording, Callable[..., Sequence[Any]]]] = {}

    def call(*arrays: Any) -> Sequence[Any]:
        kinds = tuple([type(x) is np.ndarray for x in arrays])
        if not all(kinds):
            for x in arrays:
                if not isinstance(x, (np.ndarray, np.generic)):
                    return f(*arrays)  # traced, or lazy
            arrays = tuple([np.asarray(x) if isinstance(x, np.ndarray) else x for x in arrays])
            kinds = tuple([type(x) is np.ndarray for x in arrays])
        entry = known.get(kinds)
        if entry is None or not entry[0].valid():
            recording = Recording(f, arrays, around=around)
            run = compile_program(simplify(recording.program), reuse_output=reuse_output)
            entry = known[kinds] = recording, run
        return entry[1](arrays)

    return call


def linearize(
    f: Callable[..., Sequence[Any]], primals: Sequence[Any]
) -> tuple[tuple[Any, ...], Callable[..., Sequence[Any]]]:
    """Outputs of ``f``, and its derivative at ``primals`` as a function of tangents.

    The tangents are recorded, the primals are not: what depends on them alone is computed once.
    """
    outputs: tuple[Any, ...] = ()

    def along(*tangents: Any) -> list[Any]:
        nonlocal outputs
        outputs, moved = jvp(f, primals, tangents)
        return [np.zeros_like(y) if t is None else t for y, t in zip(outputs, moved, strict=True)]

    recording = Recording(along, [np.zeros_like(x) for x in primals], draws=True)
    run = compile_program(simplify(recording.program))
    return outputs, lambda tangents: run(tangents)
