"""Super-networks made elsewhere and tables of measured networks, searched by the ordinary commands."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cli.running import command, contents, done, records

import netwright as nw
from netwright.core.enumerated import EnumeratedSpace
from netwright.core.errors import NetwrightError, SpaceError
from netwright.formats.bundle import run_onnx

FOREIGN = Path(__file__).parents[2] / "examples" / "foreign"
STRATEGIES = (nw.Random(), nw.Nsga2(batch=4, population=8), nw.Guided(start=8, population=20, generations=2))
METRICS = {"top1": "max", "macs": "min"}
LINES = ["d,k,w1,w2,top1,macs,note", "2,370,8,,71.5,120,a", "3,577,16,0.5,75.25,300,b", "3,355,8,1,,210,c"]

each_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)


@pytest.fixture
def written(tmp_path) -> Callable[[list[str]], Path]:
    """Writes a table."""

    def write(lines: list[str]) -> Path:
        path = tmp_path / "measured.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


# -- tables: what is read


def test_a_table_is_its_rows(written):
    table = nw.TabularBenchmark.read(written(LINES), choices=["d", "w*"], metrics=METRICS)
    assert [c.name for c in table.space] == ["d", "w1", "w2"]
    assert table.space["w1"].options == (8, 16) and table.space["w2"].options == (0.5, 1.0)
    rows = list(table.space.enumerate())
    assert [dict(r) for r in rows] == [{"d": 2, "w1": 8}, {"d": 3, "w1": 16, "w2": 0.5}, {"d": 3, "w1": 8, "w2": 1.0}]
    assert [table.lookup(r) for r in rows] == [{"top1": 71.5, "macs": 120}, {"top1": 75.25, "macs": 300}, {"macs": 210}]
    assert table.space.size == 3 and table.space.smallest == rows[0] and table.space.largest in rows[1:]
    assert table.space.conditions("w2") == ({"d": (3,)},)
    with pytest.raises(SpaceError, match="none of the 3 listed"):
        table.space.candidate({"d": 3, "w1": 16, "w2": 1.0})
    with pytest.raises(NetwrightError, match="no networks"):
        table.extract(rows[0])


def test_one_digit_per_choice(written):
    table = nw.TabularBenchmark.read(written(LINES), choices=["d"], digits=["k"], absent="0", metrics=METRICS)
    assert [dict(r) for r in table.space.enumerate()] == [
        {"d": 2, "k.0": 3, "k.1": 7}, {"d": 3, "k.0": 5, "k.1": 7, "k.2": 7}, {"d": 3, "k.0": 3, "k.1": 5, "k.2": 5},
    ]  # fmt: skip
    assert table.space["k.2"].when == {"d": (3,)}


@pytest.mark.parametrize(
    "cells, options",
    [
        (["2", "10"], (2, 10)),
        (["2", "0.5"], (0.5, 2.0)),
        (["1e-3", "2"], (0.001, 2.0)),
        (["07", "7"], ("07", "7")),
        (["relu", "3"], ("3", "relu")),
        (["nan", "1"], ("1", "nan")),
    ],
)
def test_kinds_of_options(written, cells, options):
    path = written(["c,q", *(f"{cell},1" for cell in cells)])
    table = nw.TabularBenchmark.read(path, choices=["c"], metrics={"q": "max"})
    assert table.space["c"].options == options
    assert [type(o) for o in table.space["c"].options] == [type(o) for o in options]


def test_the_order_of_rows_and_other_columns_do_not_matter(written):
    first = nw.TabularBenchmark.read(written(LINES), choices=["d", "w*"], metrics=METRICS)
    second = nw.TabularBenchmark.read(written([LINES[0], *LINES[:0:-1]]), choices=["d", "w*"], metrics=METRICS)
    other = nw.TabularBenchmark.read(written([*LINES[:2], LINES[2].replace("75.25", "75.5"), LINES[3]]),
                          choices=["d", "w*"], metrics=METRICS)  # fmt: skip
    assert first.space.fingerprint == second.space.fingerprint == other.space.fingerprint
    assert first.fingerprint == second.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "lines, settings, words",
    [
        (LINES, {"choices": ["e"]}, ["no column 'e'", "known are"]),
        (LINES, {"choices": ["widht"]}, ["no column 'widht'"]),
        (LINES, {"choices": ["v*"]}, ["no column 'v*'"]),
        (LINES, {"choices": ["d"], "metrics": {"top2": "max"}}, ["no column 'top2'", "did you mean 'top1'"]),
        (LINES, {"choices": ["d", "macs"]}, ["'macs'", "twice"]),
        (LINES, {"choices": ["d", "k"], "digits": ["k"]}, ["'k'", "twice"]),
        (LINES, {"choices": []}, ["choices=[...]"]),
        (LINES, {"choices": "d"}, ["['d']"]),
        (LINES, {"choices": ["d"]}, ["line 4", "line 3", "same network"]),
        ([*LINES, LINES[1]], {"choices": ["d", "w*"]}, ["line 5", "line 2", "same network"]),
        (["d,q", "1,good"], {"metrics": {"q": "max"}}, ["line 2", "column 'q'", "'good'", "not a number"]),
        (["d,q", "1,inf"], {"metrics": {"q": "max"}}, ["line 2", "column 'q'", "'inf'"]),
        (["d,q", "1,2", ",2"], {"metrics": {"q": "max"}}, ["line 3", "column 'd'", "no choice before it"]),
        (["d,q", "1,"], {"metrics": [nw.Metric("q", exact=True)]}, ["line 2", "column 'q'", "exact"]),
        (["d,q", "1,2"], {"digits": ["d"], "choices": [], "absent": "1", "metrics": {"q": "max"}}, ["no row"]),
        (["d,q", "35,2", "5,2"], {"digits": ["d"], "choices": [], "metrics": {"q": "max"}},
         ["line 3", "column 'd'", "'5'", "2 digits"]),
        (["d,q", "3a,2"], {"digits": ["d"], "choices": [], "metrics": {"q": "max"}}, ["line 2", "'3a'"]),
        (["d,q", "1,2,3"], {"metrics": {"q": "max"}}, ["line 2", "3 cells", "2"]),
        (["d,q", "1"], {"metrics": {"q": "max"}}, ["line 2", "1 cells"]),
        (["d,d", "1,2"], {"metrics": {"q": "max"}}, ["line 1", "'d'"]),
        (["d,", "1,2"], {"metrics": {"q": "max"}}, ["line 1", "no name"]),
        (["d,q"], {"metrics": {"q": "max"}}, ["no rows"]),
        ([""], {}, ["empty", "header"]),
        (["d,q", "1,2"], {"metrics": {}}, ["no objectives"]),
        (["d,q", "1,2"], {"metrics": {"q": "up"}}, ["'max' or 'min'"]),
        (["d,q", "1,2"], {"metrics": ["q"]}, ["nw.Metric", "'q'"]),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(written, lines, settings, words):
    with pytest.raises(NetwrightError) as caught:
        nw.TabularBenchmark.read(written(lines), **{"choices": ["d"], "metrics": METRICS, **settings})
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'a,b\n"1,2\n', None])
def test_files_that_are_no_table(tmp_path, content):
    path = tmp_path / "measured.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NetwrightError, match=r"measured\.csv"):
        nw.TabularBenchmark.read(path, choices=["a"], metrics={"b": "max"})


# -- tables: how they are searched


def made(rows: int, choices: int = 10, seed: int = 0) -> EnumeratedSpace:
    """Some of the networks with so many choices of three options."""
    space = nw.Space([nw.Choice(f"c{i}", (1, 2, 3)) for i in range(choices)])
    rng = np.random.default_rng(seed)
    found: dict[nw.Candidate, None] = {}
    while len(found) < rows:
        found[space.sample(rng)] = None
    return EnumeratedSpace(space.choices, found)


def figures(candidate: nw.Candidate) -> dict[str, float]:
    levels = np.array(list(candidate.values()), dtype=float)
    return {"q": float(np.log(levels) @ np.arange(len(levels))), "cost": float(levels.sum())}


@each_strategy
@pytest.mark.parametrize("limits", [[], ["cost <= 19"]])
def test_only_rows_are_proposed_each_once_until_none_is_left(strategy, limits):
    space = made(60)
    found = nw.search(
        space, lambda c: {"q": figures(c)["q"]}, {"q": "max", "cost": "min"}, evaluations=500, strategy=strategy,
        exact=lambda c: {"cost": figures(c)["cost"]}, limits=limits,
    )  # fmt: skip
    allowed = {c for c in space.enumerate() if not limits or figures(c)["cost"] <= 19}
    assert 10 < len(allowed) <= 60
    assert len(found) == len(allowed) and {r.candidate for r in found} == allowed


def test_what_stands_for_a_candidate_that_is_not_listed():
    space = made(200)
    rng = np.random.default_rng(1)
    rows = list(space.enumerate())
    assert space.nearest(rows[7], rows[:50], rng) == rows[7]
    for _ in range(20):
        built = space.build(lambda choice: choice.options[int(rng.integers(3))])
        nearest = space.nearest(built, rows[:100], rng)
        assert nearest == built or nearest in rows[100:]
        apart = [sum(abs(r[n] - built[n]) for n in built) for r in rows[100:]]  # type: ignore[operator]
        assert nearest == built or sum(abs(nearest[n] - built[n]) for n in built) == min(apart)  # type: ignore[operator]


def test_guided_search_learns_from_the_columns():
    """It finds the best of 600 rows in 45 evaluations; chance would do so one time in thirteen."""
    space = made(600, 12)
    best = max(space.enumerate(), key=lambda c: figures(c)["q"])
    guided = nw.Guided(population=20, generations=3)
    hits = [
        best in {r.candidate for r in nw.search(space, figures, {"q": "max"}, evaluations=45, seed=s, strategy=guided)}
        for s in range(3)
    ]
    assert sum(hits) >= 2


def test_a_figure_that_is_not_known_is_absent(written):
    table = nw.TabularBenchmark.read(written(LINES), choices=["d", "w*"], metrics=METRICS)
    found = nw.search(table.space, table.lookup, METRICS, strategy=nw.Random())
    (unknown,) = [r for r in found if r.status != "ok"]
    assert (
        unknown.status == "failed" and "'top1' was not measured" in unknown.reason and unknown.values == {"macs": 210}
    )


# -- tables: the commands


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Iterator[Callable[..., Path]]:
    """Writes a module of a person's and a recipe for its ``model``."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: list[str] = []

    def write(code: str, **keys: object) -> Path:
        name = f"persons_{tmp_path.name}".replace("-", "_")
        names.append(name)
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(PREAMBLE + code)
        path = tmp_path / "recipe.yaml"
        keys = {"model": f"{name}:model", "evaluations": 4, "export": {"epochs": 0, "formats": ["onnx"]}, **keys}
        path.write_text(yaml.safe_dump({k: v for k, v in keys.items() if v is not None}))
        importlib.invalidate_caches()
        return path

    yield write
    for name in names:
        sys.modules.pop(name, None)


