"""Measuring on another machine: the agent there, and its client here.

What they speak, over HTTP, JSON both ways, with ``Authorization: Bearer TOKEN``:

=============================== =====================================================================================
``GET /v1/files/HASH?bytes=N``  whether the file of this SHA-256 is ``here``; refused where N bytes would not fit
``PUT /v1/files/HASH``          its content
``POST /v1/jobs``               ``{"key", "job"}``: a job, and 32 hexadecimal digits of the client's choice that make it
                                safe to send twice; 409 with ``missing`` hashes, 429 where too many wait
``GET /v1/jobs/KEY?wait=S``     ``{"state", "answer"}``, as soon as it is ``done`` or after S seconds; 404 for one that
                                is not known (any more)
=============================== =====================================================================================

What is refused comes with ``{"error"}`` in words. A job is one of :mod:`netwright.measure.worker`; where that has the
path of a file, here stands the file as hashes by suffix, ``{".onnx": HASH}``: several where files lie beside it, those
of other names by the name that the file knows them by, ``"weights/all.bin"``.
"""

from __future__ import annotations

import ipaddress

PORT = 7653
"""Where an agent listens if nothing else is said."""

FILES = ("files", "feeds", "expected")
"""Keys of a job that hold a file, or a list of them."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
