"""Rules of super-network training against one another, and against networks that are trained alone.

    python benchmarks/train_rules.py --short                     # minutes: a few rules, one seed, few images
    python benchmarks/train_rules.py --net mobile --jobs 2       # all rules, three seeds; goes on where it was stopped
    python benchmarks/train_rules.py --table                     # only prints what OUT has

A MobileNet-like super-network on Fashion-MNIST (`mobile`), and a ResNet-like one, found by `nw.wrap`, on CIFAR-10
(`resnet`); images enter with groups of pixels as channels. Every training is a process of its own, with one thread;
what OUT (a file of JSON lines) has is not trained again. Seeds are paired: the same initial weights and order of
images for all rules.

Every rule is trained twice: for as many passes over the images as the others (`images`), and for as many passes as cost
what the sandwich costs (`MACs`: multiply-accumulates forward and backward, counted in every convolution and linear
layer as it runs; whole passes). Judged are 30 sub-networks, evenly spread from the smallest to the largest by MACs, the
same for all, on test images that nothing was chosen by: with the running statistics as they are inherited, with
recalibrated ones, and twelve of them after one pass of fine-tuning. The same twelve are trained alone from scratch with
the same images each (`alone`): Kendall's tau between inherited and stand-alone accuracy, overall and within thirds of
the cost range (bands), tells whether rankings are true; beside it, that of the stand-alone networks of one seed against
those of another, which no super-network can exceed for long. And once more for as many passes as make all twelve cost
what the sandwich's super-network costs (`alone, same cost`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, t
from torch import Tensor, nn
from torch.nn import functional as F

import netwright as nw
from netwright.nets.families import inverted_residual
from netwright.nets.recalibrate import recalibrate
from netwright.study.stores.memory import MemoryStore

SHARED = Path(__file__).parents[2] / "shared"
BATCH, JUDGED, TWELFTH = 64, 30, 12
RULES = (
    "sandwich", "single-path", "fair", "progressive", "delayed-shrinking", "attentive", "complexity-aware",
    "probability-shift", "path-data", "sorted", "few-shot", "mixture", "blockwise",
)  # fmt: skip
FORMS = (
    "sandwich,targets=0", "sandwich,targets=1", "sandwich,targets=0|distillation=alpha", "sandwich|distillation=alpha",
    "sandwich|distillation=kl", "sandwich|sampling=cost", "sandwich|sampling=shrinking", "single-path|sampling=cost",
    "sandwich,random=1", "sandwich|lr=0.03", "single-path|lr=0.03", "sorted|lr=0.03",
)  # fmt: skip
"""Rules with other samplings, distillations and learning rates: the ablations."""


# -- networks and data -------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Residual(nn.Module):
    """A stem and three stages of two blocks."""

    def __init__(self, widths: tuple[int, ...] = (12, 24, 48), blocks: int = 2) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(12, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0])
        stages, into = [], widths[0]
        for i, out in enumerate(widths):
            first = Block(into, out, 2 if i else 1)
            stages.append(nn.Sequential(first, *(Block(out, out, 1) for _ in range(blocks - 1))))
            into = out
        self.stages, self.classifier = nn.Sequential(*stages), nn.Linear(into, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


def supernet(name: str, seed: int) -> nw.SuperNet:
    """A fresh one."""
    torch.manual_seed(seed)
    if name == "resnet":
        return nw.wrap(Residual(), torch.zeros(1, 12, 16, 16), round_to=4)
    widths = ((8, 12, 16), (16, 24, 32), (24, 32, 48))
    return inverted_residual(16, 10, 7, widths, ((1, 2),) * 3, (1, 2, 4), (3, 5))


OPTIMIZER = "sgd,lr={lr},momentum=0.9,nesterov=true,weight_decay=1e-4"
SCHEDULE = "cosine,warmup=0.05"
RATE = 0.1
"""The highest learning rate, where a form does not say another."""
PIXELS = {"mobile": 4, "resnet": 2}
"""The side of the groups of pixels that enter as channels."""


@cache
def read(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels; unpacked once, since every training is a process of its own."""
    file = Path(tempfile.gettempdir()) / f"train_rules_{name}_{split}.npz"
    if not file.exists():
        sys.path.insert(0, str(SHARED / "data"))
        pixels, labels = importlib.import_module("images").load(name, split)
        partial = file.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, pixels=pixels[:20_000], labels=labels[:20_000])
        partial.replace(file)
    with np.load(file) as kept:
        return kept["pixels"], kept["labels"]


