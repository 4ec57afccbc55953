"""What an active sub-network costs beside its extracted twin, and what the steps around it cost.

Forward passes and training steps of the two run in turn (A B A B ...) on one thread; each row gives the median of the
ratios of neighbours. Then: extraction, switching, wrapping, and the memory that an activation holds. All times are CPU
time. Rows of other packages are left out, with the reason, where those are not installed.

    python benchmarks/cost.py              # everything, some minutes
    python benchmarks/cost.py digits       # only the built-in recipe's small network
"""

from __future__ import annotations

import argparse
import gc
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision_stub import stub

import netwright as nw
from netwright.nets.families.ofa import ofa_mobilenet_v3, to_ofa
from netwright.recipes import digits
from netwright.training.sampling.base import Sampling
from netwright.training.steps import State, Step


def main() -> None:
    """Print the tables that are asked for."""
    parts = {
        "digits": small,
        "forward": forward,
        "training": training,
        "sandwich": sandwich,
        "steps": steps,
        "wrap": wrapping,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="by default all")
    chosen = parser.parse_args().parts or list(parts)
    torch.set_num_threads(1)
    for name in chosen:
        torch.manual_seed(0)
        parts[name]()


# -- ratios ----------------------------------------------------------------------------------------------------


def small() -> None:
    """The built-in recipe's network on 8x8 images."""
    net = digits.supernet()
    net.module.eval()
    print("digits, batch 64, forward: active / extracted")
    _ratios(net, torch.randn(64, 1, 8, 8), [net.largest, net.smallest, *_random(net, 4)], 60, allowed=1.04)


