"""Data of any structure are read, and what cannot be used is told in one line before anything costly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import netwright as nw
from netwright.core.errors import CallError, MeasureError, NetError, NetwrightError, RecipeError
from netwright.nets.inputs import split_batch
from netwright.nets.recalibrate import calibration_inputs
from netwright.tasks.data import calibration_batches, loader_of, read

N = 12
INPUTS, LABELS = torch.randn(N, 4, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3


class Net(nn.Module):
    """Three scores of one input, or of two."""

    def __init__(self, scores: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(4, scores)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Any:
        return self.head(x if scale is None else x * scale)


def data(train: Any, **others: Any) -> nw.Data:
    good = nw.Split(INPUTS, LABELS)
    return nw.Data(train, others.get("validation", good), others.get("test", good))


# -- structure ---------------------------------------------------------------------------------------------------


@dataclass
class Named:
    x: Tensor
    scale: Tensor
    labels: Tensor


@dataclass
class Whole:
    inputs: Any
    targets: Any


class Fields(NamedTuple):
    labels: Tensor
    x: Tensor
    scale: Tensor


SCALE = torch.ones(N, 1)


@pytest.mark.parametrize(
    "batch, inputs",
    [
        ((INPUTS, LABELS), INPUTS),
        ([INPUTS, LABELS], INPUTS),
        ((INPUTS, SCALE, LABELS), (INPUTS, SCALE)),
        ([INPUTS, SCALE, LABELS], (INPUTS, SCALE)),
        ([[INPUTS, SCALE], LABELS], (INPUTS, SCALE)),
        (((INPUTS, SCALE), LABELS), (INPUTS, SCALE)),
        ({"x": INPUTS, "scale": SCALE, "label": LABELS}, {"x": INPUTS, "scale": SCALE}),
        (({"x": INPUTS}, LABELS), {"x": INPUTS}),
        (Named(INPUTS, SCALE, LABELS), {"x": INPUTS, "scale": SCALE}),
        (Whole((INPUTS, SCALE), LABELS), (INPUTS, SCALE)),
        ({"inputs": INPUTS, "targets": LABELS}, INPUTS),
        (Fields(LABELS, INPUTS, SCALE), (INPUTS, SCALE)),
    ],
)
def test_batches_of_any_structure_are_split_judged_and_recalibrated_with(batch: Any, inputs: Any) -> None:
    given, labels = split_batch(batch)
    assert labels is LABELS and type(given) is type(inputs)
    network = Net().eval()
    network.example_inputs = inputs  # type: ignore[assignment]
    expected = nw.Accuracy([(INPUTS, LABELS)]).of(network)
    assert nw.Accuracy([batch]).of(network) == expected
    again = calibration_inputs(network, batch)
    torch.testing.assert_close(again, given)


def test_a_list_of_a_persons_own_stays_one_argument() -> None:
    inputs, _ = split_batch(([INPUTS, SCALE], LABELS))
    assert type(inputs) is list


def test_splits_hold_structures_of_tensors() -> None:
    split = nw.Split({"x": INPUTS, "scale": SCALE}, {"kind": LABELS, "age": INPUTS[:, 0]})
    batches = list(nw.TensorLoader(split, 5))
    assert [len(targets["age"]) for _, targets in batches] == [5, 5, 2] and set(batches[0][0]) == {"x", "scale"}
    assert torch.equal(torch.cat([inputs["x"] for inputs, _ in batches]), INPUTS)
    assert torch.equal(split.drawn(4, 1).inputs["x"], split.drawn(4, 1).inputs["x"]) and len(split.drawn(4, 1)) == 4
    with pytest.raises(NetwrightError, match="12 inputs and 11 labels"):
        nw.Split(INPUTS, LABELS[1:])
    with pytest.raises(NetwrightError, match="3 or 12 inputs and 12 labels"):
        nw.Split((INPUTS, SCALE[:3]), LABELS)
    for wrong, kind in (({"x": INPUTS.numpy()}, "ndarray"), (torch.tensor(1), "without dimensions"), ([], "list")):
        with pytest.raises(NetwrightError, match=kind):
            nw.Split(wrong, LABELS)


# -- loaders -----------------------------------------------------------------------------------------------------


class Streamed(IterableDataset[tuple[Tensor, Tensor]]):
    """Of a length that nobody knows."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(INPUTS, LABELS, strict=True)


