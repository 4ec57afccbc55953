"""Weights of few bits in a small language model: rounded to the nearest, or by what layers give (GPTQ).

A LLaMA-like model of bytes, trained on tinyshakespeare (its first nine tenths); bits per byte and perplexity on the
rest, with all linear layers of the blocks in 4 bits (groups of 32), 3 and 2 bits (a scale for each channel), and with
bits that are assigned to each layer by its output error, at the bytes of 3 bits. Ranges and moments come from training
text. Then, where evaluations are asked for, two searches with as many of them, of the bits of each layer: once judged
with weights rounded to the nearest, once by what layers give, both begun with the rows above; the perplexity of the
best network within some budgets of bytes, and the CPU time of a network. Needs ``lm_text`` of the shared data, and
``transformers``.

    python benchmarks/low_bits.py --data ../shared/data --seeds 0 1 2
    python benchmarks/low_bits.py --data ../shared/data --steps 250 --tested 100 --calibration 64 --evaluations 40
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path

import torch
import torchvision_stub
from torch import Tensor
from torch.nn import functional as F

import netwright as nw
from netwright.core.front import Front
from netwright.core.precision import Rounding
from netwright.measure.base import EvaluationContext, Measurer
from netwright.study.stores.memory import MemoryStore

torchvision_stub.stub()

LENGTH, BATCH = 128, 32
THREE = "uniform,weights=3,activations=32"
TWO = "uniform,weights=2,activations=32"
ROUNDINGS: tuple[Rounding, ...] = ("nearest", "gptq")
BUDGETS = (400_000, 450_000, 500_000, 600_000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--tested", type=int, default=200, help="texts of 128 bytes")
    parser.add_argument("--calibration", type=int, default=128, help="texts of 128 bytes")
    parser.add_argument("--evaluations", type=int, default=0, help="of each search")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    text = torch.frombuffer(bytearray((given.data / "lm_text" / "tinyshakespeare.txt").read_bytes()), dtype=torch.uint8)
    train, test = text[: len(text) * 9 // 10].long(), text[len(text) * 9 // 10 :].long()
    held = _texts(test, given.tested, 1)
    rows: dict[str, list[tuple[float, ...]]] = {}
    fronts: list[dict[str, tuple[Front, float]]] = []
    for seed in given.seeds:
        model, calibration = trained(train, given.steps, seed), _texts(train, given.calibration, 2)
        for name, found in measured(model, calibration, held).items():
            rows.setdefault(name, []).append(found)
        if given.evaluations:
            fronts.append(searched(model, calibration, held, given.evaluations, seed))
    print(f"{'bits of the blocks':26}{'bytes':>10}{'nearest':>19}{'GPTQ':>19}   perplexity of bytes, +- over seeds")
    for name, each in rows.items():
        size, nearest, better = zip(*each, strict=True)
        print(f"{name:26}{size[0] / 1e3:7.0f} kB{_spread(nearest):>19}{_spread(better):>19}", flush=True)
    for budget in BUDGETS if fronts else ():
        best = [[best_within(found[rounding][0], budget) for found in fronts] for rounding in ROUNDINGS]
        told = "".join(f"{_spread(tuple(each)):>19}" for each in best)
        print(f"{'search':26}{budget / 1e3:7.0f} kB{told}", flush=True)
    for rounding in ROUNDINGS if fronts else ():
        spent = statistics.fmean(found[rounding][1] for found in fronts)
        print(f"{rounding}: {spent:.2f} CPU s for each network that is judged", flush=True)


def _spread(values: tuple[float, ...]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.fmean(values):.3f} +- {deviation:.3f}"


def _texts(text: Tensor, count: int, seed: int) -> Tensor:
    at = torch.randint(len(text) - LENGTH - 1, (count,), generator=torch.Generator().manual_seed(seed))
    return torch.stack([text[i : i + LENGTH + 1] for i in at.tolist()])


def trained(text: Tensor, steps: int, seed: int) -> torch.nn.Module:
    """The model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=128, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=LENGTH, tie_word_embeddings=False,
    )  # fmt: skip
    model, began = LlamaForCausalLM(config), time.process_time()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1, pct_start=0.1)
    for step in range(steps):
        ids = _texts(text, BATCH, 1000 * seed + step + 10)
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(ids[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(scores.float().flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(
        f"seed {seed}: loss {float(loss.detach()):.3f}, {time.process_time() - began:.0f} CPU s of training", flush=True
    )
    return model.eval()


def in_bits(model: torch.nn.Module, calibration: Tensor) -> nw.SuperNet:
    """The model with the bits of each linear layer of its blocks."""
    net = nw.SuperNet(model, [], {"input_ids": calibration[:1, :-1], "use_cache": False})
    rest = [name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "layers." not in name]
    return net.with_axes(nw.Bits.of(net, [TWO, THREE, "int4", "float32"], keep=rest))


def batches_of(texts: Tensor) -> list[dict[str, object]]:
    """What the model is called with."""
    return [{"input_ids": part[:, :-1], "use_cache": False} for part in texts.split(32)]


class Perplexity(Measurer):
    """Of the next byte.

    Args:
        held: texts.
    """

    metrics = (nw.Metric("perplexity"),)
    depends_on_weights = True

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def measure(self, context: EvaluationContext) -> dict[str, nw.Measurement]:
        """That of the candidate's network."""
        return {"perplexity": nw.Measurement(perplexity(context.module, self.held))}


def searched(
    model: torch.nn.Module, calibration: Tensor, held: Tensor, evaluations: int, seed: int
) -> dict[str, tuple[Front, float]]:
    """The front of each rounding, and the CPU seconds of a network."""
    found: dict[str, tuple[Front, float]] = {}
    for rounding in ROUNDINGS:
        net = in_bits(model, calibration)
        study = nw.Study(
            MemoryStore(), net, objectives=[Perplexity(held), nw.Count("weight_bytes")], rounding=rounding,
            calibration=batches_of(calibration), seed=seed, initial=begin_with(net, calibration),
        )  # fmt: skip
        study.run("guided", evaluations)
        begun = time.process_time()
        for record in study.records[:10]:
            _ = EvaluationContext(net, record.candidate, batches_of(calibration), rounding=rounding).module
        found[rounding] = study.front(), (time.process_time() - begun) / 10
    return found


def begin_with(net: nw.SuperNet, calibration: Tensor) -> list[nw.Candidate]:
    """All layers in the same bits, and bits by the output error at the bytes of 3 bits."""
    names = {axis.name for axis in net.axes if isinstance(axis, nw.Bits)}
    alike = [net.largest_with(dict.fromkeys(names, option)) for option in (TWO, THREE, "int4")]
    scores = nw.sensitivity.OutputError(batches_of(calibration)[:1], distance="kl").scores(net)
    return [*alike, nw.assign_bits(net, scores, budget=net.count(alike[1]).weight_bytes)]


def best_within(front: Front, budget: float) -> float:
    """The least perplexity of networks of so many bytes at most."""
    return min((r.values["perplexity"] for r in front if r.values["weight_bytes"] <= budget), default=float("nan"))


def measured(model: torch.nn.Module, calibration: Tensor, held: Tensor) -> dict[str, tuple[float, ...]]:
    """Bytes of all weights, and the two perplexities."""
    net, batches = in_bits(model, calibration), batches_of(calibration)
    names = {axis.name for axis in net.axes if isinstance(axis, nw.Bits)}
    whole = net.count(net.largest).weight_bytes
    plain = perplexity(net.extract(net.largest), held)
    found: dict[str, tuple[float, ...]] = {"float32": (whole, plain, plain)}
    for name, option in (("4, groups of 32", "int4"), ("3", THREE), ("2", TWO)):
        found[name] = both(net, net.largest_with(dict.fromkeys(names, option)), batches, held)
    scores = nw.sensitivity.OutputError(batches[:1], distance="kl").scores(net)
    assigned = nw.assign_bits(net, scores, budget=int(found["3"][0]))
    found["2, 3, 4 by output error"] = both(net, assigned, batches, held)
    return found


def both(
    net: nw.SuperNet, candidate: nw.Candidate, batches: list[dict[str, object]], held: Tensor
) -> tuple[float, ...]:
    """Of one candidate."""
    nearest, better = net.extract(candidate), nw.gptq(net, candidate, batches)
    return net.count(candidate).weight_bytes, perplexity(nearest, held), perplexity(better, held)


@torch.no_grad()
def perplexity(network: torch.nn.Module, held: Tensor) -> float:
    """Of the next byte."""
    total = 0.0
    for ids in held.split(50):
        scores = network(input_ids=ids[:, :-1], use_cache=False).logits
        total += float(F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
    return math.exp(total / held[:, 1:].numel())


if __name__ == "__main__":
    main()
