"""Weights from one model to an equivalent one, of another framework or other names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unigrad.backend import Array, Backend
from unigrad.errors import ShapeError, StructureError, UnsupportedError
from unigrad.models.flattening import Flattened, flattenings
from unigrad.models.matching import Match, match
from unigrad.models.sides import Item, Side, read_side
from unigrad.registry import get_backend, owner

__all__ = ["port"]


def port(
    params: Mapping[str, Array],
    from_model: Any,
    to_model: Any,
    *,
    mapping: Mapping[Any, Any] | None = None,
    flatten: Mapping[str, Any] | None = None,
    backend: str | Backend | None = None,
) -> dict[str, Array]:
    """``params`` of one model as those of an equivalent one: a dict by ``to_model``'s names.

    Layers are matched by ``mapping``, and the others by kind, shapes and order of definition;
    their weights are transposed and their gates sorted as the frameworks have them. Arrays of no
    known layer are matched by shape and the last word of their name. Dtypes are kept; nothing is
    written into a model (`assign` does that).

    Not compared: strides, padding, dilation, the order of calls, functions between layers, and a
    flattened image with no convolution before it (say it in ``flatten``).

    Args:
        params: all parameters of ``from_model`` by its names, and any of its state: running
            statistics and frozen weights go along where they are given.
        from_model, to_model: what `functional` takes, or the ``apply`` that it gave. Of a pair
            (apply, params) the arrays are taken to lie as torch's do, dense weights (out, in).
        mapping: names of layers, parameters or ``"layer.role"`` of ``from_model`` to those of
            ``to_model``; ``(name, axes)`` for a pair's transposed array; ``None`` leaves one
            out. Layers that it pairs need not agree in ``epsilon`` or ``heads``, and a missing
            bias is ported as zeros.
        flatten: of layers that see a flattened image, where only one model's images are
            channels-last: ``{"fc": (C, H, W)}``, ``{"fc": {"out": (C, H, W)}}`` for what is
            reshaped to an image, ``{"fc": None}`` if nothing is flattened there.
        backend: where the result lies, by default where ``to_model`` does; with ``"numpy"`` and
            NumPy's ``params``, derivatives go through `port`.

    Raises:
        StructureError, ShapeError: with what is left over on either side, or missing.
        ArgumentError: for a ``mapping`` or ``flatten`` that names what is not there.
        UnsupportedError: for params inside a compilation or another framework's derivative.

    >>> import numpy as np, unigrad as ug
    >>> ours = (lambda p, x: p["w"] @ x, {"w": np.array([[1.0, 2.0, 3.0]])})
    >>> theirs = (lambda p, x: x @ p["kernel"], {"kernel": np.zeros((3, 1))})
    >>> ug.models.port(ours[1], ours, theirs, mapping={("w", (1, 0)): "kernel"})
    {'kernel': array([[1.],
           [2.],
           [3.]])}
    """
    source, target = read_side(from_model, "from_model"), read_side(to_model, "to_model")
    goal = target.backend if backend is None else get_backend(backend)
    given = _given(params, source, goal)
    found = match(source, target, mapping or {})
    turned = flattenings(source, target, found, flatten or {})
    canonical = _read(given, source)
    moved = _moved(canonical, source, target, found, turned)
    ported = _written(moved, target)
    like = target.present if goal is target.backend else {}
    return {name: _placed(x, goal, like.get(name)) for name, x in ported.items()}


def _given(params: Any, source: Side, goal: Backend) -> dict[str, Any]:
    """The given arrays as NumPy's, checked, without counters and seeds."""
    if not isinstance(params, Mapping):
        raise StructureError(
            f"port takes params as a dict by parameter name, got {type(params).__name__}"
        )
    missing = sorted(source.required - params.keys())
    unknown = sorted(map(str, params.keys() - source.present.keys() - source.counters))
    if missing or unknown:
        raise StructureError(
            f"port takes the params of {source.name}: missing {missing}, unknown {unknown}; "
            f"type: apply, params = ug.functional(from_model), and {{**params, **apply.state}} "
            f"for its state too"
        )
    given = {}
    for name in source.present:
        if name not in params:
            continue
        x, home = params[name], owner(type(params[name]))
        if home is not None and not (home.name == goal.name == "numpy"):
            if not home.is_concrete(x):
                raise UnsupportedError(
                    f"port copies values from framework to framework, and {name!r} has none "
                    f"yet: port outside of the compiled or differentiated function; derivatives "
                    f"go through port(..., backend='numpy') of NumPy's params"
                )
            x = home.to_numpy(x)
        elif home is None:
            x = np.asarray(x)
        wanted = source.backend.shape(source.present[name])
        if np.shape(x) != wanted:
            raise ShapeError(
                f"port: params[{name!r}] must have shape {wanted}, as in {source.name}, got "
                f"{np.shape(x)}"
            )
        given[name] = x
    return given


