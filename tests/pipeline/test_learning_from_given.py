"""How networks learn from a given model that comes trained, where a recipe does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.nets import families
from netwright.nets.state import read_tensors
from netwright.pipeline.context import open_run
from netwright.pipeline.finetune import finetune
from netwright.pipeline.train import train
from netwright.recipe.load import parse
from netwright.training.defaults import default_distillation

OPTIMIZER = "adamw,lr=0.01"


def solved() -> nw.SuperNet:
    """A model that gives the sum of its inputs, which is what is to be learned."""
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    for tensor in net.parameters():
        nn.init.zeros_(tensor)
    with torch.no_grad():
        net[0].weight[:12] = torch.cat([torch.eye(6), -torch.eye(6)])  # type: ignore[operator]
        net[2].weight[0, :12] = torch.tensor([1.0] * 6 + [-1.0] * 6)  # type: ignore[operator, index]
    return nw.SuperNet(net, [nw.Width.tie(net, "width", (4, 8, 16), out_of=["0"], into=["2"])], torch.zeros(1, 6))


def untrained() -> nw.SuperNet:
    """The same with weights that give nothing but 0."""
    net = solved()
    torch.nn.init.zeros_(net.module[2].weight)  # type: ignore[index]
    return net


def data() -> nw.Data:
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    parts = [nw.Split(part, part.sum(1)) for part in (x[:64], x[64:80], x[80:])]
    return nw.Data(*parts)


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({}, "features,modules=0,weight=9"),
        ({"teacher": "given"}, "features,modules=0,weight=9"),
        ({"teacher": "none"}, "outputs"),
        ({"distillation": "features,modules=0"}, "features,modules=0"),
    ],
)
def test_from_a_given_model_networks_learn_by_what_suits_it(
    wish: dict[str, str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netwright.pipeline.train.default_distillation", lambda module: "features,modules=0,weight=9")
    recipe = {
        "model": f"{__name__}:solved", "data": f"{__name__}:data", "task": "regression", "objectives": ["mae", "macs"],
        "train": {"epochs": 2, "batch_size": 16, "optimizer": OPTIMIZER, "keep": 100.0, **wish},
    }  # fmt: skip
    with open_run(parse(recipe, "recipe"), tmp_path / "run") as context:
        train(context)
        kept = read_tensors(context.run.weights)[0]
    net = solved()
    nw.train(
        net, nw.TensorLoader(data().train, 16, shuffle=True), task="regression", epochs=2,
        optimizer=OPTIMIZER, teacher=None if wish.get("teacher") == "none" else solved().module, distillation=found,
    )  # fmt: skip
    assert all(torch.equal(kept[name], tensor) for name, tensor in net.module.state_dict().items())


@pytest.mark.parametrize(
    ("wish", "teaches", "found"),
    [
        ({}, True, "features,modules=0,weight=9"),
        ({"teacher": "largest"}, True, "outputs"),
        ({"distillation": "kl"}, True, "kl"),
        ({"teacher": "none"}, False, "outputs"),
    ],
)
def test_a_chosen_network_is_tuned_by_the_given_model(
    wish: dict[str, str], teaches: bool, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netwright.pipeline.finetune.default_distillation", lambda _: "features,modules=0,weight=9")
    asked = tuning(tmp_path, monkeypatch, wish)
    assert (asked["teacher"] is not None, asked["distillation"]) == (teaches, found)


def test_one_whose_stages_have_other_names_learns_from_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter((["blocks.1"], ["blocks.3"]))
    monkeypatch.setattr("netwright.pipeline.finetune.stages", lambda _: next(names))
    asked = tuning(tmp_path, monkeypatch, {})
    assert asked["teacher"] is not None and asked["distillation"] == "outputs"


def test_an_untrained_model_teaches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tuning(tmp_path, monkeypatch, {}, "untrained")
    assert asked["teacher"] is None and asked["distillation"] == "outputs"


def tuning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wish: dict[str, str], model: str = "solved"
) -> dict[str, Any]:
    """What fine-tuning of the smallest network is asked to do, after a training."""
    recipe = {
        "model": f"{__name__}:{model}", "data": f"{__name__}:data", "task": "regression", "objectives": ["mae", "macs"],
        "train": {"epochs": 1, "batch_size": 16, "optimizer": OPTIMIZER, "keep": 100.0},
        "export": {"epochs": 1, **wish},
    }  # fmt: skip
    asked: dict[str, Any] = {}
    monkeypatch.setattr("netwright.training.loop.finetune", lambda *_, **given: asked.update(given))
    with open_run(parse(recipe, "recipe"), folder / "run") as context:
        train(context)
        finetune(context, context.source.space.smallest)
    return asked


def test_stages_suit_convolutional_networks_that_have_some() -> None:
    assert default_distillation(families.cifar_resnet(8).module) == "features,weight=60"
    assert default_distillation(solved().module) == "outputs"
    assert default_distillation(nn.Conv2d(2, 3, 1)) == "outputs"
