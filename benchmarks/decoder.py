"""A LLaMA-like decoder of characters, cut to 80 % and 62 % of its layers' memory: how much of what it learned stays?

It is trained on tinyshakespeare first, and kept in OUT. What stays is told as the share of the teacher's gain over a
uniform guess, with its standard error over the test sequences (paired with the teacher). Every method may use the same
memory and judges by the same 64 sequences, and is shown as cut and after the same steps of fine-tuning beside the
teacher:

- late-layer drop: whole layers go, those of the least block influence first (Men et al. 2024, "ShortGPT");
- additive scores, parts: each attention and FFN is scored by the loss without it alone, and those of the least sum go;
- uniform width: the same heads and FFN size in all layers, the best such pair;
- FLAP-like width: channels and heads go whose inputs vary least, by one threshold for all layers (An et al. 2024,
  "Fluctuation-based adaptive structured pruning", without its bias compensation: these layers have no biases);
- additive scores: the same of every option of every layer, parts and widths (as Bercovich et al. 2024, "Puzzle", choose
  their blocks);
- search: a genetic algorithm on measured losses, which begins with all of those and with choices by blurred scores;
- depth, then width: half of what has to go goes as whole attentions and FFNs, one by one by the measured loss; the rest
  by additive scores of the widths of what is left.

"Blocks distilled": the layers of the chosen network then learn, each for itself, to give what the teacher's gave (the
rule ``blockwise``). "Distilled first": the layers of random networks of all widths learn so before anything is chosen.

    python benchmarks/decoder.py --data ../shared/data --short
    python benchmarks/decoder.py --data ../shared/data [--device cuda] [--seeds 3]
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decoder_teacher import LONG, SHORT, Size, Text, losses, teacher_of, tune
from torch import Tensor
from torchvision_stub import stub

import netwright as nw
from netwright.nets.axes.width import ChannelSlice
from netwright.nets.families.pretrained import Pretrained
from netwright.nets.importance.base import by_channel, readers
from netwright.study.stores.memory import MemoryStore

SHARES = (0.80, 0.62)
FFN = tuple(i / 8 for i in range(1, 8))
Candidate = Mapping[str, Any]


def main() -> None:
    """Print the table of every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/decoder"))
    parser.add_argument("--short", action="store_true", help="a model of 1.1 M parameters, some minutes")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with suppress(RuntimeError):
        stub()
    given.out.mkdir(parents=True, exist_ok=True)
    size = SHORT if given.short else LONG
    for seed in range(given.seeds):
        text = Text(given.data / "lm_text" / "tinyshakespeare.txt", size, seed, given.device)
        weights = given.out / f"teacher_{'short' if given.short else 'long'}_{seed}.safetensors"
        Comparison(teacher_of(size, text, weights, given.device, seed), size, text).show()