PREAMBLE = """
import torch
from torch import nn
import netwright as nw
from netwright.core.metric import Measurement

class Mine:
    space = nw.Space([nw.Choice("width", (2, 4, 6, 8)), nw.Choice("bias", (False, True))])
    example_inputs = torch.zeros(1, 6)
    whole = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))

    def extract(self, candidate):
        width = candidate["width"]
        first, last = nn.Linear(6, width), nn.Linear(width, 4, bias=candidate["bias"])
        first.weight.data, first.bias.data = self.whole[0].weight.data[:width], self.whole[0].bias.data[:width]
        last.weight.data = self.whole[2].weight.data[:, :width]
        if candidate["bias"]:
            last.bias.data = self.whole[2].bias.data
        return nn.Sequential(first, nn.ReLU(), last)

def model():
    return Mine()
"""


def test_the_example_of_a_table(tmp_path):
    out = tmp_path / "out"
    told = done("fit", FOREIGN / "table.yaml", "--out", out, "--evaluations", 20)
    assert "not training" in told.err and "not exporting" in told.err and "report:" in told.out
    assert {p.name for p in out.iterdir()} == {".lock", "study.db", "front.json", "report.html", "recipe.json"}
    table = nw.TabularBenchmark.read(FOREIGN / "measured.csv", digits=["d", "ks", "e"], absent="0", metrics=METRICS)
    found = records(out)
    assert len({r["id"] for r in found}) == 20
    for record in found:
        values = {name: m["value"] for name, m in record["measurements"].items()}
        assert table.lookup(table.space.candidate(record["candidate"])).items() <= values.items()
        assert values.keys() == {"top1", "macs", "params"} and record["measurements"]["top1"]["unit"] == "%"
    assert len(json.loads((out / "front.json").read_text())) > 3
    said = command("export", out).mistake
    assert "table" in said and "no networks" in said
    assert "gives a table" in done("train", FOREIGN / "table.yaml", "--out", out).err
    done("report", out)
    assert "76." in done("search", FOREIGN / "table.yaml", "--out", out, "--evaluations", 50,
                         "--limit", "top1 >= 76 %").out  # fmt: skip
    said = command("search", FOREIGN / "table.yaml", "--out", out, "--objectives", "top2,macs").mistake
    assert "objectives" in said and "did you mean 'top1'" in said
    said = command("fit", FOREIGN / "table.yaml", "--out", out, "--train.epochs", 3).mistake
    assert "train.epochs is 3" in said and "table" in said


