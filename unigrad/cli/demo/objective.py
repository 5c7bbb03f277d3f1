"""The demo's loss on one backend, as a function of one flat NumPy vector.

The solvers compute on these vectors, so that the backends differ in the derivatives only.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import unigrad as ug
from unigrad import trees
from unigrad.cli.demo.loss import loss

__all__ = ["Model", "Objective", "Vector"]

Vector = np.ndarray[Any, Any]


class Model:
    """Layers ``tanh(x W + b)`` of these sizes, the last without ``tanh``; weights from a seed."""

    def __init__(self, name: str, sizes: tuple[int, ...], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.name = name
        self.sizes = sizes
        params = [
            (rng.normal(scale=n**-0.5, size=(n, m)), np.zeros(m))
            for n, m in itertools.pairwise(sizes)
        ]
        leaves, self._treedef = trees.flatten(params)
        self._shapes = [leaf.shape for leaf in leaves]
        self.start = _joined(leaves)

    def unpack(self, p: Vector) -> Any:
        """The parameters, a list of pairs (weights, biases), that the flat ``p`` stands for."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1]
        parts = zip(np.split(p, ends), self._shapes, strict=True)
        return trees.unflatten(self._treedef, [part.reshape(shape) for part, shape in parts])

    def pack(self, tree: Any) -> Vector:
        """The flat vector of parameters, a gradient or a product of any backend."""
        return _joined(trees.flatten(ug.to_numpy(tree))[0])

    def predict(self, p: Vector, images: Vector) -> Vector:
        """The most likely class of each image."""
        *hidden, (w, b) = self.unpack(p)
        for u, c in hidden:
            images = np.tanh(images @ u + c)
        answer: Vector = np.argmax(images @ w + b, axis=1)
        return answer


class Objective:
    """The loss of a model on one backend, and its exact derivatives by unigrad."""

    def __init__(self, backend: str, model: Model, images: Vector, labels: Vector) -> None:
        self.backend = backend
        self.model = model
        self.second_order = ug.get_backend(backend).capabilities.second_order
        x, y = ug.asarray((images, labels), backend=backend)
        self._loss = lambda params: loss(params, x, y)
        self._value_and_grad = ug.value_and_grad(self._loss)

    def value_and_grad(self, p: Vector) -> tuple[float, Vector]:
        """Loss and gradient."""
        value, gradient = self._value_and_grad(self._params(p))
        return float(ug.to_numpy(value)), self.model.pack(gradient)

    def hvp(self, p: Vector, v: Vector) -> Vector:
        """The Hessian at ``p`` times ``v``."""
        return self.model.pack(ug.hvp(self._loss, self._params(p), self._params(v)))

    def _params(self, p: Vector) -> Any:
        return ug.asarray(self.model.unpack(p), backend=self.backend)


def _joined(leaves: list[Any]) -> Vector:
    return np.concatenate([np.ravel(leaf) for leaf in leaves])
