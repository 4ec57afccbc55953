"""Networks of images through the one command: a folder of images, one super-network, cut in float32 and in 8 bits.

``resnet``: CIFAR-10's ResNet-20 with its published weights, transferred to Fashion-MNIST (32 by 32); ``mobilenet``:
MobileNetV2 with ImageNet weights, to CIFAR-10 (64 by 64); ``vit``: a vision transformer of six layers, trained here on
Fashion-MNIST from scratch. The images are written as a folder, and the job of ``netwright fit`` takes it from there:
the whole network gets a new head and is fine-tuned, which is the baseline; its super-network is trained, learning from
it; searched on the validation images, where accuracy and latency are measured on each target; the best network at each
of some speed-ups is fine-tuned with the whole as its teacher, and written. Beside them, fine-tuned in the same way on
as many images in all: plain cuts (fewer blocks; all widths alike), and Torch-Pruning at the multiply-accumulates of the
first that is handed back in float32 (all layers alike, with any widths and with multiples of eight, which run faster;
and by global L2 norms of groups).

Accuracy is of test images that nothing was chosen by, by the file that the target runs, one image at a time; latency of
ONNX Runtime, one thread, one image, in rounds in turn with the whole network in the same precision. The paired test is
McNemar's exact one, of each network with the plain cut that is nearest in latency. Every stage goes on from what
``--out`` holds.

    python benchmarks/vision.py resnet --data ../shared/data
    python benchmarks/vision.py mobilenet --data ../shared/data --short --out runs/mobilenet_short
    python benchmarks/vision.py vit --data ../shared/data

Torch-Pruning is no dependency: ``pip install --no-deps torch-pruning``; without it its rows are left out.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from one_command import MARGIN, TARGETS, Files, Told, best_of, in_turn, paired, ratio
from torch import Tensor, nn
from torchvision_stub import stub

import netwright as nw
from netwright.core.candidate import digest
from netwright.core.record import Record
from netwright.formats.safetensors import load_weights
from netwright.measure.exported import OnnxModule
from netwright.nets.families.cifar_resnet import CifarResNet
from netwright.nets.families.mobilenet import EPS, MobileNetV2
from netwright.nets.inputs import tensors_in
from netwright.nets.state import load_state, read_tensors, state_of, write_tensors
from netwright.pipeline.context import Context, open_run
from netwright.pipeline.export import export
from netwright.pipeline.given import key_of
from netwright.pipeline.plain_cuts import plain_cuts
from netwright.pipeline.search import check, open_study, search
from netwright.pipeline.train import train
from netwright.pipeline.whole import with_whole
from netwright.recipe.load import load
from netwright.training.defaults import default_distillation

SPEEDS = (1.5, 2.5)
"""How many times faster than the whole in the same precision networks are to be."""


@dataclass(frozen=True)
class Net:
    """A network, and what it is transferred to.

    Args:
        images: the set of images.
        classes: their names.
        model: of the recipe; ``{data}`` and ``{out}`` stand for folders.
        settings: of the folder of images.
        optimizer: of all trainings.
        pruned: patterns of the layers whose channels Torch-Pruning may take; none leaves it out.
        count: images of training, validation and test.
        epochs: of fine-tuning the whole and of elastic training; of fine-tuning what is handed back.
    """

    images: str
    classes: str
    model: str
    settings: str
    optimizer: str
    pruned: tuple[str, ...]
    count: tuple[int, int, int]
    epochs: tuple[int, int]


CLOTHES = "t-shirt trouser pullover dress coat sandal shirt sneaker bag boot"
THINGS = "airplane automobile bird cat deer dog frog horse ship truck"
SGD = "sgd,lr={:g},momentum=0.9,nesterov=true,weight_decay=0.0005"
NETS = {
    "resnet": Net(
        "fashion_mnist", CLOTHES,
        "vision:resnet20,weights={data}/weights_cifar10_resnet/resnet20.safetensors,head=new,least=0.25",
        "size=32,channels=3,mean=(0.485,0.456,0.406),std=(0.229,0.224,0.225)", SGD.format(0.03), ("layer*.conv1",),
        (6000, 1000, 2000), (4, 2),
    ),
    "mobilenet": Net(
        "cifar10", THINGS, "vision:MobileNetV2,weights={out}/mobilenetv2.safetensors,head=new",
        "size=64,mean=(0.5,0.5,0.5),std=(0.5,0.5,0.5)", SGD.format(0.01), ("*",), (6000, 1000, 2000), (4, 2),
    ),
    "vit": Net(
        "fashion_mnist", CLOTHES, "{out}/vit", "", "adamw,lr=0.0005", (), (6000, 1000, 2000), (4, 2),
    ),
}  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="runs/vision_NET by default")
    parser.add_argument("--short", action="store_true", help="two minutes: few images, passes and networks")
    parser.add_argument("--bfloat16", action="store_true", help="train in bfloat16, faster where a CPU has it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stub()
    warnings.filterwarnings("ignore", module="torch_pruning")
    out = (given.out or Path(f"runs/vision_{given.net}")).absolute()
    out.mkdir(parents=True, exist_ok=True)
    net = NETS[given.net]
    if given.short:
        net = replace(net, count=(600, 200, 200), epochs=(1, 1))
    bench = Bench(net, given.data.absolute(), out, given.short, given.bfloat16, given.seed)
    began = time.process_time()
    bench.prepare(given.net)
    found = {"whole, fine-tuned": bench.whole()}
    for kind in TARGETS:
        found |= bench.cut(kind)
    found |= bench.others()
    bench.table(found)
    print(f"{(time.process_time() - began) / 60:.0f} CPU minutes of this process", flush=True)


@dataclass(frozen=True)
class Bench:
    """The data, and the stages of the job.

    Args:
        net: what is cut.
        data: the shared data.
        out: where everything lies.
        short: few of everything.
        bfloat16: what networks compute with while they learn.
        seed: of everything random.
    """

    net: Net
    data: Path
    out: Path
    short: bool
    bfloat16: bool
    seed: int

    def prepare(self, name: str) -> None:
        """Write the folder of images, and weights that are not there as the job reads them."""
        folder = self.out / "images"
        if not (folder / "done").exists():
            write_images(self.data, self.net, folder)
        if name == "mobilenet" and not (self.out / "mobilenetv2.safetensors").exists():
            pixels = torch.from_numpy(images_of(self.data, "cifar10", "train")[0][:256]).permute(0, 3, 1, 2).float()
            larger = nn.functional.interpolate(pixels, size=64, mode="bilinear", antialias=True)
            network = with_normalisation(self.data, larger / 127.5 - 1)
            write_tensors(self.out / "mobilenetv2.safetensors", state_of(network))
        if name == "vit" and not (self.out / "vit" / "config.json").exists():
            self._train_vit()

    def whole(self) -> Files:
        """The fine-tuned whole network, as the job of float32 makes it."""
        return self._written(f"whole_{self._made_from}", self.given)

    @cached_property
    def _made_from(self) -> str:
        """Of what a file of the whole, or of what has learned from it, depends on: an ``--out`` that holds those of
        other settings is none the worse."""
        context = self.context
        return digest([key_of(context.recipe, context.data), context.recipe.key("export")])

    @cached_property
    def given(self) -> nn.Module:
        """The same, in PyTorch."""
        return self.context.given()

    @cached_property
    def context(self) -> Context:
        """Of the job of float32, once its network is fine-tuned."""
        with self._opened("float32") as context:
            return with_whole(context)

    def _opened(self, kind: str) -> Any:
        return open_run(load(self._recipe(kind)), self.out / kind, callback=Told(kind))

    def _recipe(self, kind: str) -> dict[str, Any]:
        """Of the job; that of 8 bits takes up the super-network of the other."""
        tuning = {"optimizer": self.net.optimizer, "schedule": "cosine,warmup=0.1"}
        precision = "bfloat16" if self.bfloat16 else "float32"
        learning = {"batch_size": 64, "epochs": self.net.epochs[0], "rule": "sandwich,random=1", "keep": 2.0}
        learning["precision"] = precision
        settings = f",{self.net.settings}" if self.net.settings else ""
        return {
            "model": self.net.model.format(data=self.data, out=self.out),
            "data": f"{self.out / 'images'}{settings}",
            "target": TARGETS[kind],
            "train": {**learning, **tuning, **({"weights": str(self.out / "float32")} if kind != "float32" else {})},
            "evaluations": 12 if self.short else 32,
            "latency": {"max_seconds": 0.3},
            "export": {"epochs": self.net.epochs[1], "teacher": "given", "formats": ["onnx"], **tuning},
            "seed": self.seed,
        }

    def cut(self, kind: str) -> dict[str, Files]:
        """The networks of the job for a target, by name."""
        found = dict[str, Files]()
        with self._opened(kind) as opened:
            check(opened, open_study(opened))
            context = with_whole(opened)
            study = open_study(context)
            train(context)
            faster = self._faster(context, kind, search(context, study))
            most = max(speed for _, speed in faster)
            picked = {speed: best_of(faster, speed / MARGIN) for speed in SPEEDS if speed / MARGIN <= most}
            print(f"{kind}: the front is up to {most:.2f} times faster", flush=True)
            export(context, study, list({record.id: record for record in picked.values()}.values()))
            for speed, record in picked.items():
                print(f"{kind}, {speed:g} times faster: {dict(record.candidate)}: {record.values}", flush=True)
                file = context.run.network(record.id) / context.latency.file_name
                found[f"{speed:g}x in {kind} ({record.values['macs'] / 1e6:.1f} M MACs)"] = {kind: file}
                if kind == "float32":
                    (self.out / f"macs_{speed:g}").write_text(str(record.values["macs"]))
        return found

    def others(self) -> dict[str, Files]:
        """Plain cuts, and Torch-Pruning's, each fine-tuned as what is handed back, on as many images in all."""
        macs, found = float((self.out / f"macs_{SPEEDS[0]:g}").read_text()), dict[str, Files]()
        source = self.context.given_source()
        net = source.supernet()
        train_part = self.context.data.train  # type: ignore[union-attr]
        some = train_part.drawn(256, self.seed)
        nw.sort_channels(net, nw.importance.Taylor([(some.inputs, some.targets)]))
        cuts = plain_cuts(source)
        for words in dict.fromkeys(cuts.values()):
            near = min((c for c, own in cuts.items() if own == words), key=lambda c: abs(net.count(c).macs - macs))
            name = f"plain: {words} ({net.count(near).macs / 1e6:.1f} M MACs)"
            found[name] = self._tuned(name, net.extract(near))
        if self.net.pruned:
            for name, network in pruned(self.given, self._example, self.net.pruned, macs).items():
                found[name] = self._tuned(name, network)
        return found

    def _tuned(self, name: str, network: nn.Module) -> Files:
        """Fine-tune a network from labels and the whole, with as many images as the networks of the job."""
        plain = "".join(c if c.isalnum() else "_" for c in name)
        path = self.out / "others" / f"{plain}_{self._made_from}.safetensors"
        if path.exists():
            load_state(network, read_tensors(path)[0], path)
        else:
            path.parent.mkdir(exist_ok=True)
            alike = default_distillation(network) if name.startswith("plain: width") else "outputs"
            nw.finetune(
                network, self.context.training_loader(), epochs=sum(self.net.epochs), optimizer=self.net.optimizer,
                schedule="cosine,warmup=0.1", teacher=self.given, distillation=alike, seed=self.seed,
                precision="bfloat16" if self.bfloat16 else "float32", callback=Told(name).trained,
            )  # fmt: skip
            write_tensors(path, state_of(network))
        judged = nw.Accuracy(nw.TensorLoader(self.context.data.validation, 128)).of(network).value  # type: ignore[union-attr]
        print(f"{name}: {judged:.2f} % of the validation images", flush=True)
        return self._written(path.stem, network.eval())

    def _train_vit(self) -> None:
        """A small vision transformer on the training images, kept as a directory of transformers."""
        transformers: Any = importlib.import_module("transformers")
        names = self.net.classes.split()
        config = transformers.ViTConfig(
            hidden_size=96, num_hidden_layers=6, num_attention_heads=6, intermediate_size=384, image_size=28,
            patch_size=4, num_channels=1, num_labels=10, id2label=dict(enumerate(sorted(names))),
        )  # fmt: skip
        torch.manual_seed(self.seed)
        model = transformers.ViTForImageClassification(config)
        data = nw.tasks.files.read_files(f"{self.out / 'images'},mean=(0.5,),std=(0.5,)", nw.tasks.Classification())
        nw.finetune(
            model, nw.TensorLoader(data.train, 64, shuffle=True), epochs=1 if self.short else 20,
            optimizer="adamw,lr=0.001,weight_decay=0.05", schedule="cosine,warmup=0.1", seed=self.seed,
            checkpoint=self.out / "vit_checkpoint.safetensors", callback=Told("vit").trained,
        )  # fmt: skip
        model.save_pretrained(self.out / "vit")
        told = '{"image_mean": [0.5], "image_std": [0.5], "size": {"height": 28, "width": 28}}'
        (self.out / "vit" / "preprocessor_config.json").write_text(told)

    # -- files -------------------------------------------------------------------------------------------------

    @property
    def _example(self) -> Tensor:
        found: Tensor = self.context.source.example_of(self.given)
        return found

    def _written(self, name: str, network: nn.Module) -> Files:
        """A network's file for each target."""
        found = {}
        for kind, target in TARGETS.items():
            found[kind] = self.out / "files" / f"{name}_{kind}.onnx"
            if not found[kind].exists():
                found[kind].parent.mkdir(exist_ok=True)
                nw.Latency(target).write(network, self._example, found[kind], list(self.context.calibration))
        return found

    def _faster(self, context: Context, kind: str, front: Sequence[Record]) -> list[tuple[Record, float]]:
        """How many times faster the networks of a front are than the whole in the same precision, in turn."""
        files = {("whole", kind): self.whole()[kind]}
        for record in front:
            files[record.id, kind] = self.out / "files" / f"{record.id}_{kind}.onnx"
            network, _ = context.network(record.candidate)
            context.latency.write(network, self._example, files[record.id, kind], context.calibration)
        times = in_turn(files, self._example, rounds=7)
        found = [(record, ratio(times["whole", kind], times[record.id, kind])[0]) for record in front]
        for record, speed in found:
            told = f"{record.values['accuracy']:.2f} %, {record.values['macs'] / 1e6:.1f} M MACs, {speed:.2f}x"
            print(f"  {kind}: {record.id}: {told}", flush=True)
        return found

    def _right(self, file: Path) -> np.ndarray:
        """Whether each test image is answered rightly, one at a time."""
        run, split = OnnxModule(file, self.given, self._example), self.context.data.test  # type: ignore[union-attr]
        answers = [next(tensors_in(run(image[None]))).argmax(1) for image in split.inputs]
        found: np.ndarray = (torch.cat(answers) == split.targets).numpy()
        return found

    def table(self, found: Mapping[str, Files], rounds: int = 15) -> None:
        """Measure and judge all files, and print them."""
        files = {(name, kind): file for name, several in found.items() for kind, file in several.items()}
        times = in_turn(files, self._example, rounds)
        right = {key: self._right(file) for key, file in files.items()}
        first = next(iter(found))
        faster = {key: ratio(times[first, key[1]], own) for key, own in times.items()}
        print(f"{'':44}{'':9}{'test':>8}{'of whole':>10}{'latency':>11}{'faster':>8}{'':9}{'bytes':>9}  paired test")
        for key, file in files.items():
            points = 100 * (right[key].mean() - right[first, key[1]].mean())
            row = f"{key[0]:44}{key[1]:9}{right[key].mean():8.2%}{points:+10.2f}{np.median(times[key]):8.3f} ms"
            row += f"{faster[key][0]:7.2f}x +- {faster[key][1]:.2f}{file.stat().st_size / 1e6:6.2f} MB"
            plain = [other for other in files if other[0].startswith("plain") and other[1] == key[1]]
            if " in " in key[0] and plain:
                near = min(plain, key=lambda other: abs(np.log(faster[other][0] / faster[key][0])))
                more, less, p = paired(right[key], right[near])
                row += f"  {near[0]} ({faster[near][0]:.2f}x): +{more} -{less}, p {p:.3f}"
            print(row, flush=True)


