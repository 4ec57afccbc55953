"""A trained ResNet-56, wrapped and cut to half its MACs: by importance, at random, by Torch-Pruning; or to a latency.

Every network has the same MACs (Torch-Pruning's within 1 %, the best widths at most as many). "Uniform" and random: the
inner channels of every block are halved; "best widths": ``prune_to_budget`` chooses, block by block, among quarters.
Accuracies are of the first images of CIFAR-10's test set (``--images``), with normalisation statistics recomputed from
1,024 training images: without training, and after one epoch of the 20,000 training images, the same for all. Needs
``cifar10`` and ``weights_cifar10_resnet`` of the shared data.

    python benchmarks/cut_resnet56.py --data ../shared/data

With ``--latency``, shares of the whole network's latency (ONNX Runtime, one thread, by a table of blocks), it is
trimmed to each by the table, and to as many MACs as the same table says take as long: at equal predicted latency, which
keeps more? Both are then measured, in turn with the whole network, in one run.

    python benchmarks/cut_resnet56.py --data ../shared/data --latency 0.85 0.75
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar10 import first_of, trained
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.core.errors import NetError
from netwright.core.temporary import TemporaryFolder
from netwright.measure.lookup import LookupTable, build
from netwright.measure.sampling import SamplingPlan
from netwright.nets.families.cifar_resnet import CifarResNet
from netwright.nets.importance import L1, L2, Activation, Taylor, prune_to_budget
from netwright.nets.permutation import permute

EXAMPLE = torch.zeros(1, 3, 32, 32)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--random", type=int, default=20, help="random orders of the channels")
    parser.add_argument("--tuned-random", type=int, default=3, help="how many of them are fine-tuned as well")
    parser.add_argument("--untrained", action="store_true", help="leave fine-tuning out")
    parser.add_argument("--lr", type=float, default=0.02, help="highest learning rate of fine-tuning")
    parser.add_argument(
        "--latency", type=float, nargs="+", help="shares of the latency to trim to, by table and by MACs"
    )
    parser.add_argument("--table", type=Path, default=Path("runs/cut_resnet56/table.json"), help="for --latency")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.data, arguments.images, arguments.lr, arguments.untrained)
    if arguments.latency:
        to_latencies(bench, arguments.latency, arguments.table)
        return

    net = bench.wrapped()
    half = net.space.build(lambda choice: choice.options[(len(choice.options) - 1) // 2])
    macs, whole = net.count(half).macs, net.count(net.largest).macs
    print(f"whole, as it was trained: {bench.plain():.2f} %, {whole / 1e6:.1f} M MACs, {len(net.axes)} axes")
    print(f"cut to {macs / 1e6:.1f} M MACs ({macs / whole:.0%}); accuracy untrained, and after one epoch")
    train = bench.calibration
    criteria = {"l1": L1(), "l2": L2(), "activation": Activation(train), "taylor": Taylor(train)}
    for by, criterion in criteria.items():
        net = bench.wrapped()
        worth = nw.sort_channels(net, criterion)
        bench.judge(f"by importance ({by}), uniform", net.extract(half))
        best = prune_to_budget(net, worth, f"macs <= {macs}")
        bench.judge(f"by importance ({by}), best widths ({net.count(best).macs / 1e6:.1f} M MACs)", net.extract(best))
    generator, found, tuned = torch.Generator().manual_seed(0), [], []
    for i in range(arguments.random):
        net = bench.wrapped()
        for axis in net.axes:
            if isinstance(axis, nw.Width):
                permute(net.index, axis, torch.randperm(axis.channels, generator=generator))
        network = net.extract(half)
        found.append(bench.accuracy(network))
        if i < arguments.tuned_random and not arguments.untrained:
            tuned.append(bench.tuned(network))
    if found:
        low, high = np.percentile(found, [25, 75])
        after = f"{statistics.median(tuned):.2f} % (median of {len(tuned)})" if tuned else "not trained"
        print(
            f"  {len(found)} random orders: median {statistics.median(found):.2f} % ({low:.2f} to {high:.2f}), {after}"
        )
    _torch_pruning(bench, macs)


def to_latencies(bench: Bench, shares: list[float], path: Path) -> None:
    """Print what is kept at a latency when cutting for it by a table, and for MACs."""
    net, latency = bench.wrapped(), nw.Latency("onnxruntime,threads=1", SamplingPlan(max_seconds=0.3))
    path.parent.mkdir(parents=True, exist_ok=True)
    table, begin = LookupTable(latency, path), time.process_time()
    importance = nw.sort_channels(net, Taylor(list(bench.calibration)[:2]))
    for _ in build(table, net, 8, np.random.default_rng(0), still=0):
        pass
    filled = time.process_time() - begin
    (whole,), most = table.values(net, [net.largest]), net.count(net.largest).macs
    print(
        f"whole: {bench.plain():.2f} %, {whole['latency']:.3f} ms by the table; 8 networks measured: {filled:.0f} CPU s"
    )
    found = {"whole": net.largest}
    for share in shares:
        begin, bound = time.process_time(), share * whole["latency"]
        fast = nw.prune_to_budget(net, importance, f"latency <= {bound} ms", table)
        print(f"  {share:.0%}: {time.process_time() - begin:.0f} CPU s of trimming, {len(table.rows)} rows", flush=True)
        low, high = 0.0, float(most)
        while high - low > 0.005 * most:  # the most MACs that the table says are as fast
            macs = (low + high) / 2
            try:
                small = nw.prune_to_budget(net, importance, f"macs <= {macs}")
            except NetError:
                low = macs
                continue
            low, high = (macs, high) if table.values(net, [small])[0]["latency"] <= bound else (low, macs)
        found[f"{share:.0%} by table"] = fast
        found[f"{share:.0%} by MACs"] = nw.prune_to_budget(net, importance, f"macs <= {low}")
    _measure(bench, net, table, found)


def _measure(bench: Bench, net: nw.SuperNet, table: LookupTable, found: dict[str, nw.Candidate]) -> None:
    """Each in turn, for some rounds: what they have in one round was measured in the same state of the machine."""
    rounds: dict[str, list[float]] = {name: [] for name in found}
    with TemporaryFolder() as folder:
        files = {}
        for i, (name, candidate) in enumerate(found.items()):
            network = net.extract(candidate).eval()
            files[name] = folder / f"{i}.onnx"
            table.measurer.write(network, EXAMPLE, files[name])
        for _ in range(7):
            for name, file in files.items():
                rounds[name].append(table.measurer.of(file, EXAMPLE)["latency"].value)
    print(f"{'':16}{'MACs':>9}{'table, ms':>11}{'measured':>10}{'of whole':>10}{'accuracy':>10}")
    for name, candidate in found.items():
        ratio = statistics.median(a / b for a, b in zip(rounds[name], rounds["whole"], strict=True))
        told = table.values(net, [candidate])[0]["latency"]
        kept = bench.accuracy(net.extract(candidate))
        macs = net.count(candidate).macs / 1e6
        print(f"{name:16}{macs:7.1f} M{told:11.3f}{statistics.median(rounds[name]):10.3f}{ratio:10.3f}{kept:9.2f} %")


class Bench:
    """The data, and what is done with every network.

    Args:
        folder: of the shared data.
        images: of the test set.
        lr: of fine-tuning.
        untrained: whether fine-tuning is left out.
    """

    def __init__(self, folder: Path, images: int, lr: float, untrained: bool) -> None:
        self._folder, self.lr, self.untrained = folder, lr, untrained
        self.train = first_of(folder, "train", 20000)
        some = nw.Split(self.train.inputs[:1024], self.train.targets[:1024])
        self.calibration = nw.TensorLoader(some, 256)
        self._judge = nw.Accuracy(nw.TensorLoader(first_of(folder, "test", images), 250))

    def model(self) -> CifarResNet:
        """The trained network."""
        return trained(self._folder, 56)

    def wrapped(self) -> nw.SuperNet:
        """The trained network with the inner widths of its blocks."""
        return nw.wrap(self.model(), EXAMPLE, axes=["width"], only=["layer*"], round_to=1)

    def plain(self) -> float:
        """The trained network's, in percent, with its own statistics."""
        return self._judge.of(self.model()).value

    def accuracy(self, network: nn.Module) -> float:
        """In percent, with recomputed statistics."""
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self._judge.of(nw.recalibrate(network, self.calibration)).value

    def tuned(self, network: nn.Module) -> float:
        """In percent, after one epoch."""
        batches = nw.TensorLoader(self.train, 128, shuffle=True, augment=_augmented)
        optimizer = f"sgd,lr={self.lr},momentum=0.9,nesterov=true,weight_decay=5e-4"
        nw.finetune(network, batches, epochs=1, optimizer=optimizer, seed=0)
        return self.accuracy(network)

    def judge(self, name: str, network: nn.Module) -> None:
        """Print one row."""
        before = self.accuracy(network)
        after = "" if self.untrained else f", {self.tuned(network):.2f} %"
        print(f"  {name}: {before:.2f} %{after}", flush=True)


