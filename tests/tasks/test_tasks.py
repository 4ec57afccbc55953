"""Tasks: their figures are those of scikit-learn and PyTorch, their losses learn from labels and teachers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from scipy.stats import sem, t
from torch import Tensor
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import MeasureError, NetError, RecipeError, TrainingError
from netwright.tasks import TASKS, counts
from netwright.tasks.detection import average_precisions, overlap
from netwright.tasks.multilabel import average_precision

G = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=G)


def classes(count: int, *shape: int) -> Tensor:
    return torch.randint(count, shape, generator=G)


def judged(task: nw.Task, outputs: Any, targets: Tensor, size: int = 7) -> dict[str, nw.Measurement]:
    """What the task's evaluator finds, batch by batch."""
    evaluator = task.evaluator()
    for i in range(0, len(targets), size):
        evaluator.update(outputs[i : i + size], targets[i : i + size])
    found = evaluator.result()
    assert [metric.name for metric in task.metrics] == list(found)
    assert [metric.unit for metric in task.metrics] == [each.unit for each in found.values()]
    return found


def learned(task: nw.Task, teacher: Tensor, targets: Any) -> Tensor:
    """What a student with free outputs has learned from a teacher in the end."""
    student = torch.zeros_like(teacher, requires_grad=True)
    optimizer = torch.optim.Adam([student], lr=0.2)
    for _ in range(150):
        optimizer.zero_grad()
        task.distillation_loss(student, teacher, targets).backward()
        optimizer.step()
    return student.detach()


def test_every_task_has_a_name_and_settings() -> None:
    assert {"classification", "regression", "token-classification", "language-modelling"} <= set(TASKS.names())
    task = TASKS.make("classification,label_smoothing=0.1,class_weights=(1,2,3)")
    assert task == nw.tasks.Classification(label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0))
    assert TASKS.text(task) == "classification,label_smoothing=0.1,class_weights=(1.0,2.0,3.0)"
    with pytest.raises(RecipeError, match="did you mean 'segmentation'"):
        TASKS.make("segmentatoin")


# -- classification ----------------------------------------------------------------------------------------------


def test_top5_is_the_share_of_classes_among_the_five_best() -> None:
    scores, labels = drawn(90, 9), classes(9, 90)
    found = judged(nw.tasks.Classification(top5=True), scores, labels)
    wanted = reference.top_k_accuracy_score(labels, scores, k=5, labels=range(9))
    assert found["top5"].value == pytest.approx(100 * wanted) and found["top5"].value > found["accuracy"].value
    assert set(nw.tasks.Classification(top5=True).evaluator().right) == {"accuracy", "top5"}


def test_smoothing_and_weights_are_those_of_pytorch() -> None:
    scores, labels = drawn(8, 3), classes(3, 8)
    task = nw.tasks.Classification(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5))
    wanted = F.cross_entropy(scores, labels, torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1)
    torch.testing.assert_close(task.loss(scores, labels), wanted)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_teacher_is_followed_at_any_temperature(temperature: float) -> None:
    teacher, labels = drawn(6, 4), classes(4, 6)
    student = learned(nw.tasks.Classification(temperature=temperature), teacher, labels)
    torch.testing.assert_close(student.softmax(1), teacher.softmax(1), atol=0.03, rtol=0)
    yes = learned(nw.tasks.Classification(temperature=temperature), teacher[:, :1], labels % 2)
    torch.testing.assert_close(yes.sigmoid(), teacher[:, :1].sigmoid(), atol=0.03, rtol=0)


def test_labels_beyond_the_classes_are_told_when_learning_and_judging() -> None:
    with pytest.raises(TrainingError, match="labels go from 0 to 3, but the network gives scores of 3 classes"):
        nw.tasks.Classification().loss(drawn(4, 3), torch.arange(4))


