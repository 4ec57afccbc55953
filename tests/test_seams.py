"""Each kind of thing takes one from outside: a class of a person's own, or what an installed package brings.

One file and one row: nothing else must be written for it to be used by a recipe.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import netwright as nw
from netwright.cli.main import main
from netwright.core.errors import NetwrightError
from netwright.measure.energy import energy, meters, unavailable
from netwright.measure.named_network import readers_of
from netwright.measure.sampling import SamplingPlan
from netwright.measure.targets import parse_target
from netwright.recipe.load import kinds_in, parse
from netwright.recipe.schema import Recipe
from netwright.strategies.predict import PREDICTORS, Encoder

Install = Callable[..., None]

# -- a whole job of nothing but one's own -----------------------------------------------------------------------------

OWN = """
    import json
    from dataclasses import dataclass
    from html import escape

    import numpy as np
    import torch
    from torch import nn

    import netwright as nw
    from netwright.formats.base import Format
    from netwright.report.sections.base import Section
    from netwright.study.evaluate import evaluate
    from netwright.study.executors.base import Executor
    from netwright.study.stores.base import Store, body_text
    from netwright.study.warm_starts.base import Network, WarmStart
    from netwright.trackers.base import Tracker
    from netwright.training.schedules.base import Schedule

    USED = {}

    def supernet():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        width = nw.Width.tie(model, "width", (2, 4, 6, 8), out_of=["0"], into=["2"])
        return nw.SuperNet(model, [width], torch.zeros(1, 4))

    def data():
        x = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
        parts = [nw.Split(part, part.sum(1, keepdim=True)) for part in x.split(16)]
        return nw.Data(*parts)

    LOG_COSH = nw.Metric("log_cosh", "dB")
    BIAS = nw.Metric("bias", "dB")

    @dataclass(frozen=True)
    class LogCosh(nw.Task):
        scale: float = 1.0
        metrics = (LOG_COSH,)

        def loss(self, outputs, targets):
            USED["task"] = self.scale
            return ((outputs - targets) * self.scale).cosh().log().mean()

        def evaluator(self):
            values = lambda outputs, targets: ((outputs - targets) * self.scale).cosh().log().mean(1)
            return nw.tasks.MeanEvaluator({LOG_COSH: values})

    class Bias(nw.tasks.MeanEvaluator, nw.tasks.OwnMetric):
        metrics = (BIAS,)

        def __init__(self, sign: int = 1):
            USED["metric"] = sign
            super().__init__({BIAS: lambda outputs, targets: sign * (outputs - targets).mean(1)})

    @dataclass(frozen=True)
    class Thrice(nw.rules.Rule):
        times: int = 3

        def step(self, net, lesson):
            USED["rule"] = self.times
            for _ in range(self.times):
                loss, answer = lesson.learn(net, net.largest, weight=1 / self.times)
                lesson.imitate(net, lesson.sample(net), answer)
            return loss

    @dataclass(frozen=True)
    class Narrow(nw.sampling.Sampling):
        most: int = 8

        def sample(self, net, rng, at, state):
            USED["sampling"] = self.most
            return net.space.candidate({"width": int(rng.choice([w for w in (2, 4, 6, 8) if w <= self.most]))})

    @dataclass(frozen=True)
    class Absolute(nw.distillation.Distillation):
        scale: float = 1.0

        def loss(self, task, student, teacher, targets):
            USED["distillation"] = self.scale
            return self.scale * (student.outputs - teacher.outputs).abs().mean()

    class Signs(torch.optim.Optimizer):
        def __init__(self, params, lr: float = 0.1):
            USED["optimizer"] = lr
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p -= group["lr"] * p.grad.sign()

    @dataclass(frozen=True)
    class Halving(Schedule):
        every: int = 1

        def share(self, step, steps):
            USED["schedule"] = self.every
            return 0.5 ** (step // self.every)

    @dataclass(frozen=True)
    class Backwards(nw.importance.Criterion):
        power: int = 1

        def scores(self, net, widths):
            USED["criterion"] = self.power
            return [torch.arange(width.channels).double() ** self.power for width in widths]

    @dataclass(frozen=True)
    class Largest(nw.Strategy):
        down: int = 1

        def ask(self, problem, history, n):
            known = problem.proposed(history)
            widths = [problem.space.candidate({"width": width}) for width in (8, 6, 4, 2)]
            return [candidate for candidate in widths[:: self.down] if candidate not in known][:n]

    class Lines(Store):
        def __init__(self, path: str, mark: str = ""):
            self.path, self.mark = path, mark
            open(path, "a").close()

        def append(self, kind, body):
            with open(self.path, "a") as file:
                file.write(f"{self.mark}{kind} {body_text(body)}\\n")

        def read(self, since=0):
            with open(self.path) as file:
                for line in list(file)[since:]:
                    kind, _, body = line.removeprefix(self.mark).partition(" ")
                    yield kind, json.loads(body)

    class Counting(Executor):
        def __init__(self, most: int = 1):
            self.workers, self.jobs = most, []

        def submit(self, job):
            self.jobs.append(job)
            USED["executor"] = max(USED.get("executor", 0), len(self.jobs))

        def results(self, seconds=None):
            jobs, self.jobs = self.jobs, []
            return [(job, evaluate(job)) for job in jobs]

    @dataclass(frozen=True)
    class Past(WarmStart):
        narrow: int = 2

        def read(self, objectives):
            USED["warm start"] = self.narrow
            yield Network({"width": self.narrow}, {"log_cosh": 0.5, "bias": 0.1, "macs": 9})

    @dataclass(frozen=True)
    class Numbers(Format):
        digits: int = 9
        file = "numbers.json"
        purpose = "for people who read numbers"

        def write(self, network, inputs, path, sizes):
            tensors = {name: np.round(t.numpy().astype(float), self.digits) for name, t in network.state_dict().items()}
            path.write_text(json.dumps({name: array.tolist() for name, array in tensors.items()}))
            return {}

        def run(self, network, path, inputs):
            tensors = {name: np.array(values) for name, values in json.loads(path.read_text()).items()}
            x = np.maximum(inputs.numpy() @ tensors["0.weight"].T + tensors["0.bias"], 0)
            return [x @ tensors["2.weight"].T + tensors["2.bias"]]

    @dataclass(frozen=True)
    class Credits(Section):
        to: str = "nobody"
        heading = "Credits <&>"

        def html(self, data):
            return f"<p>{len(data.records)} networks for {escape(self.to)}</p>"

    @dataclass
    class Notes(Tracker):
        mark: str = "-"

        def start(self, folder, name, settings):
            self.path = folder / "notes"

        def log(self, values, step):
            with self.path.open("a") as file:
                file.write("".join(f"{self.mark} {step} {name}\\n" for name in values))

        def finish(self):
            pass
"""

KINDS = {
    "tasks": "LogCosh,scale=0.5",
    "metrics": "Bias,sign=-1",
    "rules": "Thrice,times=2",
    "samplings": "Narrow,most=4",
    "distillations": "Absolute,scale=0.5",
    "optimizers": "Signs,lr=0.05",
    "schedules": "Halving,every=2",
    "importance_criteria": "Backwards,power=3",
    "strategies": "Largest,down=2",
    "stores": "Lines,mark=#",
    "executors": "Counting,most=2",
    "warm_starts": "Past,narrow=4",
    "formats": "Numbers,digits=7",
    "report_sections": "Credits,to=<you>",
    "trackers": "Notes,mark=*",
}
"""Of the module above, by the plural of the kind: what a recipe names of it."""


@pytest.mark.parametrize("by", ["module:Class", "entry point"])
def test_a_job_of_nothing_but_ones_own(by: str, install: Install, tmp_path: Path) -> None:
    if by == "module:Class":
        module = "own_beside"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(OWN))
        text = {kind: f"{module}:{each}" for kind, each in KINDS.items()}
    else:
        module = "own_installed"
        classes = {kind: each.partition(",")[0] for kind, each in KINDS.items()}
        install(module, OWN, *(f"netwright.{kind}: own_{cls} = {module}:{cls}" for kind, cls in classes.items()))
        text = {kind: f"own_{each}" for kind, each in KINDS.items()}
    recipe = {
        "model": f"{module}:supernet", "data": f"{module}:data", "task": text["tasks"], "metric": text["metrics"],
        "objectives": ["log_cosh", "bias", "macs"], "evaluations": 2, "store": text["stores"],
        "train": {"epochs": 1, "batch_size": 4, "rule": text["rules"], "optimizer": text["optimizers"],
                  "sampling": text["samplings"], "distillation": text["distillations"],
                  "schedule": text["schedules"], "importance": text["importance_criteria"]},
        "search": {"strategy": text["strategies"], "executor": text["executors"], "warm_start": text["warm_starts"]},
        "export": {"epochs": 0, "formats": ["onnx", text["formats"]]},
        "report": {"sections": ["summary"], "more": [text["report_sections"]]}, "track": [text["trackers"]],
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    out = tmp_path / "out"
    fitted = nw.fit(tmp_path / "recipe.yaml", out)
    used = sys.modules[module].USED
    assert used == {
        "task": 0.5, "metric": -1, "rule": 2, "sampling": 4, "distillation": 0.5, "optimizer": 0.05, "schedule": 2,
        "criterion": 3, "executor": 2, "warm start": 4,
    }  # fmt: skip
    assert [record.candidate["width"] for record in fitted.records] == [8, 4], "by the strategy"
    assert fitted.records[0].provenance["strategy"] == text["strategies"]
    assert {(m.name, m.unit) for m in fitted.front.objectives} == {("log_cosh", "dB"), ("bias", "dB"), ("macs", "")}
    lines = (out / "study").read_text().splitlines()
    assert sum(line.startswith("#record ") for line in lines) == 2 and not (out / "study.db").exists()
    for network in fitted.networks:
        assert {"model.onnx", "numbers.json"} <= set(network.files) and {"log_cosh", "bias"} <= set(network.test)
    assert "* 1 train/loss" in (out / "notes").read_text()
    page = fitted.report.read_text().rpartition("<main>")[2]
    assert "<h2>Credits &lt;&amp;&gt;</h2>\n<p>2 networks for &lt;you&gt;</p>" in page and "The search" not in page
    fitted.report.unlink()
    main(["report", str(out), "--trust"])
    assert "2 networks for &lt;you&gt;" in fitted.report.read_text()
    assert [json.loads(line)["candidate"] for line in printed("records", str(out), "--json", "--trust")] == [
        {"width": 8}, {"width": 4}
    ]  # fmt: skip


def test_every_kind_that_a_recipe_names_is_among_them() -> None:
    groups = {registry.group for _, registry in kinds_in(Recipe)}
    assert groups == {f"netwright.{kind}" for kind in (*KINDS, "runtimes")}


def test_help_lists_the_names_of_every_kind(install: Install) -> None:
    kinds = ("strategies", "runtimes", "rules", "report_sections", "stores")
    install("more", OWN, *(f"netwright.{kind}: my_{kind} = more:Largest" for kind in kinds))
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        main(["fit", "--help"])
    words = "".join(text.getvalue().split())  # lines are broken after hyphens too
    for _, registry in kinds_in(Recipe):
        assert not registry.names() or f"Oneof{','.join([*registry.names(), 'ormodule:Class'])}" in words
    assert all(f"my_{kind}" in words for kind in kinds)


def printed(*arguments: str) -> list[str]:
    """The lines that a command prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main(list(arguments))
    return text.getvalue().splitlines()


# -- one by one -------------------------------------------------------------------------------------------------------

MODEL = """
    import pathlib
    import netwright as nw

    def model():
        path = pathlib.Path(__file__).with_name("table.csv")
        path.write_text("width,quality\\n" + "".join(f"{w},{w % 5}\\n" for w in range(1, 9)))
        return nw.TabularBenchmark.read(path, choices=["width"], metrics={"quality": "max"})
"""
"""A table of eight networks."""


def search(folder: Path, **keys: Any) -> list[dict[str, Any]]:
    """The records of a search of the table by a recipe with these keys."""
    recipe = {"model": "models:model", "objectives": ["quality"], "evaluations": 8, **keys}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    main(["search", str(folder / "recipe.yaml"), "--out", str(folder / "out")])
    return [json.loads(line) for line in printed("records", str(folder / "out"), "--json", "--trust")]


STRATEGY = """
    from dataclasses import dataclass
    import netwright as nw

    @dataclass(frozen=True)
    class Sweep(nw.Strategy):
        batch: int = 2
        first: int = 1

        def ask(self, problem, history, n):
            known = problem.proposed(history)
            widths = [*range(self.first, 9), *range(1, self.first)]
            every = [problem.space.candidate({"width": width}) for width in widths]
            return [candidate for candidate in every if candidate not in known][:n]
"""


@pytest.mark.parametrize("name", ["sweeps:Sweep", "sweep"])
def test_a_strategy(name: str, install: Install, tmp_path: Path) -> None:
    install("models", MODEL)
    install("sweeps", STRATEGY, "netwright.strategies: sweep = sweeps:Sweep")
    found = search(tmp_path, search={"strategy": f"{name},first=6"})
    assert [record["candidate"]["width"] for record in found] == [6, 7, 8, 1, 2, 3, 4, 5]
    assert found[0]["provenance"]["strategy"] == "sweep,first=6"
    space = nw.Space([nw.Choice("width", tuple(range(1, 9)))])
    records = nw.search(space, lambda c: {"q": c["width"]}, {"q": "max"}, evaluations=2, strategy=f"{name},first=3")
    assert [record.candidate["width"] for record in records] == [3, 4]


FORMAT = """
    import json
    from dataclasses import dataclass
    from pathlib import Path
    import numpy as np
    from netwright.formats.base import Format
    from netwright.nets.state import state_of

    @dataclass(frozen=True)
    class Lines(Format):
        digits: int = 9
        file = "weights.json"
        purpose = "for people who read JSON"
        reader = Path(__file__).with_name("lines_reader.py")

        def write(self, network, inputs, path, sizes):
            tensors = {n: np.round(t.detach().numpy().astype(float), self.digits) for n, t in state_of(network).items()}
            path.write_text(json.dumps({name: array.tolist() for name, array in tensors.items()}))
            return {"digits": self.digits}
"""
READER = """
    import json
    import numpy as np

    def opened(file):
        tensors = {name: np.array(values) for name, values in json.load(open(file["path"])).items()}
        return lambda arrays: [next(iter(arrays.values())) @ tensors["weight"].T + tensors["bias"]]
"""


@pytest.mark.parametrize("name", ["lines:Lines", "lines"])
def test_a_format(name: str, install: Install, tmp_path: Path) -> None:
    install("lines", FORMAT, "netwright.formats: lines = lines:Lines")
    install("lines_reader", READER)
    parse({"model": "m:f", "data": "m:g", "export": {"formats": ["onnx", f"{name},digits=7"]}}, "my.yaml")
    network, inputs = nn.Linear(3, 2), torch.randn(1, 3)
    done = nw.export(network, tmp_path / "out", formats=[f"{name},digits=7"], example_inputs=inputs)
    assert set(done.files) == {"weights.json"} and done.differences["lines"] < 1e-5
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["written"] == {"lines": {"digits": 7}}
    with pytest.raises(NetwrightError, match=r"weights.json differs from PyTorch by"):
        nw.export(network, tmp_path / "out", formats=[f"{name},digits=1"], example_inputs=inputs)


RUNTIME = """
    from dataclasses import dataclass
    import numpy as np
    from netwright.measure.runtimes.base import Runtime, Session

    @dataclass(frozen=True)
    class Doubler(Runtime):
        factor: float = 2.0
        packages, modules = ("numpy",), ("numpy",)
        suffix, reads = ".double", (".double",)

        def convert(self, network, inputs, path, calibration=None):
            path.write_text("x")
            return {"exporter": "none"}

        def open(self, path, feeds):
            return Doubling(self.factor, next(iter(feeds.values())))

    class Doubling(Session):
        def __init__(self, factor, x):
            self.factor, self.x = factor, x

        def run(self):
            self.x * self.factor

        def outputs(self):
            return [self.x * self.factor]
"""


@pytest.mark.parametrize("name", ["doublers:Doubler", "double"])
def test_a_runtime(name: str, install: Install, tmp_path: Path) -> None:
    install("doublers", RUNTIME, "netwright.runtimes: double = doublers:Doubler")
    target = parse_target(f"{name},factor=3,threads=1")
    assert str(target) == "double,factor=3.0" and target.runtime.name == "doubler"
    (tmp_path / "x.double").write_text("x")
    latency = nw.Latency(target, SamplingPlan(precision=0.5, max_seconds=0.05, repeats=0))
    found = latency.run(tmp_path / "x.double", {"x": np.ones((1, 4), np.float32)})
    assert found["latency"].value > 0
    assert readers_of(tmp_path / "x.double") == ["double"] and readers_of(tmp_path / "x.onnx")[0] == "onnxruntime"
    assert target.described["runtime"] == "double" and target.described["factor"] == 3


CRITERION = """
    from dataclasses import dataclass
    import torch
    from netwright.nets.importance import Criterion

    @dataclass(frozen=True)
    class Last(Criterion):
        from_: int = 0

        def scores(self, net, widths):
            return [torch.arange(width.channels).double().roll(self.from_) + 1 for width in widths]
"""


@pytest.mark.parametrize("name", ["lasts:Last", "last"])
def test_an_importance_criterion(name: str, install: Install) -> None:
    install("lasts", CRITERION, "netwright.importance_criteria: last = lasts:Last")
    model, inputs = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    net = nw.SuperNet(model, [nw.Width.tie(model, "w", (2, 4), out_of=["0"], into=["2"])], inputs)
    before, rows = model(inputs), model[0].weight.detach().clone()
    worth = nw.sort_channels(net, name)
    assert torch.equal(model[0].weight, rows.flip(0)) and torch.allclose(model(inputs), before, atol=1e-6)
    assert worth.channels["w"][0].tolist() == [0.4, 0.3, 0.2, 0.1]
    nw.sort_channels(net, f"{name},from_=1")
    assert dict(nw.prune_to_budget(net, worth, f"macs <= {net.count(net.smallest).macs}")) == {"w": 2}


PRECISION = """
    from dataclasses import dataclass
    import torch
    from netwright.nets.precisions.base import Precision, straight_through

    @dataclass(frozen=True)
    class Powers(Precision):
        least: int = -15
        weights = 5

        def round_weights(self, weight):
            sizes = weight.detach().abs().clamp(min=2.0**self.least, max=1)
            return straight_through(weight, weight.sign() * torch.exp2(sizes.log2().round()))
"""


@pytest.mark.parametrize("name", ["powers:Powers", "powers_of_two"])
def test_a_precision(name: str, install: Install) -> None:
    install("powers", PRECISION, "netwright.precisions: powers_of_two = powers:Powers")
    net = nw.SuperNet(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), [], torch.randn(5, 3))
    net = net.with_axes(nw.Bits.of(net, [f"{name},least=-3", "float32"], keep=["2"]))
    weight = net.extract(net.smallest)[0].weight.abs()
    assert set(weight.flatten().tolist()) <= {0.125, 0.25, 0.5, 1.0}
    assert net.count(net.largest).weight_bytes - net.count(net.smallest).weight_bytes == 12 * 4 - (8 + 4 * 4)


