"""Translation of Multi30k, English to German: BLEU against latency, by ``netwright fit``.

A small encoder-decoder (``nw.families.translation``, the design space of HAT, Wang et al. 2020) is trained as a
super-network on Multi30k's 29,000 sentence pairs, searched for the front of BLEU against latency in ONNX Runtime, and
the networks that are handed back are fine-tuned; all by the command, of the recipe that this writes. Beside them stand
plain networks of the same family (fewer layers of the decoder, narrow ones), each trained by itself on as many
sentences as a network that is handed back has learned from.

BLEU is sacrebleu's on the 1,000 sentences of the test part of 2016, of greedy translations by the exported file, of
those by PyTorch, and whether they are the same. Latency is of one run of the whole network, of a sentence of 16 tokens
and 15 of its translation, in ONNX Runtime on one thread; and, by the same file, of whole translations of the first 100
test sentences, one at a time, each token by a run of its own (exported files keep no cache).

    pip install 'netwright[transformers,translation]'
    python benchmarks/translation.py --data ../shared/data
    python benchmarks/translation.py --data ../shared/data --short --out runs/translation_short
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision_stub import stub

import netwright as nw
from netwright.cli.main import main as netwright
from netwright.core.files import read_json
from netwright.measure.exported import OnnxModule
from netwright.nets.state import load_state, read_tensors, state_of, write_tensors
from netwright.tasks.translation import Translation
from netwright.training.run import Progress

DATA, SHORT = "MULTI30K", "MULTI30K_SHORT"
"""Names of what the recipe's functions are told by: where the data lie, and whether they are to be few."""

VOCABULARY = 2500
PAD, BEGIN, END = 0, 1, 2
MARKS = ["[PAD]", "[BEGIN]", "[END]"]
LONGEST = 40
BATCH = 128
SEARCHED = 200
"""Validation sentences that networks are judged on; translating them takes most of the time of a search."""
PLAIN: dict[str, dict[str, int]] = {
    "whole": {},
    "1 decoder layer": {"decoder.depth": 1},
    "2 decoder layers": {"decoder.depth": 2},
    "narrow": {"encoder.width": 96, "decoder.width": 96, "*.ffn": 128, "*heads": 2},
}
"""Plain networks by what they have less of than the whole; patterns end names of choices."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/translation"))
    parser.add_argument("--short", action="store_true", help="2 minutes: a sixth of the sentences")
    parser.add_argument("--float32", action="store_true", help="train in float32, on CPUs without AVX512-BF16 or AMX")
    parser.add_argument("--epochs", type=int, default=6, help="passes of the super-network's training")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stub()
    os.environ |= {DATA: str((given.data / "multi30k").resolve()), SHORT: "yes" if given.short else ""}
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    began = time.perf_counter(), time.process_time()
    epochs = 1 if given.short else given.epochs
    bench = Bench(given.out, epochs, given.seed, given.short, "float32" if given.float32 else "bfloat16")
    rows = [*bench.handed_back(), *(bench.plain(name) for name in list(PLAIN)[: 2 if given.short else None])]
    table(rows)
    print(
        f"{(time.perf_counter() - began[0]) / 60:.0f} minutes, {(time.process_time() - began[1]) / 60:.0f} of the CPU"
    )


# -- what the recipe names ----------------------------------------------------------------------------------------


@cache
def lines(part: str, language: str) -> tuple[str, ...]:
    """The sentences of a part of Multi30k."""
    with gzip.open(Path(os.environ[DATA]) / f"{part}.{language}.gz", "rt", encoding="utf-8") as file:
        found = [line.strip() for line in file]
    return tuple(found[:5000] if os.environ.get(SHORT) and part == "train" else found)


@cache
def tokenizer(language: str) -> Any:
    """Byte-pair encoding, learned from the training sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=MARKS, show_progress=False)
    made.train_from_iterator(lines("train", language), trainer)
    return made


def decode(ids: list[int]) -> str:
    """A German text of its tokens."""
    text: str = tokenizer("de").decode(ids)
    return text


