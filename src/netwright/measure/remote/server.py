"""The connections of an agent: how many there may be, of whom, and for how long each may take.

Whoever has not shown the token yet is a stranger. Strangers take no room from those who have: they have little time,
few may be connected, and when there are too many the one that is longest there is hung up on, of the address that has
most. The owner, whose request comes at once, gets in among any number of slow ones.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from socketserver import TCPServer
from threading import Lock, Thread
from typing import Any

from ...core.errors import MeasureError, format_error
from .files import Refused

OWNERS = 32
"""Connections at most of those who have shown the token."""
STRANGERS = 128
"""Connections at most of those who have not."""
STRANGERS_OF_ONE = 64
"""The same of one address (of one network of IPv6)."""
PAUSE_S = 0.05
"""Waited where the system gives no connection, so that there is no asking without end."""


@dataclass(frozen=True)
class Patience:
    """How long connections may take; who takes longer is hung up on.

    Args:
        stranger_s: seconds in which a connection shakes hands, sends a request and shows the token.
        part_s: seconds in which each part of what is sent arrives, and an answer is taken.
        idle_s: seconds between two requests, the second one's head included.
    """

    stranger_s: float = 10.0
    part_s: float = 60.0
    idle_s: float = 60.0


class Caller:
    """A connection.

    Args:
        line: its socket.
        address: where it comes from.
        deadline: when it is hung up on, by the monotonic clock.
    """

    def __init__(self, line: socket.socket, address: str, deadline: float) -> None:
        self.line, self.address, self.deadline = line, address, deadline
        self.stranger = True

    def hang_up(self) -> None:
        """End what its thread waits for."""
        with contextlib.suppress(OSError):
            # That of an SSL socket would take its state from the thread that uses it.
            socket.socket.shutdown(self.line, socket.SHUT_RDWR)


class Server(HTTPServer):
    """Answers each connection in a thread of its own.

    Args:
        host: an address of this machine.
        port: 0 takes a free one.
        handler: answers the requests of a connection.
        certificate: None speaks plain HTTP.
        patience: how long connections may take.

    Raises :class:`MeasureError` where it cannot listen there.
    """

    request_queue_size = OWNERS + STRANGERS

    def __init__(
        self,
        host: str,
        port: int,
        handler: type[BaseHTTPRequestHandler],
        certificate: ssl.SSLContext | None,
        patience: Patience,
    ) -> None:
        self._certificate, self._patience = certificate, patience
        self._callers: dict[socket.socket, Caller] = {}
        self._lock = Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as error:
            raise MeasureError(f"an agent cannot listen at {host}, port {port}: {format_error(error)}") from error

    def server_bind(self) -> None:
        """Without the look-up of this machine's name, which HTTPServer does not need either."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:  # too many files are open
            time.sleep(PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own."""
        caller = Caller(request, network_of(client_address[0]), time.monotonic() + self._patience.stranger_s)
        with self._lock:
            if victim := self._victim(caller.address):
                victim.hang_up()
                del self._callers[victim.line]
            self._callers[request] = caller
        try:
            Thread(target=self._answer, args=(caller, client_address), daemon=True).start()
        except RuntimeError:  # no thread can be started
            self._end(caller)

    def service_actions(self) -> None:
        """Hang up on who takes too long; called again and again."""
        with self._lock:
            for caller in self._callers.values():
                if caller.deadline < time.monotonic():
                    caller.hang_up()

    def welcome(self, line: socket.socket) -> None:
        """Note that a connection has shown the token. Raises :class:`Refused` where too many have."""
        with self._lock:
            caller = self._callers.get(line)
            if caller is None:
                raise ConnectionAbortedError("this connection was hung up on")
            if caller.stranger and sum(not each.stranger for each in self._callers.values()) >= OWNERS:
                raise Refused(503, f"{OWNERS} connections are open already")
            caller.stranger = False

    def allow(self, line: socket.socket, seconds: float) -> None:
        """Give a connection that has shown the token so many seconds from now."""
        with self._lock:
            caller = self._callers.get(line)
            if caller is not None and not caller.stranger:
                caller.deadline = time.monotonic() + seconds

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break; whoever had it comes back."""

    def _victim(self, address: str) -> Caller | None:
        """The stranger that gives way to another one from this address."""
        strangers = [caller for caller in self._callers.values() if caller.stranger]
        count = Counter(caller.address for caller in strangers)
        if count[address] < STRANGERS_OF_ONE:
            if len(strangers) < STRANGERS:
                return None
            address = count.most_common(1)[0][0]
        return next(caller for caller in strangers if caller.address == address)

    def _answer(self, caller: Caller, client_address: Any) -> None:
        try:
            if self._certificate is not None:
                self._secure(caller, self._certificate)
            self.finish_request(caller.line, client_address)
        except Exception:
            self.handle_error(caller.line, client_address)
        finally:
            self._end(caller)

    def _secure(self, caller: Caller, certificate: ssl.SSLContext) -> None:
        """Shake hands: in the connection's thread and time, so that one that does not holds up nobody."""
        with self._lock:
            here = self._callers.pop(caller.line, None)
            caller.line = certificate.wrap_socket(caller.line, server_side=True, do_handshake_on_connect=False)
            if here is None:
                raise ConnectionAbortedError("this connection was hung up on")
            self._callers[caller.line] = caller
        caller.line.do_handshake()

    def _end(self, caller: Caller) -> None:
        with self._lock:
            self._callers.pop(caller.line, None)
            self.shutdown_request(caller.line)


def network_of(address: str) -> str:
    """The network that an address belongs to as a whole: itself, or its 64 bits of IPv6, which one person has."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or f"{int(found) >> 64:x}::")
    return str(found)


def load_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server shakes hands with. Raises :class:`MeasureError` where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise MeasureError(
            f"the certificate {certificate} with the key {key} cannot be used: {format_error(error)}"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("its key has a password, which nobody is there to give")
