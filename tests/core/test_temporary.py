"""Temporary folders go with their process, or are swept after it."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netwright.core import temporary
from netwright.core.temporary import TemporaryFolder, sweep

GONE = 2**22 - 1
"""The number of no process: larger than Linux gives."""


def left(where: Path, name: str) -> Path:
    folder = where / name
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").write_text("left")
    return folder


@pytest.fixture(autouse=True)
def anew() -> None:
    temporary._sweep_once.cache_clear()


def test_it_ends_with_the_block_or_the_object(tmp_path: Path) -> None:
    with TemporaryFolder(tmp_path) as folder:
        (folder / "file").write_text("x")
        assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    held = TemporaryFolder(tmp_path)
    path = held.path
    del held
    gc.collect()
    assert not path.exists()


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from netwright.core.temporary import TemporaryFolder
a, b = TemporaryFolder(Path(sys.argv[1])), TemporaryFolder()
(a.path / "file").write_text("x")
print(a.path, b.path, flush=True)
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    folders = [Path(each) for each in killed.stdout.split()]
    assert killed.returncode == -9 and all(f.parent == tmp_path and f.is_dir() for f in folders)
    with TemporaryFolder(tmp_path):
        assert not any(f.exists() for f in folders)


def test_what_lives_or_is_none_of_ours_stays(tmp_path: Path) -> None:
    with TemporaryFolder(tmp_path) as alive:
        dead = left(tmp_path, f"netwright-{GONE}-17-abcd")
        reused = left(tmp_path, f".netwright-{os.getpid()}-17-abcd")  # another process had this number
        others = [left(tmp_path, name) for name in ("netwright-abcdefgh", "netwright-1-2", f"my-netwright-{GONE}-1-ab")]
        file = tmp_path / f"netwright-{GONE}-17-ffff"
        file.write_text("mine")
        sweep(tmp_path)
        assert not dead.exists() and not reused.exists()
        assert alive.is_dir() and file.read_text() == "mine" and all((o / "below" / "file").is_file() for o in others)


def test_links_are_not_followed(tmp_path: Path) -> None:
    mine = left(tmp_path / "elsewhere", "mine")
    (tmp_path / f"netwright-{GONE}-17-abcd").symlink_to(mine)
    left(tmp_path, f"netwright-{GONE}-18-abcd").joinpath("link").symlink_to(mine)
    sweep(tmp_path)
    assert (mine / "below" / "file").is_file() and not (tmp_path / f"netwright-{GONE}-18-abcd").exists()


def test_what_is_held_stays_whatever_its_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of another container have numbers that mean nothing here."""
    with TemporaryFolder(tmp_path) as folder:
        monkeypatch.setattr(temporary, "_lives", lambda *_: False)
        sweep(tmp_path)
        assert folder.is_dir()


def test_a_directory_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left(tmp_path, f"netwright-{GONE}-17-abcd")
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    sweep(tmp_path)
    assert folder.is_dir()


def test_a_fork_removes_nothing(tmp_path: Path) -> None:
    folder = TemporaryFolder(tmp_path)
    child = os.fork()
    if not child:
        folder.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0 and folder.path.is_dir()
    folder.close()


def test_a_place_that_is_none_has_nothing_to_sweep(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere")
