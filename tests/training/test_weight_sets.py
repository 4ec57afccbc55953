"""Rules that train several sets of weights, and that without labels: few-shot, mixture, blockwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_nets import blobs, loader, same, small, state
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import RecipeError, TrainingError
from netwright.nets.sharing import Mixture, Split
from netwright.training.answers import Answer
from netwright.training.rules.blockwise import GIVEN, first_blocks
from netwright.training.rules.few_shot import cosines, disagreements, grouped

# -- options that want opposite things of one weight -------------------------------------------------------------


class Signed(nn.Module):
    """What is learned is x itself: with one sign by the weights, with the other by their opposite."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1, bias=False)
        self.sign, self.scale = 1.0, 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.sign * self.scale * self.linear(x)


def signed() -> nw.SuperNet:
    torch.manual_seed(0)
    module = Signed()
    nn.init.zeros_(module.linear.weight)
    axes = [nw.Attribute("scale", (("", "scale"),), (0.9, 1.0)), nw.Attribute("sign", (("", "sign"),), (-1.0, 1.0))]
    return nw.SuperNet(module, axes, torch.zeros(1, 3))


def sums() -> nw.TensorLoader:
    inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    return nw.TensorLoader(nw.Split(inputs, inputs.sum(1)), 64)


def errors(net: nw.SuperNet) -> list[float]:
    inputs, targets = next(iter(sums()))
    found = []
    for sign in (-1.0, 1.0):
        with torch.no_grad(), net.active({"scale": 1.0, "sign": sign}) as module:
            found.append(float((module(inputs)[:, 0] - targets).abs().mean()))
    return found


def train(net: nw.SuperNet, rule: str) -> None:
    nw.train(
        net,
        sums(),
        task="regression",
        rule=rule,
        epochs=160,
        optimizer="adam,lr=0.1,betas=(0.9,0.9)",
        schedule="constant",
    )


def test_the_choice_whose_gradients_disagree_is_found() -> None:
    net, rng = signed(), np.random.default_rng(0)
    with torch.no_grad():
        net.module.get_parameter("linear.weight").add_(0.01)
    net.module.get_parameter("linear.weight").grad = torch.ones(1, 3)
    lesson = nw.rules.Lesson(next(iter(sums())), nw.tasks.Regression(), rng)
    found = {name: (cosine, groups) for cosine, name, groups in disagreements(net, cosines(net, lesson, 3))}
    assert [*found] == ["sign", "scale"]
    assert found["sign"][0] < -0.95 and found["scale"][0] > 0.95 and found["sign"][1] == ((-1.0,), (1.0,))
    assert torch.equal(net.module.get_parameter("linear.weight").grad, torch.ones(1, 3))


def test_few_shot_and_mixture_learn_what_one_set_cannot() -> None:
    rules = ("single-path", "few-shot,begin=0.2,rule=single-path", "mixture,rule=single-path")
    nets = {rule: signed() for rule in rules}
    for rule, net in nets.items():
        train(net, rule)
    one, few, mixed = map(errors, nets.values())
    assert max(one) > 0.5, "the signs pull one set to and fro"
    assert max(few) < 0.2 and max(mixed) < 0.2
    few_shot, mixture = list(nets.values())[1:]
    assert isinstance(few_shot.sharing, Split) and isinstance(mixture.sharing, Mixture)
    assert few_shot.sharing.numbers(few_shot.index) == [[0, 0], [1, 0]], "the sign was split, and the largest's stays"


@given(first=st.sets(st.integers(0, 5), min_size=1, max_size=5), n=st.sampled_from([6, 9]))
def test_groups_are_those_that_agree_among_themselves(first: set[int], n: int) -> None:
    if n > 6:  # of many options groups keep their order
        first = set(range(len(first)))
    sides = np.array([1.0 if i in first else -1.0 for i in range(n)])
    cosine, groups = grouped(range(n), np.outer(sides, sides))
    assert cosine == -1 and {frozenset(groups[0]), frozenset(groups[1])} == {
        frozenset(first), frozenset(range(n)) - first,
    }  # fmt: skip


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(RecipeError, match="few-shot: splits and samples are 1 or more"):
        nw.rules.FewShot(splits=0)
    with pytest.raises(RecipeError, match="the space has 2 choices that could be split"):
        train(signed(), "few-shot,splits=3")
    with pytest.raises(RecipeError, match="did you mean 'sandwich'"):
        nw.rules.Mixture(rule="sandwhich")


# -- without labels ----------------------------------------------------------------------------------------------


def layered() -> nw.SuperNet:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    widths = [nw.Width.tie(module, f"w{i}", (2, 6), out_of=[i], into=[j]) for i, j in (("0", "2"), ("2", "4"))]
    return nw.SuperNet(module, widths, torch.zeros(1, 4))