class Comparison:
    """All methods on one teacher.

    Args:
        teacher: the whole model.
        size: of it, and of all training.
        text: that it has learned.
    """

    def __init__(self, teacher: Any, size: Size, text: Text) -> None:
        self.teacher, self.size, self.text = teacher, size, text
        self.calibration = text.batches(8)
        self.tuning = text.batches(size.tuned)
        self.whole = losses(teacher, text.tested)
        self.guess = math.log(len(text.characters))
        self.plain = self.space(copy.deepcopy(teacher), nw.importance.Activation(self.calibration))
        self.rest = teacher.model.embed_tokens.weight.numel() + teacher.model.norm.weight.numel()
        self.layers = self.plain.count(self.plain.largest).params - self.rest
        self._scores: dict[int, list[tuple[int, float, dict[str, Any]]]] = {}

    def space(self, model: Any, criterion: Any = None, parts: bool = True) -> Pretrained:
        """The super-network of a model, its channels sorted."""
        heads = tuple(i / self.size.heads for i in range(1, self.size.heads))
        depths = (model.config.num_hidden_layers,)
        net = nw.families.decoder(
            model, depths=depths, heads=heads, ffn=FFN, hidden=(), parts=parts, length=self.size.context
        )
        if criterion is not None:
            nw.sort_channels(net, criterion)
        return net

    def budget(self, share: float) -> int:
        """The parameters of a network whose layers have this share of theirs."""
        return int(self.rest + share * self.layers)

    def show(self) -> None:
        """Print the table."""
        parameters = sum(p.numel() for p in self.teacher.parameters())
        print(
            f"teacher: {parameters / 1e6:.2f} M parameters, {self.whole.mean():.4f} nats a character "
            f"(a uniform guess has {self.guess:.4f})"
        )
        print(f"block-local distillation has {self.size.distilled} steps, fine-tuning {self.size.tuned}\n")
        print(f"{'kept share of the gain, %':34}{'memory':>10}{'as cut':>16}{'fine-tuned':>16}")
        for share in SHARES:
            for name, network in self.networks(share):
                self.row(name, network)
            print()

    def row(self, name: str, network: Any) -> None:
        """Print the figures of one network."""
        held = sum(p.numel() for p in network.parameters())
        cut = self.kept(network)
        tune(network, self.tuning, "adamw,lr=5e-4", self.teacher)
        print(f"{name:34}{(held - self.rest) / self.layers:10.1%}{cut}{self.kept(network)}", flush=True)

    def kept(self, network: Any) -> str:
        """The share of the teacher's gain over a uniform guess, and its standard error."""
        own = losses(network.eval(), self.text.tested)
        gain = self.guess - self.whole
        share = (self.guess - own).mean() / gain.mean()
        error = ((self.guess - own) - share * gain).std() / math.sqrt(len(own)) / gain.mean()
        return f"{100 * share:10.2f} ±{100 * error:4.2f}"

    # -- methods -----------------------------------------------------------------------------------------------

    def networks(self, share: float) -> Iterator[tuple[str, Any]]:
        """What every method makes of the teacher within a budget."""
        net = self.plain
        late, parts = self.late_layers(share), self.additive(net, share, (".attention", ".mlp"))
        uniform, additive = self.uniform(net, share), self.additive(net, share)
        found = self.search(share, [late, parts, uniform, additive])
        yield "late-layer drop", net.extract(late)
        yield "additive scores, parts", net.extract(parts)
        yield "FLAP-like width", self.fluctuation(share)
        yield "uniform width", net.extract(uniform)
        yield "  blocks distilled", self.blocks_distilled(net, uniform)
        yield "additive scores", net.extract(additive)
        yield "search", net.extract(found)
        yield "  blocks distilled", self.blocks_distilled(net, found)
        yield "distilled first, additive scores", self.first.extract(self.additive(self.first, share))
        deep, widths = self.depth_then_width(share)
        yield "depth, then width", deep.extract(widths)
        yield "  blocks distilled", self.blocks_distilled(deep, widths)

    def loss(self, net: Pretrained, candidate: Candidate) -> float:
        """The loss of a candidate on what is judged by."""
        with net.active(candidate) as module:
            return float(losses(module, self.text.judged).mean())

    def late_layers(self, share: float) -> Candidate:
        """Whole layers left out by block influence."""
        net = nw.families.decoder(copy.deepcopy(self.teacher), heads=(), ffn=(), hidden=(), length=self.size.context)
        influence = nw.block_importance(net, self.calibration, "influence")
        order = sorted(range(self.size.layers), key=lambda i: influence[f"model.layers.{i}"])
        options = dict(self.plain.largest)
        for layer in order:
            if self.fits(self.plain, options, share):
                break
            options |= {f"layer{layer}.attention": 0, f"layer{layer}.mlp": 0}
        return self.plain.space.candidate(options)

    def fits(self, net: Pretrained, options: Candidate, share: float) -> bool:
        """Whether a network is within a budget."""
        return net.count(net.space.candidate(options)).params <= self.budget(share)

    def uniform(self, net: Pretrained, share: float) -> Candidate:
        """The best network within a budget whose layers are alike."""
        found = []
        for heads in net.space["layer0.heads"].options:
            for ffn in net.space["layer0.ffn"].options:
                alike = {"heads": heads, "ffn": ffn}
                widths = {name: alike[kind] for name in net.largest if (kind := name.partition(".")[2]) in alike}
                options = {**net.largest, **widths}
                if self.fits(net, options, share):
                    found.append(net.space.candidate(options))
        by_size = sorted(found, key=lambda each: -net.count(each).params)[:4]
        return min(by_size, key=lambda each: self.loss(net, each))

    def fluctuation(self, share: float) -> Any:
        """What one threshold for the fluctuation of all channels and heads leaves."""
        net = self.space(copy.deepcopy(self.teacher))
        scores = {
            name: (own - own.mean()) / own.std()
            for name, (own,) in nw.sort_channels(net, Fluctuation(self.calibration)).channels.items()
        }
        best = net.smallest
        for threshold in torch.cat([*scores.values()]).sort(descending=True).values.tolist():
            options = dict(net.largest)
            for name, own in scores.items():
                options[name] = _nearest(net.space[name].options, int((own >= threshold).sum()))
            if not self.fits(net, options, share):
                break
            best = net.space.candidate(options)
        return net.extract(best)

    def additive(
        self,
        net: Pretrained,
        share: float,
        kinds: tuple[str, ...] = (".attention", ".mlp", ".heads", ".ffn"),
        blur: Any = None,
    ) -> Candidate:
        """The options whose losses, each with all else whole, have the least sum within a budget.

        Args:
            net: the super-network.
            share: of the budget.
            kinds: of choices that are made; all else stays whole.
            blur: draws factors of the losses; none by default.
        """
        scores = [each for each in self.scores(net) if next(iter(each[2])).endswith(kinds)]
        if blur is not None:
            scores = [(saved, lost * blur.uniform(0.5, 1.5), option) for saved, lost, option in scores]
        front: list[tuple[int, float, dict[str, Any]]] = [(net.count(net.largest).params, 0.0, {})]
        for layer in range(self.size.layers):
            for names in (
                {f"layer{layer}.attention", f"layer{layer}.heads"},
                {f"layer{layer}.mlp", f"layer{layer}.ffn"},
            ):
                own = [(0, 0.0, {}), *(each for each in scores if each[2].keys() <= names)]
                front = _nondominated(
                    [(p - s, loss + lost, {**o, **more}) for p, loss, o in front for s, lost, more in own]
                )
        options = next(o for p, _, o in reversed(front) if p <= self.budget(share))
        return net.space.candidate({**net.largest, **options})

    def scores(self, net: Pretrained) -> list[tuple[int, float, dict[str, Any]]]:
        """Parameters saved and loss added by each option, with all else whole."""
        if id(net) not in self._scores:
            whole, most = self.loss(net, net.largest), net.count(net.largest).params
            self._scores[id(net)] = []
            for choice in net.space:
                for option in choice.options[:-1]:
                    candidate = net.space.candidate({**net.largest, choice.name: option})
                    saved = most - net.count(candidate).params
                    self._scores[id(net)].append((saved, self.loss(net, candidate) - whole, {choice.name: option}))
        return self._scores[id(net)]

    def search(self, share: float, starts: list[Candidate]) -> Candidate:
        """The best that a genetic algorithm finds on measured losses."""
        net, blur = self.plain, np.random.default_rng(0)
        quality = nw.Quality(nw.tasks.LanguageModelling(), [{"input_ids": self.text.judged, "use_cache": False}])
        starts = [*starts, *(self.additive(net, share, blur=blur) for _ in range(self.size.evaluations // 3))]
        study = nw.Study(
            MemoryStore(), net, objectives=[quality], record=[nw.Count("params")],
            limits=[f"params <= {self.budget(share)}"], initial=[net.space.candidate(each) for each in starts],
        )  # fmt: skip
        study.run("ga", evaluations=self.size.evaluations)
        return study.front()[0].candidate

    def depth_then_width(self, share: float) -> tuple[Pretrained, Candidate]:
        """Half of what has to go as whole attentions and FFNs, the rest as heads and FFN channels."""
        options = dict(self.plain.largest)
        while not self.fits(self.plain, options, (1 + share) / 2):
            parts = [n for n, kept in options.items() if n.endswith((".attention", ".mlp")) and kept]
            without = {n: self.loss(self.plain, self.plain.space.candidate({**options, n: 0})) for n in parts}
            options[min(without, key=without.__getitem__)] = 0
        shallow = self.plain.extract(self.plain.space.candidate(options))
        net = self.space(shallow, nw.importance.Activation(self.calibration), parts=False)
        return net, self.additive(net, share)

    @cached_property
    def first(self) -> Pretrained:
        """A super-network whose blocks have learned in all widths to give what they gave."""
        net = self.space(copy.deepcopy(self.teacher), nw.importance.Activation(self.calibration), parts=False)
        self.distil(net, 2, "adamw,lr=1e-4")
        return net

    def blocks_distilled(self, net: Pretrained, candidate: Candidate) -> Any:
        """A network whose blocks have learned, each for itself, to give what those of the whole network gave."""
        chosen = net.space.candidate(candidate)
        own = self.space(copy.deepcopy(net.module), parts=net is self.plain)
        narrowed = own.with_axes(
            replace(axis, options=(chosen[axis.name], axis.options[-1]))  # type: ignore[type-var]
            for axis in own.axes
            if axis.name in chosen and chosen[axis.name] != axis.options[-1]
        )
        self.distil(narrowed, 0, "adamw,lr=1e-3")
        return narrowed.extract(narrowed.smallest)

    def distil(self, net: Any, random: int, optimizer: str) -> None:
        """Have the blocks of the smallest network, and of some random ones, learn to give what they gave."""
        blocks = tuple(f"model.layers.{i}" for i in range(net.module.config.num_hidden_layers))
        nw.train(
            net, self.text.batches(self.size.distilled), task=nw.tasks.LanguageModelling(), epochs=1,
            rule=nw.rules.Blockwise(random=random, blocks=blocks), optimizer=optimizer, clip_norm=1.0,
        )  # fmt: skip


class Fluctuation(nw.importance.Criterion):
    """How much what a channel carries varies, times the norm of the weights that read it (FLAP, equation 5).

    Args:
        batches: inputs.
    """

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    @torch.no_grad()
    def scores(self, net: Any, widths: Any) -> list[Tensor]:
        seen: dict[str, list[Tensor]] = {}
        places = [next(iter(readers(net.index, width))) for width in widths]
        handles = [
            net.index.modules[path].register_forward_pre_hook(
                lambda _, given, path=path: seen.setdefault(path, []).append(given[0].double().flatten(0, 1))
            )
            for path, _, _ in places
        ]
        for batch in self.batches:
            net.module(**batch)
        for handle in handles:
            handle.remove()
        found = []
        for width, (path, slot, _) in zip(widths, places, strict=True):
            columns = net.index.modules[path].weight.double().square().sum(0)
            each = torch.cat(seen[path]).var(0) * columns
            found.append(
                by_channel(each, ChannelSlice(slot.tensor, 0, slot.offset, slot.block), width.channels).mean(1)
            )
        return found


def _nearest(options: Sequence[Any], wanted: int) -> int:
    return min(options, key=lambda option: abs(option - wanted))


def _nondominated(several: list[tuple[int, float, dict[str, Any]]]) -> list[tuple[int, float, dict[str, Any]]]:
    """Those of which none has fewer parameters and less loss, in rising order of parameters."""
    kept: list[tuple[int, float, dict[str, Any]]] = []
    for each in sorted(several, key=lambda one: one[:2]):
        if not kept or each[1] < kept[-1][1]:
            kept.append(each)
    return kept


if __name__ == "__main__":
    main()
