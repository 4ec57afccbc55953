"""Sensitivity: scores of bits against plain arithmetic, distilled inputs, and bits under a budget."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetError, NetwrightError
from netwright.nets.sensitivity import SENSITIVITIES, Scores, Sensitivity
from netwright.nets.sensitivity.assign import best_within
from netwright.nets.sensitivity.base import rounding_error
from netwright.study.stores.memory import MemoryStore

OPTIONS = ("uniform,weights=2,activations=8", "uniform,weights=4,activations=8", "int8", "float32")


def small() -> nw.SuperNet:
    torch.manual_seed(0)
    block = [nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), *block, nn.Flatten(), nn.Linear(64, 3)
    )
    with torch.no_grad():
        for _ in range(20):  # statistics of some data
            module(3 * torch.randn(32, 2, 4, 4) + 1)
    net = nw.SuperNet(module.eval(), (), torch.zeros(1, 2, 4, 4))
    return net.with_axes(nw.Bits.of(net, OPTIONS, keep=()))


class Lost(nw.Measurer):
    """The score of a candidate."""

    metrics = (nw.Metric("lost", ""),)

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def measure(self, context: Any) -> dict[str, nw.Measurement]:
        return {"lost": nw.Measurement(self._scores(context.candidate), "")}


@pytest.fixture
def net() -> nw.SuperNet:
    return small()


@pytest.fixture
def batch() -> Tensor:
    return 3 * torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(1)) + 1


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_the_output_error_is_that_of_the_extracted_network(net: nw.SuperNet, batch: Tensor, distance: str) -> None:
    found = nw.sensitivity.OutputError([batch], distance).scores(net)  # type: ignore[arg-type]
    for axis in net.axes:
        assert tuple(found.of[axis.name]) == OPTIONS and found.of[axis.name]["float32"] == 0
        for option in OPTIONS[:-1]:
            with torch.no_grad():
                got = net.extract(net.largest_with({axis.name: option})).eval()(batch)
                whole = net.module(batch)
            wanted = float((got - whole).square().sum() / whole.square().sum())
            if distance == "kl":
                p, q = whole.softmax(1), got.softmax(1)
                wanted = float((p * (p / q).log()).sum(1).mean())
            assert found.of[axis.name][option] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
        assert found.of[axis.name][OPTIONS[0]] > found.of[axis.name]["int8"]


def test_scores_add_up_over_a_candidate_and_rank_axes() -> None:
    scores = Scores({"a": {"int8": 1.0, "float32": 0.0}, "b": {"int8": 3.0, "float32": 0.0}})
    assert scores({"a": "int8", "b": "int8", "depth": 2}) == 4 and scores({"a": "int8", "b": "float32"}) == 1
    assert scores.ranked("int8") == ["b", "a"]


def loss(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(outputs, batch[1])


def test_the_trace_is_that_of_the_whole_hessian(net: nw.SuperNet, batch: Tensor) -> None:
    labels = torch.arange(16) % 3
    criterion = nw.sensitivity.Hessian([(batch, labels)], loss, draws=400)
    traces = criterion.traces(net)
    layer = net.module[-1]

    def of_weight(weight: Tensor) -> Tensor:
        inputs = net.module[:-1](batch)
        return F.cross_entropy(F.linear(inputs, weight, layer.bias), labels)

    whole = torch.autograd.functional.hessian(of_weight, layer.weight.detach())
    wanted = float(whole.reshape(layer.weight.numel(), -1).trace())
    assert traces["7"] == pytest.approx(wanted, rel=0.1)
    error = float(rounding_error(net, "7", "int8").square().sum())
    scores = criterion.scores(net)
    assert scores.of["7.bits"]["int8"] == pytest.approx(0.5 * traces["7"] / layer.weight.numel() * error, rel=1e-4)


def test_without_a_loss_curvature_and_fisher_tell_of_the_same_outputs(net: nw.SuperNet, batch: Tensor) -> None:
    hessian = nw.sensitivity.Hessian([batch], draws=64)
    fisher = nw.sensitivity.Fisher([batch[i : i + 1] for i in range(16)] * 8)
    traces = hessian.traces(net)
    ratios = [float(each.sum()) / traces[path] for path, each in fisher.information(net).items()]
    assert max(ratios) < 4 * min(ratios)
    for criterion in (hessian, fisher):
        found = criterion.scores(net)
        assert all(list(of.values()) == sorted(of.values(), reverse=True) for of in found.of.values())


def test_the_fisher_information_is_the_squared_gradient_of_examples(net: nw.SuperNet, batch: Tensor) -> None:
    examples = [(batch[i : i + 1], torch.tensor([i % 3])) for i in range(3)]
    found = nw.sensitivity.Fisher(examples, loss).information(net)
    wanted = torch.zeros_like(found["7"])
    for example in examples:
        net.module.zero_grad()
        loss(net.module(example[0]), example).backward()  # type: ignore[no-untyped-call]
        wanted += net.module[-1].weight.grad.double().square() / 3
    torch.testing.assert_close(found["7"], wanted)


@pytest.mark.parametrize(
    "criterion", [nw.sensitivity.OutputError, nw.sensitivity.Hessian, nw.sensitivity.Fisher], ids=lambda c: c.__name__
)
def test_the_network_stays_as_it_is(criterion: type, net: nw.SuperNet, batch: Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in net.module.state_dict().items()}
    net.module[0].weight.requires_grad_(False)
    criterion([batch]).scores(net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.module.state_dict().items())
    assert not net.module[0].weight.requires_grad and net.module[3].weight.requires_grad
    assert all(p.grad is None for p in net.module.parameters())


def test_a_network_without_bits_and_missing_batches_are_errors(batch: Tensor) -> None:
    plain = nw.SuperNet(nn.Sequential(nn.Linear(2, 2)), (), torch.zeros(1, 2))
    with pytest.raises(NetError, match=r"no axis of bits.*nw\.Bits\.of"):
        nw.sensitivity.OutputError([batch]).scores(plain)
    with pytest.raises(NetError, match="the list is empty"):
        nw.sensitivity.OutputError([])
    with pytest.raises(NetError, match="draws must be 1 or more"):
        nw.sensitivity.Hessian([batch], draws=0)


@pytest.mark.parametrize("criterion", [nw.sensitivity.Fisher, nw.sensitivity.Hessian])
def test_a_loss_that_is_none_is_told(criterion: type, net: nw.SuperNet, batch: Tensor) -> None:
    for loss, says in (
        (lambda outputs, _: outputs.detach().sum(), "does not depend on the weights, or is detached"),
        (lambda outputs, _: outputs, r"gives a tensor of shape \(.* and no tensor of one number"),
        (lambda outputs, _: 1.0, "gives a float and no tensor of one number"),
    ):
        with pytest.raises(NetError, match=says):
            criterion([batch], loss=loss).scores(net)


def test_outputs_without_classes_have_no_divergence() -> None:
    flat = nw.SuperNet(nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), (), torch.zeros(2, 4))
    flat = flat.with_axes(nw.Bits.of(flat, keep=()))
    with pytest.raises(NetError, match=r'an output of shape \(3,\) has no classes.*take "squared"'):
        nw.sensitivity.OutputError([torch.randn(3, 4)], distance="kl").scores(flat)


def test_a_criterion_of_ones_own_is_as_good(net: nw.SuperNet) -> None:
    @dataclass(frozen=True)
    class Size(Sensitivity):
        power: float = 1.0

        def scores(self, net: nw.SuperNet) -> Scores:
            return Scores({a.name: {o: i * -self.power for i, o in enumerate(a.options)} for a in net.axes})

    assert SENSITIVITIES.make(Size) == Size() and set(SENSITIVITIES.ours) == {"output_error", "hessian", "fisher"}
    assert nw.assign_bits(net, Size().scores(net), 1e9) == net.largest


# -- distilled inputs -------------------------------------------------------------------------------------------------


def far(net: nw.SuperNet, inputs: Tensor) -> float:
    """How far the inputs of the second batch normalisation are from its statistics."""
    norm = net.module[4]
    with torch.no_grad():
        x = net.module[:4](inputs)
    mean, deviation = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0).sqrt()
    return float((mean - norm.running_mean).square().sum() + (deviation - norm.running_var.sqrt()).square().sum())


def test_distilled_inputs_have_the_statistics_of_the_data(net: nw.SuperNet) -> None:
    noise = torch.randn(32, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = nw.distil_inputs(net.module, net.example_inputs, 32, 100)
    assert found.shape == (32, 2, 4, 4) and not found.requires_grad
    assert far(net, found) < 0.2 * far(net, noise)
    assert torch.equal(found, nw.distil_inputs(net.module, net.example_inputs, 32, 100))
    assert all(p.requires_grad and p.grad is None for p in net.module.parameters())


def test_what_tells_nothing_of_the_data_is_said() -> None:
    with pytest.raises(NetError, match=r"no batch normalisation with running statistics.*give real inputs"):
        nw.distil_inputs(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(NetError, match="a number of 2 or more"):
        nw.distil_inputs(nn.BatchNorm1d(2), torch.zeros(1, 2), 1)
    network = nn.Sequential(nn.Embedding(5, 2), nn.BatchNorm1d(2))
    with pytest.raises(NetError, match="no input is of floating point"):
        nw.distil_inputs(network, torch.zeros(1, dtype=torch.long))


# -- bits under a budget ----------------------------------------------------------------------------------------------

TABLES = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.floats(0, 9)), min_size=1, max_size=3).map(
        lambda rows: [(0, rows[0][1]), *rows[1:]]
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=100)
@given(tables=TABLES, budget=st.integers(0, 40), scale=st.sampled_from([1, 100]))
def test_no_other_choice_within_the_budget_is_better(
    tables: list[list[tuple[int, float]]], budget: int, scale: int
) -> None:
    tables, budget = [[(size * scale, score) for size, score in table] for table in tables], budget * scale
    chosen = best_within(tables, budget)
    every = itertools.product(*(range(len(table)) for table in tables))
    sums = [np.sum([t[i] for t, i in zip(tables, one, strict=True)], axis=0) for one in every]
    size, score = np.sum([t[i] for t, i in zip(tables, chosen, strict=True)], axis=0)
    assert size <= budget and score == pytest.approx(min(s for b, s in sums if b <= budget))


def test_a_budget_of_odd_bytes_is_kept_where_it_is_counted_in_parts() -> None:
    rng = np.random.default_rng(0)
    tables = [[(0, 3.0), *((int(rng.integers(1, 10**6)), float(i)) for i in (2, 1, 0))] for _ in range(40)]
    budget = 7_654_321
    chosen = best_within(tables, budget)
    size = sum(t[i][0] for t, i in zip(tables, chosen, strict=True))
    assert 0.98 * budget < size <= budget


def test_bits_are_assigned_within_bytes_and_the_more_bytes_the_less_is_lost(net: nw.SuperNet, batch: Tensor) -> None:
    scores = nw.sensitivity.OutputError([batch]).scores(net)
    least = net.count(net.largest_with({axis.name: OPTIONS[0] for axis in net.axes})).weight_bytes
    whole, lost = net.count(net.largest).weight_bytes, []
    for budget in np.linspace(least, whole, 9):
        found = nw.assign_bits(net, scores, budget)
        assert net.count(found).weight_bytes <= budget
        lost.append(scores(found))
    assert lost == sorted(lost, reverse=True) and lost[0] == max(lost) > 0
    assert nw.assign_bits(net, scores, whole) == net.largest
    with pytest.raises(NetError, match="more than the budget of 10; give a larger one"):
        nw.assign_bits(net, scores, 10)
    with pytest.raises(NetError, match="more than the budget of nan"):
        nw.assign_bits(net, scores, math.nan)
    with pytest.raises(NetError, match="the scores have none for the axis"):
        nw.assign_bits(net, Scores({}), whole)


def test_assigned_bits_are_among_the_first_that_a_study_measures(net: nw.SuperNet, batch: Tensor) -> None:
    scores = nw.sensitivity.OutputError([batch]).scores(net)
    chosen = nw.assign_bits(net, scores, 0.5 * net.count(net.largest).weight_bytes)
    for strategy in (nw.Random(), nw.Nsga2(population=4), nw.Guided()):
        study = nw.Study(
            MemoryStore(), net, objectives=[nw.Count("weight_bytes"), Lost(scores)], initial=[chosen],
            hints={"sensitivity": scores},
        )  # fmt: skip
        study.run(strategy, evaluations=3)
        assert chosen in [record.candidate for record in study.records], strategy
    with pytest.raises(NetwrightError):
        nw.Study(MemoryStore(), net, objectives=[nw.Count("weight_bytes")], initial=[{"other": 1}])  # type: ignore[list-item]