def test_a_table_with_other_figures_is_another_study(recipe, tmp_path):
    for i, value in enumerate((5, 6)):
        code = (
            "def model():\n    import pathlib\n    path = pathlib.Path(__file__).with_name('t.csv')\n"
            f"    path.write_text('w,latency\\n1,{value}\\n2,8\\n')\n"
            "    return nw.TabularBenchmark.read(path, choices=['w'], metrics={'latency': 'min'})\n"
        )
        told = command("search", recipe(code, objectives=["latency"]), "--out", tmp_path / "out")
        if i == 0:
            assert told.code == 0 and "target" not in records(tmp_path / "out")[0]["provenance"]
        else:
            assert "another study" in told.mistake and "fingerprint" in told.mistake
    said = command("search", recipe(code, objectives=["latency"], data="tiny:data"), "--out", tmp_path / "out").mistake
    assert "'data' is of no use" in said and "gives a table" in said


# -- super-networks made elsewhere


def test_space_and_extract_are_enough(recipe, tmp_path):
    code = """
class Least:
    space = Mine.space

    def extract(self, candidate):
        if candidate["width"] == 4:
            raise ValueError("no network of\\nfour")
        return nn.Sequential(nn.Flatten(), *Mine().extract(candidate))

def model():
    return Least()
"""
    keys = {"data": "tiny:data", "objectives": ["accuracy", "params"], "evaluations": 8}
    out = tmp_path / "out"
    told = done("fit", recipe(code, **keys), "--out", out)
    assert not (out / "supernet").exists() and "made elsewhere" in told.err and (out / "test.npz").is_file()
    found = records(out)
    failed = [r for r in found if r["status"] == "failed"]
    assert len(found) == 8 and len(failed) == 2
    for record in found:
        width, bias = record["candidate"]["width"], record["candidate"]["bias"]
        if width == 4:
            assert record in failed and "extract() of persons" in record["reason"]
            assert "ValueError: no network of four" in record["reason"]
        else:
            assert record["measurements"]["params"]["value"] == 7 * width + 4 * width + 4 * bias
            assert record["measurements"]["macs"]["value"] == 10 * width
    assert list(out.glob("networks/*/model.onnx"))
    told = done("train", recipe(code, **keys), "--out", out)
    assert "nothing was trained; 'netwright search' is next" in told.out and "made elsewhere" in told.err
    assert "exported" in done("export", out, "--network", found[0]["id"]).out