@cache
def data(name: str, images: int, tested: int) -> nw.Data:
    """Training images, 2,000 to choose by, and the first of the test part."""
    kept = np.random.default_rng(0).permutation(20_000)

    def part(split: str, which: Any) -> nw.Split:
        pixels, labels = read("cifar10" if name == "resnet" else "fashion_mnist", split)
        x = torch.from_numpy(pixels[which]).float() / 127.5 - 1
        x = F.pixel_unshuffle(x.permute(0, 3, 1, 2) if x.dim() == 4 else x[:, None], PIXELS[name])
        return nw.Split(x.contiguous(), torch.from_numpy(labels[which]).long())

    parts = part("train", kept[: min(images, 18_000)]), part("train", kept[18_000:]), part("test", slice(tested))
    return nw.Data(*parts, lambda x: mirrored(x, PIXELS[name]))


def mirrored(x: Tensor, side: int) -> Tensor:
    """Half of the images mirrored; the columns of a group of pixels change places."""
    columns = torch.arange(x.shape[1]).reshape(-1, side, side).flip(2).flatten()
    return torch.where((torch.rand(len(x)) < 0.5)[:, None, None, None], x[:, columns].flip(3), x)


@cache
def judged(name: str) -> list[nw.Candidate]:
    """The sub-networks that all rules are judged by, by rising MACs: evenly spread over the range."""
    net, rng = supernet(name, 0), np.random.default_rng(1)
    pool = [net.smallest, net.largest]
    for _ in range(1500):
        share = rng.random()  # uniform draws alone would leave both ends of the range empty
        pool.append(net.space.build(partial(near, share, rng)))
    macs = np.asarray(net.counts(pool).macs, float)
    goals = np.linspace(macs.min(), macs.max(), JUDGED)
    return [pool[int(np.abs(macs - goal).argmin())] for goal in goals]


def near(share: float, rng: np.random.Generator, choice: nw.Choice) -> Any:
    """An option that lies about there in the row of options."""
    where = min(max(rng.normal(share, 0.3), 0.0), 1.0)
    return choice.options[round(where * (len(choice.options) - 1))]


def twelve(name: str) -> list[int]:
    """Which of the judged ones are trained alone and fine-tuned: positions."""
    return [round(i) for i in np.linspace(0, JUDGED - 1, TWELFTH)]


# -- one training ------------------------------------------------------------------------------------------------------


class Macs:
    """Multiply-accumulates of convolutions and linear layers as they run: three times those of the forward pass where
    gradients are computed."""

    def __init__(self) -> None:
        self.total = 0

    def _count(self, module: nn.Module, _: Any, output: Tensor) -> None:
        self.total += output.numel() * module.weight[0].numel() * (3 if torch.is_grad_enabled() else 1)  # type: ignore[index]

    @contextmanager
    def counting(self, network: nn.Module) -> Iterator[None]:
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        hooks = [layer.register_forward_hook(self._count) for layer in layers]
        yield
        for hook in hooks:
            hook.remove()


def one(job: dict[str, Any]) -> dict[str, Any]:
    """Train and judge."""
    torch.set_num_threads(1)
    return (alone if job["rule"] == "alone" else shared)(job)


