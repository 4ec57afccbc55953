"""The sampling that drops options: those whose networks lose more than others of their cost, and no others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small import Of
from small_nets import blobs
from torch import Tensor, nn

import netwright as nw
from netwright.core.candidate import Candidate
from netwright.core.errors import RecipeError
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.training.costs import costs_of
from netwright.training.rules import Step
from netwright.training.sampling import SAMPLINGS, Shrinking


def net() -> nw.SuperNet:
    torch.manual_seed(0)
    return inverted_residual(
        1, 3, 4, widths=((2, 4, 6), (3, 6, 9)), depths=((1, 2), (1, 2, 3)), expands=(1, 2, 3), kernels=(1, 3, 5)
    )


def trained(made: nw.SuperNet, loss: Callable[[Candidate], float], steps: int = 250) -> dict[str, Tensor]:
    """The tensors that are kept once a training has told losses; they fall meanwhile."""
    sampling, rng, state = Shrinking(), np.random.default_rng(0), dict[str, Tensor]()
    for i in range(steps):
        at = Step(i, steps)
        drawn = sampling.sample(made, rng, at, state)
        if at.share < 0.3:
            assert not state or not state["shrinking.dropped"].any(), "nothing is dropped before its time"
        noise = float(np.exp(0.05 * rng.standard_normal()))
        sampling.told(made, drawn, loss(drawn) * noise * (2 - at.share), at, state)
    return state


def by_cost(made: nw.SuperNet, candidate: Candidate) -> float:
    return 2.0 - costs_of(made).share_of(candidate)


def test_an_option_that_is_worse_than_its_cost_is_dropped() -> None:
    made = net()
    bad = next(c.name for c in made.space if c.name.endswith("stage1.block0.kernel"))
    state = trained(made, lambda c: by_cost(made, c) * (1.3 if c.get(bad) == 3 else 1.0))
    left = Shrinking().left(made, state)
    assert left[bad] == (1, 5)
    rng = np.random.default_rng(1)
    drawn = [Shrinking().sample(made, rng, Step(), state) for _ in range(100)]
    assert {c[bad] for c in drawn} == {1, 5}
    assert sum(len(c.options) - len(left[c.name]) for c in made.space) <= 5, "few are dropped by chance"


def test_small_options_are_not_dropped_for_being_small() -> None:
    made = net()
    left = Shrinking().left(made, trained(made, lambda c: by_cost(made, c)))
    smallest = [c.options[0] in left[c.name] for c in made.space]
    assert np.mean(smallest) > 0.8
    assert all(len(options) >= 2 for options in left.values())


def test_in_a_training_a_module_that_gives_nothing_is_dropped() -> None:
    torch.manual_seed(0)

    def dense(*more: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(16, 16), *more)

    menu = nw.oneof(one=dense(), nothing=dense(Of(torch.zeros_like)), two=dense(), three=dense())
    model = nn.Sequential(nn.Flatten(), menu, nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    width = nw.Width.tie(model, "width", (4, 8), out_of=["3"], into=["5"])
    made = nw.SuperNet(model, [nw.OneOf.of(model, "1"), width], torch.zeros(1, 1, 4, 4))
    state: dict[str, Tensor] = {}

    class Seen(nw.rules.SinglePath):
        def step(self, net: nw.SuperNet, lesson: nw.rules.Lesson) -> float:
            state.update(lesson.state)
            return super().step(net, lesson)

    loader = nw.TensorLoader(blobs(), 8, shuffle=True)
    nw.train(made, loader, rule=Seen(), sampling="shrinking", epochs=40, optimizer="adamw,lr=0.01")
    left = Shrinking().left(made, state)
    assert "nothing" not in left["1.option"] and len(left["1.option"]) >= 2


@pytest.mark.parametrize("text", ["start=0.9", "end=2", "rounds=0"])
def test_settings_are_checked(text: str) -> None:
    with pytest.raises(RecipeError, match=r"from 0 to 1|1 or more"):
        SAMPLINGS.make(f"shrinking,{text}")
