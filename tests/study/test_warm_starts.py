"""A search starts from what others have measured: other studies, files of records, DyNAS-T, Optuna."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright as nw
from netwright.core.errors import MissingExtra, StoreError
from netwright.nets.families.ofa_settings import from_ofa, is_ofa, to_ofa
from netwright.strategies.base import Problem, initial_candidates
from netwright.study.warm_starts.base import candidate_of

SPACE = nw.Space(
    [
        nw.Choice("depth", (1, 2, 3)),
        nw.Choice("b1.kernel", (3, 5, 7)),
        nw.Choice("b2.kernel", (3, 5, 7), when={"depth": (2, 3)}),
        nw.Choice("b3.kernel", (3, 5, 7), when={"depth": (3,)}),
        nw.Choice("pair", ((1, 2), (3, 4))),
        nw.Choice("mode", ("x", 2, 1.5, True)),
    ]
)
OBJECTIVES = (nw.Metric("accuracy", "%", "max"), nw.Metric("macs", exact=True))


def searched(store: Path, evaluations: int = 12) -> list[nw.Record]:
    def value(c: nw.Candidate) -> dict[str, float]:
        return {"accuracy": 50.0 + c["depth"] * c["b1.kernel"], "macs": c["depth"] * 10.0 + c["b1.kernel"]}

    return nw.search(
        SPACE, value, {"accuracy": "max", "macs": "min"}, strategy="random", evaluations=evaluations, store=store
    )


@pytest.mark.parametrize("ending", ["db", "jsonl", "csv", "parquet", ""])
def test_records_come_back_from_a_study_and_from_each_kind_of_file(ending: str, tmp_path: Path) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    records = searched(tmp_path / "study.db")
    path = tmp_path / f"study.{ending}" if ending else tmp_path
    if ending not in ("db", ""):
        nw.write_records(records, path)
    found = nw.read_warm_start(str(path), SPACE, OBJECTIVES)
    assert [r.candidate for r in found] == [r.candidate for r in records]
    assert [r.values for r in found] == [r.values for r in records]
    assert {type(o) for r in found for o in r.candidate.values()} >= {int, tuple}
    assert nw.read_warm_start(f"records,path={path}", SPACE, OBJECTIVES) == [
        nw.Record(r.candidate, r.measurements, objectives=OBJECTIVES, provenance={"warm_start": f"records,path={path}"})
        for r in found
    ]


def test_the_best_of_them_are_measured_first_and_here(tmp_path: Path) -> None:
    past = searched(tmp_path / "study.db")
    nw.write_records(past, tmp_path / "past.csv")
    warm = nw.read_warm_start(str(tmp_path / "past.csv"), SPACE)
    mine = nw.search(
        SPACE,
        lambda c: {"accuracy": 1.0, "macs": 1.0},
        {"accuracy": "max", "macs": "min"},
        evaluations=10,
        strategy="random",
        warm_start=warm,
    )
    best = {r.candidate for r in nw.front(past)}
    ends = {SPACE.smallest, SPACE.largest}
    first = [r.candidate for r in mine[:8] if r.candidate not in ends][: len(best - ends)]
    assert len(first) >= 3 and {*first} <= best
    assert all(r.values == {"accuracy": 1.0, "macs": 1.0} for r in mine), "their figures are of another machine"


def test_objectives_that_nobody_has_measured_there_are_no_reason_to_begin_without_them() -> None:
    """Accuracy is known, MACs are computed, and latency is measured here alone."""
    candidates = [SPACE.sample(np.random.default_rng(i)) for i in range(30)]
    warm = tuple(
        nw.Record(c, {"accuracy": nw.Measurement(float(c["b1.kernel"]))}) for c in dict.fromkeys(candidates)
    )  # fmt: skip
    exact = lambda several: {"macs": np.array([10.0 * c["depth"] for c in several])}  # noqa: E731
    problem = Problem(SPACE, (*OBJECTIVES, nw.Metric("latency", "ms")), exact=exact, warm_start=warm)
    first = initial_candidates(problem, [], 20)[2:]
    assert first
    for each in first:
        better = [o for o in candidates if o["b1.kernel"] >= each["b1.kernel"] and o["depth"] <= each["depth"]]
        assert all((o["b1.kernel"], o["depth"]) == (each["b1.kernel"], each["depth"]) for o in better)
    assert not initial_candidates(Problem(SPACE, (nw.Metric("latency"),), warm_start=warm), [], 20)[2:]


# -- names -------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_any_candidate_is_found_by_its_own_names_as_values_and_as_texts(seed: int, texts: bool) -> None:
    candidate = SPACE.sample(np.random.default_rng(seed))
    written = {n: (list(o) if isinstance(o, tuple) else str(o) if texts else o) for n, o in candidate.items()}
    assert candidate_of(SPACE, written, {}) == candidate


def test_lists_are_of_several_choices_in_order() -> None:
    names = {"ks": "b*.kernel", "d": "depth", "wid": ""}
    found = candidate_of(SPACE, {"ks": [3, 7, 5], "d": [2], "wid": 9}, names)
    assert dict(found) == {"depth": 2, "b1.kernel": 3, "b2.kernel": 7, "pair": (3, 4), "mode": True}
    assert candidate_of(SPACE, {"ks": 5, "d": 3}, names)["b3.kernel"] == 5, "one number is of all of them"


@pytest.mark.parametrize(
    "choices, names, words",
    [
        ({"depht": 2}, {}, "did you mean 'depth'"),
        ({"ks": [3]}, {}, r"search.warm_names .* \{ks: \"\*.width\"\}"),
        ({"ks": [3, 5]}, {"ks": "*.kernel"}, "'ks' has 2 entries there, and 3 choices here: b1.kernel, b2.kernel"),
    ],
)
def test_names_that_fit_nothing_are_told(choices: dict[str, Any], names: dict[str, str], words: str) -> None:
    with pytest.raises(StoreError, match=words):
        candidate_of(SPACE, choices, names)


# -- DyNAS-T -----------------------------------------------------------------------------------------------------------

HEADER = ["Sub-network", "Date", "Model Parameters", "Latency (ms)", "MACs", "Top-1 Acc (%)"]


def dynast(path: Path, rows: list[tuple[Any, float]], header: list[str] = HEADER) -> str:
    """A file as DyNAS-T writes it."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([setting, "2022-11-01 05:39:38.995993", 4536768, 0, 244945104, top1] for setting, top1 in rows)
    return f"dynast,path={path}"


