"""Targets: places to run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..core.candidate import digest
from ..core.errors import MeasureError, NetwrightError
from ..core.files import cache_folder, read_json, write_json
from ..core.shape import expect
from ..core.temporary import TemporaryFolder
from .feeds import write_feeds
from .process import worker
from .remote.client import Remote
from .runtimes import RUNTIMES, from_json, to_json
from .runtimes.base import Feeds, Runtime
from .runtimes.executorch import ExecuTorch
from .runtimes.litert import LiteRt
from .runtimes.ncnn import Ncnn
from .runtimes.onnxruntime import OnnxRuntime
from .runtimes.openvino import OpenVino
from .runtimes.torch import Torch

__all__ = ["ExecuTorch", "LiteRt", "Ncnn", "OnnxRuntime", "OpenVino", "Target", "Torch", "parse_target"]

REMOTE = ("http://", "https://", "ssh://")


@dataclass(frozen=True)
class Target:
    """A place to run: a runtime with its settings, and a machine.

    Args:
        runtime: the runtime with its settings.
        at: where: this machine, or a ``netwright agent`` (see :class:`netwright.measure.remote.client.Remote`) at
            ``ssh://[user@]host[:port][/agent's port]``, through a tunnel; at ``https://host:port``, whose certificate
            may stand in the file that the environment variable ``NETWRIGHT_CA`` names; or at ``http://127.0.0.1:port``.
        token: the agent's; by default the environment variable ``NETWRIGHT_TOKEN``.
    """

    runtime: Runtime
    at: str = ""
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.at and not self.at.startswith(REMOTE):
            raise MeasureError(f"a target is at {', '.join(REMOTE)}..., or here; not at {self.at!r}")
        if self.at and self.runtime.programs:
            raise MeasureError(f"{RUNTIMES.text(self.runtime)} writes machine code, which agents do not open")

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the measuring process to a job (see :mod:`netwright.measure.worker`).

        Its files are looked at before they are opened (:meth:`Runtime.guard`), but for a job with ``"trust": True``:
        for files that netwright itself has written, or that a person trusts. An agent trusts none.

        Raises :class:`MeasureError` with the reason where there is none.
        """
        whole = {"runtime": to_json(self.runtime), **job}
        if self._remote is None:
            return worker(self.runtime).ask(whole)
        return self._remote.ask({key: value for key, value in whole.items() if key != "trust"})

    @cached_property
    def described(self) -> dict[str, Any]:
        """Runtime, versions, settings and machine, as the place itself tells, a ``fingerprint`` of all of it, and the
        version of netwright there."""
        found: dict[str, Any] = self._told["target"]
        runtime, how = self.suited
        settings = {**found, **to_json(runtime)}
        beside = {"fingerprint": digest(settings), "netwright": self._told["netwright"]}
        return {**settings, **beside, **({"suited": how} if how else {}), **({"at": self.at} if self.at else {})}

    @cached_property
    def suited(self) -> tuple[Runtime, Mapping[str, Any]]:
        """The runtime with what it leaves to the device, found out once for each device and kept, and what was found
        (see :meth:`netwright.measure.runtimes.base.Runtime.suited`)."""
        kept = cache_folder() / "suited" / f"{digest(self._told)}.json"
        with contextlib.suppress(OSError, ValueError, TypeError, LookupError, NetwrightError):  # it is found anew then
            known = expect(read_json(kept), {"runtime": dict[str, Any], "found": dict[str, Any]})
            return from_json(known["runtime"]), known["found"]
        runtime, found = self.runtime.suited(self._trial)
        if found:
            with contextlib.suppress(OSError):
                write_json(kept, {"runtime": to_json(runtime), "found": found})
        return runtime, found

    def warning(self, path: Path) -> str:
        """What the user should know of a file before trusting it there; see :meth:`Runtime.warning`."""
        return self.runtime.warning(path, self.suited[1], self._trial)

    def _trial(self, files: Sequence[Path], feeds: Feeds, expected: Sequence[np.ndarray]) -> dict[str, Any]:
        with TemporaryFolder() as place:
            outputs = {f"output{i}": each for i, each in enumerate(expected)}
            job = {
                "job": "probe",
                "seconds": self.runtime.slowest_s,
                "files": [str(file) for file in files],
                "trust": True,
                "feeds": write_feeds(place / "feeds.npz", feeds),
                "expected": write_feeds(place / "expected.npz", outputs),
            }
            return self.ask(job)

    @property
    def no_energy(self) -> str:
        """Why energy cannot be measured there; empty where it can."""
        return str(self._told["no_energy"])

    @cached_property
    def _told(self) -> dict[str, Any]:
        if self._remote is None:
            type(self.runtime).require()
        return self.ask({"job": "describe", "seconds": 60})

    @cached_property
    def _remote(self) -> Remote | None:
        return Remote(self.at, self.token) if self.at else None

    def __str__(self) -> str:
        runtime = RUNTIMES.text(self.runtime)
        return f"{self.at}/{runtime}" if self.at else runtime


def parse_target(text: str) -> Target:
    """A target from text: ``onnxruntime``, ``openvino,threads=2,precision=bfloat16``, or after the place of
    an agent, ``ssh://pi/onnxruntime,threads=4``.

    A runtime of one's own is ``module:Class``; on another machine it is one that is installed there.

    Raises :class:`MeasureError` for a runtime or a setting that is not known.
    """
    at = ""
    if "://" in text:
        at, slash, rest = text.rpartition("/")
        if not slash or at.endswith(":/") or not rest:
            raise MeasureError(f"after the place a target names its runtime, such as {text.rstrip('/')}/onnxruntime")
        text = rest
    return Target(RUNTIMES.make(text), at)
