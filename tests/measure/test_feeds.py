"""``.npz`` files of anybody: read as they were written, or refused in words."""

import errno
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from netwright.core.errors import MeasureError
from netwright.core.faults import machine_fault
from netwright.measure.feeds import read_feeds, write_feeds

ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True, False]), "n": np.int64(7)}


def held(arrays: dict[str, np.ndarray] = ARRAYS) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def member(shape: object, kind: object = "<f4", content: bytes = b"", order: object = False) -> bytes:
    """An array with any header."""
    header = f"{{'descr': {kind!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}".encode()
    return npy.magic(1, 0) + struct.pack("<H", len(header)) + header + content


def test_written_and_read(tmp_path: Path) -> None:
    more = {**ARRAYS, "none": np.zeros((0, 3), np.float16), "c": np.asfortranarray(np.ones((2, 3), np.int8))}
    write_feeds(tmp_path / "feeds.npz", more)
    found = read_feeds(tmp_path / "feeds.npz")
    assert list(found) == list(more)
    for name, value in more.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    write_feeds(tmp_path / "none.npz", {})
    assert read_feeds(tmp_path / "none.npz") == {}


HOSTILE = {
    "objects": (held({"x": np.array([print], dtype=object)}), "holds object, not numbers"),
    "texts": (held({"x": np.array(["a"])}), "holds <U1, not numbers"),
    "records": (held({"x": np.zeros(2, [("a", "<f4")])}), "not numbers"),
    "a huge shape": (packed({"x.npy": member((1 << 60,))}), r"array 'x': its shape \(1152921504606846976,\)"),
    "a product that wraps": (packed({"x.npy": member((1 << 32, 1 << 32), content=b"")}), "does not fit"),
    "a negative shape": (packed({"x.npy": member((-1,), content=b"1234")}), "does not fit"),
    "a negative pair": (packed({"x.npy": member((-1, -1), content=b"1234")}), "does not fit"),
    "too little": (packed({"x.npy": member((3,), content=b"1234")}), "does not fit its 4 bytes"),
    "too much": (packed({"x.npy": member((1,), content=b"12345678")}), "does not fit its 8 bytes"),
    "no array": (packed({"x.txt": b"hello"}), "'x.txt' in it is no array"),
    "a pickle": (packed({"x.npy": pickle.dumps(print)}), "array 'x'"),
    "no header": (packed({"x.npy": b"\x93NUMPY\x01\x00\xff\xff{"}), "array 'x'"),
    "code for a header": (packed({"x.npy": member((3,), kind="f4; import os")}), "array 'x'"),
    "a nest of brackets": (packed({"x.npy": npy.magic(1, 0) + struct.pack("<H", 5000) + b"(" * 5000}), "array 'x'"),
    "one array": (member((1,), content=b"1234"), "not a zip file"),
    "nothing": (b"", "not a zip file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, tmp_path: Path) -> None:
    content, reason = HOSTILE[case]
    (tmp_path / "evil.npz").write_bytes(content)
    with pytest.raises(MeasureError, match=reason) as caught:
        read_feeds(tmp_path / "evil.npz")
    assert "evil.npz is not an .npz file of arrays" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = {"x.npy": member((250_000,), content=bytes(1_000_000))}
    (tmp_path / "bomb.npz").write_bytes(packed(zeros, zipfile.ZIP_DEFLATED))
    assert len(read_feeds(tmp_path / "bomb.npz")["x"]) == 250_000
    monkeypatch.setattr("netwright.core.archives.SMALL", 1000)
    with pytest.raises(MeasureError, match=r"it unpacks to 1,000,\d+ bytes, of a file of its size 1\d\d,\d+ at most"):
        read_feeds(tmp_path / "bomb.npz")


def test_two_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x.npy", member((1,), content=b"1234"))
        archive.writestr("x.npy", member((1,), content=b"5678"))
    with pytest.raises(MeasureError, match="two of the files in it have one name"):
        read_feeds(tmp_path / "two.npz")


def test_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", Path("/dev/zero"), tmp_path, tmp_path / "none.npz", Path("a\0b")):
        with pytest.raises(MeasureError, match=r"is not an \.npz file of arrays"):
            read_feeds(path)


def test_a_fault_of_the_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(MeasureError) as caught:
        read_feeds(tmp_path / "feeds.npz")
    assert machine_fault(caught.value) is not None


def changed(content: bytes, place: float, bit: int, what: str) -> bytes:
    at = int(place * len(content))
    if what == "flip" and content:
        return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]
    return content[:at] if what == "cut" else content[:at] + content[at + bit + 1 :]


CHANGES = st.tuples(st.floats(0, 0.999999), st.integers(0, 7), st.sampled_from(["flip", "flip", "cut", "out"]))


def check_damaged(tmp_path: Path, changes: list[tuple[float, int, str]], inner: bool) -> None:
    """A damaged file is refused, or holds what was written: zip archives carry a checksum of each file in them.
    Damaged arrays in a sound archive are refused, or are arrays of numbers."""
    content = held()
    if inner:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        for change in changes:
            name = list(members)[change[1] % len(members)]
            members[name] = changed(members[name], *change)
        content = packed(members)
    else:
        for change in changes:
            content = changed(content, *change) or b"\0"
    (tmp_path / "feeds.npz").write_bytes(content)
    try:
        found = read_feeds(tmp_path / "feeds.npz")
    except MeasureError as error:
        assert "\n" not in str(error)
        return
    for name, value in found.items():
        assert value.dtype.kind in "biufc" and value.nbytes < 1000
        if not inner and name in ARRAYS:
            np.testing.assert_array_equal(value, ARRAYS[name])


@settings(max_examples=150)
@given(st.lists(CHANGES, min_size=1, max_size=3), st.booleans())
def test_damaged(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int, str]], inner: bool) -> None:
    check_damaged(tmp_path_factory.getbasetemp(), changes, inner)


@pytest.mark.slow
@settings(max_examples=5000)
@given(st.lists(CHANGES, min_size=1, max_size=3), st.booleans())
def test_damaged_often(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int, str]], inner: bool
) -> None:
    check_damaged(tmp_path_factory.getbasetemp(), changes, inner)
