"""One layer of a model: its arrays by the framework's names, and by canonical role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Arrays: TypeAlias = Mapping[str, Any]
Change: TypeAlias = "Callable[..., tuple[Any, ...]]"

__all__ = [
    "Layer",
    "Part",
]


@dataclass(frozen=True)
class Part:
    """Some arrays of a layer that go to some canonical arrays, and back, all of them or none.

    Attributes:
        names: what the framework calls them.
        roles: what the canonical ones are called.
        read: from arrays in the order of ``names`` to arrays in that of ``roles``.
        write: back.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    read: Change
    write: Change


@dataclass(frozen=True)
class Layer:
    """One layer of a model.

    Attributes:
        kind: such as ``"dense"`` or ``"lstm"``; layers of different kinds never match.
        name: its path in the model.
        parts: its arrays; each parameter and state is in one part at most.
        facts: what else must agree where both layers state it, such as ``heads``.
        channels_last: the place of the channels in the images that go through the layer, or that
            are flattened before it.
        ordered: its place in the list is known to be that of its definition.
    """

    kind: str
    name: str
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    channels_last: bool | None = None
    ordered: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters and states that it owns."""
        return tuple(name for part in self.parts for name in part.names)

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of its canonical arrays."""
        return tuple(role for part in self.parts for role in part.roles)

    def to_canonical(self, arrays: Arrays) -> dict[str, Any]:
        """From arrays by `names` to arrays by `roles`; parts without their arrays are left out."""
        return _change(arrays, [(p.names, p.roles, p.read) for p in self.parts])

    def from_canonical(self, arrays: Arrays) -> dict[str, Any]:
        """Back."""
        return _change(arrays, [(p.roles, p.names, p.write) for p in self.parts])


def _change(
    arrays: Arrays, changes: Sequence[tuple[tuple[str, ...], tuple[str, ...], Change]]
) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for sources, targets, change in changes:
        if all(name in arrays for name in sources):
            new = change(*(arrays[name] for name in sources))
            changed.update(zip(targets, new, strict=True))
    return changed
