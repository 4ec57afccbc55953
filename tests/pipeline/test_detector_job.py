"""The small detector goes through the whole job: it learns, is searched by what it finds, and its file finds boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor

import netwright as nw
from netwright.nets.families.detector import detector
from netwright.tasks import dense_boxes

SIDE = 32


class Discs:
    """Batches of noise with one disc each, and its box."""

    def __init__(self, seed: int, batches: int) -> None:
        self.seed, self.batches = seed, batches

    def __iter__(self) -> Iterator[tuple[Tensor, list[dict[str, Tensor]]]]:
        draw = torch.Generator().manual_seed(self.seed)
        rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        for _ in range(self.batches):
            images, targets = 0.1 * torch.randn(8, 3, SIDE, SIDE, generator=draw), []
            for image in images:
                x, y = torch.randint(8, SIDE - 8, (2,), generator=draw).tolist()
                image[:, (rows - y) ** 2 + (columns - x) ** 2 <= 36] += 1
                targets.append({"boxes": torch.tensor([[x - 6.0, y - 6, x + 7, y + 7]]), "labels": torch.tensor([0])})
            yield images, targets


def supernet() -> nw.SuperNet:
    torch.manual_seed(0)
    return detector(1, SIDE, (8, 16, 16, 16, 16), 1, shares=(0.5,), round_to=8)


def data() -> nw.Data:
    return nw.Data(Discs(1, 8), Discs(2, 2), Discs(3, 2))


@pytest.mark.slow
def test_a_detector_is_trained_searched_and_exported(tmp_path: Path) -> None:
    module = Path(__file__).stem
    fitted = nw.fit(
        {
            "model": f"{module}:supernet", "data": f"{module}:data",
            "task": "detection,criterion=netwright.tasks.dense_boxes:loss,decode=netwright.tasks.dense_boxes:decode",
            "objectives": ["map", "macs"], "evaluations": 2, "search": {"strategy": "random", "calibration": 16},
            "train": {"epochs": 3, "rule": "largest", "optimizer": "adamw,lr=3e-3"}, "latency": {"max_seconds": 0.01},
            "export": {"epochs": 0, "formats": ["onnx"]}, "report": {"sections": ["front"]},
        },
        tmp_path / "out",
    )  # fmt: skip
    assert len(fitted.records) == 2 and all(r.status == "ok" for r in fitted.records)
    network = fitted.networks[0]
    session = onnxruntime.InferenceSession(tmp_path / "out" / "networks" / network.id / "model.onnx")
    (given,) = session.get_inputs()
    images, targets = next(iter(Discs(3, 1)))
    maps = [torch.from_numpy(t) for t in session.run(None, {given.name: images[:1].numpy()})]
    (found,) = dense_boxes.decode({"boxes": maps[:3], "scores": maps[3:]})
    assert set(found) == {"boxes", "scores", "labels"} and found["boxes"].shape[1] == targets[0]["boxes"].shape[1]
    assert 0 <= network.test["map"].value <= 100 and network.test["map"].n == 16
