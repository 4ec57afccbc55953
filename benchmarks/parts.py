"""A small LLaMA without some of its attentions, feed-forward networks or layers: perplexity against decode latency.

    python benchmarks/parts.py                     # train if need be (about ten CPU minutes), judge, and time
    python benchmarks/parts.py --stage quality     # train and judge alone: needs no quiet machine
    python benchmarks/parts.py --stage latency     # time alone, with what was judged before

Letters of tinyshakespeare; perplexity on its last tenth. Parts are left out in the order of LLM-Drop (1 minus the
cosine of what goes through, before and after, on training text), and, to compare, from the last on. A decoding step
takes one token and the keys and values of those before it, which it gives with one more: ONNX Runtime, one thread, CPU
time; each network's is divided by the whole one's in the same round, and the median of the rounds is told.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import session, timed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_stub import stub

import netwright as nw
from netwright.nets.stand_ins import Instead

LENGTH, BATCH = 128, 16
LAYERS, HEADS, GROUPS, SIZE = 6, 4, 2, 128


def model_of(letters: int) -> Any:
    """An untrained LLaMA."""
    stub()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=letters,
        hidden_size=SIZE,
        intermediate_size=352,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)


def text(path: Path) -> tuple[Tensor, Tensor, int]:
    """Training and held-out letters, and how many different ones there are."""
    letters = sorted(set(path.read_text()))
    ids = torch.tensor([letters.index(c) for c in path.read_text()])
    return ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :], len(letters)


def windows(ids: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Pieces of text of one token more than the model reads."""
    starts = rng.integers(0, len(ids) - LENGTH - 1, count)
    return torch.stack([ids[s : s + LENGTH + 1] for s in starts])


def loss_of(model: Any, batch: Tensor) -> Tensor:
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def train(model: Any, ids: Tensor, minutes: float) -> None:
    """AdamW, warmed up and brought down by a cosine over the CPU time that there is."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.1, betas=(0.9, 0.95))
    rng, begin, step = np.random.default_rng(0), time.process_time(), 0
    model.train()
    while (share := (time.process_time() - begin) / 60 / minutes) < 1:
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(step / 50, 1) * (0.05 + 0.95 * (1 + np.cos(np.pi * share)) / 2)
        loss = loss_of(model, windows(ids, BATCH, rng))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}, {share:.0%} of the time, loss {float(loss):.3f}", flush=True)
    model.eval()


def layer_importance(model: Any, batch: Tensor) -> list[float]:
    """LLM-Drop's for whole layers: what goes in against what comes out."""
    with torch.no_grad():
        states: list[Tensor] = []
        hooks = [
            layer.register_forward_pre_hook(lambda _, args: states.append(args[0])) for layer in model.model.layers
        ]
        hooks.append(model.model.norm.register_forward_pre_hook(lambda _, args: states.append(args[0])))
        model(input_ids=batch[:, :-1], use_cache=False)
        for hook in hooks:
            hook.remove()
    return [1 - float(F.cosine_similarity(a, b, dim=-1).mean()) for a, b in pairwise(states)]


def nets(model: Any, batch: Tensor) -> dict[str, tuple[nw.SuperNet, str]]:
    """By what is left out and in which order: a super-network, and its axis."""
    example = {"input_ids": batch[:1, :-1], "use_cache": False}
    found = nw.wrap(model, example, axes=["parts"])
    calibration = [{"input_ids": batch[:, :-1], "use_cache": False}]
    ordered = nw.sort_parts(found, calibration)
    layers = [nw.Part(f"layer {i}", ((f"model.layers.{i}", Instead()),)) for i in range(LAYERS)]
    worth = layer_importance(model, batch)
    kept = sorted(range(LAYERS), key=lambda i: -worth[i])
    whole = nw.Parts("layers", tuple(layers), tuple(range(LAYERS + 1)))
    sorted_layers = replace(whole, parts=tuple(layers[i] for i in kept))
    names = {"attention": "model.layers.self_attn.parts", "FFN": "model.layers.mlp.parts"}
    by_order = {
        f"{kind}, {how}": (net, name)
        for kind, name in names.items()
        for how, net in (("least important first", ordered), ("last first", found))
    }
    by_order["layers, least important first"] = nw.SuperNet(model, [sorted_layers], example), "layers"
    by_order["layers, last first"] = nw.SuperNet(model, [whole], example), "layers"
    return by_order


def order_of(net: nw.SuperNet, axis: str) -> list[str]:
    parts = next(a for a in net.axes if a.name == axis)
    assert isinstance(parts, nw.Parts)
    return [part.name.rpartition("layers.")[2].partition(".")[0].removeprefix("layer ") for part in parts.parts][::-1]


@torch.no_grad()
def perplexity(model: Any, batches: list[Tensor]) -> float:
    return float(np.exp(np.mean([float(loss_of(model, batch)) for batch in batches])))


class _Past:
    """The keys and values of the tokens before, as the model asks for them."""

    is_compileable = False

    def __init__(self, keys: dict[int, Tensor], values: dict[int, Tensor], length: int) -> None:
        self.keys, self.values, self.length = keys, values, length

    def get_seq_length(self, layer: int = 0) -> int:
        return self.length

    def update(self, key: Tensor, value: Tensor, layer: int, *others: Any, **named: Any) -> tuple[Tensor, Tensor]:
        self.keys[layer] = torch.cat([self.keys[layer], key], 2)
        self.values[layer] = torch.cat([self.values[layer], value], 2)
        return self.keys[layer], self.values[layer]