def supernet() -> nw.SuperNet:
    """The super-network of the recipe."""
    net = nw.families.translation(
        VOCABULARY, VOCABULARY, encoder_widths=(96, 128), decoder_widths=(96, 128), ffn=(64, 128, 256), heads=(2, 4),
        head_size=32, encoder_layers=2, decoder_layers=(1, 2, 3), attends=(1, 2), dropout=0.1,
    )  # fmt: skip
    source, target = torch.arange(16)[None] + 10, torch.arange(15)[None] + 10
    inputs = {"source_ids": source, "target_ids": target, "source_mask": torch.ones(1, 16, dtype=torch.bool)}
    return nw.SuperNet(net.module, net.axes, inputs)


def data() -> nw.Data:
    """The data of the recipe."""
    test = Pairs("test_2016_flickr", SEARCHED if os.environ.get(SHORT) else 0)
    return nw.Data(
        Pairs("train", shuffled=True), Pairs("val", SEARCHED // 2 if os.environ.get(SHORT) else SEARCHED), test
    )


class Pairs:
    """Batches of sentence pairs of about one length, each as long as its longest.

    Args:
        part: of Multi30k.
        count: of sentences, the first; 0 for all.
        shuffled: whether batches come in another order each time.
    """

    def __init__(self, part: str, count: int = 0, shuffled: bool = False) -> None:
        sides = [tokenizer(language).encode_batch(lines(part, language)[: count or None]) for language in ("en", "de")]
        pairs = [(one.ids[:LONGEST], other.ids[: LONGEST - 1]) for one, other in zip(*sides, strict=True)]
        order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][1]), len(pairs[i][0])))
        self.shuffled = shuffled
        self.batches = [_batch([pairs[i] for i in order[k : k + BATCH]]) for k in range(0, len(order), BATCH)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        order = torch.randperm(len(self.batches)).tolist() if self.shuffled else range(len(self.batches))
        return (self.batches[i] for i in order)


def _batch(pairs: Sequence[tuple[list[int], list[int]]]) -> tuple[dict[str, Tensor], Tensor]:
    source = _filled([one for one, _ in pairs], PAD)
    written = _filled([[BEGIN, *other] for _, other in pairs], PAD)
    labels = _filled([[*other, END] for _, other in pairs], -100)
    return {"source_ids": source, "target_ids": written, "source_mask": source != PAD}, labels


def _filled(rows: Sequence[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


# -- networks -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A network of the table.

    Args:
        name: what it is.
        network: in PyTorch.
        file: its ONNX file.
        bleu: of the file, as the job's manifest says; None where no job wrote it.
    """

    name: str
    network: nn.Module
    file: Path
    bleu: float | None = None


@dataclass(frozen=True)
class Bench:
    """The stages.

    Args:
        out: where everything lies.
        epochs: of the super-network; networks that are handed back are fine-tuned for one more.
        seed: of everything random.
        short: fewer networks are searched.
        precision: what networks compute with while they learn.
    """

    out: Path
    epochs: int
    seed: int
    short: bool
    precision: Any

    def handed_back(self) -> Iterator[Row]:
        """Those of the job."""
        self.out.mkdir(parents=True, exist_ok=True)
        recipe = {
            "model": "translation:supernet", "data": "translation:data",
            "task": f"translation,decode=translation:decode,end={END},longest={LONGEST},label_smoothing=0.1",
            "target": "onnxruntime,threads=1", "evaluations": 8 if self.short else 24, "seed": self.seed,
            "train": {
                "epochs": self.epochs, "rule": "sandwich,random=1", "optimizer": OPTIMIZER, "schedule": SCHEDULE,
                "clip_norm": 1.0, "precision": self.precision,
            },
            "latency": {"max_seconds": 0.3},
            "export": {"epochs": 1, "optimizer": "adamw,lr=5e-4", "formats": ["onnx", "safetensors"]},
        }  # fmt: skip
        (self.out / "recipe.yaml").write_text(json.dumps(recipe))
        netwright(["fit", str(self.out / "recipe.yaml"), "--out", str(self.out / "job")])
        net = supernet()
        for folder in sorted((self.out / "job" / "networks").iterdir()):
            told = read_json(folder / "manifest.json")
            candidate = net.space.candidate(told["candidate"])
            size = ", ".join(
                f"{name} {candidate[name]}" for name in ("encoder.width", "decoder.width", "decoder.depth")
            )
            name = f"{told['role']}: {size}"
            yield Row(name, nw.load(folder, net), folder / "model.onnx", told["test"]["bleu"]["value"])

    def plain(self, name: str) -> Row:
        """A network of the family, trained by itself on as many sentences."""
        torch.manual_seed(self.seed)
        net = supernet()
        sizes = {c.name: v for c in net.space for key, v in PLAIN[name].items() if c.name.endswith(key.lstrip("*"))}
        network = net.extract(net.space.candidate({**net.largest, **sizes}))
        path = self.out / "plain" / name.replace(" ", "_").replace(",", "")
        path.mkdir(parents=True, exist_ok=True)
        if (path / "weights.safetensors").exists():
            load_state(network, read_tensors(path / "weights.safetensors")[0], path)
        else:
            nw.finetune(
                network, data().train, task=task(), epochs=self.epochs + 1, optimizer=OPTIMIZER, schedule=SCHEDULE,
                clip_norm=1.0, precision=self.precision, seed=self.seed, checkpoint=path / "checkpoint.safetensors",
                callback=Told(name),
            )  # fmt: skip
            write_tensors(path / "weights.safetensors", state_of(network))
        file = path / "model.onnx"
        nw.Latency("onnxruntime,threads=1").write(network.eval(), net.example_inputs, file)
        return Row(f"plain: {name}", network, file)


OPTIMIZER, SCHEDULE = "adamw,lr=2e-3,betas=(0.9,0.98)", "linear,warmup=0.1"


def task() -> Translation:
    """That of the recipe."""
    return Translation(decode, END, LONGEST, label_smoothing=0.1)


@dataclass
class Told:
    """Prints how a training goes on.

    Args:
        name: of the network.
    """

    name: str

    def __call__(self, progress: Progress) -> None:
        """A step was made."""
        if progress.step % 200 == 0:
            print(f"  {self.name}: {progress.step} of {progress.steps} steps, loss {progress.loss:.3f}", flush=True)


# -- the table ----------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row], rounds: int = 5) -> None:
    """Judge and measure all networks, and print them."""
    example, test = supernet().example_inputs, data().test
    latency = nw.Latency("onnxruntime,threads=1")
    times = {row.name: [latency.of(row.file, example)["latency"].value for _ in range(rounds)] for row in rows}
    print(f"{'':64}{'BLEU':>7}{'':8}{'PyTorch':>9}{'one run':>11}{'translation':>13}{'bytes':>10}")
    for row in rows:
        module = OnnxModule(row.file, row.network, example)
        found = [nw.Quality(task(), test).all_of(each)["bleu"] for each in (module, row.network)]
        assert row.bleu is None or abs(row.bleu - found[0].value) < 1e-9, "the job has found something else"
        told = f"{found[0].value:7.2f} +- {found[0].ci95:4.2f}{found[1].value:9.2f}"
        told += f"{sorted(times[row.name])[rounds // 2]:8.2f} ms{whole_ms(module):10.1f} ms"
        print(f"{row.name:64}{told}{row.file.stat().st_size / 1e6:7.1f} MB", flush=True)


def whole_ms(module: nn.Module, count: int = 100) -> float:
    """Milliseconds of the CPU of a translation, one sentence at a time."""
    judged, began, done = task(), time.process_time(), 0
    for inputs, _ in data().test:
        for i in range(len(inputs["source_ids"])):
            if done == count:
                break
            size = int(inputs["source_mask"][i].sum())
            one = {name: inputs[name][i : i + 1, :size] for name in ("source_ids", "source_mask")}
            judged.answer(module, {**one, "target_ids": torch.tensor([[BEGIN]])})
            done += 1
    return (time.process_time() - began) * 1e3 / done


if __name__ == "__main__":
    main()
