"""The layers of torch modules, as ``ug.models.port`` reads them."""

import pytest

import unigrad as ug

torch = pytest.importorskip("torch")
nn = torch.nn


def test_layers_own_every_array_once():
    model = nn.ModuleDict(
        {
            "dense": nn.Linear(2, 2),
            "conv": nn.Conv2d(2, 4, 3, groups=2),
            "up": nn.ConvTranspose1d(2, 4, 3),
            "batch": nn.BatchNorm2d(4),
            "layer": nn.LayerNorm(3),
            "group": nn.GroupNorm(2, 4),
            "rows": nn.Embedding(3, 2),
            "lstm": nn.LSTM(2, 3, 2, bidirectional=True),
            "rnn": nn.RNN(2, 3, bias=False),
            "heads": nn.MultiheadAttention(4, 2),
            "cell": nn.GRUCell(2, 3),
        }
    )
    model["tied"] = nn.Linear(2, 2, bias=False)
    model["tied"].weight = model["dense"].weight
    layers = ug.functional(model)[0].model.layers()
    kinds = [layer.kind for layer in layers]
    assert kinds == [
        *("dense", "conv", "conv_transpose", "batch_norm", "layer_norm", "group_norm"),
        *("embedding", "lstm", "lstm", "lstm", "lstm", "rnn", "attention", "gru"),
    ]
    owned = [name for layer in layers for name in layer.names]
    every = {n for n, _ in (*model.named_parameters(), *model.named_buffers())}
    assert len(owned) == len(set(owned))
    assert every - set(owned) == {"batch.num_batches_tracked"}
