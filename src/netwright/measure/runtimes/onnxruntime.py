"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...core.errors import MeasureError, did_you_mean, format_error
from ...core.precision import FORMS
from ...core.ranges.registry import RANGES
from ...core.temporary import TemporaryFolder
from ...core.warn import warn
from .base import Feeds, Operator, Runtime, Session, Trial, in_order

UNKNOWN = "u8u8"
"""The form for a device that nobody asked: exact on every CPU."""

ALIKE = 0.1
"""Forms whose times differ by no more than this are as fast as one another: the more precise one is taken."""

GAIN = 0.03
"""Of float32's time: what 8 bits save at least where they are worth having for speed."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


@dataclass(frozen=True)
class OnnxRuntime(Runtime):
    """ONNX Runtime: all graph optimisations, no spinning threads.

    Args:
        threads: the threads that one inference may use.
        batch: how many inputs are run at once.
        precision: ``float32``, or ``int8``: weights of 8 bits, per channel, and activations of 8 bits. Convolutions
            are quantised with constant ranges; networks without any, such as transformers, with the ranges of each
            input, and their embeddings too.
        provider: ``cpu``, ``cuda`` or ``tensorrt``. One that cannot take the network is an error, never another one.
        form: the form of the 8-bit products: ``u8s8`` (activations without a sign, weights with one), ``u8s7`` (the
            same, the range of weights reduced to 7 bits), ``u8u8`` or ``s8s8``. Empty: the fastest of those that the
            device computes exactly; x86 CPUs without VNNI saturate in ``u8s8``.
        ranges: how constant ranges of 8-bit activations are found of calibration inputs
            (:data:`netwright.core.ranges.RANGES`): ``minmax``, ``entropy``, ``mse`` or ``(percentile,percent=99.9)``.
    """

    provider: str = "cpu"
    form: str = ""
    ranges: str = "minmax"

    packages = ("onnxruntime",)
    modules = ("onnxruntime",)
    suffix = ".onnx"
    reads = (".onnx",)
    precisions = ("float32", "int8")
    mixes = {"int8": ("int8", "int4")}  # noqa: RUF012

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.provider not in PROVIDERS:
            raise MeasureError(
                f"onnxruntime has no provider {self.provider!r}; {did_you_mean(self.provider, PROVIDERS)}"
            )
        if self.form not in ("", *FORMS):
            raise MeasureError(f"onnxruntime has no form {self.form!r}; {did_you_mean(self.form, FORMS)}")
        if self.form and self.precision != "int8":
            raise MeasureError("onnxruntime: form is of 8-bit products; it needs precision=int8")
        RANGES.check(self.ranges)
        if self.ranges != "minmax" and self.precision != "int8":
            raise MeasureError("onnxruntime: ranges are those of 8-bit activations; they need precision=int8")

    @property
    def in_float32(self) -> Self:
        return replace(self, precision="float32", form="", ranges="minmax")

    def check_layers(self, network: Any, precisions: Mapping[str, str]) -> None:
        super().check_layers(network, precisions)
        from ...nets.layers import is_linear
        from ...nets.precisions.registry import INT4

        few = [path for path, precision in precisions.items() if precision == INT4]
        if others := [path for path in few if not is_linear(network.get_submodule(path))]:
            are, them = ("is", "it") if len(others) == 1 else ("are", "them")
            raise MeasureError(
                f"onnxruntime has weights of 4 bits for linear layers alone, and {', '.join(others[:5])} {are} none; "
                f"keep {them} in float32 or in int8"
            )

    def suited(self, trial: Trial) -> tuple[Self, Mapping[str, Any]]:
        if self.precision != "int8" or self.provider != "cpu":
            return self, {}
        from ...formats.forms import write_workloads

        exact = _exact(trial)
        with TemporaryFolder() as folder:
            files, inputs = write_workloads(folder)
            times = dict(zip(("float32", *FORMS), trial(files, inputs, ())["ms"], strict=True))
        form = self.form or chosen(exact, times)
        if no_gain := gains_nothing(form, times):
            warn(no_gain)
        found = {"form": form, "why": _why(self.form, form, exact, times), "exact": exact, "ms": times}
        return replace(self, form=form), found

    def warning(self, path: Path, found: Mapping[str, Any], trial: Trial) -> str:
        from ...formats.saturation import may_saturate

        if self.provider != "cpu" or path.suffix != ".onnx" or not may_saturate(path):
            return ""
        exact = found.get("exact") or _exact(trial)
        if exact["u8s8"]:
            return ""
        return (
            f"the file's 8-bit products (u8s8) saturate on this CPU, which has no VNNI: its outputs are wrong here; "
            f"quantise it for this CPU (form={', '.join(form for form in FORMS if exact[form])})"
        )

    def convert(
        self, network: Any, inputs: Any, path: Path, calibration: Sequence[Any] | None = None
    ) -> Mapping[str, Any]:
        from ...formats.onnx import write_onnx

        how = write_onnx(network, inputs, path)
        if self.precision == "int8":
            from ...formats.onnx import feed
            from ...formats.quantised import noisy, quantise_onnx
            from ..examples import check_calibration

            session = replace(self, provider="cpu").session(path)
            samples = [feed(session, each) for each in calibration] if calibration else noisy(feed(session, inputs))
            if calibration:
                shapes = {i.name: [n if isinstance(n, int) else None for n in i.shape] for i in session.get_inputs()}
                check_calibration(samples, shapes)
            how["quantised"] = quantise_onnx(path, samples, self.form or UNKNOWN, network, self.ranges)
        return how

    def open(self, path: Path, feeds: Feeds) -> Session:
        return _Session(self.session(path), path, feeds)

    def signature(self, path: Path) -> Mapping[str, tuple[tuple[int, ...], str]]:
        types = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
        whole = {f"tensor({t})": t for t in ("int64", "int32", "int16", "int8", "uint8", "bool")}
        return {
            i.name: (
                tuple(n if isinstance(n, int) and n > 0 else 1 for n in i.shape),
                {**types, **whole}.get(i.type, "float32"),
            )
            for i in self.session(path).get_inputs()
        }

    def free(self, path: Path) -> Mapping[str, Mapping[int, str]]:
        return {
            i.name: {
                d: n if isinstance(n, str) else "" for d, n in enumerate(i.shape) if not isinstance(n, int) or n < 1
            }
            for i in self.session(path).get_inputs()
        }

    def profile(self, path: Path, feeds: Feeds, seconds: float) -> list[Operator]:
        from .onnxruntime_profile import profile

        def opened(prepare: Callable[[Any], None]) -> Session:
            return _Session(self.session(path, prepare), path, feeds)

        return profile(opened, seconds)

    def session(self, path: Path, prepare: Callable[[Any], None] = lambda options: None) -> Any:
        """An inference session of the file with this runtime's settings.

        Args:
            path: the path of the file.
            prepare: changes further options of the session.
        """
        import onnxruntime as ort

        wanted = PROVIDERS[self.provider]
        if wanted not in ort.get_available_providers():
            raise MeasureError(
                f"this onnxruntime has no {wanted}, it has {', '.join(ort.get_available_providers())}; "
                "install onnxruntime-gpu on a machine with the device, or measure with provider=cpu"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.provider != "cpu":  # what the device cannot take would otherwise run on the CPU in silence
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.log_severity_level = 3
        prepare(options)
        try:
            session = ort.InferenceSession(str(path), options, providers=[wanted])
        except Exception as error:  # onnxruntime raises types of its own, without a common base
            raise MeasureError(f"onnxruntime cannot load {path}: {format_error(error)}") from error
        if session.get_providers()[0] != wanted:
            raise MeasureError(f"onnxruntime fell back to {session.get_providers()[0]} from {wanted}")
        return session

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "device": "cpu" if self.provider == "cpu" else "cuda"}


def _exact(trial: Trial) -> dict[str, bool]:
    """Which forms a device computes exactly, tried with the largest numbers that there are."""
    from ...formats.forms import write_extremes

    with TemporaryFolder() as folder:
        feeds, expected = write_extremes(folder / "extremes.onnx")
        errors = trial([folder / "extremes.onnx"], feeds, expected)["errors"][0]
    return {form: error == 0 for form, error in zip(FORMS, errors, strict=True)}


def chosen(exact: Mapping[str, bool], times: Mapping[str, float]) -> str:
    """The form for a device: the most precise of those that are as good as the fastest among the exact ones."""
    known = [form for form in FORMS if exact[form]] or [UNKNOWN]
    fastest = min(times[form] for form in known)
    return next(form for form in known if times[form] <= (1 + ALIKE) * fastest)


def gains_nothing(form: str, times: Mapping[str, float]) -> str:
    """What a person should know before a search where 8 bits are no faster than float32; empty where they are."""
    share = times[form] / times["float32"]
    if share < 1 - GAIN:
        return ""
    return (
        f"8-bit products gain nothing on this device: {form} takes {share:.2f} of the time of float32 in a small "
        "network of convolutions; expect smaller files there, and not faster ones"
    )


def _why(asked: str, form: str, exact: Mapping[str, bool], times: Mapping[str, float]) -> str:
    """The choice in words."""
    wrong = [each for each in FORMS if not exact[each]]
    said = f"{', '.join(wrong)} saturates on this CPU" if wrong else "every form is exact on this CPU"
    if asked:
        return f"{form} as asked for; {said}"
    others = ", ".join(f"{each} {times[each] / times[form]:.2f}" for each in times if each != form)
    return f"{said}; {form} is the fastest of the exact ones, or as good (time relative to its own: {others})"


class _Session(Session):
    """Inputs and outputs are bound once: copies of them are not timed."""

    def __init__(self, session: Any, path: Path, feeds: Feeds) -> None:
        self._session, self._binding, self._path = session, session.io_binding(), path
        self.feed(feeds)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, "cpu")

    def feed(self, feeds: Feeds) -> None:
        for name, value in in_order([i.name for i in self._session.get_inputs()], feeds, self._path).items():
            self._binding.bind_cpu_input(name, np.ascontiguousarray(value))

    def end_profiling(self) -> Path:
        """The path of the profile that was written, where the session was opened to write one."""
        return Path(self._session.end_profiling())

    def run(self) -> object:
        return self._session.run_with_iobinding(self._binding)

    def outputs(self) -> list[np.ndarray]:
        self.run()
        return [np.asarray(x) for x in self._binding.copy_outputs_to_cpu()]
