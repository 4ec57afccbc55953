"""Values of another kind than a public function takes are told in its own words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import netwright as nw


@cache
def net() -> nw.SuperNet:
    made = nw.wrap(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)), torch.randn(2, 4))
    assert isinstance(made, nw.SuperNet)  # asked for by its public name, it checks what its methods are given
    return made


class Unsized(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        raise NotImplementedError


class Rateless(torch.optim.Optimizer):
    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {})


def split() -> nw.Split:
    return nw.Split(torch.randn(6, 4), torch.arange(6) % 2)


def batches() -> list[Any]:
    return list(nw.TensorLoader(split(), 6))


def train(**wishes: Any) -> None:
    nw.train(net(), batches(), **{"epochs": 1, **wishes})


def judge(task: Any = "classification", targets: Any = None, inputs: int = 4, network: Any = None) -> None:
    given = split().targets if targets is None else targets
    nw.Quality(task, [(torch.randn(6, inputs), given)]).of(net().module if network is None else network)


TASKS = nw.tasks


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: train(task=TASKS.Several), "needs 'tasks' as well"),
        (lambda: train(task=3), "task is a task .* a text or None, not 3"),
        (lambda: train(task="regresion"), "did you mean 'regression'"),
        (lambda: nw.train(nn.Linear(4, 2), batches(), epochs=1), "net is a super-network, not a Linear; nw.wrap"),  # type: ignore[arg-type]
        (lambda: nw.finetune(net(), batches(), epochs=1), "network is a network.* not a SuperNet; .*extract one first"),  # type: ignore[arg-type]
        (lambda: train(epochs="3"), "epochs is a whole number, not '3'"),
        (lambda: train(epochs=1.5), "epochs is a whole number, not 1.5"),
        (lambda: train(accumulate=1.5), "accumulate is a whole number, not 1.5"),
        (lambda: train(seed=-1), "seed is a whole number, 0 or more, not -1"),
        (lambda: train(clip_norm="1"), "clip_norm is a number or None, not '1'"),
        (lambda: train(ema="x"), "ema is a number or None, not 'x'"),
        (lambda: train(checkpoint_steps="2"), "checkpoint_steps is a whole number"),
        (lambda: train(checkpoint=3), "checkpoint is a text, a path or None"),
        (lambda: train(callback=3), "callback is a function of .* or None, not 3"),
        (lambda: train(evaluate=3), "evaluate is a function without arguments or None, not 3"),
        (lambda: train(optimizer=lambda module: Rateless(module.parameters())), "has no learning rate"),
        (
            lambda: nw.finetune(nn.Linear(4, 2), batches(), epochs=1, trainable=3),
            "trainable is a text, a list .* or None, not 3",
        ),  # type: ignore[arg-type]
        (lambda: judge(batches()), "a task is .* or a text .* not a list"),
        (lambda: judge(inputs=5), r"accuracy cannot be judged: .*6x5"),
        (lambda: judge(network=net()), "network is a network.* not a SuperNet"),
        (lambda: judge("token-classification", torch.zeros(6, 7).long()), r"scores of shape \(6, 2\) for labels"),
        (lambda: judge("segmentation", torch.zeros(6, 7, 7).long()), r"scores of shape \(6, 2\) for labels"),
        (lambda: judge(targets=torch.arange(6)), "labels go from 0 to 5"),
        (lambda: nw.TensorLoader(split(), 0), "the size of a batch is a whole number, 1 or more, not 0"),
        (lambda: nw.TensorLoader((1, 2), 8), "takes a netwright.Split"),  # type: ignore[arg-type]
        (lambda: nw.Data(split(), split(), split(), augment=3), "augment is a function"),  # type: ignore[arg-type]
        (lambda: TASKS.Classification(label_smoothing=2.0), "label_smoothing is a share from 0 to 1, not 2.0"),
        (lambda: TASKS.Classification(class_weights=3), "class_weights is a tuple of numbers"),  # type: ignore[arg-type]
        (lambda: TASKS.MultiLabel(positive_weights=(-1.0,)), "positive_weights is a tuple of numbers, 0 or more"),
        (lambda: TASKS.TokenClassification(temperature=0), "temperature is a number above 0, not 0"),
        (lambda: TASKS.Regression("l1"), "objective cannot be 'l1'"),  # type: ignore[arg-type]
        (lambda: TASKS.LanguageModelling(bytes_per_token=-1), "bytes_per_token is a number of bytes"),
        (lambda: TASKS.Several({}), "tasks is a dict of an output's name to its task"),
        (lambda: TASKS.Several({"a": TASKS.Regression}), "'a' needs a task"),  # type: ignore[dict-item]
        (lambda: TASKS.Custom(None), "criterion must be a function"),  # type: ignore[arg-type]
        (lambda: TASKS.Custom(nn.functional.mse_loss, {"mae": print}), "values is a dict of functions"),  # type: ignore[dict-item]
        (lambda: TASKS.Detection(3), "criterion must be a function"),  # type: ignore[arg-type]
        (lambda: nw.train(net(), None, epochs=1), "a loader gives .* a NoneType is none"),  # type: ignore[arg-type]
        (lambda: nw.train(net(), iter(()), epochs=1), "is used up after the first"),  # type: ignore[arg-type]
        (lambda: net().count(3), "candidate is a candidate .* not 3"),  # type: ignore[arg-type]
        (lambda: net().extract({"a": 1}), "is no candidate"),  # type: ignore[arg-type]
        (lambda: nw.front("records"), "records is a list .a record, .* not 'records'"),  # type: ignore[arg-type]
        (lambda: nw.recalibrate(net(), []), "extract one first"),  # type: ignore[arg-type]
        (lambda: nw.wrap(nn.Linear(4, 16), torch.randn(2, 4), batch_dims=7), "no input has that dimension"),
        (
            lambda: nw.export(net(), "out"),
            "network is a network .* not a SuperNet; of a super-network extract one first",
        ),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_kind_is_said(call: Callable[[], object], words: str) -> None:
    with pytest.raises(nw.NetwrightError, match=words):
        call()


def test_weights_may_be_a_tensor_and_a_loader_may_not_know_its_length() -> None:
    assert TASKS.Classification(class_weights=torch.tensor([1.0, 2.0])).class_weights == (1.0, 2.0)  # type: ignore[arg-type]
    nw.train(net(), Unsized(batches()), epochs=1, task="classification")