@pytest.fixture(scope="module")
def ofa() -> nw.SuperNet:
    return nw.families.ofa_mobilenet_v3()


def test_once_for_all_networks_of_dynas_t(ofa: nw.SuperNet, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wanted = [ofa.space.sample(rng) for _ in range(5)]
    rows = []
    for i, candidate in enumerate(wanted):
        setting = to_ofa(ofa, candidate)
        lists = {key: [entry or {"ks": 3, "e": 3}[key] for entry in setting[key]] for key in ("ks", "e")}
        rows.append(({"wid": None, **lists, "d": setting["d"], "r": [setting.get("image_size", 224)]}, 74.0 + i))
    text = dynast(tmp_path / "results.csv", rows)
    assert is_ofa(ofa)
    found = nw.read_warm_start(text, ofa.space, (), partial(from_ofa, ofa))
    assert [r.candidate for r in found] == wanted
    assert found[2].values == {"params": 4536768, "macs": 244945104, "accuracy": 76.0}, "0 is not measured"
    by_names = nw.read_warm_start(text, ofa.space)
    assert all(a.candidate["stage1.depth"] == b["stage1.depth"] for a, b in zip(by_names, wanted, strict=True))


@pytest.mark.parametrize(
    "rows, header, words",
    [
        ([("{'ks': [3,", 1.0)], HEADER, "line 2: .* is no setting of a sub-network"),
        ([("__import__('os')", 1.0)], HEADER, "line 2: .* is no setting"),
        ([({"depth": 1}, "high")], HEADER, r"line 2, .*|line 2: 'high' is no number"),
        ([({"depth": 1}, 1.0)], ["id", *HEADER[1:]], "first column of what DyNAS-T writes"),
        ([({"depth": 9}, 1.0)], HEADER, "no network of this space: depth cannot be 9"),
        ([], HEADER, "no network of this space"),
    ],
)
def test_what_is_none_of_its_files_is_told(rows: list[Any], header: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=words):
        nw.read_warm_start(dynast(tmp_path / "r.csv", rows, header), SPACE)


def test_what_cannot_be_here_is_left_out_and_said(tmp_path: Path) -> None:
    text = dynast(tmp_path / "r.csv", [({"depth": 1}, 70.0), ({"depth": 9}, 71.0)])
    with pytest.warns(UserWarning, match=r"1 networks .* none of this space, such as: depth cannot be 9"):
        assert len(nw.read_warm_start(text, SPACE)) == 1


# -- Optuna ------------------------------------------------------------------------------------------------------------


def trials(storage: Any, names: bool, directions: tuple[str, ...] = ("maximize", "minimize")) -> list[dict[str, Any]]:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name="night", directions=directions)
    if names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an experiment of theirs
            study.set_metric_names(["accuracy", "macs"])
    tried, options = [], {"depth": optuna.distributions.CategoricalDistribution((1, 2, 3))}
    for depth in (1, 2, 3):
        trial = study.ask(options)
        tried.append(trial.params)
        study.tell(trial, [float(depth), 10.0 * depth])
    study.tell(study.ask(options), state=optuna.trial.TrialState.FAIL)
    return tried


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_trials_of_optuna(kind: str, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    place = tmp_path / "trials"
    storage = f"sqlite:///{place}" if kind == "sqlite" else optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(place))
    )  # fmt: skip
    tried = trials(storage, names=kind == "sqlite")
    text = f"optuna,storage={'sqlite:///' if kind == 'sqlite' else ''}{place}"
    found = nw.read_warm_start(text, SPACE, () if kind == "sqlite" else OBJECTIVES)
    last = {each["depth"]: {"accuracy": i + 1.0, "macs": 10.0 * (i + 1)} for i, each in enumerate(tried)}
    assert {r.candidate["depth"]: r.values for r in found} == last
    assert nw.read_warm_start(f"{text},study=night", SPACE, OBJECTIVES)
    with pytest.raises(StoreError, match="has no study 'nobody'; known are: night"):
        nw.read_warm_start(f"{text},study=nobody", SPACE, OBJECTIVES)