def test_without_data(recipe, tmp_path):
    """Latency and counts are measured, networks exported as they are."""
    out = tmp_path / "out"
    path = recipe("", objectives=["latency", "macs"], limits=["params <= 60"])
    done("fit", path, "--out", out, "--evaluations", 8)
    found = records(out)
    assert {r["status"] for r in found} == {"ok", "infeasible"} and len(found) == 8
    assert not (out / "test.npz").exists()
    for manifest in out.glob("networks/*/manifest.json"):
        about = json.loads(manifest.read_text())
        assert about["validation"] == {} and about["test"].keys() == {"latency", "file_bytes", "throughput", "memory"}
        assert about["inputs"] == {"shape": [6], "dtype": "float32"}
        module = sys.modules[yaml.safe_load(path.read_text())["model"].split(":")[0]]
        inputs = torch.randn(5, 6)
        expected = module.Mine().extract(about["candidate"])(inputs).detach().numpy()
        assert np.allclose(run_onnx(manifest.parent / "model.onnx", inputs), expected, atol=1e-5)
        snippet = (manifest.parent / "README.md").read_text().split("```python\n")[1].split("```")[0]
        run = subprocess.run([sys.executable, "-c", snippet], cwd=manifest.parent, capture_output=True, text=True)
        assert run.stdout == "output: (1, 4)\n", run.stderr
        break
    else:
        raise AssertionError("nothing was exported")
    done("report", out)