def resnet20() -> CifarResNet:
    """CIFAR-10's ResNet-20."""
    return CifarResNet(3)


def images_of(data: Path, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and classes of a set of the shared data."""
    if str(data) not in sys.path:
        sys.path.insert(0, str(data))
    load_images: Callable[[str, str], Any] = importlib.import_module("images").load
    pixels, labels = load_images(name, split)
    return pixels, labels


def write_images(data: Path, net: Net, folder: Path) -> None:
    """A folder of images as a person has one: ``train/CLASS/NAME.png``, and likewise of validation and test."""
    image: Any = importlib.import_module("PIL.Image")
    names, (train_count, validation, test) = net.classes.split(), net.count
    for part, split, begin, end in (
        ("train", "train", 0, train_count), ("validation", "train", train_count, train_count + validation),
        ("test", "test", 0, test),
    ):  # fmt: skip
        pixels, labels = images_of(data, net.images, split)
        for i in range(begin, end):
            place = folder / part / names[labels[i]]
            place.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels[i]).save(place / f"{i:05}.png", compress_level=1)
    (folder / "done").touch()


@torch.no_grad()
def with_normalisation(data: Path, images: Tensor) -> MobileNetV2:
    """MobileNetV2 with its published weights, which have batch normalisation folded into the convolutions, and with
    normalisation once more: by the statistics of images, so that it computes what it did."""
    folded, found = MobileNetV2(norm=False).eval(), MobileNetV2().eval()
    load_weights(folded, data / "weights_imagenet_mobilenet" / "mobilenet_v2_1.0_224_ptq.safetensors")
    state, own = found.state_dict(), folded.state_dict()

    def keeping(path: str) -> Callable[..., None]:
        def hook(layer: Any, given: Any, result: Tensor) -> None:
            plain = result - layer.bias[:, None, None]
            mean, variance = plain.mean((0, 2, 3)), plain.var((0, 2, 3), unbiased=False)
            state[f"{path}.conv.weight"] = own[f"{path}.weight"]
            state[f"{path}.bn.running_mean"], state[f"{path}.bn.running_var"] = mean, variance
            state[f"{path}.bn.weight"] = (variance + EPS).sqrt()
            state[f"{path}.bn.bias"] = own[f"{path}.bias"] + mean

        return hook

    for path, layer in folded.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(keeping(path))
    folded(images)
    state |= {name: own[name] for name in ("classifier.weight", "classifier.bias")}
    found.load_state_dict(state)
    return found


def pruned(given: nn.Module, example: Tensor, patterns: Sequence[str], macs: float) -> dict[str, nn.Module]:
    """Torch-Pruning's networks of about so many multiply-accumulates, by name; none where it is not installed."""
    try:
        tp: Any = importlib.import_module("torch_pruning")
    except ImportError as error:
        print(f"Torch-Pruning is left out: {error}")
        return {}
    found: dict[str, nn.Module] = {}
    for name, everywhere, multiple in (("alike", False, None), ("alike, by eights", False, 8), ("global", True, None)):
        nearest = float("inf")
        for part in np.linspace(0.05, 0.9, 60).tolist():  # of multiples of a number sizes do not fall with every step
            network = deepcopy(given)
            layers = {p: m for p, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
            last = next(reversed(layers))
            rest = [m for p, m in layers.items() if p == last or not any(fnmatchcase(p, each) for each in patterns)]
            tp.pruner.BasePruner(
                network, example, tp.importance.GroupMagnitudeImportance(p=2), global_pruning=everywhere,
                pruning_ratio=part, ignored_layers=rest, max_pruning_ratio=0.9, round_to=multiple,
            ).step()  # fmt: skip
            alone = nw.SuperNet(network, [], example)
            now = alone.count(alone.largest).macs
            if abs(now - macs) < nearest:
                nearest, size, kept = abs(now - macs), now, network
            if nearest <= 0.01 * macs:
                break
        found[f"Torch-Pruning, {name} ({size / 1e6:.1f} M MACs)"] = kept
    return found


if __name__ == "__main__":
    main()
