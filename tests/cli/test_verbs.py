"""Every verb: its help, and what it prints and writes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from math import inf
from pathlib import Path

import pytest

from netwright.cli.main import VERBS

from .running import TINY, command, contents, done, finished, process, records

RECIPE_VERBS = ("fit", "train", "search")


def test_overview_names_every_verb_and_where_to_start():
    for arguments in ((), ("--help",), ("help",)):
        out = done(*arguments).out
        assert all(re.search(rf"^  {verb} +{re.escape(what)}$", out, re.M) for verb, what in VERBS.items())
        assert "netwright fit digits" in out and "--help" in out
    assert re.fullmatch(r"netwright \d+\.\d+\.\d+\n", done("--version").out)


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_plain_and_complete(verb):
    out = done(verb, "--help").out
    assert out.startswith(f"usage: netwright {verb} ")
    for word in ("typing.", "<class", "Namespace", "subcommand", "SUPPRESS", "==", "None"):
        assert word not in out, word
    # every option is explained: a line of its own text, or text beside it
    for entry in re.findall(r"^  (-\S.*(?:\n {8,}.*)*)", out, re.M):
        flags, _, text = entry.replace("\n", "  ").partition("  ")
        assert len(text.split()) >= 3, flags


def test_help_of_a_verb_by_either_name():
    assert done("help", "front").out == done("front", "--help").out


@pytest.mark.parametrize("verb", RECIPE_VERBS)
def test_help_of_a_recipe_says_what_a_newcomer_needs(verb):
    out = " ".join(done(verb, "--help").out.split())
    for word in ("digits", ".yaml", "--out", "latency <= 5 ms", "--evaluations", "--train.epochs", "--search.strategy",
                 "nsga2", "--export.formats", "safetensors", "default: 30"):  # fmt: skip
        assert word in out, word


def test_help_says_what_comes_next_and_before():
    assert "continues where it stopped" in " ".join(done("fit", "--help").out.split())
    assert "netwright search" in done("train", "--help").out and "netwright export" in done("search", "--help").out
    for verb in ("export", "report"):
        assert "netwright fit" in done(verb, "--help").out.replace("\n", " ").replace("  ", " ")
    for verb in ("records", "front"):
        assert "--json" in done(verb, "--help").out


def is_contract(record: dict) -> None:
    assert re.fullmatch("[0-9a-f]{10}", record["id"]) and record["status"] in ("ok", "infeasible", "failed")
    assert isinstance(record["candidate"], dict) and record["measurements"]
    for m in record["measurements"].values():
        assert isinstance(m["value"], int | float) and isinstance(m["unit"], str)
        assert m["spread"] >= 0 and m["n"] >= 1


def test_records_as_json(tiny):
    found = records(tiny)
    assert len(found) == len({r["id"] for r in found}) == 12
    for record in found:
        is_contract(record)
        counts = {"macs", "params", "weight_bytes", "peak_activation_bytes", "moved_bytes"}
        assert {"accuracy", *counts} == set(record["measurements"])
        assert record["measurements"]["accuracy"]["unit"] == "%"
        assert record["provenance"]["strategy"] == "guided" and record["provenance"]["seed"] == 0
    assert records(tiny / "study.db") == found


def test_records_as_a_table(tiny):
    out = done("records", tiny).out
    assert all(record["id"] in out for record in records(tiny))
    assert "accuracy" in out and "macs" in out


def test_front_as_json(tiny):
    front = json.loads(done("front", tiny, "--json").out)
    assert front == json.loads((tiny / "front.json").read_text())
    known = {r["id"]: r for r in records(tiny)}
    assert len(front) >= 2
    for record in front:
        is_contract(record)
        assert record == known[record["id"]]
    accuracies = [r["measurements"]["accuracy"]["value"] for r in front]
    assert accuracies == sorted(accuracies, reverse=True)


@pytest.mark.parametrize("columns", [None, "80"])
def test_front_as_a_table_can_be_read(tiny, monkeypatch, columns):
    """Ids are what a person types next, and the objectives are what the person asked for."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    out = done("front", tiny).out
    assert "accuracy ↑" in out and "MACs ↓" in out and "most accurate" in out
    for record in json.loads((tiny / "front.json").read_text()):
        assert record["id"] in out
        assert f"{record['measurements']['accuracy']['value']:.2f}" in out


def test_fit_tells_where_everything_is(tiny):
    told = done("fit", TINY, "--out", tiny)
    named = re.findall(r"^exported: (\S+) \((.+)\)$", told.out, re.M)
    assert named and all((Path(path) / "model.onnx").is_file() for path, _ in named)
    assert any("most accurate" in role for _, role in named)
    assert re.search(r"^report: +\S+report\.html$", told.out, re.M)


def test_standard_error_is_quiet_without_a_terminal(tmp_path, monkeypatch):
    """One line for each stage and its outcome: no bars, no empty lines; however long a stage takes here."""
    monkeypatch.setattr("netwright.cli.display.LINE_S", inf)
    for verb, stage in (("train", "training"), ("search", "searching")):
        told = done(verb, TINY, "--out", tmp_path, "--evaluations", 3)
        assert "━" not in told.err
        assert [line.split(":")[0] for line in told.err.splitlines()] == [stage, stage]


