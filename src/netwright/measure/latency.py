"""What a network costs on a target: latency, throughput, memory, energy, and the size of the file that runs there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..core.errors import MeasureError
from ..core.metric import Measurement, Metric
from .base import Measurer, Subject
from .convert import converted, example, feeds_of, outputs_of
from .energy import LONGEST_S
from .feeds import write_feeds
from .protocol import Protocol
from .runtimes.base import Feeds, Runtime
from .targets import Target

LATENCY = Metric("latency", "ms", "min")
THROUGHPUT = Metric("throughput", "/s", "max")
MEMORY = Metric("memory", "B", "min")
ENERGY = Metric("energy", "mJ", "min")
FILE_BYTES = Metric("file_bytes", "B", "min")


class OnTarget(Measurer):
    """What one run of a network on a target finds. Measurers of one target and protocol share that run.

    Args:
        target: where; a runtime alone is one of this machine.
        protocol: when to stop measuring.
    """

    on_device = True
    wanted: tuple[str, ...] = ()
    """What is measured beyond those, at a cost of its own."""

    def __init__(self, target: Target | Runtime, protocol: Protocol | None = None) -> None:
        self._target = Target(target) if isinstance(target, Runtime) else target
        self.runtime, self.protocol = self._target.runtime, protocol or Protocol()

    def measure(self, subject: Subject) -> Mapping[str, Measurement]:
        key = (str(self._target), self.protocol, self.wanted)
        found = subject.once(key, lambda: self._measured(subject))
        return {m.name: found[m.name] for m in self.metrics if m.name in found}

    def _measured(self, subject: Subject) -> dict[str, Measurement]:
        how: dict[str, Any] = {}
        subject.know_batch()

        def write(path: Path) -> None:
            how.update(self.write(subject.module, subject.example_inputs, path))

        path = subject.file(self.runtime.text, self.runtime.suffix, write)
        found = self.of(path, subject.example_inputs, subject.module)
        if how:
            found["latency"] = replace(found["latency"], how={**found["latency"].how, "conversion": how})
        return found

    @property
    def file_name(self) -> str:
        """Of the runtime's own file beside others of the same network; ``model.onnx`` where it runs that."""
        if self.runtime.suffix == ".onnx" and self.runtime.precision == "float32":
            return "model.onnx"
        kind = "" if self.runtime.precision == "float32" else f"-{self.runtime.precision}"
        return f"{self.runtime.name}{kind}{self.runtime.suffix}"

    def write(self, network: Any, inputs: Any, path: Path) -> dict[str, Any]:
        """Write a network as the runtime's file; returns how it was done."""
        return converted(self.runtime, network, example(inputs, self.runtime.batch, network), path)

    def of(self, path: Path, inputs: Any, network: Any = None) -> dict[str, Measurement]:
        """The figures of any file that the runtime reads.

        Args:
            path: of the file.
            inputs: one example; as the file is run with them where there is no network.
            network: a module whose outputs the file's must be; None: they are not compared.
        """
        inputs = inputs if network is None else example(inputs, self.runtime.batch, network)
        return self.run(path, feeds_of(inputs), None if network is None else outputs_of(network, inputs))

    def run(self, path: Path, feeds: Feeds, expected: list[np.ndarray] | None = None) -> dict[str, Measurement]:
        """The figures of any file that the runtime reads.

        Args:
            path: of the file.
            feeds: its inputs, of the target's batch size.
            expected: its outputs; others are an error. None: not compared.

        Raises :class:`netwright.core.errors.MeasureError` with the reason where it does not run or computes
        something else.
        """
        with TemporaryDirectory(prefix="netwright-") as folder:
            job = {
                "job": "measure",
                "seconds": self._seconds,
                "files": [str(path.resolve())],
                "feeds": write_feeds(Path(folder) / "feeds.npz", feeds),
                "protocol": asdict(self.protocol),
                "wanted": list(self.wanted),
            }
            if expected is not None:
                job["expected"] = write_feeds(
                    Path(folder) / "expected.npz", {f"output{i}": each for i, each in enumerate(expected)}
                )
            answer = self._target.ask(job)
        found = {name: Measurement.from_json(value) for name, value in answer["measurements"].items()}
        parts = {path, *(path.with_suffix(s) for s in self.runtime.beside if path.suffix != self.runtime.suffix)}
        found["file_bytes"] = Measurement(sum(p.stat().st_size for p in parts if p.is_file()), "B")
        return found

    @property
    def _seconds(self) -> float:
        """After which a job counts as hung."""
        sampling = 10 * self.protocol.budget_s * (1 + self.protocol.repeats)
        return self.runtime.slowest_s + sampling + (LONGEST_S if "energy" in self.wanted else 0.0)

    @property
    def target(self) -> dict[str, Any]:
        """The runtime, its settings, and the machine."""
        return self._target.described

    def require(self) -> None:
        _ = self.target

    def provenance(self) -> Mapping[str, Any]:
        return {"target": self.target}


class Latency(OnTarget):
    """The time of one inference on a target, in ms; and with it the file's size, throughput and memory."""

    metrics = (LATENCY, FILE_BYTES, THROUGHPUT, MEMORY)


class Throughput(OnTarget):
    """Inputs a second on a target at its batch size."""

    metrics = (THROUGHPUT,)


class Memory(OnTarget):
    """Peak resident memory of the runtime's process above its idle, in bytes: the network loaded, and run."""

    metrics = (MEMORY,)


class Energy(OnTarget):
    """Energy of one inference above idle on a target, in mJ, by a meter of the machine; see
    :mod:`netwright.measure.energy`. Where there is none it is unavailable, and says why: never a guess."""

    metrics = (ENERGY,)
    wanted = ("energy",)

    def require(self) -> None:
        if reason := self._target.no_energy:
            raise MeasureError(reason)