def _read(given: Mapping[str, Any], source: Side) -> dict[Item, Any]:
    """Canonical arrays of what was given."""
    canonical: dict[Item, Any] = {}
    left = set(given)
    for layer in source.layers.values():
        for part in layer.parts:
            have = [name for name in part.names if name in given]
            if have and len(have) < len(part.names):
                raise StructureError(
                    f"port: {have} of {source.name} can only be ported together with "
                    f"{sorted(set(part.names) - set(have))}; add them to params, from apply.state"
                )
            left -= set(have)
        for role, x in layer.to_canonical(given).items():
            canonical[layer.name, role] = x
    canonical.update({(None, name): given[name] for name in given if name in left})
    return canonical


def _moved(
    canonical: Mapping[Item, Any],
    source: Side,
    target: Side,
    found: Match,
    turned: Mapping[Item, list[Flattened]],
) -> dict[Item, Any]:
    """Canonical arrays by ``to_model``'s items."""
    moved: dict[Item, Any] = {}
    some = next(iter(canonical.values()), np.zeros(0))
    for item, origin in found.items.items():
        if origin.item is None:
            moved[item] = np.zeros(target.shapes[item], some.dtype)
            continue
        if origin.item not in canonical:
            continue
        x = canonical[origin.item]
        if origin.read is not None:
            x = np.transpose(x, origin.read)
        for flattened in turned.get(item, ()):
            x = flattened.turned(x)
        moved[item] = x if origin.write is None else np.transpose(x, origin.write)
    return moved


def _written(moved: Mapping[Item, Any], target: Side) -> dict[str, Any]:
    """The arrays by ``to_model``'s names, all of its parameters."""
    ported: dict[str, Any] = {}
    for layer in target.layers.values():
        roles = {item[1]: x for item, x in moved.items() if item[0] == layer.name}
        ported.update(layer.from_canonical(roles))
    ported.update({item[1]: x for item, x in moved.items() if item[0] is None})
    missing = sorted(target.required - ported.keys())
    if missing:
        raise StructureError(
            f"port: nothing was given for {missing} of {target.name}; what they match is state "
            f"of from_model: type: port({{**params, **apply.state}}, ...)"
        )
    for name, x in ported.items():
        wanted = target.backend.shape(target.present[name])
        if x.shape != wanted:
            raise ShapeError(
                f"port: {name!r} of {target.name} has shape {wanted}, what was matched to it "
                f"comes out as {x.shape}; the layers are not equivalent"
            )
    return {name: ported[name] for name in target.present if name in ported}


def _placed(x: Any, goal: Backend, like: Array | None) -> Array:
    home = owner(type(x))
    if home is not None and not home.is_concrete(x):
        return x  # of a derivative of port itself
    kind = x.dtype.name
    scope = goal.scope([x])
    if scope is None:
        return goal.asarray(x, dtype=kind, like=like)
    with scope:
        return goal.asarray(x, dtype=kind, like=like)