class Failing(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if i == 9:
            raise ValueError("image 9 is torn")
        return INPUTS[i], LABELS[i]


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_are_data_as_they_are(workers: int) -> None:
    loader: Any = DataLoader(Streamed(), batch_size=5, num_workers=workers and 1)
    network = Net().eval()
    nw.tasks.Classification().check(network, data(loader, validation=loader))
    assert nw.Accuracy(loader).of(network) == nw.Accuracy([(INPUTS, LABELS)]).of(network)
    assert loader_of(loader, 3) is loader and len(list(loader_of(nw.Split(INPUTS, LABELS), 5))) == 3


def test_calibration_takes_the_first_batches_of_a_loader_the_same_each_time() -> None:
    loader = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=4, shuffle=True)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again = calibration_batches(data(loader), 6, 0), calibration_batches(data(loader), 6, 0)
    assert [len(labels) for _, labels in first] == [4, 4]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_that_raises_is_told_in_one_line(workers: int) -> None:
    loader = DataLoader(Failing(), batch_size=4, num_workers=workers)
    with pytest.raises(MeasureError, match="could not be read: ValueError: image 9 is torn") as caught:
        nw.Accuracy(loader).of(Net())
    assert "\n" not in str(caught.value) and ("worker" in str(caught.value)) == bool(workers)
    assert list(read([1, 2], "the data")) == [1, 2]


def test_what_gives_its_batches_only_once_is_refused() -> None:
    once = ((INPUTS, LABELS) for _ in range(1))
    with pytest.raises(NetwrightError, match="train data are a generator, which gives its batches only once"):
        data(once)
    with pytest.raises(CallError, match="only once"):
        nw.Accuracy(once)
    for wrong, kind in ((3, "int"), ((INPUTS, LABELS), "tuple"), (INPUTS, "Tensor"), ("train.csv", "str")):
        with pytest.raises(NetwrightError, match=f"not a {kind}"):
            data(wrong)
    with pytest.raises(NetwrightError, match="augment="):
        nw.Data([(INPUTS, LABELS)], [], [], augment=lambda x: x)


class UsedUp:
    """Starts with what is left."""

    def __init__(self) -> None:
        self.left = iter([(INPUTS, LABELS)])

    def __iter__(self) -> Iterator[Any]:
        return self.left


def test_nothing_to_learn_from_is_told() -> None:
    task, used = nw.tasks.Classification(), UsedUp()
    list(used)
    for empty in ([], used):
        with pytest.raises(RecipeError, match="the train data give no batches"):
            task.check(Net(), data(empty))
        with pytest.raises(MeasureError, match="used up"):
            nw.Accuracy(empty).of(Net())