def test_nothing_that_is_done_to_a_network_reaches_the_object(recipe, tmp_path):
    """Its networks share their tensors with it; fine-tuning changes only copies."""
    path = recipe("", data="tiny:data", objectives=["accuracy", "params"], export={"epochs": 2, "formats": ["onnx"]})
    name = yaml.safe_load(path.read_text())["model"].split(":")[0]
    done("search", path, "--out", tmp_path / "out")
    before = {k: v.clone() for k, v in sys.modules[name].Mine.whole.state_dict().items()}
    done("fit", path, "--out", tmp_path / "out")
    assert any(
        json.loads(p.read_text())["finetuning"].keys() == {"kept", "before", "after"}
        for p in (tmp_path / "out").glob("networks/*/manifest.json")
    )
    assert all(torch.equal(v, before[k]) for k, v in sys.modules[name].Mine.whole.state_dict().items())


def test_metrics_and_a_fingerprint_of_its_own(recipe, tmp_path):
    code = """
class Softness(nw.Measurer):
    metrics = (nw.Metric("softness", "", "max"), nw.Metric("params"))

    def measure(self, context):
        return {"softness": Measurement(1 / context.candidate["width"]), "params": Measurement(5)}

def model():
    net = Mine()
    net.measurers, net.fingerprint = [Softness()], "first"
    return net
"""
    out = tmp_path / "out"
    done("search", recipe(code, objectives=["softness", "latency"]), "--out", out)
    for record in records(out):
        assert record["measurements"]["softness"]["value"] == 1 / record["candidate"]["width"]
        assert record["measurements"]["params"]["value"] == 5
    before = contents(out)
    said = command("search", recipe(code.replace("first", "second"), objectives=["softness", "latency"]), "--out", out)
    assert "another study" in said.mistake and "its fingerprint is first" in said.mistake
    assert contents(out) == before


def test_a_supernet_of_ours_without_data(recipe, tmp_path):
    """It keeps its weights: nothing can be trained, but all that is not accuracy can be searched."""
    out = tmp_path / "out"
    code = "import tiny\n\ndef model():\n    return tiny.supernet()\n"
    told = done("fit", recipe(code, objectives=["macs", "params"]), "--out", out)
    assert "not training" in told.err and not (out / "supernet").exists() and "UserWarning" not in told.err
    assert len(records(out)) == 4 and list(out.glob("networks/*/model.onnx"))
    said = command("fit", recipe(code, objectives=["macs"], train={"epochs": 2}), "--out", tmp_path / "other").mistake
    assert "train.epochs is 2" in said and "no data" in said


