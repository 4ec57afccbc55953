"""The head of a module of a person's own is found, and is new where the data have other classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from netwright.core.errors import RecipeError
from netwright.sources.base import Source
from netwright.sources.checkpoints import checkpoint_of
from netwright.sources.checkpoints.heads import head_of
from netwright.tasks import Classification
from netwright.tasks.data import Data, Split


class Pooled(nn.Module):
    """A convolution as the head, whose result is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu().mean((2, 3), keepdim=True)).flatten(1)


class Softened(Pooled):
    """Gives probabilities."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Twice(nn.Module):
    """Two layers of the same sizes in a row, of which the last is the head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)[:, :12]))


IMAGE = torch.ones(1, 3, 6, 6)


@pytest.mark.parametrize(("module", "path"), [(Pooled(), "head"), (Softened(), None), (Twice(), "last")])
def test_the_layer_that_gives_the_result_is_the_head(module: nn.Module, path: str | None) -> None:
    assert head_of(module.train(), IMAGE) == path
    assert module.training and not module._forward_hooks, "it is left as it was"


def data(*classes: str, count: int = 3) -> Data:
    part = Split(torch.randn(9, 3, 6, 6), torch.arange(9) % count)
    return Data(part, part, part, classes=classes)


def source(folder: Path, settings: str, given: Data, cls: type[nn.Module] = Pooled) -> Source:
    torch.manual_seed(0)
    save_file(cls().state_dict(), folder / "w.safetensors")
    checkpoint = checkpoint_of(f"{__name__}:{cls.__name__},weights={folder / 'w.safetensors'}{settings}")
    assert checkpoint is not None
    return checkpoint.source(Classification(), given)


def test_other_classes_have_a_new_head(tmp_path: Path) -> None:
    found = source(tmp_path, "", data("a", "b", "c"))
    assert found.new_head and found.notes[0].endswith("with a new head of 3 outputs, head")
    head = found.largest().head
    assert isinstance(head, nn.Conv2d) and head.out_channels == 3 and head.bias is None
    own = source(tmp_path, "", data("a", "b", "c", "d", "e", count=5))
    assert not own.new_head, "it has as many as the data"
    anew = source(tmp_path, ",head=new", data("a", "b", "c", "d", "e", count=5))
    assert anew.new_head
    assert not torch.equal(anew.largest().head.weight, own.largest().head.weight)  # type: ignore[union-attr, arg-type]


def test_a_head_that_cannot_be_told_is_not_replaced(tmp_path: Path) -> None:
    assert not source(tmp_path, "", data("a", "b", "c"), Softened).new_head
    with pytest.raises(RecipeError, match=r"no linear layer or convolution whose result .* build it with 3 outputs"):
        source(tmp_path, ",head=new", data("a", "b", "c"), Softened)


@pytest.mark.parametrize(("settings", "smallest"), [("", 8), (",least=0.25", 8), (",least=1", 16)])
def test_sizes_go_down_to_a_share(tmp_path: Path, settings: str, smallest: int) -> None:
    if settings == ",least=1":
        with pytest.raises(RecipeError, match="can be cut"):
            source(tmp_path, settings, data("a", "b", "c"))
        return
    found = source(tmp_path, settings, data("a", "b", "c"))
    assert found.space.smallest["body.width"] == smallest
