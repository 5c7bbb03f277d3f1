"""What a compiled function reads beside its arguments, torch modules and objects included.

Tensors are held by the graph and read anew; what is watched here is which tensors they are, and
every number, attribute and container that tracing turned into constants.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from unigrad.surroundings import Surroundings
from unigrad.whole_surroundings import WholeSurroundings

__all__ = ["TorchSurroundings"]

_CONSTANTS = (
    *(torch.dtype, torch.device, torch.Size, torch.memory_format, torch.layout),
    *(torch._ops.OpOverload, torch._ops.OpOverloadPacket),
)


class TorchSurroundings(WholeSurroundings):
    """The surroundings of a function of tensors."""

    libraries: ClassVar[frozenset[str]] = Surroundings.libraries | {
        *("torch", "einops", "jaxtyping", "typing_extensions")
    }

    def __init__(self, f: Any) -> None:
        self._tensors: list[torch.Tensor] = []
        super().__init__(f)
        self._metadata = list(map(_described, self._tensors))

    def unchanged(self) -> bool:
        return super().unchanged() and list(map(_described, self._tensors)) == self._metadata

    def other(self, value: Any) -> None:
        if isinstance(value, _CONSTANTS):
            return
        if isinstance(value, torch.Tensor):
            self._seen.add(id(value))
            self._tensors.append(value)
            if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.__dict__:
                self.container(value.__dict__)
        elif isinstance(value, torch.Generator):
            self.refuse(value)
        else:
            super().other(value)


def _described(x: torch.Tensor) -> Any:
    return x.requires_grad, x.shape, x.dtype, x.device