def test_blocks_learn_apart_from_one_another_by_hand() -> None:
    net, x = layered(), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    rule = nw.rules.Blockwise(random=0, blocks=("2", "4"))
    task = nw.tasks.Custom(nn.functional.mse_loss)
    lesson = nw.rules.Lesson((x, torch.zeros(5, 3)), task, np.random.default_rng(0))
    value = rule.step(net, lesson)
    got = {k: p.grad.clone() for k, p in net.module.named_parameters() if p.grad is not None}
    net.module.zero_grad()
    w = dict(net.module.named_parameters())
    with torch.no_grad():
        first = torch.relu(x @ w["0.weight"].T + w["0.bias"])
        second = torch.relu(first @ w["2.weight"].T + w["2.bias"])
        last = second @ w["4.weight"].T + w["4.bias"]
    losses = []
    for goal, came in (
        (first[:, :2], torch.relu(x @ w["0.weight"][:2].T + w["0.bias"][:2])),
        (second[:, :2], torch.relu(first[:, :2] @ w["2.weight"][:2, :2].T + w["2.bias"][:2])),
    ):
        losses.append((came - goal).square().mean() / goal.square().mean())
    losses.append((second[:, :2] @ w["4.weight"][:, :2].T + w["4.bias"] - last).square().mean())
    wanted = torch.stack(losses).mean()
    wanted.backward()
    assert value == pytest.approx(float(wanted.detach()))
    assert got.keys() == w.keys()
    for name, p in w.items():
        assert p.grad is not None
        torch.testing.assert_close(got[name], p.grad, rtol=1e-4, atol=1e-6)


def test_labels_are_not_looked_at_and_the_given_network_stays_the_teacher() -> None:
    ends = []
    for labels in (0, 1):
        net = small()
        batches = [(x, torch.full_like(y, labels)) for x, y in nw.TensorLoader(blobs(), 16)]
        nw.train(net, batches, epochs=2, rule="blockwise,random=1", optimizer="adam,lr=0.01")
        ends.append(state(net.module))
    assert same(*ends)
    net = small()
    given = state(net.module)
    kept: dict[str, Tensor] = {}
    optimizer = torch.optim.SGD(net.module.parameters(), lr=0.1)
    for batch in loader():
        lesson: Any = nw.rules.Lesson(batch, nw.tasks.Classification(), np.random.default_rng(0), state=kept)
        nw.rules.Blockwise(random=0).step(net, lesson)
        optimizer.step()
    assert same({name.removeprefix(f"{GIVEN}."): t for name, t in kept.items()}, given)
    assert not same(state(net.module), given)


def test_blocks_begin_where_stages_do() -> None:
    assert first_blocks(small()) == ["stages.0.0", "stages.1.0"] and first_blocks(layered()) == list("01234")
    with pytest.raises(TrainingError, match=r"blockwise: the network has no module 'gone'"):
        nw.train(small(), loader(), epochs=1, rule="blockwise,blocks=gone")


def test_a_block_whose_loss_is_not_finite_is_told_by_its_sub_network() -> None:
    lesson = nw.rules.Lesson(
        (torch.full((5, 4), torch.nan), torch.zeros(5, 3)),
        nw.tasks.Custom(nn.functional.mse_loss), np.random.default_rng(0),
    )  # fmt: skip
    with pytest.raises(TrainingError, match="the loss of the smallest sub-network is nan"):
        nw.rules.Blockwise(random=0).step(layered(), lesson)


def test_a_narrow_network_comes_nearer_to_the_given_one_without_labels() -> None:
    net, x = layered(), torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    whole = net.extract(net.largest)

    def apart() -> float:
        with torch.no_grad():
            return float((net.extract(net.smallest)(x) - whole(x)).square().mean())

    before = apart()
    batches = [(x, torch.zeros(64, 3))]
    task = nw.tasks.Custom(nn.functional.mse_loss)
    nw.train(net, batches, task=task, epochs=60, rule="blockwise,random=0,blocks=(2,4)", optimizer="adam,lr=0.02")
    assert apart() < 0.6 * before


def test_the_last_part_learns_from_a_teacher_where_there_is_one() -> None:
    net, x = layered(), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    rule, task = nw.rules.Blockwise(random=0, blocks=("2", "4")), nw.tasks.Custom(nn.functional.mse_loss)

    def gradients(teacher: Any) -> dict[str, Tensor]:
        net.module.zero_grad()
        rule.step(net, nw.rules.Lesson((x, torch.zeros(5, 3)), task, np.random.default_rng(0), teacher=teacher))
        return {k: p.grad.clone() for k, p in net.module.named_parameters() if p.grad is not None}

    alone, taught = gradients(None), gradients(lambda inputs, watched=(): Answer(torch.ones(5, 3)))
    assert [name for name in alone if not torch.equal(alone[name], taught[name])] == ["4.weight", "4.bias"]


def test_averages_of_weights_are_those_of_all_sets() -> None:
    net = signed()
    nw.train(net, sums(), task="regression", rule="few-shot,begin=1", epochs=40, ema=0.9, optimizer="sgd,lr=0.1")
    own = dict(net.module.named_parameters())
    torch.testing.assert_close(own["linear.weight_set1"], own["linear.weight"], rtol=0.01, atol=0.01)
    assert own["linear.weight"].abs().max() > 0.05
