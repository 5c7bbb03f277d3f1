"""The architectures in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from conformance_tests.models.reference import (
    CLASSES,
    ENTRIES,
    EPSILON,
    FEATURES,
    HEADS,
    MOMENTUM,
    UNITS,
    WIDTH,
)

__all__ = ["array", "build", "snapshot"]


class _Recurrent(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.recurrent = layer(FEATURES, UNITS, batch_first=True)
        self.last = nn.Linear(UNITS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.recurrent(x)[0][:, -1])


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(ENTRIES, WIDTH)
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        # Trap: with need_weights=False torch takes a kernel that has no second derivative.
        mixed, _ = self.attend(x, x, x)
        return self.last(self.norm(x + mixed).mean(1))


def _batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)


def _module(architecture: str) -> nn.Module:
    match architecture:
        case "mlp":
            layers = [nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Sigmoid()]
            return nn.Sequential(*layers, nn.Linear(4, CLASSES))
        case "cnn_flat":
            layers = [nn.Conv2d(2, 4, 3), _batch_norm(4), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()]
            return nn.Sequential(*layers, nn.Linear(24, CLASSES))
        case "cnn_global":
            layers = [nn.Conv2d(2, 3, 3, padding=1), _batch_norm(3), nn.Sigmoid(), nn.AvgPool2d(2)]
            layers += [nn.Conv2d(3, 5, (2, 3)), _batch_norm(5), nn.Tanh()]
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            return nn.Sequential(*layers, nn.Linear(5, CLASSES))
        case "lstm":
            return _Recurrent(nn.LSTM)
        case "gru":
            return _Recurrent(nn.GRU)
        case "attention":
            return _Attention()
    raise KeyError(architecture)


def build(architecture: str, dtype: str) -> Any:
    """The module, in eval mode where the tests ask for training and the other way round."""
    torch.set_num_threads(1)
    return _module(architecture).to(getattr(torch, dtype))


def array(x: np.ndarray[Any, Any]) -> Any:
    """A tensor of these values."""
    return torch.from_numpy(x.copy())


def snapshot(model: Any) -> dict[str, Any]:
    """Everything that no call may change."""
    return {
        "values": {k: v.numpy().tobytes() for k, v in model.state_dict().items()},
        "identity": {k: id(p) for k, p in (*model.named_parameters(), *model.named_buffers())},
        "grad": {k: p.grad for k, p in model.named_parameters()},
        "requires_grad": {k: p.requires_grad for k, p in model.named_parameters()},
        "training": [m.training for m in model.modules()],
        "hooks": [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()],
        "random": torch.random.get_rng_state().numpy().tobytes(),
    }
