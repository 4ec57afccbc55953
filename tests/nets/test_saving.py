"""What another library saves beside a config is what it reads again, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import NetError
from netwright.nets.state import read_tensors, state_of, write_tensors


class Config:
    """Sizes of a model, as a library keeps them."""

    def __init__(self, **sizes: Any) -> None:
        self.blocks, self.width, self.inner, self.kinds = 4, 16, 48, ["a", "b", "c", "d"]
        vars(self).update(sizes)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class Block(nn.Module):
    def __init__(self, config: Config, kind: str) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(config.width, config.inner), nn.Linear(config.inner, config.width)
        self.sign = -1.0 if kind in "bd" else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sign * self.down(self.up(x).tanh())


class Model(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config, config.kinds[i]) for i in range(config.blocks))
        self.head = nn.Linear(config.width, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def save_pretrained(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(self.config.to_dict()))
        write_tensors(folder / "weights.safetensors", state_of(self))

    @classmethod
    def from_pretrained(cls, folder: Path) -> Model:
        model = cls(Config(**json.loads((folder / "config.json").read_text())))
        model.load_state_dict(read_tensors(folder / "weights.safetensors")[0], strict=False)
        return model.eval()


def made() -> nw.SuperNet:
    torch.manual_seed(0)
    return nw.wrap(Model(Config()).eval(), torch.randn(2, 16))


INNER = [f"blocks.{i}.up.width" for i in range(4)]


@pytest.mark.parametrize(
    "cut", [{}, {"blocks.depth": 2}, dict.fromkeys(INNER, 24), {**dict.fromkeys(INNER, 24), "blocks.depth": 3}]
)
def test_what_the_config_can_say_is_saved(cut: dict[str, Any], tmp_path: Path) -> None:
    net = made()
    network: Any = net.extract(net.space.candidate({**net.largest, **cut})).eval()
    before = network.config.to_dict()
    network.save_pretrained(tmp_path)
    again, x = Model.from_pretrained(tmp_path), torch.randn(5, 16)
    torch.testing.assert_close(again(x), network(x))
    assert len(again.blocks) == cut.get("blocks.depth", 4) and again.config.inner == cut.get(INNER[0], 48)
    assert network.config.to_dict() == before, "the network itself stays as it was extracted"


def test_what_it_cannot_say_is_refused(tmp_path: Path) -> None:
    net = made()
    network: Any = net.extract(net.space.candidate({**net.largest, INNER[1]: 24}))
    with pytest.raises(NetError, match=r"blocks.1.(up|down).* there; its config has no numbers .*netwright.export"):
        network.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_networks_without_it_get_none() -> None:
    net = nw.wrap(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)), torch.zeros(1, 4))
    assert not hasattr(net.extract(net.smallest), "save_pretrained")