# -- several labels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [None, 1])
def test_average_precision_and_f1_are_those_of_scikit_learn(digits: int | None) -> None:
    targets = (drawn(120, 5) > 0.8).long()
    scores = drawn(120, 5) + targets - 0.5
    scores = scores if digits is None else (scores * 2).round() / 2  # with ties
    found = judged(nw.tasks.MultiLabel(), scores, targets)
    assert found["map"].value == pytest.approx(100 * reference.average_precision_score(targets, scores))
    assert found["f1"].value == pytest.approx(100 * reference.f1_score(targets, scores > 0, average="macro"), rel=1e-5)
    assert 0.5 < found["map"].ci95 < 20 and found["map"].n == 120
    assert average_precision(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, True])) == pytest.approx(5 / 6)


def test_labels_that_do_not_occur_do_not_count() -> None:
    targets = torch.tensor([[1, 0], [0, 0], [1, 0]])
    assert judged(nw.tasks.MultiLabel(), targets * 2.0 - 1, targets)["map"].value == 100
    teacher = drawn(6, 3)
    student = learned(nw.tasks.MultiLabel(), teacher, torch.zeros(6, 3))
    torch.testing.assert_close(student.sigmoid(), teacher.sigmoid(), atol=0.03, rtol=0)


# -- regression --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
def test_errors_are_those_of_scikit_learn(shape: tuple[int, ...]) -> None:
    targets = drawn(*shape) * 3 + 1e4
    outputs = targets + drawn(*shape)
    found = judged(nw.tasks.Regression(unit="kg"), outputs, targets)
    given = targets.numpy(), outputs.numpy()
    assert found["mae"].value == pytest.approx(reference.mean_absolute_error(*given), rel=1e-4)
    assert found["rmse"].value == pytest.approx(reference.root_mean_squared_error(*given), rel=0.03)
    assert found["r2"].value == pytest.approx(reference.r2_score(*given, multioutput="variance_weighted"), rel=1e-4)
    assert (found["mae"].unit, found["rmse"].unit, found["r2"].unit, found["mae"].n) == ("kg", "kg", "", 50)


def test_columns_that_do_not_vary_have_no_share_in_r2() -> None:
    values, wanted = drawn(20, 3).double(), drawn(20, 3).double()
    wanted[:, 1] = 0.5
    found = judged(nw.tasks.Regression(), values, wanted)["r2"].value
    assert found == pytest.approx(reference.r2_score(wanted, values, multioutput="variance_weighted"), rel=1e-4)
    constant = judged(nw.tasks.Regression(), values[:, :1] * 0 + 0.5, wanted[:, 1:2])
    assert constant["r2"].value == 1 and judged(nw.tasks.Regression(), values[:, :1], wanted[:, 1:2])["r2"].value == 0


def test_a_last_dimension_of_one_is_no_broadcast() -> None:
    task, values = nw.tasks.Regression(), drawn(5)
    assert float(task.loss(values[:, None], values)) == 0 == judged(task, values[:, None], values)["mae"].value
    with pytest.raises(NetError, match=r"\(5, 2\) for targets of shape \(5,\)"):
        task.loss(drawn(5, 2), values)


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    targets, outputs = torch.zeros(20), drawn(20)
    found = judged(nw.tasks.Regression(), outputs, targets)["mae"]
    assert found.ci95 == pytest.approx(t.ppf(0.975, 19) * sem(outputs.abs().numpy()), rel=1e-4)
    many = drawn(4000)
    found = judged(nw.tasks.Regression(), many, torch.zeros(4000), 4000)["mae"]
    assert found.ci95 == pytest.approx(1.96 * sem(many.abs().numpy()), rel=0.6)


def test_what_a_constant_answer_could_equal_is_told_of_errors_too() -> None:
    targets = drawn(200, 2)
    constant = targets.median(0).values.expand(200, 2)
    found = judged(nw.tasks.Regression(), constant, targets)
    assert found["mae"].at_chance and found["rmse"].at_chance and found["r2"].at_chance
    assert found["mae"].details["chance"] == pytest.approx(found["mae"].value, rel=1e-5)
    good = judged(nw.tasks.Regression(), targets + 0.1 * drawn(200, 2), targets)
    assert not any(each.at_chance for each in good.values())


