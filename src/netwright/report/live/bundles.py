"""The bundles of a study's networks, as archives: what was exported into its output directory, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import stat
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...core.files import read_json
from ...core.shape import expect

MANIFEST = "manifest.json"
"""Written last: a folder without it is not whole yet."""

ID = re.compile(r"[0-9a-f]{10}")
MOST_BUNDLES = 1000
"""That are told of."""

PART = 1 << 20
"""Bytes of a file that are read at once."""

OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Bundles:
    """The exported networks of an output directory.

    Args:
        path: of the directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.command = f"netwright export {shlex.quote(str(path))} --network"
        """What exports a network whose id follows."""

    @property
    def ids(self) -> list[str]:
        """Of the networks that were exported."""
        networks, found = self._path / "networks", list[str]()
        with suppress(OSError):
            for entry in () if networks.is_symlink() else os.scandir(networks):
                if ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    found += [entry.name] if (networks / entry.name / MANIFEST).is_file() else []
        return sorted(found)[:MOST_BUNDLES]

    def roles(self) -> dict[str, str]:
        """What each of them was chosen as, by id."""
        found: dict[str, str] = {}
        for id_ in self.ids:
            with suppress(OSError, ValueError):
                found[id_] = expect(read_json(self._path / "networks" / id_ / MANIFEST), {"role": str})["role"]
        return found

    def archive(self, id_: str) -> Iterator[bytes] | None:
        """The files of a network's bundle as a ZIP archive, part by part; None where there is none.

        Links are not followed, and left out: whoever made the directory would choose what is sent.
        """
        return _zipped(self._path / "networks" / id_, id_) if id_ in self.ids else None


def _zipped(folder: Path, name: str) -> Iterator[bytes]:
    """The regular files below a folder, in a folder of the archive with this name."""
    parts = _Parts()
    with zipfile.ZipFile(parts, "w") as archive:  # type: ignore[call-overload]
        for place, folders, files, within in os.fwalk(folder):
            folders.sort()
            for file in sorted(files):
                below = Path(name) / Path(place).relative_to(folder) / file
                yield from _added(archive, parts, str(below), file, within)
    yield parts.taken()


def _added(archive: zipfile.ZipFile, parts: _Parts, path: str, file: str, within: int) -> Iterator[bytes]:
    """A file of a folder that is open, as a part of an archive; nothing of what is no regular file."""
    try:
        descriptor = os.open(file, OPEN, dir_fd=within)
    except OSError:  # a link, or gone
        return
    with os.fdopen(descriptor, "rb") as source:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return
        entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))  # the same archive whenever it is made
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        with archive.open(entry, "w", force_zip64=about.st_size >= zipfile.ZIP64_LIMIT) as target:
            left = about.st_size  # of a file that grows meanwhile, what was there
            while left and (some := source.read(min(PART, left))):
                target.write(some)
                left -= len(some)
                yield parts.taken()


class _Parts:
    """A file that is written and never read: what was written is taken away part by part."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, some: bytes) -> int:
        self._written.append(bytes(some))
        return len(some)

    def flush(self) -> None:
        """There is nothing behind it."""

    def taken(self) -> bytes:
        """What was written since this was last asked."""
        written, self._written = self._written, []
        return b"".join(written)
