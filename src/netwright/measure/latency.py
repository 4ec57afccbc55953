"""What a network costs on a target: latency, throughput, memory, energy, and the size of the file that runs there."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arguments import shown
from ..core.errors import CallError, MeasureError
from ..core.metric import Measurement, Metric
from ..core.temporary import TemporaryFolder
from .agreement import check, differences
from .base import EvaluationContext, Measurer, Place
from .convert import converted, example, feeds_of, outputs_of
from .energy import LONGEST_S
from .examples import CALIBRATION, CHECKED, real_inputs, stacked
from .feeds import read_feeds, write_feeds
from .lengths import Mix, at_length, mean_of, mix_of
from .parts import bytes_of, parts_of
from .runtimes.base import Feeds, Runtime
from .sampling import SamplingPlan
from .targets import Target, parse_target

LATENCY = Metric("latency", "ms", "min", superlative="fastest")
THROUGHPUT = Metric("throughput", "/s", "max")
MEMORY = Metric("memory", "B", "min")
ENERGY = Metric("energy", "mJ", "min")
FILE_BYTES = Metric("file_bytes", "B", "min", superlative="smallest")

OUTPUTS_S = 300.0
"""Seconds of a job that computes outputs; what half of them do not suffice for is asked for again."""


class OnTarget(Measurer):
    """What one run of a network on a target finds. Measurers of one target and plan share that run.

    Args:
        target: where, also as text: ``"onnxruntime,threads=1"``; a runtime alone is one of this machine.
        plan: when to stop measuring.
        lengths: of a network of texts, tokens with their weights: what is found is the mean over texts of these
            lengths. By default it is that of the example inputs.
    """

    on_device = True
    wanted: tuple[str, ...] = ()
    """What is measured beyond those, at a cost of its own."""

    def __init__(
        self,
        target: Target | Runtime | str,
        plan: SamplingPlan | None = None,
        lengths: Mapping[int, float] | None = None,
    ) -> None:
        made: Any = target() if isinstance(target, type) and issubclass(target, Runtime) else target
        made = parse_target(made) if isinstance(made, str) else made
        self._target = Target(made) if isinstance(made, Runtime) else made
        if not isinstance(self._target, Target):
            raise CallError(
                f"{type(self).__name__} is measured on a target, such as 'onnxruntime,threads=1' or "
                f"nw.targets.OnnxRuntime(threads=1), not on {shown(target)}"
            )
        self.runtime, self.plan = self._target.runtime, plan or SamplingPlan()
        try:
            self.lengths: Mix = mix_of(lengths) if lengths else ()
        except ValueError as error:
            raise CallError(f"{type(self).__name__}: {error}, not {dict(lengths or {})}") from None

    @property
    def where(self) -> str:
        """The target, as a person writes it."""
        return str(self._target)

    @property
    def place(self) -> Place:
        return Place(self._target.at, 0 if self._target.at else self.runtime.threads)

    def prepare(self, context: EvaluationContext) -> None:
        context.know_batch()
        self.file(context)

    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        key = (str(self._target), self.plan, self.wanted, self.lengths)
        found = context.once(key, lambda: self._measured(context))
        return {m.name: found[m.name] for m in self.metrics if m.name in found}

    def _measured(self, context: EvaluationContext) -> dict[str, Measurement]:
        self.prepare(context)
        path = self.file(context)
        found = self.of(path, context.example_inputs, context.module, context.calibration, trust=True)
        if how := self._how(context):
            found["latency"] = _with(found["latency"], conversion=how)
        return found

    def _how(self, context: EvaluationContext) -> dict[str, Any]:
        """How the runtime's file of a candidate was written; filled when it is."""
        return context.once(("conversion", str(self._target)), dict)

    def file(self, context: EvaluationContext) -> Path:
        """The runtime's file of a candidate, written once."""

        def write(path: Path) -> None:
            self._how(context).update(self.write(context.module, context.example_inputs, path, context.calibration))

        return context.file(str(self._target), self.runtime.suffix, write)

    @property
    def file_name(self) -> str:
        """Of the runtime's own file beside others of the same network; ``model.onnx`` where it runs that."""
        if self.runtime.suffix == ".onnx" and self.runtime.precision == "float32":
            return "model.onnx"
        kind = "" if self.runtime.precision == "float32" else f"-{self.runtime.precision}"
        return f"{self.runtime.name}{kind}{self.runtime.suffix}"

    @property
    def lossy(self) -> bool:
        """Whether the runtime's file computes less precisely than the network: its quality is its own then."""
        return self.runtime.precision != "float32"

    @property
    def suited(self) -> Runtime:
        """The runtime with what it leaves to the device; see :attr:`Target.suited`."""
        return self._target.suited[0]

    def write(self, network: Any, inputs: Any, path: Path, calibration: Iterable[Any] | None = None) -> dict[str, Any]:
        """Write a network as the runtime's file; returns how it was done.

        Args:
            network: the network, in evaluation mode.
            inputs: one example.
            path: the path of the file.
            calibration: batches of real inputs, from which an 8-bit file gets its ranges; None: from noise.
        """
        given = example(inputs, self.runtime.batch, network)
        return converted(self.suited, network, given, path, self._real(network, inputs, calibration)[0])

    def of(
        self,
        path: Path,
        inputs: Any,
        network: Any = None,
        calibration: Iterable[Any] | None = None,
        *,
        trust: bool = False,
    ) -> dict[str, Measurement]:
        """The figures of any file that the runtime reads.

        Args:
            path: the path of the file.
            inputs: one example; as the file is run with them where there is no network.
            network: a module whose outputs the file's must be; None: they are not compared.
            calibration: as in :meth:`write`; a file of low precision is compared on some of them.
            trust: open the file even if it is a program; see :meth:`Runtime.guard`.
        """
        _, real = self._real(network, inputs, calibration)
        if network is None or not real:
            return self._timed(path, inputs, network, network is not None, trust)
        got = self.outputs(path, real, trust=trust)
        wanted = [np.stack(each) for each in zip(*(outputs_of(network, one) for one in real), strict=True)]
        worst = differences(got, wanted, self.runtime.name)
        check(worst, self.runtime.precision, self.runtime.name, real=True)
        found = self._timed(path, inputs, network, False, trust)  # real inputs may be of other sizes than the example
        number = len(real) * self.runtime.batch
        found["latency"] = _with(found["latency"], difference=worst, compared_on=f"{number} real inputs")
        return found

    def _timed(self, path: Path, inputs: Any, network: Any, compare: bool, trust: bool) -> dict[str, Measurement]:
        """The figures of a file at the example's size, or on average over texts of several lengths.

        Args:
            path, inputs, network, trust: as in :meth:`of`.
            compare: whether the file's outputs must be the network's.
        """

        def timed(given: Any) -> dict[str, Measurement]:
            given = given if network is None else example(given, self.runtime.batch, network)
            expected = outputs_of(network, given) if compare else None
            return self.run(path, feeds_of(given), expected, trust=trust)

        if not self.lengths:
            return timed(inputs)
        return mean_of([timed(at_length(inputs, tokens)) for tokens, _ in self.lengths], self.lengths)

    def _real(self, network: Any, inputs: Any, batches: Iterable[Any] | None) -> tuple[list[Any], list[Any]]:
        """Real inputs for ranges, and others (as far as there are more) for comparing; none where the file is as
        precise as the network."""
        if network is None or batches is None or not self.lossy:
            return [], []
        from ..nets.batch import batch_dims_of

        batch = self.runtime.batch
        some = real_inputs(network, batches, batch_dims_of(network, inputs), batch, CALIBRATION + CHECKED)
        if not some and batches != ():
            raise MeasureError(
                "there are no inputs in the calibration batches, from which an 8-bit file gets its ranges; is the "
                "loader used up? calibration=() takes them from noise, which tells how fast a file is, not how good"
            )
        return some[: ceil(CALIBRATION / batch)], some[-ceil(CHECKED / batch) :]

    def outputs(self, path: Path, inputs: Sequence[Any], *, trust: bool = False) -> list[np.ndarray]:
        """What a file computes on the target, each output of all inputs along a new first dimension.

        Args:
            path: the path of the file.
            inputs: each of the target's batch size.
            trust: as in :meth:`of`.
        """
        feeds, count = stacked(inputs), 0
        parts: list[list[np.ndarray]] = []
        while count < len(inputs):
            with TemporaryFolder() as folder:
                rest = write_feeds(folder / "feeds.npz", {name: value[count:] for name, value in feeds.items()})
                job = {"job": "outputs", "seconds": OUTPUTS_S, "files": [str(path.resolve())], "trust": trust}
                answer = self._target.ask({**job, "feeds": rest})["outputs"]
                parts.append(_outputs(answer, folder / "outputs.npz", len(inputs) - count, parts))
            count += len(parts[-1][0])
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def run(
        self, path: Path, feeds: Feeds, expected: list[np.ndarray] | None = None, *, trust: bool = False
    ) -> dict[str, Measurement]:
        """The figures of any file that the runtime reads.

        Args:
            path: the path of the file.
            feeds: its inputs, of the target's batch size.
            expected: its outputs; others are an error. None: not compared.
            trust: as in :meth:`of`.

        Raises :class:`netwright.core.errors.MeasureError` with the reason where it does not run or computes
        something else.
        """
        with TemporaryFolder() as folder:
            job = {
                "job": "measure",
                "seconds": self._seconds,
                "files": [str(path.resolve())],
                "trust": trust,
                "feeds": write_feeds(folder / "feeds.npz", feeds),
                "plan": asdict(self.plan),
                "wanted": list(self.wanted),
            }
            if expected is not None:
                job["expected"] = write_feeds(
                    folder / "expected.npz", {f"output{i}": each for i, each in enumerate(expected)}
                )
            answer = self._target.ask(job)
        found = {name: Measurement.from_json(value) for name, value in answer["measurements"].items()}
        if warning := self._target.warning(path):
            found["latency"] = _with(found["latency"], warning=warning)
        parts = parts_of(path, () if path.suffix == self.runtime.suffix else self.runtime.beside)
        found["file_bytes"] = Measurement(bytes_of(parts), "B", kind="exact")
        return found

    @property
    def _seconds(self) -> float:
        """After which a job counts as hung."""
        sampling = 10 * self.plan.max_seconds * (1 + self.plan.repeats)
        return self.runtime.slowest_s + sampling + (LONGEST_S if "energy" in self.wanted else 0.0)

    @property
    def target(self) -> dict[str, Any]:
        """The runtime, its settings, and the machine."""
        return self._target.described

    def require(self) -> None:
        _ = self.target

    def provenance(self) -> Mapping[str, Any]:
        return {"target": self.target}


def _outputs(answer: str, path: Path, most: int, before: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The outputs in an answer, of so many inputs at most; the target may be anybody's."""
    try:
        path.write_bytes(base64.b64decode(answer, validate=True))
    except ValueError as error:
        raise MeasureError(f"what the target answers is no base64: {error}") from None
    found = list(read_feeds(path).values())
    if not found or any(not each.ndim or not 1 <= len(each) <= most or len(each) != len(found[0]) for each in found):
        raise MeasureError(f"the target answers with outputs of {[a.shape[:1] for a in found]} inputs, not of {most}")
    if before and [each.shape[1:] for each in before[0]] != [each.shape[1:] for each in found]:
        raise MeasureError("the target answers with outputs of one shape for some inputs, and of another for others")
    return found


def _with(found: Measurement, **more: Any) -> Measurement:
    """The measurement with more said of how it was made; a second warning follows the first."""
    if "warning" in found.details and "warning" in more:
        more["warning"] = f"{found.details['warning']}; {more['warning']}"
    return replace(found, details={**found.details, **more})


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