def shared(job: dict[str, Any]) -> dict[str, Any]:
    """A super-network by a rule."""
    name, (rule, *more) = job["net"], job["rule"].split("|")
    net, parts = supernet(name, job["seed"]), data(name, job["images"], job["tested"])
    loader = nw.TensorLoader(parts.train, BATCH, shuffle=True, augment=parts.augment)
    macs, settings = Macs(), dict(each.split("=", 1) for each in more)
    begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with macs.counting(net.module):
        nw.train(net, loader, epochs=job["epochs"], rule=rule, seed=job["seed"], schedule=SCHEDULE,
                 optimizer=OPTIMIZER.format(lr=settings.pop("lr", RATE)), **settings)  # fmt: skip
    row: dict[str, Any] = {"cpu_s": time.process_time() - begin, "macs": macs.total,
           "peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}  # fmt: skip
    calibration = [batch for batch, _ in zip(loader, range(1024 // BATCH), strict=False)]
    test = tester(parts)
    row["inherited"], row["recalibrated"], row["tuned"] = [], [], []
    teacher = recalibrate(net.extract(net.largest), calibration)
    for i, candidate in enumerate(judged(name)):
        network = net.extract(candidate).eval()
        row["inherited"].append(test.of(network).value)
        row["recalibrated"].append(test.of(recalibrate(network, calibration)).value)
        if i in twelve(name) and job["tune"]:
            nw.finetune(network, loader, epochs=1, optimizer=OPTIMIZER.format(lr=0.02), teacher=teacher,
                        seed=job["seed"])  # fmt: skip
            row["tuned"].append(test.of(network).value)
    if job["search"]:
        row["front"] = search(net, parts, calibration, job)
    return row


def search(net: nw.SuperNet, parts: nw.Data, calibration: list[Any], job: dict[str, Any]) -> list[list[float]]:
    """The front of the same search for all rules: MACs, and accuracy on the test images."""
    accuracy = nw.Accuracy(nw.TensorLoader(parts.validation, 500))
    macs, seed = nw.Count("macs"), job["seed"]
    study = nw.Study(MemoryStore(), net, objectives=[accuracy, macs], calibration=calibration, seed=seed)
    study.run(nw.Nsga2(population=20), job["search"])
    test, front = tester(parts), []
    for record in study.front():
        network = net.extract(record.candidate)
        if record.provenance.get("statistics") == "recomputed":
            recalibrate(network, calibration)
        front.append([record.values["macs"], test.of(network.eval()).value])
    return front


def alone(job: dict[str, Any]) -> dict[str, Any]:
    """The twelve, each from scratch."""
    name, parts = job["net"], data(job["net"], job["images"], job["tested"])
    loader, test = nw.TensorLoader(parts.train, BATCH, shuffle=True, augment=parts.augment), tester(parts)
    macs, begin, found = Macs(), time.process_time(), []
    for which in twelve(name):
        network = supernet(name, 1000 * (1 + job["seed"]) + which).extract(judged(name)[which])
        with macs.counting(network):
            nw.finetune(network, loader, epochs=job["epochs"], optimizer=OPTIMIZER.format(lr=RATE), schedule=SCHEDULE,
                        seed=job["seed"])  # fmt: skip
        found.append(test.of(network).value)
    return {"accuracy": found, "cpu_s": time.process_time() - begin, "macs": macs.total}


def tester(parts: nw.Data) -> nw.Accuracy:
    """Accuracy on the test images."""
    return nw.Accuracy(nw.TensorLoader(parts.test, 500))


# -- all of them -------------------------------------------------------------------------------------------------------


def key(job: dict[str, Any]) -> str:
    """What a training is, whatever it found."""
    return json.dumps({k: v for k, v in sorted(job.items()) if k != "found"})


class Bench:
    """What is trained, and what is known of it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.out = given, given.out
        self.out.parent.mkdir(parents=True, exist_ok=True)
        lines = self.out.read_text().splitlines() if self.out.exists() else []
        self.known = {key(job): job["found"] for job in map(json.loads, lines)}

    def job(self, rule: str, seed: int, **more: Any) -> dict[str, Any]:
        """A training by a rule, for as many passes as all."""
        g = self.given
        plain = {"net": g.net, "rule": rule, "seed": seed, "epochs": g.epochs, "images": g.images, "tested": g.tested}
        return plain | ({} if rule == "alone" else {"tune": g.tune, "search": g.search}) | more

    def found(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """What a training has given, if it was run."""
        return self.known.get(key(job))

    def accuracies(self, job: dict[str, Any] | None) -> list[float]:
        """Those of networks that were trained alone; none where they are not known."""
        found = self.found(job) if job else None
        return found["accuracy"] if found else []

    def at_equal_macs(self, rule: str, seed: int) -> dict[str, Any] | None:
        """The training for as many passes as cost what the sandwich costs; None where it is not known yet."""
        plain, own = (self.found(self.job(each, seed)) for each in ("sandwich", rule))
        if plain is None or own is None:
            return None
        return self.job(rule, seed, epochs=max(1, round(self.given.epochs * plain["macs"] / own["macs"])))

    def run(self, jobs: list[dict[str, Any]]) -> None:
        """Train what is not known."""
        todo = list({key(job): job for job in jobs if self.found(job) is None}.values())
        with ThreadPoolExecutor(self.given.jobs) as pool:
            for job, found in zip(todo, pool.map(self._process, todo), strict=True):
                if found is None:
                    continue
                self.known[key(job)] = found
                with self.out.open("a") as file:
                    file.write(json.dumps(job | {"found": found}) + "\n")
                said = f"{job['net']} {job['rule']} seed {job['seed']}, {job['epochs']} epochs"
                print(f"{said}: {found['cpu_s']:.0f} CPU s", flush=True)

    def _process(self, job: dict[str, Any]) -> dict[str, Any] | None:
        path = f"{Path(__file__).parent}:{Path(nw.__file__).parents[1]}"
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        command = [sys.executable, __file__, "--one", json.dumps(job)]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            print(f"{job['rule']} seed {job['seed']} failed: {done.stderr.strip().splitlines()[-1:]}", flush=True)
            return None
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


# -- what is printed -----------------------------------------------------------------------------------------------


def figures(
    bench: Bench, runs: list[dict[str, Any]], stand_alone: list[list[float]], frugal: list[list[float]]
) -> dict[str, list[float]]:
    """The figures of a rule, one for each seed.

    Args:
        bench: what is known.
        runs: what its trainings have given, by seed.
        stand_alone: the twelve's accuracies, by seed; empty where they are not known.
        frugal: the same where all twelve cost as much together as the sandwich's super-network.
    """
    which, third = twelve(bench.given.net), JUDGED // 3
    rows: dict[str, list[float]] = {}
    for run, own, cheap in zip(runs, stand_alone, frugal, strict=True):
        values = {
            "all": fmean(run["recalibrated"]),
            "smallest third": fmean(run["recalibrated"][:third]),
            "largest": run["recalibrated"][-1],
            "as inherited": fmean(run["inherited"]),
        }
        if run["tuned"]:
            values["tuned"] = fmean(run["tuned"])
        if own:
            inherited = [run["recalibrated"][i] for i in which]
            values["alone"] = fmean(own)
            values["twelve"] = fmean(inherited)
            values["tau"] = tau(inherited, own)
            bands = np.array_split(np.arange(len(which)), 3)
            values["tau in bands"] = fmean(tau([inherited[i] for i in b], [own[i] for i in b]) for b in bands)
        if cheap:
            values["alone, same cost"] = fmean(cheap)
        if run.get("front"):
            values["front"] = volume(run["front"], bench.given.net)
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    return rows


def tau(a: list[float], b: list[float]) -> float:
    """Kendall's tau-b."""
    found = float(kendalltau(a, b).statistic)
    return 0.0 if math.isnan(found) else found


def volume(front: list[list[float]], name: str) -> float:
    """The mean over the range of MACs of the best accuracy at as many or fewer, in %: 0 where there is none."""
    net = supernet(name, 0)
    grid = np.linspace(net.count(net.smallest).macs, net.count(net.largest).macs, 200)
    return float(np.mean([max((a for m, a in front if m <= most), default=0.0) for most in grid]))


def told(values: list[float]) -> str:
    """The mean and the standard deviation over the seeds."""
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def verdict(own: list[float], reference: list[float]) -> str:
    """The mean paired difference to a reference; a tie where its 95 % interval holds 0."""
    differences = [a - b for a, b in zip(own, reference, strict=False)]
    mean = fmean(differences)
    if len(differences) < 2 or not any(differences):
        return f"{mean:+.2f}"
    half = float(t.ppf(0.975, len(differences) - 1)) * stdev(differences) / math.sqrt(len(differences))
    return f"{mean:+.2f} (tie)" if abs(mean) <= half else f"{mean:+.2f}"


COLUMNS = (
    "all", "smallest third", "largest", "as inherited", "tuned", "twelve", "alone", "alone, same cost", "tau",
    "tau in bands", "front",
)  # fmt: skip


def table(bench: Bench, rules: list[str]) -> None:
    """Markdown: each rule at equal images and at equal MACs."""
    g, seeds = bench.given, bench.given.seeds
    own = [bench.accuracies(bench.job("alone", seed)) for seed in seeds]
    frugal = [bench.accuracies(bench.at_equal_macs("alone", seed)) for seed in seeds]
    largest = [bench.found(bench.job("largest", seed)) for seed in seeds]
    plain = fmean(r["cpu_s"] for r in largest if r) if any(largest) else math.nan
    print(f"\n{g.net}: {g.images:,} images, {g.epochs} passes, seeds {', '.join(map(str, seeds))};")
    print(f"accuracy on {g.tested:,} test images, %;")
    print("± standard deviation over seeds; differences are paired, to the sandwich\n")
    heads = ["rule", "at equal", "passes", *COLUMNS, "all - sandwich", "smallest third - sandwich", "CPU", "MB"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    reference: dict[str, list[float]] = {}
    for rule in rules:
        for by in ("images", "MACs"):
            jobs = [bench.job(rule, s) if by == "images" else bench.at_equal_macs(rule, s) for s in seeds]
            runs = [bench.found(job) if job else None for job in jobs]
            if not all(runs) or (by == "MACs" and {job["epochs"] for job in jobs if job} == {g.epochs}):
                continue  # as many passes are the row above
            rows = figures(bench, [r for r in runs if r], own, frugal)
            reference = reference or rows
            cells = [told(rows[c]) if c in rows else "" for c in COLUMNS]
            cells += [verdict(rows[c], reference[c]) for c in ("all", "smallest third")]
            cost = fmean(r["cpu_s"] for r in runs if r) / plain
            passes = sorted({job["epochs"] for job in jobs if job})
            cells += [f"{cost:.2f}x", f"{fmean(r['peak_mb'] for r in runs if r):.0f}"]
            print(f"| `{rule}` | {by} | {'-'.join(map(str, passes))} | " + " | ".join(cells) + " |")
    known = [each for each in own if each]
    if len(known) > 1:
        pairs = [tau(a, b) for a, b in combinations(known, 2)]
        print(f"\nthe twelve trained alone, one seed against another: tau {told(pairs)}, the most that can be expected")


def main() -> None:
    """Train what is not known yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--net", choices=("mobile", "resnet"), default="resnet")
    parser.add_argument("--rules", help="separated by semicolons, such as 'sandwich;fair|sampling=cost'")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=18_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--tested", type=int, default=5000, help="images of the test part that are judged by")
    parser.add_argument("--search", type=int, default=60, help="evaluations of the search; 0 leaves it out")
    parser.add_argument("--no-tune", dest="tune", action="store_false", help="leave fine-tuning out")
    parser.add_argument("--no-macs", action="store_true", help="leave the trainings at equal MACs out")
    parser.add_argument("--no-alone", action="store_true", help="leave the stand-alone networks out")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--out", type=Path, default=Path("runs/train_rules.jsonl"))
    parser.add_argument("--short", action="store_true", help="minutes: four rules, one seed, few images")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one)))
        return
    rules = given.rules.split(";") if given.rules else [*RULES, *FORMS]
    if given.short:
        rules = given.rules.split(";") if given.rules else ["sandwich", "single-path", "fair", FORMS[2]]
        given.seeds, given.images, given.epochs, given.search, given.tune = [0], 1000, 2, 0, False
    bench = Bench(given)
    if not given.table:
        both = [(rule, seed) for seed in given.seeds for rule in ("sandwich", "largest", *rules)]
        bench.run([bench.job(rule, seed) for rule, seed in both])
        if not given.no_alone:
            bench.run([bench.job("alone", seed) for seed in given.seeds])
        if not given.no_macs:
            those = [(rule, seed) for rule, seed in both if rule != "largest"]
            those += [] if given.no_alone else [("alone", seed) for seed in given.seeds]
            bench.run([job for rule, seed in those if (job := bench.at_equal_macs(rule, seed))])
    table(bench, ["sandwich", *(rule for rule in rules if rule != "sandwich"), "largest"])


if __name__ == "__main__":
    main()
