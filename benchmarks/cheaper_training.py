"""What is said to make training cheaper or better, on the digits: each against training without it, at equal images.

    python benchmarks/cheaper_training.py --only rate [--seeds 2] [--epochs 6]

`rate`: the learning rate that the range test finds, the default one, and the best of a grid. Weights are fresh, or
those that the largest network has learned in as many epochs before.

`tune`: fine-tuning for two epochs with batch normalisation by the batch, or in Tune mode, of six sub-networks of the
digits (10 % where it diverges), and for one epoch of ResNet-56 with half the inner channels (2,000 images of CIFAR-10,
tested on 1,000, standard error 1.1), with the CPU time and the memory that the backward pass needs.

`hard`: every fifth step of the sandwich learns from the hardest quarter of the four batches before (by the largest
network's losses, as in online hard example mining, Shrivastava et al. 2016) in place of new images.

`depth`: residual branches of a sub-network with d of D blocks are multiplied by the square root of D/d (Depth-muP, Yang
et al. 2023, arXiv 2310.02244), as trained and as judged, or are not; means over all depths, at two learning rates.

`teachers`: six sub-networks fine-tuned for two epochs from three large networks whose outputs are averaged, or from one
of them at random in each step (MEAL, Shen et al. 2019), at a temperature of 4: at 1 they say what the labels do.

Accuracies, in percent, are means over six sub-networks (the largest, the smallest and four others), recalibrated, on
597 test images, whose standard error is 0.7 at 97 %. The best of a grid is chosen on these very images: it is a bound.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from cifar10 import augmented, first_of, trained
from sklearn.datasets import load_digits
from torch import Tensor, nn

import netwright as nw
from netwright.core.errors import TrainingError
from netwright.nets.families.inverted_residual import inverted_residual
from netwright.training.defaults import Weights, default_optimizer
from netwright.training.tuning import Normalisation, tuning

DATA = Path(__file__).parents[2] / "shared" / "data"
Make = Callable[[int], nw.SuperNet]
STATES: tuple[Weights, ...] = ("fresh", "pretrained")
DIGITS = load_digits()
INPUTS = torch.tensor(DIGITS.images, dtype=torch.float32).unsqueeze(1) / 16
TARGETS = torch.tensor(DIGITS.target)
ORDER = torch.randperm(len(INPUTS), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = ORDER[:1200], ORDER[1200:]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        begin = time.process_time()
        PARTS[name](range(arguments.seeds), arguments.epochs)
        print(f"({name}: {time.process_time() - begin:.0f} CPU s)", flush=True)


def batches() -> nw.TensorLoader:
    """The training images."""
    return nw.TensorLoader(nw.Split(INPUTS[TRAIN], TARGETS[TRAIN]), 64, shuffle=True)


def convolutional(seed: int) -> nw.SuperNet:
    """A MobileNet-like super-network with fresh weights."""
    torch.manual_seed(seed)
    return inverted_residual(1, 10, 8, ((8, 16), (12, 24)), ((1, 2), (1, 2)), (1, 2), (3, 5))


def plain(seed: int) -> nw.SuperNet:
    """Linear layers."""
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nw.wrap(nn.Sequential(nn.Flatten(), *layers), INPUTS[:1])


def accuracy(network: nn.Module) -> float:
    """In percent, recalibrated."""
    judged = nw.recalibrate(network, [INPUTS[TRAIN[:512]]])
    with torch.no_grad():
        return 100 * float((judged(INPUTS[TEST]).argmax(1) == TARGETS[TEST]).float().mean())


def mean_accuracy(net: nw.SuperNet) -> float:
    """Of six sub-networks."""
    some = [net.space.sample(np.random.default_rng(i)) for i in range(4)]
    return fmean(accuracy(net.extract(each)) for each in (net.largest, net.smallest, *some))


# -- the learning rate -------------------------------------------------------------------------------------------------

SGD = "sgd,momentum=0.9,nesterov=true,weight_decay=0.0001"
RATES = {
    SGD: (0.01, 0.03, 0.1, 0.3, 1.0),
    "adamw": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "lion": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}


def rate(seeds: range, epochs: int) -> None:
    """Found, default and best rates, of fresh weights and of those that come trained."""
    print(f"{'':38}{'found':>9}{'accuracy':>10}{'default':>9}{'accuracy':>10}{'best':>9}{'accuracy':>10}")
    for make, optimizer in ((convolutional, SGD), (convolutional, "adamw"), (convolutional, "lion"), (plain, "adamw")):
        for state in STATES:
            _rate_row(make, optimizer, state, seeds, epochs)


def _rate_row(make: Make, optimizer: str, state: Weights, seeds: range, epochs: int) -> None:
    text, _ = default_optimizer(make(0).module, state)
    default = float(text.partition("lr=")[2].partition(",")[0]) if text.startswith(optimizer[:4]) else None
    starts = [_start(make, seed, state, epochs) for seed in seeds]

    def after(*rates: float) -> str:
        accuracies = [
            _trained(starts[seed](), optimizer, lr, seed, epochs) for seed, lr in zip(seeds, rates, strict=True)
        ]
        return f"{fmean(rates):9.3g}{fmean(accuracies):10.1f}"

    found = [nw.find_learning_rate(starts[seed](), batches(), optimizer=optimizer, seed=seed).best for seed in seeds]
    grid = [after(*[lr] * len(seeds)) for lr in RATES[optimizer]]
    before = fmean(mean_accuracy(start()) for start in starts)
    told = f"{make.__name__}, {optimizer.partition(',')[0]}, {state} ({before:.1f})"
    row = f"{told:38}{after(*found)}{after(*[default] * len(seeds)) if default else ' ' * 19}"
    print(f"{row}{max(grid, key=lambda cell: float(cell[9:]))}", flush=True)


def _start(make: Make, seed: int, state: Weights, epochs: int) -> Callable[[], nw.SuperNet]:
    """Makes the super-network as training is to begin with it."""
    first = make(seed)
    if state == "pretrained":
        nw.train(first, batches(), rule="largest", epochs=epochs, seed=seed)
    kept = {name: tensor.clone() for name, tensor in first.module.state_dict().items()}

    def again() -> nw.SuperNet:
        net = make(seed)
        net.module.load_state_dict(kept)
        return net

    return again


def _trained(net: nw.SuperNet, optimizer: str, lr: float, seed: int, epochs: int) -> float:
    """The accuracy after training; that of chance where it diverged."""
    try:
        nw.train(net, batches(), epochs=epochs, optimizer=f"{optimizer},lr={lr}", seed=seed)
    except TrainingError:
        return 10.0
    return mean_accuracy(net)


# -- Tune mode ---------------------------------------------------------------------------------------------------------


def tune(seeds: range, epochs: int) -> None:
    """Normalisation by the batch, or folded."""
    for lr in (0.001, 0.003, 0.01):
        after: dict[Normalisation, list[float]] = {"batch": [], "tune": []}
        for seed in seeds:
            net = convolutional(seed)
            nw.train(net, batches(), epochs=epochs, seed=seed)
            some = [net.space.sample(np.random.default_rng(i)) for i in range(4)]
            networks = [
                nw.recalibrate(net.extract(c), [INPUTS[TRAIN[:512]]]) for c in (net.largest, net.smallest, *some)
            ]
            for how, found in after.items():
                for network in map(deepcopy, networks):
                    optimizer = f"{SGD},lr={lr}"
                    try:
                        nw.finetune(network, batches(), epochs=2, optimizer=optimizer, seed=seed, normalisation=how)
                    except TrainingError:  # it diverged
                        found.append(10.0)
                        continue
                    found.append(_correct(network, INPUTS[TEST], TARGETS[TEST]))
        print(f"digits, lr {lr}: {', '.join(f'{how} {fmean(found):.1f}' for how, found in after.items())}", flush=True)
    for lr in (0.001, 0.003):
        _tune_resnet56(lr)


def _tune_resnet56(lr: float) -> None:
    train, test = first_of(DATA, "train", 2000), first_of(DATA, "test", 1000)
    net = nw.wrap(trained(DATA, 56), torch.zeros(1, 3, 32, 32), axes=["width"], only=["layer*"], round_to=1)
    nw.sort_channels(net, "l1")
    half = net.space.build(lambda choice: choice.options[(len(choice.options) - 1) // 2])
    given = nw.recalibrate(net.extract(half), [train.inputs[:512]])
    hows: tuple[Normalisation, ...] = ("batch", "tune")
    for how in hows:
        network, begin = deepcopy(given), time.process_time()
        loader = nw.TensorLoader(train, 128, shuffle=True, augment=augmented)
        nw.finetune(network, loader, epochs=1, optimizer=f"{SGD},lr={lr}", normalisation=how)
        spent, right = time.process_time() - begin, _correct(network, test.inputs, test.targets)
        with tuning(network, train.inputs[:1]) if how == "tune" else nullcontext(network.train()):
            held = _kept(network, train.inputs[:128])
        print(
            f"ResNet-56 at half, lr {lr}, {how}: {right:.1f} %, {spent:.1f} CPU s, {held / 1e6:.0f} MB kept", flush=True
        )


def _correct(network: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The accuracy as the network is, in percent."""
    return nw.Accuracy(nw.TensorLoader(nw.Split(inputs, targets), 250)).of(network.eval()).value


