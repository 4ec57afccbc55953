"""Your own training loop around a super-network; then a study, and files of the network that it finds.

python examples/own_loop.py [directory]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own_loop")
torch.manual_seed(0)

# Any network, and the ways in which it may be cut.
model = nn.Sequential(
    nn.Conv2d(1, 16, 5, padding=2, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.AvgPool2d(2),
    nn.Flatten(),
    nn.Linear(32 * 4, 10),
)
net = nw.SuperNet(
    model,
    [
        nw.Kernel("kernel", "0", (3, 5)),
        nw.Width.tie(model, "first", (4, 8, 16), out_of=["0"], through=["1"], into=["4"]),
        nw.Width.tie(model, "second", (8, 16, 32), out_of=["4"], through=["5"], into=["9"]),
    ],
    example_inputs=torch.zeros(1, 1, 8, 8),
)
print(net.report)

digits = load_digits()
images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
training = DataLoader(TensorDataset(images[:1400], labels[:1400]), batch_size=100, shuffle=True)
validation = DataLoader(TensorDataset(images[1400:], labels[1400:]), batch_size=200)

# Your own loop: every step trains the largest network and a random one, on slices of the same weights.
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
rng = np.random.default_rng(0)
for _ in range(3):
    for inputs, targets in training:
        optimizer.zero_grad()
        for candidate in (net.largest, net.space.sample(rng)):
            with net.active(candidate) as network:
                F.cross_entropy(network(inputs), targets).backward()
        optimizer.step()

study = nw.Study(
    out / "my.db",
    net,
    objectives=[nw.Accuracy(validation), nw.Latency(nw.targets.OnnxRuntime(threads=1))],
    limits=["latency <= 5 ms"],
    calibration=list(training),
)
study.run(nw.Guided(), evaluations=12)
best = study.front().pick("accuracy")
print({name: round(value, 4) for name, value in best.values.items()})

bundle = nw.export(nw.recalibrate(net.extract(best.candidate), training), out / "best", formats=["onnx", "safetensors"])
print(bundle.path)
