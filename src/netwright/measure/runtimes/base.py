"""What a runtime is, and a session of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from ...core.errors import MeasureError, MissingExtra, did_you_mean, format_error
from ...core.files import open_regular
from ...core.provenance import version_of
from ...core.units import MOST_INT, MOST_THREADS
from ..parts import parts_of

Feeds = Mapping[str, np.ndarray]
"""What a network is fed with, by the names of its inputs, in their order."""

Trial = Callable[[Sequence[Path], Feeds, Sequence[np.ndarray]], Mapping[str, Any]]
"""Runs files where networks are measured, all on the same inputs: ``ms``, the least time of one inference of each,
and ``errors``, the largest difference from each of the outputs that are expected (none: empty), of each."""


MOST = {"threads": MOST_THREADS, "batch": MOST_INT}
"""The most that a setting may be."""


@dataclass(frozen=True)
class Operator:
    """One operator of a network, as a runtime runs it.

    Args:
        name: its own name there.
        kind: what it computes, as the runtime calls it, such as ``QLinearConv``.
        precision: what it computes in, such as ``int8``.
        ms: the time that one inference spends in it.
        inputs: names of what it reads, as far as the runtime tells.
        outputs: names of what it writes, likewise.
        origins: names of the file's operators and results that it was made of, likewise.
    """

    name: str
    kind: str
    precision: str
    ms: float
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    origins: Sequence[str] = ()


class Session(ABC):
    """A file that is loaded, its inputs bound: what is timed.

    Only the process that measures makes one, and lets go of it at its end.
    """

    notes: Mapping[str, Any] = {}
    """What should be known of how it runs (threads that could not be set, parts that another backend took); JSON."""

    @abstractmethod
    def run(self) -> object:
        """One inference, waited for."""

    @abstractmethod
    def outputs(self) -> list[np.ndarray]:
        """All outputs of an inference."""

    def feed(self, feeds: Feeds) -> None:
        """Bind other inputs, of the same names, shapes and types."""
        raise MeasureError(f"{type(self).__module__} cannot be given other inputs: its Session has no feed()")

    def device_ms(self, calls: int) -> float | None:
        """The time of one of ``calls`` inferences by the device's own clock, in ms; None where it has none."""
        return None


