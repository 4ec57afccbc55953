"""``netwright plan`` says what a job would be, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import netwright as nw
from netwright.cli.main import main
from netwright.core.limits import Limit
from netwright.core.metric import Measurement
from netwright.pipeline.plan import Cost, Plan, plan

RECIPE = f"""
model: {__name__}:supernet
data: {__name__}:data
task: regression
objectives: [mae, macs]
limits: ["macs <= 0.3x", "mae <= 0.9x", "params <= 40"]
train: {{epochs: 5, batch_size: 8, optimizer: "adamw,lr=1e-3"}}
export: {{epochs: 2}}
evaluations: 40
"""


def supernet() -> nw.SuperNet:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    return nw.SuperNet(net, [nw.Width.tie(net, "width", (4, 8, 16), out_of=["0"], into=["2"])], torch.zeros(1, 6))


def data() -> nw.Data:
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    return nw.Data(*[nw.Split(part, part.sum(1, keepdim=True)) for part in x.split(32)])


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return tmp_path / "mine.yaml"


def test_sizes_limits_and_costs(recipe: Path) -> None:
    found = plan(recipe)
    assert found.space_size == 3 and found.report is not None and set(found.report.elastic) == {"width"}
    assert found.whole["macs"].value == 112 and found.smallest["macs"].value == 28
    assert "mae" in found.whole and "mae" not in found.smallest, "it is not trained"
    assert [str(limit) for limit in found.limits] == ["macs <= 33.6 (0.3x)", "params <= 40"]
    assert found.unknown == ["mae <= 0.9x"] and found.broken() == []
    assert {cost.what: cost.count for cost in found.costs} == {"training": 20, "fine-tuning": 24, "search": 3}
    assert found.memory > 1e6 and found.seconds > 0
    assert [path.name for path in recipe.parent.iterdir()] == ["mine.yaml"], "nothing is kept"


def test_a_limit_below_the_smallest_is_told_with_the_nearest() -> None:
    limit = Limit("latency", "<=", 1.0, "ms", "0.1x")
    told = Plan(3, None, {}, {"latency": Measurement(1.4, "ms")}, [limit], [], [Cost("search", 3, "networks", 2.0)])
    assert told.broken() == [(limit, Measurement(1.4, "ms"))] and told.seconds == 6


def test_it_is_printed(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "mine.yaml", "--limit", "macs <= 0.2x", "--limit", "macs <= 0.3x", "--limit", "mae <= 0.9x"])
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "MACs 112 28",
        "networks: 3",
        "width: 4, 8, 16",
        "limit macs <= 22.4 (0.2x): the smallest network does not keep it; the nearest has 28",
        "limit macs <= 33.6 (0.3x): the smallest network keeps it with 28",
        "limit mae <= 0.9x: its bound is known once the model is trained",
        "training: 20 steps of",
        "in all: about",
    ):
        assert words in said, said
