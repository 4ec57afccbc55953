"""Loaders, labels, losses and metrics with one mistake each, as people make them."""

from dataclasses import dataclass

import tiny
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import netwright as nw

GOOD = tiny.data()


def loader(split, size=16, **settings):
    rows = list(zip(split.inputs, split.targets, strict=True))
    return DataLoader(rows, batch_size=size, **settings)


def parts(**changes):
    return nw.Data(*(changes.get(name, getattr(GOOD, name)) for name in ("train", "validation", "test")))


# -- loaders


def batches_of_one():
    return parts(train=[(inputs,) for inputs, _ in loader(GOOD.train)])


def batches_without_labels():
    return parts(train=[inputs for inputs, _ in loader(GOOD.train)])


def batches_by_other_names():
    return parts(train=[{"x": inputs, "kind": labels} for inputs, labels in loader(GOOD.train)])


def batches_of_lists():
    return parts(train=[(inputs.tolist(), labels.tolist()) for inputs, labels in loader(GOOD.train)])


def a_later_batch_of_another_shape():
    batches = list(loader(GOOD.train))
    batches[5] = (torch.randn(16, 7), batches[5][1])
    return parts(train=batches)


def a_later_label_beyond():
    batches = list(loader(GOOD.train))
    batches[5] = (batches[5][0], torch.full((16,), 9))
    return parts(train=batches)


def a_later_validation_label_beyond():
    batches = list(loader(GOOD.validation))
    batches[3] = (batches[3][0], torch.full((16,), 9))
    return parts(validation=batches)


def a_later_validation_batch_of_another_shape():
    batches = list(loader(GOOD.validation))
    batches[3] = (torch.randn(16, 7), batches[3][1])
    return parts(validation=batches)


def labels_as_texts():
    return parts(train=[(inputs, ["cat"] * len(labels)) for inputs, labels in loader(GOOD.train)])


def labels_as_floats():
    return parts(train=[(inputs, labels.float()) for inputs, labels in loader(GOOD.train)])


def empty():
    return parts(train=[])


def empty_validation():
    return parts(validation=DataLoader([], batch_size=4))


def drops_all():
    return parts(train=loader(GOOD.train, 1000, drop_last=True))


def a_generator():
    return parts(train=(batch for batch in loader(GOOD.train)))


class Once:
    """Looks like a loader; its generator is used up after one pass."""

    def __init__(self, split):
        self.batches = (batch for batch in loader(split))

    def __iter__(self):
        return self.batches


def used_up():
    return parts(train=Once(GOOD.train))


def used_up_validation():
    return parts(validation=Once(GOOD.validation))


class Missing(Dataset):
    def __init__(self, split, bad):
        self.split, self.bad = split, bad

    def __len__(self):
        return len(self.split)

    def __getitem__(self, i):
        if i == self.bad:
            raise FileNotFoundError(2, "No such file or directory", f"/data/{i}.png")
        return self.split.inputs[i], self.split.targets[i]


def raises_at_once():
    return parts(train=DataLoader(Missing(GOOD.train, 0), batch_size=16))


def raises_in_a_worker():
    return parts(train=DataLoader(Missing(GOOD.train, 100), batch_size=16, num_workers=1))


# -- tasks


@dataclass(frozen=True)
class Mine(nw.Task):
    """A task that is right; those below change one thing."""

    metrics = (nw.Metric("wrong", "%"),)

    def loss(self, outputs, targets):
        return F.cross_entropy(outputs, targets)

    def evaluator(self):
        return nw.tasks.MeanEvaluator({self.metrics[0]: lambda o, t: 100.0 * (o.argmax(1) != t)})


class ForgetsTheMean(Mine):
    def loss(self, outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none")


class GivesAFloat(Mine):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets).item()


class GivesNone(Mine):
    def loss(self, outputs, targets):
        super().loss(outputs, targets)


class GivesNan(Mine):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets) * float("nan")


class NanLater(Mine):
    """Where a batch is larger than the two examples that a task is tried on."""

    def loss(self, outputs, targets):
        return super().loss(outputs, targets) / (1 if len(targets) < 16 else 0)


class LossRaises(Mine):
    def loss(self, outputs, targets):
        return F.cross_entropy(outputs, {"label": targets}["kind"])


class WithoutGradient(Mine):
    def loss(self, outputs, targets):
        return (outputs.argmax(1) != targets).float().mean()


class Another(nw.Evaluator):
    def update(self, outputs, targets):
        return len(targets)

    def result(self):
        return {"rihgt": nw.Measurement(1.0, "%")}


class ForgetsAMetric(Mine):
    def evaluator(self):
        return Another()


class PlainNumber(Another):
    def result(self):
        return {"wrong": 3.0}


class GivesANumber(Mine):
    def evaluator(self):
        return PlainNumber()


class EvaluatorRaises(Mine):
    def evaluator(self):
        return nw.tasks.MeanEvaluator({self.metrics[0]: lambda o, t: 1 / 0})


class NoDistillation(Mine):
    def loss(self, outputs, targets):
        return (outputs.logsumexp(1) - outputs.sin().gather(1, targets[:, None])[:, 0]).mean()


class NoLoss(nw.Task):
    metrics = (nw.Metric("wrong", "%"),)

    def evaluator(self):
        return Mine().evaluator()
