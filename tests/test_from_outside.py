"""Each kind of thing takes one from outside: a class of a person's own, or what an installed package brings."""

from __future__ import annotations

import contextlib
import io
import json
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
from netwright.recipe.load import parse
from netwright.strategies.predict import PREDICTORS, Encoder

Install = Callable[..., None]

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
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        main(["records", str(folder / "out"), "--json"])
    return [json.loads(line) for line in text.getvalue().splitlines()]


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
    assert worth["w"].tolist() == [0.4, 0.3, 0.2, 0.1]
    nw.sort_channels(net, f"{name},from_=1")
    assert dict(nw.prune_to_budget(net, worth, net.count(net.smallest).macs)) == {"w": 2}


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


def test_a_meter(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("plugs", METER, "netwright.meters: plug = plugs:Plug")
    found = energy(lambda: None, window_s=0.02)
    assert found.details["meter"] == "plug" and found.details["idle_w"] == pytest.approx(5, rel=0.1)
    monkeypatch.setenv("NETWRIGHT_METER", "plugs:Plug,watts=9")
    assert [type(channel).__name__ for channel in meters()] == ["Counter"] and unavailable("cuda") == ""


PREDICTOR = """
    import numpy as np
    from netwright.strategies.predict import BayesianLinear

    class Doubting(BayesianLinear):
        def __init__(self, interactions=False, doubt: float = 2.0):
            super().__init__(interactions)
            self.doubt = doubt

        def predict(self, features):
            mean, std = super().predict(features)
            return mean, std * self.doubt
"""


@pytest.mark.parametrize("name", ["doubts:Doubting", "doubting"])
def test_a_predictor(name: str, install: Install) -> None:
    install("doubts", PREDICTOR, "netwright.predictors: doubting = doubts:Doubting")
    space = nw.Space([nw.Choice("a", (1, 2, 3, 4)), nw.Choice("b", (1, 2, 3))])
    features = Encoder(space)(list(space.enumerate()))
    values = np.array([c["a"] + 0.5 * c["b"] for c in space.enumerate()], dtype=float)
    plain, doubting = (PREDICTORS.make(each).fit(features, values) for each in ("bayesian_linear", f"{name},doubt=3"))
    np.testing.assert_allclose(doubting.predict(features)[1], 3 * plain.predict(features)[1])
    assert PREDICTORS.text(PREDICTORS.make(f"{name},doubt=3")) == "doubting,doubt=3.0"


@pytest.mark.parametrize("name", sorted(set(PREDICTORS.names()) - {"transfer", "lightgbm"}))
def test_every_predictor_is_made_by_its_name(name: str) -> None:
    assert PREDICTORS.text(PREDICTORS.make(name)) == name