class Step(nn.Module):
    """One decoding step: a token, and the keys and values of those before, to logits, and keys and values."""

    def __init__(self, model: Any, past: int) -> None:
        super().__init__()
        self.model, self.past = model, past
        self.attending = [
            i
            for i, layer in enumerate(model.model.layers)
            if hasattr(layer, "self_attn") and hasattr(layer.self_attn, "q_proj")
        ]

    def inputs(self) -> dict[str, Tensor]:
        torch.manual_seed(0)
        shape = 1, GROUPS, self.past, SIZE // HEADS
        held = {f"{what}{i}": torch.randn(shape) for i in self.attending for what in ("key", "value")}
        return {"input_ids": torch.ones(1, 1, dtype=torch.long), **held}

    def forward(self, input_ids: Tensor, *held: Tensor) -> tuple[Tensor, ...]:
        keys, values = (dict(zip(self.attending, held[at::2], strict=True)) for at in (0, 1))
        past = _Past(keys, values, self.past)
        mask = torch.zeros(1, 1, 1, self.past + 1)
        at = torch.full((1, 1), self.past)
        core = self.model.model
        given = core(input_ids, attention_mask=mask, position_ids=at, past_key_values=past, use_cache=False)
        kept = [t for i in self.attending for t in (past.keys[i], past.values[i])]
        return self.model.lm_head(given.last_hidden_state), *kept


def cases(by_order: dict[str, tuple[nw.SuperNet, str]]) -> Iterator[tuple[str, int, nn.Module]]:
    for kind, (net, axis) in by_order.items():
        for left_out in range(1, LAYERS + 1):
            yield kind, left_out, net.extract({**net.largest, axis: LAYERS - left_out})


def judge(out: Path, model: Any, by_order: Any, held_out: Tensor) -> None:
    batches = list(windows(held_out, 48, np.random.default_rng(1)).split(24))
    found: dict[str, Any] = {"whole": perplexity(model, batches), "orders": {}, "perplexity": {}}
    found["orders"] = {kind: order_of(*of) for kind, of in by_order.items() if "important" in kind}
    for kind, left_out, network in cases(by_order):
        found["perplexity"][f"{kind}: {left_out}"] = perplexity(network, batches)
    (out / "quality.json").write_text(json.dumps(found, indent=1))


def time_all(out: Path, model: Any, by_order: Any, past: int, rounds: int) -> None:
    runs: dict[str, Any] = {}

    def add(name: str, network: Any) -> None:
        step = Step(network, past).eval()
        path = out / "step.onnx"
        inputs = step.inputs()
        torch.onnx.export(step, tuple(inputs.values()), path, input_names=list(inputs), dynamo=False)
        ready = session(path)
        own = {i.name for i in ready.get_inputs()}
        runs[name] = ready, {k: v.numpy() for k, v in inputs.items() if k in own}

    add("whole", model)
    for kind, left_out, network in cases({k: v for k, v in by_order.items() if "important" in k}):
        add(f"{kind}: {left_out}", network)
    (out / f"latency-{past}.json").write_text(json.dumps(timed(runs, rounds, 5), indent=1))


def show(out: Path) -> None:
    quality = json.loads((out / "quality.json").read_text())
    times = {int(p.stem.partition("-")[2]): json.loads(p.read_text()) for p in sorted(out.glob("latency-*.json"))}
    for kind, order in quality["orders"].items():
        print(f"{kind}: layers {', '.join(order)}")
    whole = ", ".join(f"{t['whole'][0]:.3f} ms after {past}" for past, t in times.items())
    print(f"whole: perplexity {quality['whole']:.3f}; {whole}")
    ends = "".join(f" latency after {past} |" for past in times)
    print(f"| left out | of | perplexity | last first |{ends}\n|---|---|---|---|{'---|' * len(times)}")
    for kind in ("attention", "FFN", "layers"):
        for k in range(1, LAYERS + 1):
            name, other = f"{kind}, least important first: {k}", f"{kind}, last first: {k}"
            ppl = quality["perplexity"]
            shares = "".join(f" {t[name][1]:.2f} |" for t in times.values())
            print(f"| {k} | {kind} | {ppl[name]:.2f} | {ppl[other]:.2f} |{shares}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", type=Path, default=Path("../shared/data/lm_text/tinyshakespeare.txt"))
    parser.add_argument("--out", type=Path, default=Path("runs/parts"), help="where the trained model is kept")
    parser.add_argument("--stage", choices=("all", "quality", "latency"), default="all")
    parser.add_argument("--minutes", type=float, default=10, help="CPU minutes of training")
    parser.add_argument("--past", type=int, nargs="+", default=[512], help="tokens before the one that is decoded")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    training, held_out, letters = text(args.text)
    args.out.mkdir(parents=True, exist_ok=True)
    model, weights = model_of(letters).eval(), args.out / "weights.safetensors"
    if weights.exists():
        model.load_state_dict(load_file(weights), strict=False)
        model.tie_weights()
    else:
        train(model, training, args.minutes)
        save_file({k: v.clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}, weights)
    by_order = nets(model, windows(training, 64, np.random.default_rng(2)))
    if args.stage != "latency":
        judge(args.out, model, by_order, held_out)
    if args.stage != "quality":
        for past in args.past:
            time_all(args.out, model, by_order, past, args.rounds)
    show(args.out)


if __name__ == "__main__":
    main()