METER = """
    import time
    from dataclasses import dataclass
    from netwright.measure.meters.base import Counter, Meter

    @dataclass(frozen=True)
    class Plug(Meter):
        watts: float = 5.0
        scope = "machine"

        def channels(self):
            return [Counter("plug", lambda: int(time.perf_counter() * 1e6 * self.watts), 1e-6)]
"""


TRIPLE = """
    import torch
    from torch import nn
    import netwright as nw

    class Triple(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
            for parameter in self.down.parameters():
                nn.init.zeros_(parameter)

        def forward(self, x):
            return 3 * x + self.down(self.up(x).relu())

    def supernet():
        model = Triple()
        width = nw.Width.tie(model, "width", (2, 4, 6, 8), out_of=["up"], into=["down"])
        return nw.SuperNet(model, [width], torch.zeros(1, 4))
"""
"""Computes what the runtime above does."""


def test_a_meter(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install("plugs", METER, "netwright.meters: plug = plugs:Plug")
    install("doublers", RUNTIME, "netwright.runtimes: double = doublers:Doubler")
    install("triples", TRIPLE)
    found = search(
        tmp_path, model="triples:supernet", objectives=["energy", "latency"], target="double,factor=3", evaluations=1,
        search={"strategy": "random"}, latency={"precision": 0.5, "max_seconds": 0.05},
    )  # fmt: skip
    assert [record["status"] for record in found] == ["ok"], found
    assert found[0]["measurements"]["energy"]["meter"] == "plug"
    assert found[0]["provenance"]["target"]["factor"] == 3
    found = energy(lambda: None, window_s=0.02)
    assert found.details["meter"] == "plug" and found.details["idle_w"] == pytest.approx(5, rel=0.1)
    monkeypatch.setenv("NETWRIGHT_METER", "plugs:Plug,watts=9")
    assert [type(channel).__name__ for channel in meters()] == ["Counter"] and unavailable("cuda") == ""


PREDICTOR = """
    import numpy as np
    from netwright.strategies.predict import BayesianLinear

    DOUBTS = set()

    class Doubting(BayesianLinear):
        def __init__(self, interactions=False, doubt: float = 2.0):
            super().__init__(interactions)
            self.doubt = doubt

        def predict(self, features):
            DOUBTS.add(self.doubt)
            mean, std = super().predict(features)
            return mean, std * self.doubt
"""


@pytest.mark.parametrize("name", ["doubts:Doubting", "doubting"])
def test_a_predictor(name: str, install: Install, tmp_path: Path) -> None:
    install("doubts", PREDICTOR, "netwright.predictors: doubting = doubts:Doubting")
    space = nw.Space([nw.Choice("a", (1, 2, 3, 4)), nw.Choice("b", (1, 2, 3))])
    features = Encoder(space)(list(space.enumerate()))
    values = np.array([c["a"] + 0.5 * c["b"] for c in space.enumerate()], dtype=float)
    plain, doubting = (PREDICTORS.make(each).fit(features, values) for each in ("bayesian_linear", f"{name},doubt=3"))
    np.testing.assert_allclose(doubting.predict(features)[1], 3 * plain.predict(features)[1])
    assert PREDICTORS.text(PREDICTORS.make(f"{name},doubt=3")) == "doubting,doubt=3.0"
    install("models", MODEL)
    strategy = f"guided,start=4,predictor=({name},doubt=3)"
    found = search(tmp_path, search={"strategy": strategy})
    assert len(found) == 8 and found[0]["provenance"]["strategy"] == strategy
    assert {3.0} == sys.modules["doubts"].DOUBTS


@pytest.mark.parametrize("name", sorted(set(PREDICTORS.names()) - {"transfer", "lightgbm"}))
def test_every_predictor_is_made_by_its_name(name: str) -> None:
    assert PREDICTORS.text(PREDICTORS.make(name)) == name
