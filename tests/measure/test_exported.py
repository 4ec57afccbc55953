"""Exported files are judged by the task that the network has, on all of their outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import RecipeError
from netwright.measure.exported import OnnxModule
from netwright.tasks.own_metrics import extended

G = torch.Generator().manual_seed(0)


class TwoInTwoOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.kind, self.age = nn.Embedding(9, 6), nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Any:
        hidden = (self.embed(ids) * mask[..., None]).mean(1)
        return {"hidden": hidden, "kind": self.kind(hidden), "age": self.age(hidden)[:, 0]}


TASK = nw.tasks.Several({"kind": nw.tasks.Classification(), "age": nw.tasks.Regression()})


def batch(n: int) -> Any:
    ids, mask = torch.randint(9, (n, 5), generator=G), torch.randint(2, (n, 5), generator=G)
    targets = {"kind": torch.randint(3, (n,), generator=G), "age": torch.randn(n, generator=G)}
    return {"ids": ids, "mask": mask}, targets


@pytest.mark.parametrize("size", [1, 2])
def test_a_file_of_two_inputs_and_three_outputs_is_judged_like_its_network(tmp_path: Path, size: int) -> None:
    network, example = TwoInTwoOut().eval(), batch(size)[0]
    loader = [batch(7), batch(4)]
    bundle = nw.export(network, tmp_path, ["onnx"], example_inputs=example)
    module = OnnxModule(bundle.files["model.onnx"], network, example)
    quality = nw.Quality(TASK, loader)
    wanted, found = quality.all_of(network), quality.all_of(module)
    assert {name: m.value for name, m in found.items()} == pytest.approx(
        {n: m.value for n, m in wanted.items()}, rel=1e-4
    )
    assert set(found) == {"accuracy", "mae", "rmse", "r2"} and found["accuracy"].n == 11
    torch.testing.assert_close(module(**loader[0][0]), network(**loader[0][0]), rtol=1e-4, atol=1e-5)


class Fixed(nn.Module):
    """Takes batches of two alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_of_one_batch_size_is_run_in_parts_of_it(tmp_path: Path) -> None:
    network, path = Fixed().eval(), tmp_path / "fixed.onnx"
    torch.onnx.export(network, (torch.zeros(2, 4),), str(path), dynamo=False, input_names=["input"])
    x = torch.randn(5, 4)
    torch.testing.assert_close(OnnxModule(path, network, torch.zeros(2, 4))(x), network(x), rtol=1e-4, atol=1e-5)


# -- metrics of a person's own -----------------------------------------------------------------------------------


class Bias(nw.tasks.OwnMetric):
    """How often a class is answered."""

    metrics = (nw.Metric("bias", "%"),)

    def __init__(self, kind: int = 0) -> None:
        self.kind, self.given, self.seen = kind, 0, 0

    def update(self, outputs: Any, targets: Any) -> int:
        self.given += int((outputs.argmax(1) == self.kind).sum())
        self.seen += len(outputs)
        return len(outputs)

    def result(self) -> dict[str, nw.Measurement]:
        return {"bias": nw.Measurement(100 * self.given / self.seen, "%", n=self.seen)}


def test_a_metric_of_ones_own_is_measured_beside_the_tasks() -> None:
    task = extended(nw.tasks.Classification(), f"{__name__}:Bias,kind=1")
    scores, labels = torch.eye(3)[[0, 1, 1, 2]], torch.tensor([0, 1, 2, 2])
    found = nw.Quality(task, [(scores, labels)]).all_of(nn.Identity())
    assert [m.name for m in task.metrics] == ["accuracy", "bias"]
    assert found["accuracy"].value == 75 and found["bias"].value == 50
    torch.testing.assert_close(task.loss(scores, labels), nw.tasks.Classification().loss(scores, labels))
    plain = nw.tasks.Classification()
    assert extended(plain, "") is plain and task.example_script() == plain.example_script()
    split = nw.Split(scores, labels)
    task.check(nn.Identity(), nw.Data(split, split, split))
    with pytest.raises(RecipeError, match="measures 'bias' already"):
        extended(task, f"{__name__}:Bias")
    with pytest.raises(RecipeError, match="module:Class"):
        extended(plain, "bais")
