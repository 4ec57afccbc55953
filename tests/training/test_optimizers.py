"""Optimizers and schedules by name and settings: what they make, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netwright.core.errors import NetwrightError, RecipeError, TrainingError
from netwright.training.defaults import default_optimizer
from netwright.training.optimizers import OPTIMIZERS
from netwright.training.optimizers.lion import Lion
from netwright.training.schedules import SCHEDULES
from netwright.training.schedules.base import Schedule


def built(what: Any, module: nn.Module | None = None) -> torch.optim.Optimizer:
    return OPTIMIZERS.make(what).build(module or nn.Linear(3, 2))


def test_everything_in_torch_has_its_name_and_its_settings_types() -> None:
    classes = {
        name.lower(): value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
    assert {*OPTIMIZERS.names()} >= {*classes} - {"optimizer", "lbfgs"} | {"lion"}
    for name in {*classes} - {"optimizer", "lbfgs", "muon"}:
        assert type(built(name)) is classes[name]
    made = built("adamw,lr=1e-4,betas=(0.8,0.95),amsgrad=true")
    assert isinstance(made, torch.optim.AdamW)
    assert made.defaults["lr"] == 1e-4 and made.defaults["betas"] == (0.8, 0.95) and made.defaults["amsgrad"] is True
    assert OPTIMIZERS.settings("adamw")["weight_decay"][1] == 0.01
    assert OPTIMIZERS.text(OPTIMIZERS.make("sgd,lr=0.1,momentum=0.9")) == "sgd,lr=0.1,momentum=0.9"


@pytest.mark.parametrize(
    "text, words",
    [
        ("adamq", "did you mean 'adam'?"),
        ("AdamW", "did you mean 'adamw'?"),
        ("adamw,lr=fast", "adamw: lr must be a number or auto, not 'fast'"),
        ("sgd,momentun=0.9", "sgd has no setting 'momentun'; did you mean 'momentum'?"),
        ("lbfgs", "needs the loss of a batch several times in a step"),
        ("nowhere:make", "cannot import 'nowhere'"),
        (torch.optim.Adam, "lambda module: torch.optim.Adam"),
        (3, "an optimizer is an object of that kind or a text"),
    ],
)
def test_what_does_not_exist_names_the_nearest(text: Any, words: str) -> None:
    with pytest.raises(RecipeError) as error:
        OPTIMIZERS.make(text)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_settings_that_torch_refuses_are_told() -> None:
    for text, words in (("adamw,lr=-1", "Invalid learning rate"), ("sgd,momentum=-1,lr=auto", "Invalid momentum")):
        with pytest.raises(RecipeError, match=f"the optimizer '{text}' cannot be .*{words}"):
            OPTIMIZERS.check(text)
    frozen = nn.Linear(3, 2).requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing to train"):
        built("adamw", frozen)


def test_weight_decay_spares_vectors() -> None:
    groups = built("adamw,weight_decay=0.05").param_groups
    assert [(g["weight_decay"], [p.dim() for p in g["params"]]) for g in groups] == [(0.05, [2]), (0.0, [1])]
    assert len(built("adam").param_groups) == 1


def halved(module: nn.Linear, lr: float = 0.1) -> torch.optim.Optimizer:
    groups = [{"params": [module.weight]}, {"params": [module.bias], "lr": lr / 2}]
    return torch.optim.SGD(groups, lr=lr)


class Signed(torch.optim.SGD):
    pass


def test_ones_own_come_as_functions_of_the_network_and_as_classes() -> None:
    for what in ("test_optimizers:halved,lr=0.4", lambda module: halved(module, 0.4)):
        assert [g["lr"] for g in built(what).param_groups] == [0.4, 0.2]
    made = built("test_optimizers:Signed,lr=0.3")
    assert type(made) is Signed and made.defaults["lr"] == 0.3
    for wrong, words in ((lambda m: None, "gave a NoneType"), (lambda m: 1 / 0, "ZeroDivisionError")):
        with pytest.raises(TrainingError, match=words):
            built(wrong)


def test_lion_moves_by_the_sign_of_its_momentum() -> None:
    p = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    lion, momentum, wanted = Lion([p], lr=0.1, betas=(0.5, 0.75), weight_decay=0.2), torch.zeros(3), p.detach().clone()
    for g in ([1.0, -1.0, 0.0], [-3.0, -1.0, 2.0], [0.5, 4.0, -9.0]):
        p.grad = torch.tensor(g)
        lion.step()
        wanted = wanted - 0.1 * ((0.5 * momentum + 0.5 * p.grad).sign() + 0.2 * wanted)
        momentum = 0.75 * momentum + 0.25 * p.grad
        torch.testing.assert_close(p.detach(), wanted)
    with pytest.raises(ValueError, match="betas"):
        Lion([p], betas=(1.0, 0.5))


# -- what fits a network -----------------------------------------------------------------------------------------


def test_defaults_fit_what_is_given() -> None:
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    words = nn.TransformerEncoderLayer(8, 2)
    table = nn.Linear(3, 1)
    assert default_optimizer(images)[0] == "sgd,lr=0.1,momentum=0.9,nesterov=true,weight_decay=0.0001"
    assert "sgd,lr=0.01," in default_optimizer(images, "pretrained")[0]
    assert default_optimizer(words)[0] == "adamw,lr=0.001" and default_optimizer(table)[0] == "adamw,lr=0.001"
    assert default_optimizer(words, "pretrained")[0] == "adamw,lr=0.0001"
    assert default_optimizer(nn.Sequential(table, nn.BatchNorm1d(1)))[0].startswith("sgd,lr=0.1")
    patches = nn.Sequential(nn.Conv2d(3, 8, 4), words)
    assert default_optimizer(patches)[0].startswith("adamw") and "layer normalisation" in default_optimizer(patches)[1]


# -- schedules ---------------------------------------------------------------------------------------------------


def shares(text: str, steps: int = 100) -> Tensor:
    schedule = SCHEDULES.make(text)
    return torch.tensor([schedule.share(step, steps) for step in range(steps)])


def test_schedules_rise_and_fall_as_they_should() -> None:
    cosine = shares("cosine")
    assert torch.allclose(cosine[:5], torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])) and cosine.argmax() in (4, 5)
    middle = 5 + 95 // 2
    assert cosine[middle] == pytest.approx(0.5 * (1 + math.cos(math.pi * 47 / 95)))
    assert cosine[-1] < 0.001 and shares("cosine,end=0.1")[-1] == pytest.approx(0.1, abs=0.001)
    linear = shares("linear,warmup=0.2")
    assert linear[:20].diff().std() < 1e-6 and linear[20:].diff().std() < 1e-6 and linear.max() == 1
    assert shares("constant").unique().tolist() == [1.0] and shares("constant,warmup=0.5")[25] == pytest.approx(0.52)
    cycle = shares("one_cycle,rise=0.25")
    assert cycle[0] == pytest.approx(0.04) and 24 <= int(cycle.argmax()) <= 25 and cycle[-1] == pytest.approx(4e-6)


@pytest.mark.parametrize("text", ["cosine", "linear", "constant", "one_cycle", "one_cycle,rise=0", "cosine,warmup=0"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_trainings_have_schedules_too(text: str, steps: int) -> None:
    assert bool(((shares(text, steps) >= 0) & (shares(text, steps) <= 1)).all()) and shares(text, steps)[0] > 0


class Stairs(Schedule):
    def __init__(self, drops: int = 2) -> None:
        self.drops = drops

    def share(self, step: int, steps: int) -> float:
        return 0.1 ** (step * self.drops // steps)


def test_ones_own_schedule_and_mistakes() -> None:
    assert shares("test_optimizers:Stairs,drops=4", 4).tolist() == pytest.approx([1, 0.1, 0.01, 0.001])
    for text, words in (("cosin", "did you mean 'cosine'"), ("cosine,warmup=2", "a share of all steps")):
        with pytest.raises(NetwrightError, match=words):
            SCHEDULES.make(text)
