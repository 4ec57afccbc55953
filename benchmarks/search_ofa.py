"""netwright's strategies beside the peers on real ImageNet accuracies of OFA MobileNetV3 sub-networks.

Prints, as medians over seeds, the hypervolume as a share of the best known front's, the accuracy regret and the CPU
time that the strategy took for itself; draws the curves; stores what was found in each run as JSON.

    python benchmarks/search_ofa.py --jobs 2
    python benchmarks/search_ofa.py --quick                 # fails where guided does not lead
    python benchmarks/search_ofa.py --objectives three --noise --only guided linas
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import peers
from ofa_bench import BUDGETS, LIMIT, REFERENCE, Ofa, Session

from netwright.core.errors import NetwrightError, format_error
from netwright.strategies.base import Strategy

MARKS = (50, 100, 250, 500)
STEP = 10
"""Evaluations between two points of a curve."""
QUICK = {"guided": 1.0, "nsga2": 1.04, "random": 1.1}
"""What the quick run holds, and how many times their share guided's must be at the end."""


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Args:
        label: in the table and in the figures.
        search: runs until the session's budget is spent.
    """

    label: str
    search: Callable[[Session], None]


def netwright(module: str, name: str) -> Callable[[Session], None]:
    """A search by a strategy of netwright with its own defaults."""

    def search(session: Session) -> None:
        strategy: Strategy = getattr(import_module(f"netwright.strategies.{module}"), name)()
        while session.left:
            for candidate in strategy.ask(session.problem, session.records, min(strategy.batch, session.left)):
                session.measure(candidate)

    return search


ENTRIES = {
    "guided": Entry("netwright guided", netwright("guided", "Guided")),
    "linas": Entry("netwright LINAS (repaired)", netwright("linas", "Linas")),
    "concurrentnas": Entry("netwright ConcurrentNAS", netwright("linas", "ConcurrentNas")),
    "weaknas": Entry("netwright WeakNAS", netwright("weaknas", "WeakNas")),
    "nsga2": Entry("netwright NSGA-II", netwright("evolution", "Nsga2")),
    "botorch": Entry("netwright BoTorch qLogNEHVI", netwright("botorch", "BoTorch")),
    "linas-shipped": Entry("LINAS as DyNAS-T ships it*", peers.linas_as_shipped),
    "weaknas-peer": Entry("WeakNAS-style", peers.weaknas),
    "pymoo-nsga2": Entry("pymoo NSGA-II", peers.pymoo_nsga2),
    "optuna-nsga2": Entry("Optuna NSGA-II", peers.optuna_nsga2),
    "optuna-tpe": Entry("Optuna TPE", peers.optuna_tpe),
    "random": Entry("random", peers.random),
}
SLOW = ("botorch",)
"""Only run when named."""
NOTE = """\
* Written from DyNAS-T's description and defaults, with its faults: mutation that changes no gene, predicted MACs, one
  network measured again, the same inner seed every round. Its grids of hyperparameters are thinned tenfold, so that
  its own CPU time is higher than here.
  netwright's strategies measure the smallest and the largest network first; the peers start at random."""


