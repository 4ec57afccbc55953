"""Files are whole or not there, and JSON is told apart from what is none."""

import hashlib
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from netwright.core.files import cache_folder, read_json, replacing, sha256, write_atomically, write_json
from netwright.core.provenance import git_commit, version_of, versions


def test_the_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(path.parent) == ["file"]


def test_it_may_be_read_like_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(path) as scratch:
        scratch.write_bytes(b"half")
        raise KeyError
    with pytest.raises(ValueError):
        write_json(path, math.nan)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_writer_that_is_killed_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = f"""
        import os
        from pathlib import Path
        from netwright.core.files import replacing
        with replacing(Path({str(path)!r})) as scratch:
            scratch.write_bytes(b"half")
            os._exit(1)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == 1
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        write_atomically(tmp_path / "pipe", b"")
    assert (tmp_path / "pipe").is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_directories_too(tmp_path: Path) -> None:
    with replacing(tmp_path / "folder") as scratch:
        scratch.mkdir()
        (scratch / "a").write_text("1")
        assert not (tmp_path / "folder").exists()
    assert os.listdir(tmp_path) == ["folder"] and (tmp_path / "folder" / "a").read_text() == "1"
    with pytest.raises(OSError), replacing(tmp_path / "folder") as scratch:
        scratch.mkdir()
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == ["a"]


def test_json(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, "ü"]}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "other.json")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "x.json")


def test_digests(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    assert sha256(tmp_path / "x") == hashlib.sha256(b"content").hexdigest()


def test_the_cache_is_where_it_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETWRIGHT_CACHE", "/one")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("NETWRIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/two/netwright")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/netwright")


def test_versions_are_of_what_is_installed() -> None:
    found = versions(("numpy", "no-such-package"))
    assert set(found) == {"python", "numpy"} and found["numpy"] == version_of("numpy")
    assert version_of("no-such-package") is None and "torch" in versions()


def test_the_commit_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None
    settings = ["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", *settings, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert git_commit() == told.strip()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None
