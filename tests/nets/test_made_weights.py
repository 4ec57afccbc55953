"""Weights that something else makes: masks of pruning, norms, parametrisations, tensors of a class of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import netwright as nw

pytestmark = pytest.mark.filterwarnings("ignore:.*(weight_norm|spectral_norm).*:FutureWarning")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv1d(4, 32, 3, padding=1), nn.BatchNorm1d(32), nn.Linear(32, 32)
        self.c = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x))).mean(-1)
        return self.c(torch.relu(self.b(x)))


class Depthwise(nn.Module):
    """A filter for each channel, pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 32, 1), nn.Conv1d(32, 32, 3, groups=32)
        self.c = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(self.a(x))).mean(-1))


class Gain(nn.Module):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(rows) + 0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.gain.view(-1, *[1] * (weight.dim() - 1))


class Standardised(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        return ((rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)).view_as(weight)


class Rounded(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        step = weight.abs().amax() / 7
        return weight + ((weight / step).round() * step - weight).detach()


class Own(Tensor):
    """A tensor of a class that its results keep."""

    def new_empty(self, *size: Any, **options: Any) -> Own:  # without which PyTorch does not copy it
        return super().new_empty(*size, **options).as_subclass(Own)


def own(layer: nn.Module) -> None:
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Own))


def by(module: Callable[[int], nn.Module]) -> Callable[[nn.Module], object]:
    return lambda layer: parametrize.register_parametrization(layer, "weight", module(len(layer.weight)))


def several(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", 0.4)
    prune.random_unstructured(layer, "bias", 0.3)
    prune.ln_structured(layer, "weight", 0.2, n=2, dim=0)


WAYS: dict[str, Callable[[nn.Module], object]] = {
    "mask": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "several masks": several,
    "spectral_norm, old": spectral_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "weight_norm, old": weight_norm,
    "weight_norm": parametrizations.weight_norm,
    "gain": by(Gain),
    "standardised": by(lambda _: Standardised()),
    "rounded": by(lambda _: Rounded()),
    "own class": own,
}


@pytest.mark.parametrize("make", [Net, Depthwise])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_made_is_cut_where_it_is_made(way: str, make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module, x = make().eval(), torch.randn(2, 4, 12)
    for layer in (module.a, module.b):
        WAYS[way](layer)
    net = nw.wrap(module, x)
    assert len(net.axes) == (2 if make is Net else 1)
    small = net.extract(net.smallest)
    assert small.a.weight.shape[0] == small.b.weight.shape[1 if make is Net else 0] == 8  # also before it has run
    assert small.a.out_channels == 8
    assert (small.b.in_features if make is Net else small.b.groups) == 8
    nw.testing.check_supernet(net, candidates=1)
    after_steps(net, x)
    assert module.a.weight.shape[0] == 32


def after_steps(net: nw.SuperNet, x: Tensor) -> None:
    """Training on slices is training the extracted network, and leaves what is extracted then."""
    alone = net.extract(net.smallest).train()
    net.module.train()
    optimizers = [torch.optim.SGD(m.parameters(), 0.05) for m in (net.module, alone)]
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        with net.active(net.smallest) as active:
            active(x).square().mean().backward()
        alone(x).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
    net.module.eval()
    with torch.no_grad(), net.active(net.smallest) as active:
        given = active(x)
        assert torch.allclose(given, alone.eval()(x), atol=1e-5)
    assert torch.allclose(given, net.extract(net.smallest).eval()(x), atol=1e-6)


def test_masks_can_be_made_final() -> None:
    module, x = Net().eval(), torch.randn(2, 4, 12)
    several(module.a)
    net = nw.wrap(module, x)
    small = net.extract(net.smallest).eval()
    before = small(x)
    prune.remove(small.a, "weight")
    prune.remove(small.a, "bias")
    assert torch.equal(small(x), before)


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).mT


def test_what_cannot_be_cut_is_rigid() -> None:
    module = Net().eval()
    parametrize.register_parametrization(module.b, "weight", Symmetric())
    net = nw.wrap(module, torch.randn(2, 4, 12))
    assert not net.axes
    assert net.report.rigid["b.parametrizations.weight"]


class Detached(nn.Module):
    """Reads its weight past the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(x @ self.first.weight.data.mT))


def test_a_tensor_is_known_as_another_object() -> None:
    net = nw.wrap(Detached().eval(), torch.randn(2, 4))
    assert net.report.elastic == {"first.width": (8, 16, 24, 32)}
    nw.testing.check_supernet(net, candidates=1)
