"""Models and data with one mistake each, as people make them."""

import tiny
import torch
from torch import nn

import netwright as nw

GOOD = tiny.data()
not_a_function = 3


def with_parts(**changes):
    return nw.Data(*(changes.get(name, getattr(GOOD, name)) for name in ("train", "validation", "test")))


def changed(part, inputs=None, targets=None):
    return nw.Split(part.inputs if inputs is None else inputs, part.targets if targets is None else targets)


# -- models


def nothing_to_cut():
    return nn.Flatten()


def wants_an_argument(size):
    return tiny.supernet()


def raises():
    raise ValueError("no weights\nfound at ~/weights.pt")


class Raising(tiny.Net):
    def forward(self, x):
        raise RuntimeError("the mask is missing")


def raises_on_example():
    return tiny.supernet(Raising())


class FewScores(tiny.Net):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 3)


def few_scores():
    return tiny.supernet(FewScores())


class Pair(tiny.Net):
    def forward(self, x):
        return super().forward(x), x


def gives_a_tuple():
    return tiny.supernet(Pair())


class Flat(tiny.Net):
    def forward(self, x):
        return super().forward(x)[:, 0]


def gives_a_vector():
    return tiny.supernet(Flat())


class NoFile(tiny.Net):
    """Runs, and can be cut, but ONNX has no such operator."""

    def forward(self, x):
        return torch.digamma(super().forward(x).abs() + 1)


def cannot_be_exported():
    return tiny.supernet(NoFile())


def wrong_width():
    net = tiny.Net()
    return nw.SuperNet(net, [nw.Width.tie(net, "width", (4, 16), out_of=["stem"], into=["heed"])], torch.zeros(1, 6))


# -- data


def a_pair():
    return GOOD.train.inputs, GOOD.train.targets


def nan_inputs():
    inputs = GOOD.train.inputs.clone()
    inputs[3, 2] = float("nan")
    return with_parts(train=changed(GOOD.train, inputs))


def other_inputs():
    return with_parts(train=changed(GOOD.train, torch.randn(192, 7)))


def double_inputs():
    return with_parts(train=changed(GOOD.train, GOOD.train.inputs.double()))


def numpy_inputs():
    return with_parts(train=changed(GOOD.train, GOOD.train.inputs.numpy()))


def numpy_labels():
    return with_parts(train=changed(GOOD.train, targets=GOOD.train.targets.numpy()))


def short_labels():
    return with_parts(train=changed(GOOD.train, targets=GOOD.train.targets[:-1]))


def int_labels():
    return with_parts(train=changed(GOOD.train, targets=GOOD.train.targets.int()))


def float_labels():
    return with_parts(train=changed(GOOD.train, targets=GOOD.train.targets.float()))


def column_labels():
    return with_parts(train=changed(GOOD.train, targets=GOOD.train.targets[:, None]))


def negative_labels():
    return with_parts(train=changed(GOOD.train, targets=GOOD.train.targets - 1))


def other_validation():
    return with_parts(validation=changed(GOOD.validation, torch.randn(96, 7)))


def labels_beyond():
    return with_parts(test=changed(GOOD.test, targets=GOOD.test.targets + 1))


# -- a person who presses Ctrl-C in the given training step

stop_in_step: int | None = None


def stopping(inputs):
    global stop_in_step
    if stop_in_step is not None:
        stop_in_step -= 1
        if stop_in_step == 0:
            stop_in_step = None
            raise KeyboardInterrupt
    return inputs


def interrupted():
    return nw.Data(GOOD.train, GOOD.validation, GOOD.test, stopping)
