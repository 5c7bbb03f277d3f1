"""What all calls of one signature share: worked out once, and kept by the registry.

A signature is the choice of arguments, the structures of all arguments, and the types of their
leaves. Shapes, dtypes and values are no part of it: a plan holds nothing that depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np

from unigrad.backend import Backend
from unigrad.registry import Memory, decided, get_backend, switched
from unigrad.trees import LIMIT, TreeDef

__all__ = ["Part", "Plan"]

Part: TypeAlias = "tuple[list[Any], TreeDef | None, Hashable]"
"""One argument taken apart: its leaves, structure (``None``: a lone leaf), and signature."""

_NUMBERS: dict[type, type] = {float: np.float64, complex: np.complex128}


class Plan:
    """How a call is made.

    Attributes:
        backend: where the work is done.
        chosen: which of the arguments, those by keyword last, are differentiated.
        beside: the others.
        own: all differentiated leaves are arrays of the backend.
        numbers: some leaves are Python floats, whose dtype depends on the arrays beside them.
        whole: the differentiated arguments are all that there are, by position and in order.
        moves: some of the other arguments hold NumPy arrays, and the backend has its own.
        scoped: the backend wants something entered around what concerns a call.
    """

    __slots__ = ("backend", "beside", "chosen", "moves", "numbers", "own", "scoped", "whole")

    def __init__(
        self, backend: Backend, chosen: Sequence[int], parts: Sequence[Part], positional: int
    ) -> None:
        self.backend = backend
        self.chosen = tuple(chosen)
        self.whole = list(chosen) == list(range(len(parts))) and positional == len(parts)
        self.beside = tuple(k for k in range(len(parts)) if k not in chosen)
        kinds = [type(leaf) for k in chosen for leaf in parts[k][0]]
        self.own = all(issubclass(_NUMBERS.get(t, t), backend.array_types) for t in kinds)
        self.numbers = any(t in _NUMBERS for t in kinds)
        self.moves = backend.name != "numpy" and any(
            type(leaf) is np.ndarray for k in self.beside for leaf in parts[k][0]
        )
        self.scoped = type(backend).scope is not Backend.scope

    @classmethod
    def of(
        cls,
        memory: Memory,
        places: tuple[int | str, ...],
        keywords: Collection[str],
        parts: Sequence[Part],
        explicit: str | Backend | None,
        names: Callable[[], list[str]],
    ) -> Plan:
        """The plan of a call, from memory where one of this signature was made before.

        Args:
            places: positions and keywords of the arguments to differentiate.
            keywords: those of the call, in order.
            parts: the positional arguments, then those by keyword.
            explicit: what ``backend=`` said.
            names: how messages call the leaves, the differentiated ones first.

        Raises:
            MixedBackendError, BackendNotAvailableError, UnknownBackendError: as `backend_of`.
        """
        key = (places, explicit, *keywords, *[signature for _, _, signature in parts])
        try:
            plan = memory.plans.get(key)
        except TypeError:  # a registered class whose structure cannot be hashed
            return cls._made({}, None, places, keywords, parts, explicit, names)
        if type(plan) is dict:  # no array of a framework: the switch decides
            plan = plan.get(switched())
        if plan is None:
            return cls._made(memory.plans, key, places, keywords, parts, explicit, names)
        return plan  # type: ignore[no-any-return]

    @classmethod
    def _made(
        cls,
        plans: dict[Hashable, Any],
        key: Hashable,
        places: Sequence[int | str],
        keywords: Collection[str],
        parts: Sequence[Part],
        explicit: str | Backend | None,
        names: Callable[[], list[str]],
    ) -> Plan:
        count = len(parts) - len(keywords)
        chosen = [p if isinstance(p, int) else count + list(keywords).index(p) for p in places]
        beside = [k for k in range(len(parts)) if k not in chosen]
        leaves = [leaf for k in (*chosen, *beside) for leaf in parts[k][0]]
        if len(plans) >= LIMIT:
            plans.clear()
        backend = decided(leaves, explicit, names)
        if backend is not None:
            plans[key] = plan = cls(backend, chosen, parts, count)
            return plan
        name = switched()
        plan = cls(get_backend(name), chosen, parts, count)
        plans.setdefault(key, {})[name] = plan
        return plan
