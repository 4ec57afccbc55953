"""The contract of tasks holds for all of ours, and finds what is wrong with others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import MeasureError
from netwright.tasks.losses import feature_loss
from netwright.testing import check_task

G = torch.Generator().manual_seed(1)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=G)


def classes(count: int, *shape: int) -> Tensor:
    return torch.randint(count, shape, generator=G)


class Flat(nn.Module):
    """Values of any shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shape, self.layer = shape, nn.Linear(4, torch.Size(shape).numel())

    def forward(self, x: Tensor) -> Any:
        return self.layer(x).view(len(x), *self.shape)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(9, 6), nn.Linear(6, 9)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return {"logits": self.head(self.embed(input_ids) * attention_mask[..., None])}


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.age = nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Any:
        return {"kind": self.kind(x), "age": self.age(x)}


class Detr(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kinds, self.boxes = nn.Linear(4, 6), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Any:
        return {"logits": self.kinds(x).view(-1, 2, 3), "pred_boxes": self.boxes(x).view(-1, 2, 4).sigmoid()}


IDS, MASK = classes(9, 24, 5), torch.ones(24, 5, dtype=torch.int64)
BOXES = [{"boxes": drawn(2, 4).sigmoid(), "class_labels": classes(2, 2)} for _ in range(4)]
SEVERAL = nw.tasks.Several({"kind": nw.tasks.Classification(), "age": nw.tasks.Regression()})


def parts(inputs: Any, targets: Any) -> nw.Data:
    split = nw.Split(inputs, targets)
    return nw.Data(split, split, split)


@pytest.mark.parametrize(
    "task, network, data",
    [
        (nw.tasks.Classification(), Flat(3), parts(drawn(24, 4), classes(3, 24))),
        (nw.tasks.Classification(top5=True, temperature=2.0), Flat(8), parts(drawn(24, 4), classes(8, 24))),
        (nw.tasks.Classification(), Flat(1), parts(drawn(24, 4), classes(2, 24))),
        (nw.tasks.MultiLabel(), Flat(3), parts(drawn(24, 4), classes(2, 24, 3))),
        (nw.tasks.Regression(), Flat(), parts(drawn(24, 4), drawn(24))),
        (nw.tasks.Regression(objective="mae"), Flat(2, 3), parts(drawn(24, 4), drawn(24, 2, 3))),
        (nw.tasks.TokenClassification(), Flat(5, 3), parts(drawn(24, 4), classes(3, 24, 5))),
        (nw.tasks.Segmentation(), Flat(3, 4, 4), parts(drawn(24, 4), classes(3, 24, 8, 8))),
        (nw.tasks.LanguageModelling(), Tokens(), nw.Data(*[[{"input_ids": IDS, "attention_mask": MASK}] * 2] * 3)),
        (nw.tasks.Custom(nn.functional.mse_loss), Flat(2), parts(drawn(24, 4), drawn(24, 2))),
        (SEVERAL, Two(), parts(drawn(24, 4), {"kind": classes(3, 24), "age": drawn(24)})),
        (nw.tasks.Detection(lambda o, y: feature_loss(o["pred_boxes"], o["pred_boxes"] * 0)), Detr(),
         nw.Data(*[[(drawn(4, 4), BOXES)] * 2] * 3)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_our_tasks_keep_the_contract(task: nw.Task, network: nn.Module, data: nw.Data) -> None:
    found = check_task(task, network, data)
    assert set(found) >= {metric.name for metric in task.metrics}


class Wrong(nw.tasks.Classification):
    """Ours, with a mistake."""


class Constant(Wrong):
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return outputs.argmax(1).sum() * outputs.sum() * 0


class Away(Wrong):
    def distillation_loss(self, outputs: Any, teacher: Any, targets: Any) -> Tensor:
        return -super().distillation_loss(outputs, teacher, targets)


class LastBatch(nw.Evaluator):
    """Forgets what came before."""

    seen = 0

    def update(self, outputs: Any, targets: Any) -> int:
        self.value, self.seen = float(outputs.mean()), len(targets)
        return self.seen

    def result(self) -> dict[str, nw.Measurement]:
        if not self.seen:
            raise MeasureError("nothing")
        return {"accuracy": nw.Measurement(self.value, "%", n=self.seen)}


class Changes(LastBatch):
    def update(self, outputs: Any, targets: Any) -> int:
        outputs += 1
        return super().update(outputs, targets)


class OtherUnit(LastBatch):
    def result(self) -> dict[str, nw.Measurement]:
        return {"accuracy": nw.Measurement(super().result()["accuracy"].value, "", n=1)}


class Empty(LastBatch):
    def result(self) -> dict[str, nw.Measurement]:
        return {"accuracy": nw.Measurement(0.0, "%")}


def judged_by(kind: type[nw.Evaluator]) -> nw.Task:
    class Judged(Wrong):
        def evaluator(self) -> Any:
            return kind()

    return Judged()


@pytest.mark.parametrize(
    "task, words",
    [
        (Constant(), "does not depend on the parameters"),
        (Away(), "no less to learn"),
        (judged_by(LastBatch), "order of the batches"),
        (judged_by(Changes), "changes what it is given"),
        (judged_by(OtherUnit), "is in ''"),
        (judged_by(Empty), "has counted nothing"),
    ],
)
def test_what_breaks_it_is_found(task: nw.Task, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_task(task, Flat(3), parts(drawn(24, 4), classes(3, 24)))
