"""The detector: the contract, and that it finds drawn shapes; its loss and its boxes against plain loops."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import netwright as nw
from netwright.core.errors import NetError, TrainingError
from netwright.nets.families.detector import STRIDES, Detector, detector
from netwright.study.stores.memory import MemoryStore
from netwright.tasks import dense_boxes
from netwright.tasks.dense_boxes import SIZES, assigned, decode, generalised_overlap
from netwright.testing import check_supernet

SIDE = 64
TASK = nw.tasks.Detection(dense_boxes.loss, dense_boxes.decode)


def drawn(count: int, seed: int) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Noise with a disc (0) or a square (1) in the left half and one in the right, and their boxes."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    images, targets = 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=draw), []
    for image in images:
        boxes, kinds = [], []
        for left in (0, SIDE // 2):
            half, kind = (int(torch.randint(a, b, (1,), generator=draw)) for a, b in ((6, 14), (0, 2)))
            x = int(torch.randint(left + half, left + SIDE // 2 - half, (1,), generator=draw))
            y = int(torch.randint(half, SIDE - half, (1,), generator=draw))
            down, across = (rows - y).abs(), (columns - x).abs()
            image[:, torch.maximum(down, across) <= half if kind else down**2 + across**2 <= half**2] += 1
            boxes.append([x - half, y - half, x + half + 1, y + half + 1])
            kinds.append(kind)
        targets.append({"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(kinds)})
    return images, targets


def small() -> nw.SuperNet:
    torch.manual_seed(0)
    return detector(2, SIDE, (8, 16, 32, 16, 16), 1, shares=(0.5,), round_to=4)


@pytest.mark.slow
def test_the_contract_holds_and_all_six_outputs_are_exported(tmp_path: Path) -> None:
    net = small()
    nw.recalibrate(net.module, [torch.randn(8, 3, SIDE, SIDE)])
    check_supernet(net, candidates=1, inputs=torch.randn(2, 3, SIDE, SIDE))
    nw.export(net.extract(net.smallest), tmp_path, ["onnx"], check_inputs=torch.randn(1, 3, SIDE, SIDE))
    outputs = onnx.load(tmp_path / "model.onnx").graph.output
    shapes = [[d.dim_value for d in each.type.tensor_type.shape.dim][1:] for each in outputs]
    assert shapes == [[size, s, s] for size in (4, 2) for s in (SIDE // stride for stride in STRIDES)]


def test_splits_and_concatenations_are_cut_where_their_parts_lie() -> None:
    net = detector(2, SIDE, (8, 16, 32, 16, 16), 2, shares=(0.5,), round_to=4)
    assert all("no axis" not in why for why in net.report.rigid.values())
    options = {"blocks.1.inner": 8, "finer.0.width": 8, "blocks.1.width": 16}
    cut = net.extract(net.space.build(lambda choice: options.get(choice.name, choice.options[-1])))
    assert cut.blocks[1].leave.conv.weight.shape[:2] == (16, 8 * 4)  # type: ignore[union-attr, index]
    whole = net.module.finer[1].enter.conv.weight  # type: ignore[union-attr, index]
    kept = torch.cat([whole[:, :8], whole[:, 16:32]], 1)  # the first half of each of both that are concatenated
    assert torch.equal(cut.finer[1].enter.conv.weight, kept)  # type: ignore[union-attr, index, arg-type]


@pytest.mark.slow
def test_it_learns_to_find_drawn_shapes_and_is_searched() -> None:
    net, (images, targets) = small(), drawn(128, 1)
    batches = [(images[i : i + 16], targets[i : i + 16]) for i in range(0, len(images), 16)]
    quality = nw.Quality(TASK, [drawn(32, 2)])
    before = quality.all_of(net.extract(net.largest))["map"].value
    nw.train(net, batches, task=TASK, rule="largest", optimizer="adamw,lr=3e-3", epochs=10)
    after = quality.all_of(nw.recalibrate(net.extract(net.largest), batches))["map"].value
    assert before < 2 and after > 15  # 39 when this was written
    study = nw.Study(MemoryStore(), net, objectives=[nw.Count("macs"), nw.Count("params")])
    study.run("random", evaluations=4)
    for record in study.front():
        counts = net.count(record.candidate)
        own = sum(p.numel() for p in net.extract(record.candidate).parameters())
        assert (record.values["macs"], record.values["params"]) == (counts.macs, own)


# -- the loss, and what is found ----------------------------------------------------------------------------------

corner = st.floats(0, 100, width=32)
boxes = st.lists(st.tuples(corner, corner, st.floats(1, 200, width=32), st.floats(1, 200, width=32)), max_size=4).map(
    lambda rows: torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows]).reshape(-1, 4)
)


@given(boxes)
@settings(max_examples=25)
def test_positions_answer_for_boxes_as_a_plain_loop_says(true: Tensor) -> None:
    points = torch.tensor([[(i + 0.5) * s, (j + 0.5) * s, s] for s in STRIDES for i in range(5) for j in range(5)])
    found = dict(zip(*(each.tolist() for each in assigned(points, true)), strict=True))
    for p, (x, y, stride) in enumerate(points.tolist()):
        low, high = next(span for step, span in zip(STRIDES, pairwise(SIZES), strict=True) if step == stride)
        mine = []
        for m, (x1, y1, x2, y2) in enumerate(true.tolist()):
            sides = (x - x1, y - y1, x2 - x, y2 - y)
            near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) <= 1.5 * stride
            if min(sides) > 0 and near and low < max(sides) <= high:
                mine.append(((x2 - x1) * (y2 - y1), m))
        assert (
            found.get(p) is None if not mine else found[p] in {m for area, m in mine if area <= min(mine)[0] * 1.0001}
        )


def test_generalised_overlap() -> None:
    one = torch.tensor([[0.0, 0, 2, 2]])
    for other, value in (([0, 0, 2, 2], 1), ([1, 0, 3, 2], 1 / 3), ([3, 0, 4, 2], -1 / 4)):
        assert float(generalised_overlap(one, torch.tensor([other]).float())) == pytest.approx(value)


def test_of_boxes_of_a_class_that_overlap_the_best_is_kept() -> None:
    maps = {
        "boxes": [torch.zeros(1, 4, *[s] * 2) for s in (4, 2, 1)],
        "scores": [torch.full((1, 2, *[s] * 2), -9.0) for s in (4, 2, 1)],
    }
    for i, (kind, score) in enumerate([(0, 1.0), (0, 2.0), (1, 3.0)]):
        maps["boxes"][0][0, :, 0, i] = torch.tensor([1.0, 1, 9, 9 + i * 0.1])
        maps["scores"][0][0, kind, 0, i] = score
    maps["boxes"][2][0, :, 0, 0] = torch.tensor([20.0, 20, 30, 30])
    maps["scores"][2][0, 0, 0, 0] = 0.0
    (found,) = decode(maps)
    assert found["labels"].tolist() == [1, 0, 0]
    assert found["scores"].tolist() == pytest.approx(torch.tensor([3.0, 2, 0]).sigmoid().tolist())
    assert found["boxes"][1].tolist() == pytest.approx([1, 1, 9, 9.1])


def test_an_image_without_boxes_and_outputs_of_another_form() -> None:
    network = Detector(2, (8, 8, 8, 8, 8), 1).eval()
    outputs = network(torch.randn(1, 3, SIDE, SIDE))
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert 0 < float(dense_boxes.loss(outputs, [nothing]).detach()) < 1
    with pytest.raises(TrainingError, match="dict of boxes and scores"):
        dense_boxes.loss(torch.zeros(2), [nothing])
    with pytest.raises(TrainingError, match="a dict of boxes and labels for each image"):
        dense_boxes.loss(outputs, [nothing, nothing])


def test_targets_of_image_processors_are_taken_and_wrong_labels_told() -> None:
    torch.manual_seed(0)
    outputs = Detector(2, (8, 8, 8, 8, 8), 1).eval()(torch.randn(1, 3, SIDE, SIDE))
    corners, labels = torch.tensor([[8.0, 8, 28, 24]]), torch.tensor([1])
    centre = torch.tensor([[18.0, 16, 20, 16]])
    wanted = dense_boxes.loss(outputs, [{"boxes": corners, "labels": labels}])
    assert torch.equal(dense_boxes.loss(outputs, [{"boxes": centre, "class_labels": labels}]), wanted)
    for target, told in (
        ({"boxes": corners, "labels": labels + 1}, "a box has label 2, but the network has scores for 2 classes"),
        ({"boxes": corners, "labels": labels - 2}, "a box has label -1"),
        ({"boxes": corners}, "a dict of boxes and labels, not a dict with the keys 'boxes'"),
    ):
        with pytest.raises(TrainingError, match=told):
            dense_boxes.loss(outputs, [target])


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(NetError, match="image is a multiple of 32, not 100"):
        detector(image=100)
    with pytest.raises(NetError, match="five numbers, even but for the first"):
        detector(channels=(8, 8, 8, 7, 8))
