"""The learning rate range test, and which rates hold where nobody says one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import blobs, jitter, loader, same, small, state, tiny
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw
from netwright.core.errors import CallError, RecipeError, TrainingError
from netwright.nets.isolation import draws
from netwright.training.defaults import weights_of
from netwright.training.optimizers import OPTIMIZERS
from netwright.training.rules import RULES
from netwright.training.run import Progress

SGD = "sgd,momentum=0.9"


@pytest.mark.parametrize("rule", RULES.names())
def test_nothing_of_the_super_network_is_changed(rule: str) -> None:
    net, part = small(), blobs()
    generator = torch.Generator().manual_seed(3)
    batches = DataLoader(TensorDataset(part.inputs, part.targets), 8, shuffle=True, generator=generator)
    RULES.make(rule).prepare(net)
    net.module.train()
    frozen = next(m for m in net.module.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    gradient = next(net.module.parameters()).grad = torch.ones_like(next(net.module.parameters()))
    before, drawn, order = state(net.module), draws(), generator.get_state()
    with suppress(TrainingError):  # in so few steps some rules learn nothing
        nw.find_learning_rate(net, batches, rule=rule, optimizer=SGD, steps=24)
    assert same(state(net.module), before)
    assert net.module.training and not frozen.training
    assert next(net.module.parameters()).grad is gradient and bool((gradient == 1).all())
    assert torch.equal(draws()[0], drawn[0]) and np.array_equal(draws()[2][1], drawn[2][1])
    assert torch.equal(generator.get_state(), order)


def test_it_is_a_tenth_of_the_rate_of_the_least_loss() -> None:
    found = nw.find_learning_rate(tiny(), loader(), optimizer=SGD, steps=60)
    assert found.best == found.rates[15 + int(np.argmin(found.losses[15:]))] / 10
    assert len(found.rates) == len(found.losses) and 1e-3 < found.best <= 1
    growth = np.diff(np.log(found.rates))
    assert np.allclose(growth, growth[0]) and found.rates[0] == 1e-6
    assert nw.find_learning_rate(tiny(), loader(), optimizer=SGD, steps=60) == found


def test_a_steeper_loss_wants_a_smaller_rate() -> None:
    """Of the loss times a hundred, plain gradient descent is as fast with a hundredth of the rate."""

    class Steep(nw.tasks.Classification):
        def loss(self, outputs: Any, targets: Any) -> Any:
            return 100 * super().loss(outputs, targets)

    plain, steep = (
        nw.find_learning_rate(tiny(), loader(), task=task, rule="largest", optimizer="sgd", steps=150).best
        for task in (nw.tasks.Classification(), Steep())
    )
    assert plain / steep == pytest.approx(100, rel=0.5)


def test_training_finds_its_own_rate_and_goes_on_with_it(tmp_path: Path) -> None:
    found = nw.find_learning_rate(tiny(), loader(), optimizer=SGD).best
    wishes: dict[str, Any] = {"epochs": 2, "seed": 0, "checkpoint_steps": 1}

    def after(net: nw.SuperNet, optimizer: str, **more: Any) -> Any:
        nw.train(net, loader(), optimizer=optimizer, **wishes, **more)
        return state(net.module)

    wanted = after(tiny(), f"{SGD},lr={found:.3g}")
    assert same(after(tiny(), f"{SGD},lr=auto"), wanted)

    class Stop(BaseException):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 8:
            raise Stop

    path = tmp_path / "c"
    with pytest.raises(Stop):
        after(tiny(), f"{SGD},lr=auto", checkpoint=path, callback=stop)
    assert same(after(tiny(5), f"{SGD},lr=auto", checkpoint=path), wanted)  # whose own rate would be another


def test_a_network_by_itself_finds_its_rate_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nw.finetune(network, loader(), epochs=3, optimizer="adamw,lr=auto")
    part = blobs()
    assert float((network(part.inputs).argmax(1) == part.targets).float().mean()) > 0.9


def test_what_cannot_be_tested_is_told() -> None:
    with pytest.raises(CallError, match="net is a super-network, not a Linear"):
        nw.find_learning_rate(nn.Linear(2, 2), loader())  # type: ignore[arg-type]
    with pytest.raises(CallError, match="steps is a number of steps of the range test, 10 or more, not 3"):
        nw.find_learning_rate(tiny(), loader(), steps=3)
    made = OPTIMIZERS.make(lambda module: torch.optim.SGD(module.parameters(), 0.1))
    with pytest.raises(CallError, match="takes no learning rate"):
        nw.find_learning_rate(tiny(), loader(), optimizer=made)
    with pytest.raises(RecipeError, match="lr must be a number or auto, not 'best'"):
        nw.train(tiny(), loader(), optimizer="sgd,lr=best")
    spoilt = [(torch.full((6, 1, 4, 4), torch.nan), torch.arange(6) % 3)]
    with pytest.raises(TrainingError, match="no learning rate that makes the loss less"):
        nw.train(tiny(), spoilt, optimizer="sgd,lr=auto")


def trained(net: nw.SuperNet) -> nw.SuperNet:
    nw.train(net, loader(), optimizer="sgd,lr=0.1,momentum=0.9", epochs=10, rule="largest")
    return net


def test_weights_that_come_trained_are_told_from_fresh_ones() -> None:
    net, batches = trained(small()), nw.TensorLoader(blobs(), 8, shuffle=True, augment=jitter)
    before, drawn = state(net.module), draws()
    assert weights_of(net, batches, nw.tasks.Classification()) == "pretrained"
    assert same(state(net.module), before) and torch.equal(draws()[0], drawn[0])
    assert weights_of(small(), batches, nw.tasks.Classification()) == "fresh"
    assert weights_of(net, [(torch.zeros(2, 9), torch.zeros(2))], nw.tasks.Classification()) == "fresh"


def test_the_default_rate_keeps_weights_that_come_trained(tmp_path: Path) -> None:
    rates = "sgd,lr={},momentum=0.9,nesterov=true,weight_decay=0.0001"
    for make, rate in ((small, 0.1), (lambda: trained(small()), 0.01)):
        one, other = make(), make()
        nw.train(one, loader(), epochs=1)
        nw.train(other, loader(), epochs=1, optimizer=rates.format(rate))
        assert same(state(one.module), state(other.module))
    # A training that goes on has the rate that it has begun with, although its weights have learned meanwhile.
    net, path = small(), tmp_path / "c"
    nw.train(net, loader(), epochs=9, rule="largest", checkpoint=path)
    once = state(net.module)
    nw.train(net, loader(), epochs=9, rule="largest", checkpoint=path)
    assert same(state(net.module), once)
