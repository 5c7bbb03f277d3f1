"""Images that a model flattens before a dense layer: its inputs change places with the layout.

No adapter sees a flatten. Where one model's images are channels-last and the other's are not,
a layer whose features could be a flattened image is refused until the user says what it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from unigrad.errors import ArgumentError, ShapeError, StructureError, UnsupportedError
from unigrad.layouts import Layer
from unigrad.models.matching import Match
from unigrad.models.sides import Item, Side

__all__ = ["Flattened", "flattenings"]

Shape: TypeAlias = "tuple[int, ...]"

_IMAGE = ("conv", "conv_transpose")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
_RECURRENT = ("lstm", "gru", "rnn")


@dataclass(frozen=True)
class Flattened:
    """A flattened image along one axis of a canonical array.

    Attributes:
        axis: of the array.
        image: (channels, *window).
        to_last: channels come first and are to come last; otherwise back.
    """

    axis: int
    image: Shape
    to_last: bool

    def turned(self, x: Any) -> Any:
        """The array with the features in the other order."""
        before, after = x.shape[: self.axis], x.shape[self.axis + 1 :]
        channels, window = self.image[0], self.image[1:]
        at = len(before)
        if self.to_last:
            apart = np.moveaxis(
                x.reshape((*before, channels, *window, *after)), at, at + len(window)
            )
        else:
            apart = np.moveaxis(
                x.reshape((*before, *window, channels, *after)), at + len(window), at
            )
        return apart.reshape((*before, -1, *after))


@dataclass(frozen=True)
class _Station:
    """One layer on the way through the model, by what goes in and what comes out.

    Attributes:
        name: in ``from_model``, or in ``to_model`` where that alone has layers.
        other: its name in ``to_model``.
        shapes: of its canonical arrays.
        before, after: how many features or channels go in and come out, where that is known.
        to_last: of images that are channels-last in one model only: whether in ``to_model``.
    """

    name: str
    other: str | None
    kind: str
    shapes: Mapping[str, Shape]
    before: int | None
    after: int | None
    to_last: bool | None


def flattenings(
    source: Side, target: Side, found: Match, flatten: Mapping[str, Any]
) -> dict[Item, list[Flattened]]:
    """For canonical arrays of ``to_model``, how their features are to be turned.

    Raises:
        StructureError: for a layer that may see a flattened image, of which nothing was said.
        ArgumentError, ShapeError: for a ``flatten`` that does not fit.
    """
    route = _route(source, target, found)
    known = {s.name for s in route} | {s.other for s in route if s.other is not None}
    for name in flatten:
        if name not in known:
            raise ArgumentError(
                f"port: flatten names {name!r}, which is no layer of both models; they have "
                f"{[s.name for s in route]}"
            )
    turned: dict[Item, list[Flattened]] = {}
    for i, station in enumerate(route):
        asked = _asked(flatten, station)
        for end, suspect in _suspects(route, i).items():
            image = asked.get(end, ...)
            if image is ... and suspect is not None:
                raise StructureError(_unsaid(station, suspect, end))
            if image is not ... and image is not None:
                to_last = _direction(route, station, suspect, _towards(source, target))
                _turn(turned, found, station, end, image, to_last)
    return turned


def _asked(flatten: Mapping[str, Any], station: _Station) -> Mapping[str, Any]:
    """What the user said of a layer, by end."""
    entry = flatten.get(station.name, flatten.get(station.other or "", ...))
    if entry is ...:
        return {}
    if entry is None:
        return {"in": None, "out": None}
    asked = entry if isinstance(entry, Mapping) else {"in": entry}
    images = [image for image in asked.values() if image is not None]
    if not asked.keys() <= {"in", "out"} or not all(
        isinstance(image, tuple) and len(image) > 1 and all(isinstance(n, int) for n in image)
        for image in images
    ):
        raise ArgumentError(
            f"port: flatten[{station.name!r}] takes (C, H, W), None where nothing is flattened, "
            f"or {{'in': ..., 'out': ...}} of these, got {entry!r}"
        )
    if station.kind in _IMAGE:
        raise ArgumentError(
            f"port: flatten names {station.name!r}, a {station.kind}: images that go into it "
            f"are not flattened; name the dense layer"
        )
    return asked


# ------------------------------------------------------------------ the way through the model


def _route(source: Side, target: Side, found: Match) -> list[_Station]:
    others = dict(found.layers)
    for goal, origin in found.items.items():
        if goal[0] is not None and origin.item is not None and origin.item[0] is not None:
            others[origin.item[0]] = goal[0]
    if source.layers:
        return [
            _station(
                layer,
                source.roles(name),
                others.get(name),
                (layer.channels_last, _flag(target, others.get(name))),
            )
            for name, layer in source.layers.items()
        ]
    return [
        _station(layer, target.roles(name), name, (_flag(source, None), layer.channels_last))
        for name, layer in target.layers.items()
    ]


def _flag(side: Side, layer: str | None) -> bool | None:
    """Whether a layer's images are channels-last; a pair's are channels-first, as torch's."""
    if layer is not None:
        return side.layers[layer].channels_last
    return any(x.channels_last for x in side.layers.values() if x.kind in (*_IMAGE, *_NORMS))


