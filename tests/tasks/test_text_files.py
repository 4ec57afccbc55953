"""Texts with a label in files: columns found, tokens padded, and what is wrong told before anything is trained."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from netwright.core.errors import RecipeError
from netwright.tasks import Classification, Regression, TokenClassification
from netwright.tasks.data import Data, PaddedSplit, TensorLoader, calibration_batches
from netwright.tasks.files import read_files
from netwright.tasks.files.preparation import Ids, Preparation, Tokenizer

WORDS = ["<pad>", "<s>", "</s>", "a", "good", "bad", "film", "very", "dull", "not", "the", "plot", "is"]


class Spaces(Tokenizer):
    """Words between spaces, with a mark before and after; those that it does not know are two tokens."""

    most = 12
    padding = {"input_ids": 0, "attention_mask": 0}  # noqa: RUF012

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None, longest: int) -> Ids:
        both = [[text, *([] if pairs is None else [pairs[i]])] for i, text in enumerate(texts)]
        return self._ids([[w for text in each for w in (*text.split(), "</s>")][:-1] for each in both], longest)[0]

    def encode_words(self, texts: Sequence[Sequence[str]], longest: int) -> tuple[Ids, list[list[int | None]]]:
        return self._ids(texts, longest)

    def _ids(self, texts: Sequence[Sequence[str]], longest: int) -> tuple[Ids, list[list[int | None]]]:
        ids, places = [], []
        for words in texts:
            each = [(WORDS.index(w), i) if w in WORDS else (99, i) for i, w in enumerate(words) for _ in _twice(w)]
            each = each[: longest - 2] if longest else each
            ids.append([1, *(number for number, _ in each), 2])
            places.append([None, *(place for _, place in each), None])
        return {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}, places


def _twice(word: str) -> range:
    return range(1 if word in WORDS else 2)


FIVE = [("a good film", 1), ("very bad", 0), ("the plot is not good", 0), ("dull", 0), ("good good", 1)]
ROWS = [(f"{text}{i * ' very'}", label) for i in range(6) for text, label in FIVE]


def written(path: Path, rows: Sequence[Any] = ROWS, names: str = "sentence,label") -> str:
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path.name


def read(reference: str, folder: Path, task: Any = None, classes: tuple[str, ...] = ()) -> Data:
    return read_files(reference, task or Classification(), folder, Preparation(Spaces, classes=classes))


def test_columns_are_found_and_shown(tmp_path: Path) -> None:
    data = read(written(tmp_path / "t.csv", [(i, *row) for i, row in enumerate(ROWS)], "id,sentence,label"), tmp_path,
                )  # fmt: skip
    (note,) = data.notes
    assert "'sentence' to 'label' (2 classes: 0, 1)" in note and "train" in note and "tokens" in note
    assert data.classes == ("0", "1") and data.fingerprint
    assert set(data.train.inputs) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_every_form_of_table_is_read_alike(form: str, tmp_path: Path) -> None:
    columns = {"text": [text for text, _ in ROWS], "stars": [label for _, label in ROWS]}
    path = tmp_path / f"t.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps({"text": t, "stars": s}) + "\n" for t, s in ROWS))
    elif form == "parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table(columns), path)
    else:
        between = "," if form == "csv" else "\t"
        path.write_text("\n".join([between.join(columns), *(f"{t}{between}{s}" for t, s in ROWS)]))
    data = read(path.name, tmp_path)
    ids = {tuple(row) for part in (data.train, data.validation, data.test) for row in part.inputs["input_ids"].tolist()}
    assert (1, 4, 4, 2) in {tuple(n for n in row if n) for row in ids}, "good good"
    assert data.classes == ("0", "1")


def test_what_is_taken_is_as_long_as_its_longest(tmp_path: Path) -> None:
    data = read(written(tmp_path / "t.csv"), tmp_path)
    split = data.train
    assert isinstance(split, PaddedSplit)
    lengths = split.inputs["attention_mask"].sum(1)
    assert lengths.tolist() == sorted(lengths.tolist()), "those that are judged together are of about one length"
    for inputs, _ in TensorLoader(split, 4):
        assert inputs["input_ids"].shape[1] == int(inputs["attention_mask"].sum(1).max())
    assert all(batch[0]["input_ids"].shape[1] <= split.inputs["input_ids"].shape[1]
               for batch in calibration_batches(data, 8, 0))  # fmt: skip


@settings(max_examples=20)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_taking_loses_nothing(lengths: list[int], rng: Any) -> None:
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        ids[row, :n], mask[row, :n] = torch.arange(1, n + 1), 1
    split = PaddedSplit({"input_ids": ids, "attention_mask": mask}, ids.clone(), by_position=True)
    index = torch.tensor([rng.randrange(len(lengths)) for _ in range(5)])
    some = split.take(index)
    longest = max(lengths[i] for i in index.tolist())
    assert some.inputs["input_ids"].shape == some.targets.shape == (5, longest)
    assert_close(some.inputs["input_ids"], ids[index][:, :longest])
    assert int(some.inputs["input_ids"].sum()) == int(ids[index].sum())


@settings(max_examples=20)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=90), st.integers(1, 9))
def test_shuffled_batches_are_of_about_one_length(lengths: list[int], size: int) -> None:
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    split = PaddedSplit({"input_ids": mask, "attention_mask": mask}, torch.arange(len(lengths)))
    loader = TensorLoader(split, size, shuffle=True)
    batches = [(inputs["attention_mask"], targets.tolist()) for inputs, targets in loader]
    assert len(batches) == len(loader)
    given = [i for _, targets in batches for i in targets]
    assert len(given) == len(set(given)) == min(len(lengths), len(loader) * size)
    if len(given) == len(lengths) <= size * 50:  # of all that are put in order together, no batch lies across another
        ends = sorted((min(each), max(each)) for _, own in batches if (each := [lengths[i] for i in own]))
        assert all(high <= low for (_, high), (low, _) in itertools.pairwise(ends))


def test_texts_of_one_length_are_filled_up(tmp_path: Path) -> None:
    data = read(f"{written(tmp_path / 't.csv')},pad_to=10", tmp_path)
    assert type(data.train) is not PaddedSplit and data.train.inputs["input_ids"].shape[1] == 10


def test_pairs_and_numbers(tmp_path: Path) -> None:
    rows = [("a good film", f"a {'very ' * (i % 3)}film", i / 10) for i in range(30)]
    data = read(written(tmp_path / "sts.csv", rows, "one,other,score"), tmp_path, Regression())
    assert data.train.targets.dtype == torch.float32 and data.classes == ()
    assert 2 in data.train.inputs["input_ids"][-1, 1:-1], "the mark between the two"
    assert "'one' and 'other' to 'score'" in data.notes[0]


def test_a_class_for_each_word(tmp_path: Path) -> None:
    rows = [{"words": ["a", "good", "zebra", "film"][: 2 + i % 3], "tags": ["O", "B", "B", "O"][: 2 + i % 3]}
            for i in range(40)]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({**row, "n": i}) + "\n" for i, row in enumerate(rows)))
    data = read("t.jsonl", tmp_path, TokenClassification())
    assert data.classes == ("B", "O")
    longest = data.train.inputs["attention_mask"].sum(1).argmax()
    assert data.train.inputs["input_ids"][longest].tolist() == [1, 3, 4, 99, 99, 6, 2]
    assert data.train.targets[longest].tolist() == [-100, 1, 0, 0, -100, 1, -100], "a word's first token has its class"


def test_classes_are_those_of_a_trained_head(tmp_path: Path) -> None:
    named = [(text, ("negative", "positive")[label]) for text, label in ROWS]
    written(tmp_path / "t.csv", named)
    data = read("t.csv", tmp_path, classes=("POSITIVE", "NEGATIVE"))
    assert data.classes == ("POSITIVE", "NEGATIVE"), "in the order of the head, whatever their capitals"
    good = [row for row in range(len(data.train)) if 4 in data.train.inputs["input_ids"][row]
            and 9 not in data.train.inputs["input_ids"][row]]  # fmt: skip
    assert data.train.targets[good].unique().tolist() == [0]
    others = read("t.csv", tmp_path, classes=("a", "b", "c"))
    assert others.classes == ("negative", "positive"), "classes that are others altogether get a new head"


@pytest.mark.parametrize(
    ("rows", "names", "settings_", "words"),
    [
        ([*ROWS, ("", 1)], "sentence,label", "", r"the text 'sentence' of t.csv is empty in 1 of 31 rows \(row 31"),
        ([*ROWS, ("a film", "")], "sentence,label", "", "the target 'label' is empty in 1 .* rows"),
        ([(" ".join(["film"] * 20), 1), *ROWS], "sentence,label", "", "1 of 31 texts have more than the 12 tokens"),
        (ROWS, "sentence,label", ",max_length=40", "max_length is a number of tokens from 1 to the 12"),
        (ROWS, "sentence,label", ",max_length=8,pad_to=6", "do not fit in pad_to=6"),
        (ROWS, "sentence,label", ",text=sentense", "no column 'sentense'; did you mean 'sentence'"),
        (ROWS, "sentence,label", ",tokenizer=a", "no setting 'tokenizer'"),
        ([("a b", "b c", "c d", 1)] * 30, "x,y,z,label", "", "3 columns of texts .x, y, z.: give text=NAME"),
        ([("a b", "b c")] * 30, "x,y", "", "which column of t.csv is the target is not known: give target="),
        ([(text, ("negative", "fun")[label]) for text, label in ROWS], "sentence,label", "", "has a class 'fun'"),
    ],
)
def test_what_is_wrong_is_told(rows: Any, names: str, settings_: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n")
    with pytest.raises(RecipeError, match=words):
        read(f"t.csv{settings_}", tmp_path, classes=("negative", "positive"))


def test_longer_texts_are_cut_where_that_is_asked_for(tmp_path: Path) -> None:
    written(tmp_path / "t.csv", [(" ".join(["film"] * 20), 1), *ROWS])
    data = read("t.csv,max_length=6", tmp_path)
    assert max(p.inputs["attention_mask"].sum(1).max() for p in (data.train, data.validation, data.test)) == 6
    assert "longer than 6 are cut" in data.notes[0]


def test_lines_of_json_are_checked(tmp_path: Path) -> None:
    for text, words in (("{", "line 1"), ('{"a": 1}\n[2]\n', "line 2: each line is a JSON object with the keys a"),
                        ("\n", "no rows"), ('{"a": {"b": 1}}\n', "not numbers or texts")):  # fmt: skip
        (tmp_path / "t.jsonl").write_text(text)
        with pytest.raises(RecipeError, match=words):
            read("t.jsonl", tmp_path)
