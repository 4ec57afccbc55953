"""Kinds of checkpoints of a person's own, and heads: kept, new, or told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import netwright as nw
from netwright.core.errors import RecipeError
from netwright.sources.checkpoints import checkpoint_of
from netwright.sources.checkpoints.base import keeps_head, outputs_for
from netwright.tasks import TASKS

OWN = """
    from dataclasses import dataclass

    import torch
    from torch import nn

    from netwright.sources.checkpoints.base import Checkpoint
    from netwright.sources.checkpoints.wrapped import wrapped
    from netwright.tasks.files.preparation import NOTHING

    @dataclass(frozen=True)
    class Zoo(Checkpoint):
        path: str
        hidden: int = 16

        @classmethod
        def reads(cls, path):
            return path.startswith("zoo/")

        def preparation(self, task):
            return NOTHING

        def source(self, task, data):
            net = nn.Sequential(nn.Linear(4, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 2))
            return wrapped(net, torch.zeros(1, 4), self.path)
"""


def test_a_package_brings_a_kind(install: Callable[..., None]) -> None:
    install("own_zoo", OWN, "netwright.checkpoints: zoo = own_zoo:Zoo")
    checkpoint = checkpoint_of("zoo/small,hidden=32")
    assert checkpoint is not None and checkpoint.path == "zoo/small"
    source = checkpoint.source(TASKS.make("classification"), None)
    assert source.pretrained and source.largest()[0].out_features == 32  # type: ignore[index]
    with pytest.raises(RecipeError, match="no setting 'hiden'; did you mean 'hidden'"):
        checkpoint_of("zoo/small,hiden=32")


def data(labels: list[int], classes: tuple[str, ...] = ()) -> nw.Data:
    split = nw.Split(torch.zeros(len(labels), 4), torch.tensor(labels))
    return nw.Data(split, split, split, classes=classes)


@pytest.mark.parametrize(
    ("names", "outputs", "given", "kept"),
    [
        ((), 2, data([0, 1]), True),
        ((), 3, data([0, 1]), True),
        ((), 2, data([0, 1], ("a", "b")), True),
        ((), 5, data([0, 1], ("a", "b")), False),
        (("B", "A"), 2, data([0, 1], ("B", "A")), True),
        (("x", "y", "z"), 3, data([0, 1], ("a", "b")), False),
    ],
)
def test_heads_are_kept_for_their_own_classes(names: tuple[str, ...], outputs: int, given: nw.Data, kept: bool) -> None:
    wanted = outputs_for(TASKS.make("classification"), given)
    assert wanted == 2 and keeps_head(outputs, names, given, wanted, "it") is kept


def test_what_says_no_number_of_classes_is_told() -> None:
    batches = [(torch.zeros(2, 4), torch.tensor([0, 1]))]
    with pytest.raises(RecipeError, match=r"how many classes there are is not known: give netwright.Data"):
        outputs_for(TASKS.make("classification"), nw.Data(batches, batches, batches))
    assert outputs_for(TASKS.make("classification"), nw.Data(batches, batches, batches, classes=("a", "b", "c"))) == 3
    assert outputs_for(TASKS.make("segmentation"), None) == 0
