"""Which array of one model is which of another: by the user's mapping, then layer by layer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from unigrad.errors import ArgumentError, ShapeError, StructureError
from unigrad.models.sides import Item, Side, show_shapes
from unigrad.models.unowned import pairs

__all__ = ["Match", "Source", "match"]

Axes: TypeAlias = "tuple[int, ...] | None"


@dataclass(frozen=True)
class Source:
    """Where a canonical array comes from.

    Attributes:
        item: the array of ``from_model``; ``None``: zeros, of a bias that it does not have.
        read: axes that make it canonical.
        write: axes that make the canonical one ``to_model``'s.
    """

    item: Item | None
    read: Axes = None
    write: Axes = None


@dataclass
class Match:
    """What belongs together.

    Attributes:
        layers: names of layers of the one and the other model.
        items: for each canonical array of ``to_model``, its source.
        dropped: arrays of ``from_model`` that the mapping leaves out.
    """

    layers: dict[str, str] = field(default_factory=dict)
    items: dict[Item, Source] = field(default_factory=dict)
    dropped: set[Item] = field(default_factory=set)


def match(source: Side, target: Side, mapping: Mapping[Any, Any]) -> Match:
    """Match two models.

    Raises:
        ArgumentError: for a mapping that names what is not there.
        ShapeError: if arrays that the mapping names have different shapes.
        StructureError: with what is left over on either side.
    """
    found = Match()
    for key, value in mapping.items():
        _apply_mapping(found, source, target, key, value)
    used = _used(found)
    touched = {owner for owner, _ in used if owner is not None}
    reached = {owner for owner, _ in found.items if owner is not None}
    _match_layers(
        found,
        source,
        target,
        [name for name in source.layers if name not in touched],
        [name for name in target.layers if name not in reached],
    )
    used = _used(found)
    rest = [item for item in source.shapes if item not in used]
    wanted = [item for item in target.shapes if item not in found.items]
    for item, goal in pairs(source, target, rest, wanted):
        _put(found, target, goal, Source(item))
    used = _used(found)
    rest = [item for item in rest if item not in used]
    wanted = [item for item in wanted if item not in found.items]
    if rest or wanted:
        raise StructureError(_left_over(source, target, rest, wanted))
    return found


def _used(found: Match) -> set[Item]:
    return found.dropped | {s.item for s in found.items.values() if s.item is not None}


# ------------------------------------------------------------------ the user's mapping


def _apply_mapping(found: Match, source: Side, target: Side, key: Any, value: Any) -> None:
    layer, item, read = _resolve(source, key)
    if value is None:
        roles = [(layer, role) for role in source.roles(layer)] if layer is not None else [item]
        found.dropped.update(role for role in roles if role is not None)
        return
    other, goal, write = _resolve(target, value)
    if layer is not None and other is not None:
        _map_layers(found, source, target, layer, other)
    elif item is not None and goal is not None:
        got, wanted = _turned(source.shapes[item], read), target.shapes[goal]
        if _turned(got, write) != wanted:
            raise ShapeError(
                f"port: mapping={{{key!r}: {value!r}}}: {source.label(item)!r} has the canonical "
                f"shape {got}, {target.label(goal)!r} the shape {wanted}"
                + _transposition(got, wanted, value)
            )
        _put(found, target, goal, Source(item, read, write))
    else:
        raise ArgumentError(
            f"port: mapping={{{key!r}: {value!r}}} names a whole layer on one side and one "
            f"array on the other; name 'layer.role' for the layer, one entry for each role: "
            f"{_roles_of(source, layer) or _roles_of(target, other)}"
        )


def _put(found: Match, target: Side, goal: Item, origin: Source) -> None:
    if goal in found.items:
        raise ArgumentError(f"port: mapping names {target.label(goal)!r} of to_model twice")
    found.items[goal] = origin


def _roles_of(side: Side, layer: str | None) -> list[str]:
    return [] if layer is None else [f"{layer}.{role}" for role in side.roles(layer)]


def _turned(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    return shape if axes is None else tuple(shape[i] for i in axes)


def _transposition(got: tuple[int, ...], wanted: tuple[int, ...], name: Any) -> str:
    if len(got) == 2 and got[::-1] == wanted:
        return f"; for its transpose, type ({name!r}, (1, 0))"
    return ""


def _resolve(side: Side, key: Any) -> tuple[str | None, Item | None, Axes]:
    """A layer, or one canonical array and the permutation that was asked for."""
    axes: Axes = None
    if isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], tuple):
        key, axes = key
    if not isinstance(key, str):
        raise ArgumentError(
            f"port: mapping takes names, or (name, axes) for a transpose, got {key!r}"
        )
    if axes is None and key in side.layers:
        return key, None, None
    item = _item(side, key)
    if axes is not None:
        if sorted(axes) != list(range(len(side.shapes[item]))):
            raise ArgumentError(
                f"port: mapping: {axes} is no permutation of the axes of {key!r}, whose shape "
                f"is {side.shapes[item]}"
            )
        if item[0] is not None:
            raise ArgumentError(
                f"port: mapping: {key!r} belongs to the layer {item[0]!r}, whose layout is "
                f"known; axes are for arrays that no layer owns"
            )
    return None, item, axes


def _item(side: Side, key: str) -> Item:
    if (None, key) in side.shapes:
        return None, key
    for layer in side.layers.values():
        for part in layer.parts:
            if key in part.names:
                if len(part.names) == len(part.roles) == 1:
                    return layer.name, part.roles[0]
                raise ArgumentError(
                    f"port: mapping: {key!r} is no canonical array by itself; name its layer "
                    f"{layer.name!r}, or its roles {_roles_of(side, layer.name)}"
                )
    for item in side.shapes:
        if item[0] is not None and side.label(item) == key:
            return item
    raise ArgumentError(
        f"port: mapping: {side.what} ({side.name}) has no {key!r}; its layers are "
        f"{list(side.layers)}, its other arrays {[i[1] for i in side.shapes if i[0] is None]}"
    )


def _map_layers(found: Match, source: Side, target: Side, layer: str, other: str) -> None:
    kind, wanted = source.layers[layer].kind, target.layers[other].kind
    roles, goals = source.roles(layer), target.roles(other)
    # A layer without a bias computes what one with a bias of zeros does, not the other way.
    zeros = {role for role in goals.keys() - roles.keys() if "bias" in role or role == "offset"}
    if kind != wanted or roles != {r: s for r, s in goals.items() if r not in zeros}:
        raise ShapeError(
            f"port: mapping={{{layer!r}: {other!r}}}: {kind} with {show_shapes(roles)} does not "
            f"go to {wanted} with {show_shapes(goals)} (canonical shapes)"
        )
    _pair_up(found, target, layer, other, roles)
    for role in zeros:
        _put(found, target, (other, role), Source(None))


def _pair_up(found: Match, target: Side, layer: str, other: str, roles: Iterable[str]) -> None:
    found.layers[layer] = other
    for role in roles:
        _put(found, target, (other, role), Source((layer, role)))


# ------------------------------------------------------------------ the rest, by order


def _match_layers(
    found: Match, source: Side, target: Side, ours: list[str], theirs: list[str]
) -> None:
    """Layers of one kind and one set of shapes, in order where there are several.

    Several are matched only where the layers of their kind follow each other in the same order
    of shapes on both sides: otherwise the order says nothing, and only equal names do.
    """
    first, second = _by_signature(source, ours), _by_signature(target, theirs)
    for signature, names in first.items():
        others = second.get(signature, [])
        kind = signature[0]
        if len(names) != len(others):
            continue
        if len(names) == 1 or (
            _in_order(source, names)
            and _in_order(target, others)
            and _order(source, ours, kind) == _order(target, theirs, kind)
        ):
            _refuse_crossed(names, others)
        elif sorted(map(_plain, names)) == sorted(map(_plain, others)):
            names, others = sorted(names, key=_plain), sorted(others, key=_plain)
        else:
            continue
        for layer, other in zip(names, others, strict=True):
            _refuse_facts(source, target, layer, other)
            _pair_up(found, target, layer, other, source.roles(layer))


def _signature(side: Side, name: str) -> tuple[str, Any]:
    return side.layers[name].kind, tuple(sorted(side.roles(name).items()))


def _by_signature(side: Side, names: list[str]) -> dict[tuple[str, Any], list[str]]:
    groups: dict[tuple[str, Any], list[str]] = defaultdict(list)
    for name in names:
        groups[_signature(side, name)].append(name)
    return groups


def _order(side: Side, names: list[str], kind: str) -> list[Any]:
    return [_signature(side, name) for name in names if side.layers[name].kind == kind]


def _in_order(side: Side, names: list[str]) -> bool:
    """Whether the order of these layers means something.

    Numbers that do not grow (``Dense_0, Dense_10, Dense_2``) are a dict's that was sorted.
    """
    numbers: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for name in names:
        stem = re.split(r"\d+", name)
        numbers[tuple(stem)].append([int(n) for n in re.findall(r"\d+", name)])
    return all(side.layers[name].ordered for name in names) and all(
        found == sorted(found) for found in numbers.values()
    )


def _plain(name: str) -> str:
    return name.replace("/", ".")


def _refuse_crossed(names: list[str], others: list[str]) -> None:
    """The same names in another order: one of the orders is not that of the definition."""
    plain, crossed = [_plain(name) for name in names], [_plain(name) for name in others]
    if plain != crossed and sorted(plain) == sorted(crossed):
        raise StructureError(
            f"port: the layers {names} and {others} are alike in shape and have the same names "
            f"in another order; say which is which, type mapping="
            f"{{{names[0]!r}: {others[crossed.index(plain[0])]!r}, ...}}"
        )


def _refuse_facts(source: Side, target: Side, layer: str, other: str) -> None:
    stated, known = source.layers[layer].facts, target.layers[other].facts
    for fact in stated.keys() & known.keys():
        if stated[fact] != known[fact]:
            raise StructureError(
                f"port: {layer!r} of {source.name} and {other!r} of {target.name} compute "
                f"different things: {fact} is {stated[fact]!r} and {known[fact]!r}; make them "
                f"equal, or port the weights all the same: mapping={{{layer!r}: {other!r}}}"
            )


# ------------------------------------------------------------------ what is left over


def _left_over(source: Side, target: Side, rest: list[Item], wanted: list[Item]) -> str:
    ours, theirs = _lines(source, rest), _lines(target, wanted)
    heads = f"from_model ({source.name}) has", f"to_model ({target.name}) has"
    width = max(map(len, (heads[0], *ours)))
    rows = [
        f"  {left:<{width}}   {right}".rstrip()
        for left, right in zip(
            (heads[0], *ours, *[""] * (len(theirs) - len(ours))),
            (heads[1], *theirs, *[""] * (len(ours) - len(theirs))),
            strict=True,
        )
    ]
    table = "\n".join(rows)
    example = f"{_example(source, rest)!r}: {_example(target, wanted)!r}"
    return (
        f"port cannot match these (canonical shapes: weights (out, in, *window), see "
        f"unigrad.layouts):\n{table}\nsay which is which, type mapping={{{example}, ...}}; an "
        f"array that the other model does not have is left out by mapping it to None; of a "
        f"pair's transposed array, give (name, (1, 0))"
    )


def _lines(side: Side, items: list[Item]) -> list[str]:
    owners: dict[str | None, dict[str, tuple[int, ...]]] = defaultdict(dict)
    lines: list[str] = []
    for item in items:
        owners[item[0]][item[1]] = side.shapes[item]
    for owner, shapes in owners.items():
        if owner is not None:
            lines.append(f"{owner!r}: {side.layers[owner].kind}, {show_shapes(shapes)}")
    lines += [f"{name!r}: array {shape}" for name, shape in owners[None].items()]
    return lines or ["(nothing)"]


def _example(side: Side, items: list[Item]) -> str:
    if not items:
        return "..."
    owner, role = items[0]
    return role if owner is None else owner