def forward() -> None:
    """Once-for-all's MobileNetV3 at 224 pixels, and the package's own active sub-networks."""
    net = ofa_mobilenet_v3()
    net.module.eval()
    theirs = _their_net()
    for batch, pairs, allowed in ((16, 12, 1.05), (1, 60, 1.20)):
        inputs = torch.randn(batch, 3, 224, 224)
        candidates = [net.largest, net.smallest, *_random(net, 4)]
        print(f"MobileNetV3 (once-for-all), 224 pixels, batch {batch}, forward: active / extracted")
        _ratios(net, inputs, candidates, pairs, allowed)
        if theirs is not None:
            ratios = []
            for candidate in candidates:
                setting = to_ofa(net, candidate)
                theirs.set_active_subnet(ks=setting["ks"], e=setting["e"], d=setting["d"])
                alone = theirs.get_active_subnet(preserve_weight=True).eval()
                with torch.no_grad():
                    ratios.append(paired(partial(theirs, inputs), partial(alone, inputs), pairs)[2])
            print(f"  the ofa package: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


def training() -> None:
    """A training step through a cut beside one of the extracted network."""
    net = ofa_mobilenet_v3(classes=10)
    inputs, labels = torch.randn(16, 3, 96, 96), torch.randint(0, 10, (16,))
    print("MobileNetV3 (once-for-all), 96 pixels, batch 16, training step: active / extracted")
    ratios = []
    for candidate in [net.largest, net.smallest, *_random(net, 3)]:
        network = net.extract(candidate).train()
        net.module.train()
        whole = torch.optim.SGD(net.module.parameters(), 1e-3)
        alone = torch.optim.SGD(network.parameters(), 1e-3)

        def learn(optimizer: torch.optim.Optimizer, around: Any) -> None:
            optimizer.zero_grad()
            with around as module:
                nn.functional.cross_entropy(module(inputs), labels).backward()
            optimizer.step()

        active = partial(lambda c, o: learn(o, net.active(c)), candidate, whole)
        extracted = partial(lambda n, o: learn(o, nullcontext(n)), network, alone)
        one, other, ratio = paired(active, extracted, 8)
        ratios.append(ratio)
        print(f"  {net.count(candidate).macs / 1e6:7.1f} M MACs: {one:7.1f} ms, {other:7.1f} ms, {ratio:.3f}")
    print(f"  median {statistics.median(ratios):.3f} (allowed 1.10; the shared weights' optimizer step is among it)")


def sandwich() -> None:
    """A step of the sandwich rule, the optimizer's among it, beside plain forward and backward passes of the networks
    that learn in it: the largest, the smallest and two random ones, extracted."""
    for name, net, inputs in (
        ("digits, batch 64", digits.supernet(), torch.randn(64, 1, 8, 8)),
        ("CIFAR ResNet-20, batch 64", nw.families.cifar_resnet(20), torch.randn(64, 3, 32, 32)),
        ("MobileNetV3, 64 pixels, batch 8", ofa_mobilenet_v3(classes=10), torch.randn(8, 3, 64, 64)),
    ):
        two = _random(net, 2)
        drawn = _InTurn(tuple(two))
        networks = [net.extract(each).train() for each in (net.largest, net.smallest, *two)]
        for network in networks:  # as training has it
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches = _Between(
            (inputs.contiguous(memory_format=torch.channels_last), torch.randint(0, 10, (len(inputs),))), networks, 12
        )
        nw.train(net, batches, epochs=1, sampling=drawn, optimizer="sgd,lr=0.001", schedule="constant")
        steps, plain = (statistics.median(found[3:]) for found in (batches.steps, batches.plain))
        ratio = statistics.median(a / b for a, b in zip(batches.steps[3:], batches.plain[3:], strict=True))
        print(
            f"{name}: sandwich {steps:.1f} ms, four alone {plain:.1f} ms, ratio {ratio:.3f} (allowed 1.10)", flush=True
        )


@dataclass(frozen=True)
class _InTurn(Sampling):
    """Some candidates, one after another, over again."""

    candidates: tuple[nw.Candidate, ...]

    def sample(self, net: nw.SuperNet, rng: np.random.Generator, at: Step, state: State) -> nw.Candidate:
        turn = state.setdefault("turn", torch.zeros((), dtype=torch.long))
        state["turn"] = turn + 1
        return self.candidates[int(turn) % len(self.candidates)]


class _Between:
    """One batch over again; between two, plain passes of networks with it. Both are timed, in ms of CPU time.

    Args:
        batch: inputs and labels.
        networks: that learn alone.
        count: of batches.
    """

    def __init__(self, batch: tuple[Tensor, Tensor], networks: list[nn.Module], count: int) -> None:
        self.batch, self.networks, self.count = batch, networks, count
        self.steps: list[float] = []
        self.plain: list[float] = []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, labels = self.batch
        self.steps, self.plain = [], []
        for _ in range(self.count):
            begin = time.process_time()
            yield self.batch
            self.steps.append((time.process_time() - begin) * 1e3)
            begin = time.process_time()
            for network in self.networks:
                network.zero_grad()
                nn.functional.cross_entropy(network(inputs), labels).backward()
            self.plain.append((time.process_time() - begin) * 1e3)


def _ratios(net: nw.SuperNet, inputs: Tensor, candidates: list[nw.Candidate], pairs: int, allowed: float) -> None:
    ratios = []
    for candidate in candidates:
        network = net.extract(candidate).eval()
        with torch.no_grad(), net.active(candidate) as module:
            active, extracted, ratio = paired(partial(module, inputs), partial(network, inputs), pairs)
        ratios.append(ratio)
        macs = net.count(candidate).macs / 1e6
        print(f"  {macs:8.2f} M MACs: active {active:8.3f} ms, extracted {extracted:8.3f} ms, ratio {ratio:.3f}")
    print(f"  median {statistics.median(ratios):.3f}, largest {max(ratios):.3f} (allowed {allowed:.2f})")


def paired(one: Callable[[], object], other: Callable[[], object], pairs: int) -> tuple[float, float, float]:
    """Median milliseconds of CPU time of each, and the median of the ratios of neighbours."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs + 3):
        for run, found in zip((one, other), times, strict=True):
            begin = time.process_time()
            run()
            found.append((time.process_time() - begin) * 1e3)
    a, b = times[0][3:], times[1][3:]
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in zip(a, b, strict=True))


# -- steps -----------------------------------------------------------------------------------------------------


def steps() -> None:
    """Extraction, switching, counting, and memory."""
    net = ofa_mobilenet_v3()
    candidates = _random(net, 40)
    print("MobileNetV3 (once-for-all), 40 random candidates")
    print(f"  extract: {_median_ms(net.extract, candidates)} (allowed 50 ms)")
    theirs = _their_net()
    if theirs is not None:

        def their_extract(candidate: nw.Candidate) -> None:
            setting = to_ofa(net, candidate)
            theirs.set_active_subnet(ks=setting["ks"], e=setting["e"], d=setting["d"])
            theirs.get_active_subnet(preserve_weight=True)

        print(f"  the ofa package's get_active_subnet: {_median_ms(their_extract, candidates)}")

    def switch(candidate: nw.Candidate) -> None:
        with net.active(candidate):
            pass

    print(f"  switch to a candidate never seen before: {_median_ms(switch, _random(net, 40, seed=1))} (allowed 5 ms)")
    begin = time.process_time()
    net.count(net.largest)
    print(
        f"  the first count: {time.process_time() - begin:.2f} s; {_median_ms(net.count, candidates)} each from then on"
    )
    with torch.no_grad(), _largest_tensor() as seen, net.active(net.smallest):
        pass
    weights = sum(p.numel() * p.element_size() for p in net.module.parameters())
    print(f"  an activation makes tensors of {seen[0] / 1e6:.2f} MB in all; the weights are {weights / 1e6:.1f} MB")


@contextmanager
def _largest_tensor() -> Iterator[list[int]]:
    """Counts the bytes that tensors made inside hold of their own (views hold none)."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = [0]

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and func._schema.returns[0].alias_info is None:
                seen[0] += result.untyped_storage().nbytes()
            return result

    with Watch():
        yield seen


def _median_ms(function: Callable[[Any], object], arguments: list[Any]) -> str:
    found = []
    for argument in arguments:
        begin = time.process_time()
        function(argument)
        found.append((time.process_time() - begin) * 1e3)
    return f"median {statistics.median(found):.2f} ms, largest {max(found):.2f} ms"


# -- wrapping --------------------------------------------------------------------------------------------------


def wrapping() -> None:
    """``wrap`` of a ResNet-50 at 224 pixels, and of a LLaMA of a billion parameters without data."""
    print("wrap")
    try:
        stub()
        torchvision = importlib.import_module("torchvision")
        model = torchvision.models.resnet50(weights=None).eval()
        _wrapped("ResNet-50", model, torch.randn(1, 3, 224, 224), 10)
    except ImportError as error:
        print(f"  ResNet-50: left out, {error}")
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        print(f"  LLaMA: left out, {error}")
        return
    config = transformers.LlamaConfig(
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, intermediate_size=8192,
        vocab_size=128256, use_cache=False, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        llama = transformers.LlamaForCausalLM(config).eval()
    _wrapped("LLaMA on meta", llama, {"input_ids": torch.randint(0, 1000, (1, 16))}, 60)


def _wrapped(name: str, model: nn.Module, inputs: Any, allowed: float) -> None:
    gc.collect()
    begin = time.process_time()
    net = nw.wrap(model, inputs)
    took = time.process_time() - begin
    params = sum(p.numel() for p in model.parameters())
    print(f"  {name}: {params / 1e6:.0f} M parameters, {len(net.axes)} axes in {took:.1f} s (allowed {allowed:.0f} s)")


# -- others ----------------------------------------------------------------------------------------------------


def _random(net: nw.SuperNet, n: int, seed: int = 0) -> list[nw.Candidate]:
    rng = np.random.default_rng(seed)
    return [net.space.sample(rng) for _ in range(n)]


def _their_net() -> Any:
    """The ofa package's MobileNetV3, or None where it does not import."""
    try:
        stub()
        networks = importlib.import_module("ofa.imagenet_classification.elastic_nn.networks")
    except ImportError as error:
        print(f"the ofa package is left out: {error}")
        return None
    return networks.OFAMobileNetV3(ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]).eval()


if __name__ == "__main__":
    main()