def _kept(network: nn.Module, inputs: Tensor) -> int:
    """Bytes that a backward pass needs."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(inputs)
    return sum(held.values())


# -- hard batches ------------------------------------------------------------------------------------------------------


class Hard(nw.rules.Sandwich):
    """The sandwich with every fifth batch made of the hardest quarter of the four before."""

    def step(self, net: nw.SuperNet, lesson: nw.rules.Lesson) -> float:
        value, answer = lesson.learn_largest(net)
        losses = nn.functional.cross_entropy(answer.outputs, lesson.targets, reduction="none")
        hardest = losses.topk(max(1, len(losses) // 4)).indices
        self.__dict__.setdefault("pool", []).append((lesson.inputs[hardest], lesson.targets[hardest]))
        for candidate in (net.smallest, *(lesson.sample(net) for _ in range(self.random))):
            lesson.imitate(net, candidate, answer)
        return value

    def data(self, loader: Iterable[Any], rng: np.random.Generator, *, at: Any, state: Any) -> Iterable[Any]:
        pool: list[Any] = self.__dict__.setdefault("pool", [])
        for number, batch in enumerate(loader):
            if number % 5 < 4:
                yield batch
                continue
            inputs, targets = zip(*pool, strict=True)
            yield torch.cat(inputs), torch.cat(targets)
            pool.clear()


def hard(seeds: range, epochs: int) -> None:
    """The sandwich with and without."""
    for name, make in (("sandwich", nw.rules.Sandwich), ("hard batches", Hard)):
        found = []
        for seed in seeds:
            net = convolutional(seed)
            nw.train(net, batches(), epochs=epochs, rule=make(), seed=seed, optimizer=f"{SGD},lr=0.1")
            found.append(mean_accuracy(net))
        print(f"{name}: {_several(found)}", flush=True)


def _several(found: Sequence[float]) -> str:
    return f"{fmean(found):.1f}" + (f" +- {stdev(found):.1f}" if len(found) > 1 else "")


# -- residual branches by depth ----------------------------------------------------------------------------------------

DEPTHS = (1, 2, 4, 8)


class Branch(nn.Module):
    """A residual block whose branch is multiplied by what is the same for all of them."""

    scale = 1.0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + Branch.scale * self.norm(self.conv(nn.functional.relu(x)))
        return result


class ByDepth(nw.SuperNet):
    """A super-network whose branches are multiplied as its active depth says."""

    def active(self, candidate: Any) -> Any:
        Branch.scale = (DEPTHS[-1] / candidate["depth"]) ** 0.5
        return super().active(candidate)


def depth(seeds: range, epochs: int) -> None:
    """With and without multipliers."""
    for lr in (0.03, 0.1):
        for kind in (nw.SuperNet, ByDepth):
            found: list[list[float]] = []
            for seed in seeds:
                net = _residual(kind, seed)
                nw.train(net, batches(), epochs=epochs, seed=seed, optimizer=f"{SGD},lr={lr}")
                found.append([])
                for option in DEPTHS:
                    Branch.scale = (DEPTHS[-1] / option) ** 0.5 if kind is ByDepth else 1.0
                    found[-1].append(accuracy(net.extract({"depth": option})))
                Branch.scale = 1.0
            each = ", ".join(f"{fmean(values):.1f}" for values in zip(*found, strict=True))
            print(
                f"{kind.__name__}, lr {lr}: {_several([fmean(f) for f in found])} (depths {DEPTHS}: {each})", flush=True
            )


def _residual(kind: type[nw.SuperNet], seed: int) -> nw.SuperNet:
    torch.manual_seed(seed)
    blocks = nn.Sequential(*(Branch(16) for _ in range(DEPTHS[-1])))
    stem = nn.Conv2d(1, 16, 3, 2, 1)
    model = nn.Sequential(
        stem, blocks, nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)
    )
    paths = tuple(f"1.{i}" for i in range(DEPTHS[-1]))
    return kind(model, [nw.Depth("depth", paths, DEPTHS)], INPUTS[:1])


# -- teachers ----------------------------------------------------------------------------------------------------------


class Random(nn.Module):
    """One of several networks at random in each call."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.networks[int(torch.randint(len(self.networks), ()))](x)
        return result