@dataclass(frozen=True)
class Runtime(ABC):
    """A runtime with its settings: together with the machine, a target.

    The network is converted where the search runs (:meth:`convert`, with torch); the file is opened where it is
    measured (:meth:`open`, which must need nothing but the runtime and NumPy).

    Args:
        threads: the threads that one inference may use.
        batch: how many inputs are run at once.
        precision: one of the runtime's ``precisions``.
    """

    threads: int = 1
    batch: int = 1
    precision: str = "float32"

    name: ClassVar[str]
    """What people call it; by default the name of the class."""
    packages: ClassVar[Sequence[str]]
    """What opening needs, by the names that they are installed by; the first is the runtime itself."""
    modules: ClassVar[Sequence[str]]
    """The same, by the names that they are imported by."""
    extra: ClassVar[str] = ""
    """Of netwright, that installs them; empty for those that are always installed."""
    suffix: ClassVar[str]
    """Of the file that it writes, such as ``.onnx``."""
    reads: ClassVar[Sequence[str]]
    """Suffixes of the files that it opens."""
    beside: ClassVar[Sequence[str]] = ()
    """Suffixes of files of the same name that belong to one that it opens, such as ``.bin``."""
    precisions: ClassVar[Sequence[str]] = ("float32",)
    mixes: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({})
    """For each of these the precisions that single layers may have beside float32, where :meth:`convert` heeds what a
    network says of its layers (:func:`netwright.nets.rounding.precisions_of`)."""

    def __init_subclass__(cls) -> None:
        cls.name = vars(cls).get("name", cls.__name__.lower())

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise MeasureError(f"{self.name}: {name} must be a whole number from 1 to {most:,}, not {value!r:.40}")
        if self.precision not in self.precisions:
            raise MeasureError(
                f"{self.name} has no precision {self.precision!r} on this device; "
                f"{did_you_mean(self.precision, self.precisions)}"
            )

    @classmethod
    def require(cls) -> None:
        """Raise :class:`MissingExtra` where it cannot run here. Imports nothing heavy."""
        for package, module in zip(cls.packages, cls.modules, strict=True):
            if find_spec(module) is None:
                raise MissingExtra(package, cls.extra, f"the runtime {cls.name}")

    def suited(self, trial: Trial) -> tuple[Self, Mapping[str, Any]]:
        """The runtime with the settings that a person leaves to the device, found out there before anything is
        converted for it; and what was found, which of them were chosen and why: JSON values."""
        return self, {}

    def warning(self, path: Path, found: Mapping[str, Any], trial: Trial) -> str:
        """What a person should know of a file before he trusts it there: empty where there is nothing.

        Args:
            path: the path of the file.
            found: what :meth:`suited` found.
            trial: runs files there.
        """
        return ""

    @abstractmethod
    def convert(
        self, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] | None = None
    ) -> Mapping[str, Any]:
        """Write a network as the runtime's own file.

        Args:
            network: a ``torch.nn.Module`` in evaluation mode.
            inputs: what it is called with, already of this batch size.
            path: the path of the file.
            calibration: real inputs, each as ``inputs``, from which constant ranges of 8-bit activations are taken;
                None: there are none, and noise around ``inputs`` must do, which tells how fast a network is, and not
                how good.

        Returns:
            How it was done (exporter, what was not taken); JSON values.

        Raises :class:`netwright.core.errors.NetwrightError` with the reason.
        """

    def guard(self, path: Path) -> None:
        """Refuse a file of somebody else that is a program, leads to files outside its folder, or is none that can be
        read whole, without executing any of it; and have what this process opens afterwards execute none. Asked before
        anything else is. Most formats are data.

        Raises :class:`netwright.core.errors.NetwrightError` with the reason.
        """
        with suppress(ModuleNotFoundError):  # onnx, which devices need not have: ONNX Runtime keeps to the folder too
            for part in parts_of(path, self.beside).values():
                try:
                    open_regular(part).close()
                except OSError as error:
                    raise MeasureError(f"{part} cannot be read: {format_error(error)}") from error

    @abstractmethod
    def open(self, path: Path, feeds: Feeds) -> Session:
        """The file, ready to run on these inputs. Raises :class:`MeasureError` with the reason.

        A file whose inputs have other names takes them in order.
        """

    def profile(self, path: Path, feeds: Feeds, seconds: float) -> list[Operator]:
        """The operators that a file is run by, in their order, with the time of each.

        Args:
            path: the path of the file.
            feeds: its inputs.
            seconds: how long it is run.

        Raises :class:`MeasureError` where the runtime does not tell them.
        """
        raise MeasureError(f"{self.name} does not tell the times of single operators")

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """The inputs that a file names: name to shape (free dimensions are 1) and NumPy type.

        Raises :class:`MeasureError` where the file does not say.
        """
        raise MeasureError(f"{path} does not say what it is called with; give inputs, an .npz file of arrays")

    def free(self, path: Path) -> Mapping[str, Mapping[int, str]]:
        """The dimensions that a file leaves open, by input; those of one name have one size. None where all are fixed.

        Names that the file does not tell are empty.
        """
        return {}

    def usage(self, file: str) -> str:
        """Python code that opens one of its files without netwright; empty where the file's own format says it all."""
        return ""

    def preload(self) -> None:
        """Import what every session needs, before its memory is counted."""
        import importlib

        for module in self.modules:
            importlib.import_module(module)

    def describe(self) -> dict[str, Any]:
        """Versions, device and settings: JSON values. Asked where it runs."""
        return {**self.settings, "device": "cpu", "versions": {p: version_of(p) or "unknown" for p in self.packages}}

    def check_layers(self, network: Any, precisions: Mapping[str, str]) -> None:
        """Raise :class:`MeasureError` for layers of a precision that it does not give single ones.

        Args:
            network: the ``torch.nn.Module`` with the layers.
            precisions: by the paths of layers.
        """
        able = ("float32", *self.mixes.get(self.precision, ()))
        for precision in dict.fromkeys(precisions.values()):
            if precision not in able:
                layers = [path for path, own in precisions.items() if own == precision]
                named = ", ".join(layers[:5]) + (f" and {len(layers) - 5} more" if len(layers) > 5 else "")
                others = [name for name, some in self.mixes.items() if precision in some and name != self.precision]
                fix = f"give the target precision={others[0]}" if others else f"give them one of {', '.join(able)}"
                raise MeasureError(
                    f"{self.name} with precision={self.precision} does not run single layers in {precision!r}, which "
                    f"{named} {'has' if len(layers) == 1 else 'have'}; {fix}"
                )

    @property
    def programs(self) -> bool:
        """Whether its own files are programs (see :meth:`guard`), which agents do not open."""
        return False

    @property
    def slowest_s(self) -> float:
        """Seconds that opening a file, one inference and all beside the sampling may take before it counts as hung."""
        return 60.0

    @property
    def in_float32(self) -> Self:
        """The same runtime in float32, beside which lower precision is compared."""
        return replace(self, precision="float32")

    @property
    def settings(self) -> dict[str, Any]:
        """What is set, by name: JSON values."""
        return asdict(self)


def in_order(names: Sequence[str], feeds: Feeds, path: Path) -> dict[str, np.ndarray]:
    """The inputs by a file's own names: by name where all are known, else in order."""
    if set(names) <= set(feeds):
        return {name: feeds[name] for name in names}
    if len(names) != len(feeds):
        raise MeasureError(f"{path} takes {len(names)} inputs ({', '.join(names)}), but {len(feeds)} were given")
    return dict(zip(names, feeds.values(), strict=True))
