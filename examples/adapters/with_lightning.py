"""A super-network of a small network, trained by a Lightning Trainer with the sandwich rule.

python examples/adapters/with_lightning.py [epochs]      needs: pip install 'netwright[lightning]'
"""

from __future__ import annotations

import sys

import torch
from lightning.pytorch import Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw
from netwright.adapters.lightning import SuperNetModule

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
seed_everything(0, verbose=False)


class Digits(SuperNetModule):
    """What is ours of the training: the optimizer."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


digits = load_digits()
images = torch.tensor(digits.images.reshape(-1, 64) / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
loader = DataLoader(TensorDataset(images[:1400], labels[:1400]), batch_size=64, shuffle=True)

net = nw.wrap(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), images[:2])
trainer = Trainer(
    max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
)  # fmt: skip
trainer.fit(Digits(net, nw.tasks.Classification(), rule="sandwich,random=1"), loader)

judged = nw.Accuracy([(images[1400:], labels[1400:])])
for name in ("largest", "smallest"):
    print(f"{name}: {judged.of(net.extract(getattr(net, name))).value:.0f} % right")
