"""Data that lie in files: tables and folders of images, by name and settings."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz import mutations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netwright.core.errors import RecipeError
from netwright.tasks import TASKS
from netwright.tasks.data import Data
from netwright.tasks.files import images, names_files, read_files

KINDS, NUMBERS = TASKS.make("classification"), TASKS.make("regression")
ROWS = [(i, ("red", "green", "blue")[i % 3], i / 7, ("yes", "no")[i % 2], f"kind{i % 4}") for i in range(60)]
HEADER = "id,colour,size,old,kind"


def written(path: Path, rows: list[tuple[object, ...]] = ROWS, header: str = HEADER, between: str = ",") -> Path:
    lines = [header.replace(",", between), *(between.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def sizes(data: Data) -> list[int]:
    return [len(part) for part in (data.train, data.validation, data.test)]


# -- tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, between", [("t.csv", ","), ("t.tsv", "\t"), ("semi.csv", ";")])
def test_a_table_is_inputs_and_classes(tmp_path: Path, name: str, between: str) -> None:
    written(tmp_path / name, between=between)
    data = read_files(f"{name},features=(colour,size,old)", KINDS, tmp_path)
    assert sum(sizes(data)) == 60 and min(sizes(data)) > 3
    assert data.train.inputs.shape[1] == 3 + 1 + 2 and data.train.targets.dtype == torch.int64
    every = torch.cat([data.train.targets, data.validation.targets, data.test.targets])
    assert sorted(every.tolist()) == sorted(i % 4 for i in range(60))
    size = data.train.inputs[:, 3]
    assert abs(float(size.mean())) < 1e-5 and float(size.std(correction=0)) == pytest.approx(1, rel=1e-4)
    assert data.test.inputs[:, :3].sum(1).tolist() == [1.0] * len(data.test)


def test_a_row_stays_in_its_part_when_others_come(tmp_path: Path) -> None:
    few, many = written(tmp_path / "a.csv", ROWS[:40]), written(tmp_path / "b.csv", ROWS[::-1] + ROWS[:5])
    first, again = (read_files(f"{p.name},target=id", NUMBERS, tmp_path) for p in (few, many))
    for name in ("train", "validation", "test"):
        assert set(getattr(first, name).targets.tolist()) <= set(getattr(again, name).targets.tolist())
    apart = [set(part.targets.tolist()) for part in (again.train, again.validation, again.test)]
    assert not apart[0] & apart[1] and not apart[0] & apart[2] and not apart[1] & apart[2]
    other = read_files(f"{many.name},target=id,seed=1", NUMBERS, tmp_path)
    assert set(other.test.targets.tolist()) != apart[2]


def test_numbers_are_targets_of_a_regression_and_files_may_be_three(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", ROWS[:30])
    written(tmp_path / "val.csv", ROWS[30:40])
    written(tmp_path / "test.csv", [*ROWS[40:], (99, "pink", "", "no", "kind1")])
    with pytest.raises(RecipeError, match="target 'size' is empty in 1 test rows"):
        read_files("train.csv,target=size,validation=val.csv,test=test.csv", NUMBERS, tmp_path)
    data = read_files("train.csv,target=id,validation=val.csv,test=test.csv", NUMBERS, tmp_path)
    assert sizes(data) == [30, 10, 21] and data.train.targets.dtype == torch.float32
    assert not data.test.inputs[-1, :4].any(), "a colour that was not trained on, and a size that is not there"
    two = read_files("train.csv,target=(size,id)", NUMBERS, tmp_path)
    assert two.train.targets.shape[1] == 2


def test_parquet_is_a_table_too(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = dict(zip(HEADER.split(","), map(list, zip(*ROWS, strict=True)), strict=True))
    columns["old"] = [value == "yes" for value in columns["old"]]
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = read_files("t.parquet,target=old", KINDS, tmp_path)
    assert set(data.train.targets.tolist()) == {0, 1}
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(RecipeError, match=r"bad.parquet cannot be read"):
        read_files("bad.parquet", KINDS, tmp_path)


@pytest.mark.parametrize(
    "reference, words",
    [
        ("none.csv", "there is no file"),
        ("t.csv,targt=kind", "did you mean 'target'"),
        ("t.csv,target=knd", "did you mean 'kind'"),
        ("t.csv,target=size", "task: regression"),
        ("t.csv,seed=x", "seed must be a whole number"),
        ("t.csv,test_share=0", "more than 0"),
        ("t.csv,test_share=0.001", "no test examples"),
        ("t.csv,validation=none.csv", "there is no file"),
        ("headless.csv", "a name of its own"),
        ("ragged.csv", "ragged.csv, line 3: 1 cells, but the header has 2"),
        ("empty.csv", "no rows"),
        ("texts.csv", "features="),
        ("binary.csv", "binary.csv, line 1: .*can't decode byte"),
        ("nothing/", "there is no file or folder"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, reference: str, words: str) -> None:
    written(tmp_path / "t.csv")
    (tmp_path / "headless.csv").write_text("1,2\n3,4\n")
    (tmp_path / "ragged.csv").write_text("a,b\n3,4\n5\n")
    (tmp_path / "empty.csv").write_text("a,b\n")
    written(tmp_path / "texts.csv", [(f"text{i}", i % 2) for i in range(300)], "text,kind")
    (tmp_path / "binary.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(RecipeError, match=words):
        read_files(reference, KINDS, tmp_path)


def test_names_of_files_are_told_from_functions(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert names_files("train.tsv,target=a", tmp_path) and names_files("images", tmp_path) and names_files("a/b")
    assert not names_files("mine:data", tmp_path) and not names_files("netwright.recipes.digits:data")


# -- images ------------------------------------------------------------------------------------------------------


def drawn(folder: Path, name: str, value: int, size: tuple[int, int] = (6, 8), mode: str = "L") -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(folder / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("PIL")
    for i in range(40):
        drawn(tmp_path / "images" / ("cat", "dog")[i % 2], f"{i}.png", 100 + 100 * (i % 2) + i)
    return tmp_path


def test_a_folder_for_each_class(folder: Path) -> None:
    data = read_files("images", KINDS, folder)
    assert sum(sizes(data)) == 40 and data.train.inputs.shape[1:] == (1, 8, 6)
    values = data.train.inputs.mean((1, 2, 3))
    assert float(values[data.train.targets == 0].max()) < float(values[data.train.targets == 1].min())
    assert abs(float(data.train.inputs.mean())) < 1e-5
    square = read_files("images/,size=4,channels=3,mean=(0,0,0),std=(1,1,1)", KINDS, folder)
    assert square.test.inputs.shape[1:] == (3, 4, 4) and 0.3 < float(square.test.inputs.min()) <= 1
    assert torch.equal(data.test.targets, square.test.targets)


def test_many_images_are_read_batch_by_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_files("images", KINDS, folder)
    monkeypatch.setattr(images, "MEMORY", 0)
    lazy = read_files("images,batch_size=3", KINDS, folder)
    found = list(lazy.test)
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), whole.test.inputs) and len(found[0][1]) == 3
    assert torch.equal(torch.cat([labels for _, labels in found]), whole.test.targets)


def test_parts_may_have_folders(folder: Path) -> None:
    for part, count in (("train", 6), ("val", 4), ("test", 2)):
        for i in range(count):
            drawn(folder / "parts" / part / ("cat", "dog")[i % 2], f"{i}.png", 10 * i, mode="RGB")
    data = read_files("parts", KINDS, folder)
    assert sizes(data) == [6, 4, 2] and data.train.inputs.shape[1:] == (3, 8, 6)
    drawn(folder / "parts" / "test" / "dogg", "0.png", 1)
    with pytest.raises(RecipeError, match="did you mean 'dog'"):
        read_files("parts", KINDS, folder)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_16_bits_are_kept(tmp_path: Path, channels: int) -> None:
    pytest.importorskip("PIL")
    from PIL import Image

    values = np.array([[0, 256, 32768, 65535]], np.uint16)
    for part in ("train", "val", "test"):
        for kind in ("cat", "dog"):
            (tmp_path / "images" / part / kind).mkdir(parents=True)
            Image.fromarray(values).save(tmp_path / "images" / part / kind / "1.png")
    zeros, ones = ("(" + ",".join([each] * channels) + ")" for each in "01")
    data = read_files(f"images,channels={channels},mean={zeros},std={ones}", KINDS, tmp_path)
    wanted = torch.tensor([0, 256 / 65535, 32768 / 65535, 1.0]).expand(2, channels, 1, 4)
    torch.testing.assert_close(data.train.inputs, wanted)


def check_damaged(path: Path, data: st.DataObject) -> None:
    """A damaged image is read, or told in one line."""
    from PIL import Image

    content = io.BytesIO()
    kind = data.draw(st.sampled_from(("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")))
    Image.new("RGB", (6, 8), (9, 200, 3)).save(content, kind)
    path.write_bytes(data.draw(mutations(content.getvalue())))
    try:
        image, label = images._Images([(path, 1)], 4, 3)[0]
    except RecipeError as error:
        assert path.name in str(error) and "\n" not in str(error)
    else:
        assert image.shape == (3, 4, 4) and 0 <= float(image.min()) <= float(image.max()) <= 1 and label == 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_images(tmp_path: Path, data: st.DataObject) -> None:
    check_damaged(tmp_path / "strange.png", data)


@pytest.mark.slow
@settings(max_examples=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_images_often(tmp_path: Path, data: st.DataObject) -> None:
    check_damaged(tmp_path / "strange.png", data)


def test_images_that_are_none_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    path = folder / "images" / "cat" / "strange.tif"
    for mode in ("I", "F"):
        Image.new(mode, (6, 8)).save(path)
        with pytest.raises(RecipeError, match=r"strange.tif cannot be read: .*its values have 32 bits"):
            read_files("images", KINDS, folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RecipeError, match=r"strange.tif cannot be read: .*no regular file"):
        read_files("images", KINDS, folder)
    path.unlink()
    drawn(path.parent, path.name, 1)
    monkeypatch.setattr(images, "MOST_PIXELS", 10)
    with pytest.raises(RecipeError, match="it has 6 by 8 pixels, 10 at most are read"):
        read_files("images", KINDS, folder)


def test_images_that_do_not_fit_are_told(folder: Path) -> None:
    drawn(folder / "images" / "cat", "large.png", 9, (20, 20))
    with pytest.raises(RecipeError, match=r"large.png has 20 by 20 pixels, others 6 by 8; give size="):
        read_files("images", KINDS, folder)
    (folder / "images" / "cat" / "large.png").write_bytes(b"torn")
    with pytest.raises(RecipeError, match=r"large.png cannot be read"):
        read_files("images", KINDS, folder)
    (folder / "one" / "cat").mkdir(parents=True)
    with pytest.raises(RecipeError, match="two or more classes"):
        read_files("one", KINDS, folder)
    with pytest.raises(RecipeError, match="mean and std need 1 values"):
        read_files("images,mean=(0,0),std=(1,1)", KINDS, folder)
