"""``netwright agent``: measure on this device for others."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..core.errors import MissingExtra, NetwrightError, did_you_mean
from ..core.text import printable

TEXT = """Measure networks on this device for others: 'http://127.0.0.1:7653/onnxruntime' is a target then, and from
another machine 'ssh://this-device/onnxruntime'. Needs the runtime and NumPy, not torch. Whoever has the token can have
files run here, by the runtimes; a file that is a program is refused."""


MOST_BYTES = 1 << 12
"""Of a token's file."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NetwrightError(message)


def run(arguments: Sequence[str]) -> None:
    """Run the verb. It imports nothing that a device would not have."""
    from ..measure.remote import PORT

    parser = _Parser(prog="netwright agent", description=TEXT, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen at (default: {PORT})")
    parser.add_argument("--token-file", type=Path, help="file that holds the token (default: a new one, printed)")
    parser.add_argument("--cert", type=Path, help="TLS certificate, PEM; needed at any other host than 127.0.0.1")
    parser.add_argument("--key", type=Path, help="key of the certificate, PEM")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="write the agent as one file for a device, and end")
    given, rest = parser.parse_known_args(arguments)
    if rest:
        raise NetwrightError(f"there is no {rest[0]!r}; {did_you_mean(rest[0], parser._option_string_actions)}")
    if given.pack:
        from ..measure.remote.pack import pack

        print(printable(f"{given.pack}: {pack(given.pack) / 1e3:.0f} kB; on the device: python3 {given.pack.name}"))
    else:
        _serve(given)


def _serve(given: argparse.Namespace) -> None:
    from ..core.files import cache_folder
    from ..core.version import __version__
    from ..measure.remote.agent import Agent
    from ..measure.runtimes import RUNTIMES, runtime_class

    if (given.cert is None) != (given.key is None):
        raise NetwrightError("--cert and --key belong together")
    token = _token(given.token_file)
    kept = cache_folder()
    certificate = None if given.cert is None else (given.cert, given.key)
    agent = Agent(given.host, given.port, token, kept.with_name(f"{kept.name}-agent"), certificate)
    able = []
    for name in RUNTIMES.names():
        try:
            runtime_class(name).require()
        except (MissingExtra, ImportError):
            continue
        able.append(name)
    scheme, host = "https" if certificate else "http", f"[{given.host}]" if ":" in given.host else given.host
    print(f"netwright agent {__version__} at {scheme}://{host}:{agent.server_port}")
    print(f"measures with {', '.join(able) or 'nothing: no runtime is installed'}")
    if given.token_file is None:
        print(f"NETWRIGHT_TOKEN={token}")
    sys.stdout.flush()
    try:
        agent.serve_forever()
    except KeyboardInterrupt:  # Ctrl-C or SIGTERM: there is no other way to end it
        print("the agent has ended; a job that it had is sent anew to the next one, for ten minutes", flush=True)
    finally:
        agent.server_close()


def _token(path: Path | None) -> str:
    if path is None:
        return secrets.token_urlsafe(32)
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise NetwrightError(f"the token cannot be read from {path}: {error}") from None