def test_train_search_export_report_in_turn_are_fit(tmp_path, tiny):
    out = tmp_path / "steps"
    assert f"trained: {out / 'supernet'}" in done("train", TINY, "--out", out).out
    done("search", TINY, "--out", out)
    assert not (out / "networks").exists()
    assert "exported: " in done("export", out).out
    done("report", out)
    there, here = contents(tiny), contents(out)
    assert there.keys() == here.keys()
    for name in ("supernet/weights.safetensors", "test.npz"):
        assert there[name] == here[name], name


def test_export_of_a_named_network(copy):
    """The README of a network stands on test.npz, whoever asked for the network."""
    out = copy
    shutil.rmtree(out / "networks")
    (out / "test.npz").unlink()
    chosen = records(out)[2]["id"]
    told = done("export", out, "--network", chosen[:6])
    assert told.out == f"exported: {out / 'networks' / chosen}\n"
    manifest = json.loads((out / "networks" / chosen / "manifest.json").read_text())
    assert manifest["id"] == chosen and (out / "test.npz").is_file()


def test_an_exported_network_has_the_role_that_it_has_now(tmp_path):
    """A longer search may pick other networks, and the same network as something else."""
    for evaluations in (3, 6):
        fitted = done("fit", TINY, "--out", tmp_path, "--evaluations", evaluations)
        picked = {Path(p).name: role for p, role in re.findall(r"^exported: (\S+) \((.+)\)$", fitted.out, re.M)}
        about = {p: json.loads(p.read_text()) for p in tmp_path.glob("networks/*/manifest.json")}
        told = {path.parent.name: found["role"] for path, found in about.items()}
        assert picked.items() <= told.items()
        for id_, role in told.items():
            assert (tmp_path / "networks" / id_ / "README.md").read_text().startswith(f"# Network {id_}: {role}\n")
        # The role is that among the files: the most accurate of them is the one that is called so.
        accuracies = {path.parent.name: found["validation"]["accuracy"]["value"] for path, found in about.items()}
        (best,) = [id_ for id_, role in told.items() if role.startswith("most accurate")]
        assert accuracies[best] == max(accuracies.values())
        for path, found in about.items():  # as if others had been exported then
            path.write_text(json.dumps({**found, "role": "most accurate"}))


def test_report_is_written_anew(copy):
    (copy / "report.html").unlink()
    assert done("report", copy).out == f"report: {copy / 'report.html'}\n"
    assert "<html" in (copy / "report.html").read_text()[:500]


def test_flags_stand_above_the_file(recipe, tmp_path):
    out = tmp_path / "out"
    done("train", recipe(), "--out", out, "--train.epochs", 0, "--objectives", "macs,accuracy", "--seed=3")
    kept = json.loads((out / "recipe.json").read_text())["recipe"]
    assert kept["train"]["epochs"] == 0 and kept["objectives"] == ["macs", "accuracy"] and kept["seed"] == 3
    assert kept["train"]["batch_size"] == 64


def test_the_directory_is_named_after_the_recipe(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done("train", recipe().rename("mine.yaml"))
    assert (tmp_path / "runs" / "mine" / "supernet" / "manifest.json").is_file()


def test_a_recipe_of_no_name_is_called_like_its_folder(recipe, tmp_path, monkeypatch):
    """``recipe.yaml`` is what many recipes are called; they do not share a directory."""
    monkeypatch.chdir(tmp_path)
    done("train", recipe())
    assert (tmp_path / "runs" / tmp_path.name / "supernet" / "manifest.json").is_file()


def test_the_recipes_own_module_is_found_before_one_in_the_working_directory(tmp_path):
    for place, epochs in (("there", "own"), ("here", "other")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mine_too.py").write_text(
            f"from tiny import data, supernet as _s\n\ndef supernet():\n    print('{epochs} module')\n    return _s()\n"
        )
    (tmp_path / "there" / "my.yaml").write_text("model: mine_too:supernet\ndata: tiny:data\ntrain: {epochs: 0}\n")
    script = Path(sys.executable).with_name("netwright")
    told = finished(process("train", "../there/my.yaml", "--out", "out", via=(script,), cwd=tmp_path / "here"))
    assert told.code == 0, told.err
    assert "own module" in told.out


def test_a_pipe_that_closes_is_no_error(tiny):
    running = process("records", tiny, "--json")
    running.stdout.close()
    assert running.wait(timeout=60) == 0
    assert "Traceback" not in running.stderr.read()
    running.stderr.close()


def test_interrupted_says_how_to_go_on(recipe, tmp_path):
    import mistakes

    mistakes.stop_in_step = 5
    told = command("train", recipe(data="mistakes:interrupted", train={"epochs": 3}), "--out", tmp_path / "out")
    assert told.code == 130 and "the same command continues" in told.lines[-1] and "Traceback" not in told.err