def main() -> None:
    """Run, print and draw."""
    arguments = parsed()
    # Before any worker starts: threads of linear algebra would fight over the cores.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    jobs = [(name, seed) for seed in range(arguments.seeds) for name in arguments.only]
    runs: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    begin = time.perf_counter()
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        settings = (str(arguments.bench), arguments.objectives, arguments.budget, arguments.noise)
        waiting = {pool.submit(run, name, seed, *settings): name for name, seed in jobs}
        for done in as_completed(waiting):
            name = waiting[done]
            try:
                runs.append(done.result())
            except (ImportError, NetwrightError) as error:
                skipped[name] = format_error(error)
            print(f"\r{len(runs)} of {len(jobs)} runs, {time.perf_counter() - begin:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    runs += [found for path in arguments.add for found in stored_runs(path)]
    arguments.only = list(dict.fromkeys([*arguments.only, *(r["name"] for r in runs)]))
    runs.sort(key=lambda r: (arguments.only.index(r["name"]), r["seed"]))
    task = Ofa(arguments.bench).task(arguments.objectives)
    title = (
        f"OFA MobileNetV3 on ImageNet: {', '.join(m.name for m in task.objectives)}"
        f"{''.join(f', {x}' for x in task.limits)}{', noisy' if arguments.noise else ''}; {task.unit}; "
        f"median of {arguments.seeds} {'seed' if arguments.seeds == 1 else 'seeds'}"
    )
    text = f"{title}\n\n{table(runs, arguments.objectives)}\n\n{NOTE}\n"
    text += "".join(f"skipped {ENTRIES[name].label}: {reason}\n" for name, reason in skipped.items())
    print(text)
    stem = f"{arguments.objectives}{'-noisy' if arguments.noise else ''}{'-quick' if arguments.quick else ''}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("netwright", "numpy", "scikit-learn", "pymoo", "optuna", "botorch")}
    stored = {"title": title, "command": sys.argv[1:], "versions": versions, "skipped": skipped, "runs": runs}
    (arguments.out / f"{stem}.json").write_text(json.dumps(stored))
    (arguments.out / f"{stem}.txt").write_text(text)
    draw(runs, title, arguments.out / stem)
    print(f"curves: {arguments.out / stem}.png, .html; every run: {arguments.out / stem}.json")
    if arguments.quick:
        guard(runs, skipped)


def parsed() -> argparse.Namespace:
    """The command line; ``--quick`` sets what is not given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench/ofa_mbv3"), help="folder of the bench")
    parser.add_argument("--seeds", type=int, help="how many; 10 by default")
    parser.add_argument("--budget", type=int, help="evaluations of a run; 500 by default")
    parser.add_argument("--only", nargs="+", choices=ENTRIES, metavar="NAME", help=", ".join(ENTRIES))
    parser.add_argument("--quick", action="store_true", help="3 seeds, 100 evaluations, guided, nsga2 and random")
    parser.add_argument(
        "--objectives",
        choices=("two", "three", "limit"),
        default="two",
        help=f"top-1 and MACs; and parameters (from {REFERENCE[2]:g} M); or top-1 with MACs <= {LIMIT:g} M",
    )
    parser.add_argument("--noise", action="store_true", help="top-1 as noisy as real evaluations; judged by the truth")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--add", type=Path, nargs="+", default=[], help="JSON of earlier calls for the same task")
    parser.add_argument("--out", type=Path, default=Path("runs/search_ofa"), help="folder of curves and figures")
    arguments = parser.parse_args()
    arguments.seeds = arguments.seeds or (3 if arguments.quick else 10)
    arguments.budget = arguments.budget or (100 if arguments.quick else 500)
    arguments.only = arguments.only or list(QUICK if arguments.quick else [n for n in ENTRIES if n not in SLOW])
    return arguments


@cache
def _ofa(bench: str) -> Ofa:
    return Ofa(Path(bench))


def run(name: str, seed: int, bench: str, objectives: str, budget: int, noisy: bool) -> dict[str, Any]:
    """One search; its curve by evaluations, and the CPU seconds that were not spent on measuring."""
    ofa = _ofa(bench)
    session = Session(ofa, ofa.task(objectives), budget, seed, noisy)
    begin = time.process_time()
    ENTRIES[name].search(session)
    cpu = time.process_time() - begin - session.seconds
    return {"name": name, "seed": seed, "cpu": cpu, "curve": session.curve(min(STEP, budget))}


def stored_runs(path: Path) -> list[dict[str, Any]]:
    """The runs of an earlier call, from its JSON."""
    runs = json.loads(path.read_text())["runs"]
    return [r | {"curve": {int(n): found for n, found in r["curve"].items()}} for r in runs]


def table(runs: list[dict[str, Any]], objectives: str) -> str:
    """Medians over seeds: the score and the accuracy regret at the marks, CPU seconds of a whole run."""
    marks = [n for n in MARKS if n in runs[0]["curve"]] if runs else []
    head = ["strategy", *(f"at {n}" for n in marks)]
    if objectives != "limit":
        head += [f"regret {n}" for n in marks]
    lines = [[*head, "CPU s"]]
    for name in dict.fromkeys(r["name"] for r in runs):
        own = [r for r in runs if r["name"] == name]
        cells = [f"{median(own, n, 'score'):.{3 if objectives == 'limit' else 1}f}" for n in marks]
        if objectives != "limit":
            cells += [f"{median(own, n, 'regret'):.2f}" for n in marks]
        lines.append([ENTRIES[name].label, *cells, f"{np.median([r['cpu'] for r in own]):.1f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    shown = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))] for line in lines
    ]
    shown.insert(1, ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])])
    found = "\n".join(f"| {' | '.join(line)} |" for line in shown)
    if objectives != "limit":
        budgets = ", ".join(f"{b:g}" for b in BUDGETS)
        found += f"\n\nregret: mean points of top-1 below the best known front at {budgets} M MACs"
    return found


def median(runs: list[dict[str, Any]], n: int, what: str) -> float:
    """Of runs after ``n`` evaluations."""
    return float(np.median([r["curve"][n][what] for r in runs]))


def guard(runs: list[dict[str, Any]], skipped: dict[str, str]) -> None:
    """Exit with an error where guided does not lead by as much as it should."""
    if skipped:
        raise SystemExit(f"the quick run is not whole: {', '.join(skipped)} skipped")
    shares = {name: median([r for r in runs if r["name"] == name], max(runs[0]["curve"]), "score") for name in QUICK}
    for name, times in list(QUICK.items())[1:]:
        ratio = shares["guided"] / shares[name]
        print(f"guided has {ratio:.3f} times the share of {name}; {times:g} is wanted")
        if ratio < times:
            raise SystemExit(f"guided no longer leads {name} as it should")


def draw(runs: list[dict[str, Any]], title: str, stem: Path) -> None:
    """Medians over evaluations, with the range of the middle half of the seeds, as PNG and as HTML."""
    import matplotlib
    import plotly.graph_objects as go

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(figsize=(9, 5.5))
    figure = go.Figure()
    colours = pyplot.colormaps["tab20"].colors  # type: ignore[attr-defined]
    lowest = []
    for i, name in enumerate(dict.fromkeys(r["name"] for r in runs)):
        own = [r["curve"] for r in runs if r["name"] == name]
        at = sorted(own[0])
        scores = np.array([[curve[n]["score"] for n in at] for curve in own])
        low, middle, high = np.percentile(scores, [25, 50, 75], axis=0)
        lowest.append(middle[min(2, len(at) - 1)])
        label, colour = ENTRIES[name].label, colours[2 * i % 20 + i // 10]
        ours = label.startswith("netwright")
        axes.plot(at, middle, label=label, color=colour, lw=2.2 if name == "guided" else 1.4, ls="-" if ours else "--")
        axes.fill_between(at, low, high, color=colour, alpha=0.15, lw=0)
        line = {"color": f"rgb{tuple(round(255 * c) for c in colour)}", "dash": "solid" if ours else "dash"}
        figure.add_scatter(
            x=at,
            y=middle,
            name=label,
            line=line,
            error_y={"array": high - middle, "arrayminus": middle - low, "width": 0},
        )
    unit = title.split("; ")[1]
    axes.set(xlabel="evaluations", ylabel=unit)
    axes.set_title(title, fontsize=8, wrap=True)
    if unit.startswith("%") and lowest:
        axes.set_ylim(bottom=min(lowest) - 1, top=100.5)
    elif lowest:
        axes.set_ylim(bottom=0, top=1.1 * max(lowest))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    drawn.savefig(f"{stem}.png", dpi=150, bbox_inches="tight")
    pyplot.close(drawn)
    figure.update_layout(title={"text": title, "font": {"size": 13}}, xaxis_title="evaluations", yaxis_title=unit)
    figure.write_html(f"{stem}.html", include_plotlyjs=True)


def version(package: str) -> str | None:
    """What is installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
