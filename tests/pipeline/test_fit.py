"""The whole job from Python, and what reads its directory alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import netwright as nw
from netwright.core.errors import RecipeError
from netwright.pipeline.fit import Fitted
from netwright.pipeline.run_directory import RunDirectory

MODEL = """
import torch
from torch import nn
import netwright as nw

def supernet():
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    width = nw.Width.tie(net, "width", (2, 4, 8, 12, 16), out_of=["0"], into=["2"])
    return nw.SuperNet(net, [width], torch.zeros(1, 6))

def data():
    x = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    return nw.Data(nw.Split(x[:64], y[:64]), nw.Split(x[64:80], y[64:80]), nw.Split(x[80:], y[80:]))
"""


class Told:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.steps = self.networks = 0

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def trained(self, progress: object) -> None:
        self.steps += 1

    def finetuned(self, id_: str, progress: object) -> None:
        self.steps += 1

    def measured(self, step: object, study: object) -> None:
        self.networks += 1


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fitted, Told]:
    """A finished job with a task that is no classification: its directory, what it gave, what was told."""
    folder, told = tmp_path_factory.mktemp("job"), Told()
    (folder / "watts.py").write_text(MODEL)
    (folder / "watts.yaml").write_text(
        "model: watts:supernet\ndata: watts:data\ntask: regression,unit=W\nobjectives: [mae, macs]\nevaluations: 5\n"
        "train: {epochs: 2, batch_size: 16}\nexport: {epochs: 0, formats: [onnx]}\n"
    )
    fitted = nw.fit(folder / "watts.yaml", folder / "out", overrides={"evaluations": 4}, callback=Told())
    fitted = nw.fit(folder / "watts.yaml", folder / "out", callback=told)  # continues
    return folder / "out", fitted, told


def test_a_job_gives_what_its_directory_holds(job: tuple[Path, Fitted, Told]) -> None:
    out, fitted, told = job
    assert len(fitted.records) == 5 and fitted.report == out / "report.html"
    assert {network.id for network in fitted.networks} <= {record.id for record in fitted.front}
    assert {p.name for p in (out / "networks").iterdir()} >= {network.id for network in fitted.networks}
    assert told.networks == 1 and told.steps == 0, "four networks were measured, and the rest trained, before"
    assert told.stages[0] == "searching" and told.stages[-1] == "writing the report"


def test_roles_and_report_have_the_tasks_own_words(job: tuple[Path, Fitted, Told]) -> None:
    out, fitted, _ = job
    roles = ", ".join(network.role for network in fitted.networks)
    assert "lowest MAE" in roles and "accura" not in roles and "point" not in roles
    page = (out / "report.html").read_text().split("</script>")[-2]  # what is not plotly.js
    assert "MAE" in page and "W</" in page and "accura" not in page
    assert "MAE: given" in page and "%" not in page.partition("shared weights")[2].partition("</dd>")[0]


LIGHT = """
import sys
sys.path.insert(0, {folder!r})
from netwright.cli.main import main
main({arguments!r})
heavy = {{"torch", "sklearn", "scipy", "onnx", "onnxruntime", "pymoo", "jsonargparse", "yaml", "watts"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert not {{"nets", "tasks", "training"}} & {{name.split(".")[1] for name in sys.modules if name[:10] == "netwright."}}
"""


@pytest.mark.parametrize("verb", ["report", "front", "records", "records --json", "front --json"])
def test_a_directory_is_read_without_its_model(job: tuple[Path, Fitted, Told], verb: str) -> None:
    """Neither torch nor a person's code, nor what else takes long to import; also while another process works there."""
    out, fitted, _ = job
    name, *flags = verb.split()
    code = LIGHT.format(folder=str(out.parent), arguments=[name, str(out), *flags])
    with RunDirectory(out).locked():
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "report: " in run.stdout if name == "report" else fitted.front[0].id in run.stdout


def test_a_recipe_is_a_file_a_name_or_made_in_python(install: Callable[[str, str, str], None], tmp_path: Path) -> None:
    install("plain", MODEL, "")
    recipe = nw.Recipe(model="plain:supernet", objectives=["macs", "params"], evaluations=3)
    fitted = nw.fit(recipe, tmp_path / "out", overrides={"export.formats": ["onnx"]})
    assert RunDirectory(tmp_path / "out").read_info().name == "out" and len(fitted.records) == 3
    with pytest.raises(RecipeError, match=r"train\.importance is taylor, but there are no data.*leave the key out"):
        nw.fit(recipe, tmp_path / "other", overrides={"train.importance": "taylor"})
    with pytest.raises(RecipeError, match="did you mean 'digits'"):
        nw.fit("digit", tmp_path / "other")
    with pytest.raises(RecipeError, match=r"'evaluation'.*did you mean 'evaluations'"):
        nw.fit("digits", tmp_path / "other", overrides={"evaluation": 3})
    assert not (tmp_path / "other").exists()
