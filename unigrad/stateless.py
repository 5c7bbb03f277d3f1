"""A framework's model, read as data: what an adapter owes ``ug.functional``.

A `StatelessModel` is a model taken apart into its parameters, which are differentiated, and its
state, which is everything else that its output depends on: frozen weights, running statistics,
seed generators. Calling it is a function of both and writes nothing (S16).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from unigrad.layouts import Layer

__all__ = ["Array", "ModelOptions", "Mode", "StatelessModel"]

Array: TypeAlias = Any

Mode: TypeAlias = Literal["train", "eval"]


@dataclass(frozen=True)
class ModelOptions:
    """How a model is to be read.

    Attributes:
        trainable_only: frozen weights are state; otherwise they are parameters too.
        mode: ``"eval"`` or ``"train"``; ``None``: as the framework itself would run it now.
        example: an input (a tuple: several) on which a model without weights may be called once,
            to make them; ``None``: it is refused.
        returns_state: the state after a call is asked for; otherwise `StatelessModel.call` may
            give anything in its place.
    """

    trainable_only: bool = True
    mode: Mode | None = "eval"
    example: Any = field(default=None, compare=False)
    returns_state: bool = False


class StatelessModel(ABC):
    """One model of one framework, by the framework's own parameter names.

    Attributes:
        name: the model, for messages.
    """

    name: str

    @abstractmethod
    def params(self) -> dict[str, Array]:
        """The present parameters: arrays that share memory with the model."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The present value of everything else that the output depends on."""

    @abstractmethod
    def call(
        self,
        params: Mapping[str, Array],
        state: Mapping[str, Array] | None,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        seed: int | None,
    ) -> tuple[Any, dict[str, Array]]:
        """The output, and the state after the call; the model and the arguments stay as they are.

        Args:
            params: by the names of `params`, which are checked.
            state: by the names of `state`; ``None``: the present one.
            inputs: what the model is called with.
            options: its keyword arguments.
            seed: of this call's random draws; ``None``: the framework's own stream.
        """

    @abstractmethod
    def assign(self, values: Mapping[str, Array]) -> None:
        """Write these parameters and states, whose names and shapes are checked, in place."""

    def layers(self) -> list[Layer]:
        """The model's layers in the order of its definition, for ``ug.models.port``.

        Each parameter and state belongs to one layer at most; what belongs to none is ported
        by its name or by the user's mapping alone.
        """
        return []