@pytest.mark.parametrize(
    "code, keys, words",
    [
        ("def model():\n    return 3", {},
         ["netwright.SuperNet", "netwright.TabularBenchmark", "extract(candidate)", "gave a int"]),
        ("def model():\n    m = Mine()\n    m.extract = 3\n    return m", {}, ["extract(candidate)", "gave a Mine"]),
        ("def model():\n    m = Mine()\n    m.space = [1, 2]\n    return m", {}, ["netwright.Space", "not a list"]),
        ("class Bad(Mine):\n    @property\n    def space(self):\n        raise OSError('gone')\n\ndef model():\n"
         "    return Bad()", {}, ["the space of persons", "OSError: gone"]),
        ("def model():\n    m = Mine()\n    m.extract = lambda c: 'net'\n    return m", {},
         ["torch.nn.Module", "not a str"]),
        ("def model():\n    m = Mine()\n    m.extract = lambda: 'net'\n    return m", {},
         ["extract() of", "raised TypeError"]),
        ("def model():\n    m = Mine()\n    net = nn.Linear(6, 4)\n    net.slice = net.weight[:2]\n"
         "    m.extract = lambda c: net\n    return m", {}, ["cannot be copied", "detached"]),
        ("def model():\n    m = Mine()\n    m.example_inputs = torch.zeros(1, 7)\n    return m", {},
         ["raises on its example inputs", "7"]),
        ("def model():\n    m = Mine()\n    m.example_inputs = None\n    return m", {},
         ["gives no example_inputs", "no data"]),
        ("def model():\n    m = Mine()\n    m.measurers = [3]\n    return m", {}, ["netwright.Measurer", "not int"]),
        ("", {"objectives": ["latency", "speed"]}, ["objectives", "'speed'", "'latency'", "'macs'"]),
        ("", {"objectives": ["latencies"]}, ["objectives", "'latencies'", "did you mean 'latency'"]),
        ("", {"objectives": ["accuracy", "latency"]}, ["'data' is missing", "accuracy"]),
        ("", {"objectives": None}, ["'data' is missing", "accuracy"]),
        ("", {"limits": ["accuracy >= 90 %"]}, ["'data' is missing"]),
        ("", {"limits": ["speed >= 90 %"]}, ["'speed", "unknown metric"]),
        ("", {"train": {"epochs": 5}}, ["train.epochs is 5", "made elsewhere", "leave the key out"]),
        ("def model():\n    m = Mine()\n    m.extract = lambda c: nn.Linear(7, 4)\n    return m", {"data": "tiny:data"},
         ["cannot take the data of tiny:data", "shape (6,)"]),
        ("def model():\n    m = Mine()\n    m.extract = lambda c: nn.Linear(6, 3)\n    return m", {"data": "tiny:data"},
         ["scores of shape (2, 3)", "labels go up to 3"]),
        ("", {"data": "tiny:supernet"}, ["must give a netwright.Data"]),
    ],
)  # fmt: skip
def test_mistakes(recipe, tmp_path, code, keys, words):
    path = recipe(code, **{"objectives": ["latency"], **keys})
    said = command("fit", path, "--out", tmp_path / "out").mistake
    assert all(word in said for word in words), said
    assert not (tmp_path / "out" / "report.html").exists()


# -- the other examples


def test_the_example_of_an_own_class(tmp_path):
    out = tmp_path / "out"
    done("fit", FOREIGN / "own_class.yaml", "--out", out, "--evaluations", 5, "--export.epochs", 0,
         "--objectives", "accuracy,macs", "--export.formats", "onnx")  # fmt: skip
    found = records(out)
    assert max(r["measurements"]["accuracy"]["value"] for r in found) > 85
    for record in found:
        first, second = record["candidate"]["first"], record["candidate"]["second"]
        assert record["measurements"]["macs"]["value"] == 64 * first + first * second + 10 * second
    assert list(out.glob("networks/*/model.onnx"))


def code_lines(path: Path) -> int:
    """Without blank lines, comments and docstrings."""
    tree = ast.parse(path.read_text())
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    told = {line for n in texts for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)}
    lines = path.read_text().splitlines()
    return sum(i not in told and bool(x.strip()) and not x.strip().startswith("#") for i, x in enumerate(lines, 1))


def test_an_object_of_the_ofa_package_is_adapted_in_under_25_lines():
    assert code_lines(FOREIGN / "ofa_net.py") < 25


@pytest.fixture
def ofa(monkeypatch):
    """The example's module, where the package can be imported."""
    for package in ("ofa", "torchvision"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    monkeypatch.syspath_prepend(str(FOREIGN))
    import ofa_net

    return ofa_net


def test_an_extracted_network_of_the_ofa_package_is_its_own(ofa):
    torch.manual_seed(0)
    net = ofa.Ofa(ofa.supernet().net, size=64)
    assert net.space.size == (9**2 + 9**3 + 9**4) ** 5
    candidate = net.space.sample(np.random.default_rng(0))
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        own = net.extract(candidate).eval()(inputs)
        layers = [4 * s + i for s in range(5) for i in range(int(candidate[f"d.{s}"]))]
        for i in layers:
            block = net.net.blocks[i + 1].conv
            assert (block.active_kernel_size, block.active_expand_ratio) == (candidate[f"ks.{i}"], candidate[f"e.{i}"])
        assert torch.allclose(net.net.eval()(inputs), own, atol=1e-5)


def test_the_example_of_the_ofa_package(ofa, tmp_path):
    """Its smallest network has the counts that are known of it."""
    out = tmp_path / "out"
    done("search", FOREIGN / "ofa.yaml", "--out", out, "--evaluations", 1, "--latency.max_seconds", 0.2)
    (record,) = records(out)
    values = {name: m["value"] for name, m in record["measurements"].items()}
    assert values["macs"] == 121_278_672 and values["params"] == 3_410_792 and values["latency"] > 0
