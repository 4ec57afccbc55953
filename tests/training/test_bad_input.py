"""What a training is given that cannot go well is said in one line, with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_nets import blobs, loader, tiny
from torch import nn

import netwright as nw
from netwright.core.errors import CallError, CheckpointError, NetError, RecipeError, TrainingError
from netwright.training.rules import RULES
from netwright.training.schedules.base import Schedule


def wide(options: tuple[int, ...] = (4, 8), name: str = "hidden") -> nw.SuperNet:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    return nw.SuperNet(net, [nw.Width.tie(net, name, options, out_of=["1"], into=["3"])], torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize("rule", RULES.names())
def test_a_loss_that_is_not_finite_names_its_sub_network_and_step(rule: str, tmp_path: Path) -> None:
    net, seen = tiny(), list[int]()

    def later(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return images * (float("nan") if len(seen) > 8 else 1.0)

    batches = nw.TensorLoader(blobs(), 8, shuffle=True, augment=later)
    with pytest.raises(TrainingError) as raised:
        nw.train(net, batches, epochs=2, rule=rule, optimizer="sgd,lr=0.01", checkpoint=tmp_path / "c")
    text = str(raised.value)
    assert "the loss of the " in text and "sub-network" in text and "is nan in epoch 2, step 3" in text
    assert text.endswith("the state after epoch 1 is kept") and "\n" not in text


def test_a_checkpoint_of_another_space_says_what_differs(tmp_path: Path) -> None:
    nw.train(wide(), loader(), epochs=1, checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"other choices: its 'hidden' is one of 4, 8, and of this one 2, 4, 8;"):
        nw.train(wide((2, 4, 8)), loader(), epochs=1, checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"it lacks 'inner'; it has 'hidden', which this one lacks; make the"):
        nw.train(wide(name="inner"), loader(), epochs=1, checkpoint=tmp_path / "c")


def test_a_teacher_of_other_outputs_is_told_by_their_shapes() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    with pytest.raises(TrainingError, match=r"shapes \(8, 3\) cannot learn from one .* \(8, 5\) .*give a teacher with"):
        nw.train(wide(), loader(), epochs=1, teacher=teacher)
    with pytest.raises(TrainingError, match=r"shapes \(8, 3\) cannot learn from one .* \(8, 5\)"):
        nw.finetune(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), loader(), epochs=1, teacher=teacher)


def test_a_teacher_that_is_a_candidate_or_of_another_space_is_refused() -> None:
    net = wide()
    with pytest.raises(CallError, match=r"is a network \(a torch\.nn\.Module\), not .*net\.extract\(candidate\)"):
        nw.train(net, loader(), epochs=1, teacher=net.smallest)  # type: ignore[arg-type]
    with pytest.raises((NetError, ValueError), match="hidden"):
        net.extract(wide(name="inner").largest)


@pytest.mark.parametrize("what", ["train", "finetune"])
def test_batch_normalisation_cannot_learn_from_one_example(what: str) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    batches = nw.TensorLoader(blobs(9), 8)  # the last has one
    with pytest.raises(
        TrainingError, match=r"step 2, .*batch normalisation cannot learn from a single.*drop_last=True"
    ):
        if what == "train":
            nw.train(nw.wrap(net, torch.zeros(2, 1, 4, 4)), batches, epochs=1)
        else:
            nw.finetune(net, batches, epochs=1)


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(RecipeError, match="warmup is a share of all steps, from 0 to below 1, not 500"):
        nw.train(wide(), loader(), epochs=1, schedule="cosine,warmup=500")


class Broken(Schedule):
    def share(self, step: int, steps: int) -> float:
        return float("nan") if step > 2 else 1.0


def test_a_schedule_that_gives_no_number_is_told() -> None:
    with pytest.raises(TrainingError, match=r"the schedule Broken gives nan for step 3 of 6: share\(\) gives what"):
        nw.train(wide(), loader(), epochs=1, schedule=Broken())


@pytest.mark.parametrize("how", [{"rule": "attentive"}, {"sampling": "cost"}])
def test_a_rule_that_needs_costs_where_none_differ_is_told(how: dict[str, Any]) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    one = nw.SuperNet(net, [nw.Width.tie(net, "hidden", (8,), out_of=["1"], into=["3"])], torch.zeros(1, 1, 4, 4))
    with pytest.raises(TrainingError, match=r"all sub-networks have the same macs .*a rule or sampling that needs no"):
        nw.train(one, loader(), epochs=1, **how)
