"""Fine-tuning with normalisation that is folded into convolutions on the fly."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from small_nets import blobs, same, small, state
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import CallError, TrainingError
from netwright.nets.families.cifar_resnet import CifarResNet
from netwright.training.tuning import _pairs, tuning

IMAGES = torch.zeros(1, 1, 4, 4)


def batches() -> nw.TensorLoader:
    return nw.TensorLoader(blobs(), 16)


def network() -> nn.Module:
    net = small()
    nw.train(net, batches(), epochs=2, optimizer="sgd,lr=0.1")
    return nw.recalibrate(net.extract(net.largest), batches())


def kept(build: Callable[[], Tensor]) -> int:
    """The bytes that a backward needs."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        build()
    return sum(held.values())


def test_outputs_and_gradients_are_those_of_evaluation_mode_with_less_kept() -> None:
    torch.manual_seed(0)
    one = CifarResNet(1)
    for norm in filter(lambda module: isinstance(module, nn.BatchNorm2d), one.modules()):
        nn.init.uniform_(norm.weight)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    one.eval()
    x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    other = deepcopy(one)
    plain = F.cross_entropy(one(x), y)
    plain.backward()
    with tuning(other, x):
        folded = F.cross_entropy(other(x), y)
        folded.backward()
        less = kept(lambda: other(x))
        copied = deepcopy(other)
    assert torch.allclose(plain, folded, atol=1e-5)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-4 * float(a.grad.abs().max()) + 1e-7)
    assert less < 0.7 * kept(lambda: one(x))
    with torch.no_grad():
        assert torch.equal(other.eval()(x), one(x))
        next(other.parameters()).zero_()
        assert torch.allclose(copied.eval()(x), one(x), atol=1e-4), "a copy computes with weights of its own"


def test_statistics_stay_and_everything_else_moves() -> None:
    tuned = network()
    before, layers = state(tuned), [m.forward.__func__ for m in tuned.modules()]
    nw.finetune(tuned, batches(), epochs=1, optimizer="sgd,lr=0.1", normalisation="tune")
    after = state(tuned)
    for name in before:
        still = torch.equal(before[name], after[name])
        assert still == ("running" in name or "num_batches" in name), name
    assert not any(m.training for m in tuned.modules())
    assert [m.forward.__func__ for m in tuned.modules()] == layers


def test_it_is_the_training_of_frozen_statistics() -> None:
    one, other = network(), network()
    nw.finetune(one, batches(), epochs=2, optimizer="sgd,lr=0.1", normalisation="tune")
    other.train()
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    nw.finetune(other, batches(), epochs=2, optimizer="sgd,lr=0.1")
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)
    plain = network()
    nw.finetune(plain, batches(), epochs=2, optimizer="sgd,lr=0.1")
    assert not same(state(plain), state(one))


class Read(nn.Module):
    """A convolution whose result is read twice, one that runs twice, and one with a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.again, self.other = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.hooked, self.last = nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.free, self.end = nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.head = nn.Linear(32, 3)
        self.hooked.register_forward_hook(lambda module, args, output: output * 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.twice(x)
        y = self.norm(y) + y
        y = self.other(self.again(self.again(y)))
        return self.head(self.end(self.free(self.last(self.hooked(y)))).flatten(1))


def test_only_what_nothing_else_reads_is_folded() -> None:
    model = Read().eval()
    assert [pair.conv for pair in _pairs(model, IMAGES)] == [model.free]
    x = torch.randn(2, 1, 4, 4)
    wanted = model(x)
    with tuning(model, IMAGES):
        assert torch.allclose(model(x), wanted, atol=1e-6)


def test_what_cannot_be_traced_has_its_statistics_fixed_all_the_same() -> None:
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Any:
            float(x.numpy().sum())
            return self.head(self.norm(self.conv(x)).flatten(1))

    model = Untraceable()
    before = model.norm.running_mean.clone()
    nw.finetune(model, batches(), epochs=1, normalisation="tune")
    assert torch.equal(model.norm.running_mean, before)


def test_other_words_and_loaders_without_batches_are_refused() -> None:
    with pytest.raises(TrainingError, match="the loader gives no batches"):
        nw.finetune(nn.Linear(2, 2), [], epochs=1, normalisation="tune")
    with pytest.raises(CallError, match="normalisation"):
        nw.finetune(nn.Linear(2, 2), batches(), epochs=1, normalisation="eval")  # type: ignore[arg-type]
