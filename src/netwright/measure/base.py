"""What a measurer is, and the network that it is given."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from ..core.candidate import Candidate
from ..core.errors import NetwrightError, did_you_mean
from ..core.metric import Measurement, Metric
from ..core.precision import ROUNDINGS, Rounding
from ..core.space import Space
from ..core.temporary import TemporaryFolder
from ..core.warn import warn
from .machine import machine_kind

if TYPE_CHECKING:
    from ..nets.recalibrate import Statistics


T = TypeVar("T")


class Searchable(Protocol):
    """Anything that can be searched: a :class:`netwright.SuperNet`, or a super-network made elsewhere."""

    @property
    def space(self) -> Space:
        """The candidates."""
        ...

    def extract(self, candidate: Candidate) -> Any:
        """The candidate as a stand-alone ``torch.nn.Module``."""
        ...


@dataclass(frozen=True)
class Race:
    """What tells a measurer that goes through its samples in growing parts when to stop.

    Args:
        confidence: the confidence with which a candidate that is stopped is dominated: the probability, over the random
            order of the samples, that one that is not dominated is stopped at any stage is at most 1 less this.
        totals: metric name to the number of samples of a whole measurement, for the metrics that may be stopped.
        lost: whether a record that was measured whole dominates the candidate even if the metric of this name has
            this value.
    """

    confidence: float
    totals: Mapping[str, int]
    lost: Callable[[str, float], bool]


def kind_here(measurers: Iterable[Measurer]) -> str:
    """The kind of this machine, in words, where one of the measurers measures on it; else empty."""
    here = any(m.place is not None and not m.place.at for m in measurers)
    return machine_kind() if here else ""


@dataclass(frozen=True)
class Place:
    """Where one at a time measures.

    Args:
        at: the address of a machine elsewhere; this one by default.
        cores: of this machine that measuring takes, with nothing else on them.
    """

    at: str = ""
    cores: int = 1


class Shared:
    """What measurers share: each thing is found when it is first asked for."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """What ``find`` found when it was first asked by this key."""
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]
        return found


class EvaluationContext(Shared):
    """One candidate under measurement: extracted once, converted once, for all measurers.

    Args:
        net: where the candidate comes from.
        candidate: the candidate that is measured.
        calibration: batches for the normalisation statistics of the extracted network; ``()`` leaves them as they
            are, and None too, with a warning where there are any.
        race: when measuring may stop early; None measures whole.
        judge: a measurer of how well a network does. By its first metric the largest network, which may have statistics
            of its own, keeps them or has them recomputed, whichever is better; the others always have.
        of_largest: finds which they are for the largest, where that is known: the same network in fewer bits has them
            too.
        rounding: how weights of few bits are rounded: each to the nearest, or by what layers give on the calibration
            batches (:func:`netwright.gptq`).
    """

    def __init__(
        self,
        net: Searchable,
        candidate: Candidate,
        calibration: Iterable[Any] | None = None,
        race: Race | None = None,
        judge: Measurer | None = None,
        of_largest: Callable[[], str | None] | None = None,
        rounding: Rounding = "nearest",
    ) -> None:
        super().__init__()
        self.net, self.candidate, self.calibration, self.race = net, candidate, calibration, race
        self._of_largest = of_largest
        self.statistics: Statistics | None = None
        """Where the running statistics of :attr:`module` come from, once it was asked for and calibrated."""
        self._judge, self._rounding = judge, rounding
        self._files: dict[str, Path] = {}

    @cached_property
    def module(self) -> Any:
        """The extracted network, recalibrated and with its weights rounded, in evaluation mode."""
        module = self._calibrated(self.net.extract(self.candidate))
        if self._rounding == "gptq" and self.calibration:
            from ..nets.gptq import round_by_outputs

            if round_by_outputs(self.net, self.candidate, module, self.calibration):  # type: ignore[arg-type]
                return self._calibrated(module)
        return module

    def _calibrated(self, module: Any) -> Any:
        """A network, recalibrated in place, in evaluation mode."""
        from ..nets.recalibrate import better_statistics, find_ranges, needs_recalibration, recalibrate

        if (isinstance(self.calibration, tuple) and not self.calibration) or not needs_recalibration(module):
            return module.eval()
        if self.calibration is None:
            warn(
                "the network has running statistics that belong to no single sub-network, or inputs in few bits "
                "whose range is not known; give the study calibration=, batches of training inputs, to have them "
                "recalibrated for each candidate"
            )
            return module.eval()
        if self._judge and self.candidate == self.net.space.largest:
            self.statistics = better_statistics(module, self.calibration, self._loss)
            return module
        is_whole = getattr(self.net, "is_whole", lambda candidate: False)
        if self._judge and self._of_largest and is_whole(self.candidate) and self._of_largest() == "inherited":
            self.statistics = "inherited"
            return find_ranges(module, self.calibration)
        self.statistics = "recomputed"
        return recalibrate(module, self.calibration)

    def _loss(self, module: Any) -> float:
        """How well this network does by the judge's first metric; less is better."""
        assert self._judge is not None
        alone, metric = EvaluationContext(self.net, self.candidate, self.calibration), self._judge.metrics[0]
        alone.__dict__["module"] = module
        return metric.loss(self._judge.measure(alone)[metric.name].value)

    @property
    def example_inputs(self) -> Any:
        """What the network is called with; the extracted module's own, or the super-network's."""
        own = getattr(self.module, "example_inputs", None)
        return own if own is not None else getattr(self.net, "example_inputs", None)

    def know_batch(self) -> None:
        """Give the module the batch dimensions of its super-network, so that they are found once for all candidates."""
        known = getattr(self.net, "batch_dims", None)
        if known is not None:
            self.module.batch_dims = known

    def file(self, key: str, suffix: str, write: Callable[[Path], None]) -> Path:
        """The network as a file of some kind, written on first use and removed with the context.

        Args:
            key: the key that tells this kind of file from others.
            suffix: the suffix of the file's name.
            write: writes it to a path.
        """
        if key not in self._files:
            path = self._folder.path / f"{len(self._files)}" / f"network{suffix}"
            path.parent.mkdir()  # of its own: what it consists of is not in the way of another's
            write(path)
            self._files[key] = path
        return self._files[key]

    @cached_property
    def _folder(self) -> TemporaryFolder:
        return TemporaryFolder()


