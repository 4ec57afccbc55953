"""A PostgreSQL server of the tests' own: in a temporary folder, reached by a Unix socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def missing() -> str:
    """Why there can be no server; empty where there can."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed (netwright[postgresql])"
    return "" if _programs() else "PostgreSQL's server is not installed"


def _programs() -> Path | None:
    found = [Path(p) for p in (shutil.which("initdb"),) if p]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return found[0].parent if found else None


class Server:
    """One that is started and ended at will."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process = folder, None
        programs = _programs()
        assert programs is not None
        self.programs = programs
        # The server refuses to run as root.
        self.user: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        self.user = self.user if os.geteuid() == 0 else {}
        if self.user:
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
        self._run("initdb", "-D", str(folder / "data"), "-U", "me", "-A", "trust", "--no-sync", "-E", "UTF8")

    process: subprocess.Popen[bytes] | None

    @property
    def dsn(self) -> str:
        return f"host={self.folder} user=me dbname=postgres"

    @property
    def environment(self) -> dict[str, str]:
        """How libpq finds it without a connection string."""
        return {"PGHOST": str(self.folder), "PGUSER": "me", "PGDATABASE": "postgres"}

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=-3, stderr=-3, cwd=self.folder, **self.user)

    def start(self) -> None:
        """Start it, and wait until it lets somebody in."""
        import psycopg

        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "fsync": "off"}
        options = [each for item in settings.items() for each in ("-c", "{}={}".format(*item))]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options],
                stdout=log, stderr=log, cwd=self.folder, **self.user,
            )  # fmt: skip
        for _ in range(300):
            try:
                psycopg.connect(self.dsn).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def end(self) -> None:
        """End it as a crash would: at once, with all that is connected."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        self.process = None


@contextmanager
def server() -> Iterator[Server]:
    """One that runs, for a while."""
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is short
    try:
        made = Server(folder)
        made.start()
        try:
            yield made
        finally:
            made.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