def teachers(seeds: range, epochs: int) -> None:
    """One, the mean of three, or one of three at random."""
    found: dict[str, list[float]] = {"no teacher": [], "one": [], "mean of three": [], "one of three at random": []}
    for seed in seeds:
        several = []
        for own in range(3):
            each = convolutional(100 + 3 * seed + own)
            nw.train(each, batches(), rule="largest", epochs=2 * epochs, seed=own, optimizer=f"{SGD},lr=0.1")
            several.append(each.extract(each.largest).eval())
        net = convolutional(seed)
        nw.train(net, batches(), epochs=epochs // 2, seed=seed, optimizer=f"{SGD},lr=0.1")
        taught: tuple[Any, ...] = (None, several[0], several, Random(several))
        for name, teacher in zip(found, taught, strict=True):
            some = [net.space.sample(np.random.default_rng(i)) for i in range(4)]
            after = []
            for candidate in (net.largest, net.smallest, *some):
                network = net.extract(candidate)
                nw.finetune(
                    network, batches(), epochs=2, teacher=teacher, distillation="kl,temperature=4", seed=seed,
                    optimizer=f"{SGD},lr=0.03",
                )  # fmt: skip
                after.append(accuracy(network))
            found[name].append(fmean(after))
    print("; ".join(f"{name} {_several(values)}" for name, values in found.items()), flush=True)


PARTS: dict[str, Callable[[range, int], None]] = {
    "rate": rate,
    "tune": tune,
    "hard": hard,
    "depth": depth,
    "teachers": teachers,
}

if __name__ == "__main__":
    main()