def _station(
    layer: Layer,
    shapes: Mapping[str, Shape],
    other: str | None,
    last: tuple[bool | None, bool | None],
) -> _Station:
    before, after = _features(layer, shapes)
    known = layer.kind in _IMAGE or (layer.kind in _NORMS and None not in last)
    to_last = bool(last[1]) if known and bool(last[0]) != bool(last[1]) else None
    return _Station(layer.name, other, layer.kind, shapes, before, after, to_last)


def _features(layer: Layer, shapes: Mapping[str, Shape]) -> tuple[int | None, int | None]:
    groups = layer.facts.get("groups", 1)
    weight = shapes.get("weight", ())
    if layer.kind == "dense" and weight:
        return weight[1], weight[0]
    if layer.kind == "conv" and weight:
        return weight[1] * groups, weight[0]
    if layer.kind == "conv_transpose" and weight:
        return weight[0], weight[1] * groups
    if layer.kind == "embedding" and weight:
        return None, weight[1]
    if layer.kind in _RECURRENT:
        return shapes["weight_ih"][1], shapes["weight_hh"][1]
    if layer.kind == "attention" and "query_weight" in shapes:
        return shapes["query_weight"][1], shapes["out_weight"][0]
    if layer.kind in _NORMS:
        size = next(iter(shapes.values()))
        return (size[0], size[0]) if len(size) == 1 else (None, None)
    return None, None


def _suspects(route: list[_Station], i: int) -> dict[str, _Station | None]:
    """For each end of a layer, the layer of images that it may be the flattened side of."""
    station = route[i]
    if station.kind in _IMAGE:
        return {}
    before = _nearest(station.before, [(s, s.after) for s in reversed(route[:i])])
    after = _nearest(station.after, [(s, s.before) for s in route[i + 1 :]])
    if station.kind in _NORMS:
        return {"in": before or after}
    return {"in": before, "out": after}


def _nearest(features: int | None, way: list[tuple[_Station, int | None]]) -> _Station | None:
    """The nearest layer with images of fewer channels that may make up these features.

    A norm of as many features says nothing of where they come from; another layer does.
    """
    if features is None:
        return None
    for station, channels in way:
        if channels is None:
            continue
        if channels == features and station.kind not in _NORMS:
            return None
        if station.to_last is not None and channels < features and features % channels == 0:
            return station
    return None


def _unsaid(station: _Station, suspect: _Station, end: str) -> str:
    features = station.before if end == "in" else station.after
    channels = suspect.after if end == "in" else suspect.before
    image = f"({channels}, H, W)"
    asked = image if end == "in" else f"{{'out': {image}}}"
    way = "comes after" if end == "in" or station.kind in _NORMS else "comes before"
    return (
        f"port: {station.name!r} has {features} features and {way} {suspect.name!r}, whose "
        f"images are channels-first in one model and channels-last in the other: if an image of "
        f"{channels} channels is flattened there, the features change places; type "
        f"flatten={{{station.name!r}: {asked}}}, or flatten={{{station.name!r}: None}} if "
        f"nothing is flattened"
    )


# ------------------------------------------------------------------ turning


def _towards(source: Side, target: Side) -> bool | None:
    """Whether the one framework's images are channels-first and the other's are not."""
    last = [any(x.channels_last for x in side.layers.values()) for side in (source, target)]
    return last[1] if last[0] != last[1] else None


def _direction(
    route: list[_Station], station: _Station, suspect: _Station | None, otherwise: bool | None
) -> bool:
    """Where no layer says what becomes of the images, it is as the frameworks have them."""
    directions = {s.to_last for s in ([suspect] if suspect else route) if s.to_last is not None}
    if not any(s.kind in _IMAGE for s in route) and otherwise is not None:
        directions = directions or {otherwise}
    if len(directions) != 1:
        raise ArgumentError(
            f"port: flatten names {station.name!r}, but the images of both models have their "
            f"channels in the same place, so that no feature changes its own; leave it out"
        )
    return directions.pop()


def _turn(
    turned: dict[Item, list[Flattened]],
    found: Match,
    station: _Station,
    end: str,
    image: Shape,
    to_last: bool,
) -> None:
    features = station.before if end == "in" else station.after
    if features != math.prod(image):
        raise ShapeError(
            f"port: flatten[{station.name!r}] = {image} makes {math.prod(image)} features, the "
            f"layer has {features}"
        )
    axes = _axes(station, end)
    for goal, origin in found.items.items():
        mine = origin.item is not None and origin.item[0] == station.name
        if mine or (goal[0] is not None and goal[0] == station.other):
            role = origin.item[1] if mine and origin.item is not None else goal[1]
            if role in axes:
                turned.setdefault(goal, []).append(Flattened(axes[role], image, to_last))


def _axes(station: _Station, end: str) -> dict[str, int]:
    """By role, the axis along which the features lie."""
    if station.kind == "dense":
        return {"weight": 1} if end == "in" else {"weight": 0, "bias": 0}
    if station.kind in _NORMS:
        return dict.fromkeys(station.shapes, 0)
    if station.kind in _RECURRENT and end == "in":
        return {"weight_ih": 1}
    raise UnsupportedError(
        f"port: a flattened image {'into' if end == 'in' else 'out of'} {station.name!r}, a "
        f"{station.kind}, is not ported; give its weights by mapping to a pair (apply, params)"
    )
