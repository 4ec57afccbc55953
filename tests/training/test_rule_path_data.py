"""Joint importance sampling of paths and data: what is drawn in proportion to which norms."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from small_nets import blobs, loader, small, tiny
from spying import Spied
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import netwright as nw
from netwright.tasks.classification import Classification
from netwright.training.examples import Chosen, examples_of
from netwright.training.rules import PathData, Step
from netwright.training.rules.path_data import EXAMPLES, PATHS


def chosen(batches: Any) -> list[Chosen]:
    found = list(batches)
    assert all(isinstance(each, Chosen) for each in found)
    return found


def lesson(batch: Any, state: dict[str, Tensor], share: float = 0.0, seed: int = 0) -> Spied:
    at = Step(int(share * 1000), 1001)
    return Spied(batch, Classification(), np.random.default_rng(seed), at, state=state)


def test_an_example_counts_by_the_norm_of_its_outputs_gradient() -> None:
    net, part, state = tiny(), blobs(), dict[str, Tensor]()
    net.module.eval()
    index = torch.tensor([7, 3, 30])
    one = lesson(Chosen((part.inputs[index], part.targets[index]), index, 48), state)
    PathData().step(net, one)
    with net.active(one.everyone[0]) as module, torch.no_grad():
        scores = module(part.inputs[index])
    wanted = (scores.softmax(-1) - F.one_hot(part.targets[index], 3)).norm(dim=-1)  # of the cross-entropy
    torch.testing.assert_close(state[EXAMPLES][index].float(), wanted)
    assert len(state[EXAMPLES]) == 48 and int((state[EXAMPLES] > 0).sum()) == 3
    PathData().step(
        net, lesson(Chosen((part.inputs[index[:1]], part.targets[index[:1]]), index[:1], 48), state, seed=3)
    )
    assert int((state[EXAMPLES] > 0).sum()) == 3


def test_an_option_counts_by_the_norm_of_what_its_choice_changes() -> None:
    net, part, state = small(), blobs(), dict[str, Tensor]()
    net.module.train()
    batch = part.inputs[:8], part.targets[:8]
    for p in net.module.parameters():  # what other batches have left does not count, and stays
        p.grad = torch.ones_like(p)
    one = lesson(batch, state)
    PathData().step(net, one)
    (candidate,) = one.everyone
    got = {name: p.grad.clone() for name, p in net.module.named_parameters()}
    net.module.zero_grad()
    with net.active(candidate) as module:
        F.cross_entropy(module(batch[0]), batch[1]).backward()
    for name, p in net.module.named_parameters():
        torch.testing.assert_close(got[name], 1 + (p.grad if p.grad is not None else torch.zeros_like(p)))
    for i, choice in enumerate(net.space):
        axis = next(axis for axis in net.axes if axis.name == choice.name)
        paths = axis.affected_modules(net.index)
        own = [p.grad for n, p in net.module.named_parameters() if p.grad is not None and n.rpartition(".")[0] in paths]
        for at, option in enumerate(choice.options):
            if candidate.get(choice.name) != option:
                assert state[PATHS][i, at] == 0
            elif paths <= {n.rpartition(".")[0] for n, _ in net.module.named_parameters()}:
                wanted = sum(float(g.pow(2).sum()) for g in own) ** 0.5
                assert float(state[PATHS][i, at]) == pytest.approx(wanted, rel=1e-4)


def test_options_are_drawn_by_their_norms_as_training_goes_on() -> None:
    net = tiny()
    state = {PATHS: torch.tensor([[1.0, 4.0]], dtype=torch.float64)}
    rates = []
    for share in (0.0, 0.5, 1.0):
        one = lesson(None, state, share)
        rates.append(np.mean([PathData().draw(net, one)["hidden"] == 8 for _ in range(1500)]))
    assert rates == pytest.approx([0.5, 0.65, 0.8], abs=0.04)
    state[PATHS][0, 0] = 0  # not known yet
    one = lesson(None, state, 1.0)
    assert np.mean([PathData().draw(net, one)["hidden"] == 8 for _ in range(1500)]) == pytest.approx(0.5, abs=0.04)


def in_memory() -> nw.TensorLoader:
    return loader()


def of_torch() -> DataLoader[Any]:
    part = blobs()
    return DataLoader(TensorDataset(part.inputs, part.targets), batch_size=8, shuffle=True)


@pytest.mark.parametrize("make", [in_memory, of_torch])
def test_examples_are_drawn_by_their_norms_as_training_goes_on(make: Any) -> None:
    given, part = make(), blobs()
    norms = torch.ones(48, dtype=torch.float64)
    norms[5] = 17.0  # of 64 in all
    state = {EXAMPLES: norms}
    for share, low, high in ((0.0, 1, 1), (0.5, 6, 8), (1.0, 12, 13)):
        at = Step(int(share * 1000), 1001)
        found = chosen(PathData().data(given, np.random.default_rng(0), at=at, state=state))
        index = torch.cat([each.index for each in found])
        assert len(found) == len(given) and len(index) == 48
        assert low <= int((index == 5).sum()) <= high
        for each in found:
            assert torch.equal(each.batch[1], part.targets[each.index])
    begin = chosen(PathData().data(given, np.random.default_rng(0), at=Step(0, 10), state={}))
    again = chosen(PathData().data(given, np.random.default_rng(1), at=Step(0, 10), state={}))
    order = [torch.cat([each.index for each in found]).tolist() for found in (begin, again)]
    assert order[0] != order[1] and {*Counter(order[0]).values()} == {1}


def test_hard_examples_are_read_more_often_in_a_training() -> None:
    part = blobs()
    part.targets[:4] = (part.targets[:4] + 1) % 3  # wrong labels, which cannot be learned
    index = torch.arange(48, dtype=torch.float32)[:, None].expand(48, 16).reshape(48, 1, 4, 4)
    seen = Counter[int]()

    def augment(images: Tensor) -> Tensor:
        seen.update(images[:, 0, 0, 0].int().tolist())
        return part.inputs[images[:, 0, 0, 0].long()]

    batches = nw.TensorLoader(nw.Split(index, part.targets), 8, shuffle=True, augment=augment)
    nw.train(tiny(), batches, epochs=20, rule="path-data", optimizer="adamw,lr=0.01")
    assert sum(seen[i] for i in range(4)) / 4 > 1.5 * sum(seen[i] for i in range(4, 48)) / 44


def test_of_batches_that_cannot_be_told_apart_paths_alone_are_chosen() -> None:
    batches = list(loader())
    assert examples_of(batches) is None
    with pytest.warns(UserWarning, match=r"chooses examples of a TensorLoader.*not of a list"):
        nw.train(tiny(), batches, epochs=2, rule="path-data")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nw.train(tiny(), of_torch(), epochs=1, rule="path-data")
