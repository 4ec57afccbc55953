"""What counting costs, in CPU seconds: the table of sizes, the counts of many candidates, and what a search asks.

- ``table``: the first count of OFA MobileNetV3's super-network at 224 pixels (Cai et al. 2020), which makes its table.
- ``1,000 counts``: all counts of 1,000 random candidates of it, none counted before.
- ``ask``: four proposals of ``guided`` for the digits' super-network, whose five counts are recorded, after 120 random
  networks with made-up accuracies and latencies; with the search for the processes' hyperparameters, which is made anew
  when the records have grown by a quarter, and without. The least of several studies.
- ``ask, 100,000 records``: the same in a space without a network, after so many.

Everything runs on one thread. With ``--against``, the code of another checkout is measured in turn with this one's,
each time in a process of its own, and the proposals of both are compared.

    python benchmarks/counts.py
    git worktree add /tmp/before 36da8a1 && python benchmarks/counts.py --against /tmp/before
"""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Any

import numpy as np
from against import in_turn, parser_of

NETWORKS, RECORDS, MANY = 1000, 120, 100_000
STUDIES = 3
COUNTS = ("macs", "params", "weight_bytes", "peak_activation_bytes", "moved_bytes")


def networks() -> dict[str, float]:
    """The table and the counts of OFA MobileNetV3."""
    from netwright.nets.families.ofa import ofa_mobilenet_v3

    net = ofa_mobilenet_v3()
    begin = time.process_time()
    net.count(net.largest)
    found = {"table": time.process_time() - begin}
    rng = np.random.default_rng(0)
    candidates = [net.space.sample(rng) for _ in range(NETWORKS)]
    counts: Any = getattr(net, "counts", lambda some: [net.count(c) for c in some])
    begin = time.process_time()
    counts(candidates)
    return found | {"1,000 counts": time.process_time() - begin}


def made_up(candidate: Any, work: float, rng: np.random.Generator) -> Any:
    """A record with an accuracy and a latency."""
    from netwright.core.metric import Measurement
    from netwright.core.record import Record

    accuracy = 99 - 3e5 / (work + 1e4) - rng.exponential(0.3)
    values = {"accuracy": (accuracy, "%", 0.8), "latency": (0.02 + work / 4e7 * rng.uniform(0.95, 1.05), "ms", 1e-3)}
    measured = {name: Measurement(float(v), unit, ci95, 30) for name, (v, unit, ci95) in values.items()}
    return Record(candidate, measured, "ok", objectives=objectives())


def objectives() -> tuple[Any, ...]:
    """Of both searches."""
    from netwright.core.metric import Metric

    return Metric("accuracy", "%", "max"), Metric("latency", "ms", "min")


def drawn(space: Any, n: int, seed: int) -> list[Any]:
    """So many distinct candidates."""
    rng, found = np.random.default_rng(seed), dict[Any, None]()
    while len(found) < n:
        found[space.sample(rng)] = None
    return list(found)


def asks() -> tuple[dict[str, float], list[str]]:
    """What four proposals for the digits cost, and which they are."""
    from netwright.measure.counts import Count
    from netwright.recipes.digits import supernet
    from netwright.strategies.guided import Guided
    from netwright.study.stores.memory import MemoryStore
    from netwright.study.study import Study
    from netwright.testing.fakes import FakeMeasurer

    took, proposed, other = list[float](), list[str](), supernet()
    measurers = [*map(FakeMeasurer, objectives())]
    for seed in range(STUDIES):
        rng = np.random.default_rng(seed)
        records = [made_up(c, other.count(c).macs, rng) for c in drawn(other.space, RECORDS, seed)]
        for _ in range(2):  # the second time the hyperparameters are known, and no counts
            net = supernet()
            net.count(net.largest)
            counted = [Count(name) for name in COUNTS]
            study = Study(MemoryStore(), net, objectives=measurers, record=counted, seed=seed)
            begin = time.process_time()
            found = Guided().ask(study.problem, records, 4)
            took.append(time.process_time() - begin)
        proposed += [c.key for c in found]
    return {"ask, hyperparameters too": min(took[::2]), "ask": min(took[1::2])}, proposed


def work(candidate: Any) -> float:
    """Something that grows with a candidate."""
    return float(sum(candidate.values()))


def grown() -> tuple[dict[str, float], list[str]]:
    """What proposals cost after very many records, when those of before are known, and which they are."""
    from netwright.core.space import Choice, Space
    from netwright.strategies.base import History, Problem
    from netwright.strategies.guided import Guided

    space = Space(
        [Choice(f"stage{i}.depth", (1, 2, 3, 4)) for i in range(3)]
        + [Choice(f"stage{i}.block{k}.width", tuple(range(8, 72, 8)), {f"stage{i}.depth": tuple(range(k + 1, 5))})
           for i in range(3) for k in range(4)]
    )  # fmt: skip
    rng, problem, proposed, took = np.random.default_rng(0), Problem(space, objectives()), list[str](), list[float]()
    history = History(made_up(c, 1e4 * work(c), rng) for c in drawn(space, MANY, 0))
    for _ in range(4):
        begin = time.process_time()
        found = Guided().ask(problem, history, 4)
        took.append(time.process_time() - begin)
        proposed += [c.key for c in found]
        for c in found:
            history.append(made_up(c, 1e4 * work(c), rng))
    return {"ask, 100,000 records": min(took[1:])}, proposed


def measure() -> dict[str, Any]:
    """All figures, and a digest of what was proposed."""
    import torch

    torch.set_num_threads(1)
    took, proposed = asks()
    more, others = grown()
    return networks() | took | more | {"proposals": sha256("".join(proposed + others).encode()).hexdigest()[:10]}


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    args = parser.parse_args()
    if args.json:
        print(json.dumps(measure()))
        return
    found = in_turn(parser, args, __file__)
    print(f"{'CPU seconds':26}" + "".join(f"{which:>9}" for which in found) + "   other / this" * bool(args.against))
    for name in found["this"][0]:
        if name == "proposals":
            continue
        least = [min(run[name] for run in runs) for runs in found.values()]
        ratio = f"{least[1] / least[0]:15.1f}" if args.against else ""
        print(f"{name:26}" + "".join(f"{seconds:9.3f}" for seconds in least) + ratio)
    proposals = {run["proposals"] for runs in found.values() for run in runs}
    print("proposals: " + (f"the same ({proposals.pop()})" if len(proposals) == 1 else f"they differ: {proposals}"))


if __name__ == "__main__":
    main()
