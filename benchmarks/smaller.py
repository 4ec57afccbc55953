"""One super-network of a trained ResNet-56 against the plain smaller network, ResNet-20, at a share of its time.

ResNet-56 with published weights, 20,000 training images of CIFAR-10, a budget of images for each two networks: a fifth
for elastic training of the range of sub-networks that the limits ask for, two fifths for fine-tuning each of those that
a search picks on 1,000 held-out images of the 20,000. Blocks and channels are kept by importance. Everything learns
from the labels and from the given network: from its answers to the same images, and from what its stages give. Beside
it ResNet-20: with its published weights (trained on 50,000 images for 200 epochs), and from scratch on the same 20,000
images with as many in all.

Accuracy is of the 10,000 test images, in float32 and of the 8-bit file in ONNX Runtime; time that of ONNX Runtime, one
thread, in rounds in turn with ResNet-56, each precision beside ResNet-56 in the same. Every stage goes on from its
checkpoint in ``--out``. Needs ``cifar10`` and ``weights_cifar10_resnet`` of the shared data.

    python benchmarks/smaller.py --data ../shared/data                   # 20 epochs' images
    python benchmarks/smaller.py --data ../shared/data --epochs 1 --out runs/smaller_short
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cifar10 import augmented, first_of, in_order, orders_of, trained
from torch import nn

import netwright as nw
from netwright.core.files import write_json
from netwright.measure.sampling import SamplingPlan
from netwright.measure.target_quality import FileOnTarget
from netwright.nets.families.cifar_resnet import CifarResNet, cifar_resnet
from netwright.nets.state import load_state, read_tensors, state_of, write_tensors
from netwright.training.run import Precision
from netwright.training.sampling.base import Sampling
from netwright.training.steps import State, Step

EXAMPLE = torch.zeros(1, 3, 32, 32)
LIMITS = (0.33, 0.37, 0.45, 0.62)
"""Of ResNet-56's time."""
MARGIN = 0.98
"""What is picked has this share of the limit at most, by the time that was measured before."""
HELD_OUT = 1000
TUNING = "sgd,lr={},momentum=0.9,nesterov=true,weight_decay=5e-4"
STAGES = "features,weight=240,modules=(layer1,layer2,layer3)"
"""How networks learn from the given one."""
BATCH = 32
TARGETS = ("onnxruntime,threads=1", "onnxruntime,precision=int8,threads=1")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--epochs", type=float, default=20, help="images in all, in epochs of 20,000")
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--distillation", default=STAGES, help="how networks learn from the given one")
    parser.add_argument("--bfloat16", action="store_true", help="train in bfloat16, twice as fast where a CPU has AMX")
    parser.add_argument("--images", type=int, default=10000, help="of the test set")
    parser.add_argument("--limits", type=float, nargs="+", choices=LIMITS, default=LIMITS, help="shares of the time")
    parser.add_argument("--out", type=Path, default=Path("runs/smaller"))
    parser.add_argument("--only", choices=("smaller", "resnet20"), help="leave the other out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    arguments.out.mkdir(parents=True, exist_ok=True)
    ways = Ways(arguments.lr, arguments.distillation, "bfloat16" if arguments.bfloat16 else "float32")
    bench = Bench(arguments.data, arguments.out, round(arguments.epochs * 20000), ways, arguments.images)
    found: dict[str, nn.Module] = {"ResNet-56": trained(arguments.data, 56)}
    if arguments.only != "resnet20":
        found |= bench.smaller(arguments.limits)
    found["ResNet-20, published"] = trained(arguments.data, 20)
    if arguments.only != "smaller":
        found["ResNet-20, the same images"] = bench.resnet20()
    whole, eight = ({name: bench.file(network, target) for name, network in found.items()} for target in TARGETS)
    shares, shares8 = bench.shares(TARGETS[0], whole), bench.shares(TARGETS[1], eight)
    print(f"{'':28}{'MACs':>9}{'float32':>11}{'time':>8}{'':9}{'int8':>11}{'time':>8}{'':9}{'bytes':>9}")
    for name, network in found.items():
        alone = nw.SuperNet(network, [], EXAMPLE)
        macs = alone.count(alone.largest).macs / 1e6
        row = f"{name:28}{macs:7.1f} M{bench.test(network):9.2f} %{_times(shares[name])}"
        row += f"{bench.test_file(network, eight[name]):9.2f} %{_times(shares8[name])}"
        print(f"{row}{eight[name].stat().st_size / 1e3:6.0f} kB", flush=True)


def _times(share: tuple[float, float]) -> str:
    return f"{share[0]:8.3f} +- {share[1]:.3f}"


@dataclass(frozen=True)
class Ways:
    """How networks are trained.

    Args:
        lr: the highest learning rate.
        distillation: how they learn from the given one.
        precision: that they compute with.
    """

    lr: float
    distillation: str
    precision: Precision


@dataclass(frozen=True)
class Among(Sampling):
    """Some candidates, drawn uniformly.

    Args:
        candidates: as many as one likes.
    """

    candidates: tuple[nw.Candidate, ...]

    def sample(self, net: nw.SuperNet, rng: np.random.Generator, at: Step, state: State) -> nw.Candidate:
        return self.candidates[rng.integers(len(self.candidates))]


class Bench:
    """The data, and the stages of the job.

    Args:
        data: the shared data.
        out: where checkpoints lie.
        images: to be learned from in all.
        ways: how networks are trained.
        tested: images of the test set.
    """

    def __init__(self, data: Path, out: Path, images: int, ways: Ways, tested: int) -> None:
        self.data, self.out, self.images, self.ways = data, out, images, ways
        self.written = 0
        self.whole = first_of(data, "train", 20000)
        self.tested = first_of(data, "test", tested)
        self._test = nw.Accuracy(nw.TensorLoader(self.tested, 250))
        kept = len(self.whole) - HELD_OUT
        self.validation = nw.Accuracy(nw.TensorLoader(self.whole.take(torch.arange(kept, len(self.whole))), 250))
        self.train = self.whole.take(torch.arange(kept))
        self.train = nw.Split(self.train.inputs.contiguous(memory_format=torch.channels_last), self.train.targets)
        self.calibration = [augmented(part) for part in self.train.inputs[:1024].split(256)]
        self.given = trained(data, 56)
        self.given.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def test(self, network: nn.Module) -> float:
        """In percent."""
        return self._test.of(network.to(memory_format=torch.channels_last)).value  # type: ignore[call-overload]

    # -- files -------------------------------------------------------------------------------------------------

    def file(self, network: nn.Module, target: str) -> Path:
        """A network's file for a target, with ranges from 500 training images."""
        network = network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        self.written += 1
        path = self.out / f"file{self.written}.onnx"
        real = self.train.take(torch.arange(500))
        nw.Latency(target).write(network, EXAMPLE, path, [(real.inputs.contiguous(), real.targets)])
        return path

    def test_file(self, network: nn.Module, path: Path) -> float:
        """Of an 8-bit file, in percent."""
        run, images = FileOnTarget(nw.Latency(TARGETS[1]), path, network, EXAMPLE), self.tested.inputs.contiguous()
        scores = torch.cat([run(part) for part in images.split(1000)])
        return 100 * float((scores.argmax(1) == self.tested.targets).float().mean())

    @staticmethod
    def shares(target: str, files: dict[str, Path], rounds: int = 15) -> dict[str, tuple[float, float]]:
        """Of the first's time: medians of ratios within rounds, and half their 95 % intervals."""
        latency = nw.Latency(target, SamplingPlan(max_seconds=0.3))
        times: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(rounds):
            for name, file in files.items():
                times[name].append(latency.of(file, EXAMPLE)["latency"].value)
        first = next(iter(times.values()))
        ratios = {name: [a / b for a, b in zip(own, first, strict=True)] for name, own in times.items()}
        return {
            name: (statistics.median(own), 1.253 * 1.96 * statistics.stdev(own) / rounds**0.5)
            for name, own in ratios.items()
        }

    # -- the super-network -------------------------------------------------------------------------------------

    def smaller(self, limits: Sequence[float]) -> dict[str, nn.Module]:
        """The networks that are handed back."""
        net = self._net()
        some = self._candidates(net)
        began, ways = time.process_time(), self.ways
        nw.train(
            net, Images(self.train, self.images // 5, BATCH), rule="single-path", sampling=Among(some), epochs=1,
            seed=0, optimizer=TUNING.format(ways.lr), teacher=self.given, distillation=ways.distillation,
            precision=ways.precision, checkpoint=self.out / "elastic.safetensors", checkpoint_steps=200,
            callback=_told("elastic training"),
        )  # fmt: skip
        print(f"elastic training: {time.process_time() - began:.0f} CPU s", flush=True)
        return {f"at most {limit}": self._tuned(net, limit, self._pick(net, limit, some)) for limit in limits}

    def _net(self) -> nw.SuperNet:
        """ResNet-56 with its blocks and channels in order; what is found is kept."""
        net, path, weights = _supernet(), self.out / "order.json", self.out / "sorted.safetensors"
        net.module.load_state_dict(trained(self.data, 56).state_dict())
        if not weights.exists():
            nw.sort_channels(net, nw.importance.Taylor([self.calibration[0][:64]]))
            write_tensors(weights, state_of(net.module))
        if not path.exists():
            ordered = nw.sort_blocks(net, self.calibration[:1])
            write_json(path, orders_of(ordered))
        load_state(net.module, read_tensors(weights)[0], weights)
        return in_order(net, json.loads(path.read_text()))

    def _candidates(self, net: nw.SuperNet) -> tuple[nw.Candidate, ...]:
        """Sub-networks of the range that the limits ask for: all splits of depth, and some inner widths."""
        rng, found = np.random.default_rng(0), list[nw.Candidate]()
        most = max(LIMITS) * 1.05 * net.count(net.largest).macs
        for depths in product(range(2, 8), repeat=3):
            if 8 <= sum(depths) <= 17:
                found += [_some(net, depths, narrow, rng) for narrow in (0.0, 0.1, 0.2)]
        return tuple(c for c in dict.fromkeys(found) if net.count(c).macs <= most)

    def _pick(self, net: nw.SuperNet, limit: float, some: Sequence[nw.Candidate], count: int = 10) -> nw.Candidate:
        """The best on the held-out images of those that come nearest to a limit."""
        path, macs = self.out / f"picked_{limit}.json", {c: net.count(c).macs for c in some}
        if path.exists():
            return net.space.candidate(json.loads(path.read_text()))
        whole = net.count(net.largest).macs
        near = sorted((c for c in some if macs[c] <= limit * whole), key=lambda c: -macs[c])[: 2 * count]
        networks = {"": self.given, **{c.key: net.extract(c) for c in near}}
        times = self.shares(TARGETS[0], {key: self.file(n, TARGETS[0]) for key, n in networks.items()}, 5)
        near = sorted((c for c in near if times[c.key][0] <= MARGIN * limit), key=lambda c: -times[c.key][0])[:count]
        judged = {c: self._inherited(net, c) for c in near}
        best = max(judged, key=judged.__getitem__)
        for candidate, value in judged.items():
            depths = [candidate[f"layer{s}.depth"] for s in (1, 2, 3)]
            print(
                f"  {depths}: {macs[candidate] / whole:.3f} of the MACs, {times[candidate.key][0]:.3f} of the time, "
                f"{value:.1f} % inherited",
                flush=True,
            )
        write_json(path, dict(best))
        return best

    def _inherited(self, net: nw.SuperNet, candidate: nw.Candidate) -> float:
        """On the held-out images, with recomputed statistics."""
        network = net.extract(candidate)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.validation.of(nw.recalibrate(network, self.calibration[:2])).value

    def _tuned(self, net: nw.SuperNet, limit: float, candidate: nw.Candidate) -> nn.Module:
        """A network after fine-tuning."""
        network = net.extract(candidate)
        before, began, ways = self._inherited(net, candidate), time.process_time(), self.ways
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        nw.finetune(
            network, Images(self.train, 2 * self.images // 5, BATCH), epochs=1, optimizer=TUNING.format(ways.lr),
            seed=1, teacher=self.given, distillation=ways.distillation, precision=ways.precision,
            checkpoint=self.out / f"tuned_{limit}.safetensors", checkpoint_steps=200,
            callback=_told(f"fine-tuning at most {limit}"),
        )  # fmt: skip
        print(
            f"at most {limit}: held out {before:.2f} % inherited, {self.validation.of(network).value:.2f} % after "
            f"fine-tuning; {time.process_time() - began:.0f} CPU s",
            flush=True,
        )
        return network

    # -- learning ----------------------------------------------------------------------------------------------

    def resnet20(self) -> nn.Module:
        """ResNet-20 from scratch, by labels alone, on all 20,000 images."""
        torch.manual_seed(0)
        network, began, path = CifarResNet(3), time.process_time(), self.out / "resnet20.safetensors"
        if path.exists():
            load_state(network, read_tensors(path)[0], path)
            return network.eval()
        nw.finetune(
            network, Images(self.whole, self.images, 128), epochs=1, optimizer=TUNING.format(0.1), seed=0,
            precision=self.ways.precision,
            checkpoint=self.out / "resnet20_training.safetensors", checkpoint_steps=100,
            callback=_told("ResNet-20"),
        )  # fmt: skip
        write_tensors(path, state_of(network))
        print(f"ResNet-20: {time.process_time() - began:.0f} CPU s", flush=True)
        return network


def _some(net: nw.SuperNet, depths: Sequence[int], narrow: float, rng: np.random.Generator) -> nw.Candidate:
    """A candidate of some depths; a share of its inner widths is the narrower option."""

    def chosen(choice: nw.Choice) -> Any:
        if choice.name.endswith("depth"):
            return depths[int(choice.name.removeprefix("layer")[0]) - 1]
        return choice.options[0] if rng.random() < narrow else choice.options[-1]

    return net.space.build(chosen)


def _supernet() -> nw.SuperNet:
    return cifar_resnet(56, shares=(0.75,), round_to=8)


class Images:
    """A number of training images, pass after pass in a new order, as one epoch, so that a schedule spans all.

    Args:
        split: what is read.
        images: how many.
        batch: examples of a batch.
    """

    def __init__(self, split: nw.Split, images: int, batch: int) -> None:
        self.inner, self.count = nw.TensorLoader(split, batch, shuffle=True, augment=augmented), max(1, images // batch)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        given = 0
        while True:
            for batch in self.inner:
                if given == self.count:
                    return
                given += 1
                yield batch


def _told(what: str) -> Any:
    def callback(progress: Any) -> None:
        if progress.step % 100 == 0:
            print(f"  {what}: {progress.step} of {progress.steps} steps, loss {progress.loss:.3f}", flush=True)

    return callback


if __name__ == "__main__":
    main()
