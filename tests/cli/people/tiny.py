"""What a person might bring: a small network and data. ``TINY_PAUSE`` (seconds) slows each training step down."""

import os
import time

import torch
from torch import nn

import netwright as nw

CLASSES = 4
GENTLE = "sgd,lr=0.05,momentum=0.9,nesterov=true,weight_decay=0.0001"


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(16, 24)
        self.down = nn.Linear(24, 16)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16)
        self.blocks = nn.Sequential(*(Block() for _ in range(3)))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.head(self.blocks(self.norm(self.stem(x)).relu()))


def supernet(net=None):
    net = net or Net()
    blocks = [f"blocks.{i}" for i in range(3)]
    width = nw.Width.tie(
        net,
        "width",
        range(1, 17),
        out_of=["stem", *(f"{b}.down" for b in blocks)],
        through=["norm"],
        into=[*(f"{b}.up" for b in blocks), "head"],
    )
    hidden = [nw.Width.tie(net, f"{b}.hidden", (4, 8, 16, 24), out_of=[f"{b}.up"], into=[f"{b}.down"]) for b in blocks]
    return nw.SuperNet(net, [nw.Depth("depth", tuple(blocks), (0, 1, 2, 3)), width, *hidden], torch.zeros(1, 6))


def part(n, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    centres = torch.randn(CLASSES, 6, generator=torch.Generator().manual_seed(0))
    return nw.Split(2 * centres[labels] + torch.randn(n, 6, generator=generator), labels)


def pause(inputs):
    time.sleep(float(os.environ.get("TINY_PAUSE", 0)))
    return inputs


def data():
    return nw.Data(part(192, 1), part(96, 2), part(64, 3), pause)


def trained():
    """A model that comes with good weights."""
    torch.manual_seed(1)
    net = supernet()
    nw.train(net, nw.TensorLoader(part(192, 1), 16, shuffle=True), epochs=12, optimizer=GENTLE)
    return net


def constant():
    """A model that always answers the same."""
    net = Net()
    nn.init.zeros_(net.head.weight)
    net.head.bias.data = torch.eye(CLASSES)[2]
    return supernet(net)