def _torch_pruning(bench: Bench, macs: int) -> None:
    """Torch-Pruning's importances on the same layers: it takes padded shortcuts for the identity, so the rest stays."""
    try:
        tp: Any = importlib.import_module("torch_pruning")
    except ImportError as error:
        print(f"  Torch-Pruning is left out: {error}")
        return
    warnings.filterwarnings("ignore")

    def pruned(importance: Any, ranking: bool, ratio: float) -> nn.Module:
        network = bench.model()
        cut = {network.get_submodule(f"layer{s}.{b}.conv1") for s in (1, 2, 3) for b in range(9)}
        rest = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m not in cut]
        tp.pruner.BasePruner(
            network, EXAMPLE, importance, global_pruning=ranking, pruning_ratio=ratio, ignored_layers=rest,
            max_pruning_ratio=0.9,
        ).step()  # fmt: skip
        return network

    for name, importance, ranking in (
        ("group magnitude L1, uniform", tp.importance.GroupMagnitudeImportance(p=1), False),
        ("group magnitude L2, uniform", tp.importance.GroupMagnitudeImportance(p=2), False),
        ("group magnitude L2, global", tp.importance.GroupMagnitudeImportance(p=2), True),
    ):
        low, high = 0.2, 0.9
        for _ in range(16):
            network = pruned(importance, ranking, (low + high) / 2)
            alone = nw.SuperNet(network, [], EXAMPLE)
            now = alone.count(alone.largest).macs
            if abs(now - macs) <= 0.01 * macs:
                break
            low, high = ((low + high) / 2, high) if now > macs else (low, (low + high) / 2)
        bench.judge(f"Torch-Pruning, {name} ({now / 1e6:.1f} M MACs)", network)


def _augmented(images: Tensor) -> Tensor:
    """Shifted by up to four pixels, half of them mirrored."""
    padded = F.pad(images, (4, 4, 4, 4))
    x, y = torch.randint(0, 9, (2,)).tolist()
    shifted = padded[:, :, y : y + 32, x : x + 32]
    mirrored = torch.rand(len(images)) < 0.5
    return torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted)


if __name__ == "__main__":
    main()
