"""Latency on a target, and the size of the file that runs there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.candidate import digest
from ..core.metric import Measurement, Metric
from .base import Measurer, Subject
from .protocol import Protocol, measure_latency
from .runtimes.base import Runtime
from .targets import machine


class Latency(Measurer):
    """The time of one inference on a target, in ms, and the bytes of the file that runs there.

    Args:
        runtime: with its settings; the machine is this one.
        protocol: when to stop measuring.
    """

    metrics = (Metric("latency", "ms", "min"), Metric("file_bytes", "B", "min"))

    def __init__(self, runtime: Runtime, protocol: Protocol | None = None) -> None:
        self.runtime, self.protocol = runtime, protocol or Protocol()

    def measure(self, subject: Subject) -> Mapping[str, Measurement]:
        return self.of(self.runtime.file(subject), subject.example_inputs)

    def of(self, path: Path, inputs: Any) -> dict[str, Measurement]:
        """The figures of any file that the runtime reads; ``inputs`` is one example."""
        latency = measure_latency(self.runtime.load(path, inputs), self.protocol, self.runtime.threads)
        return {"latency": latency, "file_bytes": Measurement(path.stat().st_size, "B")}

    @cached_property
    def target(self) -> dict[str, Any]:
        """The runtime, its settings, and this machine."""
        described = {**self.runtime.describe(), **machine()}
        return {**described, "fingerprint": digest(described)}

    def provenance(self) -> Mapping[str, Any]:
        return {"target": self.target}