def test_values_of_other_directions_are_told(tmp_path: Path) -> None:
    trials(f"sqlite:///{tmp_path}/t.db", False, ("minimize", "minimize"))
    with pytest.raises(StoreError, match=r"better min, min, .* accuracy \(max\), macs \(min\)"):
        nw.read_warm_start(f"optuna,storage=sqlite:///{tmp_path}/t.db", SPACE, OBJECTIVES)


def test_no_storage_is_made_and_no_password_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    with pytest.raises(StoreError, match=r"there is no .*t\.db"):
        nw.read_warm_start(f"optuna,storage=sqlite:///{tmp_path}/t.db", SPACE, OBJECTIVES)
    assert not list(tmp_path.iterdir())
    with pytest.raises(StoreError, match="password") as told:
        nw.read_warm_start("optuna,storage=postgresql://me:s3cret@host/db", SPACE, OBJECTIVES)
    assert "s3cret" not in str(told.value)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"netwright\[optuna\]"):
        nw.read_warm_start(f"optuna,storage={tmp_path}/t", SPACE, OBJECTIVES)


# -- wrong files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.jsonl", "{}\n", "line 1: "),
        ("a.jsonl", "[1", "line 1: "),
        ("a.csv", "a,b\n1,2\n", "line 2: a table of records has columns of choices, such as candidate.depth"),
        ("a.csv", "candidate.depth,measurements.q.value\n1,x\n", "line 2, measurements.q.value: 'x' is no number"),
        ("a.csv", "candidate.depth\n1,2\n", "line 2: 2 cells"),
        ("a.parquet", "PAR1", "a.parquet cannot be read"),
        ("a.db", "x", "a.db is damaged or no study|not a netwright study|a.db"),
    ],
)
def test_files_that_hold_something_else_are_told(name: str, text: str, words: str, tmp_path: Path) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(text)
    with pytest.raises(StoreError, match=words):
        nw.read_warm_start(str(tmp_path / name), SPACE)


@pytest.mark.parametrize("what", ["nowhere.db", "nowhere.csv", "dynast,path=nowhere.csv", "optuna,storage=nowhere"])
def test_what_is_not_there_is_told(what: str) -> None:
    if what.startswith("optuna"):
        pytest.importorskip("optuna")
    with pytest.raises(StoreError, match="there is no nowhere"):
        nw.read_warm_start(what, SPACE)


@pytest.mark.parametrize("what", ["dynsat,path=a.csv", "optuna,storag=x", "nothing"])
def test_names_that_are_none_are_told(what: str) -> None:
    with pytest.raises(StoreError, match=r"did you mean|there is no"):
        nw.read_warm_start(what, SPACE)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["csv", "jsonl", "db", "dynast"]))
def test_no_bytes_are_more_than_told_of(tmp_path_factory: Any, content: bytes, ending: str) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"a.{ending}"
    path.write_bytes(content)
    call: Callable[[], Any] = lambda: nw.read_warm_start(  # noqa: E731
        f"dynast,path={path}" if ending == "dynast" else str(path), SPACE
    )
    with pytest.raises(StoreError):
        call()