def check_rounding(rounding: str, net: Searchable, calibration: Iterable[Any] | None) -> None:
    """Raise :class:`NetwrightError` for a rounding that there is not, or that cannot be done here."""
    if rounding not in ROUNDINGS:
        raise NetwrightError(f"there is no rounding {rounding!r}; {did_you_mean(str(rounding), ROUNDINGS)}")
    if rounding == "nearest":
        return
    from ..nets.axes import Bits

    if not any(isinstance(axis, Bits) for axis in getattr(net, "axes", ())):
        raise NetwrightError(
            f"rounding={rounding} is of weights in few bits, and the network has no axis of bits; add them: "
            "net.with_axes([*net.axes, *nw.Bits.of(net)]), in a recipe bits.options"
        )
    if calibration is None or calibration == () or calibration == []:
        raise NetwrightError(
            f"rounding={rounding} looks at what layers give, and there are no calibration batches: give calibration=, "
            "in a recipe data"
        )


class ManyCandidates(Shared):
    """Candidates of which something is computed: what is found of all of them, measurers share.

    Args:
        net: where they come from.
        candidates: which ones.
    """

    def __init__(self, net: Searchable, candidates: Sequence[Candidate]) -> None:
        super().__init__()
        self.net, self.candidates = net, candidates


class Measurer(ABC):
    """Finds one or more metrics of a network.

    The first of ``metrics`` is what the measurer stands for when it is listed as an objective.
    """

    metrics: tuple[Metric, ...]
    depends_on_weights: bool = False
    """Whether the figures depend on what the weights have learned, and not only on the network's shape."""
    on_device: bool = False
    """Whether a device is run, which may be slow: figures that are predicted well need not all be measured."""
    races: bool = False
    """Whether it heeds the context's race; it is asked last then, when the other objectives are known."""

    @property
    def code(self) -> Any:
        """What finds the figures: a function or a class. Networks that failed are measured again where it changed."""
        return type(self)

    @property
    def place(self) -> Place | None:
        """Where it measures, with no other measuring there meanwhile; None where it may go on beside anything."""
        return Place() if self.on_device else None

    def prepare(self, context: EvaluationContext) -> None:  # noqa: B027  # most have nothing to prepare
        """Do what :meth:`measure` needs and the device does not, such as writing its file: other work may go on
        meanwhile. Asked where there is a :attr:`place`."""

    @abstractmethod
    def measure(self, context: EvaluationContext) -> Mapping[str, Measurement]:
        """The measurements by metric name. What could not be found is left out, or raises with the reason."""

    def compute(self, many: ManyCandidates) -> Mapping[str, np.ndarray] | None:
        """The values of exact metrics for many candidates at once, by name, each of shape (candidates,); searches ask
        for thousands. None: each is measured by itself."""
        return None

    def values(self, net: Searchable, candidates: Sequence[Candidate]) -> list[dict[str, float]]:
        """The values of many candidates by metric name: what :func:`netwright.prune_to_budget` asks for. Statistics
        stay as they are extracted."""
        computed = self.compute(ManyCandidates(net, candidates))
        if computed is not None:
            return [{name: float(values[i]) for name, values in computed.items()} for i in range(len(candidates))]
        found = (self.measure(EvaluationContext(net, candidate, ())) for candidate in candidates)
        return [{name: m.value for name, m in each.items()} for each in found]

    def require(self) -> None:  # noqa: B027  # most measurers need nothing
        """Raise with the reason where it cannot measure anything here; asked before the first network."""

    def clock(self) -> float:
        """The time in seconds, by which it is told how long measuring takes on a device."""
        return time.perf_counter()

    def provenance(self) -> Mapping[str, Any]:
        """What the figures depend on besides the network (a target's fingerprint); stored with each record."""
        return {}
