"""MXNet's operators that make arrays of nothing: they are nodes of a hybridized block's graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unigrad_mxnet.operators.table import Attributes, operator

__all__: list[str] = []


def _dtype(attrs: Attributes) -> str:
    found = attrs.text("dtype")
    return "float32" if found in (None, "-1") else str(found)


def _filled(name: str, value: float | None) -> None:
    @operator(name)
    def _made(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
        number = value
        if number is None:
            number = attrs.real("value", attrs.real("fill_value", 0.0))
        return [np.full(attrs.shape("shape", ()), number, dtype=_dtype(attrs))]


for _name, _value in {
    "_zeros": 0.0,
    "_zeros_without_dtype": 0.0,
    "_npi_zeros": 0.0,
    "_ones": 1.0,
    "_npi_ones": 1.0,
    "_full": None,
    "_npi_full": None,
}.items():
    _filled(_name, _value)


@operator("_arange", "_npi_arange")
def _arange(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    start, stop, step = attrs.real("start", 0.0), attrs.real("stop"), attrs.real("step", 1.0)
    if stop is None:
        start, stop = 0.0, start
    count = max(math.ceil((stop - start) / step), 0)
    values = (start + step * np.arange(count)).astype(_dtype(attrs))
    return [np.repeat(values, attrs.integer("repeat", 1))]


def _spaced(attrs: Attributes) -> Any:
    start, stop, num = attrs.real("start", 0.0), attrs.real("stop"), attrs.integer("num", 50)
    return np.linspace(start, stop, num, endpoint=attrs.flag("endpoint", True))


@operator("_linspace", "_npi_linspace")
def _linspace(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [_spaced(attrs).astype(_dtype(attrs))]


@operator("_npi_logspace")
def _logspace(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.power(attrs.real("base", 10.0), _spaced(attrs)).astype(_dtype(attrs))]


@operator("_eye", "_npi_eye")
def _eye(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    rows = attrs.integer("N")
    columns = attrs.integer("M", 0) or rows
    return [np.eye(rows, columns, attrs.integer("k", 0), dtype=_dtype(attrs))]


@operator("_npi_identity")
def _identity(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.eye(attrs.shape("shape")[0], dtype=_dtype(attrs))]


@operator("_npi_indices")
def _indices(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    return [np.indices(attrs.shape("dimensions")).astype(attrs.text("dtype", "int32"))]


for _name, _window in {
    "_npi_hanning": np.hanning,
    "_npi_hamming": np.hamming,
    "_npi_blackman": np.blackman,
}.items():

    @operator(_name)
    def _made_window(
        xs: list[Any], attrs: Attributes, training: bool, window: Any = _window
    ) -> list[Any]:
        return [window(attrs.integer("M")).astype(_dtype(attrs))]


@operator("_contrib_index_array")
def _index_array(xs: list[Any], attrs: Attributes, training: bool) -> list[Any]:
    shape = xs[0].shape
    axes = attrs.shape("axes") or tuple(range(len(shape)))
    return [np.stack([np.indices(shape)[k] for k in axes], axis=-1).astype(np.int64)]
