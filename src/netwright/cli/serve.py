"""``netwright serve``: the live page of one or several studies."""

from __future__ import annotations

import re
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..core.errors import MissingExtra, NetwrightError
from ..core.text import printable
from ..pipeline.run_directory import RunDirectory
from ..study.stores.sqlite import SqliteStore
from .arguments import add_trust, read, store_of, verb_parser

if TYPE_CHECKING:
    from ..report.live.feed import Feed

TEXT = """Show studies as they grow, in a browser: the front, what failed and why, networks side by side.

The page reads the studies and changes nothing. It is for this machine alone, unless --host names another address: then
whoever wants to see it needs the token that is printed. Ctrl-C ends it.
"""

PORT = 7660
LOCAL = ("127.0.0.1", "localhost", "::1")


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    parser = verb_parser("serve", TEXT)
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="an output directory, or the path of a study.db")
    parser.add_argument("--host", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help=f"port to listen at; 0 for any that is free (default: {PORT})")
    add_trust(parser)
    given = read(parser, arguments)
    try:
        import uvicorn

        from ..report.live.app import LOOPBACK, make_app
    except ImportError:
        raise MissingExtra("starlette and uvicorn", "live", "the live page") from None
    host = given.get("host", LOCAL[0])
    is_local = host in LOCAL
    token = "" if is_local else secrets.token_urlsafe(32)
    feeds = [_feed(path, given.get("trust", False)) for path in given["studies"]]
    app = make_app(feeds, LOOPBACK if is_local else "*", token)
    listening = _listen(host, given.get("port", PORT))
    port = listening.getsockname()[1]
    place = f"[{host}]" if ":" in host else host
    print(f"netwright: the live page is at http://{place}:{port}/{f'?token={token}' if token else ''}", flush=True)
    # A large study is read meanwhile, and not when the page is first opened.
    Thread(target=lambda: [feed.look() for feed in feeds], daemon=True).start()
    config = uvicorn.Config(
        app, log_level="warning", ws="none", lifespan="off", server_header=False, proxy_headers=False,
        h11_max_incomplete_event_size=16384, limit_concurrency=100, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with suppress(KeyboardInterrupt):  # Ctrl-C or SIGTERM: there is no other way to end it
        uvicorn.Server(config).run(sockets=[listening])
    print("netwright: the live page has ended; the studies are as they were", file=sys.stderr)


def _feed(path: str, trust: bool) -> Feed:
    """The study at a path, which is only read."""
    from ..report.live.bundles import Bundles
    from ..report.live.feed import Feed

    store, place = store_of(path, trust), Path(path)
    if isinstance(store, SqliteStore):
        store = SqliteStore(store.path, must_exist=True, read_only=True)
    bundles = Bundles(place) if place.is_dir() else None
    return Feed(printable(str(path)), store, partial(_wanted, place), partial(_workers, place), bundles)


def _wanted(path: Path) -> int | None:
    """How many records the job in a directory is to measure, as far as it is known."""
    return _whole(_recipe(path).get("evaluations"))


def _workers(path: Path) -> int | None:
    """How many workers evaluate at once, as far as it is known."""
    search = _recipe(path).get("search")
    executor = search.get("executor") if isinstance(search, Mapping) else None
    if not isinstance(executor, str):
        return None
    given = re.search(r",workers=(\d{1,6})\b", executor)
    return int(given[1]) if given else 1 if executor.split(",")[0] == "local" else None


def _recipe(path: Path) -> Mapping[str, Any]:
    """The recipe of the job in a directory; nothing where there is none."""
    with suppress(NetwrightError):
        return RunDirectory(path).read_info().recipe if path.is_dir() else {}
    return {}


def _whole(value: Any) -> int | None:
    """A value that somebody wrote, where it is a number of networks."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise NetwrightError(
            f"nothing can listen at {host} port {port} ({why}); give another --port or --host"
        ) from None