# -- what a task takes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task, targets, words",
    [
        ("classification", LABELS.int(), ["int64", "long()"]),
        ("classification", LABELS[:, None], ["(12, 1)"]),
        ("classification", LABELS + 1, ["labels go up to 3", "4 or more"]),
        ("classification", LABELS - 1, ["-1"]),
        ("classification,class_weights=(1,2)", LABELS, ["class_weights has 2 entries", "3 classes"]),
        ("classification,top5=true", LABELS, ["top5 of 3 classes"]),
        ("regression", LABELS, ["numbers", "targets.float()"]),
        ("regression", INPUTS, ["(2, 3)", "(2, 4)"]),
        ("regression", INPUTS[:, :3] * math.inf, ["finite"]),
        ("multilabel", LABELS, ["(n, labels)", "one_hot"]),
        ("multilabel", INPUTS[:, :3], ["0 or 1"]),
        ("multilabel", (INPUTS > 0).long(), ["(2, 3)", "(2, 4)"]),
        ("multilabel,positive_weights=(1,2)", (INPUTS[:, :3] > 0).long(), ["positive_weights has 2"]),
        ("token-classification", LABELS, ["int64"]),
        ("token-classification", LABELS[:, None], ["(2, 3)", "(n, tokens, classes)"]),
        ("segmentation", LABELS[:, None, None], ["(2, 3)", "(n, classes, h, w)"]),
        ("language-modelling", LABELS[:, None], ["(n, tokens, vocabulary)"]),
    ],
)
def test_targets_that_a_task_does_not_take_are_told_with_the_fix(task: str, targets: Tensor, words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        nw.tasks.TASKS.make(task).check(Net(), data(nw.Split(INPUTS, targets)))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_inputs_and_batches_that_do_not_fit_are_told() -> None:
    task = nw.tasks.Classification()
    with pytest.raises(RecipeError, match=r"cannot take the data, validation inputs of shape \(5,\)"):
        task.check(Net(), data(nw.Split(INPUTS, LABELS), validation=nw.Split(torch.zeros(2, 5), LABELS[:2])))
    with pytest.raises(RecipeError, match="the train data: a batch must be a pair"):
        task.check(Net(), data([INPUTS]))
    with pytest.raises(RecipeError, match="the test data could not be read: ValueError: image 9 is torn"):
        task.check(Net(), data(nw.Split(INPUTS, LABELS), test=DataLoader(Failing(), batch_size=N)))
    network = Net().train()
    task.check(network, data(nw.Split(INPUTS, LABELS)))
    assert network.training, "as it was"


# -- a person's own ----------------------------------------------------------------------------------------------


class Own(nw.Task):
    """What a person writes, with one mistake."""

    metrics = (nw.Metric("goodness", "", "max"),)

    def __init__(self, loss: Any = None, found: Any = None) -> None:
        self._loss, self._found = loss, found

    def loss(self, outputs: Any, targets: Any) -> Any:
        return outputs.mean() if self._loss is None else self._loss(outputs)

    def evaluator(self) -> nw.Evaluator:
        return Fixed({"goodness": nw.Measurement(1.0)} if self._found is None else self._found)


class Fixed(nw.Evaluator):
    def __init__(self, found: Any) -> None:
        self.found, self.seen = found, 0

    def update(self, outputs: Any, targets: Any) -> int:
        self.seen += len(targets)
        return len(targets)

    def result(self) -> Any:
        return self.found() if callable(self.found) else self.found


def fails(*_: Any) -> Any:
    raise KeyError("boxes")


@pytest.mark.parametrize(
    "task, words",
    [
        (Own(loss=lambda outputs: outputs), "one number"),
        (Own(loss=lambda outputs: 3), "a int"),
        (Own(loss=lambda outputs: outputs.sum() * math.nan), "the loss of Own is nan"),
        (Own(loss=fails), "the loss of Own raised KeyError: 'boxes'"),
        (Own(found={}), "does not return 'goodness'"),
        (Own(found={"goodness": 3.0}), "netwright.Measurement"),
        (Own(found=fails), "the evaluator of Own raised KeyError"),
    ],
)
def test_mistakes_in_a_task_of_ones_own_are_told(task: nw.Task, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        task.check(Net(), data([(INPUTS, LABELS)]))


def test_a_task_of_ones_own_is_measured_like_ours() -> None:
    Own().check(Net(), data([(INPUTS, LABELS)]))
    quality = nw.Quality(Own(), [(INPUTS, LABELS)])
    assert quality.metrics == Own.metrics and quality.of(Net()) == nw.Measurement(1.0)
    with pytest.raises(MeasureError, match="does not return 'goodness'"):
        nw.Quality(Own(found={}), [(INPUTS, LABELS)]).of(Net())
    with pytest.raises(NetwrightError, match="distillation_loss"):
        Own().distillation_loss(INPUTS, INPUTS, LABELS)
    assert isinstance(nw.tasks.TASKS.make(f"{__name__}:Own"), Own)


def test_outputs_of_several_tensors_need_a_name() -> None:
    with pytest.raises(NetError, match="logits"):
        nw.tasks.Classification().loss((INPUTS, INPUTS), LABELS)
