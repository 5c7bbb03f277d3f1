"""The layers whose weights the frameworks lay out differently, and one canonical layout for each.

An adapter lists a model's layers with the functions below; ``ug.models.port`` goes from one
framework's arrays to the canonical ones, which are torch's, and on to the other's. All of it is
plain NumPy that looks at shapes only, so that unigrad's engine differentiates it.
"""

from unigrad.layouts.convolution import conv, conv_transpose
from unigrad.layouts.feedforward import attention, dense, embedding, norm, plain
from unigrad.layouts.layer import Layer, Part
from unigrad.layouts.order import unsorted
from unigrad.layouts.recurrent import (
    Direction,
    activation_of,
    gru,
    gru_per_gate,
    lstm,
    lstm_per_gate,
    rnn,
)

__all__ = [
    "Direction",
    "Layer",
    "Part",
    "activation_of",
    "attention",
    "conv",
    "conv_transpose",
    "dense",
    "embedding",
    "gru",
    "gru_per_gate",
    "lstm",
    "lstm_per_gate",
    "norm",
    "plain",
    "rnn",
    "unsorted",
]
