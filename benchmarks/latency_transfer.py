"""How well the latency of a new device is known from 10, 20 or 50 measurements, given other devices.

Measured latencies of Lee et al. 2021 (HELP; ../shared/data/ofa_latency and fbnet_latency): 5,000 sub-networks of
Once-for-All's MobileNetV3 on 4 GPUs at three batch sizes, 5,000 networks of FBNet on 15 GPUs, CPUs, phones and
accelerators, 27 settings in all. Each setting in turn is the new device; of the others all networks are known, or 900.
Where a device was measured at several batch sizes, all of them are left out with it, or only the one ("its batch sizes
known"). Samples are drawn at random (three seeds); 2,000 other networks are predicted.

    OMP_NUM_THREADS=1 python benchmarks/latency_transfer.py  # some three minutes
    OMP_NUM_THREADS=1 python benchmarks/latency_transfer.py --space fbnet --each  # and a table of its devices

The last table is HELP's own split of FBNet beside the figures of their Table 2 (10 samples; 4,000 networks of 9
settings to learn from, 4 more to validate with, which are not used here).
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from netwright.core.candidate import Candidate
from netwright.core.space import Choice, Space
from netwright.strategies.predict import BayesianLinear, Encoder, Features, GaussianProcess, Predictor
from netwright.strategies.predict.scores import scores
from netwright.strategies.predict.transfer import Transfer

DATA = Path(__file__).parents[2] / "shared/data"
HELD = 2000
"""Networks that are predicted."""
CHOSEN_FROM = 1000
"""Networks among which the first to measure are chosen."""
HELP_OTHERS = {
    *("1080ti_1", "1080ti_32", "1080ti_64", "silver_4114", "silver_4210r"),
    *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
}
HELP_SPEARMAN = {"raspi4": 0.887, "eyeriss": 0.943, "fpga": 0.892}
"""Lee et al. 2021, Table 2 (also in the README of github.com/HayeonLee/HELP)."""
SPACES = ("ofa", "fbnet")


@dataclass(frozen=True)
class Table:
    """Latencies of one space.

    Args:
        features: of the networks.
        latencies: in ms, by setting, each of shape (n,).
    """

    features: Features
    latencies: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Score:
    """Of predictions; shares of the networks from 0 to 1, and CPU seconds of learning and predicting."""

    spearman: float
    within5: float
    within10: float
    covered: float
    seconds: float


Method = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From rows that are measured, their latencies, and rows to predict, to means and spreads."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=SPACES, nargs="+", default=SPACES)
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 20, 50])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--each", action="store_true", help="also print a table of every setting")
    asked = parser.parse_args()
    for name in asked.space:
        table = load(name)
        print(f"\n{name}: {len(table.features)} networks, {len(table.latencies)} settings; median over settings\n")
        print("| method | samples | Spearman | within 5 % | within 10 % | in 95 % interval | CPU s |")
        print("|---|---|---|---|---|---|---|")
        every: dict[str, dict[tuple[str, int], Score]] = {}
        for method, make in methods(table).items():
            every[method] = judge(table, make, asked.samples, asked.seeds, chosen="reference" in method)
            for n in asked.samples:
                found = [score for (_, samples), score in every[method].items() if samples == n]
                middle = [float(np.median([getattr(s, k) for s in found])) for k in Score.__dataclass_fields__]
                print(f"| {method} | {n} | {cells(Score(*middle))} |", flush=True)
        if asked.each:
            print_each(every["transfer"])
    if "fbnet" in asked.space:
        print_help(load("fbnet"), asked.seeds)


def cells(score: Score) -> str:
    """As cells of a row."""
    shares = " | ".join(f"{100 * share:.1f} %" for share in (score.within5, score.within10, score.covered))
    return f"{score.spearman:.3f} | {shares} | {score.seconds:.2f}"


def print_each(found: Mapping[tuple[str, int], Score]) -> None:
    """A row for every setting and number of samples."""
    print("\n| setting | samples | Spearman | within 5 % | within 10 % | in 95 % interval | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for (setting, n), score in found.items():
        print(f"| {setting} | {n} | {cells(score)} |")


def print_help(table: Table, seeds: int) -> None:
    """HELP's split, beside HELP."""
    print("\nHELP's split of FBNet, 10 samples, Spearman\n\n| setting | HELP | transfer | with reference |")
    print("|---|---|---|---|")
    transfer = known(table, range(4000)).without(set(table.latencies) - HELP_OTHERS)
    for setting, published in HELP_SPEARMAN.items():
        only = Table(table.features, {setting: table.latencies[setting]})
        both = [judge(only, lambda _: transfer, [10], seeds, chosen)[setting, 10].spearman for chosen in (False, True)]
        print(f"| {setting} | {published:.3f} | {both[0]:.3f} | {both[1]:.3f} |")


def methods(table: Table) -> dict[str, Callable[[str], Transfer | Method]]:
    """For each method what makes a new one for a setting that is new."""
    all_of, some = known(table, range(5000)), known(table, np.random.default_rng(9).permutation(5000)[:900])
    kin = {name: [other for other in table.latencies if device(other) == device(name)] for name in table.latencies}
    found: dict[str, Callable[[str], Transfer | Method]] = {
        "transfer": lambda name: all_of.without(kin[name]),
        "transfer, reference": lambda name: all_of.without(kin[name]),
        "transfer, 900 networks": lambda name: some.without(kin[name]),
        "transfer, its batch sizes known": lambda name: all_of.without([name]),
        "best other device": lambda name: best_other(table, kin[name]),
        "GaussianProcess alone": lambda _: alone(table, GaussianProcess),
        "BayesianLinear alone": lambda _: alone(table, BayesianLinear),
    }
    return found