def test_huber_is_learned_and_judged_alike() -> None:
    task = TASKS.make("regression,objective=huber,unit=ms")
    values, targets = drawn(6, 2) * 3, drawn(6, 2)
    torch.testing.assert_close(task.loss(values, targets), F.huber_loss(values, targets))
    torch.testing.assert_close(learned(nw.tasks.Regression(), values[:4], targets[:4]), values[:4], atol=0.05, rtol=0)


# -- tokens and pixels -------------------------------------------------------------------------------------------


def test_tokens_that_count_are_judged() -> None:
    scores, labels = drawn(40, 6, 6), classes(6, 40, 6)  # as many tokens as classes
    labels[drawn(40, 6) > 1] = -100
    found = judged(nw.tasks.TokenClassification(), scores, labels)
    true, answered = labels[labels != -100], scores.argmax(-1)[labels != -100]
    assert found["accuracy"].value == pytest.approx(100 * reference.accuracy_score(true, answered))
    assert found["f1"].value == pytest.approx(100 * reference.f1_score(true, answered, average="macro"))
    assert found["accuracy"].n == len(true) and 0 < found["f1"].ci95 < 30
    wanted = F.cross_entropy(scores.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(nw.tasks.TokenClassification().loss(scores, labels), wanted)


def test_intervals_of_shares_are_neither_nothing_nor_more_than_all() -> None:
    task, labels = nw.tasks.TokenClassification(), torch.arange(12).view(3, 4) % 3
    perfect = judged(task, F.one_hot(labels, 3).float(), labels)
    assert perfect["f1"].value == 100 and 20 < perfect["f1"].ci95 == perfect["accuracy"].ci95 < 40
    labels[1] = (labels[1] + 1) % 3  # one example right, one wrong: nothing is known
    two = judged(task, F.one_hot(torch.arange(12).view(3, 4) % 3, 3).float()[:2], labels[:2])
    assert two["accuracy"].value == 50 and two["accuracy"].ci95 == 100


def test_single_scores_are_those_of_two_classes() -> None:
    scores, labels = drawn(6, 1), torch.tensor([0, 1, 1, -100, 0, 1])
    pairs = torch.cat([torch.zeros(6, 1), scores], 1)
    for task in (
        nw.tasks.Classification(label_smoothing=0.2, class_weights=(1.0, 5.0)),
        nw.tasks.Classification(temperature=2.0),
    ):
        assert torch.allclose(task.loss(scores, labels), task.loss(pairs, labels))
        teacher = drawn(6, 1)
        both = torch.cat([torch.zeros(6, 1), teacher], 1)
        learned = task.distillation_loss(scores, teacher, labels), task.distillation_loss(pairs, both, labels)
        assert torch.allclose(*learned)


def test_padding_is_not_distilled() -> None:
    teacher, labels = drawn(3, 4, 5), classes(5, 3, 4)
    labels[:, 2:] = -100
    student = learned(nw.tasks.TokenClassification(), teacher, labels)
    torch.testing.assert_close(student[:, :2].softmax(-1), teacher[:, :2].softmax(-1), atol=0.03, rtol=0)
    assert not student[:, 2:].any()
    task = nw.tasks.TokenClassification()
    nothing = task.loss(teacher.requires_grad_(), torch.full((3, 4), -100))
    assert float(nothing.detach()) == 0 and nothing.requires_grad


def test_pixels_are_judged_at_the_resolution_of_the_labels() -> None:
    scores, labels = drawn(9, 4, 6, 6), classes(4, 9, 6, 6)
    labels[:, 0] = 255
    task = nw.tasks.Segmentation(ignore_index=255)
    found = judged(task, scores, labels)
    true, answered = labels[labels != 255], scores.argmax(1)[labels != 255]
    assert found["miou"].value == pytest.approx(100 * reference.jaccard_score(true, answered, average="macro"))
    assert found["accuracy"].value == pytest.approx(100 * reference.accuracy_score(true, answered))
    large = F.interpolate(labels[:, None].float(), size=12, mode="nearest")[:, 0].long()
    assert judged(task, scores, large)["accuracy"].n == 4 * len(true)
    wanted = F.cross_entropy(F.interpolate(scores, size=12, mode="bilinear"), large, ignore_index=255)
    torch.testing.assert_close(task.loss({"out": scores, "aux": scores + 1}, large), wanted)


def test_one_score_a_pixel_is_yes_or_no() -> None:
    scores, labels = drawn(5, 1, 4, 4), classes(2, 5, 4, 4)
    task = nw.tasks.Segmentation()
    torch.testing.assert_close(
        task.loss(scores, labels), F.binary_cross_entropy_with_logits(scores[:, 0], labels.float())
    )
    wanted = reference.jaccard_score(labels.flatten(), (scores[:, 0] > 0).flatten(), average="macro")
    assert judged(task, scores, labels)["miou"].value == pytest.approx(100 * wanted)
    student = learned(task, scores, labels)
    torch.testing.assert_close(student.sigmoid(), scores.sigmoid(), atol=0.03, rtol=0)


def test_classes_that_neither_occur_nor_are_answered_do_not_count() -> None:
    evaluator = counts.CountsEvaluator((counts.F1, counts.MIOU), -1, -100)
    right = torch.tensor([[0, 1]])
    evaluator.update(F.one_hot(right, 5).float(), right)
    assert [each.value for each in evaluator.result().values()] == [100.0, 100.0]
    with pytest.raises(MeasureError, match="labels go from 7 to 7"):
        evaluator.update(F.one_hot(right, 5).float(), right * 0 + 7)


# -- language ----------------------------------------------------------------------------------------------------


def test_each_position_is_judged_on_the_next_token() -> None:
    ids, mask = classes(11, 6, 8), torch.ones(6, 8, dtype=torch.int64)
    mask[:, 6:] = 0
    scores = drawn(6, 8, 11)
    task = nw.tasks.LanguageModelling(bytes_per_token=2.0)
    inputs, targets = task.split({"input_ids": ids, "attention_mask": mask})
    assert set(inputs) == {"input_ids", "attention_mask"} and bool((targets[:, 6:] == -100).all())
    wanted = F.cross_entropy(scores[:, :5].flatten(0, 1), ids[:, 1:6].flatten())
    torch.testing.assert_close(task.loss(scores, targets), wanted)
    found = judged(task, scores, targets, 4)
    assert found["loss"].value == pytest.approx(float(wanted)) and found["loss"].n == 30
    assert found["perplexity"].value == pytest.approx(math.exp(float(wanted)))
    assert found["perplexity"].ci95 == pytest.approx(found["perplexity"].value * found["loss"].ci95, rel=0.2)
    assert found["bits_per_byte"].value == pytest.approx(float(wanted) / math.log(2) / 2)


def test_labels_that_are_next_tokens_already_are_not_shifted() -> None:
    scores, labels = drawn(3, 4, 5), classes(5, 3, 4)
    task = nw.tasks.LanguageModelling(shift=False)
    torch.testing.assert_close(task.loss(scores, labels), F.cross_entropy(scores.flatten(0, 1), labels.flatten()))
    assert task.split(labels) == (labels, labels) and task.split([labels]) == (labels, labels)
    teacher = drawn(3, 4, 5)
    student = learned(nw.tasks.LanguageModelling(), teacher, labels)
    torch.testing.assert_close(student[:, :-1].softmax(-1), teacher[:, :-1].softmax(-1), atol=0.03, rtol=0)
    assert not student[:, -1].any()


def test_a_model_of_frequencies_alone_is_at_chance() -> None:
    ids = classes(3, 40, 9) * classes(2, 40, 9)
    shares = torch.bincount(ids[:, 1:].flatten(), minlength=3) / ids[:, 1:].numel()
    found = judged(nw.tasks.LanguageModelling(), shares.log().expand(40, 9, 3), ids)
    assert found["loss"].at_chance and found["loss"].details["chance"] == pytest.approx(found["loss"].value)


# -- boxes -------------------------------------------------------------------------------------------------------


def box(*corners: float) -> Tensor:
    return torch.tensor([corners])


def test_boxes_are_found_where_they_overlap() -> None:
    assert overlap(box(0, 0, 2, 2), box(1, 0, 3, 2), torch.tensor([False])).item() == pytest.approx(1 / 3)
    task = nw.tasks.Detection(criterion=lambda outputs, targets: outputs[0]["boxes"].sum())
    target = {"boxes": box(0, 0, 10, 10), "labels": torch.tensor([1])}

    def found(*corners: float, label: int = 1) -> float:
        evaluator = task.evaluator()
        answer = {"boxes": box(*corners), "scores": torch.tensor([0.9]), "labels": torch.tensor([label])}
        assert evaluator.update([answer], [target]) == 1
        return evaluator.result()["map"].value

    assert found(0, 0, 10, 10) == 100 and found(0, 0, 10, 10, label=2) == 0
    assert found(0, 0, 10, 7.6) == pytest.approx(60)  # right at 0.5, 0.55, ... 0.75
    assert found(20, 20, 30, 30) == 0


def test_average_precision_reads_the_best_precision_at_each_recall() -> None:
    right = torch.tensor([[True, False, True]])
    value = average_precisions(torch.tensor([0.9, 0.8, 0.7]), right, torch.ones_like(right), 2)
    assert float(value) == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    nothing = torch.zeros(1, 0, dtype=torch.bool)
    assert float(average_precisions(torch.zeros(0), nothing, nothing, 2)) == 0


def test_crowds_are_nobodys_mistake_and_of_equal_overlaps_the_last_is_taken() -> None:
    task = nw.tasks.Detection(criterion=lambda outputs, targets: outputs[0]["boxes"].sum())

    def found(answers: Tensor, boxes: Tensor, **others: Tensor) -> float:
        evaluator, ones = task.evaluator(), torch.ones(len(answers))
        scores = torch.linspace(0.9, 0.5, len(answers))
        answer = {"boxes": answers, "scores": scores, "labels": ones}
        evaluator.update([answer], [{"boxes": boxes, "labels": torch.ones(len(boxes)), **others}])
        return evaluator.result()["map"].value

    one, many, within = box(0, 0, 10, 10), box(20, 20, 90, 90), box(30, 30, 40, 40)
    crowd = torch.tensor([0, 1])
    assert found(torch.cat([within, one]), torch.cat([one, many]), iscrowd=crowd) == 100
    assert found(torch.cat([within, one]), torch.cat([one, many])) < 30
    middle, left, right = box(10, 0, 20, 10), box(8, 0, 18, 10), box(12, 0, 22, 10)
    # As pycocotools: the first answer takes the last of both, and the second answer, which is that one, has none left.
    assert found(torch.cat([middle, right]), torch.cat([left, right])) == pytest.approx(
        100 * 51 / 101 * (0.4 + 0.6 / 2)
    )
    assert found(torch.cat([middle, right]), torch.cat([right, left])) == pytest.approx(
        100 * (0.4 + 51 / 101 * 0.6 / 2)
    )
    with pytest.raises(MeasureError, match="not finite"):
        found(one * float("nan"), one)


def test_a_box_is_found_once_and_detrs_outputs_are_read() -> None:
    task = nw.tasks.Detection(criterion=lambda outputs, targets: outputs["pred_boxes"].sum())
    logits = torch.tensor([[[9.0, 0, 0], [8.0, 0, 0], [0, 0, 9.0]]])  # twice the same, and nothing
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    evaluator = task.evaluator()
    evaluator.update(
        {"logits": logits, "pred_boxes": boxes}, [{"class_labels": torch.tensor([0]), "boxes": boxes[0, :1]}]
    )
    assert evaluator.result()["map"].value == pytest.approx(100)
    with pytest.raises(NetError, match="decode="):
        task.evaluator().update(logits, [{}])
    assert float(task.distillation_loss({"a": boxes}, {"a": boxes + 1}, None)) == pytest.approx(1)


# -- one's own ---------------------------------------------------------------------------------------------------


def absolute(outputs: Any, targets: Any) -> Tensor:
    return (outputs - targets).abs().mean()


def test_a_loss_of_ones_own_is_a_task() -> None:
    task, values, targets = nw.tasks.Custom(absolute), drawn(20), torch.zeros(20)
    found = judged(task, values, targets)
    assert list(found) == ["loss"] and found["loss"].value == pytest.approx(float(values.abs().mean()), rel=1e-5)
    assert TASKS.make(f"custom,criterion={__name__}:absolute").loss(values, targets) == absolute(values, targets)
    far = nw.Metric("far", "%")
    task = nw.tasks.Custom(absolute, {far: lambda o, y: 100.0 * ((o - y).abs() > 1)})
    assert judged(task, values, targets)["far"].value == pytest.approx(100 * float((values.abs() > 1).float().mean()))
    with pytest.raises(RecipeError, match="module:function"):
        nw.tasks.Custom(3)  # type: ignore[arg-type]


def test_what_is_learned_from_a_teacher_follows_from_ones_own_loss() -> None:
    teacher, labels = drawn(8, 3), classes(3, 8)
    student = learned(nw.tasks.Custom(F.cross_entropy), teacher, labels)
    torch.testing.assert_close(student.softmax(1), teacher.softmax(1), atol=0.03, rtol=0)
    several = nw.tasks.Custom(lambda outputs, targets: (outputs[0] * outputs[1]).sum().sin())
    drawn_to = several.distillation_loss((teacher, teacher), (teacher + 1, teacher), labels)
    assert float(drawn_to) == pytest.approx(0.5)
    with pytest.raises(TrainingError, match="same shape"):
        several.distillation_loss((teacher, teacher), (drawn(8, 4), drawn(8, 4)), labels)


@pytest.mark.parametrize(
    "value, words",
    [(torch.ones(3, 2), "one value for each"), (torch.ones(5), "3 values for 5"),
     (torch.tensor([1.0, math.nan, 1.0]), "finite"), ("a", "one value")],
)  # fmt: skip
def test_values_per_example_are_one_each(value: Any, words: str) -> None:
    metrics = {nw.Metric("a"): lambda o, y: o, nw.Metric("b"): lambda o, y: value}
    with pytest.raises(MeasureError, match=words):
        nw.tasks.Custom(absolute, metrics).evaluator().update(torch.ones(3), torch.ones(3))


def test_several_outputs_have_a_task_each() -> None:
    kind, age = nw.tasks.Classification(), nw.tasks.Regression(unit="y")
    task = nw.tasks.Several({"kind": kind, "age": age}, {"age": 0.5})
    scores, labels, ages = drawn(30, 3), classes(3, 30), drawn(30)
    wanted = kind.loss(scores, labels) + 0.5 * age.loss(ages + 1, ages)
    for outputs in ({"kind": scores, "age": ages + 1}, (scores, ages + 1)):
        torch.testing.assert_close(task.loss(outputs, {"kind": labels, "age": ages}), wanted)
    assert [metric.name for metric in task.metrics] == ["accuracy", "mae", "rmse", "r2"]
    evaluator = task.evaluator()
    assert evaluator.update((scores, ages + 1), (labels, ages)) == 30
    found = evaluator.result()
    assert found["mae"].value == pytest.approx(1) and found["accuracy"].value < 60
    assert evaluator.best_case(60, 0.95).keys() == {"accuracy"} and {"accuracy", "mae"} <= evaluator.baseline().keys()
    twice = nw.tasks.Several({"a": age, "b": age})
    assert [metric.name for metric in twice.metrics][:3] == ["a_mae", "a_rmse", "a_r2"]
    with pytest.raises(NetError, match="no 'age'"):
        task.loss({"kind": scores}, {"kind": labels})
    with pytest.raises(RecipeError, match="weights names 'size'"):
        nw.tasks.Several({"kind": kind}, {"size": 1.0})


def test_batches_of_another_kind_are_told() -> None:
    evaluator = nw.tasks.Regression().evaluator()
    evaluator.update(drawn(4, 2), drawn(4, 2))
    with pytest.raises(MeasureError, match="different kinds"):
        evaluator.update(drawn(4, 3), drawn(4, 3))
    for name in ("regression", "multilabel", "segmentation", "language-modelling"):
        with pytest.raises(MeasureError, match="gave none"):
            TASKS.make(name).evaluator().result()
    assert np.isfinite(nw.tasks.Regression().evaluator().baseline().get("mae", 0.0))
