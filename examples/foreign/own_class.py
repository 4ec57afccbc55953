"""A super-network class of one's own, on handwritten digits: netwright asks it for ``space`` and ``extract`` alone.

netwright fit examples/foreign/own_class.yaml
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

import netwright as nw
from netwright.recipes.digits import data

WIDTHS = (4, 8, 16, 32, 64)


class Slimmable(nn.Module):
    """A perceptron that also runs with the first neurons of its two hidden layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.space = nw.Space([nw.Choice("first", WIDTHS), nw.Choice("second", WIDTHS)])

    def forward(self, x: Tensor, first: int, second: int) -> Tensor:
        x = linear(x.flatten(1), *part(self.first, 64, first)).relu()
        x = linear(x, *part(self.second, first, second)).relu()
        return linear(x, *part(self.last, second, 10))

    def extract(self, candidate: nw.Candidate) -> nn.Module:
        """The neurons that stay, as plain layers."""
        chosen: dict[str, Any] = dict(candidate)
        sizes = (64, chosen["first"], chosen["second"], 10)
        layers: list[nn.Module] = [nn.Flatten()]
        for layer, inputs, outputs in zip((self.first, self.second, self.last), sizes, sizes[1:], strict=False):
            own = nn.Linear(inputs, outputs)
            own.weight.data, own.bias.data = part(layer, inputs, outputs)
            layers += [own, nn.ReLU()]
        return nn.Sequential(*layers[:-1])


def part(layer: nn.Linear, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """The weight and the bias of the first neurons."""
    return layer.weight[:outputs, :inputs], layer.bias[:outputs]


def supernet() -> Slimmable:
    """Trained in a loop of one's own: the largest, the smallest and a random network learn in every step."""
    net = Slimmable()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(8):
        for inputs, labels in nw.TensorLoader(data().train, 64, shuffle=True):
            first, second = (WIDTHS[i] for i in torch.randint(len(WIDTHS), (2,)).tolist())
            optimizer.zero_grad()
            for sizes in ((64, 64), (4, 4), (first, second)):
                cross_entropy(net(inputs, *sizes), labels).backward()
            optimizer.step()
    return net