def judge(
    table: Table,
    make: Callable[[str], Transfer | Method],
    samples: Sequence[int],
    seeds: int,
    chosen: bool,
) -> dict[tuple[str, int], Score]:
    """Mean scores of each setting and number of samples.

    Args:
        table: whose settings are new devices in turn.
        make: from the name of a setting to what predicts it.
        samples: how many networks are measured on it.
        seeds: draws of them.
        chosen: whether the predictor chooses them, among :data:`CHOSEN_FROM`.
    """
    found = {}
    for setting, latencies in table.latencies.items():
        model = make(setting)
        for n in samples:
            each = []
            for seed in range(seeds):
                order = np.random.default_rng(seed).permutation(len(latencies))
                held, rest = order[:HELD], order[HELD:]
                if chosen and isinstance(model, Transfer):
                    rest = rest[:CHOSEN_FROM][model.reference(table.features[rest[:CHOSEN_FROM]], n)]
                rows = rest[:n]
                begin = time.process_time()
                mean, spread = predicted(model, table.features, rows, latencies[rows], held)
                seconds = time.process_time() - begin
                off = np.abs(mean / latencies[held] - 1)
                judged = scores(mean, spread, latencies[held])
                each.append((judged.spearman, np.mean(off < 0.05), np.mean(off < 0.1), judged.calibration, seconds))
            found[setting, n] = Score(*(float(x) for x in np.mean(each, axis=0)))
    return found


def predicted(
    model: Transfer | Method, features: Features, rows: np.ndarray, latencies: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means and spreads in ms; what knows only this device learns logarithms."""
    if isinstance(model, Transfer):
        return model.fit(features[rows], latencies).predict(features[held])
    mean, spread = model(rows, np.log(latencies), held)
    return np.exp(mean), np.exp(mean) * spread


def alone(table: Table, make: Callable[[], Predictor]) -> Method:
    """A predictor that knows only the new device."""
    return lambda rows, values, held: make().fit(table.features[rows], values).predict(table.features[held])


def best_other(table: Table, left_out: Sequence[str]) -> Method:
    """The other device whose logarithms, as measured, are the best straight line through those of the new one."""
    others = np.stack([np.log(v) for name, v in table.latencies.items() if name not in left_out], axis=1)

    def method(rows: np.ndarray, values: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lines = [np.polyfit(other, values, 1) for other in others[rows].T]
        errors = [np.sum((np.polyval(line, x) - values) ** 2) for line, x in zip(lines, others[rows].T, strict=True)]
        best = int(np.argmin(errors))
        spread = float(np.sqrt(errors[best] / (len(rows) - 2)))
        return np.polyval(lines[best], others[held, best]), np.full(len(held), spread)

    return method


def known(table: Table, rows: Sequence[int] | np.ndarray) -> Transfer:
    """From all settings, of some networks."""
    at = np.asarray(rows)
    return Transfer({name: (table.features[at], latencies[at]) for name, latencies in table.latencies.items()})


def device(setting: str) -> str:
    """Without the batch size."""
    name, _, batch = setting.rpartition("_")
    return name if batch in ("1", "32", "64") and name != "essential_ph" else setting


def load(name: str) -> Table:
    """The features and latencies of a space."""
    file = {"ofa": "ofa_latency/ofa_mbv3_latency.csv", "fbnet": "fbnet_latency/fbnet_latency.csv"}[name]
    with (DATA / file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    space, candidates = {"ofa": ofa, "fbnet": fbnet}[name](rows)
    names = [column for column in rows[0] if column.startswith("lat_")]
    latencies = {column.removeprefix("lat_"): np.array([float(row[column]) for row in rows]) for column in names}
    return Table(Encoder(space)(candidates), latencies)


def ofa(rows: Sequence[Mapping[str, str]]) -> tuple[Space, list[Candidate]]:
    """Five stages of two to four blocks, each with a kernel size and an expansion, and the resolution."""
    choices = [Choice("resolution", tuple(sorted({int(row["resolution"]) for row in rows})))]
    choices += [Choice(f"d{s}", (2, 3, 4)) for s in range(5)]
    for s in range(5):
        for j in range(4):
            when = None if j < 2 else {f"d{s}": tuple(d for d in (2, 3, 4) if d > j)}
            choices += [Choice(f"k{s}{j}", (3, 5, 7), when), Choice(f"e{s}{j}", (3, 4, 6), when)]
    space, candidates = Space(choices), []
    for row in rows:
        kernels, expansions, depths = ([int(x) for x in row[k].split()] for k in ("ks", "e", "d"))
        chosen = {"resolution": int(row["resolution"])} | {f"d{s}": d for s, d in enumerate(depths)}
        for s, depth in enumerate(depths):
            for j in range(depth):
                chosen |= {f"k{s}{j}": kernels[4 * s + j], f"e{s}{j}": expansions[4 * s + j]}
        candidates.append(space.candidate(chosen))
    return space, candidates


def fbnet(rows: Sequence[Mapping[str, str]]) -> tuple[Space, list[Candidate]]:
    """22 layers, each one of nine operations."""
    layers = [row["ops"].split("|") for row in rows]
    operations = tuple(sorted({operation for row in layers for operation in row}))
    space = Space([Choice(f"layer{i}", operations) for i in range(len(layers[0]))])
    return space, [space.candidate({f"layer{i}": x for i, x in enumerate(row)}) for row in layers]


if __name__ == "__main__":
    main()
